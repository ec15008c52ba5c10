"""The one extension, `procfast.native._native`; everything else is in pyproject.toml.

In place, and for an editable installation, it is built with symbols; else it is stripped.

Switches, read from the environment:

PROCFAST_PURE=1         no extension: a pure wheel, whose only backend is the standard library's
PROCFAST_DEBUG=1        -O0 and assertions
PROCFAST_COVERAGE=1     gcov for the C code, line tracing for the Cython code
PROCFAST_SANITIZE=LIST  -fsanitize=LIST, e.g. address,undefined (run with the sanitizer preloaded)
PROCFAST_WERROR=1       warnings are errors
"""

import glob
import gzip
import os
import platform
import runpy
import sys
import tarfile
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist


def switch(name: str) -> bool:
    return os.environ.get(f"PROCFAST_{name}", "") not in ("", "0")


def files(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern, recursive=True))


def extension() -> Extension:
    version = runpy.run_path("procfast/_version.py")["__version__"]
    compile_args = ["-std=c11", "-fvisibility=hidden", "-pthread", "-g", "-O2"]
    link_args = ["-pthread"]
    macros: list[tuple[str, str | None]] = [
        ("PROCFAST_VERSION", f'"{version}"'),
        ("_GNU_SOURCE", "1"),
    ]
    undefine = []
    if switch("DEBUG"):
        compile_args += ["-O0", "-g3"]
        undefine = ["NDEBUG"]
    if switch("COVERAGE"):
        compile_args += ["-O0", "--coverage"]
        link_args += ["--coverage"]
        macros += [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")]
    if sanitizers := os.environ.get("PROCFAST_SANITIZE"):
        compile_args += [f"-fsanitize={sanitizers}", "-fno-omit-frame-pointer", "-O1"]
        link_args += [f"-fsanitize={sanitizers}"]
    if switch("WERROR"):
        compile_args += ["-Wall", "-Werror"]
    return Extension(
        "procfast.native._native",
        sources=["procfast/native/_native.pyx", *files("csrc/src/**/*.c")],
        depends=[
            *files("csrc/include/**/*.h"),
            *files("csrc/src/**/*.h"),
            *files("procfast/native/*.pxd"),
            *files("procfast/native/wrappers/*.pxi"),
        ],
        include_dirs=["csrc/include", "csrc/src"],
        define_macros=macros,
        undef_macros=undefine,
        extra_compile_args=compile_args,
        extra_link_args=link_args,
        # shm_open(3) of glibc before 2.34, which the wheels are built for
        libraries=["rt"] if sys.platform == "linux" else [],
    )


class BuildExt(build_ext):
    """Translates the Cython code into the build directory, and says what to do when a build fails."""

    def run(self) -> None:
        if not self.inplace and not any(map(switch, ("DEBUG", "COVERAGE", "SANITIZE"))):
            for ext in self.extensions:  # small, and without the names of folders
                ext.extra_compile_args.append("-g0")
                ext.extra_link_args.append("-Wl,-x" if sys.platform == "darwin" else "-Wl,-s")
        super().run()

    def build_extensions(self) -> None:
        try:
            from Cython.Build import cythonize

            translated = cythonize(
                self.extensions,
                build_dir=self.build_temp,
                compiler_directives={"linetrace": switch("COVERAGE")},
                include_path=["procfast/native"],
                force=self.force,
                quiet=not self.verbose,
            )
            for ext, in_c in zip(self.extensions, translated, strict=True):
                ext.sources = in_c.sources
            super().build_extensions()
        except Exception as error:
            raise SystemExit(
                f"procfast: the native extension could not be built: {error}\n"
                "It needs a C11 compiler (cc) and Python's header files: on Debian or Ubuntu\n"
                "`apt install gcc python3-dev`, on Fedora `dnf install gcc python3-devel`,\n"
                "on macOS `xcode-select --install`.\n"
                "PROCFAST_PURE=1 installs procfast without it, on purpose: same names, but with the\n"
                "speed and the weaknesses of the standard library."
            ) from error


class Sdist(sdist):
    """With SOURCE_DATE_EPOCH set, as for wheels, the same files make the same bytes."""

    def make_archive(self, base_name: str, format: str, *args: Any, **kwds: Any) -> str:
        epoch = os.environ.get("SOURCE_DATE_EPOCH")
        if format != "gztar" or not epoch:
            return super().make_archive(base_name, format, *args, **kwds)

        def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
            info.mtime, info.mode = int(epoch), 0o755 if info.mode & 0o100 else 0o644
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            return info

        path = f"{base_name}.tar.gz"
        with (
            open(path, "wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=int(epoch)) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            tar.add(kwds["base_dir"], filter=plain)  # sorted by name
        return path


def why_pure() -> str | None:
    """The reason for building without the extension, or None."""
    if switch("PURE"):
        return "PROCFAST_PURE is set"
    if not sys.platform.startswith(("linux", "darwin")):
        return f"there is no native backend for {sys.platform}"
    if platform.python_implementation() != "CPython":
        return f"there is no native backend for {platform.python_implementation()}"
    return None


reason = why_pure()
if reason:
    print(f"procfast: pure build ({reason}); the standard library's backend only", file=sys.stderr)
    setup(cmdclass={"sdist": Sdist})
else:
    setup(ext_modules=[extension()], cmdclass={"build_ext": BuildExt, "sdist": Sdist})
