"""A computation in steps, each of which needs the whole result of the one before: heat in a rod.

Each process has a part of the rod; at a Barrier they wait for each other after every step. Then: one that does not
come in time breaks it, and the others are told.

    python examples/barrier_phases.py [START METHOD]
"""

import sys
import threading

import procfast

CELLS, STEPS, PARTIES = 40, 30, 4


def step(old, new, cells):
    for i in cells:
        left, right = old[max(i - 1, 0)], old[min(i + 1, CELLS - 1)]
        new[i] = (left + 2 * old[i] + right) / 4


def part(barrier, rods, cells):
    for number in range(STEPS):
        step(rods[number % 2], rods[1 - number % 2], cells)
        barrier.wait()  # the last to come ends the step for all


def late(barrier, told):
    try:
        barrier.wait()
    except threading.BrokenBarrierError:
        told.put("broken")


def main():
    ctx = procfast.get_context(sys.argv[1] if len(sys.argv) > 1 else None)
    start = [100.0] + [0.0] * (CELLS - 1)
    rods = ctx.RawArray("d", start), ctx.RawArray("d", CELLS)
    barrier, size = ctx.Barrier(PARTIES), CELLS // PARTIES
    parts = [range(i * size, (i + 1) * size) for i in range(PARTIES)]
    workers = [ctx.Process(target=part, args=(barrier, rods, cells)) for cells in parts]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    alone = [start, [0.0] * CELLS]
    for number in range(STEPS):
        step(alone[number % 2], alone[1 - number % 2], range(CELLS))
    assert list(rods[STEPS % 2]) == alone[STEPS % 2]
    print("the same as in one process")

    barrier, told = ctx.Barrier(3), ctx.SimpleQueue()
    waiter = ctx.Process(target=late, args=(barrier, told))
    waiter.start()
    try:
        barrier.wait(timeout=0.5)  # the third never comes
    except threading.BrokenBarrierError:
        print("we are told, and the other:", told.get())
    waiter.join()
    assert barrier.broken
    barrier.reset()
    assert not barrier.broken
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
