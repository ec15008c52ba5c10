"""A SharedMemoryManager unlinks at its end what was made through it. A program that says `multiprocessing`.

python examples/shared_memory_manager.py [fork|spawn|forkserver]
"""

import multiprocessing
import sys
from multiprocessing.managers import SharedMemoryManager
from multiprocessing.shared_memory import SharedMemory

import procfast


def work(segment, results):
    results[0] = sum(segment.buf)
    segment.close()
    results.shm.close()


def main():
    with SharedMemoryManager() as manager:
        segment = manager.SharedMemory(100)
        segment.buf[:] = bytes(range(100))
        results = manager.ShareableList([0])
        worker = multiprocessing.Process(target=work, args=(segment, results))
        worker.start()
        worker.join()
        assert results[0] == sum(range(100))
        segment.close()
        results.shm.close()
    for name in (segment.name, results.shm.name):
        try:
            SharedMemory(name)
        except FileNotFoundError as error:
            print(error)
        else:
            raise AssertionError("it is still there")
    print(type(segment).__module__, multiprocessing.get_start_method(), "ok")


if __name__ == "__main__":
    procfast.install()
    if len(sys.argv) > 1:
        multiprocessing.set_start_method(sys.argv[1])
    main()
