"""A process, or who starts it, is killed or signalled at any instant: its end is seen, and nothing is left.

The instants are random (`victims.py`): before a child's first instruction, in its bootstrap, its work and its end.
"""

import contextlib
import logging
import multiprocessing
import os
import random
import select
import signal
import sys
import time

import process_workers
import pytest
import workers
from victims import KILLS, SEED, WITHIN, Victim, spin

import procfast
from procfast.exceptions import OwnerDied

METHODS = ("fork", "spawn", "forkserver")
# A new interpreter takes 20 times as long as a fork.
COUNTS = {"fork": KILLS, "spawn": KILLS // 20 + 1, "forkserver": KILLS // 5 + 1}
LONGEST = {
    "fork": 0.004,
    "spawn": 0.08,
    "forkserver": 0.015,
}  # seconds that the life of a child takes


@pytest.fixture
def rng():
    print(f"PROCFAST_SEED={SEED}")  # shown when the test fails
    return random.Random(SEED)


@pytest.fixture(params=METHODS)
def native(request):
    return procfast.get_context(request.param, backend="native")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.limit(600)
def test_killed_at_any_moment(native, rng):
    """Its exit code says so, or that it came too late; what it shared goes on."""
    q, lock, value = native.SimpleQueue(), native.RLock(), native.Value("i", 0)
    method = native.get_start_method()
    for _ in range(3):  # what comes with the first ones stays
        p = native.Process(target=process_workers.share, args=(q, lock, value), daemon=True)
        p.start()
        p.join()
    before, killed = descriptors(), 0
    for kill in range(COUNTS[method]):
        p = native.Process(
            target=process_workers.share, args=(q, lock, value), daemon=kill % 2 == 0
        )
        p.start()
        spin(rng.uniform(0, LONGEST[method]))
        p.kill()
        p.join(WITHIN)
        assert p.exitcode in (0, -signal.SIGKILL)
        assert p not in multiprocessing.active_children()
        killed += p.exitcode != 0
        p.close()
        with contextlib.suppress(OwnerDied):
            assert lock.acquire(timeout=WITHIN)
            lock.release()
        with contextlib.suppress(OwnerDied):
            value.value += 1
        q.put(kill)
        while q.get() != kill:
            pass
        assert q.empty()
    assert killed
    assert descriptors() <= before


@pytest.mark.limit(600)
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signalled_at_any_moment(native, rng, signum, capfd):
    """An interrupt ends it with a traceback or comes too late; nothing hangs, and no child comes back as a parent."""
    me, method = os.getpid(), native.get_start_method()
    for _ in range(COUNTS[method] // 2 + 1):
        p = native.Process(target=workers.nothing)
        p.start()
        assert os.getpid() == me
        spin(rng.uniform(0, LONGEST[method]))
        p.interrupt() if signum == signal.SIGINT else p.terminate()
        p.join(WITHIN)
        assert p.exitcode in (0, 1, -signum)
        p.close()
    capfd.readouterr()


@pytest.mark.limit(600)
def test_parent_killed_at_any_moment(native, rng):
    """While it starts daemonic children: each that there is ends, one that is just being made too."""
    method = native.get_start_method()
    for _ in range(COUNTS[method] // 4 + 1):
        read, write = os.pipe()

        def victim(report, write=write):
            kept = workers.Descriptor(write)
            for i in range(1 << 20):
                native.Process(
                    target=process_workers.hold_descriptor, args=(kept,), daemon=True
                ).start()
                report(i)

        child = Victim(victim)
        os.close(write)
        if rng.random() < 0.7:
            child.hear()
        spin(rng.uniform(0, LONGEST[method] / 2))
        child.kill()
        began = time.monotonic()
        assert select.select([read], [], [], 1 + WITHIN)[0], "somebody lives on"
        assert os.read(read, 1) == b""
        assert time.monotonic() - began < 1 + WITHIN
        os.close(read)
        child.said()


@pytest.mark.limit(600)
def test_interrupted_at_any_moment(rng, monkeypatch):
    """A handler that raises in start, join, is_alive or close: what was forked is known, and nothing is left."""
    native = procfast.get_context("fork", backend="native")
    # What is raised in a hook of os.fork goes to this one; it is an interrupt lost, as ever.
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)

    class Interrupt(Exception):
        pass

    armed = []

    def handler(*args):
        if armed:  # not when all is over
            raise Interrupt

    for _ in range(2):
        p = native.Process(target=workers.nothing)
        p.start()
        p.join()
    before, hits = descriptors(), 0
    old = signal.signal(signal.SIGALRM, handler)
    try:
        for _ in range(2 * KILLS):
            p = native.Process(target=workers.nothing)
            armed.append(1)
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, LONGEST["fork"] / 2))
                p.start()
                while p.is_alive():
                    p.join(0.0001)
                p.join()
                armed.clear()
            except Interrupt:
                hits += 1
                armed.clear()
            signal.setitimer(signal.ITIMER_REAL, 0)
            for child in multiprocessing.active_children():
                child.join(WITHIN)
                assert child.exitcode == 0
            if p.pid is not None:
                p.close()
    finally:
        signal.signal(signal.SIGALRM, old)
        # CPython's own: an interrupt lost between two hooks leaves the lock that logging takes for the fork
        with contextlib.suppress(RuntimeError):
            while True:
                logging._lock.release()
    assert hits
    assert descriptors() <= before
    with contextlib.suppress(ChildProcessError):
        assert os.waitpid(-1, os.WNOHANG)[0] == 0, "a child that nobody knows"
