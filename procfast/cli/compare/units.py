"""Numbers for people."""

from __future__ import annotations

_STEPS: dict[str, list[tuple[float, str]]] = {
    "items/s": [(1e6, "M/s"), (1e3, "k/s"), (1, "/s")],
    "bytes/s": [(1e9, "GB/s"), (1e6, "MB/s"), (1, "B/s")],
    "s": [(1, "s"), (1e-3, "ms"), (1e-6, "us")],
    "cpu s": [(1e-3, "ms")],
    "bytes": [(1 << 20, "MiB")],
    "fds": [(1, "")],
}


def show(value: float, unit: str) -> str:
    """The value in three digits and a fitting unit."""
    steps = _STEPS[unit]
    size, name = next((step for step in steps if value >= step[0]), steps[-1])
    number = value / size
    digits = 0 if number >= 99.95 else 1 if number >= 9.995 else 2
    return f"{number:.{digits}f} {name}".rstrip()


def times(ratio: float) -> str:
    """A ratio: 0.95x, 3.1x, 24x."""
    return f"{ratio:.{0 if ratio >= 19.95 else 1 if ratio >= 1.995 else 2}f}x"
