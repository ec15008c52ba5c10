"""The contexts of the native backend.

Factories stand here for what is native; everything else is inherited from `multiprocessing`.
"""

from __future__ import annotations

import multiprocessing.context
from collections.abc import Iterable
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any

from ..context import BackendContext
from ..context import DefaultContext as _DefaultContext
from .process import ForkProcess, ForkServerProcess, Process, SpawnProcess

if TYPE_CHECKING:
    from .connection import Connection
    from .queues import JoinableQueue, Queue, SimpleQueue
    from .shared_memory import ShareableList, SharedMemory


class Context(BackendContext):
    """The factories of what is native."""

    backend = "native"
    features = frozenset(
        {
            "batches",
            "crash_safe_pipes",
            "crash_safe_queues",
            "exact_qsize",
            "interrupt",
            "max_bytes",
            "no_feeder_thread",
            "swept_shared_memory",
        }
    )

    def Pipe(self, duplex: bool = True) -> tuple[Connection, Connection]:
        """Two connected ends on rings in shared memory; see `procfast.native.connection.Connection`."""
        from .connection import Pipe

        return Pipe(duplex)

    def Queue(self, maxsize: int = 0, *, max_bytes: int | None = None) -> Queue:
        """A queue of picklable objects on a ring in shared memory; see `procfast.native.queues.Queue`."""
        from .queues import Queue

        return Queue(maxsize, ctx=self.get_context(), max_bytes=max_bytes)

    def JoinableQueue(self, maxsize: int = 0, *, max_bytes: int | None = None) -> JoinableQueue:
        """A `Queue` that also has task_done and join."""
        from .queues import JoinableQueue

        return JoinableQueue(maxsize, ctx=self.get_context(), max_bytes=max_bytes)

    def SimpleQueue(self) -> SimpleQueue:
        """A queue with no more than put, get, empty and close."""
        from .queues import SimpleQueue

        return SimpleQueue(ctx=self.get_context())

    def SharedMemory(
        self,
        name: str | None = None,
        create: bool = False,
        size: int = 0,
        *,
        track: bool = True,
        reserve: bool = False,
    ) -> SharedMemory:
        """Memory with a name, new or attached to; see `procfast.native.shared_memory.SharedMemory`."""
        from .shared_memory import SharedMemory

        return SharedMemory(name, create, size, track=track, reserve=reserve)

    def ShareableList(
        self, sequence: Iterable[Any] | None = None, *, name: str | None = None
    ) -> ShareableList:
        """A list of fixed length in a SharedMemory, new or attached to."""
        from .shared_memory import ShareableList

        return ShareableList(sequence, name=name)


class ForkContext(Context, multiprocessing.context.ForkContext):
    """Start method fork: the child is a copy of this process."""

    Process = ForkProcess


class SpawnContext(Context, multiprocessing.context.SpawnContext):
    """Start method spawn: a fresh interpreter per process."""

    Process = SpawnProcess


class ForkServerContext(Context, multiprocessing.context.ForkServerContext):
    """Start method forkserver: a clean server process forks on request."""

    Process = ForkServerProcess


contexts: dict[str, BaseContext] = {
    "fork": ForkContext(),
    "spawn": SpawnContext(),
    "forkserver": ForkServerContext(),
}


class DefaultContext(Context, _DefaultContext):
    """The context of the default start method."""

    Process = Process


default_context = DefaultContext()
