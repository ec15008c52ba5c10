"""`multiprocessing.shared_memory` on the backend that procfast uses: SharedMemory and ShareableList are its own.

Every other name is `multiprocessing.shared_memory`'s.
"""

import importlib
import multiprocessing.shared_memory
from typing import Any

from . import _backend

_chosen = importlib.import_module(".shared_memory", _backend.choose()[0].__package__)

SharedMemory = _chosen.SharedMemory
ShareableList = _chosen.ShareableList

__all__ = ["ShareableList", "SharedMemory"]


def __getattr__(name: str) -> Any:
    return getattr(multiprocessing.shared_memory, name)
