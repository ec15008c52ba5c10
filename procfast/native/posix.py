"""procfast.posix on csrc."""

from __future__ import annotations

import os
from typing import Any

from .._posix import names, pidfd, pipes, processes
from .._posix.api import *  # noqa: F403
from .._posix.api import NAMES, P_PIDFD, WEXITED, WNOHANG, WNOWAIT, ChildEvent
from .._posix.detached import Detacher
from . import _native

__all__ = NAMES


class _Pipes(pipes.Pipes):
    def _pipe(self) -> tuple[int, int]:
        return _native.pipe()

    def _move(
        self, fd: int, out: bool, data: memoryview, timeout: float | None, moved: list[int]
    ) -> int:
        return _native.move_all(fd, out, data, timeout, moved)


_pipes = _Pipes()
pipe = _pipes.pipe
read_exactly = _pipes.read_exactly
read_into = _pipes.read_into
write_all = _pipes.write_all


class NamedSemaphore(names.NamedSemaphore):
    __doc__ = names.NamedSemaphore.__doc__

    def _open(self, name: bytes, how: int, mode: int) -> Any:
        return _native.NamedSemaphore(name, how, mode, self._value)

    def _owner(self) -> int | None:
        owner = _native.semaphore_owner(os.fsencode(self._name))
        return owner if owner >= 0 else None

    _unlink = staticmethod(_native.semaphore_unlink)


class MessageQueue(names.MessageQueue):
    __doc__ = names.MessageQueue.__doc__

    def _open(self, name: bytes, how: int, mode: int) -> Any:
        return _native.MessageQueue(name, how, self._read, self._write, mode, *self._sizes)

    def _owner(self) -> int | None:
        return self._handle.owner()

    _unlink = staticmethod(_native.mqueue_unlink)


sem_unlink = NamedSemaphore.unlink_name
mq_unlink = MessageQueue.unlink_name


class _Processes(processes.Processes):
    _waitpid = staticmethod(_native.waitpid)
    _pidfd_open = staticmethod(_native.pidfd_open)
    _parent_death_signal = staticmethod(_native.parent_death_signal)
    _subreaper = staticmethod(_native.subreaper)

    def _waitid(self, idtype: int, id: int, options: int) -> ChildEvent | None:
        event = _native.waitid(idtype, id, options)
        return ChildEvent(*event) if event else None


class Pidfd(pidfd.Pidfd):
    __doc__ = pidfd.Pidfd.__doc__

    _open = staticmethod(_native.pidfd_open)
    _signal = staticmethod(_native.pidfd_signal)
    _ended = staticmethod(_native.pidfd_wait)
    _kept = staticmethod(_native.pidfd_status)

    @staticmethod
    def _event(fd: int, reap: bool) -> ChildEvent | None:
        event = _native.waitid(P_PIDFD, fd, WEXITED | WNOHANG | (0 if reap else WNOWAIT))
        return ChildEvent(*event) if event else None


_processes = _Processes()
fork = _processes.fork
wait = _processes.wait
waitpid = _processes.waitpid
waitid = _processes.waitid
reap = _processes.reap
autoreap = _processes.autoreap
set_parent_death_signal = _processes.set_parent_death_signal
become_subreaper = _processes.become_subreaper
spawn_detached = Detacher(_processes).spawn_detached
