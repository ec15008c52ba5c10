"""What is in built wheels and what is not, and what their extensions need. PROCFAST_DIST names their folder."""

import io
import os
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
from elftools.elf.elffile import ELFFile

ROOT = Path(__file__).resolve().parents[2]
WHEELS = sorted(Path(os.environ["PROCFAST_DIST"]).glob("*.whl"))

LIBRARIES = re.compile(r"lib(c|m|pthread|rt)\.so\.\d|libc\.musl-\w+\.so\.1|ld-linux-.*|ld-musl-.*")
MACHINES = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64"}


class Wheel(NamedTuple):
    path: Path
    files: dict[str, bytes]

    def tags(self) -> tuple[str, str, list[str]]:
        """Of the interpreter, of its binary interface, of the platforms."""
        *_, python, abi, platforms = self.path.stem.split("-")
        return python, abi, platforms.split(".")

    def extension(self) -> str | None:
        found = [name for name in self.files if name.endswith(".so")]
        assert len(found) <= 1, found
        return found[0] if found else None

    def elf(self) -> ELFFile | None:
        """None: it has no extension, or one that is not for Linux."""
        name = self.extension()
        if name is None or "linux" not in self.path.name:
            return None
        return ELFFile(io.BytesIO(self.files[name]))


@pytest.fixture(params=WHEELS, ids=[path.name for path in WHEELS])
def wheel(request) -> Wheel:
    with zipfile.ZipFile(request.param) as archive:
        return Wheel(
            request.param, {n: archive.read(n) for n in archive.namelist() if n[-1] != "/"}
        )


def test_there_are_wheels():
    assert WHEELS


def test_every_module_is_in(wheel):
    ours = {str(p.relative_to(ROOT)) for p in ROOT.glob("procfast/**/*.py")}
    assert ours == {name for name in wheel.files if name.endswith(".py")}


def test_only_what_is_imported(wheel):
    """No sources of the extension, no tests, no C library."""
    for name in wheel.files:
        top = name.split("/")[0]
        assert top == "procfast" or top.endswith(".dist-info"), name
        assert name.endswith((".py", ".pyi", "py.typed", ".so")) or ".dist-info/" in name, name


def test_types_are_in(wheel):
    stubs = {str(p.relative_to(ROOT)) for p in ROOT.glob("procfast/**/*.pyi")}
    assert stubs and stubs | {"procfast/py.typed"} <= wheel.files.keys()


def test_extension_is_the_one_of_the_tags(wheel):
    """A wheel without one is for Windows alone: elsewhere it would be taken instead of a compiled one."""
    python, abi, platforms = wheel.tags()
    name = wheel.extension()
    if name is None:
        assert (python, abi) == ("py3", "none")
        assert platforms[0].startswith("win_") or os.environ.get("PROCFAST_PURE")
        return
    assert python.startswith("cp3") and abi.rstrip("t") == python
    assert name.startswith(f"procfast/native/_native.cpython-{abi[2:]}-")
    if elf := wheel.elf():
        [machine] = re.findall(r"linux(?:2014|_\d+_\d+)?_(\w+)", platforms[0])
        assert elf["e_machine"] == MACHINES[machine]
        assert f"-{machine}-linux-" in name


def test_one_exported_symbol(wheel):
    if elf := wheel.elf():
        symbols = elf.get_section_by_name(".dynsym").iter_symbols()
        exported = [s.name for s in symbols if s["st_shndx"] != "SHN_UNDEF" and s.name]
        assert exported == ["PyInit__native"]


def test_stripped(wheel):
    if elf := wheel.elf():
        names = [section.name for section in elf.iter_sections()]
        assert not any(name == ".symtab" or name.startswith(".debug") for name in names), names


def test_links_what_every_linux_has(wheel):
    """libc alone, in no version newer than the tag allows, and no folder to look for it."""
    if elf := wheel.elf():
        needed = []
        for tag in elf.get_section_by_name(".dynamic").iter_tags():
            assert tag.entry.d_tag not in ("DT_RPATH", "DT_RUNPATH"), tag
            if tag.entry.d_tag == "DT_NEEDED":
                needed.append(tag.needed)
        assert needed and all(LIBRARIES.fullmatch(name) for name in needed), needed
        oldest = min(
            (
                tuple(map(int, found))
                for found in re.findall(r"manylinux_(\d+)_(\d+)", wheel.path.name)
            ),
            default=None,
        )
        wanted = elf.get_section_by_name(".gnu.version_r")
        if oldest is None:  # musl has no versions
            assert wanted is None
            return
        for _, versions in wanted.iter_versions():
            for version in versions:
                assert version.name.startswith("GLIBC_"), version.name
                assert tuple(map(int, version.name[6:].split("."))) <= oldest, version.name


def test_small(wheel):
    assert wheel.path.stat().st_size < 1_000_000


def test_metadata(wheel):
    [name] = [n for n in wheel.files if n.endswith(".dist-info/METADATA")]
    text = wheel.files[name].decode()
    space: dict = {}
    exec((ROOT / "procfast/_version.py").read_text(), space)
    assert f"Version: {space['__version__']}\n" in text
    assert "Requires-Python: >=3.11\n" in text and "License-Expression: MIT\n" in text
    assert not any(
        line.startswith("Requires-Dist") and "extra" not in line for line in text.splitlines()
    )
    assert any(n.endswith("licenses/LICENSE") for n in wheel.files)


def test_nothing_of_this_machine(wheel):
    """Where it was built does not show."""
    for name, data in wheel.files.items():
        assert str(ROOT).encode() not in data, name
        if name.endswith(".so"):
            assert not re.search(rb"/(tmp|home|root)/", data), name
