"""Pipes in an asyncio program: the loop calls when one is readable, and nothing ever blocks it.

Readable means: look now. It may be early, so `poll()` is asked before each `recv()`.

    python examples/pipe_asyncio.py [fork|spawn|forkserver]
"""

import asyncio
import sys

import procfast

COUNT = 300


def count_up(writer, start):
    for number in range(start, start + COUNT):
        writer.send(number)
    writer.send(None)


async def collect(reader):
    """All that comes until None."""
    loop, got = asyncio.get_running_loop(), []
    done = loop.create_future()

    def readable():
        try:
            while not done.done() and reader.poll():
                item = reader.recv()
                if item is None:
                    done.set_result(got)
                else:
                    got.append(item)
        except EOFError as error:  # the child ended without its None
            done.set_exception(error)

    loop.add_reader(reader.fileno(), readable)
    try:
        return await asyncio.wait_for(done, timeout=30)
    finally:
        loop.remove_reader(reader.fileno())


async def tick(ticks):
    while True:
        ticks.append(None)
        await asyncio.sleep(0.001)


async def receive(readers):
    ticks = []
    ticker = asyncio.create_task(tick(ticks))  # the loop goes on with other things
    results = await asyncio.gather(*map(collect, readers))
    ticker.cancel()
    return results, len(ticks)


def main():
    starts, readers, processes = (0, 1000, 2000), [], []
    for start in starts:
        reader, writer = procfast.Pipe(duplex=False)
        process = procfast.Process(target=count_up, args=(writer, start))
        process.start()
        writer.close()
        readers.append(reader)
        processes.append(process)
    results, ticks = asyncio.run(receive(readers))
    for process, reader in zip(processes, readers, strict=True):
        process.join()
        assert process.exitcode == 0
        reader.close()
    assert results == [list(range(start, start + COUNT)) for start in starts]
    assert ticks > 0
    print(f"{len(readers)} pipes, {COUNT} messages each, in one thread")
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
