"""Whoever uses a Value or an Array may die at any instant: no update that was done is lost, and the others go on.

Told of a death are those who find the lock of one who had it in his hands, or who was in the middle of a slice; not
those who find that of one who died in a single access, which is done or not.
"""

import ctypes
import os
import random
import signal
import threading
import time

import pytest
from victims import KILLS, SEED, WITHIN, Victim, spin

from procfast.exceptions import OwnerDied


@pytest.fixture
def native():
    import procfast

    return procfast.get_context("fork", backend="native")


@pytest.fixture
def rng():
    print(f"PROCFAST_SEED={SEED}")  # shown when the test fails
    return random.Random(SEED)


ACCESSES = {
    "add": lambda v, done: v.add(1),
    "exchange": lambda v, done: v.exchange(done + 1),
    "set": lambda v, done: setattr(v, "value", done + 1),
    "compare_exchange": lambda v, done: v.compare_exchange(done, done + 1),
}


@pytest.mark.limit(600)
@pytest.mark.parametrize("how", ACCESSES)
def test_killed_in_an_access(native, rng, how):
    """It is done or not, and the others see nothing of the death."""
    v, told = native.Value("q"), native.RawValue("q")
    access = ACCESSES[how]
    for _ in range(KILLS):

        def body(report):
            done = v.value
            report(1)
            while True:
                access(v, done)
                done += 1
                told.value = done

        v.value = told.value = rng.randrange(1000)
        victim = Victim(body)
        victim.hear()
        spin(rng.random() * 0.0005)
        victim.kill()
        assert v.value - told.value in (0, 1)
        assert v.add(5) - told.value in (5, 6)
        assert not v.get_lock().locked()
        os.close(victim.reports)


@pytest.mark.limit(600)
def test_killed_among_others(native, rng):
    """Three more count on: every update that was done is there, and none waits or is told."""
    v = native.Value("q")
    counts = [native.RawValue("q") for _ in range(KILLS + 3)]

    def body(mine):
        def run(report):
            report(1)
            while True:
                v.add(1)
                mine.value += 1

        return run

    others = [Victim(body(mine)) for mine in counts[:3]]
    for mine in counts[3:]:
        before = [each.value for each in counts[:3]]
        victim = Victim(body(mine))
        victim.hear()
        spin(rng.random() * 0.001)
        victim.kill()
        os.close(victim.reports)
        end = time.monotonic() + WITHIN
        while any(each.value == b for each, b in zip(counts, before, strict=False)):
            assert time.monotonic() < end, "a survivor hangs, or was told"
            time.sleep(0.0002)
    for other in others:
        other.kill()
        os.close(other.reports)
    done = sum(each.value for each in counts)
    assert 0 <= v.value - done <= len(counts)


@pytest.mark.limit(600)
def test_killed_with_the_lock_in_its_hands(native, rng):
    """Exactly one access is told, and by whom; then all is as before."""
    v, inside = native.Value("q"), native.RawValue("b")
    deaths = 0
    for kill in range(KILLS):

        def body(report):
            report(1)
            while True:
                with v.get_lock():
                    inside.value = 1
                    v.value += 1
                    v.value += 1
                    inside.value = 0

        inside.value = 0
        victim = Victim(body)
        victim.hear()
        spin(rng.random() * 0.0003)
        victim.kill()
        os.close(victim.reports)
        accesses = [
            lambda: v.value,
            lambda: v.add(0),
            lambda: v.acquire() and v.release(),
            lambda: v.exchange(0),
        ]
        try:
            accesses[kill % 4]()
        except OwnerDied as error:
            deaths += 1
            assert error.pid == victim.pid
        else:
            assert not inside.value, "one died in the middle, and nobody was told"
            assert v.value % 2 == 0
        assert v.acquire(timeout=WITHIN)
        v.value = 0
        v.release()
    assert deaths > KILLS // 20


@pytest.mark.limit(600)
def test_killed_in_a_slice(native, rng):
    """Whole, or one is told that it may not be."""
    a, told = native.Array("i", 2000), 0
    for _ in range(KILLS):

        def body(report):
            report(1)
            k = 0
            values = [[k] * len(a) for k in range(3)]
            while True:
                a[:] = values[k % 3]
                k += 1

        victim = Victim(body)
        victim.hear()
        spin(rng.random() * 0.001)
        victim.kill()
        os.close(victim.reports)
        try:
            seen = a[:]
        except OwnerDied as error:
            told += 1
            assert error.pid == victim.pid
            a[:] = [7] * len(a)
            seen = a[:]
        assert len(set(seen)) == 1
    print(f"told {told} times")


def test_dead_holder_is_found_by_each_access(native):
    """Whatever comes first: once."""

    class Point(ctypes.Structure):
        _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double)]

    value, array, text, point = (
        native.Value("i"),
        native.Array("i", 3),
        native.Array("c", 3),
        native.Value(Point),
    )
    own = native.Value("i", lock=native.RLock())
    steps = [
        (value, lambda: value.value),
        (value, lambda: setattr(value, "value", 1)),
        (value, lambda: value.add(1)),
        (value, lambda: value.exchange(1)),
        (value, lambda: value.compare_exchange(1, 2)),
        (value, lambda: value.acquire(False)),
        (own, lambda: own.value),
        (own, lambda: own.get_lock().acquire()),
        (array, lambda: array[0]),
        (array, lambda: array[:]),
        (array, lambda: array.__setitem__(0, 1)),
        (array, lambda: array.__setitem__(slice(None), [1, 2, 3])),
        (text, lambda: text.value),
        (text, lambda: setattr(text, "raw", b"abc")),
        (point, lambda: point.x),
        (point, lambda: setattr(point, "y", 1)),
    ]
    for obj, step in steps:

        def body(report, obj=obj):
            obj.acquire()
            report(1)
            signal.pause()

        victim = Victim(body)
        victim.hear()
        assert obj.get_lock().owner.pid == victim.pid
        victim.kill()
        os.close(victim.reports)
        with pytest.raises(OwnerDied, match=f"process {victim.pid} died"):
            step()
        step()
        while obj.get_lock()._is_mine():
            obj.release()


def test_waiter_killed(native):
    """One that waits to add takes nothing with it."""
    v = native.Value("i")
    with v.get_lock():
        victims = [Victim(lambda report: (report(1), v.add(1))) for _ in range(3)]
        for victim in victims:
            victim.hear()
        time.sleep(0.05)
        for victim in victims[:2]:
            victim.kill()
            os.close(victim.reports)
    end = time.monotonic() + WITHIN
    while v.value != 1:
        assert time.monotonic() < end
        time.sleep(0.001)
    os.waitpid(victims[2].pid, 0)
    os.close(victims[2].reports)
    assert v.value == 1


def test_stopped_holder_is_not_robbed(native):
    v = native.Value("i")

    def body(report):
        with v.get_lock():
            v.value += 1
            report(1)
            signal.pause()

    victim = Victim(body)
    victim.hear()
    victim.signal(signal.SIGSTOP)
    assert not v.acquire(timeout=1.3)
    assert v.get_lock().owner.pid == victim.pid

    def told():
        with pytest.raises(OwnerDied):
            _ = v.value

    thread = threading.Thread(target=told)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    victim.kill()
    thread.join(WITHIN)
    assert not thread.is_alive()
    assert v.value == 1
    os.close(victim.reports)


def test_owner_since_when(python):
    """With PROCFAST_DEBUG_LOCKS=1 the lock of a Value notes each acquisition, as others do."""
    code = (
        "import procfast; v = procfast.Value('i'); v.acquire(); print(v.get_lock().owner.since > 0)"
    )
    done = python("-c", code, env={"PROCFAST_DEBUG_LOCKS": "1", "PROCFAST_BACKEND": "native"})
    assert done.stdout == "True\n"
