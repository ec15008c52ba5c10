"""The standard library's ProcessPoolExecutor, with the arguments that newer Pythons and other backends have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import process
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

from .. import _futures

__all__ = ["BrokenProcessPool", "ProcessPoolExecutor"]


class ProcessPoolExecutor(process.ProcessPoolExecutor):
    """`concurrent.futures.ProcessPoolExecutor`: a process that dies breaks it, so strict=False is refused."""

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        strict: bool | None = None,
    ) -> None:
        if strict is not None and not strict:
            raise NotImplementedError(
                "strict=False: an executor of the stdlib backend breaks when a worker dies; the native one does not"
            )
        if mp_context is None:
            from .context import default_context

            method = None if max_tasks_per_child is None else "spawn"
            mp_context = default_context.get_context(method)
        super().__init__(
            max_workers, mp_context, initializer, initargs, max_tasks_per_child=max_tasks_per_child
        )

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """An iterator over fn(*args) for args in zip(*iterables), in order; as of Python 3.14.

        buffersize: at most so many calls (chunks) ahead of whoever takes the results; None: all are submitted now.
        """
        _futures.check_sizes(chunksize, buffersize)
        if buffersize is None:
            return super().map(fn, *iterables, timeout=timeout, chunksize=chunksize)
        each = partial(_each, fn)
        calls: Any = _futures.batches(iterables, chunksize)
        found = _futures.results(
            self, lambda owner, call: owner.submit(each, call), calls, timeout, buffersize
        )
        return _futures.flat(found)


def _each(fn: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> list[Any]:
    return [fn(*args) for args in calls]
