"""imap: results as they come, of a source without end, read no further ahead than `buffersize` tasks.

python examples/pool_imap.py [START METHOD]
"""

import sys

import procfast


class Source:
    """Numbers for ever."""

    def __init__(self):
        self.read = 0

    def __iter__(self):
        while True:
            self.read += 1
            yield self.read


def square(x):
    return x * x


def main():
    ctx = procfast.get_context(sys.argv[1] if len(sys.argv) > 1 else None)
    with ctx.Pool(2) as pool:
        source = Source()
        results = pool.imap(square, source, buffersize=8)
        total = 0
        for value in results:  # in order
            total += value
            if value >= 100**2:
                break
        assert total == sum(x * x for x in range(1, 101))
        assert source.read <= 100 + 9, source.read
        print("100 results taken,", source.read, "items read")
        assert results.cancel()  # or it would go on

        # in the order in which they come
        assert sorted(pool.imap_unordered(square, range(10))) == [x * x for x in range(10)]

        # with a time limit for each
        waiting = pool.imap(square, iter([5]))
        assert waiting.next(timeout=30) == 25
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
