"""At most two of six processes do a thing at once, by a BoundedSemaphore.

python examples/semaphore_limit.py [START METHOD]
"""

import sys
import time

import procfast


def work(permits, inside, me):
    for _ in range(10):
        with permits:
            inside[me] = 1
            assert sum(inside) <= 2, "more than two"
            time.sleep(0.002)
            inside[me] = 0


def main():
    ctx = procfast.get_context(sys.argv[1] if len(sys.argv) > 1 else None)
    permits, inside = ctx.BoundedSemaphore(2), ctx.RawArray("i", 6)
    workers = [ctx.Process(target=work, args=(permits, inside, me)) for me in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert permits.get_value() == 2
    try:
        permits.release()  # one more than were acquired
    except ValueError as error:
        print("refused:", error)
    with permits, permits:
        assert permits.locked()
        assert not permits.acquire(block=False)
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
