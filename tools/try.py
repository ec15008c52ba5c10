"""Sets everything up in an environment of its own and runs it: for a first look on a fresh machine.

    python3 tools/try.py compare [ARGUMENTS]    the comparison, then an example on both backends
    python3 tools/try.py test [ARGUMENTS]       the tests (arguments are pytest's)

Needs Python >= 3.11 with venv, a C compiler, and a package index for pip. Writes to build/ only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "build" / f"venv-{sys.version_info[0]}.{sys.version_info[1]}"
PYTHON = VENV / "bin" / "python"


def check() -> None:
    """Say what is missing before anything is done."""
    if sys.version_info < (3, 11):  # noqa: UP036  (this may be run by any Python 3)
        raise SystemExit(f"procfast needs Python 3.11 or newer; this is {sys.version.split()[0]}")
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if not shutil.which(compiler) and not os.environ.get("PROCFAST_PURE"):
        raise SystemExit(
            f"no C compiler: {compiler} is not on PATH. Install one (Debian: apt install gcc; "
            "Fedora: dnf install gcc; macOS: xcode-select --install), or name it in CC. "
            "PROCFAST_PURE=1 builds without one, and without the native backend."
        )
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists() and not os.environ.get("PROCFAST_PURE"):
        raise SystemExit(
            f"no {header}: install the headers of this Python (Debian: apt install python3-dev; "
            "Fedora: dnf install python3-devel)"
        )


def step(*command: str | Path, **variables: str) -> None:
    """Show a command, run it, and end with its exit code if that is not 0."""
    words = [str(word) for word in command]
    prefix = [f"{name}={value}" for name, value in variables.items()]
    print("+", *prefix, *words, flush=True)
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, **variables})
    if done.returncode:
        raise SystemExit(done.returncode)


def install(*requirements: str) -> None:
    """Make the environment, once, and install this tree into it, which pip builds anew."""
    if not PYTHON.exists():
        try:
            step(sys.executable, "-m", "venv", VENV)
        except SystemExit:
            # half an environment would be taken for a whole one the next time
            shutil.rmtree(VENV, ignore_errors=True)
            raise SystemExit("python -m venv failed (Debian: apt install python3-venv)") from None
    step(PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *requirements)


def compare(arguments: list[str]) -> None:
    """The table, and an unmodified program on both backends."""
    install(".[compare]")
    # -P: the installed package is meant, not the source tree that this runs in.
    step(PYTHON, "-P", "-m", "procfast", "compare", *(arguments or ["--quick"]))
    for backend in ("stdlib", "native"):
        step(
            PYTHON,
            "-P",
            "-m",
            "procfast",
            "run",
            "examples/count_tokens.py",
            PROCFAST_BACKEND=backend,
        )


def test(arguments: list[str]) -> None:
    """The tests, against the installed package."""
    install(".[test]")
    step(VENV / "bin" / "pytest", "-q", *(arguments or ["tests"]))


def main(arguments: list[str]) -> None:
    """Run one of the two."""
    commands = {"compare": compare, "test": test}
    if not arguments or arguments[0] not in commands:
        raise SystemExit(__doc__)
    os.environ.setdefault("PATH", os.defpath)  # under `env -i` the compiler would not be found
    check()
    commands[arguments[0]](arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
