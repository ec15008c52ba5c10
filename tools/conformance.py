"""Runs CPython's own multiprocessing tests on procfast's native backend, beside a baseline.

    python tools/conformance.py          every interpreter x start method; writes docs/conformance.md
    python tools/conformance.py --one    one start method for each interpreter, in turn by commit

The harness is a folder of its own (cpython_suite.py, baselines/): PROCFAST_CONFORMANCE names it,
else it is looked for in ../shared/conformance. An interpreter needs CPython's `test` package, and
procfast installed or built in place in this tree. Exit status: 0 nothing is worse than the
baseline, 1 something is, 2 there is nothing to run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SUMMARY = ROOT / "docs" / "conformance.md"
ALLOWED = ROOT / "tests" / "conformance" / "expected_failures.txt"
METHODS = ("fork", "spawn", "forkserver")
ABOUT = """
import json, platform, os, sys, sysconfig, test
where = os.path.dirname(test.__file__)
futures = os.path.join(where, "test_concurrent_futures")
print(json.dumps([platform.python_version(), where,
                  os.path.exists(futures) or os.path.exists(futures + ".py")]))
"""


class Interpreter(NamedTuple):
    path: str
    version: str
    tests: str  # its `test` package
    whole: bool  # with test_concurrent_futures, which some installations lack

    @property
    def key(self) -> tuple[int, ...]:
        return tuple(map(int, re.findall(r"\d+", self.version)[:3]))


class Result(NamedTuple):
    interpreter: Interpreter
    method: str
    status: int
    seconds: float
    closing: str
    standard: str  # what is still the standard library's own, as the harness's probe saw it
    worse: list[str]


def look_at(path: str) -> Interpreter | None:
    done = subprocess.run([path, "-c", ABOUT], capture_output=True, text=True)
    if done.returncode:
        print(f"{path}: left out, it has no `test` package", file=sys.stderr)
        return None
    return Interpreter(path, *json.loads(done.stdout))


def harness() -> Path | None:
    named = os.environ.get("PROCFAST_CONFORMANCE")
    folder = Path(named) if named else ROOT.parent / "shared" / "conformance"
    return folder.resolve() if (folder / "cpython_suite.py").exists() else None


def baseline(folder: Path, interpreter: Interpreter, method: str) -> Path | None:
    """That of this very version, else of the nearest one of the same series."""
    best = None
    for path in sorted((folder / "baselines").glob(f"baseline-*-{method}.json")):
        key = tuple(map(int, re.findall(r"\d+", path.name)[:3]))
        if key[:2] == interpreter.key[:2]:
            distance = abs(key[2] - interpreter.key[2])
            if best is None or distance < best[0]:
                best = distance, path
    return best[1] if best else None


def run(
    folder: Path,
    interpreter: Interpreter,
    method: str,
    others: list[Interpreter],
    options: argparse.Namespace,
) -> Result:
    command = [interpreter.path, str(folder / "cpython_suite.py"), "--target", "procfast:native"]
    command += [
        "--start-method",
        method,
        "--jobs",
        str(options.jobs),
        "--propagate",
        options.propagate,
    ]
    command += ["--suites", "mp,main,cf,extras", "--allow", str(ALLOWED)]
    if options.path:
        command += ["--path", str(options.path)]
    if base := baseline(folder, interpreter, method):
        command += ["--compare", str(base)]
    lenders = [o for o in others if o.whole]
    if not interpreter.whole and lenders:
        command += ["--borrow", max(lenders, key=lambda o: o.key).tests]
    print(f"\n== {interpreter.version} {method}: {' '.join(command)}", flush=True)
    began = time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            print("   ", line, end="", flush=True)
            lines.append(line.rstrip())
        status = process.wait()
    seconds = time.monotonic() - began
    closing = next(
        (x for x in reversed(lines) if re.search(r"\d+ passed", x)), lines[-1] if lines else ""
    )
    standard = next(
        (x.partition("own: ")[2] for x in lines if "standard library's own: " in x), "?"
    )
    worse = [x.strip() for x in lines if re.match(r"\s*REGRESSION\b", x)]
    return Result(interpreter, method, status, seconds, closing, standard, worse)


def commit() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip()

    changed = " with uncommitted changes" if git("status", "--porcelain", "-uno") else ""
    return (git("rev-parse", "--short=12", "HEAD") or "no commit") + changed


def summary(results: list[Result]) -> str:
    lines = [
        "# Conformance",
        "",
        "CPython's own multiprocessing and concurrent.futures tests, run on the native backend after",
        "`procfast.install()`, against what the standard library itself reaches on the same interpreter and",
        "start method. `make conformance` writes this page.",
        "",
        f"Commit {commit()}, {date.today().isoformat()}, {os.cpu_count()} CPUs.",
        "",
        "| Python | start method | result | seconds | worse than the standard library |",
        "|---|---|---|---|---|",
    ]
    for r in results:
        verdict = "nothing" if r.status == 0 else "; ".join(r.worse) or f"exit status {r.status}"
        lines.append(
            f"| {r.interpreter.version} | {r.method} | {r.closing} | {r.seconds:.0f} | {verdict} |"
        )
    lines += [
        "",
        "Failures that are expected, and why (`tests/conformance/expected_failures.txt`):",
        "",
    ]
    for line in ALLOWED.read_text().splitlines():
        test, _, why = line.partition(" ")
        lines.append(f"- `{test}`: {why}")
    lines += ["", f"Still the standard library's own objects: {results[-1].standard}.", ""]
    return "\n".join(lines)


def turn() -> int:
    """Which start method a commit has: all of them come round, whoever runs it how often."""
    done = subprocess.run(
        ["git", "rev-list", "--count", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    return int(done.stdout) if done.returncode == 0 else date.today().toordinal()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--python", action="append", help="an interpreter (again for more); default: this one"
    )
    parser.add_argument("--method", action="append", choices=METHODS, help="only this start method")
    parser.add_argument("--one", action="store_true", help="one start method for each interpreter")
    parser.add_argument(
        "--minutes",
        type=float,
        help="no new run begins that would not end in time (with --one: 12)",
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--propagate", choices=("hook", "self"), default="hook")
    parser.add_argument(
        "--path", type=Path, help="the folder that holds the package, if it is not installed"
    )
    options = parser.parse_args()
    folder = harness()
    if folder is None:
        print(
            "no harness: set PROCFAST_CONFORMANCE to the folder of cpython_suite.py",
            file=sys.stderr,
        )
        return 2
    found = [i for path in options.python or [sys.executable] if (i := look_at(path))]
    if not found:
        return 2
    methods = options.method or METHODS
    if options.one:
        first = turn()
        cells = [(i, methods[(first + n) % len(methods)]) for n, i in enumerate(found)]
    else:
        cells = [(i, method) for i in found for method in methods]
    minutes = options.minutes or (12 if options.one else float("inf"))
    end = time.monotonic() + 60 * minutes
    results: list[Result] = []
    for interpreter, method in cells:
        longest = max((r.seconds for r in results), default=0)
        if time.monotonic() + longest > end:
            print(
                f"\n== {interpreter.version} {method}: NOT RUN, {minutes:.0f} minutes are over",
                flush=True,
            )
            continue
        results.append(run(folder, interpreter, method, found, options))
    print()
    for r in results:
        print(
            f"{'good' if r.status == 0 else 'BAD '} {r.interpreter.version} {r.method}: {r.closing} ({r.seconds:.0f} s)"
        )
    if not options.one and not options.method:
        _, mark, others = SUMMARY.read_text().partition("\n## ")  # of other tools
        SUMMARY.write_text(summary(results) + mark + others)
        print(f"written: {SUMMARY.relative_to(ROOT)}")
    return int(any(r.status for r in results))


if __name__ == "__main__":
    sys.exit(main())
