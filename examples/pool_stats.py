"""stats(): what a pool has done, and what it is doing.

python examples/pool_stats.py [START METHOD]
"""

import contextlib
import sys
import time

import procfast


def work(seconds):
    time.sleep(seconds)


def fail():
    raise ValueError("on purpose")


def main():
    ctx = procfast.get_context(sys.argv[1] if len(sys.argv) > 1 else None)
    with ctx.Pool(2) as pool:
        calls = [pool.apply_async(work, (0.2,)) for _ in range(6)]
        while sum(worker.running > 0 for worker in pool.stats().workers) < 2:
            time.sleep(0.01)
        now = pool.stats()
        print(
            now.queued,
            "tasks wait;",
            *(f"{w.pid} runs for {w.running:.2f} s;" for w in now.workers),
        )
        assert now.queued <= 4

        for call in calls:
            call.get()
        with contextlib.suppress(ValueError):
            pool.apply(fail)
        then = pool.stats()
        assert (then.done, then.failed, then.queued, then.replaced) == (6, 1, 0, 0)
        assert sum(worker.tasks for worker in then.workers) == 7
        assert sum(worker.busy for worker in then.workers) >= 1.2
        for worker in then.workers:
            print(f"{worker.pid}: {worker.tasks} tasks, busy for {worker.busy:.2f} s")
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
