"""The process classes of the native backend.

Under fork a process is watched through a pidfd (popen_fork.py). spawn and forkserver start through the
standard library's launchers.
"""

from __future__ import annotations

import multiprocessing.context
from multiprocessing.process import BaseProcess
from typing import Any

from ..context import InterruptibleProcess


class Process(InterruptibleProcess, multiprocessing.context.Process):
    """A process started by the default start method of the moment at which it is started."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:
        from .context import default_context

        return default_context.get_context().Process._Popen(process_obj)

    @staticmethod
    def _after_fork() -> None:
        from .context import default_context

        default_context.get_context().Process._after_fork()


class ForkProcess(InterruptibleProcess, multiprocessing.context.ForkProcess):
    """A process that is a copy of this one.

    `sentinel` is a pidfd where the platform has them: it is readable once the process has ended, even
    while a grandchild runs on. An exit code that somebody else has reaped (`os.wait()`, or a SIGCHLD
    that is ignored) comes from the kernel (Linux 6.15 on) or is reported as 255, and `join` returns.
    """

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:
        from .popen_fork import Popen

        return Popen(process_obj)


class SpawnProcess(InterruptibleProcess, multiprocessing.context.SpawnProcess):
    """A process in a fresh interpreter."""


class ForkServerProcess(InterruptibleProcess, multiprocessing.context.ForkServerProcess):
    """A process forked by the server process."""
