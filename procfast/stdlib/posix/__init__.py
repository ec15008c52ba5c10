"""procfast.posix in Python: os, select, and libc by ctypes for what they do not have."""

from __future__ import annotations

import os
from os import (
    WCONTINUED,
    WCOREDUMP,
    WEXITED,
    WEXITSTATUS,
    WIFCONTINUED,
    WIFEXITED,
    WIFSIGNALED,
    WIFSTOPPED,
    WNOHANG,
    WNOWAIT,
    WSTOPPED,
    WSTOPSIG,
    WTERMSIG,
    WUNTRACED,
)

from ..._posix.detached import Detached, Detacher
from ..._posix.names import Message
from ..._posix.status import (
    CLD_CONTINUED,
    CLD_DUMPED,
    CLD_EXITED,
    CLD_KILLED,
    CLD_STOPPED,
    CLD_TRAPPED,
    P_ALL,
    P_PGID,
    P_PID,
    P_PIDFD,
    ChildEvent,
    ChildStatus,
    ExitStatus,
)
from ..._proctree import ProcessInfo, children, process_tree
from .names import MessageQueue, NamedSemaphore
from .pipes import Pipes
from .processes import Pidfd, Processes

__all__ = [
    "CLD_CONTINUED",
    "CLD_DUMPED",
    "CLD_EXITED",
    "CLD_KILLED",
    "CLD_STOPPED",
    "CLD_TRAPPED",
    "P_ALL",
    "P_PGID",
    "P_PID",
    "P_PIDFD",
    "WCONTINUED",
    "WCOREDUMP",
    "WEXITED",
    "WEXITSTATUS",
    "WIFCONTINUED",
    "WIFEXITED",
    "WIFSIGNALED",
    "WIFSTOPPED",
    "WNOHANG",
    "WNOWAIT",
    "WSTOPPED",
    "WSTOPSIG",
    "WTERMSIG",
    "WUNTRACED",
    "ChildEvent",
    "ChildStatus",
    "Detached",
    "ExitStatus",
    "Message",
    "MessageQueue",
    "NamedSemaphore",
    "Pidfd",
    "ProcessInfo",
    "_exit",
    "autoreap",
    "become_subreaper",
    "children",
    "fork",
    "getpid",
    "getppid",
    "mq_unlink",
    "pipe",
    "process_tree",
    "read_exactly",
    "read_into",
    "reap",
    "sem_unlink",
    "set_parent_death_signal",
    "spawn_detached",
    "wait",
    "waitid",
    "waitpid",
    "write_all",
]

_pipes = Pipes()
pipe = _pipes.pipe
read_exactly = _pipes.read_exactly
read_into = _pipes.read_into
write_all = _pipes.write_all

sem_unlink = NamedSemaphore.unlink_name
mq_unlink = MessageQueue.unlink_name

_processes = Processes()
_exit, getpid, getppid = os._exit, os.getpid, os.getppid
fork = _processes.fork
wait = _processes.wait
waitpid = _processes.waitpid
waitid = _processes.waitid
reap = _processes.reap
autoreap = _processes.autoreap
set_parent_death_signal = _processes.set_parent_death_signal
become_subreaper = _processes.become_subreaper
spawn_detached = Detacher(_processes).spawn_detached
