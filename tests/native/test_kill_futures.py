"""Any worker of an executor may die at any instant: its own call fails, every other result arrives once."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import as_completed

import futures_workers as work
import pytest
import supervisor
from victims import KILLS, SEED, WITHIN

import procfast
from procfast.exceptions import WorkerDied
from procfast.native.futures import ProcessPoolExecutor


class Killer(threading.Thread):
    """Kills workers until it has killed so many."""

    def __init__(self, executor, kills: int) -> None:
        super().__init__(daemon=True)
        print(f"PROCFAST_SEED={SEED}")  # shown when the test fails
        self.executor, self.kills, self.random = executor, kills, random.Random(SEED)
        self.killed: set[int] = set()

    def run(self) -> None:
        while len(self.killed) < self.kills:
            time.sleep(self.random.uniform(0, 0.006))
            workers = [p for pid, p in self.executor._processes.items() if pid not in self.killed]
            if workers:
                victim = self.random.choice(workers)
                victim.kill()
                self.killed.add(victim.pid)


@pytest.mark.limit(300)
def test_random_kills():
    """No call is done twice or lost, a death fails at most one, however its future is waited for."""
    died, done = set(), 0
    ctx = procfast.get_context("fork", backend="native")
    with ProcessPoolExecutor(3, ctx) as executor:
        executor.submit(work.square, 0).result()
        killer = Killer(executor, KILLS // 4)
        killer.start()
        while killer.is_alive():
            calls = {executor.submit(work.square, i): i for i in range(300)}
            order = calls if done % 2 else as_completed(calls)
            for future in order:
                error = future.exception(WITHIN)
                if error is None:
                    assert future.result() == calls[future] ** 2
                else:
                    assert isinstance(error, WorkerDied) and error.exitcode == -signal.SIGKILL
                    assert error.pid not in died
                    died.add(error.pid)
            done += 1
        assert died <= killer.killed
        assert executor.submit(work.square, 9).result(WITHIN) == 81


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_told_within_a_second(method):
    """Also where nobody waits but a loop of asyncio."""
    with ProcessPoolExecutor(2, procfast.get_context(method, backend="native")) as executor:
        pid = executor.submit(os.getpid).result(WITHIN)

        async def main():
            futures = [executor.submit(time.sleep, 60) for _ in range(2)]
            calls = [asyncio.wrap_future(future) for future in futures]
            while not all(
                future.running() for future in futures
            ):  # else one is done by another worker
                await asyncio.sleep(0.01)
            for worker in executor._processes.values():
                worker.kill()
            began = time.monotonic()
            found = await asyncio.gather(*calls, return_exceptions=True)
            assert time.monotonic() - began < WITHIN
            assert [type(error) for error in found] == [WorkerDied, WorkerDied]
            assert pid in {error.pid for error in found}

        asyncio.run(main())
        assert executor.submit(work.square, 3).result(WITHIN) == 9


OWNER = """
import time
import procfast, futures_workers as work
from procfast.native.futures import ProcessPoolExecutor
executor = ProcessPoolExecutor(2, procfast.get_context("fork", backend="native"))
futures = [executor.submit(time.sleep, 60) for _ in range(3)]
while not futures[1].running():
    time.sleep(0.01)
print(*executor._processes, flush=True)
futures[0].result()
"""


def test_owner_killed(tmp_path):
    """All workers are gone soon, in the middle of their calls."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    owner = subprocess.Popen(
        [sys.executable, "-P", "-c", OWNER], stdout=subprocess.PIPE, text=True, env=env
    )
    workers = {int(pid) for pid in owner.stdout.readline().split()}
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert len(workers) == 2
    end = time.monotonic() + WITHIN
    while any(pid in workers and p.state != "Z" for pid, p in supervisor.processes().items()):
        assert time.monotonic() < end
        time.sleep(0.005)
