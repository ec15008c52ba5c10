"""What aarch64.py and musl.py share: a wheel for another machine or C library, tested where that is at home."""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import common
from common import WORK, Failed
from manylinux import SHORT

HERE = Path(__file__).resolve().parent


class Place(NamedTuple):
    """Where a Python runs, how commands are run there, and where its pip finds packages if not on the net."""

    name: str
    python: str | Path
    run: Callable[..., None]
    links: Path | None = None

    def environment(self, *packages: str | Path) -> Path:
        """An empty virtual environment with these packages; its interpreter."""
        folder = WORK / "environments" / self.name
        shutil.rmtree(folder, ignore_errors=True)
        self.run(self.python, "-m", "venv", folder)
        if packages:
            self.install(folder / "bin" / "python", *packages)
        return folder / "bin" / "python"

    def install(self, python: Path, *what: str | Path) -> None:
        links = ("--no-index", "--find-links", self.links) if self.links else ()
        self.run(python, "-m", "pip", "install", "--quiet", *links, *what)


def build(place: Place, sdist: Path, env: Mapping[str, str]) -> Path:
    """The wheel as it comes, in an empty folder. What building requires is installed before `env` holds."""
    out = WORK / "built" / place.name
    shutil.rmtree(out, ignore_errors=True)
    python = place.environment("setuptools>=77", "cython>=3.1")
    pip = (python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    env = {**env, "SOURCE_DATE_EPOCH": common.epoch()}
    place.run(*pip, "--no-index", "--wheel-dir", out / "raw", sdist, env=env)
    [raw] = (out / "raw").iterdir()
    return raw


def test(place: Place, wheel: Path, source: Path, arguments: Sequence[str]) -> None:
    """First the wheel alone, then pytest on the sdist's tests."""
    python = place.environment()
    place.run(python, "-m", "pip", "install", "--quiet", "--no-index", wheel)
    place.run(python, "-W", "error", source / "tools" / "wheels" / "first_use.py")
    place.install(python, f"{wheel}[test]")
    pytest = (python, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    place.run(*pytest, *arguments, cwd=source)


def options(doc: str | None, series: Sequence[str] = (), csrc: bool = True) -> argparse.Namespace:
    """The command line; the first of several series is the default."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if series:
        parser.add_argument("--series", choices=series, default=series[0])
    parser.add_argument("--full", action="store_true", help="all tests instead of some")
    if csrc:
        parser.add_argument("--csrc", action="store_true", help="the tests of csrc, and no wheel")
    parser.add_argument("--tests", nargs=argparse.REMAINDER, help="arguments for pytest")
    given = parser.parse_args()
    if given.tests is None:
        given.tests = [] if given.full else SHORT
    return given


def deliver(
    builder: Place,
    tester: Place,
    env: Mapping[str, str],
    repair: Callable[[Path, Path], None],
    arguments: Sequence[str],
) -> None:
    """Build, repair, look at and test a wheel, then copy it to wheelhouse/."""
    began = time.monotonic()
    sdist = common.sdist()
    source = common.unpack(sdist, WORK / "source" / tester.name)
    made = WORK / tester.name / "wheel"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    repair(build(builder, sdist, env), made)
    [wheel] = made.iterdir()
    built = time.monotonic()
    common.check(made)
    try:
        test(tester, wheel, source, arguments)
    except Failed as failure:
        raise Failed(f"{wheel.name}: {failure}") from None
    common.deliver(made)
    seconds = f"built in {built - began:.0f} s, tested in {time.monotonic() - built:.0f} s"
    print(f"{wheel.name}: {wheel.stat().st_size / 1e3:.0f} kB, {seconds}")
