"""Processes that are killed at random instants, and what the kill tests have in common.

The victims are raw forks; each reports to a pipe, in single atomic writes, what it is about to do and what it has
done, so that every item can be accounted for. PROCFAST_KILLS sets the number of kills per test, PROCFAST_SEED
repeats a run.
"""

import itertools
import os
import signal
import time

KILLS = int(os.environ.get("PROCFAST_KILLS", "250"))
SEED = int(os.environ.get("PROCFAST_SEED", str(time.time_ns() % 1_000_000)))
WITHIN = 5.0  # seconds for what must happen at once; a loaded machine gets no less
TORN = -1


class Victim:
    """A forked child that runs `body(report)` until it is killed."""

    def __init__(self, body) -> None:
        self.reports, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 9
            try:
                os.close(self.reports)
                body(lambda number: os.write(write, number.to_bytes(8, "little", signed=True)))
                status = 0
            finally:
                os._exit(status)
        os.close(write)

    def said(self) -> list[int]:
        """All reports, at the end of the victim's life."""
        data = b""
        while block := os.read(self.reports, 65536):
            data += block
        os.close(self.reports)
        assert len(data) % 8 == 0
        return [
            int.from_bytes(data[i : i + 8], "little", signed=True) for i in range(0, len(data), 8)
        ]

    def hear(self) -> int:
        """The next report."""
        return int.from_bytes(os.read(self.reports, 8), "little", signed=True)

    def signal(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        assert os.WIFSIGNALED(status), f"the victim ended by itself: {status}"


_turns = itertools.cycle((False, True))


def spin(seconds: float) -> None:
    """Sleeps are too coarse to hit every instant. Every second time a victim that has this CPU too gets its turn."""
    let = next(_turns)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        if let:
            os.sched_yield()
