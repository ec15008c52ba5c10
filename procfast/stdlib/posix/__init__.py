"""procfast.posix in Python: os, select, and libc by ctypes for what they do not have."""

from __future__ import annotations

from ..._posix.names import Message
from .names import MessageQueue, NamedSemaphore
from .pipes import Pipes

__all__ = [
    "Message",
    "MessageQueue",
    "NamedSemaphore",
    "mq_unlink",
    "pipe",
    "read_exactly",
    "read_into",
    "sem_unlink",
    "write_all",
]

_pipes = Pipes()
pipe = _pipes.pipe
read_exactly = _pipes.read_exactly
read_into = _pipes.read_into
write_all = _pipes.write_all

sem_unlink = NamedSemaphore.unlink_name
mq_unlink = MessageQueue.unlink_name
