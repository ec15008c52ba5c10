"""The pure package where nothing of POSIX is: imported by an interpreter that looks like one on Windows.

No more than imports and objects in one process: whether processes start there only a Windows can tell.
"""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent

# importing an extension module of that name is what fails there
NO_EXTENSION = "sys.modules['procfast.native._native'] = None\n"


def run(code: str, **environ: str) -> subprocess.CompletedProcess:
    program = f"import sys\nsys.path.append({str(TESTS)!r})\nimport as_windows\n{NO_EXTENSION}"
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PROCFAST_")}
    return subprocess.run(
        [sys.executable, "-P", "-c", program + textwrap.dedent(code)],
        env=kept | environ, capture_output=True, text=True, timeout=50,
    )  # fmt: skip


def good(code: str, **environ: str) -> str:
    done = run(code, **environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_backend():
    done = run("import procfast; print(procfast.backend, procfast.get_all_start_methods())")
    assert done.stdout == "stdlib ['spawn']\n", done.stderr
    assert "there is none for Windows" in done.stderr  # a warning
    done = run("import procfast; print(procfast.backend)", PROCFAST_BACKEND="stdlib")
    assert (done.stdout, done.stderr) == ("stdlib\n", "")


def test_native_is_refused():
    done = run(
        "import procfast\nprocfast.get_context('spawn', backend='native')",
        PROCFAST_BACKEND="stdlib",
    )
    assert "procfast.exceptions.BackendError: the native backend does not load" in done.stderr
    assert "there is none for Windows" in done.stderr
    done = run("import procfast", PROCFAST_BACKEND="native")
    assert done.returncode == 1 and "there is none for Windows" in done.stderr


MODULES = sorted(
    re.sub(r"\.__init__$", "", ".".join(path.relative_to(TESTS.parent).with_suffix("").parts))
    for path in TESTS.parent.glob("procfast/*.py")
    if path.stem not in ("__main__",)
)


def test_public_modules_import():
    """And so does all that no other module needs."""
    names = [name for name in MODULES if not name.rpartition(".")[2].startswith("_")]
    assert "procfast.posix" in names and "procfast.futures" in names
    good(
        "import importlib\n" + "".join(f"importlib.import_module({name!r})\n" for name in names),
        PROCFAST_BACKEND="stdlib",
    )


def test_posix():
    out = good(
        """
        import os, procfast.posix as posix
        assert posix.getpid() == os.getpid()
        assert not hasattr(posix, "fork")
        try:
            posix.fork
        except AttributeError as error:
            print(error)
        """,
        PROCFAST_BACKEND="stdlib",
    )
    assert out == "procfast.posix has no 'fork' on Windows, which is no POSIX system\n"


def test_objects():
    """What needs no call of the system."""
    good(
        """
        import procfast
        for name in ("Lock", "RLock", "Semaphore", "BoundedSemaphore", "Event", "Condition"):
            getattr(procfast, name)()
        procfast.Process(target=print)
        procfast.get_context("spawn").Process(target=print, daemon=True)
        """,
        PROCFAST_BACKEND="stdlib",
    )


@pytest.mark.parametrize("command", [["info"], ["info", "--json"]])
def test_command(command):
    out = good(
        f"from procfast.__main__ import main\nsys.exit(main({command!r}))",
        PROCFAST_BACKEND="stdlib",
    )
    assert "stdlib" in out and "win32" not in out.partition("kernel")[2]
