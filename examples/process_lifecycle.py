"""The life of a Process: before start, alive, ended, closed; timeouts, signals, subclasses.

python examples/process_lifecycle.py [fork|spawn|forkserver]
"""

import os
import signal
import sys
import time

import procfast


class Adder(procfast.Process):
    """A process with a `run` of its own."""

    def __init__(self, numbers, answer):
        super().__init__(name="adder")
        self.numbers = numbers
        self.answer = answer

    def run(self):
        me = procfast.current_process()
        self.answer.put((me.name, os.getpid(), sum(self.numbers)))


def main():
    answer = procfast.SimpleQueue()
    adder = Adder(range(10), answer)
    assert adder.pid is None
    assert adder.exitcode is None
    assert not adder.is_alive()
    adder.start()
    assert answer.get() == ("adder", adder.pid, 45)
    adder.join()
    assert adder.exitcode == 0
    assert not adder.is_alive()

    sleeper = procfast.Process(target=time.sleep, args=(60,), daemon=True)
    sleeper.start()
    begin = time.monotonic()
    sleeper.join(timeout=0.2)  # gives up waiting; the process goes on
    assert time.monotonic() - begin >= 0.2
    assert sleeper.is_alive()
    assert sleeper.exitcode is None
    assert sleeper in procfast.active_children()
    sleeper.terminate()
    # The sentinel can be waited for beside connections and other processes.
    assert procfast.connection.wait([sleeper.sentinel], timeout=10) == [sleeper.sentinel]
    sleeper.join()
    assert sleeper.exitcode == -signal.SIGTERM

    stubborn = procfast.Process(target=time.sleep, args=(60,))
    stubborn.start()
    stubborn.kill()
    stubborn.join()
    assert stubborn.exitcode == -signal.SIGKILL
    stubborn.close()
    try:
        stubborn.is_alive()
    except ValueError:
        pass  # a closed process answers nothing any more
    else:
        raise AssertionError("a closed process was used")

    assert procfast.active_children() == []
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
