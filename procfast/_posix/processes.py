"""Forking and waiting: what a child's end tells, and whom it is told."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, NoReturn

from . import limits, proc
from .arguments import descriptor, number
from .status import P_PID, P_PIDFD, ChildEvent, ChildStatus, ExitStatus

_SILENT = sys.version_info < (3, 12)  # os.fork does not warn yet
_FORK = compile("fork()", "", "eval")
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_TICK = 1.0 / os.sysconf("SC_CLK_TCK")  # how exactly /proc tells when a process was started

# What waitid is asked for; on macOS a Python before 3.13 has no waitid, but these.
_ENDED = os.WEXITED | os.WNOHANG
_LOOK = _ENDED | os.WNOWAIT

_MANY = 256


# The time by the clock that processes' start times are in.
now = functools.partial(time.clock_gettime, _CLOCK)


_child_status = functools.partial(tuple.__new__, ChildStatus)
_exit_status = functools.partial(int.__new__, ExitStatus)


# The time within which a child of posix.fork was started, since its pid may be used again.
_Forked = tuple[float, float]


class Processes(ABC):
    """The methods are functions of `procfast.posix`."""

    def __init__(self) -> None:
        self._forked: dict[int, _Forked] = {}  # not yet known to be waited for
        self._many = _MANY
        self._reaps = 0

    # what a backend provides; each may raise OSError

    @abstractmethod
    def _waitpid(self, pid: int, options: int) -> tuple[int, int]: ...

    @abstractmethod
    def _waitid(self, idtype: int, id: int, options: int) -> ChildEvent | None: ...

    @abstractmethod
    def _parent_death_signal(self, signum: int) -> None: ...

    @abstractmethod
    def _subreaper(self, on: bool) -> None: ...

    # -- fork -------------------------------------------------------------------------------------

    def fork(self) -> int:
        """Copy this process: 0 in the child, the child's pid in the parent, as os.fork.

        The interpreter's fork hooks run (os.register_at_fork). The child has this thread only: locks that other
        threads hold stay held in it for ever, which is what the DeprecationWarning of Python 3.12 on is about.
        The child ends by `_exit`, else it runs on into its parent's code. Wait for it: by waitpid, reap() or
        `with Pidfd(pid)`; until then it stays behind as a zombie.

        OSError (EAGAIN, ENOMEM) names the limit that was reached: RLIMIT_NPROC, pids.max of a cgroup,
        kernel.threads-max, kernel.pid_max, memory. There is no child then.
        """
        begin, reaps = now(), self._reaps
        pid = fork_from(sys._getframe())
        if pid:
            self.note(pid, begin)
            if self._reaps != reaps and self._has_ended(pid):
                # A handler of SIGCHLD came before the note, and its reap() passed this one over: call it again.
                signal.raise_signal(signal.SIGCHLD)
        return pid

    def note(self, pid: int, begin: float) -> None:
        """A child for reap(), forked since the time `begin`."""
        if len(self._forked) >= self._many:
            self._forget()
        self._forked[pid] = begin, now()

    def _forget(self) -> None:
        """Those that were waited for by os.waitpid, which does not tell us."""
        for pid, forked in list(self._forked.items()):
            if not self._is_child(pid):
                self._forgotten(pid, forked)
        self._many = max(2 * len(self._forked), _MANY)

    def _forgotten(self, pid: int, forked: _Forked) -> None:
        if self._forked.get(pid) is forked:
            self._forked.pop(pid, None)

    def _is_child(self, pid: int) -> bool:
        try:
            self._waitid(P_PID, pid, _LOOK)
        except ChildProcessError:
            return False
        return True

    def _has_ended(self, pid: int) -> bool:
        try:
            return self._waitid(P_PID, pid, _LOOK) is not None
        except ChildProcessError:
            return False

    # -- wait -------------------------------------------------------------------------------------

    def wait(self) -> ChildStatus:
        """Wait until any child of this process ends, and reap it: (pid, status). As os.wait.

        It takes the status of whichever child is first, also one that a Process, subprocess or asyncio waits for:
        these are not told any more. In a program that uses them, wait for a pid, or use reap(). ChildProcessError:
        there is no child.

        Other threads and signal handlers run meanwhile; a handler that raises ends the wait, others do not.
        """
        return self.waitpid(-1, 0)

    def waitpid(self, pid: int, options: int = 0) -> ChildStatus:
        """Wait for a child, or any (-1), or one of a process group (0: this one's, -n: group n): (pid, status).

        options: WNOHANG does not wait, the result is (0, 0) where there is nothing to tell; WUNTRACED and WCONTINUED
        tell of children that are stopped, or go on, too. As os.waitpid, with an ExitStatus.

        ChildProcessError: it is no child of this process, or was waited for before. Where SIGCHLD is ignored
        (see autoreap) it waits until all of them have ended, and raises this then. Waits as wait() does.
        """
        if not type(pid) is type(options) is int:
            pid, options = number(pid, "pid"), number(options, "options")
        # Lean: after a fork whatever is touched for the first time costs a page.
        try:
            found, raw = self._waitpid(pid, options)
        except OSError as error:
            _explain(error, pid if pid > 0 else None)
        if found and raw & 0xFF != 0x7F and raw != 0xFFFF:
            self._forked.pop(found, None)
        return _child_status((found, _exit_status(raw)))

    def waitid(self, idtype: int, id: Any, options: int = os.WEXITED) -> ChildEvent | None:
        """Wait for what `options` names of a child: WEXITED, WSTOPPED, WCONTINUED, or several of them.

        idtype and id: P_PID and a pid, P_PGID and a process group (0: this one's), P_ALL and anything, P_PIDFD and
        a descriptor, which may be a Pidfd. WNOHANG: None at once where there is nothing to tell. WNOWAIT leaves the
        child to be waited for again. As os.waitid; `.status` of the result is an ExitStatus.

        ChildProcessError as from waitpid.
        """
        idtype, options = number(idtype, "idtype"), number(options, "options")
        which = descriptor(id) if idtype == P_PIDFD else number(id, "id", least=0)
        try:
            event = self._waitid(idtype, which, options)
        except OSError as error:
            _explain(error, which if idtype == P_PID else None)
        if event and not options & os.WNOWAIT and event.status.ended:
            self._forked.pop(event.si_pid, None)
        return event

    def reap(self, pids: Iterable[int] | None = None) -> dict[int, ExitStatus]:
        """Reap those children that have ended: {pid: status}. Never waits.

        Without pids: those that posix.fork made in this very process, and no others. So it takes no status that a
        Process, subprocess or asyncio waits for, and may be called anywhere: from a handler of SIGCHLD, in several
        threads at once (each status goes to one of them), in a forked child. It is not misled by a pid that is
        used again (Linux: by the time at which a process was started).

        With pids: those of them that have ended, whoever forked them. ChildProcessError: one is no child of this
        process, or was waited for; nothing is reaped then.
        """
        if pids is not None:
            return self._reap_these([number(pid, "pid", least=1) for pid in pids])
        self._reaps += 1
        done = {}
        for pid, forked in list(self._forked.items()):
            try:
                status = self._reap_forked(pid, forked)
            except ChildProcessError:  # also those of a process that forked this one
                self._forgotten(pid, forked)
            else:
                if status is not None:
                    done[pid] = status
                    self._forgotten(pid, forked)
        return done

    def _reap_these(self, pids: list[int]) -> dict[int, ExitStatus]:
        for pid in pids:
            self.waitid(P_PID, pid, _LOOK)
        done = {}
        for pid in pids:
            with contextlib.suppress(
                ChildProcessError
            ):  # another thread was quicker, or it is named twice
                if event := self.waitid(P_PID, pid, _ENDED):
                    done[pid] = event.status
        return done

    def _reap_forked(self, pid: int, forked: _Forked) -> ExitStatus | None:
        """None: it runs. ChildProcessError: it was waited for, and this is another with its pid, or nobody."""
        if self._waitid(P_PID, pid, _LOOK) is None:
            return None
        with contextlib.ExitStack() as at_end:
            idtype, id = P_PID, pid
            with contextlib.suppress(
                OSError
            ):  # without one: between here and its end another thread may come in
                idtype, id = P_PIDFD, self._pidfd_open(pid)
                at_end.callback(os.close, id)
            stat, (begin, end) = proc.stat(pid), forked
            if stat and not begin - 2 * _TICK <= stat.started <= end + _TICK:
                raise ChildProcessError(errno.ECHILD, f"{pid} is another process")
            event = self._waitid(idtype, id, _ENDED)
        return event.status if event else None

    @abstractmethod
    def _pidfd_open(self, pid: int) -> int: ...

    @contextlib.contextmanager
    def autoreap(self) -> Iterator[None]:
        """While the block runs, the system reaps children by itself: SIGCHLD is ignored. Then its handler is back.

        No child of this process that ends meanwhile becomes a zombie, whoever started it; and nobody learns how it
        ended:

        - waitpid(pid) waits until it has ended, then raises ChildProcessError; wait() and waitpid(-1) wait until
          all children have. reap() finds nothing.
        - Process.join and .exitcode: natively join returns, and exitcode comes from the kernel (Linux 6.15 on, not
          under forkserver, which has its own children) or is 255. On the stdlib backend exitcode stays None and
          is_alive() True, as the standard library's. subprocess reports 0, asyncio 255 and a warning.
        - Pidfd.wait returns at its end, with the status (Linux 6.15 on) or None.
        - Handlers of SIGCHLD are not called. Children and the programs they exec inherit that it is ignored.

        Children that had ended before the block stay zombies and are waited for as ever; those that end after it
        are, too. RuntimeError: not in the main thread, the only one in which Python sets signals; or the handler of
        SIGCHLD is C code, which could not be put back.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("autoreap() is for the main thread: Python sets signals in no other")
        before = signal.getsignal(signal.SIGCHLD)
        if before is None:
            raise RuntimeError(
                "SIGCHLD has a handler that C code has set, and Python can't put back"
            )
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            yield
        finally:
            signal.signal(signal.SIGCHLD, before)

    # -- what follows a parent's end --------------------------------------------------------------

    def set_parent_death_signal(self, signum: int, parent: int | None = None) -> None:
        """Have the kernel send this process a signal when its parent ends; 0: none any more. Linux.

        The parent here is the *thread* that forked this process: its end is enough, though its process lives on. A
        process that is forked begins without; exec keeps it, unless the program is set-user-ID.

        parent: the pid that the parent is expected to have. If it has ended already, before this call, then the
        signal comes at once. Without it that is missed.

        OSError(ENOSYS): the system has no such thing. ValueError: no signal's number.
        """
        signum = number(signum, "signum")
        if signum not in (0, *signal.valid_signals()):
            raise ValueError(f"there is no signal {signum}")
        self._linux(
            self._parent_death_signal, signum, "signal at a parent's end (PR_SET_PDEATHSIG)"
        )
        if signum and parent is not None and os.getppid() != number(parent, "parent"):
            os.kill(os.getpid(), signum)

    def become_subreaper(self, on: bool = True) -> None:
        """Have orphans below this process become its children, instead of process 1's. Linux.

        So a supervisor learns of their ends: by wait() or waitpid(-1), which it has to call, or they stay behind as
        zombies (or by autoreap()). Forked children begin without; exec keeps it. OSError(ENOSYS): the system has no
        subreapers.
        """
        self._linux(self._subreaper, bool(on), "subreapers (PR_SET_CHILD_SUBREAPER)")

    @staticmethod
    def _linux(call: Any, argument: int, what: str) -> None:
        try:
            call(argument)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.EPERM):
                raise
            text = f"this system has no {what}, or a filter (seccomp) refuses"
            raise OSError(errno.ENOSYS, text) from None


def fork_from(frame: FrameType) -> int:
    """os.fork, whose warning names the line that called the function of `frame`; its failure says why."""
    try:
        if _SILENT:
            return os.fork()
        caller = frame.f_back or frame
        code, line = caller.f_code.co_filename, caller.f_lineno
        here = _FORK.replace(co_filename=code, co_firstlineno=line)
        return int(eval(here, caller.f_globals, {"fork": os.fork}))
    except OSError as error:
        raise limits.explained(error) from None


def _explain(error: OSError, pid: int | None = None) -> NoReturn:
    if error.errno == errno.ECHILD:
        what = f"process {pid} is no child of this process" if pid else "there is no such child"
        why = "or its status was taken already (by another wait, or because SIGCHLD is ignored)"
        raise ChildProcessError(errno.ECHILD, f"{what}, {why}") from None
    raise error
