"""A warm spare interpreter: the next process of start method spawn, started before it is asked for.

It is what a cold start makes: fork and exec of the same executable with the same flags. It has imported what any
spawned process imports, and no code of the program; then it waits in the kernel. `start()` hands it the task, with the
descriptors at the numbers that a fresh process would have, and it goes on in `multiprocessing.spawn` as ever.

It serves only a `start()` at which a fresh interpreter would inherit exactly what this one has inherited; else it is
ended and the start is cold. One per process, launched after a join, or after a start where nobody joins; from the
second start on. No thread watches over it. It ends with the process that has launched it, by a pidfd of that process;
forked children forget it.

PROCFAST_SPARE=0 in the environment: there are none.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import signal
import socket
import sys
import time
from multiprocessing import spawn, util

from ._native import Child, inherited, parent_open, watch
from .passing import Remote
from .spare_child import MOST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VARIABLE = "PROCFAST_SPARE"

_PATIENCE = 1.0  # seconds for what was killed to end
_ALL = signal.valid_signals()

# None or one; changed in single steps, as threads and signal handlers start processes.
_spares: list[Spare] = []
_lost: list[Child] = []  # closing their descriptor would close another's
_starts = 0, 0  # by which process, how many
_joins = False  # whether the one that was started last has been joined


class Spare:
    """A fresh interpreter that waits for its task, or will as soon as it has come up."""

    def __init__(self, path: list[str], modules: list[str], key: Any) -> None:
        """Launch it, for a program whose children have this `sys.path` and import `modules`.

        OSError: it can't be had.
        """
        _register()
        self._key = key
        self.owner = os.getpid()
        command = spawn.get_command_line()
        self._sock, theirs = socket.socketpair()
        self._sock.setblocking(False)
        parent = -1
        try:
            status = os.fstat(self._sock.fileno())
            self._file = status.st_dev, status.st_ino
            parent = parent_open()
            wait = Remote(path, "spare_child", "wait", theirs.fileno(), parent, modules)
            self._sock.sendall(pickle.dumps(wait))
            command[-2] = (
                "from multiprocessing.spawn import spawn_main; "
                f"spawn_main(**__import__('pickle').load(open({theirs.fileno()}, 'rb', 0, closefd=False)))"
            )
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ALL)
            try:
                executable = os.fsencode(spawn.get_executable())
                self.pid = util.spawnv_passfds(executable, command, [theirs.fileno(), parent])
                self.child = watch(self.pid)
                self._finalize = util.Finalize(None, self.end, exitpriority=100)
                _spares.append(self)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        except BaseException:
            if self not in _spares:
                self._sock.close()
            raise
        finally:
            theirs.close()
            if parent >= 0:
                os.close(parent)

    def give(
        self, path: list[str], fds: list[int], arguments: dict[str, int], command: list[Any]
    ) -> bool:
        """Make it the process that is being started; False: that needs a fresh one.

        `fds` are the descriptors that it is to have, by the same numbers; `arguments` are spawn_main's.
        """
        numbers = sorted({0, 1, 2, *fds})
        if len(numbers) > MOST or not self._fits(path):
            return False
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        task = numbers, arguments, set(map(int, mask)), [os.fsdecode(word) for word in command]
        parts = [b"t", pickle.dumps(task)]
        try:
            sent = socket.send_fds(self._sock, parts, numbers, socket.MSG_NOSIGNAL)
        except OSError:
            return False  # it was killed
        if sent != sum(map(len, parts)):
            return False
        self._finalize.cancel()
        self._sock.close()
        return True

    def _fits(self, path: list[str]) -> bool:
        """Whether a fresh interpreter would be the same, and nothing has happened to this one."""
        if not self.held() or self._key != key(path):
            return False
        try:
            # out of sight where a sandbox (Landlock) has closed round this process since
            os.stat(f"/proc/{self.pid}/ns/user")
            waits = self._waits()
            with open(f"/proc/{self.pid}/status", "rb", 0) as file:
                status = dict(line.split(b":\t", 1) for line in file.read().splitlines())
        except OSError:
            return False
        # What was killed is not asleep any more when kill(2) returns, and has the signal or soon no memory: so one
        # that sleeps lives. One that comes up may be dying just now; then it dies as the child.
        pending = int(status[b"SigPnd"], 16) | int(status[b"ShdPnd"], 16)
        states = b"S" if waits else b"RSD"
        return not pending and status[b"State"][:1] in states and b"VmRSS" in status

    def _waits(self) -> bool:
        """Whether it has come up."""
        try:
            return self._sock.recv(1) == b"r"
        except BlockingIOError:
            return False

    def end(self) -> None:
        """End it, and take its exit status."""
        held = self.held()
        if held:
            # end-of-file as well: where this process has become another user, no signal of it arrives
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                self.child.signal(signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):  # somebody else may have waited for it
                self.child.wait(_PATIENCE)
        self.forget()
        for _ in range(0 if held else 1000):  # it has seen end-of-file
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                    time.sleep(0.001)
                    continue
            break

    def held(self) -> bool:
        """Whether its descriptors are what they were: some programs close all that they do not know."""
        try:
            status = os.fstat(self._sock.fileno())
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._file

    def filenos(self) -> tuple[int, int]:
        """The descriptors of this process by which it is kept."""
        return self._sock.fileno(), self.child.fileno()

    def forget(self) -> None:
        """It is none of this process's, or ended."""
        self._finalize.cancel()
        if self.held():
            self.child.close()
            self._sock.close()
        else:
            _lost.append(self.child)
            self._sock.detach()


def take() -> Spare | None:
    """The spare, if there is one: it is the caller's, who gives it a task or ends it."""
    try:
        spare = _spares.pop()
    except IndexError:
        return None
    if spare.owner != os.getpid():  # this process was forked by C code
        spare.forget()
        return None
    return spare


def started(path: list[str], modules: list[str]) -> None:
    """To be called after each start; `path` and `modules` as of Spare.

    Launches the next spare, unless the program joins what it starts: that is the better moment (`ended`).
    """
    global _starts, _joins
    pid, count = _starts
    _starts = os.getpid(), count + 1 if pid == os.getpid() else 1
    joins, _joins = _joins, False
    if not joins:
        _launch(path, modules)


def ended(path: list[str], modules: list[str]) -> None:
    """To be called when a process was joined: launches the next spare, with nobody to be kept from the processor."""
    global _joins
    _joins = True
    _launch(path, modules)


def _launch(path: list[str], modules: list[str]) -> None:
    pid, count = _starts
    if _spares or count < 2 or pid != os.getpid() or util.is_exiting():
        return
    with contextlib.suppress(OSError):  # no more processes or descriptors: the next start is cold
        wanted = key(path)
        if wanted is not None:
            Spare(path, modules, wanted)
            if key(path) != wanted or len(_spares) > 1:  # another thread changed it, or came first
                end()


def end() -> None:
    """End the spare, if there is one."""
    while _spares:
        try:
            _spares.pop().end()
        except IndexError:
            return


def key(path: list[str]) -> Any:
    """All that a fresh interpreter inherits or depends on; None where a spare can't stand for one."""
    executable = os.fsencode(spawn.get_executable() or "")
    command = spawn.get_command_line()
    # Debian has one in the folder of the standard library; elsewhere it is code of the user's.
    customize = getattr(sys.modules.get("sitecustomize", os), "__file__", None) or ""
    if (
        os.environ.get(VARIABLE) == "0"
        or getattr(sys, "frozen", False)
        or not executable
        or executable != os.fsencode(sys.executable)
        or command[-3:-2] != ["-c"]
        or sys.flags.verbose  # it would be heard
        or "importtime" in sys._xoptions
        or "PYTHONPROFILEIMPORTTIME" in os.environ
        or os.path.dirname(customize) != os.path.dirname(os.__file__)
        or "usercustomize" in sys.modules
    ):
        return None
    try:
        kernel = inherited()
    except OSError:
        return None
    places = [place for place in path if str(place).endswith("-packages")]  # with the .pth files
    files = [_stamp(file) for file in [sys.executable, "/etc/localtime", customize, *places]]
    return kernel, command, path, files, spawn.get_preparation_data


def _stamp(file: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@functools.cache
def _register() -> None:
    """Not before there is a spare: every hook costs every fork."""
    os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    """In a child: the spare is its parent's."""
    for spare in _spares:
        spare.forget()
    _spares.clear()
