"""The raw POSIX layer: what lies below multiprocessing, close-on-exec, with deadlines, explained.

pipe           a pipe, as two descriptors
read_exactly   read so many bytes, not fewer
read_into      fill a buffer
write_all      write everything
NamedSemaphore a semaphore that any program opens by its name; sem_unlink takes a name away
MessageQueue   a POSIX message queue, likewise; mq_unlink
fork           a copy of this process; getpid, getppid, _exit
wait, waitpid, waitid    how a child ended, as an ExitStatus; WNOHANG and its kin, WIFEXITED and its kin
reap           the children of fork that have ended, and nobody else's
autoreap       a block in which the system reaps children
Pidfd          a process by a descriptor
spawn_detached a process that is nobody's child here
become_subreaper, set_parent_death_signal    whose child an orphan becomes; what follows a parent's end
children       the child processes of a process, as ps shows them: state, flags, command line, memory
process_tree   a process and all below it, likewise

The backend is the one that `procfast.backend` names; the results are the same on each.

On Windows, which has no such layer, there are getpid, getppid and _exit; each other name is an AttributeError that
says so.
"""

from __future__ import annotations

import os

from . import _backend

if os.name == "posix":
    _chosen = _backend.load(_backend.choose()[0].default_context.backend, "posix")
    __all__ = list(_chosen.__all__)
    globals().update({name: getattr(_chosen, name) for name in __all__})
else:
    from os import _exit, getpid, getppid

    __all__ = ["_exit", "getpid", "getppid"]

    def __getattr__(name: str) -> object:
        raise AttributeError(f"{__name__} has no {name!r} on Windows, which is no POSIX system")
