"""How a child ended, or what else became of it."""

from __future__ import annotations

import os
import signal as _signal
from typing import NamedTuple

# Not in os on every system and Python (macOS before 3.13); the numbers are the same on Linux and macOS.
P_ALL: int = getattr(os, "P_ALL", 0)
P_PID: int = getattr(os, "P_PID", 1)
P_PGID: int = getattr(os, "P_PGID", 2)
P_PIDFD: int = getattr(os, "P_PIDFD", 3)
CLD_EXITED: int = getattr(os, "CLD_EXITED", 1)
CLD_KILLED: int = getattr(os, "CLD_KILLED", 2)
CLD_DUMPED: int = getattr(os, "CLD_DUMPED", 3)
CLD_TRAPPED: int = getattr(os, "CLD_TRAPPED", 4)
CLD_STOPPED: int = getattr(os, "CLD_STOPPED", 5)
CLD_CONTINUED: int = getattr(os, "CLD_CONTINUED", 6)

_CONTINUED = 0xFFFF
_CORE = 0x80


def signal_name(number: int) -> str:
    """ "SIGTERM", "SIGRTMIN+3", "signal 99"."""
    try:
        return _signal.Signals(number).name
    except ValueError:
        first, last = (int(getattr(_signal, name, 0)) for name in ("SIGRTMIN", "SIGRTMAX"))
        return f"SIGRTMIN+{number - first}" if first < number < last else f"signal {number}"


class ExitStatus(int):
    """What wait told of a child. It is the number that os.waitpid gives, and says what that means.

    0, and so false, is a normal end with exit code 0. The functions of os (os.WIFEXITED, ...,
    os.waitstatus_to_exitcode) take it as it is. str() of it is `text`.
    """

    __slots__ = ()

    def __new__(cls, status: int = 0) -> ExitStatus:
        """From a raw wait status."""
        self = super().__new__(cls, status)
        if not 0 <= self <= 0xFFFFFF:  # a debugger is told more than 16 bits
            raise ValueError(f"{int(self)} is no wait status")
        return self

    @classmethod
    def from_event(cls, code: int, status: int) -> ExitStatus:
        """From waitid's si_code and si_status."""
        if code == CLD_EXITED:
            return cls((status & 0xFF) << 8)
        if code in (CLD_KILLED, CLD_DUMPED):
            return cls(status & 0x7F | (_CORE if code == CLD_DUMPED else 0))
        return cls(_CONTINUED if code == CLD_CONTINUED else (status & 0xFF) << 8 | 0x7F)

    @property
    def code(self) -> int | None:
        """What it passed to exit, 0 to 255; None where it did not end in this way."""
        return os.WEXITSTATUS(self) if os.WIFEXITED(self) else None

    @property
    def signal(self) -> int | None:
        """The signal that killed it, or that stopped it; a signal.Signals where that has a name for it."""
        number = os.WTERMSIG(self) if self.killed else os.WSTOPSIG(self) if self.stopped else None
        try:
            return None if number is None else _signal.Signals(number)
        except ValueError:
            return number

    @property
    def killed(self) -> bool:
        """Whether a signal ended it."""
        return os.WIFSIGNALED(self)

    @property
    def core(self) -> bool:
        """Whether the signal that killed it also had its memory dumped (a core file)."""
        return self.killed and os.WCOREDUMP(self)

    @property
    def stopped(self) -> bool:
        """Whether it is stopped (asked for by WUNTRACED, WSTOPPED); it has not ended."""
        return os.WIFSTOPPED(self)

    @property
    def continued(self) -> bool:
        """Whether it was stopped and goes on (asked for by WCONTINUED); it has not ended."""
        return os.WIFCONTINUED(self)

    @property
    def ended(self) -> bool:
        """Whether it is over: by exit or by a signal."""
        return not (self.stopped or self.continued)

    @property
    def exitcode(self) -> int | None:
        """As Process.exitcode: the exit code, or minus the signal that killed it; None: it has not ended."""
        return os.waitstatus_to_exitcode(self) if self.ended else None

    @property
    def text(self) -> str:
        """In words: "exited with 3", "killed by SIGKILL", "stopped by SIGTSTP", "continued"."""
        if self.continued:
            return "continued"
        if self.stopped:
            return f"stopped by {signal_name(os.WSTOPSIG(self))}"
        if self.killed:
            dumped = ", core dumped" if self.core else ""
            return f"killed by {signal_name(os.WTERMSIG(self))}{dumped}"
        return f"exited with {self.code}"

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<ExitStatus {int(self):#06x}: {self.text}>"


class ChildStatus(NamedTuple):
    """What wait and waitpid return: (pid, status). With WNOHANG and nothing to tell: (0, 0)."""

    pid: int
    status: ExitStatus


class ChildEvent(NamedTuple):
    """What waitid returns: the fields of os.waitid, in their order, and `status`."""

    si_pid: int
    si_uid: int
    si_signo: int
    si_status: int
    si_code: int

    @property
    def status(self) -> ExitStatus:
        """si_code and si_status as one ExitStatus."""
        return ExitStatus.from_event(self.si_code, self.si_status)
