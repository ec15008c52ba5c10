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
    "ProcessError",
    "RingCorrupted",
    "TimeoutError",
]


class BackendError(ImportError):
    """A backend that was asked for does not exist or does not load here; the message says why."""


class OwnerDied(RuntimeError):
    """A process died while it held what this call waited for.

    Raised to exactly one waiter; what the lock guarded may be half changed.
    """


class RingCorrupted(RuntimeError):
    """A length or an offset in a queue's shared memory is impossible: something wrote over it.

    No item of that queue can be trusted any more; nothing outside it was touched.
    """
