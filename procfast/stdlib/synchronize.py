"""The locks of `multiprocessing.synchronize`, with what procfast adds where Python can."""

from __future__ import annotations

import multiprocessing.synchronize
from typing import Any

__all__ = ["BoundedSemaphore", "Lock", "RLock", "Semaphore"]


class _Locked(multiprocessing.synchronize.SemLock):
    def locked(self) -> bool:
        """Whether acquire() would have to wait at this moment (an RLock's owner: whether it holds it)."""
        return bool(self._semlock._is_zero())


class Lock(_Locked, multiprocessing.synchronize.Lock):
    """The standard library's lock."""

    def __init__(self, *, ctx: Any, robust: bool = False) -> None:
        if robust:
            raise NotImplementedError(
                "robust=True needs the native backend: the standard library's locks stay locked for ever "
                "when their holder is killed"
            )
        super().__init__(ctx=ctx)


class RLock(_Locked, multiprocessing.synchronize.RLock):
    """The standard library's recursive lock."""


class Semaphore(_Locked, multiprocessing.synchronize.Semaphore):
    """The standard library's semaphore."""


class BoundedSemaphore(_Locked, multiprocessing.synchronize.BoundedSemaphore):
    """The standard library's bounded semaphore."""
