"""timeout=seconds: a task that runs longer is ended, with its worker, and no other.

python examples/pool_timeout.py [START METHOD]
"""

import sys
import time

import procfast
from procfast.exceptions import TimeoutError


def collatz(n):
    """How many steps to 1. From 0 there are none."""
    steps = 0
    while n != 1:
        n = 3 * n + 1 if n % 2 else n // 2
        steps += 1
    return steps


def main():
    ctx = procfast.get_context(sys.argv[1] if len(sys.argv) > 1 else None)
    with ctx.Pool(2) as pool:
        begin = time.monotonic()
        try:
            calls = [pool.apply_async(collatz, (n,), timeout=0.5) for n in (27, 0, 97)]
        except NotImplementedError as error:
            assert procfast.backend == "stdlib"
            print("as expected:", error)
            # what there is: an end of the wait, not of the work
            try:
                pool.apply_async(collatz, (0,)).get(timeout=0.5)
            except TimeoutError:
                print("0 is still being worked on")
        else:
            assert (calls[0].get(), calls[2].get()) == (111, 118)
            try:
                calls[1].get()
            except TimeoutError as error:
                print("0:", error)
            else:
                raise AssertionError("an end was found")
            assert pool.map(collatz, [27, 97]) == [111, 118]
        assert time.monotonic() - begin < 30
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
