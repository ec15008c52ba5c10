"""Two processes that answer each other through two queues; prints how long a round trip takes.

python examples/pingpong.py [fork|spawn|forkserver]
"""

import statistics
import sys
import time

import procfast


def answer(pings, pongs):
    for number in iter(pings.get, None):
        pongs.put(number + 1)


def main(trips=2000):
    pings, pongs = procfast.Queue(), procfast.Queue()
    partner = procfast.Process(target=answer, args=(pings, pongs))
    partner.start()
    times = []
    for number in range(trips):
        begin = time.perf_counter()
        pings.put(number)
        assert pongs.get() == number + 1
        times.append(time.perf_counter() - begin)
    pings.put(None)
    partner.join()

    assert partner.exitcode == 0
    print(f"{trips} round trips, median {statistics.median(times) * 1e6:.1f} us")
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
