"""The configuration for cibuildwheel: valid by its own schema, and what it will build."""

import copy
import json
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ("cp311", "cp312", "cp313", "cp314", "cp314t", "cp315", "cp315t")
WILL_BUILD = {
    "linux": ("manylinux_x86_64", "manylinux_aarch64", "musllinux_x86_64", "musllinux_aarch64"),
    "macos": ("macosx_x86_64", "macosx_arm64"),
}


def test_schema():
    schema = json.loads(
        (resources.files("cibuildwheel") / "resources/cibuildwheel.schema.json").read_text()
    )
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["cibuildwheel"]
    jsonschema.validate(table, schema)
    wrong = copy.deepcopy(table)
    wrong["linux"]["skipp"] = wrong.pop("skip")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


@pytest.mark.parametrize("platform", WILL_BUILD)
def test_identifiers(platform):
    command = [sys.executable, "-m", "cibuildwheel", "--print-build-identifiers"]
    done = subprocess.run(
        [*command, "--platform", platform, str(ROOT)], capture_output=True, text=True, check=True
    )
    expected = {f"{python}-{tag}" for python in PYTHONS for tag in WILL_BUILD[platform]}
    assert set(done.stdout.split()) == expected


def test_matrix():
    """That of the workflow: each wheel once, on the machine it is for."""
    done = subprocess.run(
        [sys.executable, ROOT / "tools/wheels/matrix.py"],
        check=True,
        capture_output=True,
        text=True,
    )
    rows = json.loads(done.stdout)
    runners = {
        "manylinux_x86_64": "ubuntu-24.04",
        "musllinux_x86_64": "ubuntu-24.04",
        "manylinux_aarch64": "ubuntu-24.04-arm",
        "musllinux_aarch64": "ubuntu-24.04-arm",
        "macosx_x86_64": "macos-15-intel",
        "macosx_arm64": "macos-15",
    }
    expected = {(f"{p}-{tag}", os) for p in PYTHONS for tag, os in runners.items()}
    assert sorted((row["only"], row["os"]) for row in rows) == sorted(expected)
