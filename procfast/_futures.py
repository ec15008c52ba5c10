"""What the executors of all backends have in common."""

from __future__ import annotations

import collections
import itertools
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any


def check_sizes(chunksize: int, buffersize: int | None) -> None:
    """ValueError, TypeError, as of Executor.map."""
    if chunksize < 1:
        raise ValueError("chunksize must be >= 1.")
    if buffersize is not None and not isinstance(buffersize, int):
        raise TypeError("buffersize must be an integer or None")
    if buffersize is not None and buffersize < 1:
        raise ValueError("buffersize must be None or > 0")


def batches(iterables: Iterable[Iterable[Any]], size: int) -> Iterator[tuple[tuple[Any, ...], ...]]:
    """Tuples of `size` tuples of arguments; the last one may be shorter."""
    calls = zip(*iterables, strict=False)
    while batch := tuple(itertools.islice(calls, size)):
        yield batch


def results(
    owner: object,
    submit: Callable[[Any, Any], Future[Any]],
    calls: Iterator[Any],
    timeout: float | None,
    buffersize: int | None,
) -> Iterator[Any]:
    """The results of submit(owner, call) for each call, in order; Executor.map, as of Python 3.14.

    Calls are submitted at once, or with a buffersize at most so many ahead of whoever takes the results. The owner
    may be collected meanwhile. `timeout` counts from now.
    """
    end = None if timeout is None else time.monotonic() + timeout
    futures = collections.deque(submit(owner, call) for call in itertools.islice(calls, buffersize))
    found = weakref.ref(owner)
    del owner

    def taken() -> Iterator[Any]:
        nonlocal calls
        try:
            while futures:
                if buffersize is not None and (alive := found()) is not None:
                    for call in itertools.islice(calls, 1):
                        futures.append(submit(alive, call))
                    del alive
                yield _result_or_cancel(futures.popleft(), end)
        finally:
            for future in futures:
                future.cancel()

    return taken()


def _result_or_cancel(future: Future[Any], end: float | None) -> Any:
    try:
        try:
            return future.result(None if end is None else end - time.monotonic())
        finally:
            future.cancel()
    finally:
        del future  # an exception refers to this frame


def flat(lists: Iterator[Iterable[Any]]) -> Iterator[Any]:
    """The items of each; none is kept here when it was taken."""
    for each in lists:
        items = list(each)
        del each
        items.reverse()
        while items:
            yield items.pop()
