"""The contract: what a context of any backend gives, as protocols for annotations and for checks.

They name what a program may rely on, and are the same for each backend. The classes themselves are
found through a context: `procfast.get_context("spawn").Process`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from ._pool import Stats

__all__ = [
    "Array",
    "AsyncResult",
    "Barrier",
    "Condition",
    "Connection",
    "Context",
    "Event",
    "JoinableQueue",
    "Lock",
    "Pool",
    "Process",
    "Queue",
    "Semaphore",
    "SimpleQueue",
    "Value",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


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


@runtime_checkable
class Lock(Protocol):
    """A lock: what Lock, RLock and the semaphores have in common.

    A context whose features name "lock_owner" gives locks that also have `owner` and `acquire_recover()`.
    """

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take it, waiting at most `timeout` seconds (None: for ever) where block is true. False: not in time."""

    def release(self) -> None:
        """Give it back. ValueError where it is free; AssertionError by another than an RLock's owner."""

    def locked(self) -> bool:
        """Whether acquire() would have to wait; of an RLock: whether anybody holds it."""

    def __enter__(self) -> bool:
        """acquire()"""

    def __exit__(self, *exc: Any) -> None:
        """release()"""


@runtime_checkable
class Semaphore(Lock, Protocol):
    """A counter: acquire() takes one, release() gives one."""

    def get_value(self) -> int:
        """How many could be acquired at this moment."""


@runtime_checkable
class Condition(Protocol):
    """A condition variable; its lock is taken by acquire() or `with`."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take its lock."""

    def release(self) -> None:
        """Give its lock back."""

    def __enter__(self) -> bool:
        """acquire()"""

    def __exit__(self, *exc: Any) -> None:
        """release()"""

    def wait(self, timeout: float | None = None) -> bool:
        """Release the lock, wait for a notification, take the lock again. False: none came in so many seconds."""

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Wait until the predicate is true: its last answer, which is false after so many seconds."""

    def notify(self, n: int = 1) -> None:
        """Wake at most n of those that wait. AssertionError without the lock, as in wait()."""

    def notify_all(self) -> None:
        """Wake all that wait."""


@runtime_checkable
class Event(Protocol):
    """A flag that can be waited for."""

    def is_set(self) -> bool:
        """Whether it is set."""

    def set(self) -> None:
        """Set it, and wake all that wait."""

    def clear(self) -> None:
        """Clear it."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set. False: it was not in so many seconds."""


@runtime_checkable
class Barrier(Protocol):
    """A place where so many wait for each other."""

    @property
    def parties(self) -> int:
        """How many."""

    @property
    def n_waiting(self) -> int:
        """How many wait there now."""

    @property
    def broken(self) -> bool:
        """Whether it is broken."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait until all have come: a number from 0 to parties - 1. threading.BrokenBarrierError where it is broken, or
        not all came in so many seconds."""

    def reset(self) -> None:
        """As new. Those that wait get BrokenBarrierError."""

    def abort(self) -> None:
        """Break it, until reset()."""


@runtime_checkable
class Value(Protocol[T]):
    """A value in shared memory with a lock. Reading and writing take the lock, each by itself."""

    value: T
    """Converted as ctypes does: integers out of range wrap round."""

    def add(self, n: Any) -> T:
        """Add n and answer the new value, atomically. As `with v.get_lock(): v.value += n`, and mixes with it.

        TypeError where the value or n is no number.
        """

    def exchange(self, value: Any) -> T:
        """Set it and answer the value before, atomically."""

    def compare_exchange(self, expected: Any, value: Any) -> bool:
        """Set it if it is `expected`, atomically, and answer whether it was. NaN equals itself here."""

    def get_lock(self) -> Any:
        """The lock: an RLock, unless it was made with another."""

    def get_obj(self) -> Any:
        """The object of ctypes in the same memory. What is done with it does not take the lock."""

    def acquire(self, *args: Any, **kwargs: Any) -> Any:
        """`get_lock().acquire(...)`"""

    def release(self) -> Any:
        """`get_lock().release()`"""


@runtime_checkable
class Array(Protocol):
    """An array in shared memory with a lock. Each access, be it to a slice, takes the lock once."""

    def __len__(self) -> int:
        """How many items."""

    def __getitem__(self, index: Any) -> Any:
        """An item; of a slice a list, or bytes of c_char, or a str of c_wchar."""

    def __setitem__(self, index: Any, value: Any) -> None:
        """Set an item, or a slice to a sequence of its length (ValueError for another)."""

    def get_lock(self) -> Any:
        """The lock: an RLock, unless it was made with another."""

    def get_obj(self) -> Any:
        """The array of ctypes in the same memory. What is done with it does not take the lock."""

    def acquire(self, *args: Any, **kwargs: Any) -> Any:
        """`get_lock().acquire(...)`"""

    def release(self) -> Any:
        """`get_lock().release()`"""


@runtime_checkable
class AsyncResult(Protocol[T_co]):
    """What a pool's apply_async and map_async give. May be awaited in any event loop, by any number of tasks."""

    def get(self, timeout: float | None = None) -> T_co:
        """The result, waiting for it at most `timeout` seconds: TimeoutError. Raises what the call raised.

        WorkerDied where its worker died, CancelledError (of concurrent.futures) after cancel().
        """

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the result is there, at most `timeout` seconds."""

    def ready(self) -> bool:
        """Whether the result is there."""

    def successful(self) -> bool:
        """Whether the call ended without an exception. ValueError where it has not ended."""

    def cancel(self) -> bool:
        """Call it off: True where no result will come. What is queued is not begun.

        What runs is ended with its worker where the features name "pool_cancel_running"; else it goes on.
        """

    def cancelled(self) -> bool:
        """Whether cancel() had success."""

    def __await__(self) -> Generator[Any, None, T]:
        """The result, for asyncio. Cancelling the await leaves the call alone."""


@runtime_checkable
class Pool(Protocol):
    """Processes that call functions. `multiprocessing.pool.Pool` plus `stats` and these arguments of its calls:

    timeout: seconds that a task may run; then its worker is killed and TimeoutError is its error ("pool_timeout").
    retries: how often a task is begun again where its worker died ("pool_retries"). NotImplementedError for both where
    the features do not name them. with_state: the function gets what `worker_init` returned as its first argument.
    progress: True for a bar of tqdm, or anything with update(n) and close(). buffersize: at most so many tasks are
    ahead of whoever takes the results.
    """

    def apply(
        self,
        func: Callable[..., T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = {},
        *,
        timeout: float | None = None,
        retries: int = 0,
        with_state: bool = False,
    ) -> T:
        """func(*args, **kwds) in a worker, waiting for it."""

    def apply_async(
        self,
        func: Callable[..., T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = {},
        callback: Callable[[T], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        timeout: float | None = None,
        retries: int = 0,
        with_state: bool = False,
    ) -> AsyncResult[T]:
        """The same, at once. One of the callbacks is called in a thread of the pool before the result is ready."""

    def map(
        self,
        func: Callable[..., T],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        *,
        progress: Any = False,
        timeout: float | None = None,
        retries: int = 0,
        with_state: bool = False,
    ) -> list[T]:
        """[func(x) for x in iterable], in the workers; `chunksize` items make one task."""

    def starmap(
        self,
        func: Callable[..., T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        *,
        progress: Any = False,
        timeout: float | None = None,
        retries: int = 0,
        with_state: bool = False,
    ) -> list[T]:
        """[func(*x) for x in iterable], in the workers."""

    def map_async(
        self,
        func: Callable[..., T],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        timeout: float | None = None,
        retries: int = 0,
        with_state: bool = False,
    ) -> AsyncResult[list[T]]:
        """As map, at once."""

    def starmap_async(
        self,
        func: Callable[..., T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        timeout: float | None = None,
        retries: int = 0,
        with_state: bool = False,
    ) -> AsyncResult[list[T]]:
        """As starmap, at once."""

    def imap(
        self,
        func: Callable[..., T],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        buffersize: int | None = None,
        progress: Any = False,
        timeout: float | None = None,
        retries: int = 0,
        with_state: bool = False,
    ) -> Iterator[T]:
        """The results in order, as they come. What it gives also has next(timeout), cancel() and cancelled()."""

    def imap_unordered(
        self,
        func: Callable[..., T],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        buffersize: int | None = None,
        progress: Any = False,
        timeout: float | None = None,
        retries: int = 0,
        with_state: bool = False,
    ) -> Iterator[T]:
        """The results in the order in which they come."""

    def stats(self) -> Stats:
        """Tasks done, failed and queued, and what each worker did."""

    def close(self) -> None:
        """No more calls; those made go on to their end."""

    def terminate(self) -> None:
        """Ends the workers now."""

    def join(self) -> None:
        """Wait until all workers have ended, after close() or terminate()."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...


_Queue = Queue
_JoinableQueue = JoinableQueue
_SimpleQueue = SimpleQueue
_Lock = Lock
_Semaphore = Semaphore
_Condition = Condition
_Event = Event
_Barrier = Barrier
_Pool = Pool


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

    def Lock(self, *, robust: bool = False) -> _Lock:
        """A lock; anybody may release it.

        robust=True: where its holder was killed, one acquire() raises `procfast.exceptions.OwnerDied`, and the lock is
        free then. NotImplementedError where the features do not name "robust_locks".
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

    def RLock(self) -> _Lock:
        """A lock that its owner may take again. With "robust_locks" among the features it is one."""

    def Condition(self, lock: Any = None) -> _Condition:
        """A condition variable, over an RLock of its own where none is given."""

    def Semaphore(self, value: int = 1) -> _Semaphore:
        """A counter that can be waited for."""

    def BoundedSemaphore(self, value: int = 1) -> _Semaphore:
        """A semaphore that must not be released more often than acquired."""

    def Event(self) -> _Event:
        """A flag that can be waited for."""

    def Barrier(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
    ) -> _Barrier:
        """A place where `parties` processes wait for each other."""

    def Value(self, typecode_or_type: Any, *args: Any, lock: Any = True) -> Any:
        """An object of ctypes in zeroed shared memory, with a lock: for simple types a `Value`.

        lock: True or None: an RLock of its own; False: none, a RawValue; else any object with acquire and release.
        TypeError for what is neither a typecode nor a type of ctypes, and what ctypes raises for args that do not fit.
        """

    def Array(self, typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True) -> Any:
        """An `Array` in shared memory: so many items, zeroed, or those of a sequence. lock: as for Value."""

    def RawValue(self, typecode_or_type: Any, *args: Any) -> Any:
        """An object of ctypes in zeroed shared memory, without a lock.

        Natively, one of a simple type has add (of numbers), exchange and compare_exchange too, atomic and lock-free.
        """

    def RawArray(self, typecode_or_type: Any, size_or_initializer: Any) -> Any:
        """An array of ctypes in shared memory, without a lock: of so many items, or with those of a sequence."""

    def Pool(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
    ) -> Any:
        """A pool of so many worker processes (None: `procfast.usable_cpus()`)."""

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
        """Modules that the fork server imports before it forks. From Python 3.15 on it also takes `on_error`."""
