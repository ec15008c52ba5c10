"""SIGCHLD: told of each child that ends; or ignored, so that the system reaps them by itself.

python examples/sigchld.py
"""

import signal
import subprocess
import time

import procfast
from procfast import posix

ctx = procfast.get_context("fork")


def fork(code):
    pid = posix.fork()
    if pid == 0:
        posix._exit(code)
    return pid


def wait_until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "still not so after 10 s"
        time.sleep(0.01)


def handled():
    """A handler that reaps: reap() takes the children of posix.fork, and nobody else's. Two signals may come as one."""
    found = {}
    before = signal.signal(signal.SIGCHLD, lambda number, frame: found.update(posix.reap()))
    mine = [fork(code) for code in (2, 3)]
    process = ctx.Process(target=posix._exit, args=(4,))
    process.start()
    program = subprocess.Popen(["sh", "-c", "exit 5"])
    wait_until(lambda: len(found) == 2)
    process.join()
    assert process.exitcode == 4 and program.wait() == 5, "their statuses are theirs"
    assert [found[pid].code for pid in mine] == [2, 3]
    signal.signal(signal.SIGCHLD, before)


def ignored():
    """No zombies, and nothing to wait for: join() still returns when the process has ended."""
    with posix.autoreap():
        pid = fork(1)
        try:
            posix.waitpid(pid)  # returns when all children have ended, without a status
        except ChildProcessError as error:
            print(error)  # the system has thrown it away, as asked
        else:
            raise AssertionError("an ignored child has left a status")

        process = ctx.Process(target=time.sleep, args=(0.2,))
        begin = time.monotonic()
        process.start()
        process.join(20)
        assert 0.2 <= time.monotonic() - begin < 10

    # From here on SIGCHLD is handled as before.
    assert posix.waitpid(fork(6)).status.code == 6


if __name__ == "__main__":
    handled()
    ignored()
    print(procfast.backend, "ok")
