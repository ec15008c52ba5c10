"""Both backends in one process: the same function, given one context and then the other.

python examples/compare_backends.py
"""

import time

import procfast

COUNT = 50_000


def send(items):
    for i in range(COUNT):
        items.put(i)


def run(ctx):
    items = ctx.Queue()
    process = ctx.Process(target=send, args=(items,))
    begin = time.perf_counter()
    process.start()
    total = sum(items.get() for _ in range(COUNT))
    seconds = time.perf_counter() - begin
    process.join()
    assert total == sum(range(COUNT))
    return COUNT / seconds


if __name__ == "__main__":
    rates = {}
    for backend in dict.fromkeys(["stdlib", procfast.backend]):
        rates[backend] = run(procfast.get_context("fork", backend=backend))
        print(f"{backend:8} {rates[backend]:12,.0f} ints per second")
    print(*rates, "ok")
