"""procfast.futures: the contract of concurrent.futures, and what a death does to it."""

import asyncio
import concurrent.futures
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import CancelledError, Future, as_completed, wait
from pathlib import Path

import futures_workers as work
import pool_tasks
import pytest

from procfast import _backend
from procfast.exceptions import WorkerDied
from procfast.futures import BrokenProcessPool

TESTS = Path(__file__).resolve().parent
SOON = 30.0


@pytest.fixture
def futures(cell):
    return _backend.load(cell.backend.name, "futures")


@pytest.fixture
def executor(futures, ctx):
    with futures.ProcessPoolExecutor(2, ctx) as executor:
        yield executor


@pytest.fixture
def local_executor(backend):
    """One of each backend, where the start method is no matter."""
    module = _backend.load(backend.name, "futures")
    with module.ProcessPoolExecutor(2, backend.context("fork")) as executor:
        yield executor


def until(condition) -> None:
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture
def gate(tmp_path):
    return Gate(tmp_path)


class Gate:
    """A call that has begun, and goes on when it is told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = str(folder / "open")

    def submit(self, executor, name: str = "a", value=None):
        future = executor.submit(work.begin_and_wait_for, str(self.folder / name), self.path, value)
        until((self.folder / name).exists)
        return future

    def open(self) -> None:
        Path(self.path).touch()


# -- submit ---------------------------------------------------------------------------------------


def test_submit(executor):
    future = executor.submit(work.add, 1, b=2, c=3)
    assert isinstance(future, Future)
    assert future.result(SOON) == 6
    assert future.exception() is None
    assert future.done() and not future.running() and not future.cancelled()
    assert executor.submit(work.add, fn := 1).result(SOON) == fn
    with pytest.raises(TypeError):
        executor.submit()


def test_states(executor, gate):
    future = gate.submit(executor, value=7)
    assert future.running() and not future.done()
    assert "state=running" in repr(future)
    assert not future.cancel()
    with pytest.raises(TimeoutError):
        future.result(0.01)
    with pytest.raises(TimeoutError):
        future.exception(0)
    gate.open()
    assert future.result(SOON) == 7
    assert not future.cancel()
    assert "returned int" in repr(future)


def test_cancel(executor, gate):
    running = [gate.submit(executor, name) for name in "ab"]
    queued = [executor.submit(work.square, i) for i in range(20)]
    called = []
    queued[-1].add_done_callback(called.append)
    assert queued[-1].cancel() and queued[-1].cancel()
    assert called == [queued[-1]]
    assert queued[-1].cancelled() and queued[-1].done()
    assert "state=cancelled" in repr(queued[-1])
    for ask in (queued[-1].result, queued[-1].exception):
        with pytest.raises(CancelledError):
            ask()
    gate.open()
    assert [f.result(SOON) for f in queued[:-1]] == [i * i for i in range(19)]
    assert [f.result(SOON) for f in running] == [None, None]


def test_exceptions(executor):
    future = executor.submit(work.fail, "because")
    with pytest.raises(ValueError, match="because") as caught:
        future.result(SOON)
    assert future.exception() is caught.value
    assert "raise ValueError(text)  # on purpose" in str(caught.value.__cause__)
    assert "raised ValueError" in repr(future)
    assert executor.submit(work.square, 3).result(SOON) == 9


def test_unpicklable_argument(executor):
    future = executor.submit(work.square, threading.Lock())
    assert isinstance(future.exception(SOON), TypeError)
    assert executor.submit(lambda: 0).exception(SOON) is not None
    assert executor.submit(work.square, 3).result(SOON) == 9


def test_unpicklable_result(executor):
    error = executor.submit(work.give_lock).exception(SOON)
    assert isinstance(error, TypeError) and "lock" in str(error)
    assert "TypeError" in str(error.__cause__)
    assert executor.submit(work.square, 3).result(SOON) == 9


def test_exception_that_does_not_unpickle(executor):
    error = executor.submit(work.fail_badly).exception(SOON)
    assert "all too much" in str(error)
    assert "fail_badly" in str(error.__cause__)
    assert executor.submit(work.square, 3).result(SOON) == 9


def test_result_that_does_not_unpickle(executor):
    future = executor.submit(work.UnpicklesBadly)
    error = future.exception(SOON)
    assert "not here" in str(error)
    with pytest.raises(type(error)):
        future.result()
    assert executor.submit(work.square, 3).result(SOON) == 9


def test_argument_that_does_not_unpickle(executor):
    error = executor.submit(work.square, work.UnpicklesBadly()).exception(SOON)
    assert isinstance(error, ValueError) and "not here" in str(error)
    assert executor.submit(work.square, 3).result(SOON) == 9


def test_system_exit(executor):
    with pytest.raises(SystemExit) as caught:
        executor.submit(work.leave, 3).result(SOON)
    assert caught.value.code == 3
    assert executor.submit(work.square, 3).result(SOON) == 9


def test_large_ones(executor):
    import numpy

    assert (executor.submit(work.array, 1 << 20).result(SOON) == numpy.arange(1 << 20)).all()
    assert executor.submit(len, b"x" * (1 << 22)).result(SOON) == 1 << 22


def test_many(local_executor):
    found = [local_executor.submit(work.square, i) for i in range(20_000)]
    assert [future.result() for future in found] == [i * i for i in range(20_000)]


def test_nothing_is_kept(local_executor):
    argument = work.Returned()
    seen = weakref.ref(argument)
    local_executor.submit(id, argument)
    del argument
    until(lambda: seen() is None)
    for value in local_executor.map(work.give, range(5)):
        seen = weakref.ref(value)
        del value
        assert seen() is None


# -- map ------------------------------------------------------------------------------------------


def test_map(executor):
    assert list(executor.map(pow, range(10), range(12))) == [i**i for i in range(10)]
    assert list(executor.map(work.square, range(10), chunksize=3)) == [i * i for i in range(10)]
    assert list(executor.map(work.square, [], chunksize=3)) == []
    for size in (1, 3, 100):
        found = executor.map(work.square, range(10), chunksize=size, buffersize=2)
        assert list(found) == [i * i for i in range(10)]


def test_map_refuses(local_executor):
    for options in ({"chunksize": 0}, {"chunksize": -1}, {"buffersize": 0}):
        with pytest.raises(ValueError):
            local_executor.map(work.square, [1], **options)
    with pytest.raises(TypeError):
        local_executor.map(work.square, [1], buffersize=1.5)


def test_map_exception(executor):
    found = executor.map(divmod, [1, 1, 1], [2, 0, 5])
    assert next(found) == (0, 1)
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert list(found) == []


def test_map_timeout(executor, gate):
    found = executor.map(work.wait_for, [str(gate.folder), gate.path], timeout=1.0)
    assert next(found) is None
    with pytest.raises(TimeoutError):
        next(found)
    gate.open()


def test_map_reads_no_further_than_it_may(local_executor):
    taken = []

    def items():
        for i in range(100):
            taken.append(i)
            yield i

    found = local_executor.map(work.square, items(), buffersize=3)
    assert len(taken) == 3
    assert next(found) == 0
    assert len(taken) == 4
    assert list(found) == [i * i for i in range(1, 100)]


# -- waiting --------------------------------------------------------------------------------------


def test_wait_and_as_completed(executor, gate):
    slow = gate.submit(executor)
    quick = executor.submit(work.square, 3)
    done, rest = wait([slow, quick], SOON, concurrent.futures.FIRST_COMPLETED)
    assert (done, rest) == ({quick}, {slow})
    assert wait([slow], 0.01) == (set(), {slow})
    bad = executor.submit(work.fail, "x")
    done, rest = wait([slow, bad], SOON, concurrent.futures.FIRST_EXCEPTION)
    assert (done, rest) == ({bad}, {slow})
    order = as_completed([slow, quick, bad], SOON)
    assert {next(order), next(order)} == {quick, bad}
    gate.open()
    assert next(order) is slow
    many = [executor.submit(work.square, i) for i in range(200)]
    assert wait(many, SOON).not_done == set()
    assert sorted(f.result() for f in as_completed(many, SOON)) == [i * i for i in range(200)]


def test_cancelled_while_waited_for(executor, gate):
    for name in "ab":
        gate.submit(executor, name)
    queued = [executor.submit(work.square, i) for i in range(10)]
    threading.Timer(0.05, queued[-1].cancel).start()
    done, _ = wait(queued[-1:], SOON)
    assert done == {queued[-1]} and queued[-1].cancelled()
    gate.open()


def test_callbacks(executor, caplog):
    called = threading.Event()
    seen = []

    def tell(future):
        seen.append((future.result(), future.done(), threading.get_ident()))
        called.set()

    future = executor.submit(work.square, 3)
    future.add_done_callback(lambda f: 1 / 0)
    future.add_done_callback(tell)
    assert called.wait(SOON)
    assert seen[0][:2] == (9, True)
    end = time.monotonic() + SOON  # what is added when it has ended need not wait for the others
    while "ZeroDivisionError" not in caplog.text:
        assert time.monotonic() < end
    caplog.clear()  # its frames
    future.add_done_callback(tell)
    assert seen[1][2] == threading.get_ident()


def test_submit_from_a_callback(executor):
    ended = threading.Event()
    found = []

    def again(future):
        found.append(future.result())
        if len(found) == 10:
            ended.set()
        else:
            executor.submit(work.square, len(found)).add_done_callback(again)

    executor.submit(work.square, 0).add_done_callback(again)
    assert ended.wait(SOON)
    assert found == [i * i for i in range(10)]


def test_many_threads(local_executor):
    def one(k):
        found = [local_executor.submit(work.add, k, i) for i in range(200)]
        results[k] = [future.result(SOON) for future in found]

    results = {}
    threads = [threading.Thread(target=one, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {k: [k + i for i in range(200)] for k in range(8)}


def test_many_threads_wait_for_one(local_executor, gate):
    future = gate.submit(local_executor, value=5)
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        found = [threads.submit(future.result, SOON) for _ in range(8)]
        time.sleep(0.02)
        before = threading.active_count()
        gate.open()
        assert [f.result(SOON) for f in found] == [5] * 8
        assert threading.active_count() <= before


@pytest.mark.parametrize("value", [5, None])
def test_many_threads_open_one(local_executor, value):
    future = local_executor.submit(pool_tasks.Slow, value)
    wait([future], SOON)
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        found = [threads.submit(future.exception, SOON) for _ in range(4)]
        kinds = {type(f.result()) for f in found}
    assert len(kinds) == 1
    assert (kinds == {type(None)}) == (value == 5)


def test_asyncio(executor):
    async def main():
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(executor, work.square, i) for i in range(50)]
        assert await asyncio.gather(*calls) == [i * i for i in range(50)]
        with pytest.raises(ValueError, match="because"):
            await loop.run_in_executor(executor, work.fail, "because")

    asyncio.run(main())


def test_asyncio_cancelled(executor, gate):
    for name in "ab":
        gate.submit(executor, name)
    queued = [executor.submit(work.square, i) for i in range(10)]

    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(queued[-1]), 0.02)

    asyncio.run(main())
    assert queued[-1].cancelled()
    gate.open()
    assert queued[0].result(SOON) == 0


# -- its life -------------------------------------------------------------------------------------


def test_shutdown(futures, ctx):
    executor = futures.ProcessPoolExecutor(2, ctx)
    found = [executor.submit(work.square, i) for i in range(50)]
    executor.shutdown()
    assert all(future.done() for future in found)
    assert [future.result(0) for future in found] == [i * i for i in range(50)]
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(work.square, 1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.map(work.square, [1])
    executor.shutdown()


def test_shutdown_without_a_call(futures, ctx):
    executor = futures.ProcessPoolExecutor(2, ctx)
    executor.shutdown()
    with pytest.raises(RuntimeError):
        executor.submit(work.square, 1)


def test_shutdown_without_waiting(futures, ctx, gate):
    executor = futures.ProcessPoolExecutor(2, ctx)
    running = gate.submit(executor, value=1)
    queued = [executor.submit(work.square, i) for i in range(10)]
    executor.shutdown(wait=False)
    assert not running.done()
    gate.open()
    assert running.result(SOON) == 1
    assert [future.result(SOON) for future in queued] == [i * i for i in range(10)]


def test_shutdown_that_cancels(futures, ctx, gate):
    executor = futures.ProcessPoolExecutor(2, ctx)
    running = [gate.submit(executor, name, name) for name in "ab"]
    queued = [executor.submit(work.square, i) for i in range(50)]
    executor.shutdown(wait=False, cancel_futures=True)
    gate.open()
    assert [future.result(SOON) for future in running] == ["a", "b"]
    until(lambda: all(future.done() for future in queued))
    assert sum(future.cancelled() for future in queued) >= 40


def test_collected_with_pending_work(futures, ctx, gate):
    executor = futures.ProcessPoolExecutor(2, ctx)
    running = gate.submit(executor, value=1)
    queued = [executor.submit(work.square, i) for i in range(10)]
    del executor
    gc.collect()
    gate.open()
    assert running.result(SOON) == 1
    assert [future.result(SOON) for future in queued] == [i * i for i in range(10)]


def test_initializer(futures, ctx):
    with futures.ProcessPoolExecutor(2, ctx, work.start, ("a",)) as executor:
        assert executor.submit(work.what_it_was_started_with).result(SOON) == "a"


@pytest.mark.parametrize("strict", [None, True])
def test_initializer_that_fails(futures, ctx, strict):
    executor = futures.ProcessPoolExecutor(
        1, ctx, work.fail_to_start, ("that is why",), strict=strict
    )
    with executor:
        with pytest.raises(BrokenProcessPool) as caught:
            executor.submit(work.square, 1).result(SOON)
        with pytest.raises(BrokenProcessPool):
            executor.submit(work.square, 1)
    if "native" in type(executor).__module__:
        assert isinstance(caught.value.__cause__, RuntimeError)
        assert "that is why" in str(caught.value)


def test_max_tasks_per_child(cell, futures, ctx):
    if cell.method == "fork":
        with pytest.raises(ValueError, match="fork"):
            futures.ProcessPoolExecutor(1, ctx, max_tasks_per_child=2)
        return
    with futures.ProcessPoolExecutor(1, ctx, max_tasks_per_child=2) as executor:
        pids = [executor.submit(os.getpid).result(SOON) for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_arguments_of_the_constructor(backend):
    futures = _backend.load(backend.name, "futures")
    make = futures.ProcessPoolExecutor
    for number in (0, -1):
        with pytest.raises(ValueError, match="max_workers must be greater than 0"):
            make(number)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        make(1, initializer=3)
    with pytest.raises(TypeError):
        make(1, max_tasks_per_child="1")
    with pytest.raises(ValueError):
        make(1, mp_context=backend.context("spawn"), max_tasks_per_child=0)
    assert make(max_tasks_per_child=1)._mp_context.get_start_method() == "spawn"
    assert make()._max_workers == make(None)._max_workers >= 1


def test_workers_may_have_children(executor, cell):
    assert executor.submit(work.has_children_of_its_own, cell.method).result(SOON) == 0


def test_the_standard_librarys_executor(ctx):
    """concurrent.futures.ProcessPoolExecutor on this context."""
    with concurrent.futures.ProcessPoolExecutor(2, ctx) as executor:
        assert list(executor.map(work.square, range(20), chunksize=3)) == [i * i for i in range(20)]
        assert isinstance(executor.submit(work.fail, "x").exception(SOON), ValueError)


def test_the_standard_librarys_executor_breaks(ctx):
    with (
        concurrent.futures.ProcessPoolExecutor(1, ctx) as executor,
        pytest.raises(BrokenProcessPool),
    ):
        executor.submit(os._exit, 1).result(SOON)


# -- death ----------------------------------------------------------------------------------------


def test_death_concerns_one_call(executor, gate):
    other = gate.submit(executor, value=1)
    pid = executor.submit(os.getpid).result(SOON)
    doomed = executor.submit(os._exit, 3)
    queued = [executor.submit(work.square, i) for i in range(10)]
    with pytest.raises(WorkerDied) as caught:
        doomed.result(SOON)
    assert (caught.value.pid, caught.value.exitcode) == (pid, 3)
    assert [future.result(SOON) for future in queued] == [i * i for i in range(10)]
    gate.open()
    assert other.result(SOON) == 1


def test_strict(futures, ctx, gate):
    with futures.ProcessPoolExecutor(2, ctx, strict=True) as executor:
        other = gate.submit(executor)
        doomed = executor.submit(os._exit, 3)
        for future in (doomed, other):
            with pytest.raises(BrokenProcessPool):
                future.result(SOON)
        with pytest.raises(BrokenProcessPool):
            executor.submit(work.square, 1)


def test_strict_when_an_idle_worker_dies(futures, ctx):
    with futures.ProcessPoolExecutor(1, ctx, strict=True) as executor:
        os.kill(executor.submit(os.getpid).result(SOON), signal.SIGKILL)

        def broken():
            try:
                executor.submit(work.square, 1)
            except BrokenProcessPool:
                return True

        until(broken)


def test_strict_where_arguments_do_not_unpickle(futures, ctx):
    with (
        futures.ProcessPoolExecutor(1, ctx, strict=True) as executor,
        pytest.raises(BrokenProcessPool),
    ):
        executor.submit(work.square, work.UnpicklesBadly()).result(SOON)


def test_not_strict_is_refused_where_it_cannot_be(backend):
    futures = _backend.load(backend.name, "futures")
    with contextlib.ExitStack() as stack:
        if backend.name == "stdlib":
            stack.enter_context(pytest.raises(NotImplementedError, match="strict"))
        futures.ProcessPoolExecutor(1, strict=False).shutdown()


# -- whole programs -------------------------------------------------------------------------------


def run(code: str, cell, *args: str, **options) -> subprocess.Popen:
    head = (
        "import os, sys, time\nimport futures_workers as work\nfrom procfast import _backend, get_context\n"
        f"ctx = get_context({cell.method!r}, backend={cell.backend.name!r})\n"
        f"make = _backend.load({cell.backend.name!r}, 'futures').ProcessPoolExecutor\n"
    )
    body = "".join(f"    {line}\n" for line in code.strip().splitlines())
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    return subprocess.Popen(
        [sys.executable, "-P", "-c", f"{head}if __name__ == '__main__':\n{body}", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        **options,
    )


def ended(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=SOON)
    return process.returncode, out, err


def test_exit_waits_for_what_was_submitted(cell):
    code = "executor = make(2, ctx)\nfor i in range(5): executor.submit(os.write, 1, b'%d ' % i)"
    status, out, err = ended(run(code, cell))
    assert (status, sorted(out.split()), err) == (0, list("01234"), "")


def test_submit_at_exit(cell):
    code = """
import atexit
executor = make(2, ctx)
executor.submit(abs, 1).result()
atexit.register(lambda: executor.submit(abs, 1))
"""
    _, _, err = ended(run(code, cell))
    assert "cannot schedule new futures after" in err


def test_forked_child(local_executor):
    """A child of fork has neither its workers nor its thread, and ends all the same."""
    future = local_executor.submit(work.square, 2)
    assert future.result(SOON) == 4
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            assert future.result(0) == 4
            gc.collect()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert local_executor.submit(work.square, 3).result(SOON) == 9


def test_interrupted(cell):
    """Ctrl-C ends the wait; workers that had nothing to do go on."""
    code = """
import signal
executor = make(1, ctx)
print(executor.submit(os.getpid).result(), flush=True)
future = executor.submit(work.wait_for, sys.argv[1])
try:
    future.result()
except KeyboardInterrupt:
    open(sys.argv[1], "x").close()
    print(future.result(), executor.submit(abs, -3).result())
executor.shutdown()
"""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        process = run(code, cell, f"{folder}/open")
        process.stdout.readline()
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        status, out, err = ended(process)
    assert (status, out.split(), err) == (0, ["None", "3"], "")


def test_burst_is_not_held_back(local_executor, tmp_path):
    """The last of many quick calls begins though nobody waits or looks, and this thread goes on without a pause."""
    path = str(tmp_path / "open")
    for i in range(300):
        local_executor.submit(work.square, i)
    local_executor.submit(work.begin_and_wait_for, str(tmp_path / "begun"), path)
    end = time.monotonic() + SOON
    while not os.path.exists(tmp_path / "begun"):
        assert time.monotonic() < end
    Path(path).touch()


def test_cycles_are_collected(local_executor):
    future = local_executor.submit(list)
    future.result(SOON).append(future)
    other = local_executor.submit(work.square, 2)
    other.itself = other
    third = local_executor.submit(work.fail, "x")
    with contextlib.suppress(ValueError):
        third.result(SOON)
    third.exception().itself = third
    seen = [weakref.ref(each) for each in (future, other, third)]
    assert other.result(SOON) == 4
    del future, other, third
    gc.collect()
    assert [ref() for ref in seen] == [None] * 3
