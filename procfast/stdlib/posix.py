"""procfast.posix in Python: os, select, and libc by ctypes for what they do not have."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import os
import select
import stat
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from .. import _posix
from .._posix import CREATE, EXCLUSIVE, OPEN, Message
from .._proctree import ProcessInfo, children, process_tree

__all__ = [
    "Message",
    "MessageQueue",
    "NamedSemaphore",
    "ProcessInfo",
    "children",
    "mq_unlink",
    "pipe",
    "process_tree",
    "read_exactly",
    "read_into",
    "sem_unlink",
    "write_all",
]

_MOST = 16 << 20  # bytes in one call
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)

# Moves bytes between a descriptor and a buffer without waiting: how many; BlockingIOError.
_Mover = Callable[[int, memoryview], int]


class _Deadline:
    """Monotonic; None: never; 0: has always passed."""

    def __init__(self, timeout: float | None) -> None:
        now = time.monotonic()
        self.at = None if timeout is None else now + timeout if timeout > 0 else 0.0

    def left(self) -> float | None:
        """Seconds, at least 0."""
        return None if self.at is None else max(self.at - time.monotonic(), 0)

    def at_most(self, seconds: float) -> _Deadline:
        left = self.left()
        return _Deadline(seconds if left is None else min(left, seconds))


def _ready(fd: int, out: bool, deadline: _Deadline | None) -> bool:
    """Waits until poll(2) finds it ready, no longer than to the deadline (None: not at all)."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT if out else select.POLLIN)
    while True:
        left = deadline.left() if deadline else 0
        if poll.poll(None if left is None else min(left * 1000 + 1, 1 << 30) if left else 0):
            return True
        if left is not None and (not deadline or not deadline.left()):
            return False


def _plain(out: bool) -> _Mover:
    return os.write if out else lambda fd, data: os.readv(fd, [data])


def _polled(out: bool) -> _Mover:
    """At most PIPE_BUF bytes block only if another process that uses the same end comes in between."""
    move = _plain(out)

    def moved(fd: int, data: memoryview) -> int:
        if not _ready(fd, out, None):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return move(fd, data[: select.PIPE_BUF] if out else data)

    return moved


def _nowait(out: bool, at_end: contextlib.ExitStack) -> _Mover:
    """By preadv2 and pwritev2, which know a flag for it (Linux; for pipes and sockets from 6.4 on).

    An older Linux opens the pipe once more, non-blocking, for the time of the call.
    """
    if not _NOWAIT:
        return _polled(out)
    move, plain, polled, own = os.pwritev if out else os.preadv, _plain(out), _polled(out), -1
    known = True

    def moved(fd: int, data: memoryview) -> int:
        nonlocal known, own
        if known:
            try:
                return move(fd, [data], -1, _NOWAIT)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM):
                    raise
            known = False
            with contextlib.suppress(OSError):  # a socket, no /proc
                flags = os.O_NONBLOCK | (os.O_WRONLY if out else os.O_RDONLY)
                own = os.open(f"/proc/self/fd/{fd}", flags)
                at_end.callback(os.close, own)
        return polled(fd, data) if own < 0 else plain(own, data)

    return moved


def _mover(fd: int, out: bool, at_end: contextlib.ExitStack) -> _Mover:
    flags, mode = fcntl.fcntl(fd, fcntl.F_GETFL), os.fstat(fd).st_mode
    if flags & os.O_ACCMODE == (os.O_RDONLY if out else os.O_WRONLY):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # poll(2) would wait for ever
    if flags & os.O_NONBLOCK or stat.S_ISREG(mode):
        return _plain(out)
    return _nowait(out, at_end) if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else _polled(out)


def _ours(error: BaseException) -> bool:
    """From a call that was made here, and not from a signal handler that ran meanwhile."""
    *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
    return innermost.f_globals is globals()


class _Pipes(_posix.Pipes):
    def _pipe(self) -> tuple[int, int]:
        return os.pipe()

    def _move(
        self, fd: int, out: bool, data: memoryview, timeout: float | None, moved: list[int]
    ) -> int:
        try:
            with contextlib.ExitStack() as at_end:
                deadline, move = _Deadline(timeout), _mover(fd, out, at_end)
                while moved[0] < len(data):
                    try:
                        n = move(fd, data[moved[0] : moved[0] + _MOST])
                    except BlockingIOError as error:
                        if not _ours(error):
                            raise
                        if not _ready(fd, out, deadline):
                            return errno.ETIMEDOUT
                        continue
                    if not n:
                        return errno.EPIPE
                    moved[0] += n
                    if deadline.at and moved[0] < len(data) and not deadline.left():
                        return errno.ETIMEDOUT
        except OSError as error:
            if not _ours(error):
                raise
            return error.errno or errno.EIO
        return 0


_pipes = _Pipes()
pipe = _pipes.pipe
read_exactly = _pipes.read_exactly
read_into = _pipes.read_into
write_all = _pipes.write_all


# -- libc -----------------------------------------------------------------------------------------


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Attributes(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_long), ("most", ctypes.c_long), ("size", ctypes.c_long),
        ("count", ctypes.c_long), ("reserved", ctypes.c_long * 4),
    )  # fmt: skip


_pointer, _name, _int, _size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t
_FUNCTIONS: dict[str, tuple[Any, ...]] = {  # result, arguments; further ones are variadic
    "sem_open": (_pointer, _name, _int),
    "sem_close": (_int, _pointer),
    "sem_unlink": (_int, _name),
    "sem_trywait": (_int, _pointer),
    "sem_timedwait": (_int, _pointer, ctypes.POINTER(_Time)),
    "sem_clockwait": (_int, _pointer, _int, ctypes.POINTER(_Time)),
    "sem_post": (_int, _pointer),
    "sem_getvalue": (_int, _pointer, ctypes.POINTER(_int)),
    "mq_open": (_int, _name, _int),
    "mq_unlink": (_int, _name),
    "mq_getattr": (_int, _int, ctypes.POINTER(_Attributes)),
    "mq_timedsend": (_int, _int, _name, _size, ctypes.c_uint, ctypes.POINTER(_Time)),
    "mq_timedreceive": (
        ctypes.c_ssize_t, _int, _pointer, _size, ctypes.POINTER(ctypes.c_uint), ctypes.POINTER(_Time),
    ),
}  # fmt: skip


@functools.cache
def _function(name: str) -> Any:
    """None where libc has no such function."""
    for library in (None, "librt.so.1", "libpthread.so.0"):  # what was apart in older ones
        with contextlib.suppress(OSError, AttributeError):
            function = getattr(ctypes.CDLL(library, use_errno=True), name)
            function.restype, *arguments = _FUNCTIONS[name]
            function.argtypes = arguments
            return function
    return None


def _call(name: str, *args: Any) -> int:
    """What it returns, or a negated errno."""
    function = _function(name)
    if function is None:
        return -errno.ENOSYS
    before = ctypes.get_errno()
    result = function(*args)
    code = ctypes.get_errno()
    ctypes.set_errno(before)  # a signal handler may have interrupted one that is about to read it
    failed = result is None if name == "sem_open" else result < 0
    return -code if failed else int(result)


def _checked(name: str, *args: Any) -> int:
    result = _call(name, *args)
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


# -- names ----------------------------------------------------------------------------------------


class _Handle:
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


class _Semaphore(_Handle):
    def __init__(self, name: bytes, how: int, mode: int, value: int) -> None:
        def create() -> int:
            flags = os.O_CREAT | os.O_EXCL
            sem = _checked("sem_open", name, flags, ctypes.c_uint(mode), ctypes.c_uint(value))
            with contextlib.suppress(
                FileNotFoundError
            ):  # unlinked already, or the system does not tell
                os.chmod(_file_of(name), mode)
            return sem

        super().__init__(_opened(how, create, lambda: _checked("sem_open", name, 0)))

    def _drop(self, opened: int) -> None:
        _call("sem_close", opened)

    def wait(self, timeout: float | None) -> int:
        return self._with(lambda sem: self._wait(sem, _Deadline(timeout)))

    def _wait(self, sem: int, deadline: _Deadline) -> int:
        nap = 0.0001
        while True:
            code = _call("sem_trywait", sem)
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
        if _function("sem_clockwait"):
            end = _Time(*divmod(time.monotonic_ns() + int(left * 1e9), 10**9))
            return _call("sem_clockwait", sem, time.CLOCK_MONOTONIC, end)
        end = _Time(*divmod(time.time_ns() + int(left * 1e9), 10**9))
        return _call("sem_timedwait", sem, end)

    def post(self) -> int:
        return self._with(lambda sem: _call("sem_post", sem))

    def value(self) -> int:
        value = _int()
        code = self._with(lambda sem: _call("sem_getvalue", sem, value))
        return code or value.value


def _file_of(name: bytes) -> bytes:
    """The file behind a semaphore's name, where it is one (Linux; musl puts no prefix)."""
    if sys.platform != "linux":
        raise FileNotFoundError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    glibc = hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
    return b"/dev/shm/" + (b"sem." if glibc else b"") + name[1:]


class _Queue(_Handle):
    def __init__(
        self, name: bytes, how: int, read: bool, write: bool, mode: int, most: int, size: int
    ) -> None:
        flags = os.O_CLOEXEC | (os.O_RDWR if read and write else os.O_WRONLY if write else 0)
        attributes = _Attributes(most=most, size=size)

        def create() -> int:
            new = flags | os.O_CREAT | os.O_EXCL
            fd = _checked("mq_open", name, new, ctypes.c_uint(mode), ctypes.byref(attributes))
            os.fchmod(fd, mode)
            return fd

        super().__init__(_opened(how, create, lambda: _checked("mq_open", name, flags)))
        self._with(lambda fd: _call("mq_getattr", fd, attributes))
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
        attributes = _Attributes()
        code = self._with(lambda fd: _call("mq_getattr", fd, attributes))
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
        deadline = _Deadline(timeout)

        def repeat(fd: int) -> int:
            while True:
                result = _call(name, fd, *args, _Time())
                if result not in (-errno.ETIMEDOUT, -errno.EAGAIN):
                    return result
                if deadline.left() == 0:
                    return -errno.ETIMEDOUT
                if self.closed:
                    return -errno.EBADF
                _ready(fd, out, deadline.at_most(1.0))

        return self._with(repeat)


class NamedSemaphore(_posix.NamedSemaphore):
    __doc__ = _posix.NamedSemaphore.__doc__

    def _open(self, name: bytes, how: int, mode: int) -> Any:
        return _Semaphore(name, how, mode, self._value)

    def _owner(self) -> int | None:
        with contextlib.suppress(OSError):
            return os.lstat(_file_of(os.fsencode(self._name))).st_uid
        return None

    @staticmethod
    def _unlink(name: bytes) -> int:
        return _call("sem_unlink", name)


class MessageQueue(_posix.MessageQueue):
    __doc__ = _posix.MessageQueue.__doc__

    def _open(self, name: bytes, how: int, mode: int) -> Any:
        return _Queue(name, how, self._read, self._write, mode, *self._sizes)

    def _owner(self) -> int | None:
        return self._handle.owner()

    @staticmethod
    def _unlink(name: bytes) -> int:
        return _call("mq_unlink", name)


sem_unlink = NamedSemaphore.unlink_name
mq_unlink = MessageQueue.unlink_name
