"""A worker is killed in the middle of its call: that call fails, everything else goes on.

The standard library's executor is broken by it, with all its calls; so is this one with strict=True, and on the stdlib
backend.
"""

import os
import signal

import procfast
from procfast.exceptions import WorkerDied
from procfast.futures import BrokenProcessPool, ProcessPoolExecutor


def square(x: int) -> int:
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)  # out of memory, say
    return x * x


def main() -> None:
    survived, failed = 0, 0
    with ProcessPoolExecutor(2) as executor:
        calls = [executor.submit(square, x) for x in range(10)]
        for x, call in enumerate(calls):
            try:
                assert call.result() == x * x
                survived += 1
            except WorkerDied as error:
                print(f"square({x}): {error}")
                failed += 1
            except BrokenProcessPool:
                failed += 1
    print(f"{survived} calls have a result, {failed} failed")
    if procfast.backend == "native":
        assert (survived, failed) == (9, 1)
    print("ok")


if __name__ == "__main__":
    main()
