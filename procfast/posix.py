"""The raw POSIX layer: what lies below multiprocessing, close-on-exec, with deadlines, explained.

pipe           a pipe, as two descriptors
read_exactly   read so many bytes, not fewer
read_into      fill a buffer
write_all      write everything
NamedSemaphore a semaphore that any program opens by its name; sem_unlink takes a name away
MessageQueue   a POSIX message queue, likewise; mq_unlink
children       the child processes of a process, as ps shows them: state, flags, command line, memory
process_tree   a process and all below it, likewise

The backend is the one that `procfast.backend` names; the results are the same on each.
"""

from __future__ import annotations

from . import _backend

_chosen = _backend.load(_backend.choose()[0].default_context.backend, "posix")
__all__ = list(_chosen.__all__)
globals().update({name: getattr(_chosen, name) for name in __all__})
