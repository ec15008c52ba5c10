"""wait, waitpid, waitid: any child or one, with and without waiting; ended, stopped, going on; by pid or by pidfd.

python examples/wait_waitpid.py
"""

import os
import select
import signal

from procfast import backend, posix


def start(function, *args):
    """fork: in the child the function and no more, in the parent its pid."""
    pid = posix.fork()
    if pid == 0:
        status = 1
        try:
            status = function(*args) or 0
        finally:
            posix._exit(status)
    return pid


def main():
    # wait: whichever child ends first.
    pids = {start(lambda code=code: code): code for code in (1, 2, 3)}
    while pids:
        pid, status = posix.wait()
        assert status.code == pids.pop(pid)
    try:
        posix.wait()
    except ChildProcessError as error:
        print(error)

    # waitpid: this one; WNOHANG looks and does not wait; stopped and continued children are told when asked for.
    pid = start(signal.pause)
    assert posix.waitpid(pid, posix.WNOHANG) == (0, 0), "it runs"
    os.kill(pid, signal.SIGSTOP)
    print(pid, posix.waitpid(pid, posix.WUNTRACED).status)
    os.kill(pid, signal.SIGCONT)
    print(pid, posix.waitpid(pid, posix.WCONTINUED).status)
    os.kill(pid, signal.SIGTERM)
    print(pid, posix.waitpid(pid).status)

    # waitid: WNOWAIT looks at the status and leaves it there.
    pid = start(lambda: 4)
    event = posix.waitid(posix.P_PID, pid, posix.WEXITED | posix.WNOWAIT)
    assert event.si_code == posix.CLD_EXITED and event.status.code == 4
    assert posix.waitpid(pid) == (pid, event.status)

    # Pidfd: with a timeout, and to be selected on beside other descriptors.
    with posix.Pidfd(start(signal.pause)) as process:
        try:
            process.wait(timeout=0.05)
        except TimeoutError as error:
            print(error)
        process.send_signal(signal.SIGKILL)  # this very process, or nobody
        assert select.select([process], [], [], 30)[0] == [process]
        print(process.pid, process.wait())
    print(backend, "ok")


if __name__ == "__main__":
    main()
