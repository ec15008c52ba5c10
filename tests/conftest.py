"""Every test runs in every cell of backend x start method, and leaves nothing behind.

`ctx` is a context of one cell (`native-fork`); `local` is one of each backend, for what starts no
process. `--backend` and `--start-method` deselect; nothing here ever skips, so a missing native
module is an error.
"""

import contextlib
import faulthandler
import gc
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import forkserver, resource_sharer, resource_tracker
from pathlib import Path
from typing import Any, ClassVar

import pytest
import supervisor
from deviations import DEVIATIONS

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
BACKENDS = ("native", "stdlib")
METHODS = ("fork", "spawn", "forkserver")
LIMIT = 60.0  # seconds a test may take, without a mark of its own
collect_ignore = ["packaging", "release"]  # about no backend; need other extras (README.md)
_GRACE = 3.0  # seconds for what ends by itself after a test (a feeder thread, a closing child)


@dataclass(frozen=True)
class Backend:
    """One implementation; all that a test learns of it."""

    name: str

    @cached_property
    def module(self):
        import procfast

        return procfast

    def context(self, method: str | None = None):
        return self.module.get_context(method, backend=self.name)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Cell:
    backend: Backend
    method: str

    def __str__(self) -> str:
        return f"{self.backend}-{self.method}"


_REASONS = pytest.StashKey[list[str]]()
_TELL = pytest.StashKey[int]()
_FAILED = pytest.StashKey[bool]()

_BACKENDS = [Backend(name) for name in BACKENDS]
_CELLS = [Cell(backend, method) for backend in _BACKENDS for method in METHODS]


def pytest_addoption(parser):
    group = parser.getgroup("procfast")
    group.addoption("--backend", action="append", choices=BACKENDS, help="only this backend")
    group.addoption("--start-method", action="append", choices=METHODS, help="only this method")


@pytest.fixture(scope="session", params=_BACKENDS, ids=str)
def backend(request) -> Backend:
    return request.param


@pytest.fixture(scope="session", params=_CELLS, ids=str)
def cell(request) -> Cell:
    return request.param


@pytest.fixture
def ctx(cell):
    """A context of this cell."""
    return cell.backend.context(cell.method)


@pytest.fixture
def local(backend):
    """A context of this backend, for tests that start no process."""
    return backend.context("fork")


@pytest.fixture
def posix(backend):
    """procfast.posix as this backend has it."""
    return backend.module._backend.load(backend.name, "posix")


# -- which tests run ------------------------------------------------------------------------------


def _place(item) -> tuple[str | None, str | None]:
    params = item.callspec.params if hasattr(item, "callspec") else {}
    if cell := params.get("cell"):
        return cell.backend.name, cell.method
    chosen = params.get("backend")
    return (chosen.name, None) if chosen else (None, None)


def _deviation(item) -> str | None:
    backend, method = _place(item)
    for test in (item.name, getattr(item, "originalname", item.name)):
        for where in (backend, f"{backend}-{method}"):
            if (where, test) in DEVIATIONS:
                return f"{where}: {test}: {DEVIATIONS[where, test]}"
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    backends = config.getoption("backend") or BACKENDS
    methods = config.getoption("start_method") or METHODS
    kept, gone, reasons = [], [], {}
    for item in items:
        backend, method = _place(item)
        if item.path.parent.name == "native" and backend is None:
            backend = "native"
        if reason := _deviation(item):
            reasons[reason] = None
        elif backend in (None, *backends) and method in (None, *methods):
            kept.append(item)
            continue
        gone.append(item)
    if gone:
        config.hook.pytest_deselected(items=gone)
        items[:] = kept
    config.stash[_REASONS] = list(reasons)


def pytest_terminal_summary(terminalreporter, config):
    if reasons := config.stash.get(_REASONS, []):
        terminalreporter.section("cells that cannot hold, declared in tests/deviations.py")
        for reason in reasons:
            terminalreporter.write_line(reason)


# -- hangs ----------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    if config.option.collectonly or config.option.help or config.option.version:
        return
    faulthandler.register(supervisor.DUMP, file=os.fdopen(os.dup(2), "w"), all_threads=True)
    config.stash[_TELL] = supervisor.start()
    signal.signal(supervisor.HUNG, _hung)
    if (main := sys.modules["__main__"]).__spec__ is None:
        main.__file__ = None  # or each spawned child would run bin/pytest's file again
    # A job that a shell put in the background has SIGINT ignored, and so would the children have.
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _hung(signum, frame):
    pytest.fail("hung; the stacks of all its processes are above", pytrace=True)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    mark = item.get_closest_marker("limit")
    fd = item.config.stash[_TELL]
    supervisor.tell(fd, item.nodeid, mark.args[0] if mark else LIMIT, _helpers())
    try:
        return (yield)
    finally:
        supervisor.tell(fd, "", 0, set())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


# -- leaks ----------------------------------------------------------------------------------------


def _helpers() -> set[int]:
    """The standard library's own servants, which outlive a test by design."""
    pids = {forkserver._forkserver._forkserver_pid, resource_tracker._resource_tracker._pid}
    native = sys.modules.get("procfast.native.forkserver")
    if native and native._server:
        pids.add(native._server.pid)
    return {pid for pid in pids if pid} | {spare.pid for spare in _spares()}


def _spares() -> list:
    """The interpreter that the native backend keeps for the next start by spawn, if it does."""
    module = sys.modules.get("procfast.native.spare")
    return module._spares if module else []


def _descriptors() -> dict[str, str]:
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own
            path = os.readlink(f"/proc/self/fd/{fd}")
            if "/libffi.so" not in path:  # some builds of it keep their own file open
                found[fd] = path
    for spare in _spares():
        for fd in spare.filenos():
            found.pop(str(fd), None)
    return found


def _processes() -> dict[str, str]:
    """All below the supervisor but this process: children, and orphans of any depth."""
    keep = _helpers() | {os.getpid()}
    found = {}
    for proc in supervisor.descendants(os.getppid()):
        # a dead orphan waits for the supervisor, not for us
        if proc.pid not in keep and not (proc.state == "Z" and proc.ppid != os.getpid()):
            found[str(proc.pid)] = f"{supervisor.describe(proc.pid)} ({proc.state})"
    return found


def _mappings() -> Counter[str]:
    with open("/proc/self/maps") as file:
        return Counter(line.split(None, 5)[5].strip() for line in file if "/memfd:" in line)


def _belongings() -> dict[str, dict]:
    if native := sys.modules.get("procfast.native._native"):
        native._forget_idle_links()  # at most four of a kind, for the next pipes
    return {
        "descriptor": _descriptors(),
        "process": _processes(),
        "thread": {str(t.ident): t.name for t in threading.enumerate()},
        "name in /dev/shm": dict.fromkeys(os.listdir("/dev/shm"), ""),
        "mapping": _mappings(),
    }


def _surplus(before: dict[str, dict], after: dict[str, dict]) -> list[str]:
    lines = []
    for kind, now in after.items():
        was = before[kind]
        if isinstance(now, Counter):
            lines += [f"{kind} {what} x{n}" for what, n in (now - was).items()]
        else:
            lines += [
                f"{kind} {k} {v}"
                for k, v in now.items()
                if k not in was or (was[k] != v and kind != "process")  # whose state may change
            ]
    return lines


@pytest.fixture(scope="session", autouse=True)
def _servants():
    """Starts what the standard library keeps for good, so that no test is blamed for it."""
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(TESTS), str(ROOT) if _in_place() else "", os.environ.get("PYTHONPATH")])
    )
    forkserver.set_forkserver_preload(["workers"])
    forkserver.ensure_running()
    resource_tracker.ensure_running()
    import procfast

    with contextlib.suppress(ImportError):
        importlib.import_module("procfast.native.forkserver").ensure_running()
    for name in BACKENDS:
        with contextlib.suppress(ImportError):  # the test that needs it says so
            ctx = procfast.get_context("fork", backend=name)
            for factory in (ctx.Queue, ctx.SimpleQueue, ctx.JoinableQueue):
                factory().close()
            segment = ctx.SharedMemory(
                create=True, size=1
            )  # a lock that lives as long as the process
            segment.close()
            segment.unlink()
            for _ in range(2):  # what comes with the first locks, and with a fork after them, stays
                with ctx.Lock():
                    pass
                p = ctx.Process(
                    daemon=True
                )  # with the pipe by which such ones see this process end
                p.start()
                p.join()
                p.close()
    # the heap of shared values is for the life of the process, and keeps what it has
    _ = [multiprocessing.RawArray("b", size << 20) for size in (1, 1, 1, 3)]


def _in_place() -> bool:
    import procfast

    return Path(procfast.__file__).parent.parent == ROOT


@pytest.fixture(autouse=True)
def _clean(request, _servants) -> Iterator[None]:
    before = _belongings()
    yield
    end = time.monotonic() + _GRACE
    pause = 0.001
    passing: set[str] = (
        set()
    )  # /dev/shm is everybody's: what was not there at every look is not left behind
    seen: set[str] | None = None
    while True:
        gc.collect()
        multiprocessing.active_children()  # takes off those that have ended
        resource_sharer.stop(timeout=1)
        left = _surplus(before, _belongings())
        names = {line for line in left if line.startswith("name in /dev/shm")}
        passing |= set() if seen is None else names ^ seen
        seen = names
        left = [line for line in left if line not in passing]
        if not left or request.node.stash.get(_FAILED, False) or time.monotonic() > end:
            break
        time.sleep(pause)
        pause = min(2 * pause, 0.1)
    for pid in _processes():
        if pid not in before["process"]:
            supervisor.kill(int(pid))
    if left and not request.node.stash.get(_FAILED, False):
        pytest.fail("left behind:\n  " + "\n  ".join(left), pytrace=False)


# -- programs of their own ------------------------------------------------------------------------


@dataclass
class Program:
    """Runs Python in a fresh interpreter that can import the procfast under test."""

    cwd: Path

    def __call__(
        self,
        *args: str,
        env: dict[str, str] | None = None,
        timeout: float = 50.0,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("PROCFAST_")}
        done = subprocess.run(
            [sys.executable, *args], cwd=self.cwd, env=environ | (env or {}), text=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done


@pytest.fixture
def python(tmp_path) -> Program:
    return Program(tmp_path)


@pytest.fixture
def script(tmp_path):
    """Writes a program to a file and returns its path."""

    def write(text: str, name: str = "program.py") -> str:
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


BUFFERED = {"PYTHONUNBUFFERED": ""}  # whatever the developer has set


@dataclass
class Cellular:
    """Programs in which `ctx` is the context of this cell, and `run` is a process from start to end."""

    cell: Cell
    python: Program

    HEAD: ClassVar[str] = """\
import atexit, logging, multiprocessing, multiprocessing.connection, os, resource, signal, sys, threading, time
from multiprocessing import util
import procfast

ctx = procfast.get_context({cell.method!r}, backend={cell.backend.name!r})

def run(target, *args, **kwargs):
    p = ctx.Process(target=target, args=args, **kwargs)
    p.start()
    p.join()
    return p.exitcode

{functions}

if __name__ == "__main__":
{main}
"""

    def write(self, functions: str, main: str) -> str:
        """The path of the program."""
        functions = textwrap.dedent(functions)
        main = textwrap.indent(textwrap.dedent(main), "    ")
        path = self.python.cwd / "program.py"
        path.write_text(self.HEAD.format(cell=self.cell, functions=functions, main=main))
        return str(path)

    def __call__(
        self, functions: str, main: str, **kwargs: Any
    ) -> subprocess.CompletedProcess[str]:
        path = self.write(functions, main)
        return self.python(path, env=BUFFERED, **kwargs)

    def start(self, functions: str, main: str, **kwargs: Any) -> subprocess.Popen[str]:
        """Leads a session of its own; its standard output is a pipe."""
        return subprocess.Popen(
            [sys.executable, self.write(functions, main)], cwd=self.python.cwd, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True,
            env=os.environ | BUFFERED, **kwargs,
        )  # fmt: skip


@pytest.fixture
def program(cell, python) -> Cellular:
    return Cellular(cell, python)
