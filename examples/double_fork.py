"""The double fork: a process that nobody here waits for, and that never becomes a zombie of ours.

The process between leaves at once; the detached one is adopted by process 1 (or the nearest subreaper), which reaps
it. Its pid is known, and so is a failure of its start.

    python examples/double_fork.py
"""

import os
import warnings

import procfast
from procfast import posix


def work(go, reports):
    go.get()  # it works on after its starter has gone on
    reports.put((os.getpid(), os.getppid()))


def by_hand(go, reports):
    """What spawn_detached does, without its answers: no pid, and no error where the second fork fails."""
    between = posix.fork()
    if between == 0:
        os.setsid()
        if posix.fork() == 0:
            work(go, reports)
        posix._exit(0)
    assert posix.waitpid(between).status == 0


def main():
    # Where process 1 does not reap, spawn_detached warns; this program goes on all the same.
    warnings.simplefilter("ignore", RuntimeWarning)
    ctx = procfast.get_context("fork")
    go, reports = ctx.SimpleQueue(), ctx.SimpleQueue()

    detached = posix.spawn_detached(work, go, reports)  # waits for its start, not for its end
    go.put(None)
    assert reports.get() == (detached.pid, detached.parent), "its parent is not this process"
    print(detached)
    try:
        posix.waitpid(detached.pid)
    except ChildProcessError as error:
        print(error)  # it is not ours to wait for
    else:
        raise AssertionError("the detached process is a child")
    assert procfast.active_children() == []

    by_hand(go, reports)
    go.put(None)
    assert reports.get()[1] != os.getpid()
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
