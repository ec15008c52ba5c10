"""Start method spawn: the standard library's launcher; the child it starts is watched as a forked one."""

from __future__ import annotations

import multiprocessing.popen_spawn_posix
from multiprocessing.process import BaseProcess

from . import popen
from .passing import handed_over


class Popen(popen.Popen, multiprocessing.popen_spawn_posix.Popen):
    """A process in a fresh interpreter."""

    def _launch(self, process_obj: BaseProcess) -> None:
        try:
            super()._launch(process_obj)
        finally:
            handed_over(self)
        self._watch(self.sentinel)
