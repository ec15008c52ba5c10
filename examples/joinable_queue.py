"""A JoinableQueue: `join()` returns when every item that was put has been reported done.

python examples/joinable_queue.py [fork|spawn|forkserver]
"""

import sys
import time

import procfast


def work(tasks, results):
    while True:
        number = tasks.get()
        try:
            time.sleep(0.001)
            results.put(number + 1)
        finally:
            tasks.task_done()


def main():
    tasks, results = procfast.JoinableQueue(), procfast.SimpleQueue()
    # Daemons: they wait for tasks for ever and end with the program.
    for _ in range(3):
        procfast.Process(target=work, args=(tasks, results), daemon=True).start()
    for number in range(100):
        tasks.put(number)
    tasks.join()

    assert tasks.empty(), "everything was taken and done"
    assert sorted(results.get() for _ in range(100)) == list(range(1, 101))
    try:
        tasks.task_done()
    except ValueError:
        pass  # more tasks done than were put
    else:
        raise AssertionError("task_done() without a task went unnoticed")
    for child in procfast.active_children():
        child.terminate()
        child.join()
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
