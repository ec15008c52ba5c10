"""A zombie: ended, but nobody has asked how. An orphan: its parent has ended before it. Both, and their remedies.

python examples/orphans_zombies.py            (reads /proc: Linux)
"""

import os
import signal
import time

import procfast
from procfast import posix


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


def zombies():
    """Asking how it ended takes a zombie away: join for a Process, reap for a fork."""
    process = procfast.get_context("fork").Process(target=os._exit, args=(6,))
    process.start()
    pid = posix.fork()
    if pid == 0:
        posix._exit(7)
    wait_until(
        lambda: state(process.pid) == state(pid) == "Z"
    )  # they have ended and wait to be asked

    done = posix.reap()  # those of posix.fork only: the Process's status stays its own
    assert {pid: status.code for pid, status in done.items()} == {pid: 7}
    assert state(pid) is None and state(process.pid) == "Z"
    process.join()
    assert process.exitcode == 6 and state(process.pid) is None


def orphan(reports, above):
    """Forks a child and ends before it; the child tells who its parent is then."""
    parent = posix.fork()
    if parent == 0:
        me = posix.getpid()
        if posix.fork() == 0:
            while posix.getppid() == me:
                time.sleep(0.01)
            reports.put((posix.getpid(), posix.getppid()))
        posix._exit(0)
    posix.waitpid(parent)
    pid, new = reports.get()
    assert (new == posix.getpid()) == above
    return pid


def with_its_parent(reports):
    """A child that the kernel ends with its parent."""
    parent = posix.fork()
    if parent == 0:
        me = posix.getpid()
        if posix.fork() == 0:
            posix.set_parent_death_signal(signal.SIGKILL, parent=me)
            reports.put(posix.getpid())
            signal.pause()
        signal.pause()
    pid = reports.get()
    os.kill(parent, signal.SIGKILL)
    posix.waitpid(parent)
    assert (
        posix.waitpid(pid).status.text == "killed by SIGKILL"
    )  # below a subreaper its orphans are its children


def main():
    reports = procfast.get_context("fork").SimpleQueue()
    zombies()
    orphan(reports, above=False)  # process 1's, or a subreaper's above this program
    posix.become_subreaper()
    pid = orphan(reports, above=True)
    assert posix.wait() == (pid, 0), "who adopts has to wait"
    with_its_parent(reports)
    assert procfast.active_children() == []
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
