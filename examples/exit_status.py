"""How a process ended, and what its parent reads: by Process.exitcode, and raw by waitpid.

python examples/exit_status.py [fork|spawn|forkserver]
"""

import io
import os
import signal
import sys

import procfast
from procfast import posix


def end(how):
    if how == "return":
        return
    if how == "sys.exit":
        sys.exit(3)  # an exception: finally-blocks run
    if how == "sys.exit with text":
        sys.exit("printed on stderr; this line belongs to the example")
    if how == "os._exit":
        os._exit(4)  # at once: no finally-blocks, nothing flushed
    if how == "error":
        sys.stderr = io.StringIO()  # keep the expected traceback off the screen
        raise ValueError("not caught")
    if how == "signal":
        os.kill(os.getpid(), signal.SIGTERM)


WANTED = {
    "return": 0,
    "sys.exit": 3,
    "sys.exit with text": 1,
    "os._exit": 4,
    "error": 1,
    "signal": -signal.SIGTERM,
}


def main():
    for how, code in WANTED.items():
        process = procfast.Process(target=end, args=(how,))
        process.start()
        process.join()
        assert process.exitcode == code, (how, process.exitcode)

    # The same from the system: an ExitStatus is the number that os.waitpid gives, and says what it means.
    pid = posix.fork()
    if pid == 0:
        posix._exit(7)
    _, status = posix.waitpid(pid)
    assert (status.code, status.signal, status.text) == (7, None, "exited with 7")
    assert status == 7 << 8 and posix.WIFEXITED(status) and posix.WEXITSTATUS(status) == 7

    pid = posix.fork()
    if pid == 0:
        signal.pause()
    os.kill(pid, signal.SIGKILL)
    _, status = posix.waitpid(pid)
    assert (status.code, status.signal) == (None, signal.SIGKILL)
    assert posix.WIFSIGNALED(status) and posix.WTERMSIG(status) == signal.SIGKILL
    assert status.exitcode == -signal.SIGKILL  # as Process.exitcode says it
    print(f"pid {pid} was {status}")
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
