"""Runs the cases of `python -m procfast compare` whose names begin with one of the given words.

The workloads live in the package, where `compare` uses them: procfast/cli/compare/workloads.py.
"""

from __future__ import annotations

import sys

from procfast.cli.compare import main


def run(*names: str) -> None:
    """Run these groups of cases; further arguments come from the command line."""
    sys.exit(main(["--only", f"^({'|'.join(names)})\\b", *sys.argv[1:]]))
