"""Counts the tokens of Python source files in several processes: a plain `multiprocessing` program.

It knows nothing of procfast. Run it as it is, and then on procfast without changing it:

    python examples/count_tokens.py [DIRECTORY]
    python -m procfast run examples/count_tokens.py [DIRECTORY]

DIRECTORY is where the sources are; left out, the top of this Python's standard library.
"""

import collections
import io
import multiprocessing
import pathlib
import sys
import sysconfig
import time
import tokenize

WORKERS = 2


def read(paths, work):
    for path in paths:
        with tokenize.open(path) as file:
            work.put((str(path), file.read()))
    for _ in range(WORKERS):
        work.put(None)


def count(text):
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return collections.Counter(tokenize.tok_name[token.type] for token in tokens)


def work_on(work, results):
    for path, text in iter(work.get, None):
        results.put((path, count(text)))


def main(directory):
    paths = sorted(pathlib.Path(directory).glob("*.py"))
    work, results = multiprocessing.Queue(), multiprocessing.Queue()
    begin = time.perf_counter()
    processes = [multiprocessing.Process(target=read, args=(paths, work))]
    processes += [
        multiprocessing.Process(target=work_on, args=(work, results)) for _ in range(WORKERS)
    ]
    for process in processes:
        process.start()
    by_path = dict(results.get() for _ in paths)
    for process in processes:
        process.join()
    seconds = time.perf_counter() - begin

    assert sorted(by_path) == [str(path) for path in paths]
    for path in paths[::20]:  # a sample of it must be what one process alone finds
        with tokenize.open(path) as file:
            assert by_path[str(path)] == count(file.read()), path
    total = sum(by_path.values(), collections.Counter())
    print(f"{len(paths)} files, {sum(total.values())} tokens, in {seconds:.2f} s")
    print("most:", ", ".join(f"{name} {number}" for name, number in total.most_common(4)))
    print("queues:", type(work).__module__)
    print("ok")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_path("stdlib"))
