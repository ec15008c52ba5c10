"""What started processes have in common: they are watched, reaped and signalled through a pidfd.

A pidfd is the process, not its number: it turns readable at the process's end whatever descriptors its
own children inherited, and a signal sent through it never reaches a later process with the same pid.
"""

from __future__ import annotations

import multiprocessing.popen_fork
import os

from . import segments
from ._native import Child

# The exit code of a child that somebody else reaped, where the kernel does not tell it; as in asyncio.
UNKNOWN = 255


class Popen(multiprocessing.popen_fork.Popen):
    """A started process, with the methods and attributes of `multiprocessing.popen_fork.Popen`."""

    def _watch(self, child: Child) -> None:
        """Take hold of a child of this process that has just been started."""
        self._owner = os.getpid()
        self._child = child
        self.sentinel = child.fileno()
        segments.answer()

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
        self._child.close()
        super().close()
