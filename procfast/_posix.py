"""What procfast.posix is on every backend: which arguments it takes, and what its errors say.

A backend provides the bare calls.
"""

from __future__ import annotations

import errno
import math
import operator
import os
from abc import ABC, abstractmethod
from typing import Any, NoReturn


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


def _fail(fd: int, code: int, done: int, size: int, verb: str, timeout: float | None) -> NoReturn:
    error: Any
    if code == errno.EPIPE and verb == "read":
        error = EOFError(f"end of file after {done} of {size} bytes")
    elif code == errno.ETIMEDOUT:
        error = TimeoutError(code, f"{verb} {done} of {size} bytes within {timeout} s")
    elif code == errno.EBADF:
        use = {"read": "reading", "written": "writing"}[verb]
        error = OSError(code, f"fd {fd} is not open, or not for {use}")
    else:
        error = OSError(code, f"{os.strerror(code)} (fd {fd}, {verb} {done} of {size} bytes)")
    error.done = done
    raise error


class Pipes(ABC):
    """Pipes, and whole reads and writes. The methods are the functions of `procfast.posix`."""

    @abstractmethod
    def _pipe(self) -> tuple[int, int]: ...

    @abstractmethod
    def _move(self, fd: int, out: bool, data: memoryview, timeout: float | None) -> tuple[int, int]:
        """(code, done): read or write it whole. The code is 0, ETIMEDOUT, EPIPE at the end, ...

        What a signal handler raises gets the attribute `done`.
        """

    def pipe(self) -> tuple[int, int]:
        """A new pipe: (descriptor to read from, descriptor to write to), as os.pipe.

        Both are close-on-exec: no program started later inherits them, unless by pass_fds or os.set_inheritable.
        Forked children do; close the end that you do not use, or there is no end of file. They are plain ints and
        yours to close. OSError (EMFILE, ENFILE): too many descriptors are open.
        """
        return self._pipe()

    def read_exactly(self, fd: Any, size: int, timeout: float | None = None) -> bytes:
        """Read `size` bytes, not fewer, from a pipe, a socket or a file: waits for them.

        fd is an int or has a fileno(). It may be blocking or not; its flags stay as they are. timeout is in seconds
        for the whole of it; None: for ever, 0: only what is there.

        EOFError: the end came first. TimeoutError: the time was up. Both, and any other exception that ends the
        call midway, an OSError or what a signal handler raises (other handlers run, and the wait goes on), say in
        their attributes `partial` which bytes had been read, since they are not in the pipe any more, and in `done`
        how many.
        """
        size = count(size, "size")
        data = bytearray(size)
        try:
            self.read_into(fd, data, timeout)
        except BaseException as error:
            if hasattr(error, "done"):
                error.partial = bytes(memoryview(data)[: error.done])  # type: ignore[attr-defined]
            raise
        return bytes(data)

    def read_into(self, fd: Any, buffer: Any, timeout: float | None = None) -> None:
        """Fill a writable buffer (bytearray, array, NumPy array, memoryview) from a descriptor, whole.

        As read_exactly, without its copy. What had been read when an exception ended it is in the buffer; the
        attribute `done` says how many bytes.
        """
        self._whole(fd, False, view(buffer, "buffer", writable=True), timeout)

    def write_all(self, fd: Any, data: Any, timeout: float | None = None) -> None:
        """Write all of `data` (bytes or any other buffer) to a pipe, a socket or a file: waits for room.

        fd and timeout are as of read_exactly. A blocking descriptor keeps the timeout too, however much more is
        written than a pipe holds. BrokenPipeError: nobody can read it any more. TimeoutError: the time was up.
        They, and whatever else ends the call midway, say in their attribute `done` how many bytes went out.

        Up to select.PIPE_BUF bytes into a pipe go in one piece, however many write to it; more may be mixed with
        what others write.
        """
        self._whole(fd, True, view(data, "data", writable=False), timeout)

    def _whole(self, fd: Any, out: bool, data: memoryview, timeout: Any) -> None:
        fd, timeout = descriptor(fd), seconds(timeout)
        code, done = self._move(fd, out, data, timeout)
        if code:
            _fail(fd, code, done, len(data), "written" if out else "read", timeout)
