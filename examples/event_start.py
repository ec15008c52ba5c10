"""Events: all start at once, and all stop when told.

python examples/event_start.py [START METHOD]
"""

import sys
import time

import procfast


def work(ready, start, stop, results):
    ready.release()
    start.wait()
    began, rounds = time.monotonic(), 0
    while not stop.is_set():  # costs next to nothing
        rounds += 1
        time.sleep(0.001)
    results.put((began, rounds))


def main():
    ctx = procfast.get_context(sys.argv[1] if len(sys.argv) > 1 else None)
    ready, start, stop, results = ctx.Semaphore(0), ctx.Event(), ctx.Event(), ctx.SimpleQueue()
    workers = [ctx.Process(target=work, args=(ready, start, stop, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.acquire()  # one of them is there
    assert not stop.wait(0.1)  # False: it was not set within so many seconds
    start.set()
    time.sleep(0.2)
    stop.set()
    answers = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    begins = [began for began, _ in answers]
    print(f"all began within {(max(begins) - min(begins)) * 1e6:.0f} us")
    assert all(rounds > 0 for _, rounds in answers)
    start.clear()
    assert not start.is_set()
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
