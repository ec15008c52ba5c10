"""cancel(): what is queued is not begun; natively, what runs is ended with its worker.

python examples/pool_cancel.py [START METHOD]
"""

import concurrent.futures
import sys
import time

import procfast


def work(seconds):
    time.sleep(seconds)
    return seconds


def main():
    ctx = procfast.get_context(sys.argv[1] if len(sys.argv) > 1 else None)
    with ctx.Pool(1) as pool:
        running = pool.apply_async(work, (3,))
        while not pool.stats().workers[0].running:
            time.sleep(0.01)
        queued = [pool.apply_async(work, (60,)) for _ in range(10)]
        last = pool.apply_async(work, (0,))

        assert all(call.cancel() for call in queued)
        for call in queued:
            try:
                call.get()
            except concurrent.futures.CancelledError:
                assert call.cancelled()
            else:
                raise AssertionError("it was cancelled")

        if running.cancel():  # only where one worker can be killed alone
            print("its worker was killed, and replaced")
            assert pool.stats().replaced <= 1
        else:
            assert procfast.backend == "stdlib"
            print("what has begun goes on to its end")
            assert running.get() == 3
        assert last.get() == 0
        assert not last.cancel()  # it has ended
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
