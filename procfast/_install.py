"""install(): `import multiprocessing` gives procfast's objects, here and in the processes started from here."""

from __future__ import annotations

import functools
import importlib
import multiprocessing
import multiprocessing.context
import os
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from . import _backend
from .context import CONCRETE, ORIGINAL, public_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_lock = threading.RLock()
_undo: list[Callable[[], None]] = []


def install() -> None:
    """See `procfast.install`."""
    with _lock:
        if _undo:
            return
        from multiprocessing import spawn  # here, as importing procfast should stay quick

        chosen, _ = _backend.choose()
        chosen.prepare_install()
        ours = chosen.names
        for module, name in _copies(ORIGINAL):
            _set(module, name, ours[name])
        _set(multiprocessing.context, "_default_context", chosen.default_context)
        registry = multiprocessing.context._concrete_contexts
        registry |= chosen.contexts
        _undo.append(lambda: registry.update(CONCRETE))
        _set(spawn, "get_preparation_data", _carrying_install(spawn.get_preparation_data))
        package = chosen.__name__.rpartition(".")[0]
        _set_when_loaded("multiprocessing.shared_memory", "SharedMemory", package)
        _set_when_loaded("multiprocessing.pool", "Pool", package)
        _set_when_loaded("multiprocessing.forkserver", "ensure_running", package)


def uninstall() -> None:
    """See `procfast.uninstall`."""
    with _lock:
        while _undo:
            _undo.pop()()


def _set(module: ModuleType, name: str, value: object) -> None:
    before = getattr(module, name)
    setattr(module, name, value)
    _undo.append(lambda: setattr(module, name, before))


def _set_when_loaded(module_name: str, name: str, package: str) -> None:
    """Set a name of a submodule that few programs load, now or when it is loaded.

    Ours is in the module of the same name of the backend's package.
    """

    our_name = module_name.replace("multiprocessing", package)
    waiting: list[_Late] = []

    def replace(_: ModuleType) -> None:
        module, ours = sys.modules.get(module_name), importlib.import_module(our_name)
        if module is not None and hasattr(
            ours, name
        ):  # else it is what imports the original right now
            _set(module, name, getattr(ours, name))
            for late in waiting:
                late.off = True

    if module_name in sys.modules:
        replace(sys.modules[module_name])
        return
    waiting += [_Late(module_name, replace), _Late(our_name, replace)]
    sys.meta_path[:0] = waiting
    for late in waiting:
        _undo.append(functools.partial(sys.meta_path.remove, late))


class _Late:
    """Finds one module as it is always found, and has a look at it when it is loaded."""

    def __init__(self, name: str, loaded: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._loaded = loaded
        self.off = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self._name:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                with _lock:
                    if self in sys.meta_path and not self.off:  # still installed
                        self._loaded(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _copies(context: Any) -> list[tuple[ModuleType, str]]:
    """Where the public names of the default context are: in multiprocessing, and in those of its
    submodules that are loaded and have imported them from it (`get_context` in pool, for instance)."""
    names = public_names(context)
    found = []
    for module_name, module in list(sys.modules.items()):
        if module_name == "multiprocessing" or (
            # multiprocessing.context is where the classes are: pickle finds them there by name
            module_name.startswith("multiprocessing.") and module_name != "multiprocessing.context"
        ):
            found += [
                (module, name)
                for name, value in names.items()
                if name in vars(module) and vars(module)[name] == value
            ]
    return found


class _InstallingPath(list[str]):
    """The `sys_path` that a new process is told, which installs procfast when it arrives there.

    A child of spawn or forkserver unpickles it before it imports anything else of the program's; the
    fork server itself is given its repr() as part of a command. Both then evaluate an expression.
    """

    def __repr__(self) -> str:
        home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        program = (
            "import sys\n"
            f"sys.path[:] = {list(self)!r}\n"  # else another procfast might be found in the working directory
            "try:\n"
            " import procfast\n"
            "except ModuleNotFoundError:\n"
            f" sys.path.append({home!r})\n"
            " import procfast\n"
            "procfast.install()\n"
        )
        return f"(exec({program!r}, {{}}) or {list(self)!r})"

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return eval, (repr(self),)


def _carrying_install(get_preparation_data: Callable[[str], dict[str, Any]]) -> Callable[..., Any]:
    @functools.wraps(get_preparation_data)
    def wrapper(name: str) -> dict[str, Any]:
        data = get_preparation_data(name)
        data["sys_path"] = _InstallingPath(data["sys_path"])
        return data

    return wrapper
