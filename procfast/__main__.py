"""python -m procfast run | info | ps | compare"""

from __future__ import annotations

import importlib
import sys

USAGE = """\
usage: python -m procfast COMMAND [ARGS]

  run SCRIPT [ARGS]     run a program whose `import multiprocessing` gives procfast
  run -m MODULE [ARGS]
  info                  which backend runs here, why, and what is native
  ps [PID]              processes as a tree, with the states and flags of ps
  compare               time native and the standard library side by side on this machine

`python -m procfast COMMAND --help` says more. PROCFAST_BACKEND=native|stdlib chooses the backend."""

COMMANDS = ("run", "info", "ps", "compare")


def main(argv: list[str] | None = None) -> int:
    """Run a command; answers its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    if not arguments or arguments[0] not in COMMANDS:
        print(USAGE, file=sys.stderr)
        return 2
    command, *rest = arguments
    status: int = importlib.import_module(f"procfast.cli.{command}").main(rest)
    return status


if __name__ == "__main__":
    sys.exit(main())
