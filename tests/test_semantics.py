"""docs/semantics.md: each row names a test that exists; the rows that no other file shows."""

import ast
import os
import queue
import re
import signal
import threading
import time

import pytest
import workers
from conftest import ROOT, TESTS

from procfast.exceptions import OwnerDied, WorkerDied

DOCUMENT = ROOT / "docs" / "semantics.md"
SHORT = 0.3  # seconds that a wait gets to show that it goes on


def test_every_row_names_a_test():
    rows = [line for line in DOCUMENT.read_text().splitlines() if re.match(r"\| .*\|$", line)]
    rows = [row for row in rows if not row.startswith(("| object", "|---"))]
    assert len(rows) > 20
    for row in rows:
        assert re.search(r"`[\w/]+\.py::test_\w+` \|$", row), row


def test_every_test_named_exists():
    named = set(re.findall(r"`([\w/]+\.py)::(test_\w+)`", DOCUMENT.read_text()))
    for file, name in sorted(named):
        tree = ast.parse((TESTS / file).read_text())
        assert name in {f.name for f in tree.body if isinstance(f, ast.FunctionDef)}, (file, name)


@pytest.fixture
def kill(ctx):
    """Starts a process, waits for its word, and kills it."""

    def run(target, *args):
        ready = ctx.SimpleQueue()
        p = ctx.Process(target=target, args=(*args, ready))
        p.start()
        assert ready.get() == "ready"
        p.kill()
        p.join()
        assert p.exitcode == -signal.SIGKILL

    return run


def hold(lock, ready):
    lock.acquire()
    ready.put("ready")
    workers.sleep_forever()


def take_task(q, ready):
    q.get()
    ready.put("ready")
    workers.sleep_forever()


def say_ready(*args):
    args[-1].put("ready")
    workers.sleep_forever()


def arrive(barrier, ready):
    threading.Timer(0.3, ready.put, ("ready",)).start()
    barrier.wait()


def sleep_on(condition, ready):
    threading.Timer(0.3, ready.put, ("ready",)).start()
    with condition:
        condition.wait()


def wait_once(condition, woken):
    with condition:
        woken.put("waits")
        woken.put(condition.wait(20))


def test_get_without_producers(ctx, kill):
    q = ctx.Queue()
    kill(say_ready, q)
    with pytest.raises(queue.Empty):
        q.get(timeout=SHORT)
    q.put(1)
    assert q.get() == 1
    q.close()
    q.join_thread()


def test_join_without_the_worker(ctx, kill):
    q = ctx.JoinableQueue()
    q.put(1)
    kill(take_task, q)
    waiter = threading.Thread(target=q.join)
    waiter.start()
    waiter.join(SHORT)
    assert waiter.is_alive()
    q.task_done()  # whoever knows of the death says so
    waiter.join(5)
    assert not waiter.is_alive()
    q.close()
    q.join_thread()


@pytest.mark.parametrize("name", ["Lock", "Semaphore", "BoundedSemaphore"])
def test_lock_of_the_dead(ctx, kill, name):
    lock = getattr(ctx, name)()
    kill(hold, lock)
    assert not lock.acquire(timeout=SHORT)
    assert not lock.acquire(False)
    lock.release()  # anybody may
    assert lock.acquire(timeout=5)


@pytest.mark.parametrize("block", [True, False])
def test_rlock_of_the_dead(ctx, kill, block):
    lock = ctx.RLock()
    kill(hold, lock)
    with pytest.raises(OwnerDied, match="died while it held this RLock"):
        lock.acquire(block)
    with lock:
        pass


def test_robust_lock_of_the_dead(ctx, kill):
    lock = ctx.Lock(robust=True)
    kill(hold, lock)
    with pytest.raises(OwnerDied, match="died while it held this Lock"), lock:
        raise AssertionError("not to be reached")
    with lock:
        pass


def test_condition_of_the_dead(ctx, kill):
    """Its waiters that died are as if they never were."""
    condition, woken = ctx.Condition(), ctx.SimpleQueue()
    kill(sleep_on, condition)
    p = ctx.Process(target=wait_once, args=(condition, woken))
    p.start()
    assert woken.get() == "waits"
    with condition:  # only when it has begun to
        condition.notify()
    assert woken.get() is True
    p.join()


def test_event_of_the_dead(ctx, kill):
    event = ctx.Event()
    kill(say_ready, event)
    assert not event.wait(SHORT)
    event.set()
    assert event.wait(5)


def test_barrier_of_the_dead(ctx, kill):
    barrier = ctx.Barrier(3)
    kill(arrive, barrier)
    began = time.monotonic()
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(20)
    assert time.monotonic() - began < 1 + SHORT + 2
    barrier.reset()
    assert not barrier.broken


def test_pipe_of_the_dead(ctx):
    a, b = ctx.Pipe()
    ready = ctx.SimpleQueue()
    p = ctx.Process(target=say_ready, args=(b, ready))
    p.start()
    b.close()
    assert ready.get() == "ready"
    p.kill()
    p.join()
    with pytest.raises(EOFError):
        a.recv()
    with pytest.raises(BrokenPipeError):
        for _ in range(10):
            a.send(bytes(1000))
    a.close()


def test_value_of_the_dead(ctx, kill):
    value = ctx.Value("i", 5)
    kill(hold, value.get_lock())
    with pytest.raises(OwnerDied):
        value.get_lock().acquire()
    with value.get_lock():
        assert value.value == 5


def test_pool_worker_dies(ctx):
    with ctx.Pool(1) as pool:
        before = pool.apply(os.getpid)
        lost = pool.apply_async(workers.die)
        with pytest.raises(WorkerDied if "pool_worker_died" in ctx.features else ctx.TimeoutError):
            lost.get(1)
        assert pool.apply_async(workers.square, (5,)).get(30) == 25
        assert pool.apply(os.getpid) != before
        pool.terminate()
        pool.join()


def test_manager_dies(ctx):
    manager = ctx.Manager()
    try:
        d = manager.dict()
        d["a"] = 1
        manager._process.kill()
        manager._process.join()
        with pytest.raises((EOFError, ConnectionError, BrokenPipeError)):
            for _ in range(3):
                d["b"] = 2
    finally:
        del d
        manager.shutdown()


def test_the_bound_of_a_second(ctx):
    """A waiter of whom nobody thinks looks again by itself: see the kill tests for deaths."""
    q = ctx.Queue()
    began = time.monotonic()
    with pytest.raises(queue.Empty):
        q.get(timeout=1.5)
    assert time.monotonic() - began < 1.5 + 5
    q.close()
    q.join_thread()
