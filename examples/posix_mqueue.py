"""A POSIX message queue: priorities, a full queue, an empty one, select, a worker in another process (Linux).

python examples/posix_mqueue.py [fork|spawn|forkserver]
"""

import os
import select
import sys

import procfast
from procfast import posix

NAME = f"/procfast-example-{os.getpid()}"


def work(jobs, results):
    while True:
        data, priority = jobs.receive(timeout=30)
        if not data:
            return
        results.send(data.upper(), priority)


def main():
    jobs = posix.MessageQueue(NAME, create=True, exclusive=True, max_messages=4, max_size=64)
    results = posix.MessageQueue(NAME + "-results", create=True, exclusive=True)
    with jobs, results:
        try:
            # The most urgent comes out first, whenever it was sent.
            jobs.send(b"later")
            jobs.send(b"at once", priority=10)
            jobs.send(b"soon", priority=5)
            assert [jobs.receive().data for _ in range(3)] == [b"at once", b"soon", b"later"]

            # Nothing there, no room, too long.
            for call in (
                lambda: jobs.receive(timeout=0.1),
                lambda: [jobs.send(b"x", timeout=0.1) for _ in range(5)],
                lambda: jobs.send(b"x" * 65),
            ):
                try:
                    call()
                except OSError as error:
                    print(f"{type(error).__name__}: {error}")
                else:
                    raise AssertionError("it should not have come to this")
            while jobs.count:
                jobs.receive()

            # A worker; the queues go to it by name, and results can be selected on.
            process = procfast.Process(target=work, args=(jobs, results))
            process.start()
            for word in (b"one", b"two", b"three"):
                jobs.send(word)
                readable, _, _ = select.select([results], [], [], 30)
                assert readable == [results]
                assert results.receive(timeout=0).data == word.upper()
            jobs.send(b"")  # the end, by agreement
            process.join()
            assert process.exitcode == 0
        finally:
            jobs.unlink()  # else names and messages stay until the system restarts
            results.unlink()
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
