"""The process classes of the standard library backend: `multiprocessing`'s own, with `interrupt`."""

from __future__ import annotations

import multiprocessing.context
from multiprocessing.process import BaseProcess

from ..context import InterruptibleProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


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


class SpawnProcess(InterruptibleProcess, multiprocessing.context.SpawnProcess):
    """A process in a fresh interpreter."""


if hasattr(multiprocessing.context, "ForkProcess"):

    class ForkProcess(InterruptibleProcess, multiprocessing.context.ForkProcess):
        """A process that is a copy of this one."""

    class ForkServerProcess(InterruptibleProcess, multiprocessing.context.ForkServerProcess):
        """A process forked by the server process."""
