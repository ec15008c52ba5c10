"""A fork that fails says which limit was reached; nothing is half made.

python examples/fork_failure.py
"""

import os
import resource

from procfast import backend, posix

NOBODY = 65534


def limited():
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    if os.geteuid() == 0:  # the limit does not bind root
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    for start in (posix.fork, lambda: posix.spawn_detached(print, "not reached")):
        try:
            start()
        except BlockingIOError as error:  # EAGAIN
            print(error)
            assert "RLIMIT_NPROC" in str(error)
        else:
            return 1
    return 0


def main():
    pid = posix.fork()
    if pid == 0:
        code = 1
        try:
            code = limited()
        finally:
            os._exit(code)
    assert posix.waitpid(pid).status.code == 0
    print(backend, "ok")


if __name__ == "__main__":
    main()
