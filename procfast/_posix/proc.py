"""What /proc tells of a process (Linux)."""

from __future__ import annotations

import os
from typing import NamedTuple


class Stat(NamedTuple):
    """A line of /proc/PID/stat, in part."""

    name: str
    state: str  # R, S, D, T, Z, ...
    parent: int
    started: float  # seconds after the system's start, by the clock of CLOCK_BOOTTIME


def stat(pid: int) -> Stat | None:
    """None: there is no such process, or this system does not tell (/proc may be another pid namespace's)."""
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return None
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read().decode(errors="replace")
    except OSError:
        return None
    head, _, tail = line.rpartition(")")
    fields = tail.split()
    ticks = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return Stat(head.partition("(")[2], fields[0], int(fields[1]), ticks)


def text(path: str) -> str:
    """A small file; "" where it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
