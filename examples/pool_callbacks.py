"""apply_async with callbacks: nobody waits, and yet something happens with each result.

python examples/pool_callbacks.py [START METHOD]
"""

import sys
import threading

import procfast


def work(x):
    if x == 7:
        raise ValueError("not seven")
    return x * x


def main():
    ctx = procfast.get_context(sys.argv[1] if len(sys.argv) > 1 else None)
    good, bad, all_done = [], [], threading.Event()

    def count(kind, value):  # called in a thread of the pool: let it be short
        kind.append(value)
        if len(good) + len(bad) == 20:
            all_done.set()

    with ctx.Pool(2) as pool:
        for x in range(20):
            pool.apply_async(
                work,
                (x,),
                callback=lambda value: count(good, value),
                error_callback=lambda error: count(bad, error),
            )
        assert all_done.wait(30)
    assert sorted(good) == [x * x for x in range(20) if x != 7]
    assert [str(error) for error in bad] == ["not seven"]
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
