"""`multiprocessing.Pool` with what procfast adds: progress, stats, cancel of what is queued, bounded imap, await.

Between the standard library's threads and its pipes stand two functions: `_Sender` leaves out what was called off,
`_Receiver` keeps the books. What is in the pipe already is called off by its byte in shared memory, which a worker
reads before it begins.
"""

from __future__ import annotations

import io
import operator
import pickle
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import CancelledError
from multiprocessing import TimeoutError, pool, queues, reduction, util
from typing import Any

from .. import _pool
from .._cpus import usable_cpus
from .._twin import ExactTwin, original

__all__ = ["AsyncResult", "IMapIterator", "IMapUnorderedIterator", "MapResult", "Pool"]

QUEUED, BEGUN, OFF = range(3)
SLOTS = 4096  # a pipe of 64 KiB and the workers hold fewer tasks
TASKS, BUSY, SINCE, ROW = range(4)


# ---- in the workers


class _Board:
    """What the workers tell and are told: memory that all share."""

    def __init__(self, ctx: Any, workers: int) -> None:
        self.lock = ctx.Lock()
        self.tasks = ctx.RawArray("B", SLOTS)
        self.workers = ctx.RawArray("d", ROW * workers)  # done, seconds, since when at the present


_here: tuple[_Board, int]  # the board, and where this worker's row begins


def _work(board: _Board, number: int, *args: Any) -> None:
    global _here
    _here = board, number * ROW
    board.workers[number * ROW + SINCE] = 0.0  # whoever was here before may have died in a task
    pool.worker(*args)


def _call(slot: int, data: io.BytesIO) -> Any:
    board, row = _here
    with board.lock:
        if slot >= 0 and board.tasks[slot] == OFF:
            return None
        begin = board.workers[row + SINCE] = time.monotonic()
        if slot >= 0:
            board.tasks[slot] = BEGUN
    try:
        function, args, kwds = pickle.load(data)
        return function(*args, **kwds)
    except BaseException as error:
        return _Failure(_pool.report(error))
    finally:
        board.workers[row + BUSY] += time.monotonic() - begin
        board.workers[row + TASKS] += 1
        board.workers[row + SINCE] = 0.0


class _Failure:
    def __init__(self, report: _pool.Report) -> None:
        self.report = report


# A message is two pickles, whose it is and what it is; None alone is the end. So what does not unpickle has an owner.


def _message(head: Any, body: Any) -> bytes:
    return pickle.dumps(head) + reduction.ForkingPickler.dumps(body)


class _Tasks(queues.SimpleQueue):
    def get(self) -> Any:
        with self._rlock:
            data = io.BytesIO(self._reader.recv_bytes())
        head = pickle.load(data)
        if head is None:
            return None
        job, i, slot = head
        return job, i, _call, (slot, data), {}


class _Results(queues.SimpleQueue):
    def put(self, obj: Any) -> None:
        data = pickle.dumps(None) if obj is None else _message(obj[:2], obj[2])
        with self._wlock:
            self._writer.send_bytes(data)


# ---- the books of the owner


class _Books:
    """Which task is where. It does not know the pool, so that can be collected."""

    def __init__(self, board: _Board, workers: int) -> None:
        self.board = board
        self.guard = threading.Lock()
        self.free = list(range(SLOTS))
        self.sent: dict[int, dict[int, int]] = {}  # job -> number of task -> slot
        self.jobs: Mapping[int, Any] = {}  # the pool's own, when there is one
        self.places: list[Any] = [None] * workers  # references to their processes
        self.done = self.failed = self.started = 0

    def start(self, ctx: Any, *, target: Any, args: tuple[Any, ...]) -> Any:
        """A worker's Process."""
        held = [place and place() for place in self.places]
        number = next(n for n, p in enumerate(held) if p is None or p.exitcode is not None)
        process = ctx.Process(target=_work, args=(self.board, number, *args))
        self.places[number] = weakref.ref(process)
        self.started += 1
        return process

    def enter(self, job: int, i: int) -> int | None:
        """The slot of a task that is about to be sent; None where it was called off, -1 where none is free."""
        with self.guard:
            if job not in self.jobs or self.jobs[job]._off:
                return None
            slot = self.free.pop() if self.free else -1
            if slot >= 0:
                self.board.tasks[slot] = QUEUED
            self.sent.setdefault(job, {})[i] = slot
            return slot

    def leave(self, job: int, i: int, failed: bool) -> None:
        with self.guard:
            tasks = self.sent[job]
            slot = tasks.pop(i)
            if slot >= 0:
                self.free.append(slot)
            if not tasks:
                del self.sent[job]
            if job in self.jobs:
                self.failed += failed
                self.done += not failed

    def call_off(self, job: int) -> int:
        """How many tasks of a job were sent, and will not begin now. With the guard held."""
        off = 0
        tasks = self.board.tasks
        with self.board.lock:
            for slot in self.sent.get(job, {}).values():
                if slot >= 0 and tasks[slot] == QUEUED:
                    tasks[slot] = OFF
                    off += 1
        return off

    def waiting(self, job: int) -> int:
        """How many tasks of a job were sent, and have not begun."""
        return sum(
            s >= 0 and self.board.tasks[s] == QUEUED for s in self.sent.get(job, {}).values()
        )


class _Sender:
    """What the standard library's thread for tasks calls with each."""

    def __init__(self, books: _Books, send: Callable[[bytes], object]) -> None:
        self.books, self.send = books, send

    def __call__(self, task: Any) -> None:
        if task is None:
            self.send(pickle.dumps(None))
            return
        job, i, *body = task
        slot = self.books.enter(job, i)
        if slot is None:
            return
        try:
            self.send(_message((job, i, slot), body))
        except BaseException:
            self.books.leave(job, i, True)
            raise


class _Receiver:
    """What its thread for results calls for each."""

    def __init__(self, books: _Books, receive: Callable[[], bytes]) -> None:
        self.books, self.receive = books, receive

    def __call__(self) -> Any:
        data = io.BytesIO(self.receive())
        head = pickle.load(data)
        if head is None:
            return None
        try:
            good, value = pickle.load(data)
        except Exception as error:
            good, value = False, pool.MaybeEncodingError(error, "")
            value.value = "it does not unpickle here"
            value.__cause__ = error
        if type(value) is _Failure:
            good, value = False, _pool.rebuild(value.report)
        job, i = head
        self.books.leave(job, i, not good)
        return job, i, (good, value)


# ---- results


class AsyncResult(pool.ApplyResult):
    """What apply_async gives: the result of one call, once it is there."""

    _pool: Any
    _callback: Any
    _error_callback: Any

    def __init__(self, owner: Pool, tasks: int, callback: Any, error_callback: Any) -> None:
        self._books = owner._books
        self._tasks = self._left = tasks
        self._success = True
        self._over = self._off = False
        self._hooks: list[Callable[[], object]] = []
        pool.ApplyResult.__init__(self, owner, callback, error_callback)

    def cancel(self) -> bool:
        """Call it off. True: no result will come, and get() raises concurrent.futures.CancelledError; tasks that had
        not begun will not. False: it has ended, or all of it has begun.
        """
        with self._books.guard:
            if self._over:
                return False
            sent = len(self._books.sent.get(self._job, ()))
            if not self._books.call_off(self._job) and self._left == sent:
                return False
            self._over = self._off = True
            self._success, self._value = False, CancelledError()
        self._finish()
        return True

    def cancelled(self) -> bool:
        """Whether cancel() had success."""
        return self._off

    def __await__(self) -> Generator[Any, None, Any]:
        """The result, for asyncio. Cancelling the await leaves the call alone."""
        import asyncio

        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def there() -> None:
            if not future.done():
                future.set_result(None)

        def tell() -> None:
            try:
                loop.call_soon_threadsafe(there)
            except RuntimeError:  # that loop is closed: nobody waits there any more
                util.debug("a result was awaited in a loop that is closed")

        with self._books.guard:
            waits = not self._event.is_set()
            if waits:
                self._hooks.append(tell)
        if waits:
            yield from future.__await__()
        return self.get(0)

    def _set(self, i: int, result: tuple[bool, Any]) -> None:
        with self._books.guard:
            if self._over:
                return
            self._left -= 1
            self._store(i, *result)
            if self._left:
                return
            self._over = True
        self._finish()

    def _store(self, i: int, good: bool, value: Any) -> None:
        self._success, self._value = good, value

    def _finish(self) -> None:
        callback = self._callback if self._success else self._error_callback
        if callback is not None:
            try:
                callback(self._value)
            except BaseException:
                threading.excepthook(
                    threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread()))
                )
        owner, self._pool = self._pool, None  # not to end here, with the guard held
        self._callback = self._error_callback = None
        with self._books.guard:
            del self._cache[self._job]
            self._event.set()
            hooks, self._hooks = self._hooks, []
        for hook in hooks:
            hook()
        del owner

    def _queued(self) -> int:
        unsent = self._left - len(self._books.sent.get(self._job, ()))
        return max(unsent, 0) + self._books.waiting(self._job)


class MapResult(AsyncResult, pool.MapResult):
    """What map_async and starmap_async give: the list of the results, once all are there."""

    def __init__(
        self, owner: Pool, chunk: int, length: int, callback: Any, error_callback: Any
    ) -> None:
        self._chunk = chunk
        self._value: Any = [None] * length
        self._items = 0
        self._length = length
        super().__init__(owner, -(-length // chunk), callback, error_callback)
        if not length:
            self._over = True
            self._finish()

    def _store(self, i: int, good: bool, value: Any) -> None:
        start = i * self._chunk
        self._items += min(self._chunk, self._length - start)
        if not self._success:
            return  # the first error is the one that is told, when all are done
        if good:
            self._value[start : start + self._chunk] = value
        else:
            self._success, self._value = False, value

    def _settled(self) -> int:
        return self._items


class IMapIterator(pool.IMapIterator):
    """What imap gives: results in the order of the items."""

    _length: Any

    def __init__(
        self, owner: Pool, function: Any, iterable: Iterable[Any], chunk: int, most: int | None
    ) -> None:
        super().__init__(owner)
        self._books = owner._books
        self._off = False
        self._done = self._taken = self._sent = 0  # tasks
        self._piece: Any = iter(())  # the rest of a chunk
        self._chunk, self._most = chunk, most or 0
        if chunk > 1:
            iterable, function = owner._get_tasks(function, iterable, chunk), pool.mapstar
        self._function, self._source = function, iter(iterable)
        self._queue = owner._taskqueue
        self._feeding = threading.Lock()
        if not most:
            self._queue.put((self._tasks(), self._all_sent))
        else:
            self._feed()

    def _tasks(self) -> Generator[Any, None, None]:
        """For the pool's thread."""
        try:
            for item in self._source:
                if self._off:
                    return
                self._sent += 1
                yield self._job, self._sent - 1, self._function, (item,), {}
        except Exception as error:
            self._sent += 1
            self._set(self._sent - 1, (False, error))

    def _all_sent(self, _: int) -> None:
        with self._cond:
            self._length = self._sent if self._length is None else self._length
            self._end()

    def _feed(self) -> None:
        """Send what may be sent ahead of who takes the results; in his thread, so that no other call waits for him."""
        with self._feeding:
            while self._length is None and self._sent - self._taken < self._most:
                for task in self._tasks():
                    self._queue.put(([task], None))
                    break
                else:
                    self._all_sent(0)

    def cancel(self) -> bool:
        """Call it off: what has come can still be taken, then next() raises concurrent.futures.CancelledError once.

        False: all has come.
        """
        with self._cond, self._books.guard:
            if self._job not in self._cache:
                return False
            self._books.call_off(self._job)
            self._off = True
            self._unsorted.clear()
            self._items.append((False, CancelledError()))
            self._index += 1
            self._length = self._index
            self._end()
        return True

    def cancelled(self) -> bool:
        """Whether cancel() had success."""
        return self._off

    def next(self, timeout: float | None = None) -> Any:
        """The next result, waiting for it at most `timeout` seconds: multiprocessing.TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            for value in self._piece:
                return value
            with self._cond:
                while not self._items:
                    if self._index == self._length:
                        raise StopIteration
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        raise TimeoutError
                    self._cond.wait(left)
                good, value = self._items.popleft()
                self._taken += 1
            if self._most:
                self._feed()
            if not good:
                raise value
            if self._chunk == 1:
                return value
            self._piece = iter(value)

    __next__ = next

    def _set(self, i: int, result: tuple[bool, Any]) -> None:
        with self._cond:
            if self._off:
                return
            self._done += 1
            self._come(i, result)
            self._end()

    def _come(self, i: int, result: tuple[bool, Any]) -> None:
        self._unsorted[i] = result
        while self._index in self._unsorted:
            self._items.append(self._unsorted.pop(self._index))
            self._index += 1

    def _end(self) -> None:
        self._cond.notify_all()
        if self._index == self._length and self._job in self._cache:
            del self._cache[self._job]
            self._pool = None

    def _queued(self) -> int:
        sent = len(self._books.sent.get(self._job, ()))
        return max(self._sent - self._done - sent, 0) + self._books.waiting(self._job)


class IMapUnorderedIterator(IMapIterator, pool.IMapUnorderedIterator):
    """What imap_unordered gives: results in the order in which they come."""

    def _come(self, i: int, result: tuple[bool, Any]) -> None:
        self._items.append(result)
        self._index += 1


# ---- the pool


_STANDARD: Any = original(pool.Pool)  # install() puts another in its place


class Pool(_STANDARD, metaclass=ExactTwin):
    """`multiprocessing.pool.Pool` with the additions that can be made over it. Who subclasses it gets that one itself.

    A worker that dies takes its task with it, as ever: nobody is told. For `timeout=` and `retries=`, which need that,
    there is the native backend: NotImplementedError.

    worker_init() is called in each worker, after the initializer; what it returns is the first argument of the
    functions that are called with `with_state=True`.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        *,
        worker_init: Callable[[], Any] | None = None,
    ) -> None:
        if (
            type(self) is not Pool
        ):  # ThreadPool, while install() has put this class in the place of its base
            _STANDARD.__init__(self, processes, initializer, initargs, maxtasksperchild, context)
            return
        self._pool: list[Any] = []  # for __del__
        self._state = pool.INIT
        for name, value in (("initializer", initializer), ("worker_init", worker_init)):
            if value is not None and not callable(value):
                raise TypeError(f"{name} must be a callable")
        if processes is None:
            processes = usable_cpus()
        if worker_init is not None:
            initializer = _pool.Start(initializer, worker_init)
        self._has_state = worker_init is not None
        self._workers = max(processes, 1)
        super().__init__(processes, initializer, initargs, maxtasksperchild, context)
        self._books.jobs = self._cache

    def _setup_queues(self) -> None:
        self._books = _Books(_Board(self._ctx, self._workers), self._workers)
        self.Process = self._books.start
        self._inqueue = _Tasks(ctx=self._ctx)
        self._outqueue = _Results(ctx=self._ctx)
        self._quick_put = _Sender(self._books, self._inqueue._writer.send_bytes)
        self._quick_get = _Receiver(self._books, self._outqueue._reader.recv_bytes)

    def _function(
        self, function: Callable[..., Any], timeout: float | None, retries: int, with_state: bool
    ) -> Any:
        """What is called in the workers."""
        self._check_running()
        for name, value in (("timeout", timeout), ("retries", retries)):
            if value:
                raise NotImplementedError(
                    f"{name}= needs a pool that kills one worker and goes on (pool_{name} in "
                    "procfast.features), as the native backend's does"
                )
        if not with_state:
            return function
        if not self._has_state:
            raise ValueError("with_state=True needs a pool that was made with worker_init=")
        return _pool.WithState(function)

    def apply(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = {},
        *,
        timeout: float | None = None,
        retries: int = 0,
        with_state: bool = False,
    ) -> Any:
        """func(*args, **kwds) in a worker, waiting for it. The other arguments are those of apply_async."""
        return _value_of(
            self.apply_async(
                func, args, kwds, timeout=timeout, retries=retries, with_state=with_state
            )
        )

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = {},
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        timeout: float | None = None,
        retries: int = 0,
        with_state: bool = False,
    ) -> AsyncResult:
        """func(*args, **kwds) in a worker; an AsyncResult at once.

        callback(result) or error_callback(exception) is called in a thread of the pool before the result is ready.
        NotImplementedError for `timeout` and `retries`.
        """
        function = self._function(func, timeout, retries, with_state)
        result = AsyncResult(self, 1, callback, error_callback)
        self._taskqueue.put(([(result._job, 0, function, args, kwds)], None))
        return result

    def map(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        *,
        progress: Any = False,
        timeout: float | None = None,
        retries: int = 0,
        with_state: bool = False,
    ) -> list[Any]:
        """[func(x) for x in iterable], in the workers.

        chunksize: so many items make one task; None: so many that each worker gets four. progress: True for a bar of
        tqdm, or anything with update(n) and close().
        """
        function = self._function(func, timeout, retries, with_state)
        return self._map(function, iterable, pool.mapstar, chunksize, progress)

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        *,
        progress: Any = False,
        timeout: float | None = None,
        retries: int = 0,
        with_state: bool = False,
    ) -> list[Any]:
        """[func(*x) for x in iterable], in the workers. See `map`."""
        function = self._function(func, timeout, retries, with_state)
        return self._map(function, iterable, pool.starmapstar, chunksize, progress)

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        timeout: float | None = None,
        retries: int = 0,
        with_state: bool = False,
    ) -> MapResult:
        """As map; a MapResult at once."""
        function = self._function(func, timeout, retries, with_state)
        return self._map_async(
            function, iterable, pool.mapstar, chunksize, callback, error_callback
        )

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        timeout: float | None = None,
        retries: int = 0,
        with_state: bool = False,
    ) -> MapResult:
        """As starmap; a MapResult at once."""
        function = self._function(func, timeout, retries, with_state)
        return self._map_async(
            function, iterable, pool.starmapstar, chunksize, callback, error_callback
        )

    def imap(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        buffersize: int | None = None,
        progress: Any = False,
        timeout: float | None = None,
        retries: int = 0,
        with_state: bool = False,
    ) -> Any:
        """An iterator over func(x) for x in iterable, in order; its next(timeout) waits at most so many seconds.

        buffersize: at most so many tasks are ahead of whoever takes the results; the iterable is then read in his
        thread, else in one of the pool's. progress: as of map; the bar moves as results are taken.
        """
        function = self._function(func, timeout, retries, with_state)
        return self._imap(IMapIterator, function, iterable, chunksize, buffersize, progress)

    def imap_unordered(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        buffersize: int | None = None,
        progress: Any = False,
        timeout: float | None = None,
        retries: int = 0,
        with_state: bool = False,
    ) -> Any:
        """As imap, with the results in the order in which they come."""
        function = self._function(func, timeout, retries, with_state)
        return self._imap(
            IMapUnorderedIterator, function, iterable, chunksize, buffersize, progress
        )

    def _map(
        self, func: Any, iterable: Any, mapper: Any, chunksize: int | None, progress: Any
    ) -> list[Any]:
        if not progress:
            return _value_of(self._map_async(func, iterable, mapper, chunksize))
        iterable = list(iterable)
        bar = _pool.bar(progress, len(iterable))
        return _value_of(self._map_async(func, iterable, mapper, chunksize), bar)

    def _map_async(
        self,
        func: Any,
        iterable: Any,
        mapper: Any,
        chunksize: int | None = None,
        callback: Any = None,
        error_callback: Any = None,
    ) -> MapResult:
        iterable = list(iterable)
        length = len(iterable)
        if chunksize is None:
            chunksize = -(-length // (4 * self._processes))
        chunksize = max(chunksize, 1)
        result = MapResult(self, chunksize, length, callback, error_callback)
        tasks = self._get_tasks(func, iterable, chunksize)
        self._taskqueue.put(
            (((result._job, i, mapper, (task,), {}) for i, task in enumerate(tasks)), None)
        )
        return result

    def _imap(
        self,
        kind: Any,
        func: Any,
        iterable: Any,
        chunksize: int,
        buffersize: int | None,
        progress: Any,
    ) -> Any:
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize:n}")
        if buffersize is not None and buffersize < 1:
            raise ValueError(f"buffersize must be at least 1, not {buffersize}")
        bar = _pool.bar(progress, operator.length_hint(iterable) or None) if progress else None
        results = kind(self, func, iterable, chunksize, buffersize)
        return results if bar is None else _pool.Counted(results, bar)

    def stats(self) -> _pool.Stats:
        """Tasks done, failed and queued, and what each worker did."""
        books = self._books
        jobs = list(self._cache.values())
        rows, workers = books.board.workers, []
        for number, place in enumerate(books.places):
            process = place and place()
            tasks, busy, since = rows[number * ROW : (number + 1) * ROW]
            alive = process is not None and process.exitcode is None
            running = time.monotonic() - since if alive and since else 0.0
            workers.append(
                _pool.WorkerStats(process.pid if alive else None, int(tasks), busy, running)
            )
        with books.guard:
            queued = sum(job._queued() for job in jobs)
        replaced = max(books.started - self._processes, 0)
        return _pool.Stats(books.done, books.failed, queued, 0, replaced, workers)


def _value_of(result: AsyncResult, bar: Any = None) -> Any:
    """Of a call that nobody but this one waits for: interrupted, what has not begun of it is called off."""
    try:
        if bar is not None:
            _pool.watch(result, bar)
        return result.get()
    except BaseException:
        result.cancel()
        raise
