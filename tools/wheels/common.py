"""What the scripts of this folder share: where they work, what they need, zig as the compiler, Debian roots.

All of it is made below one folder, which may be deleted at any time: build/wheels, or what PROCFAST_WORK names.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
WORK = Path(os.environ.get("PROCFAST_WORK") or TREE / "build" / "wheels").resolve()
WHEELHOUSE = TREE / "wheelhouse"

# Of the caller's environment: nothing that could change what is built or tested.
PASSED_ON = ("HOME", "LANG", "PATH", "TERM", "TMPDIR")
PREFIXES = ("PIP_", "PROCFAST_", "SOURCE_DATE_EPOCH", "SSL_CERT_", "http", "https", "no_proxy")


class Missing(SystemExit):
    """What this machine lacks, in one line, with what to install."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{Path(sys.argv[0]).stem}: no {what}: {remedy}")


class Failed(SystemExit):
    """A command that has not done what it was to do."""


def need(command: str, package: str) -> str:
    """The path of a command; Missing, with Debian's package, where there is none."""
    path = shutil.which(command)
    if not path:
        raise Missing(command, f"apt install {package}")
    return path


def need_root(why: str) -> None:
    if os.geteuid():
        raise Missing("root's rights", f"run it as root ({why})")


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables for a command."""
    kept = {k: v for k, v in os.environ.items() if k in PASSED_ON or k.startswith(PREFIXES)}
    kept.pop("PROCFAST_BACKEND", None)
    kept.update(PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1", PYTHONDONTWRITEBYTECODE="1")
    return kept | dict(more or {})


def run(
    *command: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    within: Sequence[str | Path] = (),
) -> None:
    """Show a command and run it, behind the words `within`; end if its exit code is not 0."""
    words = [str(word) for word in command]
    print("+", *words, flush=True)
    done = subprocess.run([*map(str, within), *words], env=environment(env), cwd=cwd or WORK)
    if done.returncode:
        raise Failed(f"exit status {done.returncode} of {' '.join(words[:4])} ...")


@functools.cache  # a commit in between is of no concern
def epoch() -> str:
    """SOURCE_DATE_EPOCH: as given, or the time of the commit, or that of the newest changelog (an sdist)."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return given
    asked = ["git", "-C", str(TREE), "log", "-1", "--format=%ct"]
    if (TREE / ".git").exists():
        return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    return str(int((TREE / "CHANGELOG.md").stat().st_mtime))


# -- Python ---------------------------------------------------------------------------------------


def venv(folder: Path, python: str | Path, *packages: str | Path) -> Path:
    """A new virtual environment with these packages; its interpreter."""
    shutil.rmtree(folder, ignore_errors=True)
    run(python, "-m", "venv", folder)
    if packages:
        run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", *packages)
    return folder / "bin" / "python"


def tools() -> Path:
    """The folder of the commands of the extra `wheels`, in an environment that is kept between runs."""
    with (TREE / "pyproject.toml").open("rb") as file:
        wanted = tomllib.load(file)["project"]["optional-dependencies"]["wheels"]
    mark = hashlib.sha256(repr((sys.executable, wanted)).encode()).hexdigest()
    folder, stamp = WORK / "tools", WORK / "tools" / "stamp"
    if not stamp.exists() or stamp.read_text() != mark:
        WORK.mkdir(parents=True, exist_ok=True)
        venv(folder, sys.executable, *wanted)
        stamp.write_text(mark)
    return folder / "bin"


def tool(module: str, *arguments: str | Path, env: Mapping[str, str] | None = None) -> None:
    """Run one of the tools."""
    folder = tools()
    path = f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    run(folder / "python", "-m", module, *arguments, env={**(env or {}), "PATH": path})


def usable(python: str, series: str) -> bool:
    """Is it a CPython of that series which can make an environment and build?"""
    code = (
        "import sys, sysconfig, pathlib, venv, ensurepip\n"
        "good = sys.implementation.name == 'cpython' and '%d.%d' % sys.version_info[:2] == sys.argv[1]\n"
        "header = pathlib.Path(sysconfig.get_path('include'), 'Python.h')\n"
        "sys.exit(not (good and header.exists()))"
    )
    done = subprocess.run([python, "-c", code, series], capture_output=True, env=environment())
    return done.returncode == 0


def given() -> list[str]:
    """The interpreters that PYTHONS names."""
    return os.environ.get("PYTHONS", "").split()


def interpreters(*series: str) -> dict[str, str]:
    """Those that PYTHONS names, else for each series the first that PATH or pyenv has."""
    if given():
        ask = "import sys; print('%d.%d%s' % (*sys.version_info[:2], sys.abiflags))"
        asked = [subprocess.check_output([p, "-c", ask], text=True).strip() for p in given()]
        return dict(zip(asked, given(), strict=True))
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = {}
    for one in series:
        names = (f"python{one}", "python3", "python")
        on_path = (shutil.which(name, path=f) for name in names for f in os.get_exec_path())
        of_pyenv = map(str, sorted(pyenv.glob(f"{one}.*/bin/python3")))
        for python in (*filter(None, on_path), *of_pyenv):
            if usable(python, one):
                found[one] = python
                break
    return found


def sdist() -> Path:
    """The sdist of this tree, built anew: wheels made from it show that nothing lacks in it."""
    folder = WORK / "sdist"
    shutil.rmtree(folder, ignore_errors=True)
    env = {"SOURCE_DATE_EPOCH": epoch()}
    tool("build", "--quiet", "--sdist", "--outdir", folder, TREE, env=env)
    [made] = folder.iterdir()
    return made


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack an sdist; the folder of its files."""
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    [inside] = folder.iterdir()
    return inside


def check(folder: Path) -> None:
    """What is in the wheels (and the sdist) of a folder, what they say of themselves, what they link."""
    wheels = sorted(folder.glob("*.whl"))
    tool("twine", "check", "--strict", *folder.iterdir())
    if wheels:
        tool("check_wheel_contents", "--no-config", *wheels)
    tests = TREE / "tests" / "packaging"
    files = [tests / "test_cibuildwheel.py"]
    files += [tests / "test_wheel.py"] if wheels else []
    files += [tests / "test_sdist.py"] if any(folder.glob("*.tar.gz")) else []
    pytest = ("-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--noconftest")
    tool("pytest", *pytest, f"--rootdir={tests}", *files, env={"PROCFAST_DIST": str(folder)})


def deliver(folder: Path, to: Path = WHEELHOUSE) -> None:
    """Copy what was made."""
    to.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        shutil.copy(path, to)


# -- zig ------------------------------------------------------------------------------------------


def zig(target: str, include: Path | None = None) -> dict[str, str]:
    """The variables that make zig the compiler of a build, for a target like x86_64-linux-gnu.2.17.

    LDSHARED is replaced as a whole: an interpreter's own value may carry a search path into its own folder.
    """
    ask = "import pathlib, ziglang; print(pathlib.Path(ziglang.__file__).parent / 'zig')"
    found = subprocess.check_output([tools() / "python", "-c", ask], text=True).strip()
    cc = f"{found} cc -target {target}" + (f" -I{include}" if include else "")
    cache = str(WORK / "zig-cache")
    return {
        "CC": cc,
        "LDSHARED": f"{cc} -shared",
        "ZIG_GLOBAL_CACHE_DIR": cache,
        "ZIG_LOCAL_CACHE_DIR": cache,
    }


# -- Debian roots ---------------------------------------------------------------------------------

# Mounts in a namespace of their own: gone with the last process, so nothing has to be undone.
ENTER = """
root=$1 work=$2 folder=$3; shift 3
mount --bind "$root" "$root"  # what is a root must be a mount, where programs unshare
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir -p "$root$work"
mount --bind "$work" "$root$work"
exec chroot "$root" env -C "$folder" "$@"
"""


class DebianRoot:
    """A folder with Debian in it, made once by mmdebstrap, in which commands are run (chroot).

    The work folder is seen in it under the same path as outside.
    """

    def __init__(self, suite: str, *packages: str, architecture: str = "amd64") -> None:
        self.suite, self.architecture = suite, architecture
        self.packages = ("ca-certificates", *packages)
        mark = hashlib.sha256(repr(sorted(packages)).encode()).hexdigest()[:8]
        self.folder = WORK / "roots" / f"{suite}-{architecture}-{mark}"

    def make(self) -> None:
        """Make it, if it isn't there. Missing if this machine can't."""
        need_root("it makes a Debian root and changes into it")
        need("mmdebstrap", "mmdebstrap")
        need("unshare", "util-linux")
        if not self.folder.exists():
            half = self.folder.with_suffix(".half")
            half.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(half, ignore_errors=True)
            run(
                *("mmdebstrap", "--quiet", "--variant=minbase"),
                # a mirror may be a dated copy; signatures are checked all the same
                '--aptopt=Acquire::Check-Valid-Until "false"',
                f"--architectures={self.architecture}",
                f"--include={','.join(self.packages)}",
                *(self.suite, half),
            )
            half.rename(self.folder)
        for name in ("hosts", "resolv.conf", "pip.conf", "ssl/certs/ca-certificates.crt"):
            if (here := Path("/etc") / name).exists():
                shutil.copy(here, self.folder / "etc" / name)

    def run(
        self, *command: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        """Run a command in it, with /dev/shm and /tmp of its own."""
        path = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        enter = ("unshare", "-m", "--propagation", "private", "sh", "-ec", ENTER, "enter")
        run(
            *command,
            env={**path, "TMPDIR": "/tmp", **(env or {})},
            within=(*enter, self.folder, WORK, cwd or WORK),
        )


def debian_include(*series: str) -> Path:
    """A folder for -I with the pyconfig.h that Debian keeps by architecture, and nothing else of /usr/include."""
    multiarch = sysconfig.get_config_var("MULTIARCH") or "x86_64-linux-gnu"
    folder = WORK / "include" / multiarch
    folder.mkdir(parents=True, exist_ok=True)
    for one in series:
        link = folder / f"python{one}"
        link.unlink(missing_ok=True)
        link.symlink_to(f"/usr/include/{multiarch}/python{one}")
    return folder.parent
