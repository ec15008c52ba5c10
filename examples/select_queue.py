"""A queue beside sockets and timers: its `_reader` can be given to selectors and to asyncio.

Readable means: look now. It may be early, so the item is taken with `get_nowait`, never blocking.

    python examples/select_queue.py [fork|spawn|forkserver]
"""

import asyncio
import queue
import selectors
import sys

import procfast

COUNT = 200


def produce(items):
    for i in range(COUNT):
        items.put(i)


def with_selectors(items):
    got = []
    with selectors.DefaultSelector() as selector:
        selector.register(items._reader, selectors.EVENT_READ)
        while len(got) < COUNT:
            assert selector.select(timeout=10), "an item has come and the selector sleeps"
            try:
                got.append(items.get_nowait())
            except queue.Empty:
                continue
    return got


async def with_asyncio(items):
    loop, got, done = asyncio.get_running_loop(), [], asyncio.Event()

    def readable():
        try:
            got.append(items.get_nowait())
        except queue.Empty:
            return
        if len(got) == COUNT:
            done.set()

    loop.add_reader(items._reader.fileno(), readable)
    await asyncio.wait_for(done.wait(), timeout=10)
    loop.remove_reader(items._reader.fileno())
    return got


def main():
    for receive in (with_selectors, lambda items: asyncio.run(with_asyncio(items))):
        items = procfast.Queue()
        process = procfast.Process(target=produce, args=(items,))
        process.start()
        assert receive(items) == list(range(COUNT))
        process.join()
        assert procfast.connection.wait([items._reader], timeout=0) == [], "nothing is left to read"
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
