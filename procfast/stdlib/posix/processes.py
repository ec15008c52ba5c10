"""Children and pidfds by os, signal and prctl."""

from __future__ import annotations

import errno
import os
import select
import signal
import struct
from fcntl import ioctl
from typing import NoReturn

from ..._posix import pidfd, processes
from ..._posix.status import P_PIDFD, ChildEvent
from . import libc
from .pipes import Deadline, ready

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36  # prctl

# PIDFD_GET_INFO, linux/pidfd.h: mask, cgroup, pid, tgid, ppid, 8 ids, exit_code
_INFO = struct.Struct("@QQ11Ii")
_GET_INFO = 0xC000FF0B | _INFO.size << 16
_INFO_EXIT = 1 << 3
_REAPING_MS = 20


def _missing() -> NoReturn:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def _waitid(idtype: int, id: int, options: int) -> ChildEvent | None:
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        _missing()
    event = os.waitid(idtype, id, options)
    return ChildEvent(*event) if event else None


def _pidfd_open(pid: int) -> int:
    return os.pidfd_open(pid) if hasattr(os, "pidfd_open") else _missing()


def _prctl(option: int, value: int) -> None:
    libc.checked("prctl", option, value, 0, 0, 0)


class Processes(processes.Processes):
    _waitid = staticmethod(_waitid)
    _pidfd_open = staticmethod(_pidfd_open)

    def _waitpid(self, pid: int, options: int) -> tuple[int, int]:
        return os.waitpid(pid, options)

    def _parent_death_signal(self, signum: int) -> None:
        _prctl(_SET_PDEATHSIG, signum)

    def _subreaper(self, on: bool) -> None:
        _prctl(_SET_CHILD_SUBREAPER, on)


class Pidfd(pidfd.Pidfd):
    __doc__ = pidfd.Pidfd.__doc__

    _open = staticmethod(_pidfd_open)

    @staticmethod
    def _signal(fd: int, signum: int) -> None:
        signal.pidfd_send_signal(fd, signum)

    @staticmethod
    def _ended(fd: int, timeout: float) -> bool:
        return ready(fd, False, Deadline(timeout))

    @staticmethod
    def _event(fd: int, reap: bool) -> ChildEvent | None:
        return _waitid(P_PIDFD, fd, os.WEXITED | os.WNOHANG | (0 if reap else os.WNOWAIT))

    @staticmethod
    def _kept(fd: int) -> int | None:
        for _ in range(2):
            info = bytearray(_INFO.pack(_INFO_EXIT, *[0] * 13))
            try:
                ioctl(fd, _GET_INFO, info)
            except OSError:
                return None
            mask, *_, status = _INFO.unpack(info)
            if mask & _INFO_EXIT:
                return int(status)
            # Whoever reaps it does so a moment after it has turned readable; the hang-up says that it is done.
            poll = select.poll()
            poll.register(fd, 0)
            poll.poll(_REAPING_MS)
        return None
