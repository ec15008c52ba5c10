"""What the fork server imports before it forks.

A child of the fork server runs the main module again, and most of that time goes into the imports with which the
module begins. The server makes these once. That shall show in nothing but the time, so it makes only those that
come before anything else the module does, in their order, and the row ends at an import that fails, or does more
than define things: it has left a thread, a child process, a descriptor, a signal handler, another directory, a
seeded generator of random numbers. A server to which this has happened begins anew, by exec, without that import.
Each child makes the rest itself.

Modules that the program has named by `set_forkserver_preload` are imported as they are, unless they leave a thread:
no process may be forked beside one.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import gc
import importlib.util
import os
import pickle
import pkgutil  # noqa: F401 - a child would import it to run the main module
import random
import runpy
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from multiprocessing import process, spawn, util
from types import CodeType, ModuleType
from typing import Any, BinaryIO, NoReturn

from . import connection, queues, sharedctypes, synchronize  # noqa: F401 - what children are given

Step = tuple[str, Callable[[], object]]  # what tells it from the others, and what to do


def preload(file: BinaryIO, control: int) -> Callable[[], None]:
    """Follow the order in a file. What it returns is to be called in each child.

    `control` is the one other descriptor that this process needs if it has to begin anew.
    """
    order = pickle.load(file)
    prepare = pickle.loads(order["prepare"])  # installs procfast, where its program has
    util._close_stdin()
    sys.argv = prepare["sys_argv"]
    process.ORIGINAL_DIR = prepare["orig_dir"]
    state = _State(file, control, order)
    here = process.current_process()
    here.name = "forkserver"  # programs ask whether it is "MainProcess"
    here._inheriting = True  # as in a child, which must not start processes now
    try:
        if "__main__" in order["preload"] and not order["whole_main"]:
            with contextlib.suppress(
                Exception
            ):  # no source, for one; each child will look for itself
                for name, step in _imports_of_main(prepare, order["hint"]):
                    if name in order["spoilt"] or not state.take(name, step):
                        break
        for name, step in _named(order["preload"], order["whole_main"], prepare):
            if name not in order["spoilt"]:
                state.take_named(name, step)
    finally:
        del here._inheriting
    util._flush_std_streams()
    gc.collect()  # once here, and not in each child
    return _fresh_numbers


def _named(names: list[str], whole_main: bool, prepare: dict[str, Any]) -> Iterator[Step]:
    for name in names:
        if name != "__main__":
            yield name, functools.partial(__import__, name)
        elif whole_main and "init_main_from_name" in prepare:
            yield name, lambda: spawn._fixup_main_from_name(prepare["init_main_from_name"])
        elif whole_main and "init_main_from_path" in prepare:
            yield name, lambda: spawn._fixup_main_from_path(prepare["init_main_from_path"])


# -- the main module ------------------------------------------------------------------------------


def _imports_of_main(prepare: dict[str, Any], hint: list[str]) -> Iterator[Step]:
    """The imports with which a child begins."""
    name: str | None = prepare.get("init_main_from_name")
    path: str | None = prepare.get("init_main_from_path")
    if name is not None and name != "__main__" and not name.endswith(".__main__"):
        package = name.rpartition(".")[0]
        if package:
            yield package, functools.partial(__import__, package)
        spec = importlib.util.find_spec(name)
        source = spec and spec.loader and spec.loader.get_source(name)
        if spec and spec.origin and source:
            yield from _imports_of(source, spec.origin, package)
    elif (
        name is None
        and path is not None
        and os.path.basename(path) not in ("ipython", "ipython.py")
    ):
        yield from _imports_of(_compile_main(path), path, "")
    else:  # it is not run again: a child begins by unpickling its Process
        for module in hint:
            if module not in ("__main__", "__mp_main__"):
                yield module, functools.partial(__import__, module)


_main: tuple[str, tuple[int, ...], CodeType] | None = None  # path, identity of the file, code


def _compile_main(path: str) -> bytes:
    """The source of the main module, compiled once for all children."""
    global _main
    with open(path, "rb") as file:
        identity = _identity(os.fstat(file.fileno()))
        source = file.read()
    _main = path, identity, compile(source, path, "exec", dont_inherit=True)
    return source


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def run_main(path: str) -> None:
    """What `spawn.import_main_path` does, without reading and compiling a file that has not changed."""
    if _main is None or _main[:2] != (path, _identity(os.stat(path))):
        spawn.import_main_path(path)
        return
    before = sys.modules["__main__"]
    if getattr(before, "__file__", None) == path:
        return  # the server has run it
    spawn.old_main_modules.append(before)
    module = ModuleType("__mp_main__")
    module.__dict__.update(
        runpy._run_module_code(_main[2], None, "__mp_main__", pkg_name="", script_name=path)
    )
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module


def _imports_of(source: str | bytes, path: str, package: str) -> Iterator[Step]:
    sys.argv = [path, *sys.argv[1:]]
    space: dict[str, Any] = {
        "__name__": "__mp_main__",
        "__package__": package,
        "__file__": path,
    }
    for node in _leading(ast.parse(source, path).body, space):
        code = compile(ast.Module([node], []), path, "exec", dont_inherit=True)
        yield f"line {node.lineno}", functools.partial(exec, code, space)


def _leading(body: list[ast.stmt], space: dict[str, Any]) -> Iterator[ast.stmt]:
    """The statements up to the first that does anything else than import, or set a name to a constant."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom) or _is_constant(node):
            yield node
        elif isinstance(node, ast.Try) and _tries_imports(node):
            yield from node.body
        elif not _has_been_done(node, space):
            return


def _is_constant(node: ast.stmt) -> bool:
    """A docstring, `DEBUG = False`."""
    if isinstance(node, ast.Assign):
        if not all(isinstance(target, ast.Name) for target in node.targets):
            return False
    elif not isinstance(node, ast.Expr):
        return False
    try:
        ast.literal_eval(node.value)
    except (ValueError, TypeError):
        return False
    return True


def _tries_imports(node: ast.Try) -> bool:
    """`try: import x` and then whatever for an exception. The row ends there if one comes."""
    imports = all(isinstance(each, ast.Import | ast.ImportFrom) for each in node.body)
    return imports and not node.orelse and not node.finalbody


def _has_been_done(node: ast.stmt, space: dict[str, Any]) -> bool:
    """What has had its effect on this process, as this has come from one that has done it; and what has none."""
    match node:
        case ast.If(ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"), _, []):
            return True
        case ast.Expr(ast.Call(ast.Attribute(ast.Attribute(ast.Name("sys"), "path")))):
            return space.get("sys") is sys
        case ast.Expr(ast.Call(ast.Attribute(ast.Name("procfast"), "install"), [], [])):
            from .. import _install

            return "procfast" in space and bool(_install._undo)
        case ast.Assign(
            [ast.Subscript(ast.Attribute(ast.Name("os"), "environ"), ast.Constant(key))],
            ast.Constant(value),
        ) | ast.Expr(
            ast.Call(
                ast.Attribute(ast.Attribute(ast.Name("os"), "environ"), "setdefault"),
                [ast.Constant(key), ast.Constant(value)],
                [],
            )
        ):
            set_here = os.environ.get(key) if isinstance(key, str) else None
            same = set_here == value if isinstance(node, ast.Assign) else set_here is not None
            return space.get("os") is os and same
    return False


# -- what an import leaves ------------------------------------------------------------------------


class _State:
    """What this process was like before it imported anything."""

    def __init__(self, file: BinaryIO, control: int, order: dict[str, Any]) -> None:
        self.file, self.control, self.order = file, control, order
        self.environ = dict(os.environ)
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        self.handlers = _handlers()
        self.descriptors = _descriptors()
        self.cwd = os.getcwd()
        self.random = random.getstate()

    def take(self, name: str, step: Callable[[], object]) -> bool:
        """Make an import; False: no more after it."""
        try:
            step()
        except BaseException:  # each child will meet with it, and report it
            return False
        finally:
            if self.threads() or self.rest():
                self.again(name)
        return True

    def take_named(self, name: str, step: Callable[[], object]) -> None:
        """Make an import that the program has asked for."""
        try:
            step()
        except BaseException as error:  # as in the standard library's
            if self.order["on_error"] == "fail":
                raise
            if not isinstance(error, ImportError):
                sys.excepthook(*sys.exc_info())
            elif self.order["on_error"] == "warn":
                warnings.warn(
                    f"Failed to preload module {name!r}: {error}", ImportWarning, stacklevel=1
                )
        if self.threads():
            warnings.warn(
                f"the fork server does not import {name} in advance: it starts a thread",
                stacklevel=1,
            )
            self.again(name)

    def threads(self) -> bool:
        """Are there other threads that a fork does not end? Those of OpenBLAS, for one, end for it."""
        if _threads() == 1:
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                pid = os.fork()
            except OSError:
                return True
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        return _threads() > 1

    def rest(self) -> bool:
        """Has anything else been left that each child should have its own of?"""
        return (
            _has_children()
            or _descriptors() != self.descriptors
            or _handlers() != self.handlers
            or os.getcwd() != self.cwd
            or random.getstate() != self.random
            or _numpy_is_seeded()
        )

    def again(self, name: str) -> NoReturn:
        """Begin anew, without one import."""
        util._flush_std_streams()
        self.order["spoilt"].append(name)
        order = pickle.dumps(self.order)
        self.file.seek(0)
        self.file.truncate()
        self.file.write(order)
        self.file.seek(0)
        for fd in _descriptors() - self.descriptors:
            os.set_inheritable(fd, False)
        for fd in (self.file.fileno(), self.control):
            os.set_inheritable(fd, True)
        for number, handler in self.handlers.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
        try:
            os.chdir(self.cwd)
            os.execve(sys.orig_argv[0], sys.orig_argv, self.environ)
        finally:
            os._exit(1)  # it did not work; the next server will not try


def _threads() -> int:
    """Those of C code, too, where the system tells."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


def _has_children() -> bool:
    if not hasattr(os, "waitid"):  # macOS, before Python 3.13
        return False
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _descriptors() -> set[int]:
    for directory in ("/proc/self/fd", "/dev/fd"):
        try:
            with os.scandir(directory) as entries:
                own = {int(entry.name) for entry in entries}
            break
        except OSError:
            continue
    else:
        return set()
    return {fd for fd in own if _is_open(fd)}  # not that of the look itself


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _numpy_is_seeded() -> bool:
    """Has NumPy's global generator been given a seed?"""
    module = sys.modules.get("numpy.random.mtrand")
    if module is None:
        return False
    try:
        return module._rand._bit_generator._seed_seq is None
    except AttributeError:
        return False  # another version of NumPy


def _fresh_numbers() -> None:
    """Give NumPy's global generator a seed of this process's own, as an import does."""
    numpy = sys.modules.get("numpy")
    if "numpy.random.mtrand" in sys.modules and numpy is not None and not _numpy_is_seeded():
        numpy.random.seed(numpy.frombuffer(os.urandom(64), numpy.uint32))
