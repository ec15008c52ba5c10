"""The pure package where Python lacks what it lacks on Windows. It is hidden here: that is not Windows itself,
but what is imported there must do without it, too."""

import os
import subprocess
import sys

HIDE = """
import _multiprocessing, ctypes, multiprocessing.util, os, platform, select, signal, socket, subprocess, sys, tempfile
from unittest import mock

platform.platform()  # is remembered
GONE = {"fcntl", "grp", "posix", "pwd", "resource", "termios", "_posixshmem", "_posixsubprocess"}

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name in GONE or name.endswith("._native"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in list(sys.modules):
    if name in GONE or name.startswith("multiprocessing"):
        del sys.modules[name]
sys.meta_path.insert(0, Hidden())
sys.platform, os.name = "win32", "nt"
sys.modules |= {"_winapi": mock.MagicMock(), "msvcrt": mock.MagicMock()}
_multiprocessing.closesocket = _multiprocessing.recv = _multiprocessing.send = None
for module, prefixes in {
    os: "W P_ CLD_ fork wait sched_ getuid getgid gete mkfifo pread pwrite readv writev posix_ register_ "
        "pidfd setsid killpg chown uname sysconf memfd eventfd O_NONBLOCK O_CLOEXEC pipe2 statvfs setpgid getpgid",
    select: "poll epoll POLL EPOLL PIPE_BUF",
    signal: "SIGKILL SIGCHLD SIGSTOP SIGCONT SIGUSR SIGPIPE SIGALRM SIGHUP SIGQUIT SIG_BLOCK SIG_UNBLOCK SIG_SETMASK "
            "pthread_ setitimer sigtimedwait sigwait sigpending siginterrupt",
    socket: "AF_UNIX SCM_ CMSG_ recv_fds send_fds",
}.items():
    for name in dir(module):
        if name.startswith(tuple(prefixes.split())) and name != "waitstatus_to_exitcode":
            delattr(module, name)
"""
USE = """
import procfast, procfast.futures, procfast.posix
print(procfast.backend, procfast.get_all_start_methods(), procfast.posix.__all__)
assert procfast.posix.getpid() == os.getpid()
for use in (lambda: procfast.posix.fork, lambda: procfast.get_context("spawn", backend="native")):
    try:
        use()
    except (AttributeError, ImportError) as error:
        print(error)
from procfast.cli import info
assert info.main([]) == 0
"""


def test_imported_and_used():
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", HIDE + USE],
        env={**os.environ, "PROCFAST_BACKEND": "stdlib", "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, fork, native, *table = done.stdout.splitlines()
    assert first == "stdlib ['spawn'] ['_exit', 'getpid', 'getppid']"
    assert fork == "procfast.posix has no fork on Windows: it is made of calls of POSIX"
    assert native.startswith("the native backend does not load: ")
    assert any(line.split() == ["backend", "stdlib"] for line in table)
