"""A ShareableList: numbers, strings, bytes and None in shared memory, changed in place by any process.

python examples/shareable_list.py [fork|spawn|forkserver]
"""

import sys

import procfast
from procfast.shared_memory import ShareableList


def work(jobs, number):
    jobs[number] = jobs[number].upper()
    jobs.shm.close()


def main():
    jobs = ShareableList(["one", "two", "three", 3.5, None, True, b"raw"])
    workers = [procfast.Process(target=work, args=(jobs, i)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert list(jobs) == ["ONE", "TWO", "THREE", 3.5, None, True, b"raw"]

    same = ShareableList(name=jobs.shm.name)
    same[3] = 4  # another type, which fits
    assert jobs[3] == 4 and jobs.index("TWO") == 1 and jobs.count(None) == 1
    same.shm.close()
    try:
        jobs[0] = "longer than its place, which is a multiple of eight bytes"
    except ValueError as error:
        print(error)
    jobs.shm.close()
    jobs.shm.unlink()
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
