"""What is closed while others may be using it."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator


class Opened:
    """A number that stands for what was opened: closed at once, or by the last thread that is inside a call.

    No lock: a signal handler may come in anywhere.
    """

    def __init__(self, opened: int) -> None:
        self._opened = [opened]
        self.closed = False
        self._users: set[object] = set()

    def _drop(self, opened: int) -> None:
        raise NotImplementedError

    @contextlib.contextmanager
    def used(self) -> Iterator[int | None]:
        """Open until the end of the block; None: it is closed already."""
        user = object()
        self._users.add(user)
        try:
            yield None if self.closed else self._opened[0]
        finally:
            self._users.discard(user)
            self._leave()

    def _with(self, call: Callable[[int], int]) -> int:
        """A negated errno where the call fails; -EBADF: it is closed."""
        with self.used() as opened:
            return -errno.EBADF if opened is None else call(opened)

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
