"""`multiprocessing.pool` on the backend that procfast uses: Pool is its own.

Every other name is `multiprocessing.pool`'s.
"""

import importlib
import multiprocessing.pool
from typing import Any

from . import _backend

_chosen = importlib.import_module(".pool", _backend.choose()[0].__package__)

Pool = _chosen.Pool
ThreadPool = multiprocessing.pool.ThreadPool

__all__ = ["Pool", "ThreadPool"]


def __getattr__(name: str) -> Any:
    return getattr(multiprocessing.pool, name)
