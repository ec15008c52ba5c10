"""What only the native pool promises, or can be asked about."""

import asyncio
import concurrent.futures
import errno
import functools
import gc
import itertools
import multiprocessing.pool
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
import types
import weakref

import numpy
import pool_tasks
import pool_workers
import pytest
import supervisor

import procfast
from procfast import futures
from procfast.exceptions import PoolBroken, WorkerDied
from procfast.native import pool as native_pool
from procfast.native.futures import ProcessPoolExecutor

WITHIN = 10.0


@pytest.fixture
def native():
    return procfast.get_context("fork", backend="native")


def wait_until(condition) -> None:
    end = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


# ---- calls


def test_function_is_pickled_once_for_a_call(native):
    pool_workers.CountsPickles.pickled = 0
    with native.Pool(2) as pool:
        assert pool.map(pool_workers.CountsPickles(), range(500), 1) == list(range(500))
        assert pool_workers.CountsPickles.pickled == 1
        assert list(pool.imap(pool_workers.CountsPickles(), iter(range(50)))) == list(range(50))
        assert pool_workers.CountsPickles.pickled == 2


def test_function_with_a_state_is_new_for_each_call(native):
    """As with multiprocessing: what a call does to its function is not seen by another call."""
    with native.Pool(1) as pool:
        counter = pool_workers.Remembers()
        assert [pool.apply(counter) for _ in range(3)] == [1, 1, 1]
        assert pool.map(counter, range(3), 1) == [1, 2, 3]
        assert pool.map(counter, range(3), 1) == [1, 2, 3]


def test_function_with_much_to_it_is_let_go(native):
    with native.Pool(1) as pool:
        for _ in range(3):
            function = functools.partial(pool_workers.add, pool_workers.Counted(1))
            assert pool.map(function, [2]) == [3]
            assert pool.apply(pool_workers.Counted.count) == 0


def test_task_that_forks_and_returns_twice(native):
    """One of the two processes is the worker, the other one ends."""
    with native.Pool(2) as pool:
        workers = {process.pid for process in pool._pool}
        assert set(pool.map(pool_tasks.fork_and_return, range(8), 1)) <= workers
        pool.close()
        pool.join()


def test_interrupt_in_the_pickling_of_an_error(native):
    with native.Pool(1) as pool:
        with pytest.raises(KeyboardInterrupt, match="of its pickling"):
            pool.apply(pool_tasks.fail_and_interrupt)
        assert pool.apply(pool_workers.square, (3,)) == 9


def test_large_function(native):
    """One that does not fit a message comes through as well."""
    big = numpy.arange(300_000)
    with native.Pool(2) as pool:
        got = pool.map(functools.partial(pool_workers.add, big), [0] * 20, 1)
        assert all((x == big).all() for x in got)


def test_unpicklable_arguments_raise_at_the_call(native):
    with native.Pool(2) as pool:
        for call in (
            lambda: pool.apply_async(pool_workers.identity, (lambda: 1,)),
            lambda: pool.map_async(pool_workers.identity, [1, lambda: 1], 1),
            lambda: pool.map_async(pool_workers.identity, [1, lambda: 1]),
            lambda: pool.imap(pool_workers.identity, [lambda: 1]),
            lambda: pool.apply_async(lambda: 1),
        ):
            with pytest.raises(
                (AttributeError, TypeError, Exception), match=r"pickle|local object"
            ):
                call()
        assert pool.map(pool_workers.square, range(5)) == [0, 1, 4, 9, 16]
        wait_until(lambda: not pool._cache)


def test_buffers_out_of_band(native):
    """Big arrays come back without a copy: on shared memory that is the owner's, and writable."""
    arrays = [numpy.full(1 << 18, i, "u4") for i in range(4)]
    with native.Pool(2) as pool:
        got = pool.map(pool_workers.identity, arrays, 1)
        for i, array in enumerate(got):
            assert (array == i).all()
            assert not array.flags.owndata
            array[0] = 77
    assert [int(array[0]) for array in got] == [77] * 4  # they outlive the pool


def test_automatic_chunks_follow_the_time_that_items_take(native):
    """Many quick items go in few tasks, slow ones one by one."""
    with native.Pool(2) as pool:
        before = pool.stats().done
        assert pool.map(pool_workers.square, range(50_000)) == [x * x for x in range(50_000)]
        quick = pool.stats().done - before
        assert quick < 500
        pool.map(pool_workers.sleep, [0.01] * 40)
        assert pool.stats().done - before - quick >= 20


def test_bounded_imap_reads_no_further(native):
    taken = []

    def source():
        for i in range(1000):
            taken.append(i)
            yield i

    with native.Pool(2) as pool:
        it = pool.imap(pool_workers.square, source(), buffersize=5)
        wait_until(lambda: len(taken) >= 5)
        time.sleep(0.05)
        assert len(taken) <= 6
        assert [next(it) for _ in range(20)] == [i * i for i in range(20)]
        time.sleep(0.05)
        assert len(taken) <= 26
        it.cancel()


def test_unbounded_imap_runs_without_being_asked(native, tmp_path):
    """close() and join() see it through, as with multiprocessing."""
    path = str(tmp_path / "ran")
    pool = native.Pool(2)
    tasks = functools.partial(pool_workers.note, path)
    pool.imap_unordered(tasks, (i for i in range(300)))
    pool.imap(tasks, range(300, 9000))
    pool.close()
    pool.join()
    assert os.path.getsize(path) == 8 * 9000


def test_nothing_of_an_argument_stays(native):
    with native.Pool(1) as pool:
        thing = pool_workers.Thing([1])
        gone = weakref.ref(thing)
        pool.map(len, [thing] * 3)
        pool.apply(len, (thing,))
        list(pool.imap(len, [thing]))
        del thing
        gc.collect()
        assert gone() is None


# ---- waiting


@pytest.mark.parametrize("call", ["apply", "map", "imap"])
def test_interrupt_ends_a_wait_at_once(native, call):
    with native.Pool(2) as pool:
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            if call == "apply":
                pool.apply(pool_workers.sleep, (60,))
            elif call == "map":
                pool.map(pool_workers.sleep, [60] * 10, 1)
            else:
                next(pool.imap(pool_workers.sleep, [60] * 10))
        assert time.monotonic() - began < WITHIN
        timer.join()


PROGRAM = """
import os, sys, procfast, pool_workers
if __name__ == "__main__":
    with procfast.get_context("fork", backend="native").Pool(2) as pool:
        print(os.getpid(), *(process.pid for process in pool._pool), flush=True)
        pool.map(pool_workers.sleep, [60] * 10, 1)
"""


def test_ctrl_c(tmp_path):
    """It goes to all processes of the terminal: the program ends at once, with one traceback, and leaves no worker."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    program = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
        start_new_session=True,
    )  # fmt: skip
    pids = [int(pid) for pid in program.stdout.readline().split()]
    time.sleep(0.1)
    os.killpg(program.pid, signal.SIGINT)
    _, errors = program.communicate(timeout=WITHIN)
    assert program.returncode == -signal.SIGINT
    assert errors.count("Traceback") == 1, errors
    table = supervisor.processes()
    assert not [pid for pid in pids if pid in table and table[pid].state != "Z"]


class Interrupt(Exception):
    pass


def test_interrupted_at_any_moment(native):
    """What is left of the calls ends."""

    def interrupt(*_):
        raise Interrupt

    chance = random.Random(6)
    pool = native.Pool(2)
    before = signal.signal(signal.SIGALRM, interrupt)
    interrupted = 0
    try:
        for k in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.random() * 0.003 + 1e-6)
                try:
                    if k % 3 == 0:
                        calls = [pool.apply_async(pool_workers.square, (x,)) for x in range(100)]
                        assert [call.get() for call in calls] == [x * x for x in range(100)]
                    elif k % 3 == 1:
                        assert pool.map(pool_workers.identity, range(1000), 1) == list(range(1000))
                    else:
                        assert list(pool.imap(pool_workers.identity, range(200))) == list(
                            range(200)
                        )
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)  # it may come up to here, once
            except Interrupt:
                interrupted += 1
    finally:
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 10
    assert pool.map(pool_workers.square, range(10), 1) == [x * x for x in range(10)]
    pool.close()
    pool.join()


def test_no_descriptor_to_be_had_for_a_while(native):
    with native.Pool(2) as pool:
        keeper = pool._keeper
        start = keeper._start
        tried = []

        def fails(*args, **kwds):
            tried.append(1)
            raise OSError(errno.EMFILE, "Too many open files")

        keeper._start = fails
        for worker in list(pool._pool):
            worker.kill()
        wait_until(lambda: len(tried) >= 3)
        keeper._start = start
        assert pool.apply(pool_workers.square, (3,)) == 9


def test_interrupt_while_a_result_is_opened(native):
    """It is opened again by the next get()."""
    with native.Pool(1) as pool:
        result = pool.apply_async(pool_workers.give_slow)
        result.wait()
        pool_workers.SlowToUnpickle.interrupts = 1
        with pytest.raises(KeyboardInterrupt):
            result.get()
        assert result.get() == "whole"
        it = pool.imap(pool_workers.identity, [pool_workers.SlowToUnpickle()])
        pool_workers.SlowToUnpickle.interrupts = 0
        assert next(it) == "whole"


def test_threads_wait_together(native):
    """Whoever leads hands on; nobody waits for another one's result."""
    errors = []

    def body(k):
        try:
            for i in range(20):
                if k % 2:
                    assert pool.apply(pool_workers.square, (i,)) == i * i
                else:
                    assert pool.map(pool_workers.square, range(100), 1) == [
                        x * x for x in range(100)
                    ]
        except BaseException as error:
            errors.append(error)

    with native.Pool(2) as pool:
        slow = threading.Thread(target=pool.apply, args=(pool_workers.sleep, (0.3,)))
        slow.start()
        threads = [threading.Thread(target=body, args=(k,)) for k in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WITHIN)
        assert not any(thread.is_alive() for thread in threads)
        slow.join(WITHIN)
    assert not errors


def test_waiters_of_one_result(native):
    got = []
    with native.Pool(1) as pool:
        result = pool.apply_async(pool_workers.sleep, (0.2,))
        threads = [
            threading.Thread(target=lambda: got.append(result.get(WITHIN))) for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        with pytest.raises(native.TimeoutError):
            result.get(0.01)
        for thread in threads:
            thread.join(WITHIN)
    assert got == [0.2] * 5


@pytest.mark.parametrize("kind", ["pool", "executor"])
def test_idle_workers_sleep(native, kind):
    """At most two wake-ups per second, of a worker and of the owner's thread, and no CPU."""
    with native.Pool(2) if kind == "pool" else futures.ProcessPoolExecutor(2, native) as pool:
        assert list(pool.map(pool_workers.square, range(100))) == [x * x for x in range(100)]
        pids = list(pool._processes) if kind == "executor" else [p.pid for p in pool._pool]
        tasks = [str(pid) for pid in pids]
        tasks += [f"self/task/{tid}" for tid in os.listdir("/proc/self/task")]
        tasks.remove(f"self/task/{threading.get_native_id()}")
        time.sleep(0.3)
        before = [wakes(task) for task in tasks]
        used = resource.getrusage(resource.RUSAGE_SELF)
        began = time.monotonic()
        time.sleep(1.5)
        lasted = time.monotonic() - began
        after = [wakes(task) for task in tasks]
        mine = resource.getrusage(resource.RUSAGE_SELF)
        assert all(b - a <= 2 * lasted + 1 for a, b in zip(before, after, strict=True))
        assert mine.ru_utime + mine.ru_stime - used.ru_utime - used.ru_stime < 0.2


def wakes(task: str) -> int:
    with open(f"/proc/{task}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("voluntary"))


# ---- its life


def test_a_child_can_not_use_it(native):
    with native.Pool(1) as pool:
        result = pool.apply_async(pool_workers.sleep, (0.2,))
        pid = os.fork()
        if pid == 0:
            refused = 0
            for use in (lambda: pool.apply(len, ("",)), result.get, result.ready):
                try:
                    use()
                except RuntimeError:
                    refused += 1
            os._exit(refused)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 3
        assert result.get() == 0.2


def test_terminate_gives_up_on_calls(native):
    pool = native.Pool(1)
    running = pool.apply_async(pool_workers.sleep, (60,))
    errors = []
    queued = pool.map_async(pool_workers.square, range(10), error_callback=errors.append)
    pool.terminate()
    pool.join()
    for call in (running, queued):
        with pytest.raises(PoolBroken, match="terminated"):
            call.get(0)
    assert len(errors) == 1
    with pytest.raises(ValueError, match="not running"):
        pool.apply(len, ("",))


@pytest.mark.parametrize("end", ["terminate", "cancel"])
def test_ended_while_its_items_are_pickled(native, end):
    with native.Pool(2) as pool:
        calls = []

        class Ends:
            def __reduce__(self):
                ending = threading.Thread(target=pool.terminate if end == "terminate" else cancel)
                ending.start()
                ending.join()
                return int, (5,)

        def cancel():
            for job in list(pool._cache.values()):
                assert job.cancel()

        with pytest.raises((PoolBroken, concurrent.futures.CancelledError)):
            calls.append(pool.map(pool_workers.identity, [Ends(), *range(1000)], 1))
        pool.close()
        pool.join()
        assert not pool._cache


def test_who_waits_for_many_results_reads_for_others(native):
    """A callback, an await, do not wait until a map that somebody waits for has results enough."""
    with native.Pool(4) as pool:
        mapping = threading.Thread(target=pool.map, args=(pool_workers.sleep, [2] * 3, 1))
        mapping.start()
        time.sleep(0.1)
        told = threading.Event()
        pool.apply_async(pool_workers.sleep, (0.01,), callback=lambda _: told.set())
        assert told.wait(0.5)

        async def waits():
            return await asyncio.wait_for(
                _value(pool.apply_async(pool_workers.sleep, (0.01,))), 0.5
            )

        assert asyncio.run(waits()) == 0.01
        mapping.join()


async def _value(awaitable):
    return await awaitable


@pytest.mark.parametrize("timeout", [86400 * 30, 1e12, float("inf")])
def test_task_that_may_run_for_weeks(native, timeout):
    with native.Pool(1) as pool:
        running = pool.apply_async(pool_workers.sleep, (0.1,), timeout=timeout)
        assert running.get() == 0.1
        assert pool.apply(pool_workers.square, (3,), timeout=timeout) == 9


class Quits:
    def __reduce__(self):
        raise SystemExit(3)


def test_item_that_quits_when_it_is_pickled(native):
    with native.Pool(2) as pool:
        results = pool.imap(pool_workers.identity, iter([1, Quits(), 3]))
        assert results.next(WITHIN) == 1
        with pytest.raises(SystemExit):
            results.next(WITHIN)
        assert results.next(WITHIN) == 3
        with pytest.raises(StopIteration):
            results.next(WITHIN)


def test_no_thread_to_be_had(native, monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    with native.Pool(1) as pool, ProcessPoolExecutor(2, native) as executor:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            with pytest.raises(RuntimeError, match="thread"):
                pool.imap(pool_workers.identity, iter(range(5)))
            with pytest.raises(RuntimeError, match="thread"):
                native.Pool(2)
            with pytest.raises(RuntimeError, match="thread"):
                executor.submit(len, "")
        assert {*native.active_children()} == {*pool._pool}  # the others' have been ended
        assert executor.submit(len, "abc").result(WITHIN) == 3
        pool.close()
        pool.join()


def test_terminate_of_workers_that_do_not_go(native, monkeypatch):
    monkeypatch.setattr(native_pool, "GRACE", 0.2)
    pool = native.Pool(2, pool_workers.ignore_sigterm)
    pool.apply_async(pool_workers.sleep, (60,))
    pool.apply(len, ("",))
    began = time.monotonic()
    pool.terminate()
    pool.join()
    assert time.monotonic() - began < WITHIN


def test_from_a_callback(native):
    """The pool's own thread may call the pool, and end it."""
    got = []
    pool = native.Pool(2)

    def callback(value):
        got.append((value, pool.apply(pool_workers.square, (value,))))
        pool.terminate()

    pool.apply_async(pool_workers.identity, (7,), callback=callback).wait(WITHIN)
    pool.join()
    assert got == [(7, 49)]


def test_callback_that_raises(native):
    seen = []
    before, threading.excepthook = threading.excepthook, lambda args: seen.append(args.exc_value)
    try:
        with native.Pool(1) as pool:
            assert (
                pool.apply_async(pool_workers.square, (2,), callback=pool_workers.fail).get() == 4
            )
            assert pool.apply(pool_workers.square, (3,)) == 9
    finally:
        threading.excepthook = before
    assert [str(error) for error in seen] == ["on purpose: 4"]


def test_callback_that_raises_where_its_exception_is_told(native, monkeypatch, capsys):
    def hook(args):
        raise KeyError("of the hook")

    monkeypatch.setattr(threading, "excepthook", hook)
    with native.Pool(1) as pool:
        for _ in range(2):
            call = pool.apply_async(pool_workers.square, (2,), callback=pool_workers.fail)
            assert call.get(WITHIN) == 4
    assert capsys.readouterr().err.count("KeyError: 'of the hook'") == 2


def test_callbacks_hold_nobody_up(native):
    """They may wait for anything: workers that die are noticed meanwhile."""
    with native.Pool(2) as pool:
        go, errors = threading.Event(), []

        def callback(_):
            with pytest.raises(WorkerDied) as died:
                pool.apply(pool_workers.die)
            errors.append(died.value)
            go.wait(WITHIN)

        call = pool.apply_async(pool_workers.square, (3,), callback=callback)
        wait_until(lambda: errors)
        with pytest.raises(WorkerDied):
            pool.apply(pool_workers.die)
        assert not call.ready()
        go.set()
        assert call.get(WITHIN) == 9


@pytest.mark.limit(300)
@pytest.mark.parametrize("rounds", [30, pytest.param(500, marks=pytest.mark.stress)])
def test_terminate_under_load(native, rounds):
    """Whoever waits is told, once, and callbacks are called."""
    for i in range(rounds):
        told = []
        pool = native.Pool(2)
        pool.map_async(pool_workers.square, range(2000), 1)
        calls = [
            pool.apply_async(pool_workers.square, (k,), callback=told.append, error_callback=told.append)
            for k in range(50)
        ]  # fmt: skip
        if i % 3 == 0:
            calls.append(pool.apply_async(pool_workers.sleep, (60,)))
        endless = pool.imap(pool_workers.square, itertools.count(), retries=1)
        waiter = threading.Thread(target=wait_in_vain, args=(pool, told))
        waiter.start()
        time.sleep(i % 10 * 0.0005)
        if i % 4 == 0:
            pool._pool[0].kill()
        pool.terminate()
        pool.join()
        waiter.join(WITHIN)
        assert not waiter.is_alive()
        for call in calls:
            assert call.ready()
        assert len(told) == 51
        with pytest.raises(PoolBroken, match="terminated"):
            for _ in endless:
                pass


def wait_in_vain(pool, told) -> None:
    try:
        while True:
            pool.map(pool_workers.square, range(100), 1, retries=1)
    except (
        PoolBroken,
        ValueError,
    ) as error:  # ValueError: the pool was not running when it was asked
        told.append(error)


@pytest.mark.limit(600)
@pytest.mark.parametrize("rounds", [50, pytest.param(10_000, marks=pytest.mark.stress)])
def test_nothing_is_left(native, rounds):
    """Of a pool that was closed, and of one that was only dropped."""
    with native.Pool(1):
        pass  # what is made once for a process
    multiprocessing.active_children()
    before = len(os.listdir("/proc/self/fd"))
    for i in range(rounds):
        if i == 20:
            memory = held()
        pool = native.Pool(1)
        assert pool.apply(pool_workers.square, (3,)) == 9
        pool.close()
        pool.join()
    del pool
    assert len(os.listdir("/proc/self/fd")) == before  # nobody has called active_children()
    maps, pages = held()
    assert maps - memory[0] <= 20
    assert (pages - memory[1]) * resource.getpagesize() < 4 << 20
    pool = native.Pool(2)
    pids = [process.pid for process in pool._pool]
    with pytest.warns(ResourceWarning, match="unclosed running"):
        del pool
    table = supervisor.processes()
    assert not [pid for pid in pids if pid in table and table[pid].state != "Z"]


def held() -> tuple[int, int]:
    """How many mappings this process has, and pages in memory."""
    with open("/proc/self/maps") as maps, open("/proc/self/statm") as pages:
        return len(maps.readlines()), int(pages.read().split()[1])


def test_not_collected_while_something_is_asked_of_it(native):
    result = native.Pool(1).apply_async(pool_workers.sleep, (0.1,))
    gc.collect()
    with pytest.warns(ResourceWarning, match="unclosed running"):
        assert result.get(WITHIN) == 0.1


# ---- what others subclass


class Hooked(multiprocessing.pool.Pool):
    """As torch's and joblib's: queues of its own, and workers that know them."""

    def _setup_queues(self):
        self._inqueue = self._ctx.SimpleQueue()
        self._outqueue = self._ctx.SimpleQueue()
        self._quick_put = self._inqueue.put
        self._quick_get = self._outqueue.get

    def _repopulate_pool(self):
        self.repopulated = True
        return super()._repopulate_pool()


class HookedNative(native_pool.Pool):
    @staticmethod
    def Process(ctx, *args, **kwds):
        return ctx.Process(*args, **kwds)


class PlainNative(native_pool.Pool):
    def extra(self):
        return self.apply(pool_workers.square, (4,))


class Reducing(PlainNative):
    """joblib's PicklingPool under install(): all that it does not do itself it asks of super()."""

    def __init__(self, processes, reducers=(), **kwds):
        self.reducers = reducers
        super().__init__(processes=processes, **kwds)

    def _setup_queues(self):
        super()._setup_queues()

    def terminate(self):
        super().terminate()


class Memmapping(Reducing):
    """And its MemmappingPool, a subclass of that without a hook."""

    def __init__(self, processes, **kwds):
        super().__init__(processes, reducers=(1,), **kwds)


class Mixin:
    def _repopulate_pool(self):
        return super()._repopulate_pool()


class Mixed(Mixin, native_pool.Pool):
    """The hook comes from another base."""


@pytest.mark.parametrize("cls", [Hooked, HookedNative, PlainNative, Reducing, Memmapping, Mixed])
def test_subclasses(native, cls):
    with cls(2, context=native) as pool:
        assert pool.map(pool_workers.square, range(20), 1) == [x * x for x in range(20)]
        assert pool.apply_async(pool_workers.square, (3,)).get() == 9
        assert isinstance(pool, multiprocessing.pool.Pool)
        assert isinstance(pool, native_pool.Pool)
        assert hasattr(pool, "_inqueue") == (cls is not PlainNative)
        pool.close()
        pool.join()
    assert isinstance(pool, PlainNative) == (cls in (PlainNative, Reducing, Memmapping))


def test_install_makes_pools_native():
    standard = multiprocessing.pool.Pool
    procfast.install()
    try:
        assert issubclass(multiprocessing.pool.Pool, standard)
        with multiprocessing.pool.Pool(1) as pool, multiprocessing.pool.ThreadPool(1) as threads:
            native = procfast.backend == "native"
            assert (getattr(pool, "_keeper", None) is not None) == native
            assert (
                pool.map(pool_workers.square, [3]) == threads.map(pool_workers.square, [3]) == [9]
            )
            assert not hasattr(threads, "_core")
            assert isinstance(threads, multiprocessing.pool.Pool)
    finally:
        procfast.uninstall()
    assert multiprocessing.pool.Pool is standard


def test_processes_of_another_kind():
    """Those of a context of one's own may have no more than CPython's tests give theirs: the first are ended."""
    made = []

    class Fake:
        def __init__(self, **_):
            self.name, self.exitcode, self.state = "fake", None, "new"
            made.append(self)

        def start(self):
            if len(made) > 3:
                raise OSError("on purpose")
            self.state = "started"

        def terminate(self):
            self.state = "ended"

        def join(self):
            assert self.state == "ended"
            self.state = "joined"

    with pytest.raises(OSError, match="on purpose"):
        native_pool.Pool(5, context=types.SimpleNamespace(Process=Fake))
    assert [process.state for process in made] == ["joined"] * 3 + ["new"]
