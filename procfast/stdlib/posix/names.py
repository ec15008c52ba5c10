"""Named semaphores and message queues by libc."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from ..._posix import names
from ..._posix.handles import Opened
from ..._posix.names import CREATE, EXCLUSIVE, OPEN
from .libc import Attributes, Time, call, checked, function
from .pipes import Deadline, ready


def _opened(how: int, create: Callable[[], int], open_it: Callable[[], int]) -> int:
    while True:  # somebody may create or unlink it in between
        if how != OPEN:
            try:
                return create()
            except FileExistsError:
                if how == EXCLUSIVE:
                    raise
        try:
            return open_it()
        except FileNotFoundError:
            if how != CREATE:
                raise


class _Semaphore(Opened):
    def __init__(self, name: bytes, how: int, mode: int, value: int) -> None:
        def create() -> int:
            flags = os.O_CREAT | os.O_EXCL
            sem = checked("sem_open", name, flags, ctypes.c_uint(mode), ctypes.c_uint(value))
            with contextlib.suppress(
                FileNotFoundError
            ):  # unlinked already, or the system does not tell
                os.chmod(_file_of(name), mode)
            return sem

        super().__init__(_opened(how, create, lambda: checked("sem_open", name, 0)))

    def _drop(self, opened: int) -> None:
        call("sem_close", opened)

    def wait(self, timeout: float | None) -> int:
        return self._with(lambda sem: self._wait(sem, Deadline(timeout)))

    def _wait(self, sem: int, deadline: Deadline) -> int:
        nap = 0.0001
        while True:
            code = call("sem_trywait", sem)
            if code != -errno.EAGAIN:
                return code
            left = deadline.left()
            if left == 0:
                return -errno.ETIMEDOUT
            if self.closed:
                return -errno.EBADF
            left = 1.0 if left is None else min(left, 1.0)
            code = self._sleep(sem, left)
            if code == -errno.ENOSYS:
                time.sleep(min(left, nap))
                nap = min(2 * nap, 0.01)
            elif code not in (-errno.ETIMEDOUT, -errno.EINTR):
                return code

    def _sleep(self, sem: int, left: float) -> int:
        if function("sem_clockwait"):
            end = Time(*divmod(time.monotonic_ns() + int(left * 1e9), 10**9))
            return call("sem_clockwait", sem, time.CLOCK_MONOTONIC, end)
        end = Time(*divmod(time.time_ns() + int(left * 1e9), 10**9))
        return call("sem_timedwait", sem, end)

    def post(self) -> int:
        return self._with(lambda sem: call("sem_post", sem))

    def value(self) -> int:
        value = ctypes.c_int()
        code = self._with(lambda sem: call("sem_getvalue", sem, value))
        return code or value.value


def _file_of(name: bytes) -> bytes:
    """The file behind a semaphore's name, where it is one (Linux; musl puts no prefix)."""
    if sys.platform != "linux":
        raise FileNotFoundError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    glibc = hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
    return b"/dev/shm/" + (b"sem." if glibc else b"") + name[1:]


class _Queue(Opened):
    def __init__(
        self, name: bytes, how: int, read: bool, write: bool, mode: int, most: int, size: int
    ) -> None:
        flags = os.O_CLOEXEC | (os.O_RDWR if read and write else os.O_WRONLY if write else 0)
        attributes = Attributes(most=most, size=size)

        def create() -> int:
            new = flags | os.O_CREAT | os.O_EXCL
            fd = checked("mq_open", name, new, ctypes.c_uint(mode), ctypes.byref(attributes))
            os.fchmod(fd, mode)
            return fd

        super().__init__(_opened(how, create, lambda: checked("mq_open", name, flags)))
        self._with(lambda fd: call("mq_getattr", fd, attributes))
        self._limits = attributes.most, attributes.size

    def _drop(self, opened: int) -> None:
        os.close(opened)

    def limits(self) -> tuple[int, int]:
        return self._limits

    def fileno(self) -> int:
        return self._with(lambda fd: fd)

    def owner(self) -> int:
        return os.fstat(self.fileno()).st_uid

    def count(self) -> int:
        attributes = Attributes()
        code = self._with(lambda fd: call("mq_getattr", fd, attributes))
        return code or attributes.count

    def send(self, data: memoryview, priority: int, timeout: float | None) -> int:
        message = bytes(data)
        return self._repeat(True, timeout, "mq_timedsend", message, len(message), priority)

    def receive(self, timeout: float | None) -> tuple[int, bytes, int]:
        size, priority = self._limits[1], ctypes.c_uint()
        data = ctypes.create_string_buffer(size)
        n = self._repeat(False, timeout, "mq_timedreceive", data, size, ctypes.byref(priority))
        return n, data.raw[: max(n, 0)], priority.value

    def _repeat(self, out: bool, timeout: float | None, name: str, *args: Any) -> int:
        """The system's own deadlines go by the clock on the wall, so it is poll(2) that waits."""
        deadline = Deadline(timeout)

        def repeat(fd: int) -> int:
            while True:
                result = call(name, fd, *args, Time())
                if result not in (-errno.ETIMEDOUT, -errno.EAGAIN):
                    return result
                if deadline.left() == 0:
                    return -errno.ETIMEDOUT
                if self.closed:
                    return -errno.EBADF
                ready(fd, out, deadline.at_most(1.0))

        return self._with(repeat)


class NamedSemaphore(names.NamedSemaphore):
    __doc__ = names.NamedSemaphore.__doc__

    def _open(self, name: bytes, how: int, mode: int) -> Any:
        return _Semaphore(name, how, mode, self._value)

    def _owner(self) -> int | None:
        with contextlib.suppress(OSError):
            return os.lstat(_file_of(os.fsencode(self._name))).st_uid
        return None

    @staticmethod
    def _unlink(name: bytes) -> int:
        return call("sem_unlink", name)


class MessageQueue(names.MessageQueue):
    __doc__ = names.MessageQueue.__doc__

    def _open(self, name: bytes, how: int, mode: int) -> Any:
        return _Queue(name, how, self._read, self._write, mode, *self._sizes)

    def _owner(self) -> int | None:
        return self._handle.owner()

    @staticmethod
    def _unlink(name: bytes) -> int:
        return call("mq_unlink", name)
