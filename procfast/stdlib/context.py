"""The contexts of the standard library backend: `multiprocessing`'s own, with procfast's additions."""

from __future__ import annotations

import multiprocessing.context
from collections.abc import Callable, Iterable
from multiprocessing.context import BaseContext

from ..context import BackendContext, public_names
from ..context import DefaultContext as _DefaultContext
from .process import Process, SpawnProcess

TYPE_CHECKING = False  # importing typing takes longer than all of procfast
if TYPE_CHECKING:
    from typing import Any

    from .pool import Pool
    from .queues import JoinableQueue, Queue
    from .shared_memory import ShareableList, SharedMemory
    from .synchronize import BoundedSemaphore, Lock, RLock, Semaphore


class Context(BackendContext):
    """The factories that procfast adds to; the others are inherited from `multiprocessing`."""

    backend = "stdlib"
    features = frozenset({"atomic_values", "batches", "interrupt"})

    def Pool(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        *,
        worker_init: Callable[[], Any] | None = None,
    ) -> Pool:
        """A `multiprocessing.Pool` that also has progress, stats, cancel, ...; see `procfast.stdlib.pool.Pool`."""
        from .pool import Pool

        return Pool(
            processes,
            initializer,
            initargs,
            maxtasksperchild,
            self.get_context(),
            worker_init=worker_init,
        )

    def Queue(self, maxsize: int = 0, *, max_bytes: int | None = None) -> Queue:
        """A `multiprocessing.Queue` that also has put_many and get_many.

        `max_bytes` is accepted for the native backend's sake: this queue's memory has no ceiling.
        """
        from .queues import Queue

        return Queue(maxsize, ctx=self.get_context(), max_bytes=max_bytes)

    def JoinableQueue(self, maxsize: int = 0, *, max_bytes: int | None = None) -> JoinableQueue:
        """A `multiprocessing.JoinableQueue` that also has put_many and get_many; see `Queue`."""
        from .queues import JoinableQueue

        return JoinableQueue(maxsize, ctx=self.get_context(), max_bytes=max_bytes)

    def Value(self, typecode_or_type: Any, *args: Any, lock: Any = True) -> Any:
        """A `multiprocessing.Value` that also has add, exchange and compare_exchange, if it has a lock."""
        from .sharedctypes import Value

        return Value(typecode_or_type, *args, lock=lock, ctx=self.get_context())

    def Lock(self, *, robust: bool = False) -> Lock:
        """A `multiprocessing.Lock` that also has locked(). NotImplementedError for robust=True."""
        from .synchronize import Lock

        return Lock(ctx=self.get_context(), robust=robust)

    def RLock(self) -> RLock:
        """A `multiprocessing.RLock` that also has locked()."""
        from .synchronize import RLock

        return RLock(ctx=self.get_context())

    def Semaphore(self, value: int = 1) -> Semaphore:
        """A `multiprocessing.Semaphore` that also has locked()."""
        from .synchronize import Semaphore

        return Semaphore(value, ctx=self.get_context())

    def BoundedSemaphore(self, value: int = 1) -> BoundedSemaphore:
        """A `multiprocessing.BoundedSemaphore` that also has locked()."""
        from .synchronize import BoundedSemaphore

        return BoundedSemaphore(value, ctx=self.get_context())

    def SharedMemory(
        self,
        name: str | None = None,
        create: bool = False,
        size: int = 0,
        *,
        track: bool = True,
        reserve: bool = False,
    ) -> SharedMemory:
        """Memory with a name, new or attached to; see `procfast.stdlib.shared_memory.SharedMemory`."""
        from .shared_memory import SharedMemory

        return SharedMemory(name, create, size, track=track, reserve=reserve)

    def ShareableList(
        self, sequence: Iterable[Any] | None = None, *, name: str | None = None
    ) -> ShareableList:
        """A list of fixed length in a SharedMemory, new or attached to."""
        from .shared_memory import ShareableList

        return ShareableList(sequence, name=name)


class SpawnContext(Context, multiprocessing.context.SpawnContext):
    """Start method spawn: a fresh interpreter per process."""

    Process = SpawnProcess


contexts: dict[str, BaseContext] = {"spawn": SpawnContext()}

if "fork" in multiprocessing.context._concrete_contexts:
    from .process import ForkProcess, ForkServerProcess

    class ForkContext(Context, multiprocessing.context.ForkContext):
        """Start method fork: the child is a copy of this process."""

        Process = ForkProcess

    class ForkServerContext(Context, multiprocessing.context.ForkServerContext):
        """Start method forkserver: a clean server process forks on request."""

        Process = ForkServerProcess

    contexts |= {"fork": ForkContext(), "forkserver": ForkServerContext()}


class DefaultContext(Context, _DefaultContext):
    """The context of the default start method."""

    Process = Process


default_context = DefaultContext()
names = public_names(default_context)


def prepare_install() -> None:
    """What `install` begins with: there is nothing to prepare."""
