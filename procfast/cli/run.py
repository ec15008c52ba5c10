"""`python -m procfast run`: an unmodified program, whose `import multiprocessing` gives procfast."""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import pkgutil
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType
from typing import Any

import procfast


def parser() -> argparse.ArgumentParser:
    """The command line of `run`."""
    made = argparse.ArgumentParser(
        prog="python -m procfast run",
        description="Run a Python program as `python SCRIPT` or `python -m MODULE` would, after "
        "procfast.install(): `import multiprocessing` gives procfast, in its children too.",
        usage="%(prog)s [-h] (SCRIPT | -m MODULE) [ARGS ...]",
    )
    made.add_argument(
        "-m",
        dest="module",
        metavar="MODULE",
        nargs=argparse.REMAINDER,
        help="a module or package to run",
    )
    made.add_argument(
        "script",
        metavar="SCRIPT",
        nargs=argparse.REMAINDER,
        help="a file, a folder or a zip file to run",
    )
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the program; answers 0. Its exceptions, SystemExit too, pass through to the interpreter."""
    made = parser()
    options = made.parse_args(argv)
    words = options.module or options.script
    if not words:
        made.error("which program?")
    name, *arguments = words
    if options.module:
        code, attributes = _module(name)
        sys.argv[:] = [attributes["__file__"], *arguments]
    else:
        code, attributes = _script(name)
        sys.argv[:] = words
    procfast.install()
    _execute(code, attributes)
    return 0


def _execute(code: CodeType, attributes: dict[str, Any]) -> None:
    """Run code as the main module of this interpreter."""
    program = ModuleType("__main__")
    vars(program).update(attributes)
    # children of spawn and forkserver find the program by it, and pickle its functions in it
    sys.modules["__main__"] = sys.modules["__mp_main__"] = program
    try:
        exec(code, vars(program))
    except SystemExit:
        raise
    except BaseException as error:
        # Whoever shows the traceback (the program may have set a hook) begins at the program's frames.
        hook, trace = sys.excepthook, error.__traceback__ and error.__traceback__.tb_next
        sys.excepthook = lambda kind, value, _: hook(kind, value.with_traceback(trace), trace)
        raise


def _set_first_path(path: str) -> None:
    """What `python` does for the program it runs; `python -P` does not."""
    if not sys.flags.safe_path:
        sys.path[0] = path


def _script(path: str) -> tuple[CodeType, dict[str, Any]]:
    """The code of a file, or of the __main__.py in a folder or zip file; the main module's attributes."""
    path = os.path.abspath(path)  # as Python itself does; sys.argv[0] stays as it was given
    if pkgutil.get_importer(path) is not None:
        spec = PathFinder.find_spec("__main__", [path])
        if spec is None:
            sys.exit(f"{sys.executable}: can't find '__main__' module in {path!r}")
        sys.path.insert(0, path) if sys.flags.safe_path else _set_first_path(path)
        return _from_spec(spec)
    try:
        with io.open_code(path) as file:
            source = file.read()
    except OSError as error:
        print(
            f"{sys.executable}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}",
            file=sys.stderr,
        )
        sys.exit(2)
    _set_first_path(os.path.dirname(os.path.realpath(path)))
    loader: SourceFileLoader | SourcelessFileLoader
    if path.endswith(".pyc"):
        loader = SourcelessFileLoader("__main__", path)
        code = _code(loader, "__main__")
    else:
        loader = SourceFileLoader("__main__", path)
        code = compile(source, path, "exec", dont_inherit=True)
    return code, {"__file__": path, "__loader__": loader, "__package__": None, "__cached__": None}


def _module(name: str) -> tuple[CodeType, dict[str, Any]]:
    """The code of a module, or of a package's __main__; the main module's attributes."""
    _set_first_path(os.getcwd())
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            name += ".__main__"
            spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise
        spec = None
    if spec is None:
        sys.exit(f"{sys.executable}: No module named {name}")
    return _from_spec(spec)


def _from_spec(spec: ModuleSpec) -> tuple[CodeType, dict[str, Any]]:
    return _code(spec.loader, spec.name), {
        "__file__": spec.origin,
        "__loader__": spec.loader,
        "__package__": spec.parent,
        "__cached__": spec.cached,
        "__spec__": spec,
    }


def _code(loader: Any, name: str) -> CodeType:
    code: CodeType | None = loader.get_code(name)
    if code is None:
        sys.exit(f"{sys.executable}: No code object available for {name}")
    return code
