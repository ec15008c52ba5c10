"""Lock, RLock, Semaphore, BoundedSemaphore, Condition, Event and Barrier on words of shared memory.

They are instances of the standard library's classes and have their methods. Nothing here has a name, nor a
descriptor of its own: all lie in the process's arena (`wrappers/arena.pxi`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from multiprocessing import context, synchronize
from typing import Any, NamedTuple

from . import (
    _native,
    arena,  # noqa: F401  it registers how arenas are pickled
)

new_lock = _native.new_lock

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "Lock",
    "Owner",
    "RLock",
    "Semaphore",
]


class Owner(NamedTuple):
    """Who holds a lock."""

    pid: int
    """The process, in its own pid namespace; 0 where it died so long ago that this is forgotten."""

    thread: int
    """The thread that acquired it, as `threading.get_native_id()` calls it there."""

    since: float | None
    """When somebody who had to wait first saw it hold the lock, as `time.monotonic()`; None where nobody had to.
    With PROCFAST_DEBUG_LOCKS=1 in the owner's environment: when it acquired the lock."""

    alive: bool
    """False where that process is dead."""


class _Shared:
    """Pickling, the same for all: to the children of a process, when they are started, and nowhere else."""

    _ctx: Any

    def __getstate__(self) -> tuple[Any, ...]:
        context.assert_spawning(self)
        if self._ctx is not None and self._ctx.get_start_method() == "fork":
            raise RuntimeError(
                f'{type(self).__name__}: as with multiprocessing ("A SemLock created in a fork context is being shared '
                'with a process in a spawn context. This is not supported."), use the same context to create it and '
                "the Process"
            )
        return self._parts()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._attach(*state)


class _Owned:
    """What locks that know their owner have beyond the standard library's."""

    @property
    def owner(self) -> Owner | None:
        """Who holds it, be that process alive or dead; None where it is free."""
        found = self._owner()
        return None if found is None else Owner(*found)

    def acquire_recover(self, block: bool = True, timeout: float | None = None) -> bool | Owner:
        """As acquire(), for those who can repair what the lock guards. False: it was not to be had in time.
        True: the caller holds it. An `Owner`: the caller holds it, and that is who died while holding it.
        """
        got = self._recover(block, timeout)
        return got if isinstance(got, bool) else Owner(*got)


class Lock(_Shared, _Owned, _native.SharedLock, synchronize.Lock):
    """A lock for any number of processes and threads; any of them may release it.

    robust=False: as the standard library's, it stays locked when its owner is killed; `owner` tells who that was.
    robust=True: then exactly one acquire() raises `procfast.exceptions.OwnerDied` (one that waits, else the next), and
    the lock is free; a thread that ends in a live process is no dead owner.
    """


class RLock(_Shared, _Owned, _native.SharedRLock, synchronize.RLock):
    """A lock that its owner, a thread, may take again; only it may release it, as often as it has taken it.

    When the owner's process dies, exactly one acquire() raises `procfast.exceptions.OwnerDied` (one that waits, else
    the next), and the lock is free.
    """


class Semaphore(_Shared, _native.SharedSemaphore, synchronize.Semaphore):
    """A counter: acquire() takes one, and waits while it is 0; release() gives one."""


class BoundedSemaphore(Semaphore, synchronize.BoundedSemaphore):
    """A Semaphore that must not be released more often than acquired: ValueError."""

    def __init__(self, value: int = 1, *, ctx: Any = None) -> None:
        self._begin(value, value, ctx)


_PLAIN = (Lock, RLock)  # whose methods a Condition need not look up: nobody has overridden them


class _Count:
    """Has the face of a semaphore of the standard Condition, for those who look at its value."""

    def __init__(self, value: int) -> None:
        self._value = value

    @property
    def _semlock(self) -> _Count:
        return self

    def get_value(self) -> int:
        return self._value

    _get_value = get_value


class Condition(_Shared, _native.SharedCondition, synchronize.Condition):
    """A condition variable over a lock: an RLock of its own, or any lock or semaphore of multiprocessing's kind.

    Whoever waits or notifies may be killed at any moment. A notification that the dead was given goes to another
    waiter; notify(n) wakes no more than n of the living.
    """

    _ctx: Any = None  # the lock's counts

    def __init__(self, lock: Any = None, *, ctx: Any) -> None:
        lock = lock or ctx.RLock()
        self._begin(lock, type(lock) in _PLAIN)
        self._make_methods()

    def __getstate__(self) -> tuple[Any, ...]:
        return self._lock, type(self._lock) in _PLAIN, *super().__getstate__()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        super().__setstate__(state)
        self._make_methods()

    # What the standard library keeps in three semaphores, and some read.
    _sleeping_count = property(lambda self: _Count(self._waiters()))
    _woken_count = _wait_semaphore = property(lambda self: _Count(0))


class Event(_Shared, _native.SharedEvent, synchronize.Event):
    """A flag to wait for. Who waits when it is set is released, though it be cleared at once."""


class Barrier(_Shared, _native.SharedBarrier, synchronize.Barrier):
    """A place where `parties` threads of any processes wait for each other, again and again.

    When a process that had come to it dies, it breaks: BrokenBarrierError for the others.
    """

    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        ctx: Any,
    ) -> None:
        parties = operator.index(parties)
        if parties < 1:
            raise ValueError(f"parties must be at least 1, not {parties}")
        self._parties, self._action, self._timeout = parties, action, timeout
        self._begin(parties, ctx)

    def __getstate__(self) -> tuple[Any, ...]:
        return (self._parties, self._action, self._timeout), super().__getstate__()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        (self._parties, self._action, self._timeout), place = state
        super().__setstate__(place)


for _kind in (Lock, RLock, Semaphore, BoundedSemaphore):
    _native.own_methods(_kind, "acquire", "release")
_native.own_methods(Event, "is_set", "set", "clear", "wait")
