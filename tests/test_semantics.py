"""docs/semantics.md: each row names a test that exists; the rows that no other file shows."""

import ast
import contextlib
import os
import queue
import re
import signal
import threading
import time

import pytest
import workers
from conftest import ROOT, TESTS

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


def never_ends(ctx, target, *args) -> bool:
    """As far as can be seen in two seconds."""
    p = ctx.Process(target=target, args=args)
    p.start()
    p.join(2)
    alive = p.is_alive()
    p.kill()
    p.join()
    return alive


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


def notify(condition):
    with condition:
        condition.notify()


def wait_a_little(barrier):
    with contextlib.suppress(threading.BrokenBarrierError):
        barrier.wait(SHORT)


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


@pytest.mark.parametrize("name", ["Lock", "RLock", "Semaphore", "BoundedSemaphore"])
def test_lock_of_the_dead(ctx, kill, name):
    lock = getattr(ctx, name)()
    kill(hold, lock)
    assert not lock.acquire(timeout=SHORT)
    assert not lock.acquire(False)
    if name != "RLock":  # anybody may release it
        lock.release()
        assert lock.acquire(timeout=5)


def test_condition_of_the_dead(ctx, kill):
    condition = ctx.Condition()
    kill(sleep_on, condition)
    assert never_ends(ctx, notify, condition)


def test_event_of_the_dead(ctx, kill):
    event = ctx.Event()
    kill(say_ready, event)
    assert not event.wait(SHORT)
    event.set()
    assert event.wait(5)


def test_barrier_of_the_dead(ctx, kill):
    barrier = ctx.Barrier(3)
    kill(arrive, barrier)
    assert never_ends(ctx, wait_a_little, barrier)


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
    assert not value.get_lock().acquire(timeout=SHORT)
    assert value.get_obj().value == 5


def test_pool_worker_dies(ctx):
    with ctx.Pool(1) as pool:
        before = pool.apply(os.getpid)
        lost = pool.apply_async(workers.die)
        with pytest.raises(ctx.TimeoutError):
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
