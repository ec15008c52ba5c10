"""Contexts: one per backend and start method, and the default one that `set_start_method` moves.

All are real `multiprocessing.context.BaseContext`s. Which start method is the default is one fact per
process, kept where the standard library keeps it: so `multiprocessing.spawn`, which sets it in a new
child, sets it for procfast as well, and code that uses both packages never sees two answers.

Every other name is the chosen backend's (`ForkContext`, `Process`, ...) or `multiprocessing.context`'s.
"""

from __future__ import annotations

import multiprocessing.context
import signal
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess

from . import _backend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, ClassVar

__all__ = ()  # as in multiprocessing.context

# What `install` replaces, as it was: the holder of the default start method, and the contexts.
ORIGINAL = multiprocessing.context._default_context
CONCRETE = dict(multiprocessing.context._concrete_contexts)


class BackendContext(BaseContext):
    """What the contexts of every backend have beyond `multiprocessing`'s."""

    backend: ClassVar[str]
    """The name of the backend: "native", "stdlib"."""

    features: ClassVar[frozenset[str]]
    """What the backend promises beyond `multiprocessing`."""

    Process: ClassVar[Any]

    def Pool(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
    ) -> Any:
        """A pool of `processes` workers (None: `procfast.usable_cpus()`, at most as many as multiprocessing takes)."""
        if processes is None:
            from ._cpus import usable_cpus

            processes = usable_cpus()
        return super().Pool(processes, initializer, initargs, maxtasksperchild)

    def get_context(self, method: str | None = None, backend: str | None = None) -> Any:
        """The context of a start method (None: this one's) on a backend (None: this one's).

        Raises ValueError for an unknown start method or backend, BackendError where the backend does
        not load.
        """
        if method is None and backend in (None, self.backend):
            return super().get_context(None)
        if method is None:
            method = self.get_start_method()
        context = _backend.load(backend or self.backend).contexts.get(method)
        if context is None:  # one that others have registered, e.g. loky's
            return super().get_context(method)
        context._check_available()
        return context


class DefaultContext(BackendContext, multiprocessing.context.DefaultContext):
    """Passes everything on to the context of the default start method, on its own backend."""

    def __init__(self) -> None:
        """Has no state of its own: see `_actual_context`."""

    @property
    def _default_context(self) -> BaseContext:
        return self._from_original(ORIGINAL._default_context)

    @property
    def _actual_context(self) -> BaseContext | None:
        context = ORIGINAL._actual_context
        return context if context is None else self._from_original(context)

    @_actual_context.setter
    def _actual_context(self, context: BaseContext | None) -> None:
        name = getattr(context, "_name", None)
        if context is not None and context is _backend.load(self.backend).contexts.get(name):
            context = CONCRETE[name]
        ORIGINAL._actual_context = context

    def _from_original(self, context: BaseContext) -> BaseContext:
        """This backend's twin of a context of the standard library; others stand for themselves."""
        name = context._name
        if isinstance(context, BackendContext) or context is CONCRETE.get(name):
            return _backend.load(self.backend).contexts.get(name, context)
        return context


class InterruptibleProcess(BaseProcess):
    """What the processes of every backend have beyond `multiprocessing`'s."""

    def interrupt(self) -> None:
        """Send SIGINT to the process: in Python code it raises KeyboardInterrupt there.

        Does nothing to a process that has ended. As `Process.interrupt` of Python 3.14.
        """
        self._check_closed()
        self._popen._send_signal(signal.SIGINT)


def public_names(context: BaseContext) -> dict[str, Any]:
    """The names that a package which answers as `multiprocessing` exports: those of its context."""
    return {name: getattr(context, name) for name in dir(context) if not name.startswith("_")}


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # the import system looks for __path__ before there is a backend
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    chosen, _ = _backend.choose()
    name = {"_default_context": "default_context", "_concrete_contexts": "contexts"}.get(name, name)
    try:
        return getattr(chosen, name)
    except AttributeError:
        return getattr(multiprocessing.context, name)
