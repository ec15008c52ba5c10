"""The logger of the module: who says what, with the name of the process.

python examples/process_logging.py [fork|spawn|forkserver]
"""

import logging
import sys

import procfast


def work(number):
    procfast.get_logger().warning("number %d is being worked on", number)


class Collector(logging.Handler):
    """Keeps what this process says."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(f"{record.processName}: {record.getMessage()}")


def main():
    logger = procfast.log_to_stderr(logging.WARNING)  # children have the level, and write to stderr
    assert logger is procfast.get_logger()
    collector = Collector()
    logger.addHandler(collector)
    process = procfast.Process(target=work, args=(7,), name="worker")
    process.start()
    process.join()
    assert process.exitcode == 0
    assert collector.lines == [], "what the child said it has written itself"
    logger.setLevel(logging.INFO)  # from here on also what the module says of itself
    logger.info("told by the parent")
    assert collector.lines == ["MainProcess: told by the parent"]
    logger.setLevel(logging.WARNING)
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
