"""What is in the built wheel and what is not. PROCFAST_DIST names the folder it was built into."""

import os
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel():
    [path] = Path(os.environ["PROCFAST_DIST"]).glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_every_module_is_in(wheel):
    ours = {str(p.relative_to(ROOT)) for p in ROOT.glob("procfast/**/*.py")}
    assert ours == {name for name in wheel.namelist() if name.endswith(".py")}


def test_only_what_is_imported(wheel):
    """No sources of the extension, no tests, no C library."""
    for name in wheel.namelist():
        top = name.split("/")[0]
        assert top == "procfast" or top.endswith(".dist-info"), name
        assert name.endswith((".py", ".pyi", "py.typed", ".so")) or ".dist-info/" in name, name


def test_one_extension(wheel):
    [extension] = [name for name in wheel.namelist() if name.endswith(".so")]
    assert extension.startswith("procfast/native/_native.cpython-")


def test_types_are_in(wheel):
    names = wheel.namelist()
    assert "procfast/py.typed" in names and "procfast/native/_native.pyi" in names


def test_metadata(wheel):
    [name] = [n for n in wheel.namelist() if n.endswith(".dist-info/METADATA")]
    text = wheel.read(name).decode()
    space: dict = {}
    exec((ROOT / "procfast/_version.py").read_text(), space)
    assert f"Version: {space['__version__']}\n" in text
    assert "Requires-Python: >=3.11\n" in text and "License-Expression: MIT\n" in text
    assert not any(
        line.startswith("Requires-Dist") and "extra" not in line for line in text.splitlines()
    )
    assert any(n.endswith("licenses/LICENSE") for n in wheel.namelist())


def test_nothing_of_this_machine(wheel):
    """Where it was built does not show in the Python files."""
    for name in wheel.namelist():
        if name.endswith((".py", ".pyi")):
            assert str(ROOT).encode() not in wheel.read(name), name
