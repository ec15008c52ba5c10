"""The fork server's own process; `forkserver` is the side of the process that it serves.

It has one thread and waits for two things: requests on the control, and the ends of its children. It ends when no
process has the other end of the control any more and its last child has ended, so that each of those is reaped.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import errno
import io
import multiprocessing.popen_fork
import os
import pickle
import select
import signal
import socket
import sys
from multiprocessing import forkserver as standard
from multiprocessing import process, resource_tracker, spawn, util
from typing import Any, NoReturn

from . import liveness, preload
from ._native import parent_open
from .forkserver import CLOEXEC, HEADER, MESSAGE, QUIET, RUNNING

# From Python 3.13 on a child runs the exit functions registered in it, and only these.
_RUNS_ATEXIT = hasattr(multiprocessing.popen_fork, "atexit")

_MAX_FDS = 253  # in one message, by the kernel


def main(control: int, order: int) -> None:
    """Run the server on two inherited descriptors, its socket and the file that says what to import."""
    for fd in (control, order):
        os.set_inheritable(fd, False)
    with open(order, "r+b", buffering=0) as file:
        reseed = preload.preload(file, control)
    Server(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, control), reseed).run()


class Server:
    def __init__(self, control: socket.socket, reseed: Any) -> None:
        control.setblocking(True)
        self.control = control
        self.reseed = reseed
        self.children: dict[int, socket.socket] = {}  # pid: the line
        self.wake = os.pipe()  # a byte comes with each SIGCHLD
        for fd in self.wake:
            os.set_blocking(fd, False)
        # An interrupt from the terminal is for the program; its processes get it themselves.
        self.handlers = {
            signal.SIGCHLD: signal.signal(signal.SIGCHLD, lambda *args: None),
            signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        }
        signal.set_wakeup_fd(self.wake[1], warn_on_full_buffer=False)
        self.mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])

    def run(self) -> None:
        poll = select.poll()
        poll.register(self.wake[0], select.POLLIN)
        poll.register(self.control, select.POLLIN)
        serving = True
        while serving or self.children:
            for fd, _ in poll.poll():
                if fd == self.wake[0]:
                    os.read(fd, 65536)
                    self.reap()
                elif not self.serve():
                    poll.unregister(self.control)
                    self.control.close()
                    serving = False

    def reap(self) -> None:
        """Tell how children have ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            line = self.children.pop(pid, None)  # None: one that an import has left
            if line is not None:
                _tell(line, pid, os.waitstatus_to_exitcode(status))
                line.close()

    def serve(self) -> bool:
        """Fork the process that is asked for; False: nobody is there any more to ask."""
        asked, ancillary, _, _ = self.control.recvmsg(1, socket.CMSG_SPACE(4 * _MAX_FDS), CLOEXEC)
        if not asked:
            return False
        fds = array.array("i")
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(data)
        if len(fds) != asked[0]:
            # out of descriptors: who asked finds its line closed
            util.close_fds(*fds)
            return True
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fds[0])
        line.setblocking(True)
        try:
            pid = os.fork()
        except OSError as error:
            _tell(line, -(error.errno or errno.EAGAIN), 0)
            line.close()
        else:
            if pid == 0:
                self.child(line, fds[1:].tolist())
            self.children[pid] = line
        util.close_fds(*fds[1:])
        return True

    def child(self, line: socket.socket, fds: list[int]) -> NoReturn:
        """A child's whole life."""
        code = 1
        try:
            _say_pid(line)
            signal.set_wakeup_fd(-1)
            for number, handler in self.handlers.items():
                signal.signal(number, handler)
            signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
            self.control.close()
            util.close_fds(*self.wake)
            for other in self.children.values():
                other.close()
            self.children.clear()
            if _RUNS_ATEXIT:
                atexit._clear()
                atexit.register(util._exit_function)
            code = _run(line, fds, self.reseed)
        except Exception:
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
        finally:
            if _RUNS_ATEXIT:
                atexit._run_exitfuncs()
            os._exit(code)


def _tell(line: socket.socket, pid: int, code: int) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # nobody wants to know
        line.send(MESSAGE.pack(pid, code), QUIET)


def _say_pid(line: socket.socket) -> None:
    """The child's first words. It ends here if nobody is there to hear them: then it is not wanted."""
    rights = []
    try:
        pidfd = parent_open()
        rights.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [pidfd])))
    except OSError:
        pidfd = -1  # there are none, or no room: the line will do
    try:
        line.sendmsg([MESSAGE.pack(os.getpid(), RUNNING)], rights, QUIET)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(1)
    if pidfd >= 0:
        os.close(pidfd)


def _run(line: socket.socket, fds: list[int], reseed: Any) -> int:
    """Be the process that comes on the line; as `multiprocessing.forkserver` and `spawn` do it."""
    size, parent, tracker, alive = HEADER.unpack(_receive(line, HEADER.size))
    if alive >= 0:
        liveness.end_with(fds[alive])
    for i, fd in enumerate(fds):
        if i not in (parent, tracker, alive):
            os.set_inheritable(fd, True)  # as in every child of the standard library's
    data = io.BytesIO(_receive(line, size - HEADER.size))
    if parent >= 0:
        sentinel = fds[parent]
        line.close()
    else:
        sentinel = line.detach()
    if tracker >= 0:
        resource_tracker._resource_tracker._fd = fds[tracker]
    standard._forkserver._inherited_fds = fds
    reseed()
    process.current_process()._inheriting = True
    try:
        prepare = pickle.load(data)
        path = prepare.pop("init_main_from_path", None)
        spawn.prepare(prepare)
        if path is not None:
            preload.run_main(path)
        self = pickle.load(data)
    finally:
        del process.current_process()._inheriting
    data.close()
    return self._bootstrap(sentinel)


def _receive(line: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        try:
            count = line.recv_into(view)
        except ConnectionResetError:
            count = 0
        if not count:
            os._exit(1)  # who asked has ended: nobody is there to be told
        view = view[count:]
    return data
