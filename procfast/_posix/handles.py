"""What is closed while others may be using it."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable


class Opened:
    """What a name was opened as: closed at once, or by the last thread that is inside a call.

    No lock: a signal handler may come in anywhere.
    """

    def __init__(self, opened: int) -> None:
        self._opened = [opened]
        self.closed = False
        self._users: set[object] = set()

    def _drop(self, opened: int) -> None:
        raise NotImplementedError

    def _with(self, call: Callable[[int], int]) -> int:
        """A negated errno where the call fails; -EBADF: it is closed."""
        user = object()
        self._users.add(user)
        try:
            return -errno.EBADF if self.closed else call(self._opened[0])
        finally:
            self._users.discard(user)
            self._leave()

    def _leave(self) -> None:
        if self.closed and not self._users:
            with contextlib.suppress(IndexError):  # another thread has
                self._drop(self._opened.pop())

    def close(self) -> None:
        self.closed = True
        self._leave()

    def __del__(self) -> None:
        if hasattr(self, "_users"):  # it was opened
            self.close()
