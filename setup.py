"""The one extension, `procfast.native._native`; everything else is in pyproject.toml.

Switches, read from the environment:

PROCFAST_PURE=1         no extension: a pure wheel, whose only backend is the standard library's
PROCFAST_DEBUG=1        -O0 and assertions
PROCFAST_COVERAGE=1     gcov for the C code, line tracing for the Cython code
PROCFAST_SANITIZE=LIST  -fsanitize=LIST, e.g. address,undefined (run with the sanitizer preloaded)
PROCFAST_WERROR=1       warnings are errors
"""

import glob
import os
import platform
import runpy
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


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
    setup()
else:
    setup(ext_modules=[extension()], cmdclass={"build_ext": BuildExt})
