"""procfast.posix in Python: os, select, and libc by ctypes for what they do not have."""

from __future__ import annotations

from ..._posix.api import *  # noqa: F403
from ..._posix.api import NAMES
from ..._posix.detached import Detacher
from .names import MessageQueue, NamedSemaphore
from .pipes import Pipes
from .processes import Pidfd as Pidfd
from .processes import Processes

__all__ = NAMES

_pipes = Pipes()
pipe = _pipes.pipe
read_exactly = _pipes.read_exactly
read_into = _pipes.read_into
write_all = _pipes.write_all

sem_unlink = NamedSemaphore.unlink_name
mq_unlink = MessageQueue.unlink_name

_processes = Processes()
fork = _processes.fork
wait = _processes.wait
waitpid = _processes.waitpid
waitid = _processes.waitid
reap = _processes.reap
autoreap = _processes.autoreap
set_parent_death_signal = _processes.set_parent_death_signal
become_subreaper = _processes.become_subreaper
spawn_detached = Detacher(_processes).spawn_detached
