"""`python -m procfast info` and `procfast.info()`: what runs here, and why."""

from __future__ import annotations

import argparse
import errno
import importlib
import json
import os
import platform
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import procfast
from procfast import _backend

FACTORIES = (
    "Queue",
    "SimpleQueue",
    "JoinableQueue",
    "Pipe",
    "Lock",
    "RLock",
    "Semaphore",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "Barrier",
    "Value",
    "Array",
    "RawValue",
    "RawArray",
    "SharedMemory",
    "ShareableList",
    "Pool",
    "Manager",
)


def collect() -> dict[str, Any]:
    """See `procfast.info`."""
    native = sys.modules.get(f"{procfast.__name__}.native._native")
    return {
        "procfast": procfast.__version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "backend": procfast.backend,
        "why": _why(),
        "extension": native.__file__ if native else "not loaded",
        "usable CPUs": f"{procfast.usable_cpus()} of {os.cpu_count()}",
        "start method": procfast.get_start_method(allow_none=True)
        or f"{procfast.get_all_start_methods()[0]} (not set yet)",
        "features": sorted(procfast.features),
        "kernel": _kernel(),
        "objects": _objects(),
    }


def _why() -> str:
    if procfast.backend_error:
        return procfast.backend_error
    if wanted := os.environ.get("PROCFAST_BACKEND"):
        return f"PROCFAST_BACKEND={wanted}"
    return "the first choice, and it loads"


def _objects() -> dict[str, str]:
    """{name: backend}: whose code makes the objects of that name, and starts the processes."""
    made_by = {}
    for method in procfast.get_all_start_methods():
        made_by[f"Process ({method})"] = _owner(procfast.get_context(method).Process._Popen)
    context = type(procfast.get_context(procfast.get_all_start_methods()[0]))
    return made_by | {name: _owner(getattr(context, name)) for name in FACTORIES}


def _owner(function: Callable[..., object]) -> str:
    module = function.__module__.split(".")
    own = module[0] == procfast.__name__ and module[1] in _backend.BACKENDS
    return module[1] if own else "stdlib"


def _kernel() -> dict[str, str]:
    """{mechanism: "yes" or why not}. What native code works with; probed, as a sandbox may refuse it."""
    found = {}
    for name, probe in PROBES.items():
        try:
            probe()
        except (AttributeError, ImportError):
            found[name] = "unknown to this Python"
        except OSError as error:
            found[name] = f"no ({errno.errorcode.get(error.errno or 0, error)})"
        else:
            found[name] = "yes"
    native = sys.modules.get(f"{procfast.__name__}.native._native")
    if native is not None:
        found |= {
            name: "yes" if there else "no" for name, there in native.kernel_features().items()
        }
    return found


def _ofd_lock() -> None:
    import fcntl  # not on Windows

    with tempfile.TemporaryFile() as file:
        lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, lock)


PROBES: dict[str, Callable[[], None]] = {
    "memfd": lambda: os.close(os.memfd_create("procfast-info")),
    "eventfd": lambda: os.close(os.eventfd(0)),
    "pidfd": lambda: os.close(os.pidfd_open(os.getpid())),
    "open file description locks": _ofd_lock,
}


def parser() -> argparse.ArgumentParser:
    """The command line of `info`."""
    made = argparse.ArgumentParser(
        prog="python -m procfast info",
        description="Say which backend of procfast runs here and why, which mechanisms the kernel offers, "
        "and object by object what is native and what the standard library's.",
    )
    made.add_argument("--json", action="store_true", help="for programs")
    made.add_argument(
        "--sweep",
        action="store_true",
        help="instead, remove the shared memory segments that killed processes of yours have left in /dev/shm, "
        "and say which; those that anybody uses, of other users, of other libraries or made with track=False stay",
    )
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the command; answers its exit status."""
    options = parser().parse_args(argv)
    if options.sweep:
        return _sweep(options.json)
    found = collect()
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(_lines(found)))
    return 0


def _sweep(as_json: bool) -> int:
    try:
        _backend.load("native")  # only its segments carry records
    except ImportError as error:
        print(error, file=sys.stderr)
        return 1
    names = importlib.import_module("procfast.native.segments").sweep()
    if as_json:
        print(json.dumps({"swept": names}))
    else:
        print("\n".join([f"swept {name}" for name in names] or ["nothing to sweep"]))
    return 0


def _lines(found: dict[str, Any], indent: str = "") -> Iterator[str]:
    width = max(map(len, found)) + 2
    for name, value in found.items():
        if isinstance(value, dict):
            yield f"{indent}{name}"
            yield from _lines(value, indent + "  ")
        else:
            text = ", ".join(value) if isinstance(value, list) else value
            yield f"{indent}{name:<{width}}{text}"
