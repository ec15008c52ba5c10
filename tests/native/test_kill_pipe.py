"""Any holder of a pipe may die at any instant: no message is torn, doubled or lost but the victim's own.

The victims are killed at random instants, and every message is accounted for (`victims.py`).
"""

import os
import random
import select
import threading
import time

import numpy
import pytest
import workers
from victims import KILLS, SEED, TORN, WITHIN, Victim, spin

KIB, MIB = 1 << 10, 1 << 20
SIZES = (20, 300, 5000, 70_000, 20, 300_000, 100, 5 * MIB)  # inline, in blocks, in parts


@pytest.fixture
def native():
    import procfast

    return procfast.get_context("fork", backend="native")


@pytest.fixture
def rng():
    print(f"PROCFAST_SEED={SEED}")  # shown when the test fails
    return random.Random(SEED)


def send_numbers(w, report, tag: int, rng) -> None:
    """Sealed messages until it is killed; reports each when it was sent. Some as arrays."""
    first = rng.randrange(len(SIZES))
    for i in range(1 << 20):
        size = SIZES[(first + i) % len(SIZES)]
        message = workers.sealed(tag << 20 | i, size)
        w.send(numpy.frombuffer(message, "u1") if i % 5 == 0 else message)
        report(i)


def number_of(message) -> int:
    """tag << 20 | number, or TORN."""
    return workers.unseal(message if isinstance(message, bytes) else message.tobytes())


def receive_for(r, seconds: float, got: list[int]) -> None:
    end = time.perf_counter() + seconds
    while (left := end - time.perf_counter()) > 0 and r.poll(left):
        got.append(number_of(r.recv()))


def drain(r, got: list[int]) -> None:
    """To the end, which must come at once."""
    began = time.monotonic()
    while True:
        try:
            got.append(number_of(r.recv()))
        except EOFError:
            break
        except OSError as error:
            assert "end of file during message" in str(error)
            break
    for _ in range(2):
        with pytest.raises(EOFError):
            r.recv()
    assert time.monotonic() - began < WITHIN


@pytest.mark.limit(600)
def test_sender_killed(native, rng):
    """The receiver gets all that was sent, whole, and then the end."""
    messages = 0
    for kill in range(KILLS):
        r, w = native.Pipe(kill % 2 == 0)

        def victim(report, r=r, w=w):
            r.close()
            report(-1)
            send_numbers(w, report, 0, rng)

        child = Victim(victim)
        w.close()
        assert child.hear() == -1
        got: list[int] = []
        receive_for(r, rng.choice((0, rng.uniform(0, 0.004))), got)
        spin(rng.uniform(0, 0.001))
        child.kill()
        drain(r, got)
        sent = len(child.said())
        assert got == list(range(len(got)))
        assert sent <= len(got) <= sent + 1
        messages += len(got)
        r.close()
    assert messages > KILLS


@pytest.mark.limit(600)
def test_receiver_killed(native, rng):
    """Every send that starts 100 ms after its death raises; those that wait are told."""
    for kill in range(KILLS):
        r, w = native.Pipe(kill % 2 == 0)

        def victim(report, r=r, w=w):
            w.close()
            report(-1)
            while True:
                report(number_of(r.recv()))

        child = Victim(victim)
        r.close()
        assert child.hear() == -1
        small = kill % 10 == 0  # they are told last: it takes the most time
        sizes = (20, 300, 5000) if small else SIZES
        sent, end = 0, time.perf_counter() + rng.uniform(0, 0.004)
        while time.perf_counter() < end:
            w.send(workers.sealed(sent, sizes[sent % len(sizes)]))
            sent += 1
        child.kill()
        died, late, taken = time.monotonic(), False, 0
        with pytest.raises(BrokenPipeError):
            while True:
                assert not late
                late = time.monotonic() - died > 0.1
                size = sizes[sent % len(sizes)]
                w.send(workers.sealed(sent, size))
                sent += 1
                taken += size
                assert taken <= MIB
        assert time.monotonic() - died < WITHIN
        numbers = child.said()
        assert numbers == list(range(len(numbers)))
        w.close()


@pytest.mark.limit(600)
def test_sender_killed_beside_another(native, rng):
    """On one end: the other's messages all come, the dead one's up to its last."""
    r, w = native.Pipe(False)
    survivor = Victim(lambda report: (r.close(), send_numbers(w, lambda i: None, 0, rng)))
    got: list[int] = []
    reports = []
    for kill in range(KILLS):
        child = Victim(
            lambda report, tag=kill + 1: (r.close(), report(-1), send_numbers(w, report, tag, rng))
        )
        assert child.hear() == -1
        receive_for(r, rng.uniform(0, 0.006), got)
        child.kill()
        reports.append(len(child.said()))
    w.close()
    receive_for(r, 0.05, got)
    survivor.kill()
    survivor.said()
    drain(r, got)
    assert TORN not in got
    by_sender: dict[int, list[int]] = {}
    for number in got:
        by_sender.setdefault(number >> 20, []).append(number & 0xFFFFF)
    for kill, sent in enumerate(reports):
        came = by_sender.get(kill + 1, [])
        assert came == list(range(len(came)))
        assert sent <= len(came) <= sent + 1
    others = by_sender[0]
    assert others == list(range(len(others)))
    assert len(others) > KILLS // 20
    r.close()


@pytest.mark.limit(600)
def test_receiver_killed_beside_another(native, rng):
    """On one end: what the dead had not taken goes to the other; at most one message is gone with each."""
    r, w = native.Pipe(False)

    def receive(report):
        w.close()
        report(-1)
        while True:
            try:
                report(number_of(r.recv()))
            except EOFError:
                return

    survivor = Victim(receive)
    kept: list[int] = []
    listener = threading.Thread(target=lambda: kept.extend(survivor.said()))
    listener.start()
    reported, sent = [], 0
    for _ in range(KILLS):
        child = Victim(receive)
        assert child.hear() == -1
        end = time.perf_counter() + rng.uniform(0, 0.004)
        while time.perf_counter() < end:
            w.send(workers.sealed(sent, SIZES[sent % len(SIZES)]))
            sent += 1
        child.kill()
        reported += child.said()
    w.close()
    r.close()
    assert os.waitpid(survivor.pid, 0)[1] == 0
    listener.join()
    everything = sorted(reported + kept[1:])
    assert TORN not in everything
    assert len(everything) == len(set(everything))
    assert set(everything) <= set(range(sent))
    assert sent - len(everything) <= KILLS
    assert len(kept) > KILLS // 20


def readable(fd: int, timeout: float = 0.0) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


@pytest.mark.limit(600)
def test_readable_whoever_was_killed(native, rng):
    """While a message can be got the descriptor is readable: asked for before the kill, or only after."""
    behind = 0
    for kill in range(KILLS):
        r, w = native.Pipe(kill % 4 < 2)

        def victim(report, w=w):
            report(-1)
            while True:
                for i in range(rng.randrange(6)):
                    w.send_bytes(workers.sealed(i, SIZES[i]))
                spin(rng.uniform(0, 0.0002))

        early = kill % 2
        if early:
            assert not readable(r.fileno())
        child = Victim(victim)  # and we keep the end open too: no end-of-file makes it readable
        assert child.hear() == -1
        end = time.perf_counter() + rng.uniform(0, 0.004)
        while time.perf_counter() < end:
            if (not early or readable(r.fileno(), 0.001)) and r.poll(0):
                assert workers.unseal(r.recv_bytes()) != TORN
        child.kill()
        child.said()
        while True:
            ready = readable(r.fileno())
            if not r.poll():
                break
            assert ready
            behind += 1
            assert workers.unseal(r.recv_bytes()) != TORN
        w.send("next")
        assert readable(r.fileno())
        assert r.recv() == "next"
        r.close()
        w.close()
    assert behind > KILLS // 20


@pytest.mark.limit(600)
def test_sender_killed_in_a_large_message(native, rng):
    """While it is received: whole, or an error; never a part of it."""
    size, whole, errors = 64 * MIB, 0, 0
    for _ in range(max(KILLS // 20, 10)):
        r, w = native.Pipe(False)

        def victim(report, r=r, w=w):
            r.close()
            message = b"x" * size
            report(-1)
            w.send_bytes(message)
            time.sleep(60)

        child = Victim(victim)
        w.close()
        assert child.hear() == -1
        killer = threading.Timer(rng.uniform(0, 0.04), child.kill)
        killer.start()
        try:
            message = r.recv_bytes()
            assert message == b"x" * size
            whole += 1
        except (EOFError, OSError):
            errors += 1
        killer.join()
        child.said()
        with pytest.raises(EOFError):
            r.recv()
        r.close()
    assert errors > 0
