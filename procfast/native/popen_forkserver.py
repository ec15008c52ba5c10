"""Start method forkserver: the standard library's, made safe for several threads.

The process is the server's child. The server says over a pipe how it ended, once.
"""

from __future__ import annotations

import multiprocessing.connection
import multiprocessing.popen_forkserver
import os
import threading
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess

from . import segments
from .popen import UNKNOWN


class Popen(multiprocessing.popen_forkserver.Popen):
    """A process forked by the server."""

    def __init__(self, process_obj: BaseProcess) -> None:
        self._reading = threading.Lock()
        super().__init__(process_obj)
        segments.answer()

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """The exit code, or None while the process runs; flag 0 waits for its end."""
        if self.returncode is None:
            timeout = 0 if flag == os.WNOHANG else None
            if not multiprocessing.connection.wait([self.sentinel], timeout):
                return None
            with self._reading:
                if self.returncode is None:
                    self.returncode = self._read()
        return self.returncode

    def _read(self) -> int:
        try:
            code: int = forkserver.read_signed(self.sentinel)
            os.read(
                self.sentinel, 1
            )  # the server closes its end next: then the sentinel stays readable
        except (OSError, EOFError):
            return UNKNOWN  # the server itself was killed
        return code

    def _send_signal(self, sig: int) -> None:
        # The server reaps at once, so that the pid may be another's already: look first.
        if self.poll() is None:
            super()._send_signal(sig)
