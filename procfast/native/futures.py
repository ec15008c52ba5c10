"""ProcessPoolExecutor on the machine of the native Pool (`pool.py`): a Future is a call of it.

Nobody but the thread of callbacks tells of the end of a Future that has some, or that somebody waits for with others;
of all others whoever waits for results reads them.
"""

from __future__ import annotations

import os
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import _base
from concurrent.futures.process import BrokenProcessPool, _RemoteTraceback
from functools import partial
from multiprocessing import util
from multiprocessing.pool import MaybeEncodingError
from typing import Any

from .. import _futures, _pool
from .._cpus import usable_cpus
from .._pool import Report
from ..exceptions import WorkerDied
from . import pool
from ._native import PoolFuture, PoolSubmitter
from .futures_worker import Alive, work
from .pool_worker import Share

__all__ = ["BrokenProcessPool", "Future", "ProcessPoolExecutor"]


class Future(PoolFuture, _base.Future):
    """A call that was submitted: a `concurrent.futures.Future`."""

    def __init__(self) -> None:
        raise TypeError("made by submit")

    done = PoolFuture._is_done

    def cancel(self) -> bool:
        """Call it off, if no worker has begun with it: whether it is."""
        if self._forestall():
            self._tell()
            self._told()
        return self.cancelled()

    def add_done_callback(self, fn: Callable[[_base.Future[Any]], object]) -> None:
        """fn(self) is called when it has ended or was cancelled, by a thread of the executor; at once if it has."""
        if not self._later(fn):
            try:
                fn(self)
            except Exception:
                _base.LOGGER.exception("exception calling callback for %r", self)

    def __setattr__(self, name: str, value: object) -> None:
        self._track()
        super().__setattr__(name, value)

    def _hooks(self) -> tuple[Callable[[Future], None]]:
        return (Future._tell,)

    def _tell(self) -> None:
        """It has ended, and those who asked for it are told."""
        if not self._end_unseen():
            failed = not self.cancelled() and bool(self._waiters) and self._failed() is not None
            with self._condition:
                self._end()
                for waiter in self._waiters:
                    if self.cancelled():
                        waiter.add_cancelled(self)
                    elif failed:
                        waiter.add_exception(self)
                    else:
                        waiter.add_result(self)
                self._condition.notify_all()
        self._invoke_callbacks()

    def __repr__(self) -> str:
        state = _base._STATE_TO_DESCRIPTION_MAP[self._state]
        if self._state == _base.FINISHED:
            error = self._exception
            what = error if error is not None else self._result
            state += f" {'returned' if error is None else 'raised'} {type(what).__name__}"
        return f"<{type(self).__name__} at {id(self):#x} state={state}>"

    __class_getitem__: Any = classmethod(types.GenericAlias)


class _Fate:
    """Why an executor takes no more calls. Known to its errors, which must not know more of it."""

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.broken: BrokenProcessPool | None = None

    def breaks(self, why: str, cause: BaseException | None = None) -> BrokenProcessPool:
        """It is broken: by this, or by what came before."""
        if self.broken is None:
            self.broken = BrokenProcessPool(why)
            self.broken.__cause__ = cause
        return self.broken


def _rebuild(fate: _Fate, report: Report) -> BaseException:
    """The exception of a report, with the remote traceback as its cause."""
    error = _pool.rebuild(report)
    if fate.strict and isinstance(error, MaybeEncodingError):
        return fate.breaks(f"an exception does not unpickle here: {report[1]}", error)
    error.__cause__ = _RemoteTraceback(f'\n"""\n{report[2]}"""')  # type: ignore[arg-type]  # it takes a text
    return error


def _unopened(fate: _Fate, why: BaseException) -> BaseException:
    if fate.strict:
        return fate.breaks(f"a result does not unpickle here: {why!r}", why)
    return pool._unopened(why)


def _lost(fate: _Fate, job: Any, index: int, death: Any) -> BaseException:
    error = _died(death, "had this call")
    return fate.breaks(_ABRUPTLY, error) if fate.strict else error


def _died(death: Any, when: str) -> WorkerDied:
    return WorkerDied(
        f"worker process {death.pid} {death.how()} while it {when}", death.pid, death.exitcode
    )


_ABRUPTLY = (
    "A process in the process pool was terminated abruptly while the future was running or pending."
)


class _Keeper(pool._Keeper):
    """Keeps the workers of an executor. More are started as they are needed, but all at once by fork."""

    def __init__(self, ctx: Any, workers: int, strict: bool, args: tuple[Any, ...]) -> None:
        super().__init__(ctx, ctx.Process, workers, (*args, strict))
        self.fate = fate = _Fate(strict)
        self.core.rebuild = partial(_rebuild, fate)
        self.core.unopened = partial(_unopened, fate)
        self.core.death = partial(_lost, fate)
        self.places = []
        self.owner = os.getpid()

    def start_worker(self, number: int) -> None:
        self.core.reset(number)
        alive = Alive()
        try:
            process = self._start(target=work, args=(Share(self.share), number, alive, *self._args))
            process.start()
        finally:
            os.close(alive.fd)
        self.places[number : number + 1] = [process]
        self.pool.append(process)
        util.debug("added worker")

    def begin(self) -> None:
        """Runs its thread."""
        self.thread = threading.Thread(target=self.run, name="procfast-executor", daemon=True)
        _keepers.add(self)
        try:
            self.thread.start()
        except BaseException:
            _keepers.discard(self)
            self.thread = None
            for process in self.pool:  # nobody would watch them
                process.kill()
                process.join()
            self.pool.clear()
            self.places.clear()
            raise

    def run(self) -> None:
        try:
            super().run()
        finally:
            _keepers.discard(self)

    def _reap(self) -> None:
        if self.fate.strict and self.state == pool.RUN:
            for number, process in enumerate(self.places):
                code = process.exitcode if process and self.core.has_ready(number) else None
                if code or (code == 0 and self.core.glance(number)[0]):
                    death = _died(pool._Death(process.pid, process.exitcode), "was needed")
                    self.fate.breaks(_ABRUPTLY, death)  # told when all results are read
        super()._reap()

    def _failed(self, why: BaseException, patient: bool = False) -> None:
        if self.fate.strict:
            self._break(f"a worker ended before it had begun: {why!r}", why)
        else:
            super()._failed(why, patient)

    def _break(self, message: str, why: BaseException | None) -> None:
        self.core.closed = True
        broken = self.fate.breaks(message, why)
        self.broken = broken  # type: ignore[assignment]  # a pool's is a PoolBroken
        self.core.fail_all(broken)
        self.state = pool.TERMINATE

    def _bury(self) -> None:
        super()._bury()
        if self.fate.broken is not None and self.broken is None and not self.core.dead:
            self._break("", None)

    def close(self) -> None:
        if self.owner == os.getpid():
            self.core.closed = True
            super().close()


_keepers: set[_Keeper] = set()  # whose threads run
_exiting = False


def _at_exit() -> None:
    """What was submitted is done to the end, as by the standard library's."""
    global _exiting
    _exiting = True
    keepers = list(_keepers)
    for keeper in keepers:
        keeper.close()
    for keeper in keepers:
        keeper.join()


threading._register_atexit(_at_exit)


def _after_fork() -> None:
    """In a child: these are its parent's."""
    for keeper in _keepers:
        keeper.core.jobs.clear()
    _keepers.clear()


os.register_at_fork(after_in_child=_after_fork)


class ProcessPoolExecutor(PoolSubmitter, _base.Executor):
    """`concurrent.futures.ProcessPoolExecutor` on rings in shared memory.

    max_workers: how many processes; None: `procfast.usable_cpus()`. mp_context: a context; None: the
    default one. initializer(*initargs) is called in each process. max_tasks_per_child: a process that has done so many
    calls is replaced; not with fork.
    strict: False or None: a process that dies fails its own call with `procfast.exceptions.WorkerDied`, is replaced,
    and everything else goes on. True: it breaks the executor, as the standard library's.

    Arguments are pickled by submit, not later. Usable by many threads, but not by a forked child.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        strict: bool | None = None,
    ) -> None:
        if max_workers is None:
            max_workers = usable_cpus()
        elif max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if mp_context is None:
            from .context import default_context

            mp_context = default_context.get_context(
                None if max_tasks_per_child is None else "spawn"
            )
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        method = mp_context.get_start_method(allow_none=False)
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                raise TypeError("max_tasks_per_child must be an integer")
            if max_tasks_per_child <= 0:
                raise ValueError("max_tasks_per_child must be >= 1")
            if method == "fork":
                raise ValueError(
                    "max_tasks_per_child is incompatible with the 'fork' multiprocessing start method;"
                    " supply a different mp_context."
                )
        self._max_workers, self._mp_context = max_workers, mp_context
        self._all_at_once = method == "fork"
        self._shutdown = False
        self._lock = threading.Lock()  # of the start of workers, and of shutdown
        args = initializer, initargs, max_tasks_per_child
        keeper = _Keeper(mp_context, max_workers, bool(strict), args)
        self._keeper: _Keeper | None = keeper
        self._fate = keeper.fate
        self._use(keeper.core, Future)

    def _prepare(self) -> None:
        """Raises where no call is taken any more; else workers are there for one more."""
        with self._lock:
            keeper, broken = self._keeper, self._fate.broken
            if broken is not None:
                raise BrokenProcessPool(str(broken)) from broken.__cause__
            if self._shutdown or keeper is None:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if _exiting:
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            wanted = self._max_workers
            if not self._all_at_once:
                wanted = min(wanted, len(keeper.core.jobs) + 1)
            while len(keeper.places) < wanted:
                keeper.start_worker(len(keeper.places))
                keeper.core.ring()  # it is to be watched
            if keeper.thread is None:
                keeper.begin()
            if len(keeper.places) == self._max_workers:
                self._is_ready()

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """An iterator over fn(*args) for args in zip(*iterables), in order.

        timeout: seconds from now, after which it raises TimeoutError. chunksize: so many items make one call.
        buffersize: at most so many calls ahead of whoever takes the results; None: all are submitted now.
        """
        _futures.check_sizes(chunksize, buffersize)
        if chunksize == 1:
            calls = zip(*iterables, strict=False)
            return _futures.results(self, partial(_submit, fn), calls, timeout, buffersize)
        batches = _futures.batches(iterables, chunksize)
        lists = _futures.results(self, partial(_submit_each, fn), batches, timeout, buffersize)
        return _futures.flat(lists)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """No more calls. wait: return when all calls have ended, and the processes. cancel_futures: those that have not
        begun are cancelled."""
        with self._lock:
            self._shutdown = True
            keeper = self._keeper
            if keeper is None:
                return
            keeper.close()
        if keeper.owner != os.getpid():
            return
        if cancel_futures:
            keeper.core.look()
            spared = (
                self._max_workers + 1 if keeper.fate.strict else 0
            )  # they count as running there
            for future in list(keeper.core.jobs.values())[spared:]:
                future.cancel()
        if wait:
            keeper.join()
            if keeper not in _keepers:  # all has ended: its descriptors are closed
                self._keeper = None
                self._use(None, Future)

    def __del__(self) -> None:
        keeper: _Keeper | None = getattr(self, "_keeper", None)
        # At the end of the interpreter it has been closed, and modules may be empty.
        if keeper is not None and keeper.thread is not None and not keeper.core.closed:
            keeper.close()

    # ---- what people look at

    @property
    def _processes(self) -> dict[int | None, Any]:
        keeper = self._keeper
        return {} if keeper is None else {process.pid: process for process in list(keeper.pool)}

    @property
    def _broken(self) -> str | bool:
        broken = self._fate.broken
        return False if broken is None else str(broken)

    @property
    def _executor_manager_thread(self) -> threading.Thread | None:
        return None if self._keeper is None else self._keeper.thread


def _submit(fn: Any, executor: ProcessPoolExecutor, args: tuple[Any, ...]) -> Any:
    return executor.submit(fn, *args)


def _submit_each(fn: Any, executor: ProcessPoolExecutor, calls: tuple[Any, ...]) -> Any:
    return executor._submit_each(fn, calls)
