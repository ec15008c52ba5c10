"""progress=True shows a bar of tqdm (pip install 'procfast[progress]'); anything with update and close does as well.

python examples/pool_progress.py [START METHOD]
"""

import sys

import procfast


class Percent:
    """A bar of one's own."""

    def __init__(self, total):
        self.total, self.done = total, 0

    def update(self, n):
        self.done += n
        print(f"\r{100 * self.done // self.total:3} %", end="", flush=True)

    def close(self):
        print()


def square(x):
    return x * x


def main():
    ctx = procfast.get_context(sys.argv[1] if len(sys.argv) > 1 else None)
    with ctx.Pool(2) as pool:
        items = range(2000)
        squares = [x * x for x in items]
        bar = Percent(len(items))
        assert pool.map(square, items, chunksize=100, progress=bar) == squares
        assert bar.done == len(items)
        assert list(pool.imap(square, items, progress=Percent(len(items)))) == squares
        try:
            assert pool.map(square, items, progress=True) == squares
        except ImportError as error:
            print(error)
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
