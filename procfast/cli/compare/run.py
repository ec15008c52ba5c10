"""Rounds of cells: which run, in which order, and what their numbers come to."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from procfast.cli.compare.cell import cpus
from procfast.cli.compare.machine import version_of
from procfast.cli.compare.workloads import CASES, Case, available_memory

CELL_SECONDS = 300  # after which a cell counts as hung

_ROOT = str(Path(__file__).resolve().parents[3])  # the directory that holds the package


class CellFailed(Exception):
    """A cell ended with an error, hung, or its results were wrong; the text says which."""


def select(only: str) -> tuple[list[Case], list[str]]:
    """The cases whose key or title matches, and why any of those are left out on this machine."""
    cases, left_out = [], []
    memory = available_memory() if sys.platform.startswith("linux") else sys.maxsize
    for case in CASES:
        if not re.search(only, case.key) and not re.search(only, case.title):
            continue
        if case.needs and version_of(case.needs) is None:
            left_out.append(f"{case.title}: {case.needs} is not installed")
        elif case.place == "apart" and len(cpus()) < 2:
            left_out.append(f"{case.title}: this process may use one CPU only")
        elif case.place != "free" and not hasattr(os, "sched_setaffinity"):
            left_out.append(f"{case.title}: this system does not pin processes to CPUs")
        elif case.linux and not sys.platform.startswith("linux"):
            left_out.append(f"{case.title}: read from /proc, which this system does not have")
        elif case.memory and memory < case.memory:
            left_out.append(
                f"{case.title}: it needs {case.memory >> 20} MiB of memory, and {memory >> 20} are free"
            )
        else:
            cases.append(case)
    return cases, left_out


def cell(case: Case, backend: str, quick: bool) -> dict[str, Any]:
    """One number from a fresh interpreter, whose process group is killed when it ends or hangs."""
    # -P: a procfast in the current directory is not the one that runs here
    command = [sys.executable, "-P", "-m", "procfast.cli.compare.cell", case.key, backend]
    path = os.pathsep.join(filter(None, [_ROOT, os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        command + ["--quick"] * quick,
        # the backend by name, so that the other side's cell does not even load the extension
        env=dict(os.environ, PYTHONPATH=path, PROCFAST_BACKEND=backend),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=CELL_SECONDS)
    except subprocess.TimeoutExpired:
        raise CellFailed(f"{case.title} on {backend}: no result in {CELL_SECONDS} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):  # nobody is left, as it should be
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode:
        raise CellFailed(f"{case.title} on {backend}: {errors.strip() or process.returncode}")
    result: dict[str, Any] = json.loads(output)
    return result


@dataclass
class Row:
    """A case and its rounds: pairs (stdlib, other) measured one right after the other."""

    case: Case
    rounds: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    error: str = ""

    def add(self, stdlib: dict[str, Any], other: dict[str, Any]) -> None:
        """Keep a round. Results that differ between the backends are an error."""
        if stdlib["digest"] != other["digest"]:
            raise CellFailed(f"{self.case.title}: the two backends computed different results")
        self.rounds.append((stdlib, other))

    @property
    def stdlib(self) -> float:
        return float(statistics.median(a["value"] for a, _ in self.rounds))

    @property
    def other(self) -> float:
        return float(statistics.median(b["value"] for _, b in self.rounds))

    @property
    def ratios(self) -> list[float]:
        """How many times as fast as the standard library, per round; [] where that says nothing."""
        if self.case.absolute:
            return []
        more_is_better = self.case.unit.endswith("/s")
        return [
            (b["value"] / a["value"]) if more_is_better else (a["value"] / b["value"])
            for a, b in self.rounds
        ]

    def as_json(self) -> dict[str, Any]:
        """Everything measured, and the numbers that the table shows."""
        answer: dict[str, Any] = {
            "key": self.case.key,
            "title": self.case.title,
            "unit": self.case.unit,
            "goal": self.case.goal,
            "error": self.error,
            "rounds": [{"stdlib": a, "other": b} for a, b in self.rounds],
        }
        if self.rounds:
            answer |= {"stdlib": self.stdlib, "other": self.other}
        if self.ratios:
            answer |= {
                "ratio": statistics.median(self.ratios),
                "ratio_min": min(self.ratios),
                "ratio_max": max(self.ratios),
            }
        return answer


def measure(rows: list[Row], other: str, rounds: int, quick: bool) -> Iterator[tuple[Row, str]]:
    """Run all cells round by round, the two backends of a case one right after the other, and who
    goes first changing from round to round. Yields before each cell, to show the progress."""
    for number in range(rounds):
        for row in rows:
            if row.error:
                continue
            order = ["stdlib", other] if number % 2 == 0 else [other, "stdlib"]
            try:
                pair = []
                for backend in order:
                    yield row, backend
                    pair.append(cell(row.case, backend, quick))
                row.add(*(pair if number % 2 == 0 else reversed(pair)))
            except CellFailed as error:
                row.error = str(error)
