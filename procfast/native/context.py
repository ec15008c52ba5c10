"""The contexts of the native backend.

Factories stand here for what is native; everything else is inherited from `multiprocessing`.
"""

from __future__ import annotations

import functools
import multiprocessing.context
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.context import BaseContext

from ..context import BackendContext, public_names
from ..context import DefaultContext as _DefaultContext
from .process import ForkProcess, ForkServerProcess, Process, SpawnProcess

TYPE_CHECKING = False  # importing typing takes longer than all of procfast
if TYPE_CHECKING:
    from typing import Any

    from .connection import Connection
    from .pool import Pool
    from .queues import JoinableQueue, Queue, SimpleQueue
    from .shared_memory import ShareableList, SharedMemory
    from .synchronize import Barrier, BoundedSemaphore, Condition, Event, Lock, RLock, Semaphore


@functools.cache
def _locks() -> Any:
    """The module, imported when a lock is first made; an import statement would cost as much as the lock each time."""
    from . import synchronize

    return synchronize


@functools.cache
def _values() -> Any:
    """Likewise; and ctypes with it."""
    from . import sharedctypes

    return sharedctypes


class Context(BackendContext):
    """The factories of what is native."""

    backend = "native"
    features = frozenset(
        {
            "array_buffers",
            "atomic_raw_values",
            "atomic_values",
            "batches",
            "crash_safe_locks",
            "crash_safe_pipes",
            "crash_safe_queues",
            "exact_qsize",
            "interrupt",
            "lock_owner",
            "max_bytes",
            "no_feeder_thread",
            "pool_cancel_running",
            "pool_retries",
            "pool_timeout",
            "pool_worker_died",
            "robust_locks",
            "swept_shared_memory",
        }
    )

    @functools.cached_property
    def _here(self) -> BaseContext:
        """get_context(), where making a lock takes no longer than calling that."""
        return self

    def Pipe(self, duplex: bool = True) -> tuple[Connection, Connection]:
        """Two connected ends on rings in shared memory; see `procfast.native.connection.Connection`."""
        from .connection import Pipe

        return Pipe(duplex)

    def Pool(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        *,
        worker_init: Callable[[], object] | None = None,
    ) -> Pool:
        """Worker processes that call functions; see `procfast.native.pool.Pool`."""
        from .pool import Pool

        context = self.get_context()
        return Pool(
            processes, initializer, initargs, maxtasksperchild, context, worker_init=worker_init
        )

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

    def Lock(self, *, robust: bool = False) -> Lock:
        """A lock; with robust=True acquire() raises OwnerDied where its holder was killed, and the lock is free then.

        See `procfast.native.synchronize.Lock`.
        """
        locks = _locks()
        return locks.new_lock(locks.Lock, self._here, robust)

    def RLock(self) -> RLock:
        """A lock that its owner may take again; see `procfast.native.synchronize.RLock`."""
        return _locks().RLock(ctx=self._here)

    def Semaphore(self, value: int = 1) -> Semaphore:
        """A counter that can be waited for."""
        return _locks().Semaphore(value, ctx=self._here)

    def BoundedSemaphore(self, value: int = 1) -> BoundedSemaphore:
        """A semaphore that must not be released more often than acquired."""
        return _locks().BoundedSemaphore(value, ctx=self._here)

    def Condition(self, lock: Any = None) -> Condition:
        """A condition variable; see `procfast.native.synchronize.Condition`."""
        return _locks().Condition(lock, ctx=self._here)

    def Event(self) -> Event:
        """A flag that can be waited for."""
        return _locks().Event(ctx=self._here)

    def Barrier(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
    ) -> Barrier:
        """A place where `parties` processes wait for each other; see `procfast.native.synchronize.Barrier`."""
        return _locks().Barrier(parties, action, timeout, ctx=self._here)

    def Value(self, typecode_or_type: Any, *args: Any, lock: Any = True) -> Any:
        """An object of ctypes in shared memory, with a lock; see `procfast.native.sharedctypes.Value`."""
        return _values().Value(typecode_or_type, *args, lock=lock)

    def Array(self, typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True) -> Any:
        """An array in shared memory, with a lock; see `procfast.native.sharedctypes.Array`."""
        return _values().Array(typecode_or_type, size_or_initializer, lock=lock)

    def RawValue(self, typecode_or_type: Any, *args: Any) -> Any:
        """An object of ctypes in shared memory; see `procfast.native.sharedctypes.RawValue`."""
        return _values().RawValue(typecode_or_type, *args)

    def RawArray(self, typecode_or_type: Any, size_or_initializer: Any) -> Any:
        """An array of ctypes in shared memory."""
        return _values().RawArray(typecode_or_type, size_or_initializer)

    def set_forkserver_preload(
        self, module_names: Sequence[str], *, on_error: str = "ignore"
    ) -> None:
        """Modules that the fork server imports before it forks, for all backends; to be called before it is launched.

        Unless this is called, it imports what the main module begins by importing. With "__main__" in the list it
        runs all of the main module, once, and its processes do not.

        A module that cannot be imported is passed over, with an ImportWarning for `on_error="warn"`; with "fail" the
        server ends, with a traceback, and each start of a process is an OSError.
        """
        if on_error not in ("ignore", "warn", "fail"):
            raise ValueError(f"on_error must be 'ignore', 'warn', or 'fail', not {on_error!r}")
        super().set_forkserver_preload(module_names)  # type: ignore[arg-type]
        from . import forkserver

        forkserver.named, forkserver.on_error = module_names, on_error

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

    @property
    def _here(self) -> BaseContext:
        return self.get_context()


default_context = DefaultContext()
names = public_names(default_context)


def prepare_install() -> None:
    """What `install` begins with: the exit function of named segments, so that no start of a process adds one later."""
    from . import segments

    segments.answer()
