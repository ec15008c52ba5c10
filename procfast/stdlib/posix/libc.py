"""Functions of libc that Python has no name for, by ctypes."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
from typing import Any


class Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class Attributes(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_long), ("most", ctypes.c_long), ("size", ctypes.c_long),
        ("count", ctypes.c_long), ("reserved", ctypes.c_long * 4),
    )  # fmt: skip


_pointer, _name, _int, _size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t
_FUNCTIONS: dict[str, tuple[Any, ...]] = {  # result, arguments; further ones are variadic
    "sem_open": (_pointer, _name, _int),
    "sem_close": (_int, _pointer),
    "sem_unlink": (_int, _name),
    "sem_trywait": (_int, _pointer),
    "sem_timedwait": (_int, _pointer, ctypes.POINTER(Time)),
    "sem_clockwait": (_int, _pointer, _int, ctypes.POINTER(Time)),
    "sem_post": (_int, _pointer),
    "sem_getvalue": (_int, _pointer, ctypes.POINTER(_int)),
    "mq_open": (_int, _name, _int),
    "mq_unlink": (_int, _name),
    "mq_getattr": (_int, _int, ctypes.POINTER(Attributes)),
    "mq_timedsend": (_int, _int, _name, _size, ctypes.c_uint, ctypes.POINTER(Time)),
    "mq_timedreceive": (
        ctypes.c_ssize_t, _int, _pointer, _size, ctypes.POINTER(ctypes.c_uint), ctypes.POINTER(Time),
    ),
    "prctl": (_int, _int, *[ctypes.c_ulong] * 4),
}  # fmt: skip


@functools.cache
def function(name: str) -> Any:
    """None where libc has no such function."""
    for library in (None, "librt.so.1", "libpthread.so.0"):  # what was apart in older ones
        with contextlib.suppress(OSError, AttributeError):
            found = getattr(ctypes.CDLL(library, use_errno=True), name)
            found.restype, *arguments = _FUNCTIONS[name]
            found.argtypes = arguments
            return found
    return None


def call(name: str, *args: Any) -> int:
    """What it returns, or a negated errno."""
    found = function(name)
    if found is None:
        return -errno.ENOSYS
    before = ctypes.get_errno()
    result = found(*args)
    code = ctypes.get_errno()
    ctypes.set_errno(before)  # a signal handler may have interrupted one that is about to read it
    failed = result is None if name == "sem_open" else result < 0
    return -code if failed else int(result)


def checked(name: str, *args: Any) -> int:
    result = call(name, *args)
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result
