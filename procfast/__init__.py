"""multiprocessing, faster and safe from killed processes.

`import procfast as multiprocessing` is all there is to it: every name and every submodule is here.
`procfast.install()` does the same for programs that say `import multiprocessing`.

backend        the backend in use: "native" (queues and processes in C) or "stdlib" (multiprocessing itself)
backend_error  why no better backend is in use, or None
features       what the backend promises beyond multiprocessing
get_context    get_context(method=None, backend=None): both backends can be used side by side
info           what runs here, and why
usable_cpus    how many CPUs this process may keep busy: affinity and the quota of its container count
"""

import multiprocessing

from . import _backend, _submodules
from ._version import __version__ as __version__

_submodules.alias(__name__)
_chosen, backend_error = _backend.choose()
globals().update(_chosen.names)

__all__ = [*_chosen.names, "backend_error", "info", "install", "uninstall", "usable_cpus"]


def install() -> None:
    """Make `multiprocessing` answer with procfast's objects, on the backend that procfast uses.

    The module object `multiprocessing` and its submodules stay the same; what changes is what they
    give: `multiprocessing.Queue()`, `multiprocessing.get_context("spawn").Process`,
    `concurrent.futures.ProcessPoolExecutor()`, ... Modules imported earlier are affected, because they
    look these names up when they use them. A name copied earlier by `from multiprocessing import Queue`
    keeps meaning the standard library's.

    Processes started from here by any start method install procfast as well, before they import
    the main module. The start method in force stays in force.

    Calling it again does nothing. `uninstall` goes back; `procfast.stdlib` has the originals meanwhile.
    """
    from . import _install

    _install.install()


def uninstall() -> None:
    """Undo `install`: `multiprocessing` is the standard library's own again.

    Objects made meanwhile go on working, and so do names copied by `from multiprocessing import ...`.
    Children that run already keep what they have. Does nothing where nothing is installed.
    """
    from . import _install

    _install.uninstall()


def info() -> dict[str, object]:
    """What runs here, and why: versions, the backend, the kernel's features, object by object.

    `python -m procfast info` prints it. Probing opens a few descriptors for a moment.
    """
    from .cli.info import collect

    return collect()


def usable_cpus() -> int:
    """How many CPUs this process may keep busy, at least 1: the default number of a Pool's workers.

    It is the least of `cpu_count()`, the number of CPUs that the calling thread may run on (affinity, cpusets) and the
    CPU quota, rounded up, of the process's cgroup and of each around it that its /proc and mounts show (version 1 and
    2). Where Python was told a number (3.13: `-X cpu_count=`, PYTHON_CPU_COUNT), it is that. Read anew at each call,
    in less than a millisecond.
    """
    from ._cpus import usable_cpus

    return usable_cpus()


def __getattr__(name: str) -> object:
    """What multiprocessing has beside its public names: submodules that are loaded, constants."""
    if name in _submodules.OWN and hasattr(multiprocessing, name):
        import importlib

        return importlib.import_module(f".{name}", __name__)
    try:
        return getattr(multiprocessing, name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
