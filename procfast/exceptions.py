"""What procfast raises beyond the standard library's own exceptions, which keep their classes.

`ProcessError`, `TimeoutError`, `BufferTooShort` and `AuthenticationError` are `multiprocessing`'s;
`queue.Empty` and `queue.Full` are `queue`'s.
"""

from multiprocessing.context import (
    AuthenticationError,
    BufferTooShort,
    ProcessError,
    TimeoutError,
)

__all__ = [
    "AuthenticationError",
    "BackendError",
    "BufferTooShort",
    "OwnerDied",
    "PoolBroken",
    "ProcessError",
    "RingCorrupted",
    "TimeoutError",
    "WorkerDied",
]


class BackendError(ImportError):
    """A backend that was asked for does not exist or does not load here; the message says why."""


class OwnerDied(RuntimeError):
    """A process died while it held what this call waited for: an RLock, or a Lock(robust=True).

    Raised to exactly one caller; what the lock guarded may be half changed. From `acquire` and `with` the lock is free
    again; from `Condition.wait` the caller holds it. `acquire_recover` returns instead of raising.
    """

    pid: int | None
    """The process that died; None where that is not known any more."""

    def __init__(self, message: str = "", pid: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid or None


class RingCorrupted(RuntimeError):
    """A length or an offset in a queue's shared memory is impossible: something wrote over it.

    No item of that queue can be trusted any more; nothing outside it was touched.
    """


class PoolBroken(ProcessError):
    """A pool that can't go on: its workers end before they have begun (the cause is the last error), or it was
    terminated."""


class WorkerDied(ProcessError):
    """A worker of a pool died with this task in its hands. Other tasks go on, and the worker is replaced."""

    pid: int | None
    """The process that died."""

    exitcode: int | None
    """What it passed to exit, or the negated number of the signal that killed it; None where that is not known."""

    task: str | None
    """Which task that was."""

    def __init__(
        self,
        message: str = "",
        pid: int | None = None,
        exitcode: int | None = None,
        task: str | None = None,
    ) -> None:
        super().__init__(message, pid, exitcode, task)
        self.pid, self.exitcode, self.task = pid, exitcode, task

    def __str__(self) -> str:
        return str(self.args[0])
