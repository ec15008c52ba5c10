"""What only a queue without feeder thread and pipe can promise."""

import os
import pickle
import select
import signal
import threading
import time

import pytest
import workers


@pytest.fixture
def native():
    import procfast

    return procfast.get_context("fork", backend="native")


def test_put_starts_no_thread(native):
    q = native.Queue()
    before = threading.active_count()
    for _ in range(100):
        q.put(bytes(100_000))
    assert threading.active_count() == before
    q.close()


def test_no_name_anywhere(native):
    before = set(os.listdir("/dev/shm"))
    q = native.Queue()
    q.put(bytes(1 << 20))
    assert set(os.listdir("/dev/shm")) <= before
    q.close()


def test_writer_of_a_queue(native):
    """_writer.send is put, whatever the kind."""
    for q in (native.Queue(), native.JoinableQueue(), native.SimpleQueue()):
        q._writer.send([1])
        assert q.get() == [1]
        q._writer.send_bytes(pickle.dumps({2: 3}))
        assert q.get() == {2: 3}
        q.close()


def test_descriptors_of_a_queue(native):
    """A handful each, so that `ulimit -n` is not the limit of a program with many queues."""
    before = len(os.listdir("/proc/self/fd"))
    queues = [native.Queue() for _ in range(10)]
    assert len(os.listdir("/proc/self/fd")) - before <= 3 * len(queues)
    for q in queues:
        q.close()


def test_ring_before_commit(native):
    """The doorbell is never late: whoever sees the descriptor silent finds the queue empty."""
    q = native.Queue()
    fd = q._reader.fileno()
    pid = os.fork()
    if pid == 0:
        for i in range(20_000):
            q.put(i)
        os._exit(0)
    poll, seen = select.poll(), 0
    poll.register(fd, select.POLLIN)
    while seen < 20_000:
        assert poll.poll(10_000), f"silent with {q.qsize()} items in it"
        while not q.empty():
            assert q.get() == seen
            seen += 1
    os.waitpid(pid, 0)
    q.close()


def test_descriptor_of_a_killed_producer(native):
    """A producer killed while it rings leaves a descriptor that tells the truth."""
    q = native.Queue()
    fd = q._reader.fileno()
    for i in range(200):
        pid = os.fork()
        if pid == 0:
            while True:
                q.put(workers.sealed(1, 2000))
        time.sleep(0.0005 + (i % 7) * 0.0001)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        while not q.empty():
            assert select.select([fd], [], [], 1)[0], "items, and no sign of them"
            assert workers.unseal(q.get(timeout=1)) == 1
        q.put(b"after")
        assert select.select([fd], [], [], 1)[0]
        assert q.get() == b"after"
    q.close()


@pytest.mark.parametrize("count", [1, 100, 10_000])
def test_batch_is_seen_whole(native, count):
    """One commit covers a put_many."""
    q = native.Queue()
    q.put_many(range(count))
    assert q.qsize() == count
    assert q.get_many(count) == list(range(count))
    assert q.empty()
    q.close()


def test_use_after_fork_and_close_in_the_child(native):
    """A child's close is the child's."""
    q = native.Queue()
    pid = os.fork()
    if pid == 0:
        q.close()
        os._exit(0)
    os.waitpid(pid, 0)
    q.put(1)
    assert q.get() == 1
    q.close()


def test_c_fork(native):
    """A child made by fork(2) without Python's hooks (a C library's) uses the queue."""
    import ctypes

    q, out = native.Queue(), native.Queue()
    q.put("for the child")
    pid = ctypes.PyDLL(None).fork()
    if pid == 0:
        out.put(q.get(timeout=5))
        os._exit(0)
    os.waitpid(pid, 0)
    assert out.get(timeout=5) == "for the child"
    q.put(1)
    assert q.get(timeout=5) == 1
    q.close()
    out.close()
