"""Whole reads and writes by os and select."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import stat
import time
import traceback
from collections.abc import Callable

from ..._posix import pipes

_MOST = 16 << 20  # bytes in one call
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)

# Moves bytes between a descriptor and a buffer without waiting: how many; BlockingIOError.
_Mover = Callable[[int, memoryview], int]


class Deadline:
    """Monotonic; None: never; 0: has always passed."""

    def __init__(self, timeout: float | None) -> None:
        now = time.monotonic()
        self.at = None if timeout is None else now + timeout if timeout > 0 else 0.0

    def left(self) -> float | None:
        """Seconds, at least 0."""
        return None if self.at is None else max(self.at - time.monotonic(), 0)

    def at_most(self, seconds: float) -> Deadline:
        left = self.left()
        return Deadline(seconds if left is None else min(left, seconds))


def ready(fd: int, out: bool, deadline: Deadline | None) -> bool:
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
        if not ready(fd, out, None):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return move(fd, data[: select.PIPE_BUF] if out else data)

    return moved


def _nowait(out: bool, at_end: contextlib.ExitStack) -> _Mover:
    """By preadv2 and pwritev2, which know a flag for it (Linux; for pipes and sockets from 6.4 on).

    An older Linux opens the pipe once more, non-blocking, for the time of the call.
    """
    if not _NOWAIT:
        return _polled(out)
    move, plain, polled, own = os.pwritev if out else os.preadv, _plain(out), _polled(out), -1
    known = True

    def moved(fd: int, data: memoryview) -> int:
        nonlocal known, own
        if known:
            try:
                return move(fd, [data], -1, _NOWAIT)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM):
                    raise
            known = False
            with contextlib.suppress(OSError):  # a socket, no /proc
                flags = os.O_NONBLOCK | (os.O_WRONLY if out else os.O_RDONLY)
                own = os.open(f"/proc/self/fd/{fd}", flags)
                at_end.callback(os.close, own)
        return polled(fd, data) if own < 0 else plain(own, data)

    return moved


def _mover(fd: int, out: bool, at_end: contextlib.ExitStack) -> _Mover:
    flags, mode = fcntl.fcntl(fd, fcntl.F_GETFL), os.fstat(fd).st_mode
    if flags & os.O_ACCMODE == (os.O_RDONLY if out else os.O_WRONLY):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # poll(2) would wait for ever
    if flags & os.O_NONBLOCK or stat.S_ISREG(mode):
        return _plain(out)
    return _nowait(out, at_end) if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else _polled(out)


def _ours(error: BaseException) -> bool:
    """From a call that was made here, and not from a signal handler that ran meanwhile."""
    *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
    return innermost.f_globals is globals()


class Pipes(pipes.Pipes):
    def _pipe(self) -> tuple[int, int]:
        return os.pipe()

    def _move(
        self, fd: int, out: bool, data: memoryview, timeout: float | None, moved: list[int]
    ) -> int:
        try:
            with contextlib.ExitStack() as at_end:
                deadline, move = Deadline(timeout), _mover(fd, out, at_end)
                while moved[0] < len(data):
                    try:
                        n = move(fd, data[moved[0] : moved[0] + _MOST])
                    except BlockingIOError as error:
                        if not _ours(error):
                            raise
                        if not ready(fd, out, deadline):
                            return errno.ETIMEDOUT
                        continue
                    if not n:
                        return errno.EPIPE
                    moved[0] += n
                    if deadline.at and moved[0] < len(data) and not deadline.left():
                        return errno.ETIMEDOUT
        except OSError as error:
            if not _ours(error):
                raise
            return error.errno or errno.EIO
        return 0
