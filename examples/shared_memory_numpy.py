"""A NumPy array in shared memory that several processes fill at once, without a copy (needs numpy).

python examples/shared_memory_numpy.py [fork|spawn|forkserver]
"""

import sys

import numpy

import procfast
from procfast.shared_memory import SharedMemory

SHAPE = (400, 1000)


def fill(name, first, last):
    segment = SharedMemory(name)
    table = numpy.ndarray(SHAPE, "f8", segment.buf)
    rows = numpy.arange(first, last)[:, None]
    table[first:last] = rows * SHAPE[1] + numpy.arange(SHAPE[1])
    del table  # it looks into the memory: it has to go before close()
    segment.close()


def main():
    segment = SharedMemory(create=True, size=8 * SHAPE[0] * SHAPE[1])
    workers = [
        procfast.Process(target=fill, args=(segment.name, first, first + 100))
        for first in range(0, SHAPE[0], 100)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    table = numpy.ndarray(SHAPE, "f8", segment.buf)
    assert (table.ravel() == numpy.arange(table.size)).all()
    try:
        segment.close()
    except BufferError as error:
        print("not while the array is there:", error)
    del table
    segment.close()
    segment.unlink()
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
