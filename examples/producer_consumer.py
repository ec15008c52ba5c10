"""Two producers, two consumers and a bounded queue: a producer that is ahead waits for room.

python examples/producer_consumer.py [fork|spawn|forkserver]
"""

import queue
import sys

import procfast

ROOM = 10


def produce(lines, name, count):
    for i in range(count):
        lines.put((name, i))  # waits while the queue is full


def consume(lines, totals):
    seen = {}
    for name, i in iter(lines.get, None):
        assert seen.get(name, -1) < i, "the items of one producer arrive in its order"
        seen[name] = i
        totals.put(i)
    totals.put(None)


def main():
    lines, totals = procfast.Queue(ROOM), procfast.Queue()
    for i in range(ROOM):
        lines.put(("main", i))
    try:
        lines.put(("main", ROOM), timeout=0.05)
    except queue.Full:
        pass  # what a full queue answers when the time is over
    else:
        raise AssertionError("the queue took more than its bound")
    for i in range(ROOM):
        assert lines.get() == ("main", i)

    producers = [procfast.Process(target=produce, args=(lines, name, 500)) for name in ("a", "b")]
    consumers = [procfast.Process(target=consume, args=(lines, totals)) for _ in range(2)]
    for process in producers + consumers:
        process.start()
    for process in producers:
        process.join()
    for _ in consumers:
        lines.put(None)
    collected, open_consumers = [], len(consumers)
    while open_consumers:
        item = totals.get()
        if item is None:
            open_consumers -= 1
        else:
            collected.append(item)
    for process in consumers:
        process.join()

    assert sorted(collected) == sorted([*range(500), *range(500)])
    try:
        lines.get(timeout=0.05)
    except queue.Empty:
        pass  # nothing is left over
    else:
        raise AssertionError("an item too many")
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
