"""What `compare` shows: the machine, a progress bar, the table."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import procfast
from procfast.cli.compare.run import Row
from procfast.cli.compare.units import show, times

_console = Console(highlight=False)
if not _console.is_terminal:
    _console.width = 120  # a file or a pipe has no width; names shall not be cut


def why_not(backend: str) -> str:
    """Why this backend cannot be compared here; empty when it can."""
    try:
        procfast.get_context("fork", backend=backend)
    except Exception as error:  # whatever kept it from loading is what the user has to read
        return f"procfast's {backend} backend cannot be used here: {error}"
    return ""


def show_machine(machine: dict[str, Any]) -> None:
    """Two lines about where the numbers come from."""
    _console.print(
        f"{machine['python']}, procfast {machine['procfast']}, "
        f"numpy {machine['numpy'] or 'not installed'}; {machine['system']}"
    )
    _console.print(
        f"{machine['processor']}, {machine['cpus']} CPUs, of which usable "
        f"{len(machine['affinity'])}; load {machine['load']:.2f}"
    )


def show_progress(steps: Iterator[tuple[Row, str]], total: int) -> None:
    """Run all the steps behind a progress bar."""
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    ]
    with Progress(*columns, console=_console, transient=True) as progress:
        task = progress.add_task("", total=total)
        for done, (row, backend) in enumerate(steps):
            progress.update(task, completed=done, description=f"{row.case.title} ({backend})")


def show_table(rows: list[Row], left_out: list[str], other: str, rounds: int) -> None:
    """The table, and below it what failed and what was left out."""
    table = Table(caption=f"Median of {rounds} rounds; spread: least to greatest ratio of a round.")
    table.add_column("operation")
    for name in ("stdlib", other if other != "stdlib" else "stdlib again", "ratio", "spread"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        if row.error:
            table.add_row(row.case.title, "", "failed", "", "")
            continue
        ratio = spread = ""
        if row.ratios:
            ratio = times(statistics.median(row.ratios))
            spread = f"{times(min(row.ratios))} - {times(max(row.ratios))}"
        unit = row.case.unit
        table.add_row(row.case.title, show(row.stdlib, unit), show(row.other, unit), ratio, spread)
    _console.print(table)
    for row in rows:
        if row.error:
            _console.print(f"failed: {row.error}", style="red", markup=False)
    for line in left_out:
        _console.print(f"left out: {line}", markup=False)
