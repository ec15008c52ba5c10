"""Handlers that raise at any instant: every byte is accounted for. (On the stdlib backend, Python itself may be
interrupted between a transfer and its note of it.)"""

import os
import random
import signal
import threading

import pytest
import workers
from victims import SEED


class Alarm(Exception):
    pass


@pytest.fixture
def alarms():
    """raise_soon(seconds)"""

    def handler(*_):
        raise Alarm

    before = signal.signal(signal.SIGALRM, handler)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.limit(300)
def test_no_byte_is_lost_by_handlers_that_raise(alarms):
    posix = workers.posix_of("native")
    print(f"PROCFAST_SEED={SEED}")  # shown when the test fails
    rng = random.Random(SEED)
    r, w = posix.pipe()
    data = bytes(i * 7 % 251 for i in range(20_000 * 251))
    writer = threading.Thread(target=lambda: posix.write_all(w, data, 250))
    writer.start()
    got, raised, size = bytearray(), 0, 0
    while len(got) < len(data):
        size = min(rng.choice((10, 1000, 60_000, 300_000)), len(data) - len(got))
        part = b""
        try:
            alarms(rng.uniform(1e-6, 2e-4))
            part = posix.read_exactly(r, size, 30)
            alarms(0)
        except Alarm as error:
            raised += 1
            part = getattr(error, "partial", part)
        got += part
    alarms(0)
    writer.join()
    assert got == data
    assert raised > 3
    os.close(r)
    os.close(w)
