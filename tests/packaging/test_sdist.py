"""What is in the sdist and what is not. PROCFAST_DIST names the folder it was built into."""

import os
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def names():
    [path] = Path(os.environ["PROCFAST_DIST"]).glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}


def test_all_that_builds_and_tests(names):
    for pattern in (
        "procfast/**/*.py",
        "procfast/**/*.pyx",
        "procfast/**/*.px[di]",
        "csrc/include/**/*.h",
        "csrc/src/**/*.[ch]",
        "csrc/tests/*.[ch]",
        "tests/**/*.py",
        "benchmarks/*.py",
        "examples/*",
        "docs/*.md",
        "tools/*.py",
    ):
        found = {str(p.relative_to(ROOT)) for p in ROOT.glob(pattern) if "build" not in p.parts}
        found = {name for name in found if "__pycache__" not in name}
        assert found and found <= names, f"{pattern}: {found - names}"
    for name in (
        "setup.py",
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "Makefile",
        "csrc/Makefile",
    ):
        assert name in names


def test_nothing_built(names):
    for name in names:
        assert not name.endswith((".so", ".o", ".a", ".pyc")), name
        assert not name.startswith(("build/", "dist/", "csrc/build/")), name
        assert name != "procfast/native/_native.c"
