"""Who may use whom: each room of the package knows only the one below."""

import ast
import re
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "procfast"
CSRC = ROOT / "csrc"


def imports(path: Path) -> set[str]:
    """Absolute names of all that a module imports, at any depth of it."""
    package = ".".join(path.relative_to(ROOT).parent.parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                parts = parts[: len(parts) - node.level + 1]
                base = ".".join([*parts, node.module] if node.module else parts)
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def modules(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "build" not in path.parts)


def below(names: set[str], *prefixes: str) -> set[str]:
    return {n for n in names for p in prefixes if n == p or n.startswith(f"{p}.")}


def code(path: Path) -> str:
    """C without its comments."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(), flags=re.S)


SOURCES = sorted([*CSRC.glob("src/**/*.[ch]"), *CSRC.glob("include/**/*.h")])


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(CSRC)))
def test_csrc_knows_no_python(path):
    text = code(path)
    assert "Python.h" not in text and not re.search(r"\bPy[A-Z_]\w*\(", text)
    assert not re.search(r"\b(f|v|vf|s)?printf\s*\(|\bputs\s*\(|\bperror\s*\(", text), "csrc prints"


@pytest.mark.parametrize(
    "path", sorted(CSRC.glob("src/os/*/*.c")), ids=lambda p: str(p.relative_to(CSRC))
)
def test_providers_are_guarded_as_a_whole(path):
    """Our headers, then one guard round the rest, and below it no choice of a platform."""
    lines = [line.strip() for line in code(path).splitlines() if line.strip()]
    first = next(i for i, line in enumerate(lines) if not line.startswith('#include "'))
    assert re.match(r"#if(def)? .*PF__OS_", lines[first])
    assert lines[-1] == "#endif"
    for line in lines[first + 1 : -1]:
        if re.match(r"#\s*(if|elif)", line):
            assert not re.search(r"PF__OS|\b__(?!SANITIZE)\w+|_WIN32", line), line


def test_providers_mirror_each_other():
    names = {p.name: {f.name for f in p.glob("*.c")} for p in CSRC.glob("src/os/*/")}
    assert set(names) >= {"linux", "darwin", "posix"}
    portable = {f.name for f in CSRC.glob("src/*.c")}
    for folder, files in names.items():
        assert files <= portable, f"{folder}: {files - portable} has no portable body"
    assert names["linux"] | names["darwin"] <= names["posix"] | {"bell.c"}


def test_provider_functions_are_called_by_csrc_only():
    for path in [*PACKAGE.rglob("*.pyx"), *PACKAGE.rglob("*.pxd"), *PACKAGE.rglob("*.pxi")]:
        assert "pf__" not in path.read_text(), f"{path} uses internals of csrc"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.px[di]")), ids=lambda p: p.name)
def test_wrappers_choose_nothing(path):
    """They may use the exceptions, but no module of a backend."""
    assert not re.search(
        r"^\s*(c?import|from)\s+procfast(?!\.exceptions\b)", path.read_text(), re.M
    )


@pytest.mark.parametrize("path", modules(PACKAGE / "native"), ids=lambda p: p.name)
def test_native_knows_no_stdlib_backend(path):
    names = imports(path)
    assert not below(names, "procfast.stdlib")
    assert not below(names, "ctypes") or path.name == "sharedctypes.py"


@pytest.mark.parametrize("path", modules(PACKAGE / "stdlib"), ids=lambda p: p.name)
def test_stdlib_knows_no_native_backend(path):
    names = imports(path)
    assert not below(names, "procfast.native")
    assert not below(names, "ctypes") or path.name in ("libc.py", "names.py", "sharedctypes.py")


@pytest.mark.parametrize("path", modules(PACKAGE), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_selector_names_a_backend(path):
    """Outside the backends nothing imports one; `_backend.py` loads them by name."""
    where = path.relative_to(PACKAGE).parts[0]
    if where not in ("native", "stdlib", "cli"):
        assert not below(imports(path), "procfast.native", "procfast.stdlib")


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parent.glob("test_*.py")), ids=lambda p: p.name
)
def test_tests_import_no_backend(path):
    assert not below(imports(path), "procfast.native", "procfast.stdlib")


def test_no_package_of_tests():
    """Without __init__.py, so that what is installed is tested."""
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_declarations_match_the_headers():
    """libprocfast.pxd declares nothing that the headers do not."""
    found = [*CSRC.glob("include/**/*.h"), CSRC / "src/lock_fast.h", CSRC / "src/datum.h"]
    headers = "".join(code(p) for p in found)
    declared = set(re.findall(r"\b(pf_\w+)\s*\(", (PACKAGE / "native/libprocfast.pxd").read_text()))
    exported = set(re.findall(r"\b(pf_\w+)\s*\(", headers))
    assert declared and declared <= exported, declared - exported


def test_one_symbol_is_exported(python):
    """PyInit__native and nothing else."""
    import shutil
    import subprocess
    import sys

    assert shutil.which("nm"), "binutils are needed"
    where = python("-c", "import procfast.native._native as n; print(n.__file__)").stdout.strip()
    out = subprocess.run(
        ["nm", "-D", "--defined-only", where], capture_output=True, text=True, check=True
    ).stdout
    assert [line.split()[-1] for line in out.splitlines()] == ["PyInit__native"], sys.version
