"""Start method forkserver: the process is forked by the server, and watched through a pidfd all the same.

How it ended is told by the server, whose child it is, or by the kernel where the server was killed.
"""

from __future__ import annotations

import contextlib
import errno
import io
import multiprocessing.popen_forkserver
import os
import time
from multiprocessing import context, reduction, spawn
from multiprocessing.process import BaseProcess

from . import forkserver, liveness, popen, segments
from ._native import Child, parent_open
from .passing import handed_over
from .popen import UNKNOWN

_LOOK = 1.0  # seconds between two looks at a process whose server may have been killed, or may be stopped
_LAG = 1.0  # seconds in which a server tells how a process has ended


class Popen(popen.Popen, multiprocessing.popen_forkserver.Popen):
    """A process forked by the server."""

    def _launch(self, process_obj: BaseProcess) -> None:
        data = io.BytesIO()
        data.write(bytes(forkserver.HEADER.size))
        outer = context.get_spawning_popen()  # this may be a signal handler
        context.set_spawning_popen(self)
        try:
            reduction.dump(spawn.get_preparation_data(process_obj._name), data)
            reduction.dump(process_obj, data)
        finally:
            context.set_spawning_popen(outer)
        ours: list[int] = []
        parent = tracked = alive = -1  # which of the descriptors they are
        try:
            try:
                ours.append(parent_open())
                parent = self.duplicate_for_child(ours[-1])
            except OSError as error:
                if error.errno != errno.ENOSYS:
                    raise
            tracker = forkserver.tracker()
            if tracker is not None:
                tracked = self.duplicate_for_child(tracker)
            if process_obj.daemon:
                ours.append(liveness.pipe())
                alive = self.duplicate_for_child(ours[-1])
            view = data.getbuffer()
            forkserver.HEADER.pack_into(view, 0, len(view), parent, tracked, alive)
            started = forkserver.start(process_obj, view, self._fds)
        finally:
            for fd in ours:
                os.close(fd)
            handed_over(self)
        self._server, self._line, self.pid, pidfd, self.returncode = started
        self._exact = pidfd is not None
        if pidfd is not None:
            self._child = Child(self.pid, pidfd=pidfd)
        self.sentinel = self._line.fileno() if pidfd is None else pidfd
        segments.answer()

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait at most `timeout` seconds (None: for ever) for the end; the exit code, or None."""
        end = None if timeout is None else time.monotonic() + timeout
        try:
            while self.returncode is None:
                code = self._look(end)
                if code is not None:  # another thread may have been told meanwhile
                    self.returncode = code
                elif end is not None and time.monotonic() >= end:
                    break
        except (OSError, ValueError):
            if self.returncode is None:
                raise  # else another thread was told first, and has closed the line
        return self.returncode

    def _look(self, end: float | None) -> int | None:
        """Wait for a while, at most until `end`."""
        left = _left(end)
        if forkserver.readable(self._line.fileno(), _LOOK if left is None else min(left, _LOOK)):
            return self._told(end)
        if self._exact and forkserver.readable(self.sentinel, 0):
            forkserver.readable(self._line.fileno(), _LAG)
            return self._told(0.0)
        return None

    def _told(self, end: float | None) -> int | None:
        """How it ended, by its server's word; or, that being gone, by the kernel's, until `end`."""
        try:
            code = forkserver.told(self._line)
        except BlockingIOError:
            if not self._server.gone():
                return None
            code = None
        if code is None and self._exact:
            if not forkserver.readable(self.sentinel, _left(end)):
                return None  # it goes on without its server
            with contextlib.suppress(ChildProcessError):  # the kernel does not tell
                return self._child.wait(0.0)
        return UNKNOWN if code is None else code

    def _send_signal(self, sig: int) -> None:
        # It is reaped at once, so that without a pidfd its pid may be another's already: look first.
        if self.poll() is not None:
            return
        if self._exact:
            super()._send_signal(sig)
        else:
            os.kill(self.pid, sig)

    def close(self) -> None:
        """Close the descriptors: `sentinel` is none of this process's any more."""
        self._line.close()
        if self._exact:
            self._child.close()


def _left(end: float | None) -> float | None:
    """Seconds until then; None is for ever."""
    return None if end is None else max(0.0, end - time.monotonic())
