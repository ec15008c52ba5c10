"""What native locks can beyond the standard library's, and what their memory does."""

import contextlib
import ctypes
import gc
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time

import lock_workers
import pytest
from victims import WITHIN, Victim

from procfast.exceptions import OwnerDied, RingCorrupted

METHODS = ("fork", "spawn", "forkserver")
KINDS = pytest.mark.parametrize("kind", ["Lock", "RLock"])


@pytest.fixture
def native():
    import procfast

    return procfast.get_context("fork", backend="native")


@pytest.fixture(params=METHODS)
def any_method(request):
    import procfast

    return procfast.get_context(request.param, backend="native")


def robust(ctx, kind):
    return ctx.RLock() if kind == "RLock" else ctx.Lock(robust=True)


def hold_and_die(lock, depth=1) -> int:
    """The pid of a process that died while it held the lock."""

    def body(report):
        for _ in range(depth):
            lock.acquire()
        report(1)
        time.sleep(60)

    child = Victim(body)
    assert child.hear() == 1
    child.kill()
    child.said()
    return child.pid


def in_thread(function):
    got = []
    t = threading.Thread(target=lambda: got.append(function()))
    t.start()
    t.join(WITHIN)
    return got[0]


# -- the owner ------------------------------------------------------------------------------------


@KINDS
def test_owner(native, kind):
    lock = getattr(native, kind)()
    assert lock.owner is None
    with lock:
        owner = lock.owner
        assert owner == (os.getpid(), threading.get_native_id(), None, True)
        assert (owner.pid, owner.thread, owner.since, owner.alive) == owner
        assert in_thread(lambda: lock.owner) == owner
    assert lock.owner is None
    tid = in_thread(lambda: (lock.acquire(), threading.get_native_id())[1])
    assert (lock.owner.thread, lock.owner.alive) == (
        tid,
        True,
    )  # the thread is gone, the process is not


@KINDS
def test_owner_in_another_process(any_method, kind):
    lock = getattr(any_method, kind)()
    ready, go = any_method.SimpleQueue(), any_method.SimpleQueue()
    p = any_method.Process(target=lock_workers.hold, args=(lock, ready, go))
    p.start()
    assert ready.get() == "held"
    owner = lock.owner
    assert (owner.pid, owner.thread, owner.alive) == (p.pid, p.pid, True)
    go.put(1)
    assert ready.get() == "released"
    p.join()
    assert lock.owner is None


def test_since_when(native):
    """Where somebody had to wait, and of this owner only."""
    lock = native.Lock()
    before = time.monotonic()
    lock.acquire()
    assert lock.owner.since is None
    in_thread(lambda: lock.acquire(timeout=0.05))
    since = lock.owner.since
    assert before <= since <= time.monotonic()
    in_thread(lambda: lock.acquire(timeout=0.05))
    assert lock.owner.since == since
    lock.release()
    lock.acquire()
    assert lock.owner.since is None


def test_since_when_always(python):
    """With PROCFAST_DEBUG_LOCKS=1 each acquisition is noted."""
    code = (
        "import procfast, time\n"
        "ctx = procfast.get_context('fork', backend='native')\n"
        "for lock in ctx.Lock(), ctx.RLock(), ctx.Lock(robust=True):\n"
        "    before = time.monotonic()\n"
        "    with lock: print(before <= lock.owner.since <= time.monotonic())\n"
        "    print(lock.owner)\n"
    )
    done = python("-c", code, env={"PROCFAST_DEBUG_LOCKS": "1"})
    assert done.stdout.split() == ["True", "None"] * 3


@KINDS
def test_owner_names_the_dead(native, kind):
    lock = getattr(native, kind)()
    pid = hold_and_die(lock)
    for _ in range(2):
        assert (lock.owner.pid, lock.owner.thread, lock.owner.alive) == (pid, pid, False)


# -- robust locks ---------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("how", ["acquire", "try", "timeout", "with"])
def test_owner_died(native, kind, how):
    """Once; the lock is free then, and the exception names the dead."""
    lock = robust(native, kind)
    pid = hold_and_die(lock, depth=3 if kind == "RLock" else 1)
    with pytest.raises(OwnerDied) as caught:
        if how == "with":
            lock.__enter__()
        else:
            lock.acquire(*{"acquire": (), "try": (False,), "timeout": (True, 5)}[how])
    assert caught.value.pid == pid
    assert str(caught.value) == (
        f"process {pid} died while it held this {kind}; what the lock guards may be half changed"
    )
    assert isinstance(caught.value, RuntimeError)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.pid, str(copy)) == (pid, str(caught.value))
    assert lock.owner is None
    for _ in range(2):
        assert lock.acquire(False) is True
        lock.release()
    with pytest.raises((ValueError, AssertionError)):
        lock.release()


@KINDS
def test_a_waiter_is_told(native, kind):
    lock = robust(native, kind)
    held, told = threading.Event(), []

    def body(report):
        with lock:
            report(1)
            time.sleep(60)

    def wait():
        held.set()
        try:
            lock.acquire()
        except OwnerDied as error:
            told.append(error.pid)

    child = Victim(body)
    assert child.hear() == 1
    waiter = threading.Thread(target=wait)
    waiter.start()
    held.wait()
    time.sleep(0.2)
    child.kill()
    child.said()
    waiter.join(1 + WITHIN)
    assert told == [child.pid]
    assert lock.acquire(False)


@KINDS
def test_acquire_recover(native, kind):
    lock = robust(native, kind)
    assert lock.acquire_recover() is True
    assert in_thread(lambda: lock.acquire_recover(False)) is False
    assert in_thread(lambda: lock.acquire_recover(timeout=0.05)) is False
    lock.release()
    pid = hold_and_die(lock)
    dead = lock.acquire_recover(timeout=5)
    assert (dead.pid, dead.thread, dead.alive) == (pid, pid, False)
    assert lock.owner.pid == os.getpid()
    assert in_thread(lambda: lock.acquire(False)) is False
    lock.release()
    assert lock.acquire_recover() is True
    assert lock.release() is None
    assert lock.owner is None


@KINDS
def test_recoverer_that_dies_hands_it_on(native, kind):
    """Who has it now died too: the same again."""
    lock = robust(native, kind)
    hold_and_die(lock)

    def body(report):
        report(lock.acquire_recover().pid)
        time.sleep(60)

    child = Victim(body)
    assert child.hear() > 0
    child.kill()
    child.said()
    with pytest.raises(OwnerDied) as caught:
        lock.acquire()
    assert caught.value.pid == child.pid
    assert lock.acquire(False)


@KINDS
def test_ended_thread_is_no_dead_owner(native, kind):
    lock = robust(native, kind)
    in_thread(lock.acquire)
    assert lock.acquire(timeout=0.7) is False  # past a look
    if kind == "Lock":
        lock.release()
        assert lock.acquire(False)


@KINDS
@pytest.mark.parametrize("end", ["return", "_exit", "exec", "SIGKILL", "SIGSEGV"])
def test_every_end_is_a_death(native, kind, end):
    lock = robust(native, kind)
    pid = os.fork()
    if pid == 0:
        try:
            lock.acquire()
            if end == "exec":
                os.execl("/bin/sleep", "sleep", "60")
            if end.startswith("SIG"):
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                signal.signal(signal.SIGSEGV, signal.SIG_DFL)
                os.kill(os.getpid(), getattr(signal, end))
                time.sleep(60)
        finally:
            os._exit(0)
    began = time.monotonic()
    with pytest.raises(OwnerDied) as caught:
        while True:
            lock.acquire()
            lock.release()
            assert time.monotonic() - began < WITHIN
    assert caught.value.pid == pid
    if end == "exec":
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_holder_without_descriptors_is_alive(native):
    """A daemoniser closes them all."""
    lock = native.Lock(robust=True)

    def body(report):
        lock.acquire()
        report(1)
        os.closerange(3, 4096)
        time.sleep(60)

    child = Victim(body)
    assert child.hear() == 1
    time.sleep(0.1)
    assert lock.acquire(timeout=0.7) is False
    assert lock.owner.alive
    child.kill()
    child.said()
    with pytest.raises(OwnerDied):
        lock.acquire()


def test_forked_child_does_not_keep_the_owner_alive(native):
    """It inherits all that the dead had."""
    lock = native.Lock(robust=True)
    read, write = os.pipe()

    def body(report):
        lock.acquire()
        if os.fork() == 0:
            os.read(read, 1)  # until the test ends it
            os._exit(0)
        report(1)
        time.sleep(60)

    child = Victim(body)
    assert child.hear() == 1
    child.kill()
    with pytest.raises(OwnerDied) as caught:
        lock.acquire(timeout=WITHIN)
    assert caught.value.pid == child.pid
    os.write(write, b"x")
    child.said()
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("kind", ["RLock", "robust Lock"])
def test_condition_wait_holds_the_lock_when_it_raises(native, kind):
    """So that `with` ends as ever; the depth of an RLock is there again."""
    lock = native.RLock() if kind == "RLock" else native.Lock(robust=True)
    condition, depth = native.Condition(lock), 2 if kind == "RLock" else 1

    def body(report):
        with condition:
            report(1)
            condition.notify()
            time.sleep(60)

    with contextlib.ExitStack() as stack:
        for _ in range(depth):
            stack.enter_context(condition)
        child = Victim(body)
        killer = threading.Thread(target=lambda: (child.hear(), time.sleep(0.1), child.kill()))
        killer.start()
        with pytest.raises(OwnerDied) as caught:
            condition.wait(WITHIN)
        assert caught.value.pid == child.pid
        assert lock._semlock._is_mine()
        if kind == "RLock":
            assert lock._semlock._count() == 2
        killer.join()
    child.said()
    assert lock.owner is None
    assert lock.acquire(False)


def test_interrupted_wait_passes_its_notification_on(native):
    """An exception of a signal handler, and a notification that has come already."""
    condition, seen = native.Condition(native.Lock()), []
    main = threading.main_thread().ident

    def other():
        with condition:
            seen.append(condition.wait(WITHIN))

    def notify():
        while condition._waiters() < 1:
            time.sleep(0.001)
        t.start()
        while condition._waiters() < 2:
            time.sleep(0.001)
        with condition:
            condition.notify()  # the main thread came first
            time.sleep(0.05)  # it wakes, and cannot have the lock
            signal.pthread_kill(main, signal.SIGUSR1)
            time.sleep(0.2)

    def handler(*args):
        raise ZeroDivisionError

    old = signal.signal(signal.SIGUSR1, handler)
    t, n = (threading.Thread(target=f, daemon=True) for f in (other, notify))
    try:
        condition.acquire()
        n.start()
        with pytest.raises(ZeroDivisionError):
            condition.wait(WITHIN)
        n.join(WITHIN)
        t.join(WITHIN)
        assert seen == [True]
    finally:
        signal.signal(signal.SIGUSR1, old)


# -- fairness, many at once -----------------------------------------------------------------------


@KINDS
@pytest.mark.limit(120)
def test_nobody_starves(native, kind):
    """4 processes in loops: each gets its share, none waits over a second. (10 s: by stress.)"""
    share(native, kind, 2.0)


@KINDS
@pytest.mark.stress
@pytest.mark.limit(120)
def test_nobody_starves_for_10_s(native, kind):
    share(native, kind, 10.0)


def share(native, kind, seconds):
    lock, cells = getattr(native, kind)(), native.RawArray("d", 8)

    def body(report, me):
        report(1)
        end = time.monotonic() + seconds
        while (began := time.monotonic()) < end:
            with lock:
                cells[4 + me] = max(cells[4 + me], time.monotonic() - began)
                cells[me] += 1

    children = [Victim(lambda report, me=me: body(report, me)) for me in range(4)]
    for child in children:
        assert os.waitpid(child.pid, 0)[1] == 0
        child.said()
    counts, longest = cells[:4], cells[4:]
    assert min(counts) >= 0.05 * sum(counts), counts
    assert max(longest) < 1.0, longest


@pytest.mark.limit(120)
def test_64_threads_and_16_processes(native):
    lock, cells = native.Lock(), native.RawArray("i", 1)

    def body(report):
        threads = [
            threading.Thread(target=lock_workers.count_up, args=(lock, cells, 0, 25))
            for _ in range(4)
        ]
        for t in threads:
            t.start()
        for t in threads:
            t.join()

    children = [Victim(body) for _ in range(16)]
    for child in children:
        assert os.waitpid(child.pid, 0)[1] == 0
        child.said()
    assert cells[0] == 16 * 4 * 25
    threads = [
        threading.Thread(target=lock_workers.count_up, args=(lock, cells, 0, 25)) for _ in range(64)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert cells[0] == 2 * 16 * 4 * 25


def test_many_processes_wait_on_one_condition(native):
    """More than the table of waiters has at first."""
    condition, count = native.Condition(), 40

    def body(report):
        with condition:
            report(1)
            got = condition.wait(30)
        os._exit(0 if got else 1)

    children = [Victim(body) for _ in range(count)]
    for child in children:
        assert child.hear() == 1
    with condition:
        condition.notify_all()
    for child in children:
        assert os.waitpid(child.pid, 0)[1] == 0
        child.said()


def test_barrier_notices_a_death_among_many_waiters(native):
    """The table of waiters is swept of the dead as it grows; who had come to a barrier is not forgotten."""
    condition, barrier, out = native.Condition(), native.Barrier(3), []

    def wait_in_condition():
        with condition:
            condition.wait()

    def wait_at_barrier():
        try:
            out.append(barrier.wait(30))
        except threading.BrokenBarrierError:
            out.append("broken")

    for count in (7, 15, 31):
        threads = [threading.Thread(target=wait_in_condition) for _ in range(count)]
        for t in threads:
            t.start()
        while condition._waiters() < count:
            time.sleep(0.001)
        child = Victim(lambda report: barrier.wait())
        while barrier.n_waiting < 1:
            time.sleep(0.001)
        child.kill()
        child.said()
        threads.append(threading.Thread(target=wait_at_barrier))
        threads[-1].start()
        threads[-1].join(2.5)
        barrier.reset()
        with condition:
            condition.notify_all()
        for t in threads:
            t.join(WITHIN)
    assert out == ["broken"] * 3


# -- memory ---------------------------------------------------------------------------------------


def stats():
    from procfast.native import _native

    return _native._arena()._stats()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_100_000_live_locks(native):
    """A handful of descriptors; each its own; the memory is used again."""
    gc.collect()
    native.Lock()
    fds, live = descriptors(), stats()["live"]
    locks = [native.Lock() for _ in range(100_000)]
    assert stats()["live"] == live + 100_000
    assert all(lock.acquire(False) for lock in locks[::1000])
    assert sum(lock.locked() for lock in locks) == 100
    assert descriptors() - fds <= 4
    reserved = stats()["reserved"]
    for _ in range(3):
        del locks
        assert stats()["live"] == live
        locks = [native.Lock() for _ in range(100_000)]
        assert not any(lock.locked() for lock in locks)
    assert stats()["reserved"] <= reserved


@pytest.mark.limit(120)
def test_a_million_allocations_after_a_lock_was_given_away(any_method):
    """`Process(args=(Lock(),)).start()` drops the parent's reference; what comes later is never the child's lock."""
    ready, go = any_method.SimpleQueue(), any_method.SimpleQueue()
    p = any_method.Process(target=lock_workers.hold, args=(any_method.Lock(), ready, go))
    p.start()
    assert ready.get() == "held"
    kept = []
    for i in range(1_000_000):
        lock = any_method.Lock()
        if i % 1000 == 0:
            lock.acquire()
            kept.append(lock)
    assert not lock.locked()
    go.put(1)
    assert ready.get() == "released"
    assert all(each.locked() for each in kept)
    p.join()
    assert p.exitcode == 0


def test_memory_of_the_dead_is_used_again(any_method):
    """Locks that a child could reach come back when it has ended: no growth over many children."""
    out = any_method.SimpleQueue()
    rounds = 12 if any_method.get_start_method() == "fork" else 6

    def once():
        locks = [any_method.Lock() for _ in range(2000)]
        p = any_method.Process(target=lock_workers.try_all, args=(locks[:10], out))
        p.start()
        assert out.get() == [True] * 10
        p.join()
        p.close()

    for _ in range(2):
        once()
    reserved = stats()["reserved"]
    for _ in range(rounds):
        once()
    assert stats()["reserved"] <= 2 * reserved


def test_kept_while_a_child_lives(native):
    """A block freed here is not used again while a child that was forked before can reach it."""
    locks = [native.Lock() for _ in range(100)]
    places = {lock._address() for lock in locks}
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(read, 1)
        os._exit(0)
    del locks
    fresh = [native.Lock() for _ in range(1000)]
    assert places.isdisjoint(lock._address() for lock in fresh)
    os.write(write, b"x")
    os.waitpid(pid, 0)
    os.close(read)
    os.close(write)


def test_a_child_allocates_for_itself(native):
    """From an arena of its own; and its children again."""
    lock = native.Lock()

    def body(report):
        mine = [native.Lock() for _ in range(10)]
        assert mine[0]._place()[0]._id != lock._place()[0]._id
        lock.acquire()
        pid = os.fork()
        if pid == 0:
            code = 9
            try:
                other = native.Lock()
                assert other._place()[0]._id not in (mine[0]._place()[0]._id, lock._place()[0]._id)
                assert not lock.acquire(False)
                lock.release()
                code = 0
            finally:
                os._exit(code)
        report(os.waitpid(pid, 0)[1])
        report(int(lock.acquire(False)))

    child = Victim(body)
    assert child.hear() == 0
    assert child.hear() == 1
    assert os.waitpid(child.pid, 0)[1] == 0
    child.said()
    assert lock.locked()


def test_child_forked_by_c_code(native):
    """No hook of Python's runs. It owns nothing that its parent holds, and allocates for itself."""
    libc = ctypes.CDLL(None)
    lock, rlock = native.Lock(), native.RLock()
    with lock, rlock:
        pid = libc.fork()
        if pid == 0:
            code = 9
            try:
                mine = native.Lock()
                fine = not lock.acquire(False) and not rlock.acquire(False)
                fine &= not rlock._semlock._is_mine() and mine.acquire(False)
                fine &= mine._place()[0]._id != lock._place()[0]._id
                code = 0 if fine else 1
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
    assert lock.acquire(False) and rlock.acquire(False)


def test_large_blocks_have_memory_of_their_own():
    from procfast.native import _native

    fds = descriptors()
    block = _native.new_block(5 << 20)
    assert block._place()[0]._single
    ctypes.memset(block._address(), 1, 5 << 20)
    del block
    assert descriptors() == fds


@pytest.mark.parametrize("size", [1, 63, 64, 65, 4096, 1 << 20, (1 << 20) + 1])
def test_blocks(size):
    from procfast.native import _native

    for _ in range(3):
        blocks = [_native.new_block(size) for _ in range(5)]
        for i, block in enumerate(blocks):
            assert block._size == size
            assert block._address() % 64 == 0
            memory = (ctypes.c_char * size).from_address(block._address())
            assert memory.raw == bytes(size)
            ctypes.memset(memory, i + 1, size)
        for i, block in enumerate(blocks):
            assert ctypes.string_at(block._address(), size) == bytes([i + 1]) * size


def test_impossible_blocks():
    from procfast.native import _native

    with pytest.raises((OSError, ValueError)):
        _native.new_block(0)
    with pytest.raises((MemoryError, OSError)):
        _native.new_block(1 << 60)
    with pytest.raises(OverflowError):
        _native.new_block(-1)
    arena, offset = _native.new_block(64)._place()
    for wrong, size in (
        (offset + 1, 64),
        (1 << 40, 64),
        ((1 << 64) - 64, 64),
        (offset, 1 << 50),
        (0, 64),
    ):
        with pytest.raises(RingCorrupted):
            _native.Block()._map(arena, wrong, size)


def test_attach_what_is_no_arena(tmp_path):
    from procfast.native import _native

    for content in (b"", b"x" * 100_000):
        path = tmp_path / "file"
        path.write_bytes(content)
        fd = os.open(path, os.O_RDWR)
        with pytest.raises((RingCorrupted, RuntimeError, OSError)):
            _native.attach_arena(b"x" * 16, False, fd)
        with pytest.raises(OSError):
            os.fstat(fd)  # closed


def few(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=50,
        text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()


def test_without_descriptors():
    """EMFILE is an OSError, and leaves nothing half made."""
    code = """
import os, resource, procfast
ctx = procfast.get_context("fork", backend="native")
ctx.get_context
from procfast.native import synchronize
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
used = max(map(int, os.listdir("/proc/self/fd")))
for free in range(1, 5):
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + free, hard))
    try:
        lock = ctx.Lock(robust=True)
        with lock, ctx.RLock():
            pass
    except OSError as error:
        print(error.errno)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
with ctx.Lock(), ctx.RLock(), ctx.Lock(robust=True):
    print("fine")
"""
    *errors, last = few(code)
    assert last == "fine"
    assert errors and set(errors) == {"24"}


@pytest.mark.parametrize(("limit", "size"), [("AS", 600 << 20), ("FSIZE", 8 << 20)])
def test_little_room(limit, size):
    """Address space or files of a limited size: fewer locks, and an exception where there is no room."""
    code = f"""
import resource, procfast
resource.setrlimit(resource.RLIMIT_{limit}, ({size}, {size}))
ctx = procfast.get_context("fork", backend="native")
locks = [ctx.Lock() for _ in range(20_000)]
for lock in locks[::100]:
    lock.acquire()
print(sum(lock.locked() for lock in locks))
"""
    assert few(code) == ["200"]


# -- on the way to other processes ----------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS[1:])
def test_many_in_one_message(method):
    """10,000 of them take one descriptor with them."""
    import procfast

    ctx = procfast.get_context(method, backend="native")
    locks, out = [ctx.Lock() for _ in range(10_000)], ctx.SimpleQueue()
    locks[17].acquire()
    fds = descriptors()
    p = ctx.Process(target=lock_workers.try_all, args=(locks, out))
    p.start()
    assert descriptors() - fds < 8
    got = out.get()
    p.join()
    assert got.count(False) == 1 and got[17] is False
    assert all(lock.locked() for lock in locks)
    p.close()


class Allocates:
    """Pickled in the middle of a message, it makes what opens a new epoch of the arena."""

    def __init__(self, ctx) -> None:
        self.ctx = ctx

    def __reduce__(self):
        locks = [self.ctx.Lock() for _ in range(100)]
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        locks += [self.ctx.Lock() for _ in range(100)]
        return list, ()


@pytest.mark.parametrize("method", METHODS[1:])
def test_allocations_while_a_message_is_made(method):
    import procfast

    ctx = procfast.get_context(method, backend="native")
    out = ctx.SimpleQueue()
    lock, last = ctx.Lock(), ctx.Lock()
    p = ctx.Process(target=lock_workers.try_some, args=(lock, Allocates(ctx), last, out))
    p.start()
    assert out.get() == [True, True]
    p.join()
    assert p.exitcode == 0
    assert lock.locked() and last.locked()
    p.close()


@pytest.mark.parametrize("method", METHODS[1:])
def test_inherited_by_way_of_spawn_survives_its_maker(method):
    """A grandchild has the lock when all others are gone."""
    import procfast

    ctx = procfast.get_context(method, backend="native")
    out, go = ctx.SimpleQueue(), ctx.Event()
    p = ctx.Process(
        target=lock_workers.leave_to_a_grandchild, args=((ctx.backend, method), go, out)
    )
    p.start()
    assert out.get() == "ready"
    p.kill()
    p.join()
    go.set()
    assert out.get() == [True, False, True]
    p.close()


# -- a machine without /dev/shm -------------------------------------------------------------------

HIDDEN = """
import os, sys, procfast
assert not os.path.isdir("/dev/shm") or not os.access("/dev/shm", os.W_OK), os.listdir("/dev/shm")
ctx = procfast.get_context("fork", backend="native")
def work(lock, rlock, semaphore, condition, event, barrier, queue, pipe):
    with lock, rlock, semaphore:
        pass
    event.wait()
    with condition:
        condition.notify()
    queue.put(barrier.wait())
    pipe.send("sent")
made = [ctx.Lock(), ctx.RLock(), ctx.Semaphore(), ctx.Condition(), ctx.Event(), ctx.Barrier(2), ctx.Queue()]
condition, event, barrier, queue = made[3:]
r, w = ctx.Pipe(False)
p = ctx.Process(target=work, args=(*made, w))
with condition:
    p.start()
    event.set()
    assert condition.wait(20)
assert sorted([barrier.wait(20), queue.get(timeout=20)]) == [0, 1]
assert r.recv() == "sent"
p.join()
assert p.exitcode == 0
if type(ctx).Value.__module__.startswith("procfast."):
    v = ctx.Value("i", 5)
    with v.get_lock():
        v.value += 1
    assert v.value == 6
with ctx.Pool(2) as pool:
    assert pool.map(abs, range(-20, 0)) == list(range(20, 0, -1))
    pool.close()
    pool.join()
try:
    procfast.get_context("fork", backend="stdlib").Lock()
except OSError as error:
    print("the standard library's Lock:", type(error).__name__)
else:
    sys.exit("multiprocessing.Lock() worked: /dev/shm is not hidden")
print("fine")
"""


def test_without_dev_shm(tmp_path):
    """Where `multiprocessing` has no locks at all."""
    script = tmp_path / "hidden.py"
    script.write_text(HIDDEN)
    means, command = hide_dev_shm(script)
    print(f"/dev/shm hidden by {means}")
    done = subprocess.run(
        command, text=True, capture_output=True, timeout=55, stdin=subprocess.DEVNULL
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "fine"


def hide_dev_shm(script) -> tuple[str, list[str]]:
    """A command that runs it without /dev/shm: in a mount namespace, else with a seccomp filter."""
    run = f"exec '{sys.executable}' -P '{script}'"
    shell = f"mount -t tmpfs -o ro,size=4k none /dev/shm && {run}"
    for unshare in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        tried = subprocess.run([*unshare, "sh", "-c", "mount -t tmpfs -o ro,size=4k none /dev/shm"],
                               capture_output=True, check=False)  # fmt: skip
        if tried.returncode == 0:
            return " ".join(unshare), [*unshare, "sh", "-c", shell]
    return "seccomp", [sys.executable, "-P", "-c", SECCOMP.format(script=str(script))]


# Refuses (EACCES) each open and link with a path below /dev/shm is more than a filter can see: it refuses
# the creation of files and links, which sem_open needs, to this process and its children.
SECCOMP = """
import ctypes, os, runpy, struct, sys
AT_CREAT, ERRNO_EACCES = 0o100, 0x00050000 | 13
def ins(code, jt, jf, k): return struct.pack("HBBI", code, jt, jf, k)
program = b"".join([
    ins(0x20, 0, 0, 0),                    # the call
    ins(0x15, 0, 3, 257),                  # openat?
    ins(0x20, 0, 0, 32),                   # its flags
    ins(0x45, 0, 3, AT_CREAT),
    ins(0x06, 0, 0, ERRNO_EACCES),
    ins(0x15, 0, 1, 86),                   # link?
    ins(0x06, 0, 0, ERRNO_EACCES),
    ins(0x06, 0, 0, 0x7fff0000),
])
buffer = ctypes.create_string_buffer(program, len(program))
fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, fprog, 0, 0) == 0, os.strerror(ctypes.get_errno())
os.path.isdir = lambda path, real=os.path.isdir: path != "/dev/shm" and real(path)
runpy.run_path({script!r}, run_name="__main__")
"""
