"""Any process may die or stop at any instant: the others go on, and nothing committed is lost.

The victims are killed at random instants, and every item is accounted for (`victims.py`).
"""

import os
import queue
import random
import signal
import time
import zlib

import pytest
import workers
from victims import KILLS, SEED, TORN, WITHIN, Victim, spin


@pytest.fixture
def native():
    import procfast

    return procfast.get_context("fork", backend="native")


@pytest.fixture
def rng():
    print(f"PROCFAST_SEED={SEED}")  # shown when the test fails
    return random.Random(SEED)


def take_all(q, into: list[int], within: float = 0.0) -> None:
    while True:
        try:
            into.append(workers.unseal(q.get(timeout=within)))
        except queue.Empty:
            return


def works(q, marker: int) -> None:
    """The survivor puts and gets afterwards, at once."""
    began = time.monotonic()
    q.put(workers.sealed(marker), timeout=WITHIN)
    assert workers.unseal(q.get(timeout=WITHIN)) == marker
    assert time.monotonic() - began < WITHIN
    assert (q.qsize(), q.empty()) == (0, True)


@pytest.mark.limit(600)
def test_idle_consumer_killed(native, rng):
    """Asleep in get(): nothing was in its hands, so nothing may be missing."""
    q = native.Queue()

    def victim(report):
        report(0)
        q.get()
        report(TORN)

    for kill in range(KILLS):
        child = Victim(victim)
        child.hear()
        spin(rng.uniform(0, 0.001))
        child.kill()
        assert child.said() == []
        works(q, kill)
    q.close()


@pytest.mark.limit(600)
def test_consumer_killed_in_get(native, rng):
    """Mid-item: at most the one that it had taken is missing, the rest comes in order, whole."""
    q = native.Queue()
    batch = 12
    first = doubtful = hit = 0
    items = [workers.sealed(seq) for seq in range(batch)]

    def victim(report):
        report(0)
        while True:
            item = q.get()
            report(item[0] if zlib.crc32(item[:-4]).to_bytes(4, "little") == item[-4:] else TORN)

    for kill in range(4 * KILLS):
        if kill >= KILLS and hit > KILLS // 20:
            break  # on a busy machine fewer kills fall between the items: then it takes more of them
        child = Victim(victim)
        assert child.hear() == 0
        for item in items:
            q.put(item)
        spin(rng.uniform(0, 0.0004))
        child.kill()
        by_victim, by_us = child.said(), []
        take_all(q, by_us)
        got = by_victim + by_us
        assert TORN not in got
        assert len(set(got)) == len(got), f"kill {kill}: twice: {by_victim} {by_us}"
        missing = set(range(batch)) - set(got)
        assert len(missing) <= 1, f"kill {kill}: lost {missing}: {by_victim} {by_us}"
        assert got == sorted(got)
        assert not missing or missing == {len(by_victim)}
        doubtful += len(missing)
        hit += 0 < len(by_victim) < batch
        works(q, first + kill)
    assert hit > KILLS // 20, f"only {hit} of {4 * KILLS} kills fell between the items"
    q.close()


@pytest.mark.limit(600)
def test_producer_killed_in_put(native, rng):
    """Whatever put() had returned from is there, whole, once and in order."""
    q = native.Queue()
    partly = 0

    def victim(report):
        report(0)
        seq = 0
        while True:
            item = workers.sealed(seq)
            q.put(item)
            seq += 1
            report(seq)

    for kill in range(KILLS):
        child = Victim(victim)
        child.hear()
        got = []
        end = time.perf_counter() + rng.uniform(0, 0.0015)
        while time.perf_counter() < end:
            if kill % 2:  # every other time against a live consumer
                take_all(q, got)
        child.kill()
        put = len(child.said())
        take_all(q, got)
        assert got == list(range(len(got))), f"kill {kill}: {got}"
        assert put <= len(got) <= put + 1, f"kill {kill}: put returned {put} times, got {len(got)}"
        partly += len(got) > put
        works(q, kill)
    q.close()


@pytest.mark.limit(600)
def test_producer_killed_in_bounded_put(native, rng):
    """Asleep for want of room, or just given some."""
    q = native.Queue(2)
    kills = KILLS // 4

    def victim(report):
        report(0)
        for seq in range(1 << 30):
            q.put(workers.sealed(seq))
            report(seq + 1)

    for _ in range(kills):
        child = Victim(victim)
        child.hear()
        spin(rng.uniform(0, 0.0005))
        got = [workers.unseal(q.get(timeout=WITHIN)) for _ in range(rng.randrange(4))]
        child.kill()
        put = len(child.said())
        take_all(q, got)
        assert got == list(range(len(got)))
        assert put <= len(got) <= put + 1
        for marker in (1, 2):
            q.put(workers.sealed(marker), timeout=WITHIN)  # its room was given back
        assert q.full()
        with pytest.raises(queue.Full):
            q.put(b"", timeout=0)
        assert [workers.unseal(q.get(timeout=WITHIN)) for _ in "12"] == [1, 2]
    q.close()


@pytest.mark.limit(600)
def test_woken_consumer_killed(native, rng):
    """A wake-up that died with the woken: the other sleeper gets the item all the same."""
    q = native.Queue()
    kills = KILLS // 4

    def consumer(report):
        report(0)
        while True:
            report(workers.unseal(q.get()))

    survivor = Victim(consumer)
    survivor.hear()
    os.set_blocking(survivor.reports, False)

    def survivor_got(within: float) -> int | None:
        end = time.monotonic() + within
        while time.monotonic() < end:
            try:
                return survivor.hear()
            except BlockingIOError:
                if q.empty() and time.monotonic() > end - within + 0.05:
                    return None  # taken by the victim
                time.sleep(0.0002)
        raise AssertionError(f"an item lies in the queue for {within} s and a consumer sleeps")

    try:
        for kill in range(1, kills + 1):
            victim = Victim(consumer)
            victim.hear()
            spin(rng.uniform(0, 0.002))
            q.put(workers.sealed(kill))
            spin(rng.uniform(0, 0.0001))
            victim.kill()
            taken = victim.said()
            got = None if taken else survivor_got(WITHIN)
            assert taken == [kill] or got in (kill, None)
            q.put(workers.sealed(0))
            assert survivor_got(WITHIN) == 0
    finally:
        survivor.kill()
        os.close(survivor.reports)
    q.close()


@pytest.mark.limit(600)
def test_killed_with_peers(native, rng):
    """Two producers and two consumers, one of them killed and replaced all the time."""
    q, kills = native.Queue(8), KILLS // 4
    count = 0

    def producer(who):
        def body(report):
            report(0)
            for seq in range(1 << 20):
                q.put(workers.sealed(who << 20 | seq, 2000))
                report(who << 20 | seq)

        return body

    def consumer(report):
        report(0)
        while True:
            report(workers.unseal(q.get()))

    reports_put, reports_got, doubt_got, doubt_put = set(), [], 0, 0
    cast = {"producer": [], "consumer": []}

    def hire(role):
        nonlocal count
        count += 1
        cast[role].append(Victim(producer(count) if role == "producer" else consumer))

    def account(role, child):
        nonlocal doubt_got, doubt_put
        said = child.said()[1:]
        if role == "producer":
            reports_put.update(said)
            doubt_put += 1
        else:
            reports_got.extend(said)
            doubt_got += 1

    for role in cast:
        hire(role)
        hire(role)
    for _ in range(kills):
        role = rng.choice(("producer", "consumer"))
        spin(rng.uniform(0, 0.002))
        victim = cast[role].pop(rng.randrange(2))
        victim.kill()
        account(role, victim)
        hire(role)
    # the survivors' pipes hold 64 KiB of reports: read by the time they are needed
    for role in ("producer", "consumer"):
        for child in cast[role]:
            child.kill()
            account(role, child)
    take_all(q, reports_got)
    assert TORN not in reports_got
    assert len(set(reports_got)) == len(reports_got), "an item came twice"
    lost = reports_put - set(reports_got)
    assert len(lost) <= doubt_got, f"{len(lost)} committed items lost by {doubt_got} dead consumers"
    extra = set(reports_got) - reports_put
    assert len(extra) <= doubt_put
    works(q, 1)
    q.close()


@pytest.mark.limit(600)
@pytest.mark.parametrize("role", ["producer", "consumer"])
def test_stopped_process_is_not_robbed(native, rng, role):
    """SIGSTOP at any instant: others' timeouts hold, and after SIGCONT it simply goes on."""
    q = native.Queue(6)
    rounds = min(KILLS, 60)

    def produce(report):
        report(0)
        for seq in range(1 << 20):
            q.put(workers.sealed(seq))
            report(seq + 1)

    def consume(report):
        report(0)
        while True:
            report(workers.unseal(q.get()) + 1)

    child = Victim(produce if role == "producer" else consume)
    child.hear()
    seq, got = 0, []
    for _ in range(rounds):
        end = time.perf_counter() + rng.uniform(0, 0.001)
        while time.perf_counter() < end:
            try:
                if role == "producer":
                    got.append(workers.unseal(q.get(timeout=0.2)))
                else:
                    q.put(workers.sealed(seq), timeout=0.2)
                    seq += 1
            except (queue.Empty, queue.Full):
                pass
        child.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        for _ in range(8):  # more than the queue holds
            began = time.monotonic()
            try:
                if role == "producer":
                    got.append(workers.unseal(q.get(timeout=0.02)))
                else:
                    q.put(workers.sealed(seq), timeout=0.02)
                    seq += 1
            except (queue.Empty, queue.Full):
                pass
            assert time.monotonic() - began < WITHIN
        child.signal(signal.SIGCONT)
    if role == "consumer":
        end = time.monotonic() + WITHIN
        while not q.empty():
            assert time.monotonic() < end
            time.sleep(0.001)
        time.sleep(0.05)
        child.kill()
        assert child.said() == list(range(1, seq + 1))
    else:
        child.kill()
        put = len(child.said())
        take_all(q, got)
        assert got == list(range(len(got)))
        assert put <= len(got) <= put + 1
    works(q, 1)
    q.close()


@pytest.mark.limit(600)
def test_batches_killed(native, rng):
    """put_many commits what it has put in order; get_many holds at most its batch."""
    q, kills, batch = native.Queue(), KILLS // 4, 16

    def producer(report):
        report(0)
        for start in range(0, 1 << 20, batch):
            q.put_many([workers.sealed(start + i, 3000) for i in range(batch)])
            report(start + batch)

    def consumer(report):
        report(0)
        while True:
            for item in q.get_many(batch):
                report(workers.unseal(item) + 1)

    for _ in range(kills // 2):
        child = Victim(producer)
        child.hear()
        spin(rng.uniform(0, 0.001))
        child.kill()
        said, got = child.said(), []
        take_all(q, got)
        assert got == list(range(len(got)))
        assert (said or [0])[-1] <= len(got) <= (said or [0])[-1] + batch
        works(q, 5)
    items = [workers.sealed(i, 3000) for i in range(3 * batch)]
    for _ in range(kills // 2):
        child = Victim(consumer)
        child.hear()
        q.put_many(items)
        spin(rng.uniform(0, 0.0005))
        child.kill()
        got = [n - 1 for n in child.said()]
        first = len(got)
        assert got == list(range(first))
        take_all(q, got)
        assert len(got) == len(set(got))
        missing = set(range(len(items))) - set(got)
        assert len(missing) <= batch
        assert not missing or missing == set(range(first, first + len(missing)))
        works(q, 5)
    q.close()
