"""procfast.posix on csrc."""

from __future__ import annotations

import os
from typing import Any

from .. import _posix
from .._posix import Message
from .._proctree import ProcessInfo, children, process_tree
from . import _native

__all__ = [
    "Message",
    "MessageQueue",
    "NamedSemaphore",
    "ProcessInfo",
    "children",
    "mq_unlink",
    "pipe",
    "process_tree",
    "read_exactly",
    "read_into",
    "sem_unlink",
    "write_all",
]


class _Pipes(_posix.Pipes):
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


class NamedSemaphore(_posix.NamedSemaphore):
    __doc__ = _posix.NamedSemaphore.__doc__

    def _open(self, name: bytes, how: int, mode: int) -> Any:
        return _native.NamedSemaphore(name, how, mode, self._value)

    def _owner(self) -> int | None:
        owner = _native.semaphore_owner(os.fsencode(self._name))
        return owner if owner >= 0 else None

    _unlink = staticmethod(_native.semaphore_unlink)


class MessageQueue(_posix.MessageQueue):
    __doc__ = _posix.MessageQueue.__doc__

    def _open(self, name: bytes, how: int, mode: int) -> Any:
        return _native.MessageQueue(name, how, self._read, self._write, mode, *self._sizes)

    def _owner(self) -> int | None:
        return self._handle.owner()

    _unlink = staticmethod(_native.mqueue_unlink)


sem_unlink = NamedSemaphore.unlink_name
mq_unlink = MessageQueue.unlink_name
