"""Makes this interpreter look like one on Windows, as far as imports can tell: for tests/test_windows.py.

Gone are the modules, and the names of `os`, `select`, `signal`, `socket` and `time`, that the documentation has for
Unix only; `_winapi` and `msvcrt` are there, but can do nothing. No process can be started.
"""

import _multiprocessing
import os
import platform
import select
import signal
import socket
import sys
import time
import types

UNIX_MODULES = (
    *("_posixshmem", "_posixsubprocess", "fcntl", "grp", "posix", "pwd", "readline", "resource"),
    *("syslog", "termios", "pty", "tty"),
)
UNIX_NAMES = {
    os: (
        "chroot chown ctermid eventfd fork forkpty getegid geteuid getgid getgroups getloadavg getpgid getpgrp "
        "getpriority getresuid getsid getuid initgroups killpg lchown lockf memfd_create mkfifo mknod nice openpty "
        "pathconf pidfd_open pipe2 posix_fadvise posix_spawn preadv preadv2 pwritev pwritev2 readv register_at_fork "
        "sched_getaffinity sched_yield sendfile setgid setpgid setpriority setresuid setsid setuid statvfs sysconf "
        "sysconf_names ttyname uname wait wait3 wait4 waitid writev O_CLOEXEC O_NONBLOCK RWF_NOWAIT P_ALL P_PGID P_PID "
        "P_PIDFD WCONTINUED WCOREDUMP WEXITED WEXITSTATUS WIFCONTINUED WIFEXITED WIFSIGNALED WIFSTOPPED WNOHANG "
        "WNOWAIT WSTOPPED WSTOPSIG WTERMSIG WUNTRACED"
    ),
    select: "poll epoll kqueue POLLIN POLLOUT POLLHUP POLLERR POLLNVAL",
    signal: (
        "SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGUSR1 SIGUSR2 alarm getitimer pause "
        "pthread_kill pthread_sigmask setitimer siginterrupt sigpending sigtimedwait sigwait sigwaitinfo"
    ),
    socket: "AF_UNIX CMSG_SPACE CMSG_LEN SCM_RIGHTS recv_fds send_fds",
    time: "CLOCK_BOOTTIME CLOCK_MONOTONIC CLOCK_REALTIME clock_gettime clock_gettime_ns",
}


class Windows(types.ModuleType):
    """Constants are 0; what is called raises."""

    def __getattr__(self, name: str) -> object:
        if name.isupper():
            return 0
        if name.startswith("__"):
            raise AttributeError(name)

        def called(*args: object) -> None:
            raise OSError(f"{self.__name__}.{name}: this is no Windows")

        return called


assert not any(name.startswith(("procfast", "multiprocessing")) for name in sys.modules)
import ctypes  # noqa: E402, F401 - what of the standard library looks at the platform, and is not in question
import socketserver  # noqa: E402, F401
import subprocess  # noqa: E402, F401
import tempfile  # noqa: E402, F401

for module, names in UNIX_NAMES.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
for name in UNIX_MODULES:
    sys.modules[name] = None  # type: ignore[assignment]  # importing it is an ImportError
for name in ("_winapi", "msvcrt"):
    sys.modules[name] = Windows(name)
for name in ("closesocket", "recv", "send"):
    setattr(_multiprocessing, name, None)
sys.platform, os.name = "win32", "nt"
platform.platform = lambda *args, **kwds: "Windows"
