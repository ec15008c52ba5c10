"""A zombie: ended, but nobody has asked how. An orphan: its parent has ended before it.

python examples/orphans_zombies.py            (reads /proc: Linux)
"""

import os
import time

import procfast


def state(pid):
    """The letter of a process in the process table; None when it is not there."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def wait_until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "still not so after 10 s"
        time.sleep(0.01)


def zombie():
    process = procfast.get_context("fork").Process(target=os._exit, args=(6,))
    process.start()
    wait_until(lambda: state(process.pid) == "Z")  # it has ended and waits to be asked
    process.join()
    assert process.exitcode == 6
    assert state(process.pid) is None, "join() asked, so the zombie is gone"


def orphan():
    queue = procfast.get_context("fork").SimpleQueue()
    parent = os.fork()
    if parent == 0:
        me = os.getpid()
        if os.fork() == 0:
            while os.getppid() == me:
                time.sleep(0.01)
            queue.put((me, os.getppid()))  # the queue outlives the process that handed it down
        os._exit(0)
    os.waitpid(parent, 0)
    old, new = queue.get()
    assert old == parent
    assert new != parent, "the orphan was given another parent"


if __name__ == "__main__":
    zombie()
    orphan()
    assert procfast.active_children() == []
    print(procfast.backend, "ok")
