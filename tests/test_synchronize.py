"""Lock, RLock, Semaphore, BoundedSemaphore, Condition, Event, Barrier: what any backend must do."""

import contextlib
import copy
import inspect
import multiprocessing
import multiprocessing.managers
import multiprocessing.queues
import os
import pickle
import queue
import resource
import signal
import sys
import threading
import time
from multiprocessing import synchronize

import lock_workers
import pytest
import workers

LOCKS = ("Lock", "RLock", "Semaphore", "BoundedSemaphore")
CLASSES = (*LOCKS, "Condition", "Event", "Barrier")
SHORT = 0.2  # seconds that a wait gets to show that it goes on
SLACK = 5.0  # seconds a loaded machine may add to what should be immediate
OVER = "semaphore or lock released too many times"
NOT_MINE = "attempt to release recursive lock not owned by thread"
BLOCKING = ("acquire", "with", "recursive", "semaphore", "bounded", "condition", "wait_for", "event",
            "barrier")  # fmt: skip


def make(ctx, name):
    return getattr(ctx, name)(*((2,) if name == "Barrier" else ()))


@pytest.fixture
def alarm():
    """Sets a handler for SIGALRM and a timer; both are undone."""
    old = signal.getsignal(signal.SIGALRM)

    def start(handler, first, interval=0.0):
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, first, interval)

    yield start
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, old)


@pytest.fixture
def spawn(ctx):
    """Starts processes that must end well."""
    started = []

    def start(target, *args):
        p = ctx.Process(target=target, args=args)
        p.start()
        started.append(p)
        return p

    yield start
    try:
        for p in started:
            p.join(30)
        assert [p.exitcode for p in started] == [0] * len(started)
    finally:
        for p in started:
            if p.is_alive():
                p.kill()
                p.join()
            p.close()


@contextlib.contextmanager
def thread(target, *args):
    t = threading.Thread(target=target, args=args)
    t.start()
    try:
        yield t
    finally:
        t.join(20)
        assert not t.is_alive()


def in_thread(function, name="helper"):
    got = []
    t = threading.Thread(target=lambda: got.append(function()), name=name)
    t.start()
    t.join()
    return got[0]


def error_of(function, *args):
    try:
        function(*args)
    except Exception as error:
        return str(error)


class Results(list):
    put = list.append


class Blocked:
    """A call that waits, of any of the classes: call(timeout), and free() from another thread ends it."""

    def __init__(self, ctx, what):
        self.what = what
        self._leave = threading.Event()
        if what in ("acquire", "with", "semaphore", "bounded"):
            kind = {"semaphore": "Semaphore", "bounded": "BoundedSemaphore"}.get(what, "Lock")
            self.obj = make(ctx, kind)
            self.obj.acquire()
            self.free = self.obj.release
        elif what == "recursive":
            self.obj = ctx.RLock()
            held = threading.Event()
            self._holder = threading.Thread(target=self._hold, args=(held,))
            self._holder.start()
            held.wait()
            self.free = self._leave.set
        elif what in ("condition", "wait_for"):
            self.obj, self.done = ctx.Condition(), False
            self.obj.acquire()
            self.free = self._notify
        elif what == "event":
            self.obj = ctx.Event()
            self.free = self.obj.set
        else:
            self.obj = ctx.Barrier(2)
            self.free = self.obj.wait

    def _hold(self, held):
        with self.obj:
            held.set()
            self._leave.wait()

    def _notify(self):
        with self.obj:
            self.done = True
            self.obj.notify()

    def call(self, timeout=None):
        """True where what was waited for came, False after the timeout."""
        if self.what == "with":
            self.obj.__enter__()
            return True
        if self.what == "condition":
            return self.obj.wait(timeout)
        if self.what == "wait_for":
            return self.obj.wait_for(lambda: self.done, timeout)
        if self.what == "event":
            return self.obj.wait(timeout)
        if self.what == "barrier":
            try:
                return self.obj.wait(timeout) in (0, 1)
            except threading.BrokenBarrierError:
                return False
        return self.obj.acquire(timeout=timeout)

    def close(self):
        if self.what == "recursive":
            self._leave.set()
            self._holder.join()


@pytest.fixture(params=BLOCKING)
def blocked(local, request):
    b = Blocked(local, request.param)
    yield b
    b.close()


# -- what they are --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSES)
def test_isinstance(ctx, name):
    obj = make(ctx, name)
    assert isinstance(obj, getattr(synchronize, name))
    assert type(obj).__name__ == name
    if name in LOCKS:
        assert isinstance(obj, synchronize.SemLock)
    if name == "Barrier":
        assert isinstance(obj, threading.Barrier)


def parameters(function):
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("name", CLASSES)
def test_methods_keep_their_signatures(local, name):
    theirs, ours = make(multiprocessing.get_context("fork"), name), make(local, name)
    for method in dir(theirs):
        if not method.startswith("_") and callable(getattr(theirs, method)):
            assert parameters(getattr(ours, method)) == parameters(getattr(theirs, method)), method


@pytest.mark.parametrize("name", LOCKS)
def test_signature_of_acquire(local, name):
    lock = make(local, name)
    assert [p[0] for p in parameters(lock.acquire)] == ["block", "timeout"]
    assert lock.acquire(block=True, timeout=1) is True
    lock.release()
    assert lock.acquire(True, 1) is True
    lock.release()
    assert lock.acquire(timeout=None) is True
    lock.release()
    assert lock.acquire(0) is True
    assert lock.release() is None


@pytest.mark.parametrize("name", CLASSES)
def test_attributes_of_the_users(local, name):
    obj = make(local, name)
    obj.label = "mine"
    assert obj.label == "mine"


def test_subclass(local):
    class Named(type(local.Lock())):
        def __init__(self, name, *, ctx):
            super().__init__(ctx=ctx)
            self.name = name

    lock = Named("x", ctx=local)
    with lock:
        assert not lock.acquire(False)
    assert lock.name == "x"


# -- Lock -----------------------------------------------------------------------------------------


def test_lock(local):
    lock = local.Lock()
    assert lock.acquire() is True
    assert lock.acquire(False) is False
    assert lock.acquire(block=False) is False
    assert lock.release() is None
    with pytest.raises(ValueError, match=OVER):
        lock.release()
    with lock as entered:
        assert entered is True
        assert lock.acquire(False) is False
    assert lock.acquire(False) is True
    lock.release()


def test_exit_of_with_keeps_the_exception(local):
    for name in LOCKS:
        lock = make(local, name)
        with pytest.raises(ZeroDivisionError), lock:
            raise ZeroDivisionError
        assert lock.acquire(False)


def test_lock_released_by_another_thread(local):
    lock = local.Lock()
    lock.acquire()
    with thread(lock.release):
        pass
    assert lock.acquire(False)


def test_exit_of_a_free_lock(local):
    lock = local.Lock()
    with pytest.raises(ValueError, match=OVER), lock:
        lock.release()


@pytest.mark.parametrize("name", LOCKS)
def test_locked(local, name):
    lock = make(local, name)
    assert lock.locked() is False
    lock.acquire()
    assert lock.locked() is True
    assert in_thread(lock.locked) is True
    lock.release()
    assert lock.locked() is False


# -- RLock ----------------------------------------------------------------------------------------


def test_rlock(local):
    lock = local.RLock()
    for _ in range(5):
        assert lock.acquire() is True
    with lock:
        assert lock.acquire(False) is True
        lock.release()
    for _ in range(5):
        assert lock.release() is None
    with pytest.raises(AssertionError, match=NOT_MINE):
        lock.release()


def test_rlock_of_another_thread(local):
    lock = local.RLock()
    lock.acquire()
    lock.acquire()
    seen = []

    def other():
        seen.append(lock.acquire(False))
        try:
            lock.release()
        except AssertionError as error:
            seen.append(str(error))
        seen.append(lock.acquire(timeout=20))
        lock.release()

    with thread(other):
        while len(seen) < 2:
            time.sleep(0.001)
        assert lock._semlock._count() == 2
        lock.release()
        lock.release()
    assert seen == [False, NOT_MINE, True]


# -- Semaphores -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Semaphore", "BoundedSemaphore"])
def test_semaphore(local, name):
    s = getattr(local, name)(2)
    assert s.get_value() == 2
    assert s.acquire() is True
    assert s.get_value() == 1
    with s:
        assert s.get_value() == 0
        assert s.acquire(False) is False
        assert s.locked()
    assert s.release() is None
    assert s.get_value() == 2


def test_semaphore_grows(local):
    s = local.Semaphore()
    assert s.get_value() == 1
    for _ in range(5):
        s.release()
    assert s.get_value() == 6
    assert [s.acquire(False) for _ in range(7)] == [True] * 6 + [False]


def test_semaphore_of_zero(local):
    s = local.Semaphore(0)
    assert s.acquire(False) is False
    s.release()
    assert s.acquire(False) is True


def test_bounded_semaphore(local):
    s = local.BoundedSemaphore(2)
    with pytest.raises(ValueError, match=OVER):
        s.release()
    s.acquire()
    s.release()
    with pytest.raises(ValueError, match=OVER):
        s.release()
    assert s.get_value() == 2
    with pytest.raises(ValueError, match=OVER):
        local.BoundedSemaphore(0).release()


def test_largest_semaphore(local):
    s = local.Semaphore(synchronize.SEM_VALUE_MAX)
    with pytest.raises(ValueError, match=OVER):
        s.release()
    assert s.acquire(False)
    s.release()
    assert s.get_value() == synchronize.SEM_VALUE_MAX


@pytest.mark.parametrize("name", ["Semaphore", "BoundedSemaphore"])
def test_bad_values(local, name):
    factory = getattr(local, name)
    with pytest.raises((ValueError, OSError)):
        factory(-1)
    with pytest.raises(OverflowError):
        factory(2**40)
    with pytest.raises(TypeError):
        factory("1")
    with pytest.raises(TypeError):
        factory(1.5)


# -- timeouts and bad input -----------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, 0.0, -1, -0.5, -1e9])
def test_timeouts_that_do_not_wait(blocked, timeout):
    if blocked.what == "with":
        return
    began = time.monotonic()
    assert blocked.call(timeout) is False
    assert time.monotonic() - began < SLACK


def test_timeout(blocked):
    if blocked.what == "with":
        return
    for timeout in (0.05, 0.3):
        began = time.monotonic()
        assert blocked.call(timeout) is False
        assert timeout - 0.005 < time.monotonic() - began < timeout + SLACK
        if blocked.what == "barrier":
            blocked.obj.reset()


def test_what_is_waited_for_comes_in_time(blocked):
    timer = threading.Timer(0.1, blocked.free)
    timer.start()
    began = time.monotonic()
    assert blocked.call(None if blocked.what == "with" else 20) is True
    assert 0.05 < time.monotonic() - began < SLACK
    timer.join()


@pytest.mark.parametrize("name", LOCKS)
def test_timeout_without_blocking_is_ignored(local, name):
    lock = make(local, name)
    assert lock.acquire(False, 5) is True
    if name != "RLock":
        began = time.monotonic()
        assert lock.acquire(False, 5) is False
        assert time.monotonic() - began < SLACK


@pytest.mark.parametrize("timeout", [1e9, 1e12])
def test_long_timeouts(blocked, timeout):
    if blocked.what == "with":
        return
    timer = threading.Timer(0.1, blocked.free)
    timer.start()
    assert blocked.call(timeout) is True
    timer.join()


@pytest.mark.parametrize("name", LOCKS)
def test_bad_arguments(local, name):
    lock = make(local, name)
    for args in ((True, "x"), (False, "x"), (True, []), (1, 2, 3)):
        with pytest.raises(TypeError):
            lock.acquire(*args)
    with pytest.raises(TypeError):
        lock.acquire(wait=True)
    with pytest.raises(TypeError):
        lock.release(1)
    assert lock.acquire(False)


@pytest.mark.parametrize("name", ["Lock", "RLock"])
def test_bad_arguments_of_the_factory(local, name):
    with pytest.raises(TypeError):
        getattr(local, name)(1)
    with pytest.raises(TypeError):
        getattr(local, name)(colour="red")


@pytest.mark.parametrize("what", ["wait", "wait_for"])
def test_bad_timeout_of_a_condition(local, what):
    """The lock is held as before, and nobody is left behind as a waiter."""
    condition = local.Condition()
    with condition:
        with pytest.raises(TypeError):
            if what == "wait":
                condition.wait("x")
            else:
                condition.wait_for(lambda: False, "x")
        assert condition._lock._semlock._is_mine()
        assert repr(condition).endswith(", 0)>")
    assert condition.acquire(False)


def test_bad_timeout_of_an_event(local):
    with pytest.raises(TypeError):
        local.Event().wait("x")


def test_bad_lock_of_a_condition(local):
    with pytest.raises(AttributeError):
        local.Condition(5)


# -- signals --------------------------------------------------------------------------------------


def test_signal_does_not_end_a_wait(blocked, alarm):
    """PEP 475: the handler runs at once, the deadline stays."""
    if blocked.what == "with":
        return
    hits = []
    alarm(lambda *args: hits.append(time.monotonic()), 0.05, 0.05)
    began = time.monotonic()
    assert blocked.call(0.5) is False
    assert 0.49 < time.monotonic() - began < 0.5 + SLACK
    assert len(hits) >= 4


def test_storm_of_signals(blocked, alarm):
    hits = []
    timer = threading.Timer(0.4, blocked.free)
    timer.start()
    alarm(lambda *args: hits.append(1), 0.001, 0.001)
    assert blocked.call() is True
    alarm(lambda *args: None, 0)
    assert len(hits) > 20
    timer.join()


def after_interruption(blocked):
    """It is as it was before the call, and works."""
    if blocked.what in ("condition", "wait_for"):
        assert blocked.obj._lock._semlock._is_mine()
        assert repr(blocked.obj).endswith(", 0)>")
    if blocked.what == "barrier":
        assert (blocked.obj.n_waiting, blocked.obj.broken) == (0, False)
    if blocked.what == "event":
        assert not blocked.obj.is_set()
    timer = threading.Timer(0.1, blocked.free)
    timer.start()
    assert blocked.call(None if blocked.what == "with" else 20) is True
    timer.join()


def test_exception_of_a_handler_ends_a_wait(blocked, alarm):
    def handler(*args):
        raise ZeroDivisionError

    alarm(handler, 0.1)
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        blocked.call()
    assert time.monotonic() - began < SLACK
    after_interruption(blocked)


def test_interrupt_ends_a_wait(blocked):
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        blocked.call()
    assert time.monotonic() - began < SLACK
    timer.join()
    after_interruption(blocked)


def test_handler_frees_what_it_interrupted(blocked, alarm):
    """The handler runs in the middle of the call, and may use the very object."""
    if blocked.what in ("barrier", "condition", "wait_for"):
        return  # it would have to wait for itself
    alarm(lambda *args: blocked.free(), 0.1)
    assert blocked.call(None if blocked.what == "with" else 20) is True


@pytest.mark.parametrize(
    ("name", "call"),
    [("Lock", "acquire"), ("Lock", "__enter__"), ("RLock", "acquire"), ("Semaphore", "acquire"),
     ("BoundedSemaphore", "__enter__"), ("Condition", "wait"), ("Event", "wait"), ("Barrier", "wait")],
)  # fmt: skip
def test_control_c_in_a_child(ctx, spawn, name, call):
    obj, ready = make(ctx, name), ctx.SimpleQueue()
    if name in LOCKS:
        obj.acquire()
    p = spawn(lock_workers.interrupted_call, ready, obj, call)
    assert ready.get() == "ready"
    time.sleep(0.1)
    os.kill(p.pid, signal.SIGINT)
    assert ready.get() == "interrupted"


# -- Condition ------------------------------------------------------------------------------------


@pytest.fixture(params=["RLock", "Lock", "Semaphore", "BoundedSemaphore"])
def condition(local, request):
    return local.Condition(make(local, request.param))


def test_condition_needs_its_lock(condition):
    with pytest.raises(AssertionError, match=r"must acquire\(\) condition before using wait\(\)"):
        condition.wait()
    with pytest.raises(AssertionError, match="lock is not owned"):
        condition.notify()
    with pytest.raises(AssertionError, match="lock is not owned"):
        condition.notify_all()
    with condition:
        assert in_thread(lambda: error_of(condition.notify)) == "lock is not owned"


def test_condition_is_its_lock(condition):
    with condition as entered:
        assert entered is True
        assert condition._lock.locked()
    assert not condition._lock.locked()
    assert condition.acquire() is True
    assert condition._lock.locked()
    assert condition.release() is None
    assert condition.acquire(False) is True
    assert condition.acquire(timeout=0.01) is (type(condition._lock).__name__ == "RLock")


def test_wait_and_notify(condition):
    seen = []

    def waiter():
        with condition:
            seen.append("waits")
            seen.append(condition.wait(20))
            seen.append(condition._lock._semlock._is_mine())

    with thread(waiter):
        while seen != ["waits"]:
            time.sleep(0.001)
        with condition:  # only when it has begun to wait
            condition.notify()
            time.sleep(0.05)
            assert seen == ["waits"]  # it needs the lock
    assert seen == ["waits", True, True]
    assert condition.acquire(False)


def test_notification_is_not_kept(condition):
    with condition:
        condition.notify()
        condition.notify_all()
        assert condition.wait(0.05) is False
        assert condition._lock._semlock._is_mine()


def test_depth_of_an_rlock_comes_back(local):
    condition = local.Condition()
    for _ in range(3):
        condition.acquire()
    with thread(lock_workers.set_and_notify, condition, [0], 1):
        assert condition.wait(20) is True
    assert condition._lock._semlock._count() == 3
    assert condition.wait(0.02) is False
    assert condition._lock._semlock._count() == 3
    for _ in range(3):
        condition.release()
    with pytest.raises(AssertionError):
        condition.release()


def sleepers(ctx, spawn, condition, processes, threads):
    """So many that wait; a queue of what their wait() answers."""
    ready, out = ctx.Semaphore(0), ctx.SimpleQueue()
    for _ in range(processes):
        spawn(lock_workers.wait_condition, condition, ready, out)
    started = []
    for _ in range(threads):
        t = threading.Thread(target=lock_workers.wait_condition, args=(condition, ready, out))
        t.start()
        started.append(t)
    for _ in range(processes + threads):
        assert ready.acquire(timeout=20)
    return out, started


def test_notify_n(ctx, spawn):
    """Each wakes as many as it says, no more."""
    condition = ctx.Condition()
    out, threads = sleepers(ctx, spawn, condition, 3, 3)
    with condition:
        assert repr(condition).endswith(", 6)>")
    for n, woken in ((0, 0), (1, 1), (2, 2)):
        with condition:
            condition.notify(n)
        for _ in range(woken):
            assert out.get() is True
        time.sleep(SHORT)
        assert out.empty()
    with condition:
        condition.notify_all()
    for _ in range(3):
        assert out.get() is True
    for t in threads:
        t.join()
    with condition:
        condition.notify(7)
        assert repr(condition).endswith(", 0)>")


def test_notify_more_than_wait(ctx, spawn):
    condition = ctx.Condition(ctx.Lock())
    out, threads = sleepers(ctx, spawn, condition, 1, 1)
    with condition:
        condition.notify(10)
    assert [out.get(), out.get()] == [True, True]
    for t in threads:
        t.join()
    with condition:
        assert condition.wait(0.02) is False


def test_those_that_timed_out_take_no_notification(local):
    condition = local.Condition()
    with condition:
        for _ in range(3):
            assert condition.wait(0.01) is False
    seen = []

    def waiter():
        with condition:
            seen.append("waits")
            seen.append(condition.wait(20))

    with thread(waiter):
        while not seen:
            time.sleep(0.001)
        with condition:
            condition.notify()
    assert seen == ["waits", True]


def test_wait_for(ctx, spawn):
    condition, cells = ctx.Condition(), ctx.RawArray("i", 1)
    ready, out = ctx.Semaphore(0), ctx.SimpleQueue()
    spawn(lock_workers.wait_for_value, condition, cells, 3, ready, out)
    assert ready.acquire(timeout=20)
    for value in (1, 2, 3):
        lock_workers.set_and_notify(condition, cells, value)
    assert out.get() is True


def test_wait_for_answers(local):
    condition = local.Condition()
    with condition:
        assert condition.wait_for(lambda: "truth") == "truth"
        assert condition.wait_for(list, 0.05) == []
        assert condition.wait_for(lambda: 0, timeout=-1) == 0
        with pytest.raises(ZeroDivisionError):
            condition.wait_for(lambda: 1 / 0)
    with pytest.raises(AssertionError, match="must acquire"):
        condition.wait_for(lambda: False)


def test_wait_for_has_one_deadline(local):
    """However often it is woken."""
    condition, stop = local.Condition(), threading.Event()

    def nag():
        while not stop.is_set():
            with condition:
                condition.notify_all()
            time.sleep(0.005)

    with thread(nag):
        began = time.monotonic()
        with condition:
            assert condition.wait_for(lambda: False, 0.4) is False
        assert 0.39 < time.monotonic() - began < 0.4 + SLACK
        stop.set()


def test_two_conditions_on_one_lock(local):
    lock = local.Lock()
    one, two = local.Condition(lock), local.Condition(lock)
    seen = []

    def waiter():
        with lock:
            seen.append("waits")
            seen.append(two.wait(20))

    with thread(waiter):
        while not seen:
            time.sleep(0.001)
        with one:
            one.notify_all()
        time.sleep(0.05)
        assert seen == ["waits"]
        with lock:
            two.notify()
    assert seen == ["waits", True]


def test_condition_over_a_lock_of_the_standard_library(local):
    theirs = multiprocessing.get_context("fork")
    for lock in (theirs.Lock(), theirs.RLock()):
        condition = local.Condition(lock)
        assert condition._lock is lock
        with condition:
            assert condition.wait(0.02) is False
        with condition, thread(lock_workers.set_and_notify, condition, [0], 1):
            assert condition.wait(20) is True


def test_standard_condition_over_ours(local):
    """It looks at the lock's _semlock."""
    for name in LOCKS:
        condition = multiprocessing.get_context("fork").Condition(make(local, name))
        with condition:
            assert condition.wait(0.02) is False
        with condition, thread(lock_workers.set_and_notify, condition, [0], 1):
            assert condition.wait(20) is True
        with pytest.raises(AssertionError):
            condition.notify()


# -- Event ----------------------------------------------------------------------------------------


def test_event(local):
    event = local.Event()
    assert event.is_set() is False
    assert event.wait(0) is False
    assert event.set() is None
    assert event.is_set() is True
    assert event.wait() is True
    assert event.wait(0) is True
    event.set()
    assert event.clear() is None
    assert event.is_set() is False
    event.clear()
    assert event.wait(0.02) is False


def test_set_wakes_all(ctx, spawn):
    event, ready, out = ctx.Event(), ctx.Semaphore(0), ctx.SimpleQueue()
    for _ in range(2):
        spawn(lock_workers.wait_event, event, ready, out)
    threads = [
        threading.Thread(target=lock_workers.wait_event, args=(event, ready, out, 20))
        for _ in range(3)
    ]
    for t in threads:
        t.start()
    for _ in range(5):
        assert ready.acquire(timeout=20)
    time.sleep(0.05)
    assert out.empty()
    event.set()
    assert [out.get() for _ in range(5)] == [True] * 5
    for t in threads:
        t.join()


def test_set_then_clear_releases_who_waited(local):
    """At once, one after the other: whoever slept goes on."""
    event = local.Event()
    for _ in range(20):
        seen = Results()
        waiters = [
            threading.Thread(
                target=lock_workers.wait_event, args=(event, local.Semaphore(), seen, 20)
            )
            for _ in range(3)
        ]
        for t in waiters:
            t.start()
        time.sleep(0.03)
        event.set()
        event.clear()
        for t in waiters:
            t.join(SLACK)
            assert not t.is_alive()
        assert len(seen) == 3
        assert not event.is_set()


def test_ping_pong(ctx, spawn):
    one, two = ctx.Event(), ctx.Event()
    spawn(lock_workers.ping, one, two, 200)
    for _ in range(200):
        one.set()
        assert two.wait(20)
        two.clear()


# -- Barrier --------------------------------------------------------------------------------------


@pytest.mark.parametrize("parties", [1, 2, 5])
def test_barrier(ctx, spawn, parties):
    """Nobody leaves a round before all have come; the indices are 0 to parties - 1."""
    barrier, cells, out = ctx.Barrier(parties), ctx.RawArray("i", 5), ctx.SimpleQueue()
    assert (barrier.parties, barrier.n_waiting, barrier.broken) == (parties, 0, False)
    times = 50
    for i in range(parties):
        spawn(lock_workers.rounds, barrier, cells, i, times, out)
    told = [out.get() for _ in range(parties)]
    assert [bad for _, bad in told] == [0] * parties
    for turn in range(times):
        assert sorted(indices[turn] for indices, _ in told) == list(range(parties))
    assert (barrier.n_waiting, barrier.broken) == (0, False)


def test_barrier_action(ctx, spawn):
    """Run by one of them, once in each round, while the others wait."""
    cells, out = ctx.RawArray("i", 4), ctx.SimpleQueue()
    barrier = ctx.Barrier(3, action=lock_workers.Marker(cells))
    for i in range(3):
        spawn(lock_workers.rounds, barrier, cells, i, 10, out)
    assert [out.get()[1] for _ in range(3)] == [0, 0, 0]
    assert cells[3] == 10


def gather(barrier, count, out):
    threads = [
        threading.Thread(target=lock_workers.arrive, args=(barrier, out)) for _ in range(count)
    ]
    for t in threads:
        t.start()
    end = time.monotonic() + 20
    while barrier.n_waiting < count:
        assert time.monotonic() < end
        time.sleep(0.001)
    return threads


def test_barrier_action_that_fails(local):
    barrier, out = local.Barrier(2, lock_workers.fail_in_the_barrier), Results()
    threads = gather(barrier, 1, out)
    with pytest.raises(ZeroDivisionError, match=lock_workers.RAISED):
        barrier.wait(20)
    threads[0].join()
    assert out == ["broken"]
    assert barrier.broken
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    barrier.reset()
    assert not barrier.broken


def test_barrier_action_that_cannot_be_called(local):
    with pytest.raises(TypeError):
        local.Barrier(1, action=5).wait()


def test_barrier_abort(local):
    barrier, out = local.Barrier(3), Results()
    threads = gather(barrier, 2, out)
    assert barrier.abort() is None
    for t in threads:
        t.join(SLACK)
    assert out == ["broken", "broken"]
    assert barrier.broken
    assert barrier.n_waiting == 0
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    barrier.reset()
    assert not barrier.broken


def test_barrier_abort_in_another_process(ctx, spawn):
    barrier, out = ctx.Barrier(2), ctx.SimpleQueue()
    spawn(lock_workers.arrive, barrier, out)
    while barrier.n_waiting == 0:
        time.sleep(0.001)
    barrier.abort()
    assert out.get() == "broken"


def test_barrier_reset(local):
    """Those that wait are told, later rounds go well."""
    barrier, out = local.Barrier(3), Results()
    threads = gather(barrier, 2, out)
    assert barrier.reset() is None
    for t in threads:
        t.join(SLACK)
    assert out == ["broken", "broken"]
    assert not barrier.broken
    out.clear()
    threads = gather(barrier, 2, out)
    index = barrier.wait(20)
    for t in threads:
        t.join(SLACK)
    assert sorted([index, *out]) == [0, 1, 2]
    barrier.reset()
    assert not barrier.broken


def test_barrier_timeout(local):
    """Of one breaks it for all."""
    barrier, out = local.Barrier(3), Results()
    threads = gather(barrier, 1, out)
    began = time.monotonic()
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait(0.2)
    assert 0.19 < time.monotonic() - began < 0.2 + SLACK
    threads[0].join(SLACK)
    assert out == ["broken"]
    assert barrier.broken


def test_barrier_has_a_default_timeout(local):
    barrier = local.Barrier(2, timeout=0.1)
    began = time.monotonic()
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    assert 0.09 < time.monotonic() - began < 0.1 + SLACK


# -- repr -----------------------------------------------------------------------------------------


def test_repr_of_locks(ctx, spawn):
    lock, rlock = ctx.Lock(), ctx.RLock()
    me = multiprocessing.current_process().name
    assert repr(lock) == "<Lock(owner=None)>"
    assert repr(rlock) == "<RLock(None, 0)>"
    with lock, rlock, rlock:
        assert repr(lock) == f"<Lock(owner={me})>"
        assert repr(rlock) == f"<RLock({me}, 2)>"
        assert in_thread(lambda: repr(lock)) == "<Lock(owner=SomeOtherThread)>"
        assert in_thread(lambda: repr(rlock)) == "<RLock(SomeOtherThread, nonzero)>"

    def inside():
        with lock, rlock:
            return repr(lock), repr(rlock)

    assert in_thread(inside) == (f"<Lock(owner={me}|helper)>", f"<RLock({me}|helper, 1)>")
    ready, go = ctx.SimpleQueue(), ctx.SimpleQueue()
    for each, text in ((lock, "<Lock(owner=SomeOtherProcess)>"),
                       (rlock, "<RLock(SomeOtherProcess, nonzero)>")):  # fmt: skip
        spawn(lock_workers.hold, each, ready, go)
        assert ready.get() == "held"
        assert repr(each) == text
        go.put(1)
        assert ready.get() == "released"


def test_repr_of_the_others(local):
    assert repr(local.Semaphore(3)) == "<Semaphore(value=3)>"
    assert repr(local.BoundedSemaphore(3)) == "<BoundedSemaphore(value=3, maxvalue=3)>"
    assert repr(local.Condition()) == "<Condition(<RLock(None, 0)>, 0)>"
    assert repr(local.Condition(local.Lock())) == "<Condition(<Lock(owner=None)>, 0)>"
    event = local.Event()
    assert repr(event) == f"<Event at {id(event):#x} unset>"
    event.set()
    assert repr(event) == f"<Event at {id(event):#x} set>"
    barrier = local.Barrier(2)
    assert repr(barrier).endswith(f"Barrier at {id(barrier):#x}: waiters=0/2>")
    barrier.abort()
    assert repr(barrier).endswith(f"Barrier at {id(barrier):#x}: broken>")


# -- threads and processes ------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*LOCKS, "Condition"])
def test_no_update_is_lost(ctx, spawn, name):
    """By 4 processes of 2 threads each, or so: all updates count."""
    lock, cells = make(ctx, name), ctx.RawArray("i", 1)
    times, depth = 1500, 2 if name in ("RLock", "Condition") else 1
    for _ in range(3):
        spawn(lock_workers.count_up, lock, cells, 0, times, depth)
    with thread(lock_workers.count_up, lock, cells, 0, times, depth):
        lock_workers.count_up(lock, cells, 0, times, depth)
    for p in multiprocessing.active_children():
        p.join(40)
    assert cells[0] == 5 * times


@pytest.mark.parametrize("name", LOCKS)
def test_threads(local, name):
    lock, cells = make(local, name), [0]
    threads = [
        threading.Thread(target=lock_workers.count_up, args=(lock, cells, 0, 500)) for _ in range(8)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join(40)
    assert cells == [4000]


def test_semaphore_lets_no_more_in(ctx, spawn):
    semaphore, cells = ctx.Semaphore(2), ctx.RawArray("i", 66)
    for _ in range(4):
        spawn(lock_workers.inside_at_most, semaphore, cells, 1000)
    for p in multiprocessing.active_children():
        p.join(40)
    assert 1 <= cells[1] <= 2
    assert semaphore.get_value() == 2


@pytest.mark.parametrize("name", LOCKS)
def test_held_in_another_process(ctx, spawn, name):
    lock = make(ctx, name)
    ready, go = ctx.SimpleQueue(), ctx.SimpleQueue()
    spawn(lock_workers.hold, lock, ready, go)
    assert ready.get() == "held"
    assert lock.acquire(False) is False
    assert lock.acquire(timeout=0.05) is False
    assert lock.locked() is True
    go.put(1)
    assert lock.acquire(timeout=20) is True
    assert ready.get() == "released"
    lock.release()


@pytest.mark.parametrize("name", LOCKS)
def test_held_by_the_parent(ctx, spawn, name):
    """At the start of the child, too: it is the parent's, whatever the child inherits."""
    lock, out = make(ctx, name), ctx.SimpleQueue()
    lock.acquire()
    spawn(lock_workers.try_all, [lock], out)
    assert out.get() == [False]
    spawn(lock_workers.take, lock, out)
    time.sleep(SHORT)
    assert out.empty()
    lock.release()
    assert out.get() is True


@pytest.mark.parametrize("name", LOCKS)
def test_released_by_a_child(ctx, spawn, name):
    lock, out = make(ctx, name), ctx.SimpleQueue()
    lock.acquire()
    spawn(lock_workers.release, lock, out)
    if name == "RLock":
        assert out.get() == ("AssertionError", NOT_MINE)
        assert lock._semlock._is_mine()
        lock.release()
    else:
        assert out.get() == "released"
        assert lock.acquire(False) is True


def test_passed_on_to_a_grandchild(ctx, spawn):
    lock, out = ctx.Lock(), ctx.SimpleQueue()
    spawn(lock_workers.pass_on, workers.cell_of(ctx), lock, out)
    assert [out.get(), out.get()] == ["in the grandchild", 0]


def test_one_message_keeps_identity(ctx, spawn):
    lock, again = ctx.Lock(), ctx.Lock()
    condition, out = ctx.Condition(again), ctx.SimpleQueue()
    spawn(lock_workers.same, (lock, lock, condition, again), out)
    assert out.get() == (True, False, True, True)


def test_by_an_initializer(ctx):
    lock = ctx.Lock()
    with ctx.Pool(2, lock_workers.use_from_initializer, (lock,)) as pool:
        assert pool.map(lock_workers.use_given, range(10)) == [True] * 10
        pool.close()
        pool.join()


def test_many_processes_in_turn(ctx, spawn):
    """Each with locks of its own, and all with one: what a child was given stays its own."""
    common, out = ctx.Lock(), ctx.SimpleQueue()
    for _ in range(4):
        own = ctx.Lock()
        spawn(lock_workers.take, own, out)
        assert out.get() is True
        spawn(lock_workers.take, common, out)
        assert out.get() is True


# -- pickling -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOCKS)
def test_pickled_only_for_children(ctx, name):
    lock = make(ctx, name)
    text = f"{name} objects should only be shared between processes through inheritance"
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(RuntimeError, match=text):
            attempt(lock)
    q = ctx.SimpleQueue()
    with pytest.raises(RuntimeError, match=text):
        q.put(lock)
    q.close()


@pytest.mark.parametrize("name", ["Condition", "Event", "Barrier"])
def test_others_pickled_only_for_children(ctx, name):
    text = "objects should only be shared between processes through inheritance"
    with pytest.raises(RuntimeError, match=text):
        pickle.dumps(make(ctx, name))


@pytest.mark.parametrize("name", CLASSES)
def test_of_fork_for_spawn(local, backend, name):
    """As ever: the program must not depend on what works by chance."""
    p = backend.context("spawn").Process(target=workers.nothing, args=(make(local, name),))
    with pytest.raises(RuntimeError, match="created in a fork context"):
        p.start()


# -- fork -----------------------------------------------------------------------------------------


def run(function) -> None:
    sys.exit(0 if function() is True else 1)


def forked(ctx, function) -> int:
    """The exit code of a child that runs it: 0 where it answers True."""
    p = ctx.Process(target=run, args=(function,))
    p.start()
    p.join(40)
    code = p.exitcode
    p.close()
    return code


@pytest.mark.parametrize("name", LOCKS)
def test_fork_while_a_thread_holds_it(local, name):
    lock = make(local, name)
    held, leave = threading.Event(), threading.Event()

    def holder():
        with lock:
            held.set()
            leave.wait()

    with thread(holder):
        held.wait()

        def child():
            fine = not lock.acquire(False) and not lock.acquire(timeout=0.05)
            if name == "RLock":
                fine &= error_of(lock.release) == NOT_MINE
            return fine

        assert forked(local, child) == 0
        timer = threading.Timer(0.3, leave.set)
        timer.start()
        assert forked(local, lambda: lock.acquire(timeout=20)) == 0
        timer.join()
    if name != "RLock":
        lock.release()  # the child has ended with it


@pytest.mark.parametrize("name", LOCKS)
def test_fork_by_the_holder(local, name):
    """The child does not own what its parent holds."""
    lock = make(local, name)
    with lock:
        assert forked(local, lambda: not lock._semlock._is_mine() and not lock.acquire(False)) == 0
    assert lock.acquire(False)


@pytest.mark.parametrize("name", LOCKS)
def test_fork_while_threads_are_busy(local, name):
    """The child finds it free at once, or as soon as the parent's threads let it."""
    lock, stop = make(local, name), threading.Event()

    # Each has it in a variable of its own: a cell that threads of a free-threaded Python are just
    # looking into at the fork may stay locked in the child.
    def busy(lock=lock):
        while not stop.is_set():
            with lock:
                pass

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for t in threads:
        t.start()

    def child(lock=lock):
        for _ in range(50):
            if not lock.acquire(timeout=20):
                return False
            lock.release()
        return True

    try:
        for _ in range(20):
            assert forked(local, child) == 0
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert lock.acquire(timeout=20)


def test_fork_while_threads_wait(local):
    """They wait on in the parent; the child has none of them."""
    condition, event, barrier, ready = local.Condition(), local.Event(), local.Barrier(2), Results()
    threads = [
        threading.Thread(
            target=lock_workers.wait_condition, args=(condition, local.Semaphore(0), ready)
        ),
        threading.Thread(target=lambda: ready.put(event.wait(20))),
        threading.Thread(target=lambda: ready.put(barrier.wait(20) in (0, 1))),
    ]
    for t in threads:
        t.start()
    time.sleep(0.2)

    def child():
        with condition:
            condition.notify()
        event.set()
        barrier.wait(20)
        return True

    assert forked(local, child) == 0
    for t in threads:
        t.join(20)
    assert ready == [True] * 3


# -- many of them, and the end --------------------------------------------------------------------


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("name", ["Lock", "Semaphore", "RLock"])
def test_ten_thousand(local, name):
    """Alive at once, each its own; few descriptors; and all of it again."""
    make(local, name)
    before = descriptors()
    for _ in range(2):
        locks = [make(local, name) for _ in range(10_000)]
        assert descriptors() - before < 10
        for lock in locks[::2]:
            assert lock.acquire(False)
        for i, lock in enumerate(locks):
            assert lock.locked() is (i % 2 == 0)
        for lock in locks[::2]:
            lock.release()
        del locks, lock
        assert descriptors() - before < 10


def test_blocked_costs_no_cpu(blocked):
    """A second of it, by getrusage: looks are few."""
    timer = threading.Timer(1.0, blocked.free)
    timer.start()
    before = resource.getrusage(resource.RUSAGE_SELF)
    assert blocked.call() is True
    after = resource.getrusage(resource.RUSAGE_SELF)
    timer.join()
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < 0.1, f"{used} s"


AT_THE_END = """
import sys, threading, time, procfast
ctx = procfast.get_context("fork", backend=sys.argv[1])
lock, rlock, event, condition = ctx.Lock(), ctx.RLock(), ctx.Event(), ctx.Condition()
lock.acquire(); rlock.acquire()
barrier = ctx.Barrier(2)
def wait_in_condition():
    with condition:
        condition.wait()
for target in (lock.acquire, rlock.acquire, event.wait, barrier.wait, wait_in_condition):
    threading.Thread(target=target, daemon=True).start()
time.sleep(0.2)
print("end")
"""


def test_end_of_the_interpreter(python, backend):
    """While daemon threads wait and locks are held: silent, exit status 0."""
    done = python("-c", AT_THE_END, backend.name)
    assert (done.stdout.strip(), done.stderr) == ("end", "")


def test_end_of_a_child_that_holds(ctx):
    """A plain lock stays locked, as ever; anybody may release it."""
    lock, out = ctx.Lock(), ctx.SimpleQueue()
    p = ctx.Process(target=lock_workers.try_all, args=([lock], out))
    p.start()
    assert out.get() == [True]
    p.join()
    assert lock.acquire(timeout=0.05) is False
    lock.release()
    assert lock.acquire(False) is True


def test_collected_while_a_child_uses_it(ctx, spawn):
    """The parent's reference goes first, and what it makes next is another's."""
    ready, go = ctx.SimpleQueue(), ctx.SimpleQueue()
    for _ in range(3):
        spawn(lock_workers.hold, ctx.Lock(), ready, go)
        assert ready.get() == "held"
    fresh = [ctx.Lock() for _ in range(1000)]
    assert not any(lock.locked() for lock in fresh)
    for lock in fresh:
        lock.acquire()
    for _ in range(3):
        go.put(1)
    assert [ready.get() for _ in range(3)] == ["released"] * 3
    assert all(lock.locked() for lock in fresh)


# -- the face that others look at -----------------------------------------------------------------


@pytest.mark.parametrize("name", LOCKS)
def test_semlock_face(ctx, name):
    """What the standard library's Condition and Queue, executors and loky call."""
    lock = make(ctx, name)
    face = lock._semlock
    assert (face._is_mine(), face._count(), face._get_value(), face._is_zero()) == (
        False, 0, 1, False,
    )  # fmt: skip
    assert face.acquire() is True
    assert (face._is_mine(), face._count(), face._get_value(), face._is_zero()) == (
        True, 1, 0, True,
    )  # fmt: skip
    assert in_thread(face._is_mine) is False
    assert in_thread(face._get_value) == 0
    assert lock.locked()
    assert face.release() is None
    assert face.kind == (synchronize.RECURSIVE_MUTEX if name == "RLock" else synchronize.SEMAPHORE)
    assert face.maxvalue == (synchronize.SEM_VALUE_MAX if name == "Semaphore" else 1)
    assert isinstance(face.handle, int)
    assert face.name is None or isinstance(face.name, str)
    assert face._after_fork() is None
    assert face.SEM_VALUE_MAX == synchronize.SEM_VALUE_MAX
    with face:
        assert lock.locked()
    assert not lock.locked()


@pytest.mark.parametrize("kind", ["Queue", "SimpleQueue"])
def test_standard_queue_on_our_locks(ctx, kind):
    """Its own code, and those of its subclasses, with the locks of this context."""
    q = getattr(multiprocessing.queues, kind)(*(() if kind == "SimpleQueue" else (2,)), ctx=ctx)
    for i in range(2):
        q.put(i)
    if kind == "Queue":
        assert q.full()
        with pytest.raises(queue.Full):
            q.put(2, timeout=0.05)
    assert [q.get(), q.get()] == [0, 1]
    q.close()
    if kind == "Queue":
        q.join_thread()


# -- managers -------------------------------------------------------------------------------------


@pytest.mark.limit(120)
def test_proxies_of_a_manager(ctx, spawn):
    with ctx.Manager() as manager:
        lock, rlock, semaphore = manager.Lock(), manager.RLock(), manager.Semaphore(2)
        condition, event, barrier = manager.Condition(), manager.Event(), manager.Barrier(2)
        q = manager.Queue()
        assert lock.acquire() is True
        assert lock.acquire(False) is False
        lock.release()
        with rlock, rlock:
            pass
        assert event.is_set() is False
        event.set()
        with condition:
            p = spawn(
                lock_workers.use_proxies, lock, rlock, semaphore, condition, event, barrier, q
            )
            assert condition.wait(20) is True
        assert sorted([barrier.wait(20), q.get(timeout=20)]) == [0, 1]
        p.join(20)


class Served(multiprocessing.managers.BaseManager):
    pass


Served.register("Counter", lock_workers.Counter)


@pytest.mark.limit(120)
def test_base_manager(ctx, spawn):
    """Its objects may use locks of the context inside."""
    manager = Served(ctx=ctx)
    manager.start()
    try:
        counter = manager.Counter(workers.cell_of(ctx))
        for _ in range(3):
            spawn(lock_workers.add_often, counter, 50)
        assert counter.seen() is True
        for p in multiprocessing.active_children():
            if p is not manager._process:
                p.join(20)
        assert counter.add() == 151
    finally:
        manager.shutdown()


# -- what one backend cannot ----------------------------------------------------------------------


def test_robust_only_where_it_can_be(local):
    """A backend that cannot keep the promise says so at once."""
    assert local.Lock(robust=False).acquire(False)
    if "robust_locks" in local.features:
        assert local.Lock(robust=True).acquire(False)
    else:
        with pytest.raises(NotImplementedError, match="robust=True needs the native backend"):
            local.Lock(robust=True)


def test_names_are_made_for_nobody(python, backend):
    """Nothing of ours is left in /dev/shm by a program that was killed with its locks alive."""
    before = set(os.listdir("/dev/shm"))
    code = (
        "import os, signal, sys, procfast\n"
        "ctx = procfast.get_context('fork', backend=sys.argv[1])\n"
        "all = [getattr(ctx, n)() for n in ('Lock', 'RLock', 'Semaphore', 'Condition', 'Event')]\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = python("-c", code, backend.name, check=False)
    assert done.returncode == -signal.SIGKILL
    assert {n for n in os.listdir("/dev/shm") if n not in before and "mp-" in n} == set()


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore", "BoundedSemaphore"])
def test_ways_into_a_with(local, kind):
    """As the statement does it, as contextlib does it, by hand, and from a subclass."""
    lock = getattr(local, kind)()
    with contextlib.ExitStack() as stack:
        assert stack.enter_context(lock) is True
        assert lock.locked()
    assert not lock.locked()
    enter, leave = lock.__enter__, lock.__exit__
    for _ in range(3):
        assert enter() is True
        assert lock.locked()
        assert leave(None, None, None) is None
    assert type(lock).__enter__(lock) is True
    type(lock).__exit__(lock, None, None, None)
    assert not lock.locked()
    with pytest.raises(ZeroDivisionError), lock:
        _ = 1 / 0
    assert not lock.locked()
    with pytest.raises(TypeError):
        lock.__enter__(1)
    with pytest.raises((TypeError, AttributeError)):
        type(lock).__enter__(object())
    if kind != "Semaphore":
        with pytest.raises((ValueError, AssertionError)):
            lock.__exit__(None, None, None)


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore"])
def test_with_of_a_subclass(local, kind):
    lock = getattr(local, kind)()
    said = []

    class Own(type(lock)):
        def __enter__(self):
            said.append("in")
            return super().__enter__()

        def __exit__(self, *exc):
            said.append("out")
            return super().__exit__(*exc)

    own = Own(ctx=local)
    with own:
        assert own.locked()
        said.append("held")
    assert not own.locked()
    assert said == ["in", "held", "out"]


def test_with_keeps_the_lock(local):
    """Nobody else refers to it while it is held."""
    import gc

    lock = local.RLock()
    leave = lock.__exit__
    lock.acquire()
    del lock
    gc.collect()
    noise = [local.RLock() for _ in range(100)]
    leave(None, None, None)
    with pytest.raises(AssertionError):
        leave(None, None, None)
    assert not any(n.locked() for n in noise)
    with local.Lock():
        noise = [local.Lock() for _ in range(100)]
        assert not any(n.locked() for n in noise)
