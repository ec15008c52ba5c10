"""The end-to-end workloads: this Python's own standard library, read, counted and merged.

One producer puts work on a queue, several workers count, a collector merges: the shape of most
programs that use a queue. The input is real, and there on every machine that runs Python.
Two grains of the same job: a whole file per item (computing outweighs transport) and a line per
item (transport outweighs computing).
"""

from __future__ import annotations

import collections
import io
import sysconfig
import time
import tokenize
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.context import ForkContext

Counts = collections.Counter[str]

_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib"}


def paths(everything: bool) -> list[Path]:
    """Source files of the standard library in a fixed order, tests and third parties left out.

    With `everything` false only the modules at the top, about 40 % of the text.
    """
    top = Path(sysconfig.get_path("stdlib"))
    found = top.rglob("*.py") if everything else top.glob("*.py")
    return sorted(
        path for path in found if not _LEFT_OUT.intersection(path.parts[len(top.parts) :])
    )


def read(path: Path) -> str:
    """The text of a source file in the encoding that it declares."""
    with tokenize.open(path) as file:
        return file.read()


def files(sources: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """An item per file: (path, source text)."""
    for path in sources:
        yield str(path), read(path)


def lines(sources: Iterable[Path]) -> Iterator[str]:
    """An item per line."""
    for path in sources:
        yield from read(path).splitlines()


def count_tokens(item: tuple[str, str], into: Counts) -> None:
    """Count the kinds of tokens of a file, and its names."""
    for token in tokenize.generate_tokens(io.StringIO(item[1]).readline):
        into[tokenize.tok_name[token.type]] += 1
        if token.type == tokenize.NAME:
            into["NAME " + token.string] += 1


def count_words(item: str, into: Counts) -> None:
    """Count the words of a line."""
    into.update(item.split())


Cut = Callable[[Iterable[Path]], Iterator[Any]]
Count = Callable[[Any, Counts], None]


def in_one_process(cut: Cut, count: Count, sources: Iterable[Path]) -> Counts:
    """The same job without any other process: what the results are checked against."""
    total: Counts = collections.Counter()
    for item in cut(sources):
        count(item, total)
    return total


def _produce(queue: Any, cut: Cut, sources: list[Path], workers: int) -> None:
    for item in cut(sources):
        queue.put(item)
    for _ in range(workers):
        queue.put(None)


def _work(queue: Any, results: Any, count: Count) -> None:
    mine: Counts = collections.Counter()
    for item in iter(queue.get, None):
        count(item, mine)
    results.put(mine)


def in_processes(
    ctx: ForkContext, cut: Cut, count: Count, sources: list[Path], workers: int
) -> tuple[Counts, float]:
    """Run the job with one producer and `workers` workers; answer the merged counts and the seconds
    from before the first process was started until after the last was joined."""
    begin = time.perf_counter()
    work, results = ctx.Queue(), ctx.Queue()
    jobs = [(_produce, (work, cut, sources, workers))] + [(_work, (work, results, count))] * workers
    crew = [ctx.Process(target=job, args=args, daemon=True) for job, args in jobs]
    for process in crew:
        process.start()
    total: Counts = collections.Counter()
    for _ in range(workers):
        total.update(results.get())
    for process in crew:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"{process.name} ended with exit code {process.exitcode}")
    return total, time.perf_counter() - begin
