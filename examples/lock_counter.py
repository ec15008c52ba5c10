"""Several processes count on one counter: under a lock no update is lost. And: who holds a lock just now?

python examples/lock_counter.py [START METHOD]
"""

import sys
import time

import procfast


def count(lock, counter, times):
    for _ in range(times):
        with lock:
            counter.value += 1  # reads, adds and writes: three steps that belong together


def hold(lock, held, go):
    with lock:
        held.set()
        go.wait()


def main():
    ctx = procfast.get_context(sys.argv[1] if len(sys.argv) > 1 else None)
    lock, counter = ctx.Lock(), ctx.RawValue("i", 0)
    workers = [ctx.Process(target=count, args=(lock, counter, 5000)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print("counted", counter.value)
    assert counter.value == 4 * 5000

    held, go = ctx.Event(), ctx.Event()
    holder = ctx.Process(target=hold, args=(lock, held, go))
    holder.start()
    held.wait()
    assert lock.locked()
    assert not lock.acquire(timeout=0.1)  # not to be had within so many seconds
    if "lock_owner" in ctx.features:
        waited = time.monotonic() - lock.owner.since  # since somebody first had to wait for it
        print(f"held by process {lock.owner.pid}, for {waited:.1f} s at least")
        assert lock.owner.pid == holder.pid
    go.set()
    with lock:
        print("and now it is ours")
    holder.join()
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
