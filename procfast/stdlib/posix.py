"""procfast.posix in Python: os, select, and libc by ctypes for what they do not have."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import time
import traceback
from collections.abc import Callable

from .. import _posix

__all__ = ["pipe", "read_exactly", "read_into", "write_all"]

_MOST = 16 << 20  # bytes in one call
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)

# Moves bytes between a descriptor and a buffer without waiting: how many; BlockingIOError.
_Mover = Callable[[int, memoryview], int]


class _Deadline:
    """Monotonic; None: never."""

    def __init__(self, timeout: float | None) -> None:
        self.at = None if timeout is None else time.monotonic() + max(timeout, 0)

    def left(self) -> float | None:
        """Seconds, at least 0."""
        return None if self.at is None else max(self.at - time.monotonic(), 0)


def _ready(fd: int, out: bool, deadline: _Deadline | None) -> bool:
    """Waits until poll(2) finds it ready, no longer than to the deadline (None: not at all)."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT if out else select.POLLIN)
    while True:
        left = deadline.left() if deadline else 0
        if poll.poll(None if left is None else min(left * 1000 + 1, 1 << 30) if left else 0):
            return True
        if left is not None and (not deadline or not deadline.left()):
            return False


def _plain(out: bool) -> _Mover:
    return os.write if out else lambda fd, data: os.readv(fd, [data])


def _polled(out: bool) -> _Mover:
    """At most PIPE_BUF bytes block only if another process that uses the same end comes in between."""
    move = _plain(out)

    def moved(fd: int, data: memoryview) -> int:
        if not _ready(fd, out, None):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return move(fd, data[: select.PIPE_BUF] if out else data)

    return moved


def _nowait(out: bool) -> _Mover:
    """By preadv2 and pwritev2, which know a flag for it (Linux; for pipes and sockets from 6.4 on)."""
    if not _NOWAIT:
        return _polled(out)
    move, polled = os.pwritev if out else os.preadv, _polled(out)
    known = True

    def moved(fd: int, data: memoryview) -> int:
        nonlocal known
        if known:
            try:
                return move(fd, [data], -1, _NOWAIT)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM):
                    raise
                known = False
        return polled(fd, data)

    return moved


def _mover(fd: int, out: bool) -> _Mover:
    flags, mode = fcntl.fcntl(fd, fcntl.F_GETFL), os.fstat(fd).st_mode
    if flags & os.O_ACCMODE == (os.O_RDONLY if out else os.O_WRONLY):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # poll(2) would wait for ever
    if flags & os.O_NONBLOCK or stat.S_ISREG(mode):
        return _plain(out)
    return _nowait(out) if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else _polled(out)


def _ours(error: BaseException) -> bool:
    """From a call that was made here, and not from a signal handler that ran meanwhile."""
    *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
    return innermost.f_globals is globals()


class _Pipes(_posix.Pipes):
    def _pipe(self) -> tuple[int, int]:
        return os.pipe()

    def _move(self, fd: int, out: bool, data: memoryview, timeout: float | None) -> tuple[int, int]:
        deadline, done = _Deadline(timeout), 0
        try:
            move = _mover(fd, out)
            while done < len(data):
                try:
                    n = move(fd, data[done : done + _MOST])
                except BlockingIOError as error:
                    if not _ours(error):
                        raise
                    if not _ready(fd, out, deadline):
                        return errno.ETIMEDOUT, done
                    continue
                if not n:
                    return errno.EPIPE, done
                done += n
                if timeout is not None and timeout > 0 and done < len(data) and not deadline.left():
                    return errno.ETIMEDOUT, done
        except BaseException as error:
            if isinstance(error, OSError) and _ours(error):
                return error.errno or errno.EIO, done
            error.done = done
            raise
        return 0, done


_pipes = _Pipes()
pipe = _pipes.pipe
read_exactly = _pipes.read_exactly
read_into = _pipes.read_into
write_all = _pipes.write_all
