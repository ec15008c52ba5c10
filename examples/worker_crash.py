"""A worker is killed (SIGKILL) while it waits in `get()`. The others go on.

With the native queue, that is. With the standard library's, the dead worker keeps the queue's lock:
every other `get` waits for ever. That is shown as well, with a timeout.

    python examples/worker_crash.py
"""

import os
import queue
import signal
import time

import procfast


def work(tasks, results):
    results.put("ready")
    for number in iter(tasks.get, None):
        results.put(number)


def main():
    ctx = procfast.get_context("fork")
    tasks, results = ctx.Queue(), ctx.Queue()
    victim = ctx.Process(target=work, args=(tasks, results))
    victim.start()
    assert results.get() == "ready"
    time.sleep(0.2)  # now it is alone in get(), asleep
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    assert victim.exitcode == -signal.SIGKILL

    survivors = [ctx.Process(target=work, args=(tasks, results)) for _ in range(2)]
    for survivor in survivors:
        survivor.start()
        assert results.get() == "ready"
    for number in range(100):
        tasks.put(number)
    if procfast.backend == "native":
        assert sorted(results.get(timeout=10) for _ in range(100)) == list(range(100))
        for _ in survivors:
            tasks.put(None)
        for survivor in survivors:
            survivor.join()
            assert survivor.exitcode == 0
        print("the worker was killed, the survivors did all of its work")
    else:
        try:
            results.get(timeout=2)
        except queue.Empty:
            print(
                "the dead worker holds the queue's lock: the survivors get nothing, and never will"
            )
        else:
            raise AssertionError("the standard library has changed: this text is out of date")
        for survivor in survivors:
            survivor.kill()
            survivor.join()
        tasks.cancel_join_thread()
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
