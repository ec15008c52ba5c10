"""Results in an event loop: `await pool.apply_async(...)`. No thread waits for it.

python examples/pool_asyncio.py [START METHOD]
"""

import asyncio
import sys
import threading
import time

import procfast


def work(x):
    time.sleep(0.01)
    return x * x


async def one(pool, x):
    return await pool.apply_async(work, (x,))


async def main():
    ctx = procfast.get_context(sys.argv[1] if len(sys.argv) > 1 else None)
    with ctx.Pool(2) as pool:
        assert await pool.apply_async(work, (3,)) == 9
        assert await pool.map_async(work, range(5)) == [0, 1, 4, 9, 16]

        before = threading.active_count()
        waiting = [asyncio.create_task(one(pool, x)) for x in range(50)]
        await asyncio.sleep(0)
        assert threading.active_count() == before
        assert await asyncio.gather(*waiting) == [x * x for x in range(50)]

        # a wait that is cancelled leaves the work alone
        call = pool.apply_async(time.sleep, (0.5,))
        try:
            await asyncio.wait_for(call_of(call), 0.1)
        except TimeoutError:
            print("not yet")
        assert await call is None
    print(procfast.backend, "ok")


async def call_of(call):
    return await call


if __name__ == "__main__":
    asyncio.run(main())
