"""The contract: what a context of any backend gives, as protocols for annotations and for checks.

They name what a program may rely on, and are the same for each backend. The classes themselves are
found through a context: `procfast.get_context("spawn").Process`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

__all__ = [
    "Connection",
    "Context",
    "JoinableQueue",
    "Process",
    "Queue",
    "SimpleQueue",
]

T = TypeVar("T")


@runtime_checkable
class Process(Protocol):
    """A process: described, started once, waited for. `multiprocessing.Process` plus `interrupt`."""

    name: str
    """For people; two processes may share one."""

    daemon: bool
    """Whether it is terminated when its parent ends. To be set before `start`."""

    authkey: bytes
    """What both ends of an authenticated connection must know. Inherited from the parent."""

    @property
    def pid(self) -> int | None:
        """The process id; None before `start`."""

    @property
    def ident(self) -> int | None:
        """The same as `pid`."""

    @property
    def exitcode(self) -> int | None:
        """None while it runs; 0 for a good end; -N when signal N killed it."""

    @property
    def sentinel(self) -> int:
        """A descriptor that is readable once the process has ended. ValueError before `start`."""

    def start(self) -> None:
        """Start it, once. OSError where the system refuses another process or descriptor."""

    def run(self) -> None:
        """What it does in the new process: calls the target. Subclasses may override it."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, at most `timeout` seconds (None: for ever)."""

    def is_alive(self) -> bool:
        """Whether it was started and has not ended yet."""

    def interrupt(self) -> None:
        """Send SIGINT: KeyboardInterrupt in Python code."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""

    def close(self) -> None:
        """Give back what the object holds. ValueError while the process runs."""


@runtime_checkable
class Connection(Protocol):
    """One end of a pipe. A queue's `_reader` and `_writer` are the same but for recv_bytes_into."""

    @property
    def closed(self) -> bool:
        """Whether this process has closed it."""

    @property
    def readable(self) -> bool:
        """Whether it can receive."""

    @property
    def writable(self) -> bool:
        """Whether it can send."""

    def fileno(self) -> int:
        """The descriptor to select on."""

    def send(self, obj: Any) -> None:
        """Send a picklable object."""

    def recv(self) -> Any:
        """The next object, waiting for it. EOFError when there will be none."""

    def send_bytes(self, buf: Any, offset: int = 0, size: int | None = None) -> None:
        """Send bytes as one message."""

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """The next message as bytes. OSError where it is longer than maxlength; the end is of no use then."""

    def recv_bytes_into(self, buf: Any, offset: int = 0) -> int:
        """Receive the next message into a writable buffer from `offset` on: its length. BufferTooShort, with the
        message, where it does not fit."""

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Whether there is something to receive, waiting at most `timeout` seconds (None: for ever)."""

    def close(self) -> None:
        """No more use of it in this process."""

    def __enter__(self) -> Connection:
        """Itself."""

    def __exit__(self, *exc: object) -> None:
        """Closes it."""


@runtime_checkable
class SimpleQueue(Protocol[T]):
    """An unbounded queue with no more than this."""

    def put(self, obj: T) -> None:
        """Put a picklable object."""

    def get(self) -> T:
        """The oldest object, waiting for one."""

    def empty(self) -> bool:
        """Whether there is nothing to get at this moment."""

    def close(self) -> None:
        """No more use of it in this process."""


@runtime_checkable
class Queue(Protocol[T]):
    """A queue for any number of processes and threads, first in first out."""

    def put(self, obj: T, block: bool = True, timeout: float | None = None) -> None:
        """Put a picklable object. `queue.Full` where there is no room in time."""

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """The oldest object. `queue.Empty` where there is none in time."""

    def put_nowait(self, obj: T) -> None:
        """put(obj, block=False)"""

    def get_nowait(self) -> T:
        """get(block=False)"""

    def put_many(self, items: Iterable[T], block: bool = True, timeout: float | None = None) -> int:
        """Put all items, in order; how many. `queue.Full(how many)` where there is no room in time."""

    def get_many(self, max_items: int, block: bool = True, timeout: float | None = None) -> list[T]:
        """One to max_items of the oldest items; waits for the first only. `queue.Empty` as for `get`."""

    def qsize(self) -> int:
        """How many items are inside."""

    def empty(self) -> bool:
        """Whether there is nothing to get at this moment."""

    def full(self) -> bool:
        """Whether there is no room at this moment."""

    def close(self) -> None:
        """No more use of it in this process."""

    def join_thread(self) -> None:
        """After `close`: wait until what this process has put is on its way."""

    def cancel_join_thread(self) -> None:
        """Do not wait for that at the end of this process."""


@runtime_checkable
class JoinableQueue(Queue[T], Protocol[T]):
    """A queue that counts the items not done yet."""

    def task_done(self) -> None:
        """One item that was got is done. ValueError if more are done than were put."""

    def join(self) -> None:
        """Wait until every item that was put is done."""


_Queue = Queue
_JoinableQueue = JoinableQueue
_SimpleQueue = SimpleQueue


@runtime_checkable
class Context(Protocol):
    """The whole API for one start method on one backend. Its factories take what multiprocessing's take."""

    backend: ClassVar[str]
    """The name of the backend: "native", "stdlib"."""

    features: ClassVar[frozenset[str]]
    """What the backend promises beyond `multiprocessing`."""

    Process: type[Any]
    """The class of its processes; may be subclassed."""

    def get_context(self, method: str | None = None, backend: str | None = None) -> Any:
        """The context of another start method, or on another backend."""

    def get_start_method(self, allow_none: bool = False) -> str | None:
        """The name of the start method: "fork", "spawn", "forkserver"."""

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Only for the default context, and once unless forced. ValueError on the others."""

    def current_process(self) -> Any:
        """The object of this very process."""

    def parent_process(self) -> Any:
        """The object of the process that started this one; None in the main process."""

    def active_children(self) -> list[Any]:
        """The children that run; those that have ended are reaped on the way."""

    def cpu_count(self) -> int:
        """The CPUs of the machine, not those that this process may use."""

    def Queue(self, maxsize: int = 0, *, max_bytes: int | None = None) -> _Queue[Any]:
        """A queue; 0 or less: unbounded. max_bytes is the ceiling of its memory, where there is one."""

    def JoinableQueue(
        self, maxsize: int = 0, *, max_bytes: int | None = None
    ) -> _JoinableQueue[Any]:
        """A queue that also has task_done and join."""

    def SimpleQueue(self) -> _SimpleQueue[Any]:
        """A queue with no more than put, get, empty and close."""

    def Pipe(self, duplex: bool = True) -> tuple[Connection, Connection]:
        """Two connected ends; with duplex=False the first only receives, the second only sends.

        recv() raises EOFError and send() BrokenPipeError when every copy of the other end is closed or its holder dead.
        """

    def SharedMemory(
        self,
        name: str | None = None,
        create: bool = False,
        size: int = 0,
        *,
        track: bool = True,
        reserve: bool = False,
    ) -> Any:
        """Memory with a name: a new one with create=True, else one to attach to. As `multiprocessing.shared_memory`'s.

        track=False: nobody removes it but unlink(). reserve=True: all of its memory is there, or OSError (ENOSPC).
        """

    def ShareableList(
        self, sequence: Iterable[Any] | None = None, *, name: str | None = None
    ) -> Any:
        """A list of fixed length in a SharedMemory, new or attached to."""

    def Lock(self) -> Any:
        """A lock; anybody may release it."""

    def RLock(self) -> Any:
        """A lock that its owner may take again."""

    def Condition(self, lock: Any = None) -> Any:
        """A condition variable."""

    def Semaphore(self, value: int = 1) -> Any:
        """A counter that can be waited for."""

    def BoundedSemaphore(self, value: int = 1) -> Any:
        """A semaphore that must not be released more often than acquired."""

    def Event(self) -> Any:
        """A flag that can be waited for."""

    def Barrier(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """A place where `parties` processes wait for each other."""

    def Value(self, typecode_or_type: Any, *args: Any, lock: Any = True) -> Any:
        """A ctypes object in shared memory, with a lock."""

    def Array(self, typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True) -> Any:
        """A ctypes array in shared memory, with a lock."""

    def RawValue(self, typecode_or_type: Any, *args: Any) -> Any:
        """A ctypes object in shared memory."""

    def RawArray(self, typecode_or_type: Any, size_or_initializer: Any) -> Any:
        """A ctypes array in shared memory."""

    def Pool(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
    ) -> Any:
        """A pool of worker processes."""

    def Manager(self) -> Any:
        """A server process with objects that others use through proxies."""

    def freeze_support(self) -> None:
        """For programs frozen into one file, on Windows."""

    def get_logger(self) -> Any:
        """The logger of multiprocessing."""

    def log_to_stderr(self, level: int | None = None) -> Any:
        """The same, with a handler that writes to stderr."""

    def allow_connection_pickling(self) -> None:
        """Does nothing any more."""

    def set_executable(self, executable: str) -> None:
        """The interpreter that spawn and forkserver start."""

    def set_forkserver_preload(self, module_names: Sequence[str]) -> None:
        """Modules that the fork server imports before it forks."""
