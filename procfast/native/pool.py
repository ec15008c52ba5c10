"""Pool: workers that take their tasks from one ring in shared memory and put results into another.

Every worker may be killed at any moment. Its own task fails with WorkerDied, or is tried again where that was
allowed; all others go on, and the worker is replaced. One thread of the owner, asleep while somebody waits for a
result, replaces workers and ends tasks that run too long (`_Keeper`); another one calls callbacks. Everything that
happens for each task is in `wrappers/pool.pxi`.
"""

from __future__ import annotations

import select
import signal
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping
from multiprocessing import pool, util
from typing import Any

from .. import _pool
from .._cpus import usable_cpus
from .._pool import Stats, WorkerStats, rebuild
from .._twin import Twin
from ..exceptions import PoolBroken, WorkerDied
from . import _native

__all__ = ["AsyncResult", "IMapIterator", "IMapUnorderedIterator", "MapResult", "Pool"]

MAP, IMAP, IMAP_UNORDERED = _native.KINDS
RUN, CLOSE, TERMINATE = pool.RUN, pool.CLOSE, pool.TERMINATE
LOOK = 1.0  # seconds that the pool's thread sleeps at most: somebody reads, though nobody asks
GRACE = 5.0  # seconds from SIGTERM to SIGKILL
TRIES = 8  # of workers that do not begin, one after the other
PAUSE = 5.0  # seconds at most, between tries, where another worker is at work


class AsyncResult(_native.PoolJob, pool.ApplyResult):
    """What apply_async gives: the result of one call, once it is there."""

    _event: Any

    def __init__(self) -> None:
        raise TypeError("made by apply_async")

    def __await__(self) -> Generator[Any, None, Any]:
        """The result, for asyncio. Cancelling the await leaves the call alone."""
        import asyncio

        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def there() -> None:
            if not future.done():
                future.set_result(None)

        def tell(job: Any) -> None:
            try:
                loop.call_soon_threadsafe(there)
            except RuntimeError:  # that loop is closed: nobody waits there any more
                util.debug("a result was awaited in a loop that is closed")

        if self._hook(tell):
            yield from future.__await__()
        while not self.ready():  # it is told a moment before
            yield from asyncio.sleep(0).__await__()
        return self.get(0)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._number}>"

    __class_getitem__: Any = classmethod(types.GenericAlias)


class MapResult(AsyncResult, pool.MapResult):
    """What map_async and starmap_async give: the list of the results, once all are there."""


class IMapIterator(_native.PoolIterator, pool.IMapIterator):
    """What imap gives: results in the order of the items."""

    def __init__(self) -> None:
        raise TypeError("made by imap")


class IMapUnorderedIterator(IMapIterator, pool.IMapUnorderedIterator):
    """What imap_unordered gives: results in the order in which they come."""


class _Death:
    """How a worker ended."""

    def __init__(self, pid: int | None, exitcode: int | None) -> None:
        self.pid, self.exitcode = pid, exitcode

    def how(self) -> str:
        code = self.exitcode
        if code is None:
            return "ended"
        if code >= 0:
            return f"exited with {code}"
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"


def _unopened(why: BaseException) -> BaseException:
    """The error of a task whose result can't be unpickled here."""
    error = pool.MaybeEncodingError(why, "")
    error.value = "it does not unpickle here"
    error.__cause__ = why
    return error


def _lost(number: int, index: int, death: _Death) -> WorkerDied:
    task = f"task {index} of call {number}"
    return WorkerDied(
        f"worker process {death.pid} {death.how()} while it had {task}; retries=n tries such a task again",
        death.pid,
        death.exitcode,
        task,
    )


def _call_hooks(job: Any) -> None:
    for hook in job._hooks():
        try:
            hook(job)
        except BaseException:
            args = (*sys.exc_info(), threading.current_thread())
            try:
                threading.excepthook(threading.ExceptHookArgs(args))
            except BaseException:  # the next one is to be called all the same
                sys.excepthook(*sys.exc_info())


class _Keeper:
    """Keeps the workers of a pool, in a thread. It does not know the pool, so that can be collected."""

    def __init__(
        self, ctx: Any, start: Callable[..., Any], workers: int, args: tuple[Any, ...]
    ) -> None:
        self.tasks, self.results = _native.Ring.create(), _native.Ring.create()
        self.share = _native.PoolShare.create(workers, self.tasks, self.results)
        self.core = _native.PoolCore(self.share, workers, rebuild, _unopened, _lost)
        self.core.call_hooks = _call_hooks
        self.ctx, self._start, self.workers, self._args = ctx, start, workers, args
        self.pool: list[Any] = []
        self.places: list[Any] = [None] * workers  # number -> Process; False: dead, and not buried
        self.state = RUN
        self.broken: PoolBroken | None = None
        self.replaced = 0
        self._failures = 0  # starts, since one had success
        self._pause = 0.0  # until then none is started
        self._unready: dict[int, WorkerDied] = {}  # those that ended before they had begun,
        self._reasons: dict[int, BaseException | None] = {}  # and what they said
        self._deadline = 0.0  # of SIGTERM
        self._stopping = False
        self.thread: threading.Thread | None = None
        self.caller: threading.Thread | None = None  # of callbacks

    # ---- processes

    def start_worker(self, number: int) -> None:
        from .pool_worker import Share, work

        self.core.reset(number)
        process = self._start(self.ctx, target=work, args=(Share(self.share), number, *self._args))
        process.name = process.name.replace("Process", "PoolWorker")
        process.daemon = True
        try:
            process.start()
            self.places[number] = process
            self.pool.append(process)
        except BaseException:
            # interrupted; a context's own kind of process may have no pid
            if getattr(process, "pid", None) is not None:
                process.kill()
                process.join()
            raise
        util.debug("added worker")

    def begin(self) -> None:
        """The first workers, and the thread. Where one can't be started nothing is left."""
        try:
            for number in range(self.workers):
                self.start_worker(number)
            thread = threading.Thread(target=self.run, name="procfast-pool", daemon=True)
            thread.start()
            self.thread = thread
        except BaseException:
            self.state = TERMINATE
            for process in self.pool:  # a context's own kind of process may have no kill()
                getattr(process, "kill", process.terminate)()
            for process in self.pool:
                process.join()
            raise

    def _reap(self) -> None:
        for number, process in enumerate(self.places):
            if process and process.exitcode is not None:
                util.debug(f"cleaning up worker {number}")
                process.join()  # it is among the active children, and its descriptor open, until somebody does
                death = _Death(process.pid, process.exitcode)
                if not self.core.has_ready(number):
                    self._unready[number] = WorkerDied(
                        f"worker process {death.pid} {death.how()} before it had begun",
                        death.pid,
                        death.exitcode,
                    )
                self.core.died(number, death)
                self.places[number] = False
                if process in self.pool:
                    self.pool.remove(process)

    def _replace(self) -> None:
        if self._stopping or self.broken is not None or time.monotonic() < self._pause:
            return
        for number, process in enumerate(self.places):
            if process is None:
                try:
                    self.start_worker(number)
                except Exception as error:  # there is no process, or no descriptor, to be had
                    self._failed(error, patient=True)
                    return
                self.replaced += 1

    def _failed(self, why: BaseException, patient: bool = False) -> None:
        """A worker that did not begin. Where no other has, the pool is broken after some tries; else there is time, and
        where it could not even be started, since what is not to be had now may soon be."""
        self._failures += 1
        self._pause = time.monotonic() + min(0.01 * 2**self._failures, PAUSE)
        if any(p and self.core.has_ready(number) for number, p in enumerate(self.places)):
            return
        if not patient:
            self._pause = 0.0
        if self._failures >= max(self.workers + 2, TRIES):
            self._break(
                f"{self._failures} workers in a row ended before they had begun: {why!r}", why
            )

    def _break(self, message: str, why: BaseException) -> None:
        self.broken = PoolBroken(message)
        told = PoolBroken(
            message
        )  # another one: it gets to know the frames, and pools, of those that it is told
        self.broken.__cause__ = told.__cause__ = why
        self.core.fail_all(told)

    def _hear(self) -> None:
        """What workers said of their start."""
        news = self.core.news
        while news:
            number, report = news.pop(0)
            if report is None:
                self._failures, self._pause = 0, 0.0
            else:
                self._reasons[number] = self.core.error_of(report)

    def _bury(self) -> None:
        """Of those whose last words have been read."""
        buried = self.core.buried
        while buried:
            number = buried.pop(0)
            self.places[number] = None
            death = self._unready.pop(number, None)
            reason = self._reasons.pop(number, None)
            if death is not None and not self._stopping and self.broken is None:
                self._failed(reason or death)

    # ---- the thread

    def run(self) -> None:
        core = self.core
        caller = threading.Thread(target=self._call, name="procfast-callbacks", daemon=True)
        try:
            caller.start()
            while not self._over():
                core.arm()
                self._sleep()
                core.quiet()
                self._reap()
                core.serve()
                self._hear()
                self._bury()
                core.expired()
                for number in core.condemned():
                    if self.places[number]:
                        self.places[number].kill()
                if self.state != TERMINATE:
                    self._replace()
        except BaseException as error:
            self._break(f"the thread that keeps the pool has failed: {error!r}", error)
            raise
        finally:
            core.callbacks.put(None)
            if caller.is_alive():  # with the last one who knows them the descriptors are closed
                caller.join()
            core.jobs.clear()  # of a broken pool, what will never be done
            util.debug("worker handler exiting")

    def _sleep(self) -> None:
        poll = select.poll()
        poll.register(self.core.bell(), select.POLLIN)
        for process in self.pool:
            poll.register(process.sentinel, select.POLLIN)
        timeout = min(self.core.expired() or LOOK, LOOK)
        if self.core.dead or None in self.places:
            timeout = min(timeout, 0.05)
        if self._deadline:
            timeout = min(timeout, max(self._deadline - time.monotonic(), 0.0))
        if self.core.doomed or self.core.buried:
            timeout = 0.0
        poll.poll(timeout * 1000 + 1)

    def _call(self) -> None:
        """The thread of callbacks, which may take long, and wait for other calls."""
        self.caller = threading.current_thread()
        while (job := self.core.callbacks.get()) is not None:
            _call_hooks(job)
            self.core.concluded(job)
            del job

    def _over(self) -> bool:
        """Ends what is to end; true when all has."""
        if self.state == RUN:
            return False
        self.core.serving = True
        if self.state == TERMINATE:
            if not self._deadline:
                self._stopping = True
                self.core.stop(2)
                self.core.fail_all(_terminated())
                for process in self.pool:
                    process.terminate()
                self._deadline = time.monotonic() + GRACE
            elif time.monotonic() > self._deadline:
                for process in self.pool:
                    process.kill()
        elif self._stopping or self.core.calling:
            pass
        elif self.broken is not None:  # what is left of its calls nobody will do
            self._stopping = True
            self.core.stop(2)
        elif not self.core.jobs:
            self._stopping = True
            self.core.stop(1)
        return self._stopping and not any(self.places) and not self.core.calling

    # ---- from other threads

    def close(self) -> None:
        if self.state == RUN:
            self.state = CLOSE
            self.core.ring()

    def terminate(self) -> None:
        util.debug("finalizing pool")
        self.state = TERMINATE
        self.core.ring()
        self.join()
        if self.broken is not None:  # by a failure of the thread itself, perhaps
            for process in self.pool:
                process.kill()
                process.join()

    def join(self) -> None:
        if self.thread is not None and threading.current_thread() not in (self.thread, self.caller):
            self.thread.join()

    def stats(self) -> Stats:
        workers = []
        for number, process in enumerate(self.places):
            _, running, busy, done = self.core.glance(number)
            workers.append(WorkerStats(process.pid if process else None, done, busy, running))
        core = self.core
        return Stats(core.done, core.failed, core.backlog(), core.unread(), self.replaced, workers)


def _terminated() -> Exception:
    return PoolBroken("the pool was terminated before this call had ended")


_PLAIN = (0.0, 0, False)


def _hooks(callback: Any, error_callback: Any) -> list[Callable[[Any], object]] | None:
    """The two callbacks of the standard library as one of ours."""
    if callback is None and error_callback is None:
        return None

    def call(job: Any) -> None:
        try:
            value = job._open()
        except BaseException as error:
            if error_callback is not None:
                error_callback(error)
        else:
            if callback is not None:
                callback(value)

    return [call]


_STANDARD = pool.Pool  # install() puts ours in its place
_HOOKS = frozenset(
    name for name in vars(_STANDARD) if name.startswith("_") and not name.startswith("__")
) - {"_wrap_exception", "_check_running", "_map_async"} | {"Process"}  # fmt: skip


class _Hookable(Twin):
    """Who overrides a hook of the standard class is a subclass of that alone, where hooks are called."""

    native: type | None = None

    def mro(cls) -> list[type]:
        line = super().mro()
        if cls.native in line:
            above = line[: line.index(cls.native)]
            if any(not _HOOKS.isdisjoint(vars(c)) for c in above):
                line.remove(cls.native)
        return line


class Pool(pool.Pool, metaclass=_Hookable):
    """Processes that call functions for this one.

    processes: how many; None: `procfast.usable_cpus()`. initializer(*initargs) is called in each,
    then worker_init(), whose value is the first argument of what is called with with_state=True.
    maxtasksperchild: a worker that has done so many tasks is replaced.

    Any worker may be killed at any moment: `procfast.exceptions.WorkerDied` is the error of the task it had, and of no
    other; the worker is replaced. An initializer that always fails makes the pool raise PoolBroken.
    Usable by many threads. After terminate() calls that had not ended raise PoolBroken.
    """

    _keeper: _Keeper | None = None

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        *,
        worker_init: Callable[[], object] | None = None,
    ) -> None:
        if (
            Pool not in type(self).__mro__
        ):  # ThreadPool, say, while install() has put this class in that one's place
            _STANDARD.__init__(self, processes, initializer, initargs, maxtasksperchild, context)
            return
        self._pool: list[Any] = []
        self._state = pool.INIT
        if context is None:
            from .context import default_context

            context = default_context.get_context()
        self._ctx = context
        if processes is None:
            processes = usable_cpus()
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None and (
            not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0
        ):
            raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if worker_init is not None and not callable(worker_init):
            raise TypeError("worker_init must be a callable")
        self._processes = processes
        self._initializer, self._initargs = initializer, initargs
        self._maxtasksperchild = maxtasksperchild
        self._has_state = worker_init is not None
        keeper = _Keeper(
            context, self.Process, processes, (initializer, initargs, maxtasksperchild, worker_init)
        )
        self._keeper, self._core = keeper, keeper.core
        self._pool, self._cache = keeper.pool, keeper.core.jobs
        self._terminate = util.Finalize(self, keeper.terminate, exitpriority=15)
        keeper.begin()
        self._worker_handler = keeper.thread
        self._state = RUN

    def __del__(self, _warn: Any = warnings.warn, RUN: str = RUN) -> None:
        if self._state == RUN:
            _warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self)

    def _check_running(self) -> None:
        if self._state != RUN:
            raise ValueError("Pool not running")
        keeper = self._keeper
        if keeper is not None and keeper.broken is not None:
            raise PoolBroken(str(keeper.broken)) from keeper.broken.__cause__

    def _repopulate_pool(self) -> None:
        """Workers are replaced as they end: this only makes sure that it happens now."""
        self._core.ring()

    def _options(
        self, timeout: float | None = None, retries: int = 0, with_state: bool = False
    ) -> tuple[float, int, bool]:
        """Those of a call, checked."""
        if timeout is not None and not timeout > 0:
            raise ValueError(
                f"timeout must be a positive number of seconds or None, not {timeout!r}"
            )
        if not isinstance(retries, int) or retries < 0:
            raise ValueError(f"retries must be a number of times, 0 or more, not {retries!r}")
        if with_state and not self._has_state:
            raise ValueError("with_state=True needs a pool that was made with worker_init=")
        return timeout or 0.0, min(retries, 2**30), bool(with_state)

    # ---- calls

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
        """func(*args, **kwds) in a worker, waiting for it. The options are apply_async's."""
        self._check_running()
        options = _PLAIN
        if timeout is not None or retries or with_state:
            options = self._options(timeout, retries, with_state)
        return self._value_of(self._core.apply(self, AsyncResult, func, args, kwds, None, *options))

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

        What can't be pickled raises here. callback(result) or error_callback(exception) is called in a thread of
        the pool before the result is ready. It may take long; later callbacks wait for it, nothing else does.
        timeout: seconds that it may run (not: wait). Then its worker is killed, and it has failed with
        multiprocessing.TimeoutError.
        retries: how often it is called again where its worker died.
        with_state: func gets the value of worker_init as its first argument.
        """
        self._check_running()
        options = _PLAIN
        if timeout is not None or retries or with_state:
            options = self._options(timeout, retries, with_state)
        hooks = None
        if callback is not None or error_callback is not None:
            hooks = _hooks(callback, error_callback)
        return self._core.apply(self, AsyncResult, func, args, kwds, hooks, *options)

    def map(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        *,
        progress: Any = False,
        **options: Any,
    ) -> list[Any]:
        """[func(x) for x in iterable], in the workers.

        chunksize: so many items make one task; None: as many as take some milliseconds, as measured.
        progress: True shows a bar (tqdm), or any object with update(n) and close(). Other options are apply_async's,
        for each task.
        """
        return self._map(func, iterable, False, chunksize, progress, options)

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        *,
        progress: Any = False,
        **options: Any,
    ) -> list[Any]:
        """[func(*x) for x in iterable], in the workers. See `map`."""
        return self._map(func, iterable, True, chunksize, progress, options)

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        **options: Any,
    ) -> MapResult:
        """As map; a MapResult at once. Arguments that can't be pickled raise here or from its get()."""
        return self._start_map(
            func, iterable, False, chunksize, _hooks(callback, error_callback), options
        )

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        **options: Any,
    ) -> MapResult:
        """As starmap; a MapResult at once."""
        return self._start_map(
            func, iterable, True, chunksize, _hooks(callback, error_callback), options
        )

    def imap(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        buffersize: int | None = None,
        progress: Any = False,
        **options: Any,
    ) -> Any:
        """An iterator over func(x) for x in iterable, in order; its next(timeout) waits at most so many seconds.

        Items are taken from the iterable in a thread, at most some thousand tasks ahead of the workers. buffersize: at
        most so many tasks ahead of whoever takes the results. progress: as of map; the bar moves as results are taken.
        Other options are apply_async's, for each task.
        """
        return self._imap(
            IMapIterator, IMAP, func, iterable, chunksize, buffersize, progress, options
        )

    def imap_unordered(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        buffersize: int | None = None,
        progress: Any = False,
        **options: Any,
    ) -> Any:
        """As imap, with the results in the order in which they come."""
        cls = IMapUnorderedIterator
        return self._imap(
            cls, IMAP_UNORDERED, func, iterable, chunksize, buffersize, progress, options
        )

    def _start_map(
        self,
        func: Any,
        iterable: Any,
        star: bool,
        chunksize: int | None,
        hooks: Any,
        options: dict[str, Any],
    ) -> Any:
        self._check_running()
        if type(iterable) not in (tuple, range):
            iterable = list(iterable)  # the caller may change his
        size = 0 if chunksize is None else max(chunksize, 1)
        return self._core.start(
            self,
            MapResult,
            func,
            iterable,
            True,
            star,
            MAP,
            size,
            0,
            hooks,
            *self._options(**options),
        )

    def _map(
        self,
        func: Any,
        iterable: Any,
        star: bool,
        chunksize: int | None,
        progress: Any,
        options: dict[str, Any],
    ) -> Any:
        if progress:  # what can't be shown fails before anything is done
            iterable = list(iterable)
            progress = _pool.bar(progress, len(iterable))
        job = self._start_map(func, iterable, star, chunksize, None, options)
        return self._value_of(job, progress)

    def _imap(
        self,
        cls: type,
        kind: int,
        func: Any,
        iterable: Any,
        chunksize: int,
        buffersize: int | None,
        progress: Any,
        options: dict[str, Any],
    ) -> Any:
        self._check_running()
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize:n}")
        if buffersize is not None and buffersize < 1:
            raise ValueError(f"buffersize must be at least 1, not {buffersize}")
        listed = type(iterable) in (list, tuple, range)
        total = len(iterable) if hasattr(iterable, "__len__") else None
        if type(iterable) is list:
            iterable = iterable.copy()
        elif not listed:
            iterable = iter(iterable)
        window = buffersize or 0
        bar = _pool.bar(progress, total) if progress else None
        job = self._core.start(
            self,
            cls,
            func,
            iterable,
            listed,
            False,
            kind,
            chunksize,
            window,
            None,
            *self._options(**options),
        )
        return job if bar is None else _pool.Counted(job, bar)

    @staticmethod
    def _value_of(job: Any, progress: Any = False) -> Any:
        """Of a call that nobody but this one waits for: interrupted, what has not begun of it is called off."""
        try:
            if progress:
                _pool.watch(job, progress)
            return job.get()
        except BaseException:
            job._abandon()
            raise

    # ---- its life

    def stats(self) -> Stats:
        """Tasks done, failed and queued, and what each worker did."""
        assert self._keeper is not None
        return self._keeper.stats()

    def close(self) -> None:
        """No more calls; those made go on to their end."""
        util.debug("closing pool")
        if self._state == RUN:
            self._state = CLOSE
            assert self._keeper is not None
            self._keeper.close()

    def terminate(self) -> None:
        """Ends the workers now: by SIGTERM, after some seconds by SIGKILL. Calls that had not ended get PoolBroken."""
        util.debug("terminating pool")
        self._state = TERMINATE
        self._terminate()

    def join(self) -> None:
        """Waits until all workers have ended, after close() or terminate()."""
        util.debug("joining pool")
        if self._state == RUN:
            raise ValueError("Pool is still running")
        if self._state not in (CLOSE, TERMINATE):
            raise ValueError("In unknown state")
        assert self._keeper is not None
        self._keeper.join()


_Hookable.native = Pool
