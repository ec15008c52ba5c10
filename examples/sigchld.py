"""SIGCHLD: told of each child that ends; or ignored, so that the system reaps them by itself.

python examples/sigchld.py
"""

import os
import signal
import time

import procfast

ctx = procfast.get_context("fork")


def handled():
    """A handler that leaves the statuses to join(). Two signals may come as one."""
    seen = []
    before = signal.signal(signal.SIGCHLD, lambda number, frame: seen.append(number))
    processes = [ctx.Process(target=os._exit, args=(code,)) for code in (2, 3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    signal.signal(signal.SIGCHLD, before)
    assert [process.exitcode for process in processes] == [2, 3]
    assert 1 <= len(seen) <= 2


def ignored():
    """No zombies, and nothing to wait for: join() still returns when the process has ended."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    pid = os.fork()
    if pid == 0:
        os._exit(1)
    try:
        os.waitpid(pid, 0)  # returns when the child has ended, without a status
    except ChildProcessError:
        pass  # the system has thrown it away, as asked
    else:
        raise AssertionError("an ignored child has left a status")

    process = ctx.Process(target=time.sleep, args=(0.2,))
    begin = time.monotonic()
    process.start()
    process.join(20)
    assert 0.2 <= time.monotonic() - begin < 10
    signal.signal(signal.SIGCHLD, before)


if __name__ == "__main__":
    handled()
    ignored()
    print(procfast.backend, "ok")
