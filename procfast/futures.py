"""`concurrent.futures`, with a ProcessPoolExecutor that is many times faster and that a dead worker does not break.

All names of `concurrent.futures` are here and are its own, but for ProcessPoolExecutor; BrokenProcessPool too. The
backend is the one that `procfast.backend` names: on `stdlib` the executor is the standard library's, with what newer
Pythons have.
"""

from __future__ import annotations

from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    InvalidStateError,
    ThreadPoolExecutor,
    TimeoutError,
    as_completed,
    wait,
)
from concurrent.futures.process import BrokenProcessPool

from . import _backend

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "BrokenExecutor",
    "BrokenProcessPool",
    "CancelledError",
    "Executor",
    "Future",
    "InvalidStateError",
    "ProcessPoolExecutor",
    "ThreadPoolExecutor",
    "TimeoutError",
    "as_completed",
    "wait",
]

ProcessPoolExecutor = _backend.load(
    _backend.choose()[0].default_context.backend, "futures"
).ProcessPoolExecutor
