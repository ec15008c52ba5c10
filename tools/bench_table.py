"""Writes the tables of a `python -m procfast compare --json FILE` run into docs/performance.md and README.md.

    python tools/bench_table.py                        makes such a run first
    python tools/bench_table.py FILE

Replaces what stands between the table:begin and table:end comments. The numbers are those that `compare` shows.
The README has a few of the rows, and each in which native is the slower one; docs/performance.md has all.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Container
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from procfast.cli.compare import main as compare
from procfast.cli.compare.units import show, times

ROOT = Path(__file__).resolve().parent.parent
HEADLINES = [
    "queue.int.1to1",
    "queue.bytes.1m",
    "queue.numpy.16m",
    "pingpong.apart",
    "pipe.int",
    "pipe.numpy.16m",
    "lock.with",
    "lock.contended.4",
    "event.pingpong.apart",
    "value.add",
    "shm.attach",
    "process.fork",
    "process.forkserver",
    "process.spawn.ready",
    "pool.map.1",
    "pool.apply_async",
    "pool.trip",
    "pool.trip.asleep",
    "pool.arrays",
    "pool.start",
    "executor.submit",
    "executor.results",
    "job.tokens",
    "job.words",
]
BEGIN, END = "<!-- table:begin -->", "<!-- table:end -->"


def table(record: dict[str, Any], keys: Container[str] | None = None) -> str:
    """The run as a Markdown table, with a line about where it was made. keys: no other rows but the slower ones."""
    lines = ["| operation | stdlib | native | ratio | spread |", "|---|--:|--:|--:|--:|"]
    for row in record["rows"]:
        if row["error"]:
            raise SystemExit(f"this run has a failed row: {row['error']}")
        if keys is not None and row["key"] not in keys and row.get("ratio", 1) >= 1:
            continue
        cells = [
            row["title"],
            show(row["stdlib"], row["unit"]),
            show(row["other"], row["unit"]),
            "",
            "",
        ]
        if "ratio" in row:
            cells[3] = f"**{times(row['ratio'])}**"
            cells[4] = f"{times(row['ratio_min'])} - {times(row['ratio_max'])}"
        lines.append(f"| {' | '.join(cells)} |")
    where = record["machine"]
    note = (
        f"{where['python']}, numpy {where['numpy'] or 'not installed'}, {where['system']}, "
        f"{where['processor']}, {len(where['affinity'])} CPUs; median of {record['rounds']} rounds"
        f"{' (quick)' if record['quick'] else ''}, spread: least to greatest ratio of a round."
    )
    return "\n".join([*lines, "", note, *(f"Left out: {line}." for line in record["left_out"])])


def measured() -> dict[str, Any]:
    """A run made now."""
    with TemporaryDirectory() as directory:
        file = Path(directory, "run.json")
        if code := compare(["--json", str(file)]):
            raise SystemExit(code)
        record: dict[str, Any] = json.loads(file.read_text())
        return record


def main(arguments: list[str]) -> None:
    """Rewrite the files."""
    record = json.loads(Path(arguments[0]).read_text()) if arguments else measured()
    if record["backends"] != ["stdlib", "native"]:
        raise SystemExit("this run did not compare native with the standard library")
    for path, keys in ((ROOT / "README.md", HEADLINES), (ROOT / "docs" / "performance.md", None)):
        before, begin, rest = path.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise SystemExit(f"{path}: no {BEGIN} ... {END}")
        path.write_text(f"{before}{BEGIN}\n{table(record, keys)}\n{END}{after}")


if __name__ == "__main__":
    main(sys.argv[1:])
