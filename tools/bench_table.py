"""Writes the table of a `python -m procfast compare --json FILE` run into README.md and the docs.

    python tools/bench_table.py                        makes such a run first
    python tools/bench_table.py FILE [MARKDOWN ...]

Replaces what stands between the table:begin and table:end comments; the files default to README.md
and docs/performance.md. The numbers are those that `compare` shows.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from procfast.cli.compare import main as compare
from procfast.cli.compare.units import show, times

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- table:begin -->", "<!-- table:end -->"


def table(record: dict[str, Any]) -> str:
    """The run as a Markdown table, with a line about where it was made."""
    lines = ["| operation | stdlib | native | ratio | spread |", "|---|--:|--:|--:|--:|"]
    for row in record["rows"]:
        if row["error"]:
            raise SystemExit(f"this run has a failed row: {row['error']}")
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
    for path in map(Path, arguments[1:] or [ROOT / "README.md", ROOT / "docs" / "performance.md"]):
        before, begin, rest = path.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise SystemExit(f"{path}: no {BEGIN} ... {END}")
        path.write_text(f"{before}{BEGIN}\n{table(record)}\n{END}{after}")


if __name__ == "__main__":
    main(sys.argv[1:])
