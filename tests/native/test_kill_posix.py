"""Users of named semaphores and message queues may die at any instant: what the others get is exact.

The victims are killed at random instants, and every permit and message is accounted for (`victims.py`).
"""

import os
import random
import threading
import time

import pytest
import workers
from victims import KILLS, SEED, WITHIN, Victim, spin


@pytest.fixture
def posix():
    return workers.posix_of("native")


@pytest.fixture
def rng():
    print(f"PROCFAST_SEED={SEED}")  # shown when the test fails
    return random.Random(SEED)


@pytest.fixture
def name(posix):
    name = f"/pf-kill-{os.getpid()}"
    yield name
    for kind in (posix.NamedSemaphore, posix.MessageQueue):
        kind(name, create=True).unlink()


class Heard:
    """The reports of one that lives on, as they come."""

    def __init__(self, body) -> None:
        self.child = Victim(body)
        self.reports: list[int] = []
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()

    def _listen(self) -> None:
        while data := os.read(self.child.reports, 8):
            self.reports.append(int.from_bytes(data, "little", signed=True))

    def until(self, enough) -> None:
        end = time.monotonic() + WITHIN
        while not enough(self.reports):
            assert time.monotonic() < end, len(self.reports)
            time.sleep(0.0005)

    def end(self) -> None:
        self.child.kill()
        self.thread.join()
        os.close(self.child.reports)


@pytest.mark.limit(600)
def test_waiter_killed_when_woken(posix, name, rng):
    """Its wake-up dies with it, the permit does not: another waiter has it within a second or so."""
    semaphore = posix.NamedSemaphore(name, create=True, value=0)

    def take(report):
        while True:
            semaphore.acquire()
            report(1)

    survivor = Heard(take)
    given = taken = 0
    for _ in range(KILLS):
        child = Victim(lambda report: (report(-1), take(report)))
        assert child.hear() == -1
        for _ in range(rng.randrange(1, 4)):
            semaphore.release()
            given += 1
            spin(rng.uniform(0, 0.0003))
        child.kill()
        reported = len(child.said())
        # the victim took what it reported, and perhaps one more
        survivor.until(lambda got, due=given - taken - reported: len(got) >= due - 1)
        if semaphore.value == 0:
            time.sleep(0.002)  # what the survivor has taken it is about to report
        taken = given - len(survivor.reports)
    assert len(survivor.reports) > KILLS // 20
    survivor.end()
    semaphore.close()


@pytest.mark.limit(600)
def test_receiver_killed(posix, name, rng):
    """Each message comes once; at most one goes with each dead receiver."""
    queue = posix.MessageQueue(name, create=True, max_messages=8, max_size=32)

    def receive(report):
        while True:
            report(int(queue.receive().data))

    survivor = Heard(receive)
    sent, gone = 0, []
    for _ in range(KILLS):
        child = Victim(lambda report: (report(-1), receive(report)))
        assert child.hear() == -1
        for _ in range(rng.randrange(1, 12)):
            queue.send(b"%d" % sent, timeout=WITHIN)
            sent += 1
        spin(rng.uniform(0, 0.0003))
        child.kill()
        gone += child.said()
    survivor.until(lambda got: len(got) + len(gone) >= sent - KILLS and not queue.count)
    time.sleep(0.05)
    got = survivor.reports + gone
    assert len(got) == len(set(got)) and set(got) <= set(range(sent))
    assert sent - len(got) <= KILLS
    assert len(survivor.reports) > KILLS // 20
    survivor.end()
    queue.close()


@pytest.mark.limit(600)
def test_sender_killed(posix, name, rng):
    """What it reported as sent comes, and perhaps one more; in order, each once."""
    queue = posix.MessageQueue(name, create=True, max_messages=4, max_size=32)
    messages = 0
    for _ in range(KILLS):

        def send(report):
            report(-1)
            for number in range(1 << 20):
                queue.send(b"%d" % number)
                report(number)

        child = Victim(send)
        assert child.hear() == -1
        got = []
        end = time.perf_counter() + rng.uniform(0, 0.001)
        while time.perf_counter() < end:
            if queue.count:
                got.append(int(queue.receive(0).data))
        child.kill()
        sent = len(child.said())
        while queue.count:
            got.append(int(queue.receive(0).data))
        assert got == list(range(len(got)))
        assert sent <= len(got) <= sent + 1
        messages += len(got)
    assert messages > KILLS // 10  # a child may not have its turn before it is killed
    queue.close()
