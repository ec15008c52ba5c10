"""A process is killed (SIGKILL) in the middle of a change, with the lock in its hands.

With `Lock(robust=True)` the next one who asks is told, repairs what is half changed, and goes on. A plain lock, and
each of the standard library's, stays locked; native ones say at least by whom.

    python examples/robust_lock.py
"""

import os
import signal
import time

import procfast
from procfast.exceptions import OwnerDied


def transfer(lock, accounts, ready):
    with lock:
        accounts[0] -= 30
        ready.set()
        time.sleep(60)  # it is killed here: the money is on its way
        accounts[1] += 30


def killed_in_the_middle(ctx, lock, accounts):
    ready = ctx.Event()
    victim = ctx.Process(target=transfer, args=(lock, accounts, ready))
    victim.start()
    ready.wait()
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    return victim.pid


def main():
    ctx = procfast.get_context("fork")
    accounts = ctx.RawArray("i", [100, 0])

    lock = ctx.Lock()
    pid = killed_in_the_middle(ctx, lock, accounts)
    assert not lock.acquire(timeout=0.5)
    print("a plain lock stays locked")
    accounts[:] = [100, 0]

    if "robust_locks" not in ctx.features:
        try:
            ctx.Lock(robust=True)
        except NotImplementedError as error:
            print(error)
        print(procfast.backend, "ok")
        return
    assert (lock.owner.pid, lock.owner.alive) == (pid, False)
    print("its owner:", lock.owner)

    lock = ctx.Lock(robust=True)
    pid = killed_in_the_middle(ctx, lock, accounts)
    try:
        with lock:
            raise AssertionError("nobody told us")
    except OwnerDied as error:  # once; the lock is free now
        print("told:", error)
        assert error.pid == pid
    assert sum(accounts) == 70
    accounts[:] = [100, 0]

    # The same for those who know how to repair: they have the lock at once.
    pid = killed_in_the_middle(ctx, lock, accounts)
    dead = lock.acquire_recover()
    if dead is not True:
        accounts[1] += 100 - sum(accounts)
        print("repaired after process", dead.pid)
    lock.release()
    assert list(accounts) == [70, 30]
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
