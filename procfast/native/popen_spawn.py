"""Start method spawn: a process in a fresh interpreter, as the standard library's, watched as a forked one.

The interpreter may be a spare that was launched earlier (`spare`): it sees what a fresh one would see.
"""

from __future__ import annotations

import errno
import io
import multiprocessing.popen_spawn_posix
import os
import select
import signal
from multiprocessing import context, reduction, resource_tracker, spawn, util
from multiprocessing.process import BaseProcess

from . import liveness, popen, spare
from ._native import parent_open, watch
from .passing import Remote, handed_over

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Popen(popen.Popen, multiprocessing.popen_spawn_posix.Popen):
    """A process in a fresh interpreter."""

    _fds: list[int]  # what the child inherits, by the same numbers

    def _launch(self, process_obj: BaseProcess) -> None:
        tracker: int = resource_tracker.getfd()  # type: ignore[assignment]
        self._fds.append(tracker)
        data = spawn.get_preparation_data(process_obj._name)
        path = list(data["sys_path"])
        theirs: list[int] = []
        ours: list[int] = []
        warm = spare.take()
        started = False
        try:
            if process_obj.daemon:
                theirs.append(liveness.pipe())
                data["daemon"] = Remote(path, "liveness", "end_with", *theirs)
            parcel = self._pickled(data, process_obj)
            if not _has_pidfd():
                sentinel, held = os.pipe()
                ours.append(sentinel)
                theirs.append(held)
            read, write = os.pipe()
            ours.append(write)
            theirs.append(read)
            self._fds += theirs
            arguments = {"tracker_fd": tracker, "pipe_handle": read}
            command = spawn.get_command_line(**arguments)
            if warm and warm.give(path, self._fds, arguments, command):
                self.pid = warm.pid
                self._watch(warm.child)
                warm = None
            else:
                if warm:
                    warm.end()
                    warm = None
                executable = os.fsencode(spawn.get_executable())
                self.pid = util.spawnv_passfds(executable, command, self._fds)
                self._watch(watch(self.pid, *ours[:-1]))
            started = True
            self._send(write, parcel)
        except BaseException:
            if started:
                self._child.signal(signal.SIGKILL)
                self._child.wait()
                self._child.close()
            elif warm:
                warm.end()
            util.close_fds(*ours)
            raise
        finally:
            handed_over(self)
            util.close_fds(*theirs)
        self.finalizer = util.Finalize(self, util.close_fds, ours)
        # pkgutil is runpy's, which runs the main module again
        self._next = path, ["pkgutil"] if "init_main_from_path" in data else []
        spare.started(*self._next)

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait at most `timeout` seconds (None: for ever) for the end; the exit code, or None."""
        running = self.returncode is None
        code = super().wait(timeout)
        if running and code is not None and timeout != 0:
            spare.ended(*self._next)
        return code

    def _pickled(self, data: dict[str, Any], process_obj: BaseProcess) -> bytes:
        parcel = io.BytesIO()
        context.set_spawning_popen(self)
        try:
            reduction.dump(data, parcel)
            reduction.dump(process_obj, parcel)
        finally:
            context.set_spawning_popen(None)
        return parcel.getvalue()

    def _send(self, fd: int, parcel: bytes) -> None:
        """Write it all, unless the child ends before it has read it: its exit code tells."""
        os.set_blocking(fd, False)
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        poll.register(self.sentinel, select.POLLIN)
        left = memoryview(parcel)
        while left:
            try:
                left = left[os.write(fd, left) :]
            except BlockingIOError:
                if self.sentinel in dict(poll.poll()):
                    return


def _has_pidfd() -> bool:
    try:
        os.close(parent_open())
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        return False
    return True
