"""The double fork: a process that nobody waits for, and that never becomes a zombie of ours.

The child forks and leaves at once; the grandchild is adopted by the system, which reaps it.

    python examples/double_fork.py
"""

import os
import time

import procfast


def main():
    ctx = procfast.get_context("fork")
    reports = ctx.SimpleQueue()
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            time.sleep(0.3)
            reports.put(os.getpid())  # works on after its parent has left
        os._exit(0)

    begin = time.monotonic()
    assert os.waitpid(child, 0) == (child, 0)
    assert time.monotonic() - begin < 0.25, "only the child was waited for, not the grandchild"
    grandchild = reports.get()
    try:
        os.waitpid(grandchild, 0)
    except ChildProcessError:
        pass  # it is not ours to wait for
    else:
        raise AssertionError("the grandchild is a child")
    assert procfast.active_children() == []
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
