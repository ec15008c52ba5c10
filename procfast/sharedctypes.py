"""Shared objects of ctypes: `multiprocessing.sharedctypes`, with the functions of the backend that procfast uses."""

from __future__ import annotations

import importlib
from multiprocessing import sharedctypes
from typing import Any

from . import _backend

__all__ = sharedctypes.__all__


def __getattr__(name: str) -> Any:
    if name in __all__:
        chosen, _ = _backend.choose()
        return getattr(importlib.import_module(".sharedctypes", chosen.__package__), name)
    return getattr(sharedctypes, name)


def __dir__() -> list[str]:
    return dir(sharedctypes)
