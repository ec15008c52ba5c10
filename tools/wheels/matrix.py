"""The matrix of the workflow `wheels`, as JSON: each wheel of [tool.cibuildwheel], and who builds and tests it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
RUNNERS = {
    ("linux", "x86_64"): "ubuntu-24.04",
    ("linux", "aarch64"): "ubuntu-24.04-arm",
    ("macos", "x86_64"): "macos-15-intel",
    ("macos", "arm64"): "macos-15",
}


def identifiers(platform: str, arch: str) -> list[str]:
    """The wheels of one platform, by cibuildwheel's names."""
    command = [sys.executable, "-m", "cibuildwheel", "--print-build-identifiers"]
    command += ["--platform", platform, "--archs", arch, str(TREE)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()


def matrix() -> list[dict[str, str]]:
    return [{"only": i, "os": os} for where, os in RUNNERS.items() for i in identifiers(*where)]


if __name__ == "__main__":
    print(json.dumps(matrix()))
