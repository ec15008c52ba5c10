"""Pipe() on rings in anonymous shared memory, with a socket that tells the truth.

Messages go through the rings. What only the kernel knows goes through the socket: that the other end was closed or
is dead, and that there is something to receive, for `select` and for those who sleep.
"""

from __future__ import annotations

from multiprocessing import connection, reduction
from typing import Any

from . import _native
from .passing import own

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


# The link is pickled as an object of its own: both ends in one message share it.


def _reduce_link(link: _native.Link) -> tuple[Any, ...]:
    rings, memory = link._parts()
    return _rebuild_link, (rings, reduction.DupFd(memory))


def _rebuild_link(rings: int, memory: Any) -> _native.Link:
    return own(memory, lambda fd: _native.attach_link(rings, fd))


def _reduce(end: Connection) -> tuple[Any, ...]:
    link, which, wire = end._parts()
    return _rebuild, (link, which, reduction.DupFd(wire))


def _rebuild(link: _native.Link, which: int, wire: Any) -> Connection:
    end = Connection()
    own(wire, lambda fd: end._attach(link, which, fd))
    return end


reduction.register(_native.Link, _reduce_link)
reduction.register(Connection, _reduce)
