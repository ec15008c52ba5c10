"""A manylinux wheel for aarch64, cross-built on another machine and run by qemu-user in an arm64 Debian root.

    python tools/wheels/aarch64.py                    a short run of the tests
    python tools/wheels/aarch64.py --full             all tests: both backends, all start methods
    python tools/wheels/aarch64.py --series 3.13      for the CPython of Debian trixie
    python tools/wheels/aarch64.py --csrc             the tests of csrc, instead of a wheel

An emulator shows that the code is complete and calls the kernel as it should; how it fares with the order of stores
and loads of a real processor is not to be seen there. What qemu-user does otherwise than Linux: docs/wheels.md.
"""

from __future__ import annotations

from pathlib import Path

import common
import cross
from common import WORK, DebianRoot, Missing

SUITES = {"3.11": "bookworm", "3.13": "trixie"}
TARGET = "aarch64-linux-gnu.2.17"
BINFMT = Path("/proc/sys/fs/binfmt_misc")


def need_emulator() -> None:
    common.need("qemu-aarch64-static", "qemu-user-static")
    common.need("arch-test", "arch-test")
    if not (BINFMT / "qemu-aarch64").exists():
        mount = f"mount -t binfmt_misc binfmt_misc {BINFMT}; update-binfmts --enable qemu-aarch64"
        raise Missing("binary format aarch64", f"apt install binfmt-support, then: {mount}")


def csrc(root: DebianRoot) -> None:
    """Built here, run there."""
    folder = common.unpack(common.sdist(), WORK / "source" / "aarch64") / "csrc"
    env = common.zig(TARGET)
    tools = (f"CC={env['CC']}", f"AR={env['CC'].split()[0]} ar", "TIMEOUT=300")
    common.run("make", "-s", "-j2", *tools, "tests", cwd=folder, env=env)
    root.run("make", "-s", *tools, "check", cwd=folder)


def repair(raw: Path, out: Path) -> None:
    common.tool("auditwheel", "repair", "--only-plat", "-w", out, raw)


def main() -> None:
    options = cross.options(__doc__, series=[*SUITES])
    need_emulator()
    suite = SUITES[options.series]
    root = DebianRoot(suite, "python3", "python3-venv", "make", architecture="arm64")
    root.make()
    if options.csrc:
        csrc(root)
        return
    here = common.interpreters(options.series)
    if not here:
        raise Missing(
            f"CPython {options.series} with headers and venv, on PATH or in pyenv",
            f"apt install python{options.series}-dev python{options.series}-venv",
        )
    env = common.zig(TARGET)
    suffix = f".cpython-{options.series.replace('.', '')}-aarch64-linux-gnu.so"
    env |= {"_PYTHON_HOST_PLATFORM": "linux-aarch64", "SETUPTOOLS_EXT_SUFFIX": suffix}
    cross.deliver(
        cross.Place("aarch64-builder", here[options.series], common.run),
        cross.Place("aarch64", "python3", root.run),
        env,
        repair,
        options.tests,
    )


if __name__ == "__main__":
    main()
