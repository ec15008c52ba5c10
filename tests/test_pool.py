"""Pool: every call and argument, every way to fail, many threads, its life, and what procfast adds.

Most tests share one pool per cell; what ends pools or workers makes its own. Deaths: `native/test_kill_pool.py`.
"""

import asyncio
import concurrent.futures
import functools
import gc
import itertools
import multiprocessing.pool
import operator
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import types
import warnings
import weakref

import numpy
import pool_tasks as tasks
import pytest

import procfast.abc
import procfast.pool
from procfast.exceptions import PoolBroken, TimeoutError, WorkerDied

SOON = 10.0  # seconds that something immediate may take on a loaded machine


class Shared:
    """A pool of two workers that can be held up."""

    def __init__(self, ctx) -> None:
        self.ctx = ctx
        self.begun, self.go = ctx.Semaphore(0), ctx.Semaphore(0)
        self.held: list = []
        self.pool = ctx.Pool(2, tasks.keep, (self.begun, self.go), worker_init=tasks.state)
        self.pool.apply_async(tasks.identity, (0,), callback=bool).get(SOON)  # its threads run

    def hold(self, n: int = 2) -> list:
        """So many workers are in the middle of a task."""
        held = [self.pool.apply_async(tasks.hold, (i,)) for i in range(n)]
        self.held = held
        for _ in held:
            assert self.begun.acquire(timeout=SOON)
        return held

    def release(self, held) -> None:
        self.held = []
        for _ in held:
            self.go.release()
        assert [h.get(SOON) for h in held] == list(range(len(held)))


@pytest.fixture(scope="module")
def _shared(cell):
    shared = Shared(cell.backend.context(cell.method))
    yield shared
    shared.pool.terminate()
    shared.pool.join()


@pytest.fixture
def shared(_shared):
    workers = [process.pid for process in _shared.pool._pool]
    yield _shared
    for held in _shared.held:  # a test has failed
        if not held.ready():
            _shared.go.release()
    assert [process.pid for process in _shared.pool._pool] == workers
    assert sorted(_shared.pool.map(tasks.identity, range(4), 1)) == [0, 1, 2, 3]  # it lives on


@pytest.fixture
def pool(shared):
    return shared.pool


# -- one call -------------------------------------------------------------------------------------


def test_apply(pool):
    assert pool.apply(tasks.add, (1, 2)) == 3
    assert pool.apply(tasks.add, (1,), {"b": 2, "c": 3}) == 6
    assert pool.apply(tasks.add, kwds={"a": 1}) == 1
    assert pool.apply(tasks.everything) == ((), {})
    assert pool.apply(tasks.everything, [1, "b"], {"c": None}) == ((1, "b"), {"c": None})
    assert pool.apply(func=tasks.square, args=(7,), kwds={}) == 49
    assert pool.apply(tasks.pid) != os.getpid()


def test_apply_async(pool):
    result = pool.apply_async(tasks.add, (1,), {"b": 2})
    assert isinstance(result, multiprocessing.pool.AsyncResult)
    assert result.get() == 3
    assert result.get(0) == 3
    assert result.ready() and result.successful()
    result.wait()
    assert result.wait(0) is None


def test_not_ready(shared):
    held = shared.hold(1)
    result = held[0]
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    for timeout in (0, -1, 0.01):
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            result.get(timeout)
        assert time.monotonic() - begin < SOON
    result.wait(0.01)
    assert not result.ready()
    shared.release(held)
    assert result.ready()


@pytest.mark.parametrize(
    ("function", "args", "value"),
    [
        (abs, (-3,), 3),
        (operator.add, ("a", "b"), "ab"),
        (functools.partial(tasks.add, 1, c=5), (2,), 8),
        (tasks.Thing(3), (4,), 12),
        (tasks.Thing(3).plus, (4,), 7),
        (tasks.Thing.name, (), "Thing"),
        ("x".join, (["a", "b"],), "axb"),
        (tuple, ([1, 2],), (1, 2)),
    ],
    ids=["builtin", "operator", "partial", "object", "method", "classmethod", "of a str", "type"],
)
def test_functions(pool, function, args, value):
    assert pool.apply(function, args) == value
    assert pool.starmap(function, [args] * 2) == [value] * 2


OBJECTS = [
    None, True, 0, -1, 2**70, 1.5, "", "\N{SNOWMAN}", "\ud800", b"", b"\0" * 1000, (), (1, (2, "x")), [], {},
    {"a": [1]}, {1, 2}, 1j, range(3), Ellipsis, tasks.square, int, bytearray(b"abc"), slice(1, 2),
]  # fmt: skip


def test_function_that_means_another(ctx):
    with ctx.Pool(1) as pool:
        assert pool.apply(tasks.redefined) == "first"
        pool.apply(tasks.redefine)
        assert pool.apply(tasks.redefined) == "second"
        assert pool.map(tasks.call, [tasks.redefined] * 2) == ["second"] * 2


def test_objects(pool):
    assert pool.map(tasks.identity, OBJECTS, 1) == OBJECTS
    assert pool.map(tasks.identity, OBJECTS) == OBJECTS
    for value in OBJECTS:
        got = pool.apply(tasks.identity, (value,))
        assert got == value and type(got) is type(value)


def test_large_ones(ctx):
    size = 3 << 20
    with ctx.Pool(2) as pool:
        assert pool.apply(tasks.length, (b"y" * size,)) == size
        assert pool.apply(tasks.large, (size,)) == b"x" * size
        assert pool.map(tasks.length, [b"y" * n for n in (0, 70_000, size)], 1) == [0, 70_000, size]
        assert [len(x) for x in pool.imap(tasks.large, [1 << 20] * 20)] == [1 << 20] * 20


def test_arrays(ctx):
    arrays = [numpy.arange(n, dtype="f8") for n in (0, 1, 1000, 200_000)]
    with ctx.Pool(2) as pool:
        for before, after in zip(arrays, pool.map(tasks.double, arrays, 1), strict=True):
            assert (after == 2 * before).all() and after.flags.writeable
        last = pool.apply(tasks.double, (arrays[-1],))
    assert (last == 2 * arrays[-1]).all()
    last[:] = 0  # also when the pool is gone


def test_mutated_after_the_call(shared):
    """What is called with is what was given, whatever becomes of it."""
    held = shared.hold()
    args = [1]
    result = shared.pool.apply_async(tasks.everything, (args,))
    mapped = shared.pool.map_async(tasks.identity, numbers := [1, 2, 3])
    numbers.clear()
    shared.release(held)
    assert result.get(SOON) == (([1],), {})
    assert mapped.get(SOON) == [1, 2, 3]


def test_protocols(pool):
    assert isinstance(pool, procfast.abc.Pool)
    assert isinstance(pool.apply_async(tasks.nothing), procfast.abc.AsyncResult)
    assert isinstance(pool.map_async(tasks.nothing, [1]), procfast.abc.AsyncResult)


# -- many calls -----------------------------------------------------------------------------------


@pytest.mark.parametrize("chunksize", [None, 1, 3, 1000])
def test_map(pool, chunksize):
    for n in (0, 1, 2, 7, 100):
        assert pool.map(tasks.square, range(n), chunksize) == [x * x for x in range(n)]
        assert pool.starmap(tasks.add, [(x, 1) for x in range(n)], chunksize) == [
            x + 1 for x in range(n)
        ]
        assert pool.map_async(tasks.square, range(n), chunksize).get() == [x * x for x in range(n)]
        assert pool.starmap_async(tasks.add, [(x,) for x in range(n)], chunksize).get() == list(
            range(n)
        )


@pytest.mark.parametrize("chunksize", [0, -1])
def test_map_in_chunks_of_nothing(pool, chunksize):
    assert pool.map(tasks.square, [1, 2], chunksize) == [1, 4]


@pytest.mark.parametrize("kind", [tuple, list, iter, dict.fromkeys, set, lambda r: (x for x in r)])
def test_iterables(pool, kind):
    assert pool.map(tasks.square, kind(range(20))) == [x * x for x in range(20)]
    assert list(pool.imap(tasks.square, kind(range(20)))) == [x * x for x in range(20)]
    assert sorted(pool.starmap(tasks.add, kind((x, x) for x in range(5)))) == [0, 2, 4, 6, 8]


def test_map_is_in_order(pool):
    assert pool.map(tasks.slow_at_first, range(20), 1) == list(range(20))
    assert list(pool.imap(tasks.slow_at_first, range(20))) == list(range(20))
    assert sorted(pool.imap_unordered(tasks.slow_at_first, range(20))) == list(range(20))


def test_unordered_as_they_come(shared):
    held = shared.hold(1)
    it = shared.pool.imap_unordered(tasks.hold, [5])
    assert shared.begun.acquire(timeout=SOON)
    with pytest.raises(TimeoutError):
        it.next(0.01)
    shared.go.release()  # which of the two, nobody knows
    shared.go.release()
    assert held[0].get(SOON) == 0
    assert it.next(SOON) == 5
    with pytest.raises(StopIteration):
        next(it)


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@pytest.mark.parametrize("chunksize", [1, 3, 1000])
@pytest.mark.parametrize("buffersize", [None, 1, 2, 50])
def test_imap(pool, method, chunksize, buffersize):
    for n in (0, 1, 2, 30):
        it = getattr(pool, method)(tasks.square, iter(range(n)), chunksize, buffersize=buffersize)
        assert iter(it) is it
        assert sorted(it) == [x * x for x in range(n)]
        for _ in range(2):
            with pytest.raises(StopIteration):
                next(it)


def test_imap_waits_so_long(shared):
    held = shared.hold()
    it = shared.pool.imap(tasks.square, [3])
    for timeout in (0, 0.01):
        with pytest.raises(TimeoutError):
            it.next(timeout)
    shared.release(held)
    assert it.next(timeout=SOON) == 9


@pytest.mark.parametrize("chunksize", [0, -1])
def test_imap_in_chunks_of_nothing(pool, chunksize):
    for method in (pool.imap, pool.imap_unordered):
        with pytest.raises(ValueError, match="Chunksize must be 1"):
            method(tasks.square, [1], chunksize)


@pytest.mark.parametrize("buffersize", [0, -1])
def test_imap_ahead_of_nothing(pool, buffersize):
    with pytest.raises(ValueError, match="buffersize must be at least 1"):
        pool.imap(tasks.square, [1], buffersize=buffersize)


class Source:
    """Numbers without end, and how many were taken."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.taken += 1
        return self.taken - 1


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@pytest.mark.parametrize("chunksize", [1, 2])
def test_imap_reads_ahead_so_far(local, method, chunksize):
    source = Source()
    with local.Pool(2) as pool:
        it = getattr(pool, method)(tasks.identity, source, chunksize, buffersize=4)
        got = []
        for _ in range(20):
            got.append(next(it))
            pool.apply(tasks.nothing)  # the pool has time, and uses it for others
            assert source.taken <= len(got) + (4 + 1) * chunksize
        assert it.cancel()
    assert set(got) <= set(range(25 * chunksize))


def test_imap_that_nobody_reads_holds_nobody_up(local):
    with local.Pool(2) as pool:
        unread = pool.imap(tasks.square, Source(), buffersize=2)
        assert pool.map(tasks.square, range(100), 1) == [x * x for x in range(100)]
        assert next(unread) == 0


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_imap_of_what_does_not_end(ctx, method):
    source = Source()
    with ctx.Pool(2) as pool:
        it = getattr(pool, method)(tasks.identity, source)
        assert sorted(itertools.islice(it, 50))[0] == 0
        assert it.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            for _ in it:  # what had come
                pass
        with pytest.raises(StopIteration):
            next(it)
        pool.apply(tasks.nothing)
        seen = source.taken
        assert pool.map(tasks.square, range(100), 1) == [x * x for x in range(100)]
        assert source.taken <= seen + 1


class Broken:
    """Items, then an error."""

    def __init__(self, n: int, has_length: bool = False) -> None:
        self.n = n
        if has_length:
            self.__class__ = type(
                "BrokenWithLength", (Broken,), {"__len__": lambda self: self.n + 1}
            )

    def __iter__(self):
        yield from range(self.n)
        raise KeyError("the iterable's own")


@pytest.mark.parametrize("n", [0, 3])
def test_iterable_that_raises(pool, n):
    for has_length in (False, True):
        with pytest.raises(KeyError, match="the iterable's own"):
            pool.map(tasks.square, Broken(n, has_length), 1)
    for method in (pool.imap, pool.imap_unordered):
        for buffersize in (None, 2):
            it = method(tasks.square, Broken(n), buffersize=buffersize)
            got = []
            with pytest.raises(KeyError, match="the iterable's own"):
                for value in it:
                    got.append(value)
            rest = list(it)
            assert sorted(got + rest) == [x * x for x in range(n)]
            assert method == pool.imap_unordered or not rest
    with pytest.raises(KeyError, match="the iterable's own"):
        list(pool.imap(tasks.square, Broken(n), 2))


class Items(list):
    def __iter__(self):
        return iter("abc")


def test_iterable_is_iterated(pool):
    assert pool.map(tasks.identity, Items("xyz"), 1) == ["a", "b", "c"]


def test_no_iterable(pool):
    for method in (pool.map, pool.imap, pool.imap_unordered, pool.starmap, pool.map_async):
        with pytest.raises(TypeError, match="not iterable"):
            method(tasks.square, 5)


# -- callbacks ------------------------------------------------------------------------------------


def test_callbacks(pool):
    good, bad = [], []
    kinds = {"callback": good.append, "error_callback": bad.append}
    assert pool.apply_async(tasks.square, (3,), {}, **kinds).get() == 9
    assert pool.map_async(tasks.square, [1, 2], None, **kinds).get() == [1, 4]
    assert pool.starmap_async(tasks.add, [(1, 2)], 1, **kinds).get() == [3]
    assert (good, bad) == ([9, [1, 4], [3]], [])
    for result in (
        pool.apply_async(tasks.fail, (1,), **kinds),
        pool.map_async(tasks.fail, [1], **kinds),
        pool.starmap_async(tasks.fail, [(1,)], **kinds),
    ):
        with pytest.raises(ValueError, match="on purpose: 1"):
            result.get()
    assert len(good) == 3
    assert [str(error) for error in bad] == ["on purpose: 1"] * 3
    assert all(isinstance(error.__cause__, multiprocessing.pool.RemoteTraceback) for error in bad)


def test_callbacks_without_anybody_who_waits(pool):
    done = threading.Event()
    pool.apply_async(tasks.square, (3,), callback=lambda value: done.set())
    assert done.wait(SOON)


def test_callback_comes_first(pool):
    """Whoever has the result can rely on the callback's effects."""
    for _ in range(50):
        seen = []
        result = pool.apply_async(tasks.square, (3,), callback=seen.append)
        assert result.get() == 9
        assert seen == [9]


def test_callback_that_calls(pool):
    done = threading.Event()
    values = []

    def again(value):
        values.append(value)
        if value < 1000:
            pool.apply_async(tasks.square, (value,), callback=again)
        else:
            done.set()

    pool.apply_async(tasks.square, (2,), callback=again)
    assert done.wait(SOON)
    assert values == [4, 16, 256, 65536]


def test_callback_that_raises(pool, monkeypatch):
    seen = []
    monkeypatch.setattr(threading, "excepthook", lambda args: seen.append(args.exc_value))
    result = pool.apply_async(tasks.square, (3,), callback=lambda value: 1 / 0)
    assert result.get(SOON) == 9
    result = pool.map_async(tasks.fail, [3], error_callback=lambda error: 1 / 0)
    with pytest.raises(ValueError, match="on purpose"):
        result.get(SOON)
    assert [type(error) for error in seen] == [ZeroDivisionError] * 2
    assert pool.apply(tasks.square, (4,)) == 16


# -- errors ---------------------------------------------------------------------------------------


def test_exception(pool):
    for call in (
        lambda: pool.apply(tasks.fail, (5,)),
        lambda: pool.map(tasks.fail, [5]),
        lambda: pool.map(tasks.fail, [5] * 20, 1),
        lambda: pool.starmap(tasks.fail, [(5,)]),
        lambda: list(pool.imap(tasks.fail, [5])),
        lambda: list(pool.imap_unordered(tasks.fail, [5, 5], 2)),
    ):
        with pytest.raises(ValueError, match="on purpose: 5") as caught:
            call()
        cause = caught.value.__cause__
        assert isinstance(cause, multiprocessing.pool.RemoteTraceback)
        assert "in fail" in str(cause) and "on purpose: 5" in str(cause)


def test_exception_with_more_to_it(pool):
    result = pool.apply_async(tasks.fail_in_detail)
    with pytest.raises(tasks.Detailed) as caught:
        result.get()
    assert (caught.value.args, caught.value.why) == (("what",), "why")
    assert not result.successful()
    with pytest.raises(KeyError) as caught:
        pool.apply(tasks.fail_because)
    assert "on purpose: inner" in str(caught.value.__cause__)


def test_map_goes_on_after_an_error(pool):
    """All of it is done; the error is the answer."""
    before = pool.stats()
    with pytest.raises(ValueError, match="on purpose: 3"):
        pool.map(tasks.fail_at_3, range(20), 1)
    after = pool.stats()
    assert (after.done - before.done, after.failed - before.failed) == (19, 1)


def test_imap_goes_on_after_an_error(pool):
    it = pool.imap(tasks.fail_at_3, range(6))
    got = []
    while True:
        try:
            got.append(next(it))
        except StopIteration:
            break
        except ValueError as error:
            got.append(str(error))
    assert got == [0, 1, 2, "on purpose: 3", 4, 5]


@pytest.mark.parametrize(
    "kind", [SystemExit, KeyboardInterrupt, GeneratorExit, tasks.Base, StopIteration, BaseException]
)
def test_base_exceptions(pool, kind):
    """Each is the error of its task; the worker goes on."""
    workers = {process.pid for process in pool._pool}
    with pytest.raises(kind) as caught:
        pool.apply(tasks.raise_, (kind, 5))
    assert caught.value.args == (5,)
    if kind is not StopIteration:  # which ends the loop over a chunk
        with pytest.raises(kind):
            pool.starmap(tasks.raise_, [(kind, 5)])
    assert pool.apply(tasks.pid) in workers
    assert {process.pid for process in pool._pool} == workers


def test_unpicklable_argument_raises_at_the_call(pool):
    lock = threading.Lock()
    for call in (
        lambda: pool.apply_async(tasks.nothing, (lock,)),
        lambda: pool.apply_async(lambda: None),
        lambda: pool.map_async(tasks.nothing, [lock]),
        lambda: pool.map_async(lambda x: x, [1]),
        lambda: pool.imap(lambda x: x, [1]),
    ):
        with pytest.raises(
            (TypeError, AttributeError, pickle.PicklingError), match=r"pickle|local object"
        ):
            call()


def test_unpicklable_argument(pool):
    lock = threading.Lock()
    for call in (
        lambda: pool.apply(tasks.nothing, (lock,)),
        lambda: pool.apply(lambda: None),
        lambda: pool.map(tasks.nothing, [lock]),
        lambda: pool.map(tasks.nothing, [1, 2, lock, 4], 1),
        lambda: list(pool.imap(tasks.nothing, [1, lock])),
        lambda: list(pool.imap(tasks.nothing, [1, lock], buffersize=1)),
        lambda: list(pool.imap_unordered(tasks.nothing, iter([lock]), 2)),
    ):
        with pytest.raises(
            (TypeError, AttributeError, pickle.PicklingError), match=r"pickle|local object"
        ):
            call()
        assert pool.apply(tasks.square, (2,)) == 4


def test_unpicklable_result(pool):
    for call in (
        lambda: pool.apply(tasks.unpicklable),
        lambda: pool.starmap(tasks.unpicklable, [()] * 3, 1),
        lambda: pool.starmap(tasks.unpicklable, [()] * 3),
        lambda: list(pool.imap(operator.call, [tasks.unpicklable])),
    ):
        with pytest.raises(multiprocessing.pool.MaybeEncodingError, match="lock"):
            call()


def test_unpicklable_exception(pool):
    with pytest.raises(multiprocessing.pool.MaybeEncodingError, match="holds a lock"):
        pool.apply(tasks.fail_unpicklably)


@pytest.mark.parametrize(
    ("function", "text"),
    [(tasks.fail_without_return, "one and two"), (tasks.fail_as_an_int, "not an int")],
)
def test_exception_that_does_not_unpickle(pool, function, text):
    """An error comes that has its words and its traceback."""
    for call in (
        lambda: pool.apply(function),
        lambda: pool.starmap(function, [()]),
        lambda: list(pool.imap(operator.call, [function, function])),
    ):
        with pytest.raises(multiprocessing.pool.MaybeEncodingError, match=text) as caught:
            call()
        assert f"in {function.__name__}" in str(caught.value.__cause__)


def test_result_that_does_not_unpickle(pool):
    for call in (
        lambda: pool.apply(tasks.explosive),
        lambda: pool.starmap(tasks.explosive, [()]),
        lambda: list(pool.imap(operator.call, [tasks.explosive])),
    ):
        with pytest.raises(multiprocessing.pool.MaybeEncodingError, match="explodes"):
            call()


def test_argument_that_does_not_unpickle(pool):
    workers = {process.pid for process in pool._pool}
    with pytest.raises(RuntimeError, match="explodes"):
        pool.apply(tasks.nothing, (tasks.Explosive(),))
    with pytest.raises(RuntimeError, match="explodes"):
        pool.map(tasks.nothing, [tasks.Explosive()])
    assert pool.apply(tasks.pid) in workers


# -- together -------------------------------------------------------------------------------------


def test_many_threads(pool):
    errors = []

    def use(me):
        try:
            for k in range(10):
                n = 20 * me + k
                assert pool.apply(tasks.add, (me, k)) == me + k
                assert pool.map(tasks.square, range(n)) == [x * x for x in range(n)]
                assert list(pool.imap(tasks.identity, iter(range(n)))) == list(range(n))
                calls = [pool.apply_async(tasks.square, (x,)) for x in range(n)]
                assert [call.get() for call in calls] == [x * x for x in range(n)]
                with pytest.raises(ValueError, match="on purpose"):
                    pool.apply(tasks.fail, (n,))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=use, args=(me,)) for me in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_one_result_for_many_threads(shared):
    held = shared.hold(1)
    values = []
    threads = [threading.Thread(target=lambda: values.append(held[0].get())) for _ in range(5)]
    for thread in threads:
        thread.start()
    shared.go.release()
    for thread in threads:
        thread.join()
    assert values == [0] * 5


def test_one_result_opened_by_many_threads(pool):
    result = pool.map_async(tasks.Slow, range(8), 1)
    result.wait()
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        found = [threads.submit(result.get, SOON) for _ in range(4)]
        assert [f.result() for f in found] == [list(range(8))] * 4


def test_one_iterator_for_many_threads(pool):
    it = pool.imap(tasks.identity, range(500))
    values = []
    threads = [threading.Thread(target=lambda: values.extend(it)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(values) == list(range(500))


def test_burst(pool):
    calls = [pool.apply_async(tasks.square, (x,)) for x in range(3000)]
    assert [call.get() for call in calls] == [x * x for x in range(3000)]


def test_results_of_which_none_is_read(pool):
    for _ in range(3000):
        pool.apply_async(tasks.square, (3,))
    assert pool.apply(tasks.square, (3,)) == 9


def test_signal_does_not_end_a_wait(shared):
    held = shared.hold(1)
    seen = []
    before = signal.signal(
        signal.SIGALRM, lambda *_: (seen.append(1), len(seen) == 3 and shared.go.release())
    )
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        assert held[0].get(SOON) == 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(seen) >= 3


def test_exception_of_a_handler_ends_a_wait(shared):
    held = shared.hold(2)

    def handler(*_):
        raise KeyboardInterrupt("of the handler")

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for wait in (held[0].get, held[0].wait, lambda: shared.pool.map(tasks.square, [1, 2])):
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            with pytest.raises(KeyboardInterrupt, match="of the handler"):
                wait()
    finally:
        signal.signal(signal.SIGALRM, before)
    shared.release(held)


def test_handler_that_calls(pool):
    """It comes while this thread waits, or is about to."""
    got = []
    before = signal.signal(
        signal.SIGALRM, lambda *_: got.append(pool.map(tasks.square, range(10), 1))
    )
    try:
        for wait in (
            lambda: pool.apply(tasks.sleep, (0.1,)),
            lambda: pool.map(tasks.sleep, [0.1] * 3, 1),
            lambda: pool.map(tasks.identity, [tasks.Slow(x) for x in range(300)]),
            lambda: list(pool.imap(tasks.sleep, [0.1] * 3)),
        ):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            wait()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert got == [[x * x for x in range(10)]] * 4


# -- its life -------------------------------------------------------------------------------------


def test_is_one(ctx):
    with ctx.Pool(processes=2) as pool:
        assert isinstance(pool, multiprocessing.pool.Pool)
        assert len(pool._pool) == 2
        assert "Pool" in repr(pool) and "RUN" in repr(pool) and "2" in repr(pool)
        assert pool.apply(tasks.is_daemon)
        assert "PoolWorker" in pool.apply(tasks.name_of_process)
        with pytest.raises(AssertionError, match="daemonic"):
            pool.apply(tasks.make_a_pool)
        with pytest.raises(NotImplementedError, match="cannot be passed between processes"):
            pickle.dumps(pool)


def test_close_and_join(ctx):
    pool = ctx.Pool(2)
    calls = [pool.apply_async(tasks.square, (x,)) for x in range(50)]
    mapped = pool.map_async(tasks.square, range(50), 1)
    it = pool.imap(tasks.square, iter(range(50)))
    with pytest.raises(ValueError, match="still running"):
        pool.join()
    workers = list(pool._pool)
    pool.close()
    pool.close()
    for method in (
        pool.apply,
        pool.apply_async,
        pool.map,
        pool.map_async,
        pool.starmap,
        pool.starmap_async,
    ):
        with pytest.raises(ValueError, match="not running"):
            method(tasks.square, (1,))
    for method in (pool.imap, pool.imap_unordered):
        with pytest.raises(ValueError, match="not running"):
            method(tasks.square, (1,))
    with pytest.raises(ValueError, match="not running"), pool:
        pass
    pool.join()
    pool.join()
    squares = [x * x for x in range(50)]
    assert [call.get(0) for call in calls] == mapped.get(0) == list(it) == squares
    assert not any(process.is_alive() for process in workers if process._popen)
    pool.terminate()


def test_terminate(ctx):
    pool = ctx.Pool(2)
    pool.apply_async(tasks.sleep, (60,))
    calls = [pool.apply_async(tasks.sleep, (60,)) for _ in range(50)]
    begin = time.monotonic()
    pool.terminate()
    pool.terminate()
    pool.join()
    assert time.monotonic() - begin < SOON
    assert not calls[-1].ready() or not calls[-1].successful()
    with pytest.raises(ValueError, match="not running"):
        pool.apply(tasks.square, (1,))
    pool.close()
    pool.join()


def test_terminated_calls_end(local):
    pool = local.Pool(1)
    call = pool.apply_async(tasks.sleep, (60,))
    it = pool.imap(tasks.sleep, [60])
    pool.terminate()
    for wait in (call.get, it.next):
        with pytest.raises(PoolBroken, match="terminated"):
            wait(SOON)
    pool.join()


def test_with(local):
    with local.Pool(1) as pool:
        workers = list(pool._pool)
        call = pool.apply_async(tasks.sleep, (60,))
    assert not call.ready() or not call.successful()
    pool.join()
    assert not any(process.is_alive() for process in workers if process._popen)


def test_two_pools(local):
    with local.Pool(1) as one, local.Pool(1) as other:
        assert one.apply(tasks.pid) != other.apply(tasks.pid)


@pytest.mark.filterwarnings("ignore:unclosed running:ResourceWarning")
def test_collected_without_being_closed(ctx):
    pool = ctx.Pool(1)
    assert pool.apply(tasks.square, (3,)) == 9
    worker = pool._pool[0]
    gone = weakref.ref(pool)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del pool
        gc.collect()
        told = [str(w.message) for w in caught]
        caught.clear()  # which has the pool
    assert gone() is None
    assert any("unclosed running multiprocessing pool" in each for each in told)
    worker.join(SOON)
    assert not worker.is_alive()


def test_dropped_while_it_works(local):
    """What was asked for still comes."""
    pool = local.Pool(1)
    call = pool.apply_async(tasks.sleep, (0.1,))
    pool.close()
    del pool
    gc.collect()
    assert call.get(SOON) == 0.1


def test_dropped_with_what_it_was_asked_for(local):
    """Nobody reads the result; the pool ends, after the call."""
    pool = local.Pool(1)
    worker = pool._pool[0]
    gone = weakref.ref(pool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        pool.apply_async(tasks.sleep, (0.1,))
        del pool
        end = time.monotonic() + SOON
        while gone() is not None:
            assert time.monotonic() < end
            time.sleep(0.02)
            gc.collect()
    worker.join(SOON)
    assert not worker.is_alive()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"processes": 0}, ValueError),
        ({"processes": -1}, ValueError),
        ({"processes": "2"}, TypeError),
        ({"initializer": 5}, TypeError),
        ({"initializer": 5, "worker_init": tasks.state}, TypeError),
        ({"worker_init": 5}, TypeError),
        ({"maxtasksperchild": 0}, ValueError),
        ({"maxtasksperchild": -1}, ValueError),
        ({"maxtasksperchild": 1.5}, ValueError),
        ({"no_such": 1}, TypeError),
    ],
    ids=str,
)
def test_bad_arguments(local, arguments, error):
    with pytest.raises(error):
        local.Pool(**arguments)
    gc.collect()


def test_bad_calls(pool):
    with pytest.raises(TypeError):
        pool.apply(5)
    with pytest.raises(TypeError):
        pool.apply(tasks.square, (1, 2))
    with pytest.raises(TypeError):
        pool.apply()
    with pytest.raises(TypeError):
        pool.map(tasks.square)
    with pytest.raises(TypeError):
        pool.map(tasks.square, [1], no_such=1)


def test_default_number_of_workers(local):
    with local.Pool() as pool:
        assert 1 <= len(pool._pool) <= os.cpu_count()
        assert pool.map(tasks.square, range(10)) == [x * x for x in range(10)]


def test_initializer(ctx):
    with ctx.Pool(2, tasks.keep, [1, "two"]) as pool:
        assert pool.starmap(tasks.kept_args, [()] * 8, 1) == [(1, "two")] * 8
    with ctx.Pool(initializer=tasks.keep, processes=1) as pool:
        assert pool.apply(tasks.kept_args) == ()


def test_maxtasksperchild(ctx):
    with ctx.Pool(1, tasks.keep, (5,), maxtasksperchild=2) as pool:
        pids = [pool.apply(tasks.pid) for _ in range(6)]
        assert len(set(pids)) == 3
        assert pids[0] == pids[1] != pids[2]
        assert pool.apply(tasks.kept_args) == (5,)


def test_maxtasksperchild_counts_chunks(local):
    with local.Pool(2, maxtasksperchild=1) as pool:
        assert len(set(pool.map(tasks.pid, range(12), 3))) == 4
        assert pool.map(tasks.square, range(100), 1) == [x * x for x in range(100)]
        pool.close()
        pool.join()


def test_in_a_process(ctx, cell):
    answers = ctx.Queue()
    process = ctx.Process(target=tasks.use_a_pool, args=(cell.method, cell.backend.name, answers))
    process.start()
    assert answers.get(timeout=30) == [x * x for x in range(10)]
    process.join()
    assert process.exitcode == 0


def test_child_must_not_use_the_parents(local):
    answers = local.Queue()
    with local.Pool(1) as pool:
        assert pool.apply(tasks.square, (2,)) == 4
        process = local.Process(target=tasks.use_the_parents, args=(pool, answers))
        process.start()
        assert answers.get(timeout=SOON) == "RuntimeError"
        process.join()
        assert pool.apply(tasks.square, (2,)) == 4


class Sturdy(procfast.pool.Pool):
    """A hook that programs override: workers that may have children."""

    @staticmethod
    def Process(ctx, *args, **kwds):
        class NoDaemon(ctx.Process):
            daemon = property(lambda self: False, lambda self, value: None)

        return NoDaemon(*args, **kwds)


def test_subclass_that_overrides_a_hook(local):
    """Gets the classic path."""
    with Sturdy(2, context=local) as pool:
        assert pool.map(tasks.square, range(10)) == [x * x for x in range(10)]
        assert not pool.apply(tasks.is_daemon)
        assert isinstance(pool, multiprocessing.pool.Pool) and isinstance(pool, procfast.pool.Pool)
        pool.close()
        pool.join()


def test_installed(python, backend):
    """multiprocessing.pool.Pool is ours then, ThreadPool and what overrides hooks are as they were."""
    python(
        "-c",
        """
import multiprocessing.pool, procfast
procfast.install()
from multiprocessing.pool import Pool, ThreadPool
with ThreadPool(2) as pool:
    assert pool.map(str, range(5)) == ["0", "1", "2", "3", "4"]
    assert isinstance(pool, Pool)
for pool in (Pool(1), multiprocessing.Pool(1)):
    with pool:
        assert pool.map(abs, [-1, 2]) == [1, 2]
        assert pool.stats().failed == 0
        assert isinstance(pool, Pool)

class Own(Pool):
    def _setup_queues(self):
        super()._setup_queues()
        self.asked = True

with Own(1) as pool:
    assert pool.asked and pool.map(abs, [-1, 2]) == [1, 2]
    assert isinstance(pool, Pool)
""",
        env={"PROCFAST_BACKEND": backend.name},
    )


ENDINGS = {
    "not closed": "",
    "closed": "pool.close()",
    "joined": "pool.close(); pool.join()",
    "terminated": "pool.terminate()",
    "busy": "pool.apply_async(pool_tasks.sleep, (60,)); pool.map_async(pool_tasks.sleep, [60] * 5)",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_end_of_the_program(python, script, cell, ending):
    path = script(f"""
import procfast, pool_tasks
if __name__ == "__main__":
    pool = procfast.get_context({cell.method!r}, backend={cell.backend.name!r}).Pool(2)
    assert pool.map(pool_tasks.square, range(10)) == [x * x for x in range(10)]
    {ENDINGS[ending]}
""")
    begin = time.monotonic()
    done = python(path)
    assert done.stdout == done.stderr == ""
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("group", [False, True], ids=["alone", "with its group"])
def test_interrupt(script, cell, tmp_path, group):
    """Ctrl-C ends map at once, and no worker is left."""
    path = script(f"""
import os, sys, procfast, pool_tasks
if __name__ == "__main__":
    with procfast.get_context({cell.method!r}, backend={cell.backend.name!r}).Pool(2) as pool:
        pool.map(pool_tasks.nothing, range(4), 1)
        print(*(p.pid for p in pool._pool), flush=True)
        try:
            pool.map(pool_tasks.sleep, [60] * 20)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            raise
""")
    program = subprocess.Popen(
        [sys.executable, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    pids = [int(pid) for pid in program.stdout.readline().split()]
    time.sleep(0.2)  # now it is in map
    begin = time.monotonic()
    (os.killpg if group else os.kill)(program.pid, signal.SIGINT)
    out, err = program.communicate(timeout=30)
    assert time.monotonic() - begin < SOON
    assert "interrupted" in out and "KeyboardInterrupt" in err
    assert program.returncode == -signal.SIGINT
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# -- stats ----------------------------------------------------------------------------------------


def test_stats(shared):
    pool = shared.pool
    before = pool.stats()
    assert (before.queued, before.unread) == (0, 0)
    assert [worker.pid for worker in before.workers] == [p.pid for p in pool._pool]
    held = shared.hold()
    calls = [pool.apply_async(tasks.square, (x,)) for x in range(5)]
    mapped = pool.map_async(tasks.square, range(6), 2)
    time.sleep(0.05)
    now = pool.stats()
    assert now.queued == 5 + 3
    assert all(worker.running >= 0.05 for worker in now.workers)
    shared.release(held)
    assert [call.get() for call in calls] == [0, 1, 4, 9, 16]
    assert mapped.get() == [0, 1, 4, 9, 16, 25]
    with pytest.raises(ValueError):
        pool.apply(tasks.fail, (1,))
    after = pool.stats()
    assert (after.done - before.done, after.failed - before.failed) == (2 + 5 + 3, 1)
    assert (after.queued, after.unread, after.replaced) == (0, 0, before.replaced)
    tasks_of = [b.tasks - a.tasks for a, b in zip(before.workers, after.workers, strict=True)]
    assert sum(tasks_of) == 2 + 5 + 3 + 1 and min(tasks_of) >= 1
    assert all(
        0.05 <= b.busy - a.busy < SOON for a, b in zip(before.workers, after.workers, strict=True)
    )
    assert all(worker.running == 0 for worker in after.workers)


def test_stats_of_replaced_workers(local):
    with local.Pool(1, maxtasksperchild=1) as pool:
        assert len({pool.apply(tasks.pid) for _ in range(3)}) == 3
        stats = pool.stats()
        assert stats.done == 3 and stats.workers[0].tasks == 3
        assert stats.replaced >= 2


# -- cancel ---------------------------------------------------------------------------------------


def test_cancel_of_what_is_queued(shared, tmp_path):
    held = shared.hold()
    errors, values = [], []
    calls = [
        shared.pool.apply_async(
            tasks.touch,
            (str(tmp_path / str(i)),),
            callback=values.append,
            error_callback=errors.append,
        )
        for i in range(20)
    ]
    assert all(call.cancel() for call in calls)
    for call in calls:
        with pytest.raises(concurrent.futures.CancelledError):
            call.get(SOON)
        assert call.ready() and call.cancelled() and not call.successful()
    shared.release(held)
    assert shared.pool.apply(tasks.square, (3,)) == 9
    assert os.listdir(tmp_path) == []  # none has begun
    end = time.monotonic() + SOON
    while len(errors) < 20 and time.monotonic() < end:
        time.sleep(0.001)
    assert [type(error) for error in errors] == [concurrent.futures.CancelledError] * 20
    assert values == []


def test_cancel_of_some(shared):
    held = shared.hold()
    calls = [shared.pool.apply_async(tasks.square, (x,)) for x in range(40)]
    assert all(call.cancel() for call in calls[::2])
    shared.release(held)
    assert [call.get(SOON) for call in calls[1::2]] == [x * x for x in range(1, 40, 2)]
    assert all(call.cancelled() for call in calls[::2])
    assert not any(call.cancelled() for call in calls[1::2])


def test_cancel_of_a_map(shared):
    held = shared.hold()
    for n in (10, 20_000):
        mapped = shared.pool.map_async(tasks.square, range(n), 1)
        assert mapped.cancel() and mapped.cancelled()
        with pytest.raises(concurrent.futures.CancelledError):
            mapped.get(SOON)
    shared.release(held)
    assert shared.pool.map(tasks.square, range(50), 1) == [x * x for x in range(50)]
    assert shared.pool.stats().queued == 0


def test_cancel_of_what_has_ended(pool):
    call = pool.apply_async(tasks.square, (3,))
    assert call.get() == 9
    assert not call.cancel()
    assert not call.cancelled()
    assert call.get() == 9
    failed = pool.apply_async(tasks.fail, (3,))
    failed.wait()
    assert not failed.cancel()
    assert not failed.cancelled()
    assert pool.map_async(tasks.square, []).cancel() is False


def test_cancel_wakes_who_waits(shared):
    held = shared.hold()
    call = shared.pool.apply_async(tasks.square, (3,))
    errors = []

    def wait():
        try:
            call.get()
        except concurrent.futures.CancelledError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.02)
    assert call.cancel()
    thread.join(SOON)
    assert len(errors) == 1
    shared.release(held)


def test_cancel_of_what_runs(ctx):
    """Only its worker is killed, and replaced."""
    with ctx.Pool(2) as pool:
        other = pool.apply_async(tasks.sleep, (0.3,))
        call = pool.apply_async(tasks.sleep, (60,))
        begin = time.monotonic()
        while sum(w.running > 0 for w in pool.stats().workers) < 2:
            time.sleep(0.005)
        assert call.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            call.get(SOON)
        assert other.get(SOON) == 0.3
        assert pool.map(tasks.square, range(20), 1) == [x * x for x in range(20)]
        assert time.monotonic() - begin < 30


# -- asyncio --------------------------------------------------------------------------------------


def test_await(pool):
    async def main():
        assert await pool.apply_async(tasks.square, (3,)) == 9
        assert await pool.map_async(tasks.square, range(5)) == [0, 1, 4, 9, 16]
        with pytest.raises(ValueError, match="on purpose"):
            await pool.apply_async(tasks.fail, (3,))
        done = pool.apply_async(tasks.square, (4,))
        done.wait()
        assert await done == await done == 16
        assert await asyncio.gather(
            *(_value(pool.apply_async(tasks.square, (x,))) for x in range(200))
        ) == [x * x for x in range(200)]

    asyncio.run(main())


async def _value(awaitable):
    return await awaitable


def test_await_takes_no_threads(shared):
    async def main():
        held = shared.hold()
        calls = [shared.pool.apply_async(tasks.square, (x,)) for x in range(50)]
        before = threading.active_count()
        waiting = [asyncio.ensure_future(_value(call)) for call in calls]
        await asyncio.sleep(0.02)
        assert threading.active_count() == before
        assert not any(each.done() for each in waiting)
        shared.release(held)
        assert await asyncio.gather(*waiting) == [x * x for x in range(50)]

    asyncio.run(main())


def test_await_that_is_cancelled(shared):
    """The call goes on."""

    async def main():
        held = shared.hold()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(_value(held[0]), 0.02)
        waiting = asyncio.ensure_future(_value(held[1]))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        again = [asyncio.ensure_future(_value(held[0])) for _ in range(3)]
        await asyncio.sleep(0.01)
        shared.go.release()
        shared.go.release()
        assert await asyncio.gather(*again) == [0] * 3
        assert await held[1] == 1

    asyncio.run(main())


def test_await_while_callbacks_are_called(shared):
    """The one that comes in the middle of that is told too."""
    called, go_on = threading.Event(), threading.Event()

    def callback(value):
        called.set()
        assert go_on.wait(10)

    async def main():
        call = shared.pool.apply_async(tasks.square, (3,), callback=callback)
        assert await asyncio.to_thread(called.wait, 10)
        waiting = asyncio.ensure_future(_value(call))
        await asyncio.sleep(0)
        go_on.set()
        assert await asyncio.wait_for(waiting, 10) == 9

    asyncio.run(main())


def test_loop_that_ends_before_the_result(shared):
    async def main(call):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(_value(call), 0.01)

    held = shared.hold()
    for call in held:
        asyncio.run(main(call))
    shared.release(held)


def test_await_of_what_is_cancelled(shared):
    async def main():
        held = shared.hold()
        call = shared.pool.apply_async(tasks.square, (3,))
        waiting = asyncio.ensure_future(_value(call))
        await asyncio.sleep(0.01)
        assert call.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            await waiting
        shared.release(held)

    asyncio.run(main())


# -- progress -------------------------------------------------------------------------------------


class Bar:
    def __init__(self) -> None:
        self.steps, self.closed = [], 0

    def update(self, n) -> None:
        assert not self.closed
        self.steps.append(n)

    def close(self) -> None:
        self.closed += 1


def test_progress(pool):
    for call in (
        lambda bar: pool.map(tasks.identity, iter(range(50)), progress=bar),
        lambda bar: pool.map(tasks.identity, range(50), 7, progress=bar),
        lambda bar: pool.starmap(tasks.identity, [(x,) for x in range(50)], progress=bar),
        lambda bar: list(pool.imap(tasks.identity, range(50), progress=bar)),
        lambda bar: list(pool.imap(tasks.identity, iter(range(50)), 7, buffersize=2, progress=bar)),
        lambda bar: sorted(pool.imap_unordered(tasks.identity, range(50), progress=bar)),
    ):
        bar = Bar()
        assert call(bar) == list(range(50))
        assert sum(bar.steps) == 50 and min(bar.steps) > 0
        assert bar.closed == 1


def test_progress_of_nothing(pool):
    bar = Bar()
    assert pool.map(tasks.identity, [], progress=bar) == []
    assert (bar.steps, bar.closed) == ([], 1)


def test_progress_while_it_goes_on(shared):
    """The bar does not wait for the end."""
    bar = Bar()
    moved = threading.Event()
    bar.update = lambda n: moved.set()
    got = []
    thread = threading.Thread(
        target=lambda: got.append(shared.pool.map(tasks.hold, range(2), 1, progress=bar))
    )
    thread.start()
    for _ in range(2):
        assert shared.begun.acquire(timeout=SOON)
    shared.go.release()
    assert moved.wait(SOON)
    assert not got
    shared.go.release()
    thread.join()
    assert got == [[0, 1]]


def test_progress_with_errors(pool):
    bar = Bar()
    with pytest.raises(ValueError, match="on purpose"):
        pool.map(tasks.fail_at_3, range(10), 1, progress=bar)
    assert (sum(bar.steps), bar.closed) == (10, 1)
    bar = Bar()
    it = pool.imap(tasks.fail_at_3, range(10), progress=bar)
    with pytest.raises(ValueError, match="on purpose"):
        list(it)
    assert len(list(it)) == 6
    assert (sum(bar.steps), bar.closed) == (10, 1)


def test_progress_by_tqdm(pool, monkeypatch):
    made = []

    class tqdm(Bar):
        def __init__(self, total) -> None:
            super().__init__()
            self.total = total
            made.append(self)

    module = types.ModuleType("tqdm.auto")
    module.tqdm = tqdm
    monkeypatch.setitem(sys.modules, "tqdm", types.ModuleType("tqdm"))
    monkeypatch.setitem(sys.modules, "tqdm.auto", module)
    assert pool.map(tasks.square, range(10), progress=True) == [x * x for x in range(10)]
    assert list(pool.imap(tasks.square, range(10), progress=True)) == [x * x for x in range(10)]
    assert list(pool.imap(tasks.square, (x for x in range(3)), progress=True)) == [0, 1, 4]
    assert [bar.total for bar in made] == [10, 10, None]
    assert [sum(bar.steps) for bar in made] == [10, 10, 3]
    assert [bar.closed for bar in made] == [1, 1, 1]


def test_progress_without_tqdm(pool, monkeypatch):
    """Says what to install, before anything is done."""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    before = pool.stats()
    for call in (pool.map, pool.starmap, pool.imap, pool.imap_unordered):
        with pytest.raises(ImportError, match=r"procfast\[progress\]"):
            call(tasks.square, [1, 2, 3], progress=True)
        with pytest.raises(TypeError, match="progress must be"):
            call(tasks.square, [1, 2, 3], progress=5)
    after = pool.stats()
    assert (after.done, after.failed) == (before.done, before.failed)


# -- state of workers -----------------------------------------------------------------------------


def test_state(pool):
    """Each worker has its own, and keeps it from task to task."""
    calls, args, kwds = pool.apply(tasks.count, (1,), {"b": 2}, with_state=True)
    assert calls >= 1 and (args, kwds) == ((1,), {"b": 2})
    for call in (
        lambda: pool.map(tasks.add_to_state, range(20), with_state=True),
        lambda: pool.map_async(tasks.add_to_state, range(20), 1, with_state=True).get(),
        lambda: pool.starmap(tasks.add_to_state, [(x,) for x in range(20)], with_state=True),
        lambda: pool.starmap_async(
            tasks.add_to_state, [(x,) for x in range(20)], with_state=True
        ).get(),
        lambda: list(pool.imap(tasks.add_to_state, range(20), with_state=True)),
        lambda: sorted(pool.imap_unordered(tasks.add_to_state, range(20), 3, with_state=True)),
    ):
        assert call() == list(range(1, 21))
    counts = [pool.apply(tasks.count, with_state=True)[0] for _ in range(3)]
    assert max(counts) >= 2
    with pytest.raises(ValueError, match="on purpose"):
        pool.apply(tasks.fail_at, (3,), with_state=False, kwds={"at": 3})


def test_state_comes_after_the_initializer(ctx):
    with ctx.Pool(1, tasks.keep, (1, 2), worker_init=tasks.state_after_initializer) as pool:
        assert pool.apply(tasks.see_state, with_state=True) == ("after", 1, 2)
    with ctx.Pool(1, worker_init=dict) as pool:
        assert pool.apply(tasks.see_state, with_state=True) == {}


def test_state_that_was_not_made(local):
    with local.Pool(1) as pool:
        for method in (
            pool.apply,
            pool.apply_async,
            pool.map,
            pool.starmap,
            pool.imap,
            pool.imap_unordered,
        ):
            with pytest.raises(ValueError, match="worker_init="):
                method(tasks.see_state, (), with_state=True)
        assert pool.apply(tasks.square, (2,)) == 4


# -- deaths ---------------------------------------------------------------------------------------

ENDS = {
    "SIGKILL": (tasks.kill, signal.SIGKILL, -signal.SIGKILL),
    "SIGSEGV": (tasks.kill, signal.SIGSEGV, -signal.SIGSEGV),
    "_exit": (tasks.exit_hard, 3, 3),
}


@pytest.mark.parametrize("end", ENDS)
def test_worker_dies(ctx, end):
    """The error of its task, and of no other; the pool goes on."""
    function, argument, exitcode = ENDS[end]
    with ctx.Pool(2) as pool:
        calls = [pool.apply_async(tasks.square, (x,)) for x in range(20)]
        doomed = pool.apply_async(function, (argument,))
        calls += [pool.apply_async(tasks.square, (x,)) for x in range(20)]
        with pytest.raises(WorkerDied) as caught:
            doomed.get(SOON)
        assert caught.value.exitcode == exitcode
        assert caught.value.pid and caught.value.task and "retries" in str(caught.value)
        assert [call.get(SOON) for call in calls] == [x * x for x in range(20)] * 2
        assert pool.map(tasks.square, range(20), 1) == [x * x for x in range(20)]
        assert pool.stats().failed == 1


def test_idle_workers_die(ctx):
    with ctx.Pool(2) as pool:
        assert pool.map(tasks.square, range(4), 1) == [0, 1, 4, 9]
        for process in list(pool._pool):
            process.kill()
        assert pool.map(tasks.square, range(20), 1) == [x * x for x in range(20)]


def test_retries(ctx, tmp_path):
    with ctx.Pool(2) as pool:
        for k, call in enumerate(
            (
                lambda path: pool.apply(tasks.kill_once, (path, 5), retries=1),
                lambda path: pool.starmap(tasks.kill_once, [(path, 5)], retries=1)[0],
                lambda path: pool.apply_async(tasks.kill_once, (path, 5), retries=3).get(SOON),
                lambda path: next(
                    pool.imap(functools.partial(tasks.kill_once, path), [5], retries=1)
                ),
            )
        ):
            assert call(str(tmp_path / str(k))) == 5
        with pytest.raises(WorkerDied):
            pool.apply(tasks.kill, (signal.SIGKILL,), retries=1)


def test_timeout(ctx):
    """Only the worker of that task is killed."""
    with ctx.Pool(2) as pool:
        other = pool.apply_async(tasks.sleep, (0.4,), timeout=30)
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            pool.apply(tasks.sleep, (60,), timeout=0.1)
        with pytest.raises(TimeoutError):
            pool.map(tasks.sleep, [0, 60, 0], 1, timeout=0.1)
        assert time.monotonic() - begin < SOON
        assert other.get(SOON) == 0.4
        assert pool.map(tasks.square, range(20), 1, timeout=30) == [x * x for x in range(20)]


@pytest.mark.parametrize("argument", ["timeout", "retries"])
def test_what_needs_to_notice_a_death_is_refused(pool, argument):
    for method in (pool.apply, pool.apply_async, pool.map, pool.map_async, pool.imap):
        with pytest.raises(NotImplementedError, match="native backend"):
            method(tasks.identity, [1], **{argument: 1})


@pytest.mark.parametrize("end", ["terminate", "close"])
def test_initializer_that_always_fails(local, capfd, end):
    pool = local.Pool(2, tasks.fail_to_start, ("no way",))
    call = pool.apply_async(tasks.square, (3,))
    with pytest.raises(PoolBroken, match="no way"):
        call.get(SOON)
    with pytest.raises(PoolBroken, match="no way"):
        pool.apply(tasks.square, (3,))
    getattr(pool, end)()
    pool.join()
