"""Start method fork: the child is os.fork()'s, with the interpreter's own hooks.

A pidfd of the child and one of the parent take the place of the two pipes that the standard library
makes per process. Where the kernel has none, the pipes are made.
"""

from __future__ import annotations

import functools
import os
from multiprocessing import util
from multiprocessing.process import BaseProcess

from . import liveness, popen, segments
from ._native import fork_child


class Popen(popen.Popen):
    """A forked process."""

    def __init__(self, process_obj: BaseProcess) -> None:
        self.returncode = self.finalizer = None
        self._owner = process_obj._parent_pid
        self._launch(process_obj)
        segments.answer()

    def _launch(self, process_obj: BaseProcess) -> None:
        alive = liveness.pipe() if process_obj.daemon else -1
        try:
            first = functools.partial(_begin, alive) if alive >= 0 else None
            if not fork_child(self, process_obj, first):
                self._with_pipes(process_obj, alive)
        finally:
            if alive >= 0:
                os.close(alive)

    def _with_pipes(self, process_obj: BaseProcess, alive: int) -> None:
        """Where there are no pidfds."""
        theirs, ours = _crossed_pipes()
        try:
            first = functools.partial(_begin, alive, *ours)
            fork_child(self, process_obj, first, theirs[0], ours[0])
        except BaseException:
            util.close_fds(*ours)
            raise
        finally:
            util.close_fds(*theirs)
        self.finalizer = util.Finalize(self, util.close_fds, ours)


def _begin(alive: int, *unused: int) -> None:
    """What comes first in some children."""
    util.close_fds(*unused)
    if alive >= 0:
        liveness.end_with(alive)


def _crossed_pipes() -> tuple[list[int], list[int]]:
    """Two pipes: (read end, write end) for the child, and for this process; each reads from the other.

    Nobody writes: a process sees the other end when its read end turns readable.
    """
    here, there_write = os.pipe()
    try:
        there, here_write = os.pipe()
    except OSError:
        util.close_fds(here, there_write)
        raise
    return [there, there_write], [here, here_write]
