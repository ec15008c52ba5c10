"""A worker is killed in the middle of a task: WorkerDied is the error of that task; all others never hear of it.

With the native pool, that is. With the standard library's, whoever waits for that task waits for ever.

    python examples/pool_death.py [START METHOD]
"""

import os
import signal
import sys
import time

import procfast
from procfast.exceptions import TimeoutError, WorkerDied


def work(x):
    if x == 13:
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does where memory is short
    return x * x


def main():
    ctx = procfast.get_context(sys.argv[1] if len(sys.argv) > 1 else None)
    with ctx.Pool(2) as pool:
        calls = [pool.apply_async(work, (x,)) for x in range(50)]
        if "pool_worker_died" not in ctx.features:
            time.sleep(1)
            try:
                calls[13].get(timeout=1)
            except TimeoutError:
                print("task 13 is never done, and nobody says so")
            else:
                raise AssertionError("the standard library has changed: this text is out of date")
        else:
            try:
                calls[13].get()
            except WorkerDied as error:
                assert error.exitcode == -signal.SIGKILL
                print(error)
            others = [call.get() for x, call in enumerate(calls) if x != 13]
            assert others == [x * x for x in range(50) if x != 13]
            assert pool.map(work, range(10)) == [x * x for x in range(10)]
            while pool.stats().replaced < 1:  # its place is taken by another
                time.sleep(0.01)
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
