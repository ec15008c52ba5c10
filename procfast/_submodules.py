"""`procfast.X` for each submodule X of `multiprocessing` that procfast has no version of its own of.

It is not a copy: `procfast.queues` *is* the module object `multiprocessing.queues`. So there is one
`util` registry, one `process` state and one `ForkingPickler`, whichever name they are imported by.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any

# the submodules of multiprocessing that procfast has its own version of
OWN = frozenset({"context", "pool", "shared_memory", "sharedctypes"})

# those that multiprocessing has nothing like, and need not be asked for
ALONE = frozenset({"abc", "cli", "exceptions", "futures", "native", "posix", "stdlib"})


class _SameModule:
    """A loader that hands the import system a module which exists already.

    Not an importlib.abc.Loader: that module is slow to import, and nothing here needs it.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        __import__(self._name)
        module = sys.modules[self._name]
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has just put ours there


class _Finder:
    """Finds the submodules that only multiprocessing has."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, tail = name.partition(".")
        if package != self._package or tail in OWN or tail in ALONE or tail[:1] in ("", "_"):
            return None
        parent = sys.modules[name.rpartition(".")[0]].__name__
        if parent != package and not parent.startswith("multiprocessing."):
            return None  # below a package of procfast's own
        import importlib.util  # here, as importing procfast should stay quick
        from importlib.machinery import ModuleSpec

        found = importlib.util.find_spec(f"multiprocessing.{tail}")
        if found is None:
            return None
        loader: Any = _SameModule(found.name)
        return ModuleSpec(name, loader, is_package=bool(found.submodule_search_locations))


def alias(package: str) -> None:
    """Make the submodules of multiprocessing importable below `package`."""
    # in front: the usual finder would follow the __path__ of an aliased package to a second copy
    sys.meta_path.insert(0, _Finder(package))
