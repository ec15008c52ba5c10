"""Counting together: what loses updates, what does not, and what is quickest.

`value.value += 1` reads and writes, each under the lock, but another process may come in between. Either take the
lock around both, or let `add` do it at once; the two may be mixed. `add` answers the new value, so it also hands
out numbers.

    python examples/shared_counter.py [fork|spawn|forkserver]
"""

import sys
import time

import procfast

WORKERS, TIMES = 4, 20_000


def carelessly(counter):
    for _ in range(TIMES):
        counter.value += 1


def with_the_lock(counter):
    for _ in range(TIMES):
        with counter.get_lock():
            counter.value += 1


def by_add(counter):
    for _ in range(TIMES):
        counter.add(1)


def count(*ways):
    counter = procfast.Value("q")
    processes = [procfast.Process(target=way, args=(counter,)) for way in ways]
    begin = time.perf_counter()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return counter.value, time.perf_counter() - begin


def take_numbers(counter, mine):
    """Each number goes to one process only."""
    while (number := counter.add(1)) <= len(mine):
        mine[number - 1] = 1


def enter_once(door, winners):
    """Of all who try, one finds the door open."""
    if door.compare_exchange(0, 1):
        winners.add(1)


def main():
    whole = WORKERS * TIMES
    for name, ways in {
        "carelessly": [carelessly] * WORKERS,
        "with the lock": [with_the_lock] * WORKERS,
        "by add": [by_add] * WORKERS,
        "both mixed": [with_the_lock, by_add] * (WORKERS // 2),
    }.items():
        counted, seconds = count(*ways)
        print(f"{name:14} {counted:6} of {whole} in {seconds:.2f} s")
        assert counted == whole or name == "carelessly"

    counter, taken = procfast.Value("i"), procfast.Array("b", 1000, lock=False)
    door, winners = procfast.Value("i"), procfast.Value("i")
    processes = [procfast.Process(target=take_numbers, args=(counter, taken)) for _ in range(3)]
    processes += [procfast.Process(target=enter_once, args=(door, winners)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert all(taken)
    assert winners.value == 1
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
