"""Runs CPython's own test_concurrent_futures with procfast.futures.ProcessPoolExecutor(strict=True) in its place.

    python tools/futures_conformance.py          every interpreter x start method
    python tools/futures_conformance.py --one    one cell

The tests are not touched: below the harness (see conformance.py, whose options this has) runs a package that calls
procfast.install() and then has `concurrent.futures` hand out the strict executor. Tests that look at the inside of the
standard library's are left out (tests/conformance/futures_private_names.txt). Exit status as conformance.py.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import conformance

LEFT_OUT = conformance.ROOT / "tests" / "conformance" / "futures_private_names.txt"
PACKAGE = "procfast_strict"
SUBSTITUTE = '''
"""procfast.install(), and the executor of procfast.futures in the place of the standard library's."""

import functools
import sys
import types


@functools.cache
def strict():
    import procfast.futures

    class ProcessPoolExecutor(procfast.futures.ProcessPoolExecutor):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, strict=True, **kwargs)

    return ProcessPoolExecutor


class Module(types.ModuleType):
    ProcessPoolExecutor = property(lambda self: strict())


def install():
    import procfast

    procfast.install()
    import concurrent.futures.process

    sys.modules["concurrent.futures.process"].__class__ = Module
'''


def run(
    folder: Path,
    interpreter: conformance.Interpreter,
    method: str,
    others: list[conformance.Interpreter],
    options: argparse.Namespace,
) -> tuple[int, str]:
    """Exit status and closing line of one cell."""
    with tempfile.TemporaryDirectory(prefix="procfast-cf.") as where:
        package = Path(where) / PACKAGE
        package.mkdir()
        (package / "__init__.py").write_text(SUBSTITUTE)
        command = [
            interpreter.path,
            str(folder / "cpython_suite.py"),
            "--no-probe",
            "--suites",
            "cf",
        ]
        command += ["--target", f"{PACKAGE}:native", "--path", where]
        command += ["--start-method", method, "--jobs", str(options.jobs)]
        if options.path:
            command += ["--path", str(options.path)]
        if options.filter:
            command += ["--filter", options.filter]
        left_out = [line.split()[0] for line in LEFT_OUT.read_text().splitlines()]
        command += ["--exclude", "|".join(left_out)]
        if base := conformance.baseline(folder, interpreter, method):
            command += ["--compare", str(base)]
        lenders = [o for o in others if o.whole]
        if not interpreter.whole and lenders:
            command += ["--borrow", max(lenders, key=lambda o: o.key).tests]
        print(f"\n== {interpreter.version} {method}: {' '.join(command)}", flush=True)
        began = time.monotonic()
        closing = ""
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print("   ", line, end="", flush=True)
                if re.search(r"\d+ passed", line):
                    closing = line.strip()
            status = process.wait()
    return status, f"{closing} ({time.monotonic() - began:.0f} s)"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--python", action="append", help="an interpreter (again for more); default: this one"
    )
    parser.add_argument("--method", action="append", choices=conformance.METHODS)
    parser.add_argument("--one", action="store_true", help="one cell, in turn by commit")
    parser.add_argument("--filter", help="regular expression on the test's name")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--path", type=Path, help="the folder that holds the package, if it is not installed"
    )
    options = parser.parse_args()
    folder = conformance.harness()
    if folder is None:
        print(
            "no harness: set PROCFAST_CONFORMANCE to the folder of cpython_suite.py",
            file=sys.stderr,
        )
        return 2
    asked = options.python or [sys.executable]
    found = [i for path in asked if (i := conformance.look_at(path))]
    cells = [(i, method) for i in found for method in options.method or conformance.METHODS]
    if not cells:
        return 2
    if options.one:
        cells = [cells[conformance.turn() % len(cells)]]
    results = [(cell, *run(folder, *cell, found, options)) for cell in cells]
    print()
    for (interpreter, method), status, closing in results:
        print(f"{'BAD ' if status else 'good'} {interpreter.version} {method}: {closing}")
    return int(any(status for _, status, _ in results))


if __name__ == "__main__":
    sys.exit(main())
