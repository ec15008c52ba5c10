"""Daemonic children end with the process that started them, by SIGKILL of it too.

That process alone holds the write end of a pipe. Each such child has the kernel kill it once nobody holds it any
more (csrc/include/procfast/child.h, pf_end_with): no thread watches, the end of the thread that started the child
concerns nobody, and what the child is busy with does not matter. Where the platform has no such thing, or no /proc,
a killed parent leaves its daemonic children behind, as the standard library's do; an exit function ends them else.
"""

from __future__ import annotations

import errno
import functools
import os

from . import _native

__all__ = ["end_with", "pipe"]

# {process: (read end, write end, which pipe)}. One entry, set in one step: threads and signal handlers start children.
_pipes: dict[int, tuple[int, int, tuple[int, int] | None]] = {}

_following: list[int] = []  # what does it in this process


def pipe() -> int:
    """A new descriptor, the caller's, for a child that calls `end_with` with it."""
    while True:
        pid = os.getpid()
        ends = _pipes.get(pid)
        if ends is None:
            _register()
            read, write = os.pipe()
            ends = _pipes.setdefault(pid, (read, write, _identity(write)))
            if ends[1] != write:
                os.close(read)
                os.close(write)
            else:
                _native.alone(write)
        if _identity(ends[0]) == _identity(ends[1]) == ends[2]:
            return os.dup(ends[0])
        _pipes.pop(pid, None)  # somebody has closed all descriptors


def end_with(fd: int) -> None:
    """Have this process killed when the one whose `pipe()` this is has ended, at once if it has; closes `fd`."""
    try:
        _following.append(_native.end_with(fd))
    except OSError as error:
        # ENOSYS: not on this platform. There is no /proc, or not for us
        if error.errno not in (errno.ENOSYS, errno.ENOENT, errno.EACCES, errno.EPERM):
            raise
    finally:
        os.close(fd)


def _identity(fd: int) -> tuple[int, int] | None:
    """Of the pipe that is behind a descriptor now."""
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _after_fork() -> None:
    """In a child: this pipe is its parent's alone."""
    for *ends, pipe in _pipes.values():
        for fd in ends:
            if _identity(fd) == pipe:
                os.close(fd)
    _pipes.clear()


@functools.cache
def _register() -> None:
    """Not before there is a pipe: every hook costs every fork."""
    os.register_at_fork(after_in_child=_after_fork)
