"""What the pools of all backends have in common: bars of progress, the state of a worker, its errors."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import reduction
from typing import Any, Self

LOOK = 0.1  # seconds between two looks at a map whose progress is shown


def bar(progress: Any, total: int | None) -> Any:
    """What shows progress: a bar of tqdm for True, else what was given. Has update(n) and close()."""
    if progress is not True:
        if callable(getattr(progress, "update", None)) and callable(
            getattr(progress, "close", None)
        ):
            return progress
        raise TypeError(
            f"progress must be True, or have the methods update(n) and close(), not {progress!r}"
        )
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise ImportError(
            "progress=True needs tqdm: pip install 'procfast[progress]'", name="tqdm"
        ) from None
    return tqdm(total=total)


def watch(job: Any, bar: Any) -> None:
    """Wait for a map while the bar follows it. `job._settled()` is the number of its items that are done with."""
    shown = 0
    try:
        while True:
            job.wait(LOOK)
            ready = job.ready()
            settled = job._settled()
            if settled > shown:
                bar.update(settled - shown)
                shown = settled
            if ready:
                return
    finally:
        bar.close()


class Counted(Iterator[Any]):
    """The iterator of an imap, with a bar that moves as its results are taken."""

    def __init__(self, results: Any, bar: Any) -> None:
        self._results, self._bar = results, bar

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """The next result, waiting for it at most `timeout` seconds: multiprocessing.TimeoutError."""
        from multiprocessing import TimeoutError

        try:
            value = self._results.next(timeout)
        except StopIteration:
            self._bar.close()
            raise
        except TimeoutError:
            raise
        except Exception:  # an item's own, which is one less to come
            self._bar.update(1)
            raise
        self._bar.update(1)
        return value

    def __getattr__(self, name: str) -> Any:
        return getattr(self._results, name)


class Start:
    """The initializer of a pool whose workers keep a state."""

    def __init__(
        self, initializer: Callable[..., object] | None, worker_init: Callable[[], Any]
    ) -> None:
        self.initializer, self.worker_init = initializer, worker_init

    def __call__(self, *initargs: Any) -> None:
        global _state
        if self.initializer is not None:
            self.initializer(*initargs)
        _state = (self.worker_init(),)


class WithState:
    """A function that gets the state of its worker as its first argument."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwds: Any) -> Any:
        if _state is None:
            raise RuntimeError("with_state=True needs a pool that was made with worker_init=")
        return self.function(_state[0], *args, **kwds)


_state: tuple[Any] | None = None


# ---- what a worker says of an exception

Report = tuple[bytes, str, str]  # its pickle, its repr, its traceback


def report(error: BaseException) -> Report:
    """What the owner is told of an exception."""
    from multiprocessing import pool  # here: under install() it imports who imports this

    lines = traceback.format_exception(type(error), error, error.__traceback__)
    try:
        pickled = bytes(reduction.ForkingPickler.dumps(error))
    except Exception as why:
        wrapped = pool.MaybeEncodingError(why, error)
        return pickle.dumps(wrapped), str(wrapped), "".join(lines)
    return pickled, _repr(error), "".join(lines)


def rebuild(report: Report) -> BaseException:
    """The exception of a report, with the remote traceback as its cause."""
    from multiprocessing import pool

    pickled, text, remote = report
    try:
        error = pickle.loads(pickled)
        if not isinstance(error, BaseException):
            raise TypeError(f"it became a {type(error).__name__}")
    except Exception as why:
        error = pool.MaybeEncodingError(why, text)
        error.value = text
    error.__cause__ = pool.RemoteTraceback(f'\n"""\n{remote}"""')
    return error


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__module__}.{type(value).__qualname__} without a repr>"


# ---- what a pool tells of itself


@dataclass(frozen=True)
class WorkerStats:
    """One worker, as `Stats.workers` has it."""

    pid: int | None
    """Its process; None where that is being replaced."""

    tasks: int
    """Tasks that it, and those whose place it took, have ended."""

    busy: float
    """Seconds spent in them."""

    running: float
    """Seconds that its present task has run; 0 without one."""


@dataclass(frozen=True)
class Stats:
    """A pool at one moment."""

    done: int
    """Tasks (chunks, of a map) whose result was read."""

    failed: int
    """The same of those that raised, or were lost."""

    queued: int
    """Tasks that no worker has taken yet."""

    unread: int
    """Results that nobody has read yet."""

    replaced: int
    """Workers started in the place of others."""

    workers: list[WorkerStats]
