"""A bounded buffer in shared memory: those who find it empty or full wait on a Condition.

python examples/condition_buffer.py [START METHOD]
"""

import sys

import procfast

ROOM = 8


class Buffer:
    """Numbers, first in first out; `state` is [how many were put, how many were taken]."""

    def __init__(self, ctx):
        self.lock = ctx.Lock()
        self.not_empty, self.not_full = ctx.Condition(self.lock), ctx.Condition(self.lock)
        self.state, self.numbers = ctx.RawArray("i", 2), ctx.RawArray("i", ROOM)

    def put(self, number):
        with self.not_full:
            self.not_full.wait_for(lambda: self.state[0] - self.state[1] < ROOM)
            self.numbers[self.state[0] % ROOM] = number
            self.state[0] += 1
            self.not_empty.notify()

    def get(self, timeout=None):
        with self.not_empty:
            if not self.not_empty.wait_for(lambda: self.state[0] > self.state[1], timeout):
                return None
            number = self.numbers[self.state[1] % ROOM]
            self.state[1] += 1
            self.not_full.notify()
            return number


def produce(buffer, numbers):
    for number in numbers:
        buffer.put(number)


def consume(buffer, results):
    results.put(list(iter(buffer.get, -1)))


def main():
    ctx = procfast.get_context(sys.argv[1] if len(sys.argv) > 1 else None)
    buffer, results = Buffer(ctx), ctx.SimpleQueue()
    assert buffer.get(timeout=0.1) is None  # nothing came in time
    consumers = [ctx.Process(target=consume, args=(buffer, results)) for _ in range(2)]
    producers = [
        ctx.Process(target=produce, args=(buffer, range(first, 1000, 3))) for first in range(3)
    ]
    for process in consumers + producers:
        process.start()
    for process in producers:
        process.join()
    for _ in consumers:
        buffer.put(-1)
    taken = [results.get() for _ in consumers]
    for process in consumers:
        process.join()
    assert sorted(number for numbers in taken for number in numbers) == list(range(1000))
    print("taken by each:", *map(len, taken))
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
