"""Named shared memory: one process makes it, others attach by its name or get the object itself.

python examples/shared_memory.py [fork|spawn|forkserver]
"""

import sys
from array import array

import procfast
from procfast.shared_memory import SharedMemory

COUNT = 1000


def square(name, start, stop):
    segment = SharedMemory(name)  # attach: nothing but the name is needed
    numbers = segment.buf.cast("q")
    for i in range(start, stop):
        numbers[i] *= numbers[i]
    numbers.release()  # views go before close()
    segment.close()


def total(segment, result):
    numbers = segment.buf.cast("q")
    result.put(sum(numbers))
    numbers.release()
    segment.close()


def main():
    # reserve=True: all of the memory is there now, or OSError says that it is not
    segment = SharedMemory(create=True, size=8 * COUNT, reserve=True)
    try:
        segment.buf[:] = array("q", range(COUNT)).tobytes()
        halves = ((0, COUNT // 2), (COUNT // 2, COUNT))
        workers = [procfast.Process(target=square, args=(segment.name, *half)) for half in halves]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0

        result = procfast.SimpleQueue()
        worker = procfast.Process(target=total, args=(segment, result))  # pickled by its name
        worker.start()
        assert result.get() == sum(i * i for i in range(COUNT))
        worker.join()
        result.close()
    finally:
        segment.close()  # this process's access
        segment.unlink()  # the name, for everybody
    try:
        SharedMemory(segment.name)
    except FileNotFoundError as error:
        print(error)
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
