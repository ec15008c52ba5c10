"""One array, worked on by several processes through NumPy, copied nowhere (needs numpy: `python -m pip install numpy`).

Natively `numpy.asarray(array)` shares the memory of an Array, also of one with a lock. The standard library's has to be
asked for its object of ctypes first, which works on both: `numpy.asarray(array.get_obj())`.

    python examples/shared_array_numpy.py [fork|spawn|forkserver]
"""

import sys
from itertools import pairwise

import procfast

try:
    import numpy
except ModuleNotFoundError:
    sys.exit("this example needs numpy: python -m pip install numpy")

ROWS, COLUMNS, WORKERS = 600, 500, 3


def smooth(source, target, rows, total):
    """Each worker has rows of its own, so none needs the lock; for the sum it is taken."""
    matrix = numpy.asarray(source.get_obj()).reshape(ROWS, COLUMNS)
    result = numpy.asarray(target.get_obj()).reshape(ROWS, COLUMNS)
    for row in range(*rows):
        above, below = matrix[max(row - 1, 0)], matrix[min(row + 1, ROWS - 1)]
        result[row] = (above + matrix[row] + below) / 3
    total.add(result[slice(*rows)].sum())


def main():
    source, target = procfast.Array("d", ROWS * COLUMNS), procfast.Array("d", ROWS * COLUMNS)
    total = procfast.Value("d")
    matrix = numpy.asarray(source.get_obj()).reshape(ROWS, COLUMNS)
    matrix[:] = numpy.random.default_rng(1).random((ROWS, COLUMNS))
    assert source[COLUMNS] == matrix[1, 0], "it is the same memory"

    bounds = [ROWS * i // WORKERS for i in range(WORKERS + 1)]
    processes = [
        procfast.Process(target=smooth, args=(source, target, rows, total))
        for rows in pairwise(bounds)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0

    result = numpy.asarray(target.get_obj()).reshape(ROWS, COLUMNS)
    padded = numpy.pad(matrix, ((1, 1), (0, 0)), mode="edge")
    assert numpy.allclose(result, (padded[:-2] + padded[1:-1] + padded[2:]) / 3)
    assert numpy.isclose(total.value, result.sum())

    if "array_buffers" in procfast.features:
        view = numpy.asarray(target)  # no get_obj() needed
        view[0] = -1.5
        assert target[0] == result[0, 0] == -1.5
        assert memoryview(target).format == "d"
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
