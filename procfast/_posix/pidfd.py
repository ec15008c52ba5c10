"""A process by a descriptor, which never means another one, as its pid may."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NoReturn, Self

from .arguments import number, seconds
from .handles import Opened
from .status import ChildEvent, ExitStatus, signal_name

_LOOK = 1.0  # seconds until a wait sees that another thread has closed it
_NAP = 0.005  # while a debugger holds one that has ended
_NOT_LEADER = "{pid} is the number of a thread, not of a process"
_UNOPENED = {
    errno.ESRCH: "there is no process {pid}",
    errno.EINVAL: _NOT_LEADER,
    errno.ENOENT: _NOT_LEADER,
    errno.ENOSYS: "this system has no pidfds (Linux has from 5.4 on), or a filter (seccomp) refuses them",
}
_UNSENT = {
    errno.ESRCH: "process {pid} has ended and was waited for: nobody is there to be sent {name}",
    errno.EPERM: "process {pid} is another user's, who alone may send it {name}",
    errno.EINVAL: "there is no {name}",
}


class _Descriptor(Opened):
    def _drop(self, opened: int) -> None:
        os.close(opened)


class Pidfd(ABC):
    """A process, held by a descriptor: any process of this system, child or not, until close().

    A pid may mean another process once the first has ended and was waited for; this never does: a signal sent
    through it reaches that very process or nobody. The descriptor is close-on-exec, readable once the process
    has ended (select, asyncio's add_reader), and forked children inherit it.

    Whoever opens one by its pid must know that the pid still is the right one: that of a child which nobody
    has waited for yet is.

    `with Pidfd(pid) as process:` closes it at the end. It can't be pickled.

    ProcessLookupError: there is no such process. OSError(ENOSYS): the system has no pidfds (Linux 5.4 has).
    OSError(EMFILE, ENFILE): too many descriptors are open.
    """

    def __init__(self, pid: int) -> None:
        self._pid = number(pid, "pid", least=1)
        self._status: ExitStatus | None = None
        try:
            self._descriptor = _Descriptor(self._open(self._pid))
        except OSError as error:
            code = errno.ENOSYS if error.errno == errno.EPERM else error.errno or errno.EIO
            text = _UNOPENED.get(code, os.strerror(code))
            raise OSError(code, text.format(pid=self._pid)) from None

    # what a backend provides; each may raise OSError

    @staticmethod
    @abstractmethod
    def _open(pid: int) -> int: ...

    @staticmethod
    @abstractmethod
    def _signal(fd: int, signum: int) -> None: ...

    @staticmethod
    @abstractmethod
    def _ended(fd: int, timeout: float) -> bool:
        """Waits for the process's end."""

    @staticmethod
    @abstractmethod
    def _event(fd: int, reap: bool) -> ChildEvent | None:
        """How this process's child ended, reaped or left to be; None: it has not."""

    @staticmethod
    @abstractmethod
    def _kept(fd: int) -> int | None:
        """The wait status of one that was reaped by anybody, where the kernel keeps it."""

    @property
    def pid(self) -> int:
        """The pid that it was opened by."""
        return self._pid

    @property
    def closed(self) -> bool:
        """Whether this process has closed it."""
        return self._descriptor.closed

    def fileno(self) -> int:
        """The descriptor, to select on: readable once the process has ended. ValueError: closed."""
        with self._fd() as fd:
            return fd

    def send_signal(self, signum: int) -> None:
        """Send a signal to this very process; 0 sends none and only looks whether it may.

        ProcessLookupError: it has ended and was waited for. PermissionError: it is another user's.
        """
        signum = number(signum, "signum")
        try:
            with self._fd() as fd:
                self._signal(fd, signum)
        except OSError as error:
            code = error.errno or errno.EIO
            text = _UNSENT.get(code, os.strerror(code))
            raise OSError(code, text.format(pid=self._pid, name=signal_name(signum))) from None

    def wait(self, timeout: float | None = None) -> ExitStatus | None:
        """Wait for its end at most `timeout` seconds (None: for ever, 0: not at all), then TimeoutError.

        If it is a child of this process it is reaped, and its ExitStatus is the result, of later calls and of
        those in other threads too. Else, or if somebody else has reaped it, or SIGCHLD is ignored: None, unless
        the kernel keeps the status (Linux 6.15 on, once its parent has reaped it).

        Signal handlers run meanwhile; one that raises ends the wait. Closed by another thread: ValueError, within a
        second.
        """
        timeout = seconds(timeout)
        end = None if timeout is None else time.monotonic() + max(timeout, 0.0)
        while self._status is None:
            left = _LOOK if end is None else min(max(end - time.monotonic(), 0.0), _LOOK)
            with self._fd() as fd:
                if self._ended(fd, left):
                    try:
                        if self._reaped(fd):
                            break
                    except ChildProcessError:
                        return self._known(fd)
                    time.sleep(min(left, _NAP))
            if end is not None and time.monotonic() >= end:
                raise TimeoutError(
                    errno.ETIMEDOUT, f"process {self._pid} has not ended within {timeout} s"
                )
        return self._status

    def _reaped(self, fd: int) -> bool:
        """Looked at first, then reaped: whoever finds it reaped finds its status known. False: a debugger holds it."""
        event = self._event(fd, False)
        if event is None:
            return False
        self._status = event.status
        with contextlib.suppress(ChildProcessError):  # another thread, which saw the same, has
            self._event(fd, True)
        return True

    def _known(self, fd: int) -> ExitStatus | None:
        if self._status is None and (status := self._kept(fd)) is not None:
            self._status = ExitStatus(status)
        return self._status

    def close(self) -> None:
        """Close the descriptor. Neither waits nor reaps. Closing again does nothing."""
        self._descriptor.close()

    @contextlib.contextmanager
    def _fd(self) -> Iterator[int]:
        with self._descriptor.used() as fd:
            if fd is None:
                raise ValueError(f"the Pidfd of process {self._pid} is closed")
            yield fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Pidfd can't be pickled: its descriptor is this process's; "
            "send the pid of a child, or inherit it by fork"
        )

    def __repr__(self) -> str:
        state = " closed" if self.closed else ""
        how = f" {self._status.text}" if self._status is not None else ""
        return f"<{type(self).__name__} of {self._pid}{how}{state}>"
