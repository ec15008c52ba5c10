"""Named semaphores and message queues: what their names may be, who owns them, what their calls promise."""

from __future__ import annotations

import errno
import os
import sys
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, NoReturn, Protocol, Self

from .arguments import count, seconds, view

OPEN, CREATE, EXCLUSIVE = range(3)  # how to open a name; as in csrc/include/procfast/named_sem.h


class Kind(NamedTuple):
    """What has names: how errors speak of it, and which of them mean what."""

    what: str
    longest: int  # bytes of a name
    folder: str | None  # without it the system has none
    explained: dict[int, str]


SEMAPHORE = Kind(
    "semaphore",
    250,
    "/dev/shm" if sys.platform == "linux" else None,
    {errno.ENOSPC: "there is no room for it: /dev/shm is full"},
)
QUEUE = Kind(
    "message queue",
    254,
    None,
    {
        errno.EINVAL: "its sizes are beyond the system's limits (/proc/sys/fs/mqueue/msg_max and msgsize_max)",
        errno.ENOSPC: "there are too many (/proc/sys/fs/mqueue/queues_max)",
        errno.EMFILE: "too many descriptors are open, or this user's message queues take too many bytes "
        "(RLIMIT_MSGQUEUE, ulimit -q)",
        errno.EMSGSIZE: "the message is longer than the queue takes",
    },
)


def full_name(name: Any, kind: Kind) -> str:
    """With its slash."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a {kind.what} must be a str, not {type(name).__name__}")
    bare = name.removeprefix("/")
    if bare in ("", ".", "..") or "/" in bare or "\0" in bare:
        raise ValueError(
            f"bad name of a {kind.what}: {name!r}. It is one part, as 'jobs' or '/jobs': not empty, "
            "not . or .., no slash but the first, no NUL"
        )
    if len(os.fsencode(bare)) > kind.longest:
        raise ValueError(f"bad name of a {kind.what}: {name!r} is longer than {kind.longest} bytes")
    return "/" + bare


def explain(kind: Kind, name: str, code: int, how: int = OPEN, late: str = "") -> NoReturn:
    """Raise the system's error with the name and what it means here."""
    missing = kind.folder is not None and not os.path.isdir(kind.folder)
    if code in (errno.ENOSYS, errno.EPERM) or (code == errno.ENOENT and (how or missing)):
        code = errno.ENOSYS
        where = f": there is no {kind.folder}" if missing else ", or a filter (seccomp) refuses"
        text = f"this system has no {kind.what}s{where}. procfast's Semaphore and Queue need none"
    elif code == errno.ETIMEDOUT:
        text = late
    elif code == errno.ENOENT:
        text = f"there is no {kind.what} of this name"
    elif code == errno.EEXIST:
        text = f"there is a {kind.what} of this name"
    elif code == errno.EACCES:
        text = f"the {kind.what}'s mode, or its folder's, keeps user {os.geteuid()} out"
    else:
        text = kind.explained.get(code, os.strerror(code))
    raise OSError(code, text, name)


def own(kind: Kind, name: str, owner: int) -> None:
    """Refuses what another user has put there for us to find."""
    if owner not in (os.geteuid(), 0):
        text = (
            f"the {kind.what} belongs to user {owner}, who may have made it to be found; "
            "any_owner=True takes it all the same"
        )
        raise PermissionError(errno.EPERM, text, name)


class Handle(Protocol):
    """What a backend opens a name as. Its calls return a negated errno, -EBADF where it is closed."""

    @property
    def closed(self) -> bool: ...
    def close(self) -> None: ...


class SemaphoreHandle(Handle, Protocol):
    def wait(self, timeout: float | None) -> int: ...
    def post(self) -> int: ...
    def value(self) -> int: ...


class QueueHandle(Handle, Protocol):
    def limits(self) -> tuple[int, int]: ...
    def fileno(self) -> int: ...
    def count(self) -> int: ...
    def send(self, data: memoryview, priority: int, timeout: float | None) -> int: ...
    def receive(self, timeout: float | None) -> tuple[int, bytes, int]: ...


class _Named(ABC):
    """An open name. Pickled by name: who unpickles it opens what has that name then."""

    kind: ClassVar[Kind]
    _handle: Handle

    def __init__(
        self, name: Any, create: bool, exclusive: bool, mode: int, any_owner: bool
    ) -> None:
        self._name = full_name(name, self.kind)
        if exclusive and not create:
            raise ValueError("exclusive is for create=True: it refuses a name that is there")
        mode = count(mode, "mode")
        if mode > 0o777:
            raise ValueError(f"mode must be permission bits up to 0o777, not {mode:#o}")
        how = (EXCLUSIVE if exclusive else CREATE) if create else OPEN
        try:
            self._handle = self._open(os.fsencode(self._name), how, mode)
        except OSError as error:
            code = error.errno
        else:
            code = 0
        if code:
            explain(self.kind, self._name, code, how)
        try:
            if not any_owner and (owner := self._owner()) is not None:
                own(self.kind, self._name, owner)
        except BaseException:
            self._handle.close()
            raise
        self._any_owner = any_owner

    @abstractmethod
    def _open(self, name: bytes, how: int, mode: int) -> Any:
        """A handle; OSError."""

    @abstractmethod
    def _owner(self) -> int | None:
        """The user id; None: the system does not tell, or the name is gone."""

    @property
    def name(self) -> str:
        """The name, which begins with a slash."""
        return self._name

    @property
    def closed(self) -> bool:
        """Whether this process has closed it."""
        return self._handle.closed

    def close(self) -> None:
        """No more use of it by this object; the name stays, and who else has it open keeps it.

        Threads that wait in it get ValueError, within a second. Closing again does nothing.
        """
        self._handle.close()

    def unlink(self) -> None:
        """Take the name away; who has it open goes on with it. FileNotFoundError: there is none."""
        self.unlink_name(self._name)

    @classmethod
    def unlink_name(cls, name: str) -> None:
        """Take a name away without opening it; who has it open goes on with it. FileNotFoundError: there is none."""
        name = full_name(name, cls.kind)
        if code := cls._unlink(os.fsencode(name)):
            explain(cls.kind, name, -code)

    @staticmethod
    @abstractmethod
    def _unlink(name: bytes) -> int: ...

    def _done(self, result: int, late: str = "") -> int:
        """What a call of the handle returned, where it is no error."""
        if result == -errno.EBADF:
            raise ValueError(f"the {self.kind.what} {self._name} is closed")
        if result < 0:
            explain(self.kind, self._name, -result, late=late)
        return result

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}{' closed' if self.closed else ''}>"


class NamedSemaphore(_Named):
    """A named POSIX semaphore: a counter of permits that any program of this machine can open by its name.

    NamedSemaphore("jobs") opens the one that is there; create=True makes it where there is none, with `value`
    permits; create=True, exclusive=True insists on a new one. `mode` is that of a new one, exactly, whatever the
    umask: 0o600 keeps other users out, 0o666 lets all in (in its very first moment it may have fewer bits). One that
    belongs to another user than this process's (or root) is refused unless any_owner=True, where the system tells.

    The name lasts until unlink() or a restart of the system, whoever dies: nothing sweeps it. So does its count: the
    permit of a process that is killed is gone. Where that matters, use procfast.Lock and Semaphore, which have no name.

    `with semaphore:` takes a permit and gives it back. Pickled by name: who unpickles it opens what has that name
    by then. After a fork the child uses it too.

    FileNotFoundError, FileExistsError, PermissionError and other OSErrors have the name in `filename`; ValueError:
    a bad name or value. OSError(ENOSYS): the system has none, or refuses.
    """

    kind = SEMAPHORE
    _handle: SemaphoreHandle
    MAX_VALUE: ClassVar[int] = max(os.sysconf("SC_SEM_VALUE_MAX"), 32767)

    def __init__(
        self,
        name: str,
        create: bool = False,
        exclusive: bool = False,
        *,
        mode: int = 0o600,
        value: int = 1,
        any_owner: bool = False,
    ) -> None:
        value = count(value, "value")
        if value > self.MAX_VALUE:
            raise ValueError(f"value must be at most {self.MAX_VALUE}, not {value}")
        self._value = value
        super().__init__(name, create, exclusive, mode, any_owner)

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take a permit, waiting for one at most `timeout` seconds (None: for ever); whether there was one.

        Signal handlers run meanwhile; one that raises ends the wait.
        """
        timeout = seconds(timeout)
        result = self._handle.wait(timeout if block else 0.0)
        return result != -errno.ETIMEDOUT and self._done(result) == 0

    def release(self, n: int = 1) -> None:
        """Give back n permits; anybody may. OSError(EOVERFLOW): there would be more than MAX_VALUE."""
        for _ in range(count(n, "n")):
            self._done(self._handle.post())

    @property
    def value(self) -> int:
        """The permits at this moment. NotImplementedError where the system cannot tell (macOS)."""
        value = self._handle.value()
        if value == -errno.ENOSYS:
            raise NotImplementedError("this system does not tell a semaphore's value")
        return self._done(value)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (type(self), self._name, {"any_owner": self._any_owner})


class Message(NamedTuple):
    """What MessageQueue.receive returns."""

    data: bytes
    priority: int


class MessageQueue(_Named):
    """A POSIX message queue: the kernel keeps a few short messages, for any program that opens it by its name.

    MessageQueue("jobs") opens the one that is there; create=True makes it where there is none, for `max_messages` of
    at most `max_size` bytes (the system's limits for users are 10 and 8192, unless its administrator has changed
    them); create=True, exclusive=True insists on a new one. mode, any_owner, pickling and the errors are as of
    NamedSemaphore. read=False or write=False opens it for one of the two only, as its mode may demand.

    Messages come out the most urgent first, those of one priority in the order in which they were sent, each whole
    and once; a process killed in a call has sent or received its message, or has not. The name and its messages
    last until unlink() or a restart of the system. The descriptor is close-on-exec, and may be selected on.

    `with queue:` closes it at the end. Linux only: elsewhere OSError(ENOSYS).
    """

    kind = QUEUE
    _handle: QueueHandle
    MAX_PRIORITY: ClassVar[int] = 32767

    def __init__(
        self,
        name: str,
        create: bool = False,
        exclusive: bool = False,
        *,
        mode: int = 0o600,
        max_messages: int = 10,
        max_size: int = 8192,
        read: bool = True,
        write: bool = True,
        any_owner: bool = False,
    ) -> None:
        sizes = count(max_messages, "max_messages"), count(max_size, "max_size")
        for what, size in zip(("max_messages", "max_size"), sizes, strict=True):
            if not 1 <= size < 1 << 31:
                raise ValueError(f"{what} must be at least 1 and below 2**31, not {size}")
        if not read and not write:
            raise ValueError("read or write: one of them at least")
        self._read, self._write, self._sizes = bool(read), bool(write), sizes
        super().__init__(name, create, exclusive, mode, any_owner)

    @property
    def max_messages(self) -> int:
        """How many it holds."""
        return self._handle.limits()[0]

    @property
    def max_size(self) -> int:
        """How many bytes a message may have."""
        return self._handle.limits()[1]

    @property
    def count(self) -> int:
        """The messages in it at this moment."""
        return self._done(self._handle.count())

    def fileno(self) -> int:
        """The descriptor, to select on: readable where there is a message, writable where there is room."""
        return self._done(self._handle.fileno())

    def send(self, data: Any, priority: int = 0, timeout: float | None = None) -> None:
        """Send bytes (or any other buffer, also an empty one) as one message. The higher its priority, the sooner it
        comes out.

        Waits for room at most `timeout` seconds (None: for ever, 0: not at all), then TimeoutError.
        OSError(EMSGSIZE): longer than max_size.
        """
        priority = count(priority, "priority")
        if priority > self.MAX_PRIORITY:
            raise ValueError(f"priority must be at most {self.MAX_PRIORITY}, not {priority}")
        message, timeout = view(data, "data", writable=False), seconds(timeout)
        if not self._write:
            raise OSError(errno.EBADF, "the message queue was opened with write=False", self._name)
        result = self._handle.send(message, priority, timeout)
        self._done(result, f"no room for a message within {timeout} s")

    def receive(self, timeout: float | None = None) -> Message:
        """The most urgent message: (data, priority).

        Waits for one at most `timeout` seconds (None: for ever, 0: not at all), then TimeoutError.
        """
        timeout = seconds(timeout)
        if not self._read:
            raise OSError(errno.EBADF, "the message queue was opened with read=False", self._name)
        result, data, priority = self._handle.receive(timeout)
        self._done(result, f"no message within {timeout} s")
        return Message(data, priority)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (
            type(self),
            self._name,
            {"any_owner": self._any_owner, "read": self._read, "write": self._write},
        )


def _reopen(cls: type[Any], name: str, options: dict[str, Any]) -> Any:
    return cls(name, **options)
