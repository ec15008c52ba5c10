"""The fork server of this process, and how it is asked for a process.

The server (`forkserver_process`) belongs to the process that launched it and to no other. Between the two is a
socket pair, the *control*: a request is one byte with the descriptors that the new process needs. The kernel closes
this process's end with it, which ends the server. Nothing has a name.

The first descriptor of a request is one end of another socket pair, the process's *line*. On it the process is given
what it shall do, and from it comes first the process's pid, said by itself and with a pidfd of it, and in the end,
said by the server, how it ended. The process does nothing before it has said its pid. So if the line closes
without it, nothing has run, and asking another server is safe.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import pickle
import select
import socket
import struct
import sys
import threading
from collections.abc import Sequence
from multiprocessing import forkserver, resource_tracker, spawn, util
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from ._native import Child

__all__ = ["Line", "Server", "Started", "ensure_running", "start", "told"]

MESSAGE = struct.Struct(
    "=qq"
)  # what comes on a line: pid, and exit code or RUNNING; or -errno, and 0
RUNNING = 1 << 32
HEADER = struct.Struct("=Qiii")
"""What goes first: bytes in all, and which descriptors are those of the parent, the resource tracker, and liveness."""

MAX_FDS = 250  # the kernel takes 253 in one message, and the line is one
CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
QUIET = getattr(socket, "MSG_NOSIGNAL", 0)  # programs may have SIGPIPE end them

_ATTEMPTS = 3
_PATIENCE = 1.0  # seconds for a server whose socket has closed to be gone

_lock = threading.RLock()  # a signal handler may start a process as well
_server: Server | None = None
_plain = False  # a server has ended before it forked anything: the next one imports nothing
_lost: list[Server] = []
_lending: list[socket.socket] = []  # the servers' ends of socket pairs, while this process has them

PROGRAM = """\
import sys
sys.path[:] = {path!a}
import multiprocessing
from procfast.native.forkserver_process import main
main({control}, {order})
"""


class Line(socket.socket):
    """This process's end of a socket pair. Closed when dropped."""

    def __del__(self) -> None:
        self.close()


class Started(NamedTuple):
    """A process that the server has forked."""

    server: Server
    line: Line
    pid: int
    pidfd: int | None
    """None: there are no pidfds, or it has ended already"""
    exitcode: int | None


class Server:
    """A server process, launched when this is made."""

    def __init__(self, hint: Sequence[str] = ()) -> None:
        self.owner = os.getpid()
        self.exitcode: int | None = None
        self.answered = False  # has it ever forked a process?
        modules = forkserver._forkserver._preload_modules
        data = spawn.get_preparation_data("forkserver")
        order = {
            "preload": [] if _plain else list(modules),
            "whole_main": modules is named,
            "on_error": on_error,
            "hint": list(hint),
            "prepare": pickle.dumps({key: data[key] for key in _PREPARED if key in data}),
            "spoilt": [],  # names of imports that are left to the children
        }
        home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        path = list(data["sys_path"])
        self.control, theirs = _pair()
        try:
            with unnamed_file(pickle.dumps(order)) as file:
                program = PROGRAM.format(
                    path=path if home in path else [*path, home],
                    control=theirs.fileno(), order=file.fileno(),
                )  # fmt: skip
                executable: Any = spawn.get_executable()
                args = [executable, *util._args_from_interpreter_flags(), "-c", program]
                self.pid = util.spawnv_passfds(executable, args, [theirs.fileno(), file.fileno()])
        finally:
            _returned(theirs)
        self.child = Child(self.pid, self.control.fileno())
        self._identity = os.fstat(self.control.fileno()).st_ino

    def intact(self) -> bool:
        """Is the control still what is behind its descriptor? Some programs close all that they have."""
        try:
            return os.fstat(self.control.fileno()).st_ino == self._identity
        except OSError:
            return False

    def ended(self, within: float = 0.0) -> bool:
        """Has it ended, or does it within some seconds? It is no zombie afterwards."""
        try:
            self.exitcode = self.child.wait(within)
        except ChildProcessError:
            return True  # somebody else has reaped it
        return self.exitcode is not None

    def gone(self) -> bool:
        """Can nobody tell any more how its processes end? False where that cannot be known: in a forked child."""
        return self.owner == os.getpid() and self.ended()

    def ask(self, fds: Sequence[int]) -> Line | None:
        """Ask for a process that has these descriptors; None: the server is gone."""
        line, theirs = _pair()
        try:
            passed = array.array("i", [theirs.fileno(), *fds])
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)]
            self.control.sendmsg([bytes([len(passed)])], rights, QUIET)
        except (BrokenPipeError, ConnectionResetError):
            return None
        finally:
            _returned(theirs)
        return line


_PREPARED = (
    *("sys_path", "sys_argv", "dir", "orig_dir"),
    *("init_main_from_name", "init_main_from_path"),
)

named: Sequence[str] | None = None
on_error = "ignore"
"""What `set_forkserver_preload` of a native context was last given."""


def ensure_running(process_obj: BaseProcess | None = None) -> Server:
    """The server of this process, launched if there is none; for this process first, if one is given."""
    global _server, _plain
    with _lock:
        before = _server
        if before is not None:
            if before.owner != os.getpid() or not before.intact():
                _lost.append(before)  # not to be closed: its descriptors are others' by now
            elif not before.ended():
                return before
            else:
                _plain = _plain or not (before.answered or on_error == "fail")
        server = Server(_modules(process_obj))
        if _server is not before and _server is not None:
            server.control.close()  # a signal handler was quicker
            server.child.wait()
        else:
            _server = server
        return _server


def start(process_obj: BaseProcess, data: memoryview, fds: Sequence[int]) -> Started:
    """Have a process forked that finds `data`, a HEADER and what it announces, on its line.

    ValueError: too many descriptors. OSError: the server can't fork, or ends again and again.
    """
    if len(fds) > MAX_FDS:
        raise ValueError(f"too many fds: the process needs {len(fds)}, and at most {MAX_FDS} go")
    for _ in range(_ATTEMPTS):
        server = ensure_running(process_obj)
        line = server.ask(fds)
        if line is not None:
            sent = _send_some(line, data)
            started = _answer(server, line)
            if started is not None:
                server.answered = True
                if sent < len(data) and started.exitcode is None:
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        line.sendall(data[sent:], QUIET)  # or it has ended: its exit code will tell
                return started
            line.close()
        if not server.ended(_PATIENCE):
            raise OSError(
                errno.EMFILE, "the fork server could not take the request: too many open files"
            )
        if on_error == "fail" and not server.answered:
            raise OSError(
                errno.ECHILD,
                f"the fork server {_fate(server)} while it imported modules; see stderr",
            )
    raise OSError(errno.ECHILD, f"the fork server {_fate(server)}, {_ATTEMPTS} times in a row")


def _fate(server: Server) -> str:
    code = server.exitcode
    if code is None:
        return f"(pid {server.pid}) ended"
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"(pid {server.pid}) {how}"


def _send_some(line: Line, data: memoryview) -> int:
    """What goes without waiting, which is mostly all."""
    try:
        return line.send(data, QUIET | socket.MSG_DONTWAIT)
    except (BlockingIOError, BrokenPipeError, ConnectionResetError):
        return 0


def _answer(server: Server, line: Line) -> Started | None:
    """The first message of a line; None: nobody is there any more to send one."""
    try:
        message, ancillary, _, _ = line.recvmsg(MESSAGE.size, socket.CMSG_SPACE(4), CLOEXEC)
    except ConnectionResetError:
        return None
    pidfd = None
    for level, kind, fds in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            [pidfd] = array.array("i", fds)
    if not message:
        return None
    pid, code = MESSAGE.unpack(message)
    if pid < 0:
        raise OSError(-pid, f"the fork server could not fork: {os.strerror(-pid)}")
    return Started(server, line, pid, pidfd, None if code == RUNNING else code)


def told(line: Line) -> int | None:
    """How the process ended, where its server has told; it can be asked any number of times.

    BlockingIOError: it has not told. None: it is gone and has not told.
    """
    try:
        message = line.recv(MESSAGE.size, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except ConnectionResetError:
        return None
    return MESSAGE.unpack(message)[1] if message else None


def _modules(process_obj: BaseProcess | None) -> list[str]:
    """Where the process's own code is: what a child imports that does not run the main module."""
    target = getattr(process_obj, "_target", None)
    found = [type(process_obj).__module__, getattr(target, "__module__", None)]
    return [name for name in found if isinstance(name, str) and name in sys.modules]


def tracker() -> int | None:
    """The descriptor of the resource tracker, which is launched where there is none, but not waked for this.

    None: a signal handler asks, which has interrupted just that.
    """
    fd: int | None = resource_tracker._resource_tracker._fd
    if fd is None or readable(fd, 0):  # the reader is gone
        try:
            fd = resource_tracker._resource_tracker.getfd()
        except getattr(resource_tracker, "ReentrantCallError", ()):
            return None
    return fd


def readable(fd: int, timeout: float | None) -> bool:
    """Wait at most some seconds (None: for ever) until a descriptor is readable, or hung up."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(None if timeout is None else 1000 * timeout))


def _pair() -> tuple[Line, socket.socket]:
    """Two connected sockets: ours, and one on its way to a server, which no forked child may keep."""
    ours, theirs = socket.socketpair()
    _lending.append(theirs)
    line = Line(ours.family, ours.type, ours.proto, ours.detach())
    if socket.getdefaulttimeout() is not None:
        line.setblocking(True)
        theirs.setblocking(True)
    return line, theirs


def _returned(theirs: socket.socket) -> None:
    theirs.close()
    with contextlib.suppress(ValueError):  # in a child that a signal handler has forked meanwhile
        _lending.remove(theirs)


def unnamed_file(data: bytes) -> Any:
    """A file, at its beginning, that has no name."""
    try:
        file: Any = open(os.memfd_create("procfast"), "w+b", buffering=0)  # noqa: SIM115 - it is returned
    except (AttributeError, OSError):  # there are none here
        import tempfile

        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
    file.seek(0)
    return file


def _after_fork() -> None:
    """In a child of fork: the server is its parent's."""
    global _server, _lock
    _lock = threading.RLock()
    for theirs in _lending:
        theirs.close()
    _lending.clear()
    if _server is not None:
        if _server.intact():
            _server.control.close()
        else:
            _lost.append(_server)
        _server = None


os.register_at_fork(after_in_child=_after_fork)
