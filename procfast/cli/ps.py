"""`python -m procfast ps`: processes as a tree."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from typing import Any

from procfast._proctree import FLAGS, STATES, ProcessInfo, process_tree

_DEEPEST = 40  # levels that are indented; what is further below has its number there


def parser() -> argparse.ArgumentParser:
    """The command line of `ps`."""
    words = [f"  {letter}  {text}" for letter, text in (STATES | FLAGS).items()]
    made = argparse.ArgumentParser(
        prog="python -m procfast ps",
        description="Show a process and all below it as a tree. Without PID: all processes.",
        epilog="\n".join(["STAT is a state and flags:", *words]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("pid", metavar="PID", type=int, nargs="?", default=0)
    made.add_argument("--json", action="store_true", help="for programs")
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the command; answers 1 where there is no such process, or it cannot be seen."""
    options = parser().parse_args(argv)
    try:
        tree = process_tree(options.pid)
    except (OSError, ValueError) as error:
        print(getattr(error, "strerror", None) or error, file=sys.stderr)
        return 1
    try:
        if options.json:
            print(json.dumps([_record(info) for info in tree], indent=2))
        else:
            for line in _lines(tree):
                print(line)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _record(info: ProcessInfo) -> dict[str, Any]:
    return info._asdict() | {
        "stat": info.stat,
        "meaning": info.meaning,
        "started": round(info.started, 2),
    }


def _lines(tree: list[ProcessInfo]) -> Iterator[str]:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    yield f"{'PID':>7} {'USER':<8} {'STAT':<5} {'NI':>3} {'THR':>3} {'RSS':>7} {'STARTED':<16} COMMAND"
    top = tree[0].depth if tree else 0
    for info in tree:
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(info.started))
        branch = _branch(info.depth - top)
        line = (
            f"{info.pid:>7} {_user(info.uid):<8} {info.stat:<5} {info.nice:>3} {info.threads:>3} "
            f"{info.rss / (1 << 20):>6.1f}M {began} {branch}{_command(info)}"
        )
        yield line[:width]


def _branch(depth: int) -> str:
    if depth > _DEEPEST:
        return "    " * (_DEEPEST - 1) + f"{depth}\\_ "
    return "    " * (depth - 1) + " \\_ " if depth else ""


def _user(uid: int) -> str:
    import pwd  # not on Windows, where the command says that there is no /proc

    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
    return name if len(name) <= 8 else name[:7] + "+"


def _command(info: ProcessInfo) -> str:
    """On one line, in characters that the terminal has and shows."""
    text = " ".join(info.command).rstrip() or f"[{info.name}]"
    if info.state == "Z":
        text += " <defunct>"
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    encoding = sys.stdout.encoding or "ascii"
    return shown.encode(encoding, "backslashreplace").decode(encoding)
