"""Pipes, and whole reads and writes on any descriptor."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from typing import Any, NoReturn

from .arguments import count, descriptor, seconds, view


def _fail(fd: int, code: int, done: int, size: int, verb: str, timeout: float | None) -> NoReturn:
    if code == errno.EPIPE and verb == "read":
        raise EOFError(f"end of file after {done} of {size} bytes")
    if code == errno.ETIMEDOUT:
        raise TimeoutError(code, f"{verb} {done} of {size} bytes within {timeout} s")
    if code == errno.EBADF:
        use = {"read": "reading", "written": "writing"}[verb]
        raise OSError(code, f"fd {fd} is not open, or not for {use}")
    raise OSError(code, f"{os.strerror(code)} (fd {fd}, {verb} {done} of {size} bytes)")


class Pipes(ABC):
    """Pipes, and whole reads and writes. The methods are the functions of `procfast.posix`."""

    @abstractmethod
    def _pipe(self) -> tuple[int, int]: ...

    @abstractmethod
    def _move(
        self, fd: int, out: bool, data: memoryview, timeout: float | None, moved: list[int]
    ) -> int:
        """Read or write it whole: 0, ETIMEDOUT, EPIPE at the end, ...

        moved[0] is how many bytes were moved, also where a signal handler raises.
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
        data, moved = bytearray(size), [0]
        try:
            self._whole(fd, False, memoryview(data), timeout, moved)
            return bytes(data)
        except BaseException as error:
            error.partial = bytes(memoryview(data)[: moved[0]])  # type: ignore[attr-defined]
            raise

    def read_into(self, fd: Any, buffer: Any, timeout: float | None = None) -> None:
        """Fill a writable buffer (bytearray, array, NumPy array, memoryview) from a descriptor, whole.

        As read_exactly, without its copy. What had been read when an exception ended it is in the buffer; the
        attribute `done` says how many bytes.
        """
        self._whole(fd, False, view(buffer, "buffer", writable=True), timeout, [0])

    def write_all(self, fd: Any, data: Any, timeout: float | None = None) -> None:
        """Write all of `data` (bytes or any other buffer) to a pipe, a socket or a file: waits for room.

        fd and timeout are as of read_exactly. A blocking descriptor keeps the timeout too, however much more is
        written than a pipe holds. BrokenPipeError: nobody can read it any more. TimeoutError: the time was up.
        They, and whatever else ends the call midway, say in their attribute `done` how many bytes went out.

        Up to select.PIPE_BUF bytes into a pipe go in one piece, however many write to it; more may be mixed with
        what others write.
        """
        self._whole(fd, True, view(data, "data", writable=False), timeout, [0])

    def _whole(self, fd: Any, out: bool, data: memoryview, timeout: Any, moved: list[int]) -> None:
        fd, timeout = descriptor(fd), seconds(timeout)
        try:
            if code := self._move(fd, out, data, timeout, moved):
                _fail(fd, code, moved[0], len(data), "written" if out else "read", timeout)
        except BaseException as error:
            error.done = moved[0]  # type: ignore[attr-defined]
            raise
