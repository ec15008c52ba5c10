"""Any worker of a pool may die at any instant: its own task fails or is tried again, all other results arrive once."""

import collections
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy  # noqa: F401  the workers are to have it: they do not live long enough to import it
import pool_workers
import pytest
import supervisor
from victims import KILLS, SEED, WITHIN

from procfast.exceptions import PoolBroken, WorkerDied

METHODS = ("fork", "spawn", "forkserver")


@pytest.fixture(params=METHODS)
def method(request):
    """Each start method; `--start-method` does not reach here, but -k does."""
    return request.param


@pytest.fixture
def ctx(method):
    import procfast

    return procfast.get_context(method, backend="native")


@pytest.fixture
def native():
    import procfast

    return procfast.get_context("fork", backend="native")


@pytest.fixture
def rng():
    print(f"PROCFAST_SEED={SEED}")  # shown when the test fails
    return random.Random(SEED)


class Killer(threading.Thread):
    """Kills a worker of the pool now and then, until it has killed so many or is told to stop."""

    def __init__(self, pool, kills: int, rng, pause: float) -> None:
        super().__init__(daemon=True)
        self.pool, self.kills, self.rng, self.pause = pool, kills, rng, pause
        self.killed: list[int] = []
        self.enough = threading.Event()

    def run(self) -> None:
        while len(self.killed) < self.kills and not self.enough.is_set():
            time.sleep(self.rng.uniform(0, self.pause))
            with contextlib.suppress(IndexError, ValueError, AttributeError):
                process = self.rng.choice(list(self.pool._pool))
                pid = process.pid
                if pid not in self.killed:
                    process.kill()
                    self.killed.append(pid)

    def __enter__(self) -> "Killer":
        self.start()
        return self

    def __exit__(self, *exc_info) -> None:
        self.enough.set()
        self.join()


def log(path: str) -> collections.Counter[int]:
    with open(path, "rb") as file:
        data = file.read()
    assert len(data) % 8 == 0
    return collections.Counter(
        int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)
    )


def kill_until(pool, rng, kills: int, tasks: int, pause: float) -> None:
    """Every result arrives once, in order for map, until so many workers were killed and so many tasks done."""
    forever = {"retries": 1 << 20}
    done = 0
    with Killer(pool, 1 << 30, rng, pause) as killer:
        while len(killer.killed) < kills or done < tasks:
            n = rng.randrange(1, 3000)
            squares = [x * x for x in range(n)]
            kind = rng.randrange(5)
            if kind == 0:
                chunk = rng.choice((1, 1, 7, None))
                assert pool.map(pool_workers.square, range(n), chunk, **forever) == squares
            elif kind == 1:
                assert list(pool.imap(pool_workers.square, iter(range(n)), **forever)) == squares
            elif kind == 2:
                it = pool.imap_unordered(pool_workers.square, range(n), **forever)
                assert sorted(it) == squares
            elif kind == 3:
                pairs = [(x, x * x - x) for x in range(n)]
                assert pool.starmap(pool_workers.add, pairs, 1, **forever) == squares
            else:
                n = n // 10 + 1
                calls = [pool.apply_async(pool_workers.array_of, (i,), **forever) for i in range(n)]
                assert [int(c.get()[0]) for c in calls] == list(range(n))
            done += n
    assert not pool._cache
    print(f"{len(killer.killed)} kills, {done} tasks")


@pytest.mark.limit(600)
def test_random_kills_with_retries(native, rng):
    """2,000 kills and a million tasks: PROCFAST_KILLS=4000."""
    with native.Pool(3) as pool:
        kill_until(pool, rng, KILLS // 2, 250 * KILLS, 0.006)


@pytest.mark.stress
@pytest.mark.limit(600)
@pytest.mark.parametrize("method", METHODS[1:])
def test_random_kills_with_retries_and_slow_starts(ctx, rng):
    """Fewer kills: whoever kills all workers before they have begun gets a broken pool."""
    with ctx.Pool(3) as pool:
        kill_until(pool, rng, KILLS // 100, 20 * KILLS, 1.2)


@pytest.mark.limit(600)
def test_random_kills_fail_one_task_each(native, rng, tmp_path):
    """Without retries no task runs twice, and a death is the error of at most one."""
    path = str(tmp_path / "ran")
    failures, total = [], 0
    with native.Pool(3) as pool, Killer(pool, KILLS // 2, rng, 0.006) as killer:
        while killer.is_alive():
            n = rng.randrange(1, 1500)
            calls = [pool.apply_async(pool_workers.note, (path, total + i)) for i in range(n)]
            for i, call in enumerate(calls):
                try:
                    assert call.get() == total + i
                except WorkerDied as died:
                    assert died.exitcode == -signal.SIGKILL
                    failures.append(died.pid)
            total += n
    ran = log(path)
    assert set(ran.values()) == {1}
    assert len(failures) == len(set(failures))
    assert set(failures) <= set(killer.killed)
    assert total - len(failures) <= len(ran) <= total


POINTS = {
    "unpickling": (pool_workers.nothing, lambda: (pool_workers.DiesWhenUnpickled(),)),
    "running": (pool_workers.die, lambda: ()),
    "pickling": (pool_workers.give_deadly, lambda: ()),
}


@pytest.mark.parametrize("point", POINTS)
def test_killed_at(ctx, point):
    """Its task fails, within a second, with who it was and how it ended; the pool goes on."""
    function, arguments = POINTS[point]
    with ctx.Pool(1) as pool:
        pid = pool.apply(os.getpid)
        doomed = pool.apply_async(function, arguments())
        others = [pool.apply_async(pool_workers.square, (i,)) for i in range(10)]
        began = time.monotonic()
        with pytest.raises(WorkerDied) as caught:
            doomed.get(WITHIN)
        assert time.monotonic() - began < WITHIN
        assert caught.value.pid == pid
        assert caught.value.exitcode == -signal.SIGKILL
        assert "SIGKILL" in str(caught.value)
        assert [other.get(30) for other in others] == [i * i for i in range(10)]
        assert pool.apply(os.getpid) != pid


def test_killed_when_the_result_is_there(ctx):
    """The worker dies before it says that it has nothing in hand: the result counts."""
    with ctx.Pool(1) as pool:
        for i in range(10):
            assert pool.apply(pool_workers.give_and_die, (i,)) == i


def test_exit_codes(native):
    with native.Pool(1) as pool:
        for end, code in ((3, 3), (0, 0)):
            with pytest.raises(WorkerDied) as caught:
                pool.apply(os._exit, (end,))
            assert caught.value.exitcode == code
        with pytest.raises(WorkerDied) as caught:
            pool.apply(pool_workers.segfault)
        assert caught.value.exitcode == -signal.SIGSEGV


def test_idle_deaths_are_not_seen(ctx):
    with ctx.Pool(2) as pool:
        before = {process.pid for process in pool._pool}
        for process in list(pool._pool):
            process.kill()
        assert pool.map(pool_workers.square, range(100), 1) == [x * x for x in range(100)]
        wait_until(lambda: not before & {process.pid for process in pool._pool})


def test_all_die_at_once(ctx):
    with ctx.Pool(3) as pool:
        calls = [pool.apply_async(pool_workers.sleep, (60,)) for _ in range(3)]
        later = [pool.apply_async(pool_workers.square, (i,)) for i in range(5)]
        wait_until(lambda: pool.stats().queued == 5)
        for process in list(pool._pool):
            process.kill()
        for call in calls:
            with pytest.raises(WorkerDied):
                call.get(30)
        assert [call.get(30) for call in later] == [0, 1, 4, 9, 16]


def test_death_while_the_pool_is_closed(native):
    pool = native.Pool(2)
    doomed = pool.apply_async(pool_workers.die)
    calls = [pool.apply_async(pool_workers.square, (i,)) for i in range(100)]
    pool.close()
    pool.join()
    assert [call.get(0) for call in calls] == [i * i for i in range(100)]
    with pytest.raises(WorkerDied):
        doomed.get(0)


def test_retries_run_out(native, tmp_path):
    path = str(tmp_path / "ran")
    with native.Pool(2) as pool:
        with pytest.raises(WorkerDied):
            pool.apply(pool_workers.note_and_die, (path, 7), retries=2)
        assert log(path) == {7: 3}


def test_only_the_task_of_the_dead_is_tried_again(native, tmp_path):
    path = str(tmp_path / "ran")
    with native.Pool(2) as pool:
        tasks = [(path, i, i == 5) for i in range(50)]
        assert pool.starmap(pool_workers.note_and_die_once, tasks, 1, retries=1) == list(range(50))
    assert log(path) == {i: 2 if i == 5 else 1 for i in range(50)}


def test_timeout_kills_one_worker_only(native):
    with native.Pool(2) as pool:
        other = pool.apply_async(pool_workers.sleep, (1.0,))
        slow = pool.apply_async(pool_workers.sleep, (60,), timeout=0.3)
        with pytest.raises(native.TimeoutError):
            slow.get(30)
        assert other.get(30) == 1.0
        assert pool.apply(pool_workers.sleep, (0.0,), timeout=30) == 0.0


def test_cancel_what_runs(native):
    from concurrent.futures import CancelledError

    with native.Pool(1) as pool:
        pid = pool.apply(os.getpid)
        running = pool.apply_async(pool_workers.sleep, (60,))
        queued = pool.apply_async(pool_workers.square, (3,))
        wait_until(lambda: pool.stats().workers[0].running > 0)
        assert running.cancel()
        with pytest.raises(CancelledError):
            running.get(0)
        assert queued.get(30) == 9
        assert not queued.cancel()
        assert pool.apply(os.getpid) != pid


def test_initializer_that_always_fails(ctx):
    pool = ctx.Pool(2, pool_workers.fail_to_start, ("why it is",))
    with pytest.raises(PoolBroken, match="why it is") as caught:
        pool.map(pool_workers.square, range(10))
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(PoolBroken):
        pool.apply(pool_workers.square, (1,))
    pool.terminate()
    pool.join()


def test_initializer_that_dies(native):
    pool = native.Pool(2, pool_workers.die)
    with pytest.raises(PoolBroken, match="SIGKILL"):
        pool.map(pool_workers.square, range(10))
    pool.terminate()


def test_initializer_that_fails_twice(native, tmp_path):
    with native.Pool(2, pool_workers.fail_twice, (str(tmp_path),)) as pool:
        assert pool.map(pool_workers.square, range(10)) == [x * x for x in range(10)]


OWNER = """
import sys, time
import procfast, pool_workers
ctx = procfast.get_context(sys.argv[1], backend="native")
if __name__ == "__main__":
    pool = ctx.Pool(3)
    pool.apply_async(pool_workers.sleep, (60,))
    pool.apply_async(pool_workers.spin)
    while pool.stats().queued:
        time.sleep(0.01)
    print(*(process.pid for process in pool._pool), flush=True)
    if sys.argv[2] == "asleep":
        time.sleep(60)
    else:
        pool.map(pool_workers.square, range(1 << 30))
"""


@pytest.mark.parametrize("state", ["asleep", "busy"])
def test_owner_killed(tmp_path, state):
    """All workers are gone soon, idle or busy."""
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    owner = subprocess.Popen(
        [sys.executable, str(script), "fork", state], stdout=subprocess.PIPE, text=True, env=env
    )
    workers = [int(pid) for pid in owner.stdout.readline().split()]
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert len(workers) == 3
    wait_until(lambda: not any(runs(pid) for pid in workers))


def runs(pid: int) -> bool:
    found = supervisor.processes().get(pid)
    return found is not None and found.state != "Z"


def wait_until(condition) -> None:
    end = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
