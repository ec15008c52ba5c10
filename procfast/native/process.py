"""The process classes of the native backend.

They differ from the standard library's in how a process is started and watched (popen_fork.py,
popen_spawn.py, popen_forkserver.py).
"""

from __future__ import annotations

import multiprocessing.context
import multiprocessing.process
from multiprocessing.process import BaseProcess

from ..context import InterruptibleProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Reaping(InterruptibleProcess):
    """What the native process classes have in common."""

    def join(self, timeout: float | None = None) -> None:
        """Wait until the process has ended, at most `timeout` seconds (None: for ever); `exitcode` tells if it has.

        Signal handlers run meanwhile; AssertionError in a process that did not start it. Other children of this
        process that have ended are reaped as well, as by `start()` and `active_children()`.
        """
        super().join(timeout)
        multiprocessing.process._cleanup()


class Process(_Reaping, multiprocessing.context.Process):
    """A process started by the default start method of the moment at which it is started."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:
        from .context import default_context

        return default_context.get_context().Process._Popen(process_obj)

    @staticmethod
    def _after_fork() -> None:
        from .context import default_context

        default_context.get_context().Process._after_fork()


class ForkProcess(_Reaping, multiprocessing.context.ForkProcess):
    """A process that is a copy of this one.

    `sentinel` is a pidfd where the platform has them: it is readable once the process has ended, even
    while a grandchild runs on. An exit code that somebody else has reaped (`os.wait()`, or a SIGCHLD
    that is ignored) comes from the kernel (Linux 6.15 on) or is reported as 255, and `join` returns.
    """

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:
        from .popen_fork import Popen

        return Popen(process_obj)


class SpawnProcess(_Reaping, multiprocessing.context.SpawnProcess):
    """A process in a fresh interpreter, watched in the same way as a forked one."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:
        from .popen_spawn import Popen

        return Popen(process_obj)


class ForkServerProcess(_Reaping, multiprocessing.context.ForkServerProcess):
    """A process forked by the server process.

    It is the server's child: when the server is killed, its exit code is reported as 255.
    """

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:
        from .popen_forkserver import Popen

        return Popen(process_obj)
