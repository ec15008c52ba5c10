"""Linux wheels for this machine's processor, without containers, each tested where it would be installed.

    python tools/wheels/manylinux.py                  all that this machine can; a short run of the tests on each
    python tools/wheels/manylinux.py --full           all tests on each: both backends, all start methods
    python tools/wheels/manylinux.py --series 3.14 --tests -k map tests/test_pool.py

From the sdist, by zig for an old glibc: a wheel for each CPython 3.11 to 3.15 that PATH or pyenv has, or that PYTHONS
names; for 3.14 and 3.15 else from a Debian root. Wheels and sdist go to wheelhouse/.
"""

from __future__ import annotations

import argparse
import filecmp
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import common
from common import WORK, DebianRoot, Failed, Missing, run

ALL = ("3.11", "3.12", "3.13", "3.14", "3.15")
OF_DEBIAN = ("3.14", "3.15")
GLIBC = "2.17"
MACHINE = platform.machine()
PLATFORM = f"manylinux2014_{MACHINE}"

SHORT = ["tests/test_api.py", "tests/test_queues.py", "--backend=native", "--start-method=fork"]


class Python(NamedTuple):
    """An interpreter that wheels are made for, and how commands are run where it is."""

    series: str
    command: str
    run: Callable[..., None]
    include: Path | None = None


def pythons(series: Sequence[str]) -> tuple[list[Python], list[str]]:
    """The interpreters of these series, and what there is to be said of those that lack."""
    here = common.interpreters(*series)
    found, lacking = [Python(one, command, run) for one, command in here.items()], []
    debian = [one for one in series if one in OF_DEBIAN and one not in here]
    if debian:
        packages = (f"python{v}{x}" for v in OF_DEBIAN for x in ("", "-venv", "-dev"))
        root = DebianRoot("sid", "binutils", *packages)  # which a test needs
        try:
            root.make()
        except Missing as missing:
            lacking.append(f"no wheel for {' and '.join(debian)}: {missing}")
        else:
            include = common.debian_include(*OF_DEBIAN)
            found += [Python(one, f"python{one}", root.run, include) for one in debian]
    lacking += [
        f"no wheel for {one}: no such CPython, with headers and venv, on PATH or in pyenv "
        f"(apt install python{one}-dev python{one}-venv, or pyenv install {one})"
        for one in series
        if one not in here and one not in debian
    ]
    return found, lacking


def environment(python: Python) -> Path:
    """An empty virtual environment; its interpreter."""
    folder = WORK / "environments" / python.series
    shutil.rmtree(folder, ignore_errors=True)
    python.run(python.command, "-m", "venv", folder)
    return folder / "bin" / "python"


def build(python: Python, sdist: Path, out: Path) -> Path:
    """Build a wheel and repair it into a folder that is emptied before."""
    shutil.rmtree(out, ignore_errors=True)
    env = common.zig(f"{MACHINE}-linux-gnu.{GLIBC}", python.include)
    env["SOURCE_DATE_EPOCH"] = common.epoch()
    pip = (environment(python), "-m", "pip", "wheel", "--quiet", "--no-deps")
    python.run(*pip, "--wheel-dir", out / "raw", sdist, env=env)
    [raw] = (out / "raw").iterdir()
    common.tool("auditwheel", "repair", "--plat", PLATFORM, "--only-plat", "-w", out, raw, env=env)
    shutil.rmtree(out / "raw")
    [wheel] = out.iterdir()
    return wheel


def test(python: Python, wheel: Path, source: Path, arguments: Sequence[str]) -> None:
    """In an empty environment: first the wheel alone, then pytest on the sdist's tests."""
    interpreter = environment(python)
    pip = (interpreter, "-m", "pip", "install", "--quiet")
    python.run(*pip, "--no-index", wheel)
    python.run(interpreter, "-W", "error", source / "tools" / "wheels" / "first_use.py")
    python.run(*pip, f"{wheel}[test]")
    pytest = (interpreter, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    python.run(*pytest, *arguments, cwd=source)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", nargs="+", metavar="3.X", help="for these alone")
    parser.add_argument("--out", type=Path, default=common.WHEELHOUSE, help="not to wheelhouse/")
    parser.add_argument("--full", action="store_true", help="all tests instead of some")
    parser.add_argument("--again", action="store_true", help="build the first twice: same bytes?")
    parser.add_argument("--tests", nargs=argparse.REMAINDER, help="arguments for pytest")
    options = parser.parse_args()
    arguments = options.tests if options.tests is not None else [] if options.full else SHORT

    found, lacking = pythons(options.series or ([] if common.given() else ALL))
    for line in lacking:
        print(line, flush=True)
    sdist = common.sdist()
    source = common.unpack(sdist, WORK / "source")
    made = WORK / "manylinux"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    shutil.copy(sdist, made)
    results, failed = [], [*lacking] if options.series else []
    for python in found:
        began = time.monotonic()
        try:
            wheel = build(python, sdist, WORK / "built")
            if options.again and not results:
                same(python, wheel, sdist)
            wheel = wheel.replace(made / wheel.name)
            built = time.monotonic()
            test(python, wheel, source, arguments)
        except Failed as failure:
            failed.append(f"{python.series}: {failure}")
            continue
        seconds = f"built in {built - began:.0f} s, tested in {time.monotonic() - built:.0f} s"
        results.append(f"{wheel.name}: {wheel.stat().st_size / 1e3:.0f} kB, {seconds}")
    common.check(made)
    common.deliver(made, options.out)
    print(*results, *failed, *(line for line in lacking if line not in failed), sep="\n")
    raise SystemExit(bool(failed) or not results)


def same(python: Python, wheel: Path, sdist: Path) -> None:
    """Is a second build, in another folder and with nothing kept from the first, the same?"""
    again = build(python, sdist, WORK / "again")
    if not filecmp.cmp(wheel, again, shallow=False):
        raise Failed(f"two builds differ: {wheel} {again}")


if __name__ == "__main__":
    main()
