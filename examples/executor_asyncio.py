"""Worker processes for a program on asyncio: the loop goes on while they compute."""

import asyncio

from procfast.futures import ProcessPoolExecutor


def count(limit: int) -> int:
    return sum(1 for n in range(limit) if n % 7 == 0)


async def main() -> None:
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(2) as executor:
        calls = [loop.run_in_executor(executor, count, limit) for limit in (10_000, 200_000, 70)]
        ticks = 0
        while not all(call.done() for call in calls):
            ticks += 1
            await asyncio.sleep(0.001)
        print(await asyncio.gather(*calls), "and the loop went on:", ticks > 0)
    print("ok")


if __name__ == "__main__":
    asyncio.run(main())
