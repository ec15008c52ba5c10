"""Arguments, checked before any system call: a wrong one raises TypeError or ValueError, and says which."""

from __future__ import annotations

import math
import operator
from typing import Any


def descriptor(fd: Any) -> int:
    """An int, or what has a fileno()."""
    try:
        number = operator.index(fd.fileno() if hasattr(fd, "fileno") else fd)
    except TypeError:
        raise TypeError(
            f"fd must be a descriptor (int) or have a fileno(), not {type(fd).__name__}"
        ) from None
    if not 0 <= number < 1 << 31:
        raise ValueError(f"fd must be a descriptor, and {number} is none")
    return number


def seconds(timeout: Any) -> float | None:
    """None: for ever."""
    if timeout is None:
        return None
    if not hasattr(timeout, "__float__"):
        raise TypeError(
            f"timeout must be a number of seconds or None, not {type(timeout).__name__}"
        )
    try:
        number = float(timeout)
    except OverflowError:
        number = math.inf
    if math.isnan(number):
        raise ValueError("timeout must be a number of seconds or None, not nan")
    return number


def count(number: Any, what: str) -> int:
    """0 or more."""
    try:
        value = operator.index(number)
    except TypeError:
        raise TypeError(f"{what} must be an int, not {type(number).__name__}") from None
    if value < 0:
        raise ValueError(f"{what} must be 0 or more, not {value}")
    return value


def number(value: Any, what: str, least: int = -(1 << 31)) -> int:
    """One that fits into a C int, and is not below `least`."""
    try:
        found = operator.index(value)
    except TypeError:
        raise TypeError(f"{what} must be an int, not {type(value).__name__}") from None
    if not least <= found < 1 << 31:
        raise ValueError(f"{what} must be an int from {least} to 2**31 - 1, not {found}")
    return found


def view(buffer: Any, what: str, *, writable: bool) -> memoryview:
    """The bytes of a buffer, without a copy."""
    try:
        bytes_of = memoryview(buffer)
    except TypeError:
        raise TypeError(
            f"{what} must be bytes or another buffer, not {type(buffer).__name__}"
        ) from None
    if writable and bytes_of.readonly:
        raise TypeError(f"{what} must be a writable buffer, not {type(buffer).__name__}")
    if not bytes_of.c_contiguous:
        raise BufferError(f"{what} must be contiguous: its bytes lie apart")
    return bytes_of.cast("B") if bytes_of.nbytes else memoryview(bytearray())
