"""`python -m procfast compare`: this machine's own table, native beside the standard library."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

_RICH_MISSING = """\
procfast compare draws its table with the package `rich`, which is not installed. Install it by
    python -m pip install 'procfast[compare]'     (or: python -m pip install rich)"""


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"not a regular expression: {error}") from None
    return text


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"not a whole number above 0: {text!r}")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The command line of `compare`."""
    made = argparse.ArgumentParser(
        prog="python -m procfast compare",
        description="Run the same workloads on procfast's native backend and on the standard "
        "library, interleaved, each in a fresh interpreter, check that the results are right, and "
        "show the times side by side. Ratios above 1 mean that native is faster.",
    )
    made.add_argument(
        "--quick", action="store_true", help="short cells and fewer rounds (3 minutes)"
    )
    made.add_argument(
        "--only",
        metavar="REGEX",
        type=_pattern,
        default="",
        help="cases whose name matches (see --list)",
    )
    made.add_argument(
        "--rounds", metavar="N", type=_positive, help="rounds per case (default 5; 2 with --quick)"
    )
    made.add_argument("--json", metavar="FILE", type=Path, help="write every round and the machine")
    made.add_argument("--list", action="store_true", help="name the cases and do nothing")
    made.add_argument(
        "--noise",
        action="store_true",
        help="compare the standard library with itself: how far this machine's numbers wander",
    )
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the command; answers 0, 1 when a cell failed, 2 when it could not be run at all."""
    options = parser().parse_args(argv)
    try:
        import rich  # noqa: F401
    except ModuleNotFoundError:
        print(_RICH_MISSING, file=sys.stderr)
        return 2

    from procfast.cli.compare import report, run
    from procfast.cli.compare.machine import machine

    other = "stdlib" if options.noise else "native"
    cases, left_out = run.select(options.only)
    if options.list:
        for case in cases:
            print(f"{case.key:22} {case.title}")
        return 0
    if not cases:
        print(
            f"no case matches {options.only!r} (see --list)", *left_out, sep="\n", file=sys.stderr
        )
        return 2
    if problem := report.why_not(other):
        print(problem, file=sys.stderr)
        return 2
    try:
        if options.json:
            options.json.touch()  # a wrong path shall be found out now, not in ten minutes
    except OSError as error:
        print(f"cannot write {options.json}: {error.strerror}", file=sys.stderr)
        return 2

    rounds = options.rounds or (2 if options.quick else 5)
    rows = [run.Row(case) for case in cases]
    where = machine()
    report.show_machine(where)
    report.show_progress(run.measure(rows, other, rounds, options.quick), rounds * 2 * len(rows))
    report.show_table(rows, left_out, other, rounds)
    if options.json:
        record = {
            "machine": where,
            "backends": ["stdlib", other],
            "quick": options.quick,
            "rounds": rounds,
            "left_out": left_out,
            "rows": [row.as_json() for row in rows],
        }
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    return int(any(row.error for row in rows))
