"""The double fork: a process that is nobody's child here, and that its starter knows all the same.

    caller --fork--> between --fork--> detached
      |                 | reports its pid, or why not; ends
      | reaps between <-'                  |
      | "go", or "don't"  ---------------> | runs the target, or ends

So either the caller gets a pid and the target runs, or it gets an exception and the target never runs; whoever is
killed in the middle.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import sys
import time
import warnings
from collections.abc import Callable
from multiprocessing import popen_fork, process, util
from typing import Any, NamedTuple, NoReturn

from . import proc
from .processes import Processes, fork_from, now
from .status import ExitStatus

_GO, _DONT = b"1", b"0"
_PATIENCE = 0.5  # seconds in which whoever adopts a process should reap it, once it has ended


class Detached(NamedTuple):
    """What spawn_detached returns."""

    pid: int
    """Of the detached process."""

    parent: int | None
    """The process that adopted it: process 1 or the nearest subreaper; None: this system does not tell."""

    reaped: bool | None
    """Whether that one has been seen to reap what it adopts, within half a second; None: not known."""


class _Adopter(NamedTuple):
    """Who adopted the last one, and a process that had ended when it was adopted."""

    pid: int
    started: float
    probe: int

    def reaps(self, patience: float = 0.0) -> bool:
        end, nap = time.monotonic() + patience, 0.0005
        while (stat := proc.stat(self.probe)) and stat.parent == self.pid:
            if time.monotonic() >= end:
                return False
            time.sleep(nap)
            nap = min(2 * nap, 0.02)
        return True


class Detacher:
    """Has the function spawn_detached."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._adopter: _Adopter | None = None

    def spawn_detached(
        self, target: Callable[..., object], /, *args: Any, new_session: bool = True
    ) -> Detached:
        """Run target(*args) in a process that is not a child of this one: (pid, parent, reaped).

        By two forks: the process is adopted by process 1 or the nearest subreaper (become_subreaper), which reaps
        it; here it never becomes a zombie and nobody has to wait for it. It starts in a new session, without a
        terminal and not to be reached by its Ctrl-C, unless new_session=False. Else it is as any forked process:
        memory, descriptors, working directory and signal handlers are its starter's, the child has this thread only.
        It ends as a Process does: stdin is closed, what sys.exit is given is its exit code, an exception is printed
        and the code is 1, exit functions run and standard streams are flushed; it joins its own children.

        Either it returns and the target runs, or it raises and the target never runs, also where this process or the
        one between is killed meanwhile (a signal handler that raises in its very last instant excepted).
        OSError: a fork failed, and which limit it was; ChildProcessError: the process between was killed, and how.

        In a container whose process 1 does not reap (a program that is no init), it becomes a zombie of that one at
        its end. This is tried out at the first call, for half a second at most: then `reaped` is False, and there is a
        RuntimeWarning. Remedies: an init (docker run --init), or a subreaper that waits. Where this very process is the
        subreaper, it is the parent: reap() takes the detached process, too.
        """
        if not callable(target):
            raise TypeError(f"target must be callable, not {type(target).__name__}")
        util._flush_std_streams()  # type: ignore[attr-defined]  # or the detached process would write the same once more
        with contextlib.ExitStack() as at_end:
            report, go = (self._pipe(at_end) for _ in range(2))
            begun = now()
            between = fork_from(sys._getframe())
            if between == 0:
                _Between(report, go, self._adopter is None, new_session).run(target, args)
            word = _DONT
            try:
                try:
                    how = self._wait(between)
                except BaseException:
                    self._wait(between)  # it ends by itself
                    raise
                pid, probe = self._read(report[0], between, how)
                found = self._adopted(pid, probe, begun)
                word = _GO
            finally:
                os.write(go[1], word)
        return found

    @staticmethod
    def _pipe(at_end: contextlib.ExitStack) -> tuple[int, int]:
        pipe = os.pipe()
        for fd in pipe:
            at_end.callback(os.close, fd)
        return pipe

    def _wait(self, between: int) -> ExitStatus | None:
        """None: somebody else has its status, or SIGCHLD is ignored; it has ended."""
        try:
            return self._processes.waitpid(between).status
        except ChildProcessError:
            return None

    @staticmethod
    def _read(fd: int, between: int, how: ExitStatus | None) -> tuple[int, int]:
        """Its report is complete, since it has ended. The pipe's other end may be open in others that were forked."""
        os.set_blocking(fd, False)
        try:
            code, first, rest = os.read(fd, 4096).decode(errors="replace").split("\n", 2)
        except (BlockingIOError, ValueError):
            raise ChildProcessError(
                errno.ECHILD,
                f"nothing was started: the process between the two forks (pid {between}) has ended too early, "
                f"{how.text if how is not None else 'nobody knows how (its status was taken by another)'}",
            ) from None
        if int(code):
            raise OSError(int(code), f"nothing was started: {rest}")
        return int(first), int(rest)

    def _adopted(self, pid: int, probe: int, begun: float) -> Detached:
        stat = proc.stat(pid)
        if stat is None:
            return Detached(pid, None, None)
        if stat.parent == os.getpid():
            self._processes.note(pid, begun)
            if probe:
                self._wait(probe)
            return Detached(pid, stat.parent, None)
        parent = proc.stat(stat.parent) or proc.Stat("?", "", 0, 0.0)
        adopter = _Adopter(stat.parent, parent.started, probe)
        if probe:
            self._adopter = adopter
            reaps = adopter.reaps(_PATIENCE)
            if not reaps:
                self._warn(adopter.pid, parent.name)
            return Detached(pid, adopter.pid, reaps)
        if self._adopter and self._adopter[:2] == adopter[:2]:
            return Detached(pid, adopter.pid, self._adopter.reaps())
        self._adopter = None  # another one: tried out at the next call
        return Detached(pid, adopter.pid, None)

    @staticmethod
    def _warn(adopter: int, name: str) -> None:
        warnings.warn(
            f"process {adopter} ({name}) adopts what spawn_detached starts, and has not reaped one that ended "
            f"for {_PATIENCE} s. If it never does, each stays behind as a zombie: give the container an init "
            "(docker run --init), or have a process above this one call become_subreaper() and wait",
            RuntimeWarning,
            stacklevel=4,
        )


class _Between:
    """The process between, and the detached one until it runs the target."""

    def __init__(
        self, report: tuple[int, int], go: tuple[int, int], probe: bool, new_session: bool
    ) -> None:
        self._report, self._go, self._probe, self._new_session = report, go, probe, new_session

    def run(self, target: Callable[..., object], args: tuple[Any, ...]) -> NoReturn:
        code = 1
        try:
            if self._new_session:
                os.setsid()
            if self._forks():
                code = _live(target, args) if self._may_run() else 0
        finally:
            os._exit(code)

    def _forks(self) -> bool:
        """Forks the detached process, and reports; in that process: True."""
        probe = 0
        try:
            if self._probe and (probe := fork_from(sys._getframe())) == 0:
                return False
            if (pid := fork_from(sys._getframe())) == 0:
                return True
            told = f"0\n{pid}\n{probe}"
        except OSError as error:
            told = f"{error.errno}\n0\n{error.strerror}"
        os.write(self._report[1], told.encode())
        return False

    def _may_run(self) -> bool:
        for fd in (*self._report, self._go[1]):
            os.close(fd)
        word = os.read(self._go[0], 1)
        os.close(self._go[0])
        return word == _GO


def _live(target: Callable[..., object], args: tuple[Any, ...]) -> int:
    """The life of a Process's child, as multiprocessing.popen_fork has it; the exit code."""

    class Process(process.BaseProcess):
        _start_method = None  # the default one of this program stays

        def run(self) -> None:
            process._parent_process = None  # type: ignore[attr-defined]  # nobody's child
            super().run()

    process_obj = Process(target=target, args=args, name=getattr(target, "__name__", "detached"))
    process_obj._config.pop("daemon", None)  # type: ignore[attr-defined]
    if not hasattr(popen_fork, "atexit"):
        return process_obj._bootstrap(None)  # type: ignore[attr-defined, no-any-return]
    # From Python 3.13 on a child runs the exit functions registered in it, and only these.
    atexit._clear()
    atexit.register(util._exit_function)  # type: ignore[attr-defined]
    try:
        return process_obj._bootstrap(None)  # type: ignore[attr-defined, no-any-return]
    finally:
        atexit._run_exitfuncs()
