"""`multiprocessing.sharedctypes`, whose Values have procfast's atomic operations, made of Python under their lock."""

from __future__ import annotations

import ctypes
import operator
from multiprocessing import sharedctypes
from multiprocessing.context import assert_spawning
from multiprocessing.sharedctypes import Array, RawArray, RawValue, copy
from typing import Any

from .context import default_context

__all__ = ["Array", "RawArray", "RawValue", "Value", "copy", "synchronized"]


class Synchronized(sharedctypes.Synchronized):
    """A value with a lock. What has no lock has no atomic operations on this backend."""

    def add(self, n: Any) -> Any:
        """Add n and answer the new value, while nobody else who takes the lock changes it.

        As `value += n`: integers wrap round. TypeError where the value or n is no number.
        """
        code = self._obj._type_
        if code in "bBhHiIlLqQ":
            n = operator.index(n)
        elif code in "fdg":
            n = ctypes.c_double(n).value
        else:
            raise TypeError(
                f"a {type(self._obj).__name__} is no number: nothing can be added to it"
            )
        self.acquire()
        try:
            self._obj.value += n
            return self._obj.value
        finally:
            self.release()

    def exchange(self, value: Any) -> Any:
        """Set it and answer the value before, while nobody else who takes the lock changes it."""
        new = type(self._obj)(value).value
        self.acquire()
        try:
            old = self._obj.value
            self._obj.value = new
            return old
        finally:
            self.release()

    def compare_exchange(self, expected: Any, value: Any) -> bool:
        """Set it if it is `expected` (which is converted as if assigned), and answer whether it was.

        NaN is taken for equal to itself.
        """
        expected, new = (type(self._obj)(each).value for each in (expected, value))
        self.acquire()
        try:
            old = self._obj.value
            if old != expected and (old == old or expected == expected):
                return False
            self._obj.value = new
            return True
        finally:
            self.release()

    def __reduce__(self) -> tuple[Any, ...]:
        assert_spawning(self)
        return synchronized, (self._obj, self._lock)


def Value(typecode_or_type: Any, *args: Any, lock: Any = True, ctx: Any = None) -> Any:
    """A `multiprocessing.Value` that also has add, exchange and compare_exchange, if it has a lock."""
    made = sharedctypes.Value(typecode_or_type, *args, lock=lock, ctx=ctx or default_context)
    if type(made) is sharedctypes.Synchronized:
        return Synchronized(made.get_obj(), made.get_lock())
    return made


def synchronized(obj: Any, lock: Any = None, ctx: Any = None) -> Any:
    """As `multiprocessing.sharedctypes.synchronized`: a lock around an object of ctypes."""
    made = sharedctypes.synchronized(obj, lock, ctx or default_context)
    if type(made) is sharedctypes.Synchronized:
        return Synchronized(obj, made.get_lock())
    return made
