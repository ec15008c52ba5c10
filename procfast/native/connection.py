"""Pipe() on rings in anonymous shared memory, with a socket that tells the truth.

Messages go through the rings. What only the kernel knows goes through the socket: that the other end was closed or
is dead, and that there is something to receive, for `select` and for those who sleep.
"""

from __future__ import annotations

import os
from multiprocessing import connection, reduction
from typing import Any

from . import _native

__all__ = ["Connection", "Pipe"]


class Connection(_native.RingConnection, connection.Connection):
    """One end of a pipe, for any number of processes and threads: no message is ever torn.

    Any process that uses it may be killed at any moment. The others go on; when no copy of the other end is
    left, recv() raises EOFError after the last message, and send() BrokenPipeError.
    """

    def __init__(self) -> None:
        """Made by Pipe() only."""


def Pipe(duplex: bool = True) -> tuple[Connection, Connection]:
    """Two connected ends; with duplex=False the first only receives, the second only sends.

    OSError where the system has no more descriptors or memory.
    """
    one, two = Connection(), Connection()
    _native.open_pipe(one, two, duplex)
    return one, two


def _reduce(end: Connection) -> tuple[Any, ...]:
    rings, which, memory, wire = end._parts()
    return _rebuild, (rings, which, reduction.DupFd(memory), reduction.DupFd(wire))


def _rebuild(rings: int, which: int, memory: Any, wire: Any) -> Connection:
    fds: list[int] = []
    try:
        for passed in (memory, wire):
            fds.append(passed.detach())
            os.set_inheritable(fds[-1], False)
        end = Connection()
        end._attach(rings, which, *fds)
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    return end


reduction.register(Connection, _reduce)
