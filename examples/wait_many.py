"""Wait for whichever of many processes ends next: `connection.wait` on their sentinels, with no polling.

python examples/wait_many.py [fork|spawn|forkserver]
"""

import random
import sys
import time

from procfast.connection import wait

import procfast


def work(number, seconds):
    time.sleep(seconds)
    sys.exit(number % 7)


def main():
    count = 200 if procfast.get_start_method() == "fork" else 10
    processes = [
        procfast.Process(target=work, args=(i, random.uniform(0, 0.5))) for i in range(count)
    ]
    for process in processes:
        process.start()

    # A sentinel is readable from the end of its process on; it can also go into select, selectors or asyncio.
    running = {process.sentinel: number for number, process in enumerate(processes)}
    codes = {}
    cpu = time.process_time()
    while running:
        for sentinel in wait(list(running), timeout=30):
            number = running.pop(sentinel)
            processes[number].join()  # returns at once, and takes the exit code
            codes[number] = processes[number].exitcode
    cpu = time.process_time() - cpu

    assert codes == {i: i % 7 for i in range(count)}
    assert procfast.active_children() == []
    print(f"{count} processes waited for with {1000 * cpu:.0f} ms of CPU time")
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
