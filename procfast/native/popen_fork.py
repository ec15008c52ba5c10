"""Start method fork: the child is os.fork()'s, with the interpreter's own hooks.

A pidfd of the child and one of the parent take the place of the two pipes that the standard library
makes per process. Where the kernel has none, the pipes are made.
"""

from __future__ import annotations

import atexit
import errno
import multiprocessing.popen_fork
import os
from multiprocessing import util
from multiprocessing.process import BaseProcess

from . import liveness, popen
from ._native import parent_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# From Python 3.13 on a child runs the exit functions registered in it, and only these.
_RUNS_ATEXIT = hasattr(multiprocessing.popen_fork, "atexit")


class Popen(popen.Popen):
    """A forked process."""

    def _launch(self, process_obj: BaseProcess) -> None:
        ours: list[int] = []  # descriptors that the child does not need
        try:
            # By this the child sees its parent end. Closed here after the fork, it also is the free
            # place in the descriptor table without which opening the child's own could fail.
            theirs = [parent_open()]
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            theirs, ours = _crossed_pipes()
        try:
            if process_obj.daemon:
                theirs.append(liveness.pipe())
            self.pid = os.fork()
        except BaseException:
            util.close_fds(*theirs, *ours)
            raise
        if self.pid == 0:
            self._run(process_obj, theirs, ours)
        util.close_fds(*theirs)
        if ours:
            self.finalizer = util.Finalize(self, util.close_fds, ours)
        self._watch(*ours[:1])

    def _run(self, process_obj: BaseProcess, theirs: list[int], unused: list[int]) -> NoReturn:
        """The child's whole life."""
        code = 1
        try:
            if _RUNS_ATEXIT:
                atexit._clear()
                atexit.register(util._exit_function)
            util.close_fds(*unused)
            if process_obj.daemon:
                liveness.end_with(theirs.pop())
            code = process_obj._bootstrap(parent_sentinel=theirs[0])
        finally:
            if _RUNS_ATEXIT:
                atexit._run_exitfuncs()
            os._exit(code)


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
