"""One number: one case on one backend, in an interpreter of its own.

`python -m procfast.cli.compare.cell KEY BACKEND [--quick]` prints it as one line of JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing.connection
import multiprocessing.queues
import multiprocessing.synchronize
import os
from typing import Any

import procfast
from procfast.cli.compare import workloads


def cpus() -> list[int]:
    """The CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def run(key: str, backend: str, quick: bool) -> workloads.Sample:
    """Run one case; raises when a result is wrong."""
    case = next(case for case in workloads.CASES if case.key == key)
    ctx = procfast.get_context("fork", backend=backend)
    usable = cpus()
    place = {"free": usable, "one": usable[:1], "apart": [usable[0], usable[-1]]}[case.place]
    sample = case.run(ctx, workloads.Plan(quick, place))
    put: Any = type(ctx.Queue()).put
    send: Any = type(ctx.Pipe()[0]).send
    enter: Any = type(ctx.Lock()).__enter__
    own = backend != "stdlib"
    for name, found, original in (
        ("queue", put, multiprocessing.queues.Queue.put),
        ("pipe", send, multiprocessing.connection.Connection.send),
        ("lock", enter, multiprocessing.synchronize.SemLock.__enter__),
    ):
        workloads.expect((found is not original) == own, f"this is not the {name} of {backend}")
    return sample


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m procfast.cli.compare.cell", description=__doc__
    )
    parser.add_argument("key")
    parser.add_argument("backend")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    sample = run(options.key, options.backend, options.quick)
    print(json.dumps(dataclasses.asdict(sample)))


if __name__ == "__main__":
    main()
