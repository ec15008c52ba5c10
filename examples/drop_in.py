"""A program written for `multiprocessing`, with one line changed: the import.

python examples/drop_in.py [fork|spawn|forkserver]
"""

import sys

import procfast as multiprocessing  # the line that changed


def square(tasks, results):
    for number in iter(tasks.get, None):
        results.put((number, number * number))


def main():
    tasks, results = multiprocessing.Queue(), multiprocessing.Queue()
    workers = [multiprocessing.Process(target=square, args=(tasks, results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for number in range(1000):
        tasks.put(number)
    for _ in workers:
        tasks.put(None)
    squares = dict(results.get() for _ in range(1000))
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0

    assert squares == {number: number * number for number in range(1000)}
    # What is not native yet is the standard library's own, so the rest of a program works as well.
    with multiprocessing.Pool(2) as pool:
        assert pool.map(abs, [-1, 2, -3]) == [1, 2, 3]
    print(multiprocessing.backend, multiprocessing.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        multiprocessing.set_start_method(sys.argv[1])
    main()
