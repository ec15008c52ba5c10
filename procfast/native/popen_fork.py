"""Start method fork: the child is os.fork()'s, watched and signalled through a pidfd.

A pidfd is the process, not its number: it turns readable at the process's end whatever descriptors its
own children inherited, and a signal sent through it never reaches a later process with the same pid. It
saves the two pipes that the standard library makes per process. Where the kernel has no pidfd the pipes
are made as the standard library does.
"""

from __future__ import annotations

import atexit
import errno
import multiprocessing.popen_fork
import os
import signal
from multiprocessing import util
from multiprocessing.process import BaseProcess
from typing import NoReturn

from ._native import Child, parent_open

# From Python 3.13 on a child runs the exit functions registered in it, and only these.
_RUNS_ATEXIT = hasattr(multiprocessing.popen_fork, "atexit")

# The exit code of a child that somebody else reaped, where the kernel does not tell it; as in asyncio.
UNKNOWN = 255


class Popen(multiprocessing.popen_fork.Popen):
    """A started process, with the methods and attributes of `multiprocessing.popen_fork.Popen`."""

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
            pid = os.fork()
        except BaseException:
            util.close_fds(*theirs, *ours)
            raise
        if pid == 0:
            self._run(process_obj, theirs[0], ours)
        util.close_fds(*theirs)
        self.pid = pid
        self._owner = os.getpid()
        self._watch(ours)

    def _run(self, process_obj: BaseProcess, parent: int, unused: list[int]) -> NoReturn:
        """The child's whole life."""
        code = 1
        try:
            if _RUNS_ATEXIT:
                atexit._clear()
                atexit.register(util._exit_function)
            util.close_fds(*unused)
            code = process_obj._bootstrap(parent_sentinel=parent)
        finally:
            if _RUNS_ATEXIT:
                atexit._run_exitfuncs()
            os._exit(code)

    def _watch(self, ours: list[int]) -> None:
        """Take hold of the child that has just been forked."""
        try:
            self._child = Child(self.pid, *ours[:1])
        except ProcessLookupError:
            # ended, and reaped by the kernel at once because SIGCHLD is ignored
            self._child = None
            util.close_fds(*ours)
            self.returncode = UNKNOWN
            self.sentinel, write = os.pipe()
            os.close(write)
            ours = [-1, self.sentinel]
        except OSError:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            util.close_fds(*ours)
            raise
        else:
            self.sentinel = self._child.fileno()
        if ours:
            self.finalizer = util.Finalize(self, util.close_fds, ours[1:])

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """The exit code, or None while the process runs; flag 0 waits for its end."""
        return self.wait(0.0 if flag == os.WNOHANG else None)

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait at most `timeout` seconds (None: for ever) for the end; the exit code, or None."""
        if self.returncode is None:
            try:
                self.returncode = self._child.wait(timeout)
            except ChildProcessError:
                # somebody else has reaped it, or asks in a process whose child it is not
                if os.getpid() == self._owner:
                    self.returncode = UNKNOWN
        return self.returncode

    def _send_signal(self, sig: int) -> None:
        if self.returncode is None:
            try:
                self._child.signal(sig)
            except ProcessLookupError:
                pass  # it has ended: nobody is there to be signalled
            except OSError:
                if self.wait(timeout=0.1) is None:
                    raise

    def close(self) -> None:
        """Close the descriptors: `sentinel` is none of this process's any more."""
        if self._child is not None:
            self._child.close()
        super().close()


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
