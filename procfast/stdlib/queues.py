"""`multiprocessing.Queue` and `JoinableQueue` with the methods that procfast adds, as loops over put and get."""

from __future__ import annotations

import multiprocessing.queues
import queue
import time
from collections.abc import Iterable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["JoinableQueue", "Queue"]


class Queue(multiprocessing.queues.Queue):
    """The standard library's queue. `max_bytes` is ignored: it has no ceiling but the memory."""

    def __init__(self, maxsize: int = 0, *, ctx: Any, max_bytes: int | None = None) -> None:
        super().__init__(maxsize, ctx=ctx)

    def put_many(
        self, items: Iterable[Any], block: bool = True, timeout: float | None = None
    ) -> int:
        """Put all items of an iterable, in order; how many were put.

        The timeout (seconds) is over the whole call; when it ends, or at once with block=False and a full
        queue, raises queue.Full with the number of items that were put as its argument.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        put = 0
        for item in items:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                self.put(item, block, left)
            except queue.Full:
                raise queue.Full(put) from None
            put += 1
        return put

    def get_many(
        self, max_items: int, block: bool = True, timeout: float | None = None
    ) -> list[Any]:
        """Up to max_items items, the oldest first: waits, as get() does, for the first only, and takes what
        else is there. Raises queue.Empty instead of returning an empty list.
        """
        if max_items < 1:
            raise ValueError(f"max_items must be at least 1, not {max_items}")
        items = [self.get(block, timeout)]
        try:
            while len(items) < max_items:
                items.append(self.get(False))
        except queue.Empty:
            pass
        return items


class JoinableQueue(Queue, multiprocessing.queues.JoinableQueue):
    """The standard library's joinable queue."""
