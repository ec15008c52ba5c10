"""Descriptors on their way to another process."""

from __future__ import annotations

import os
from collections.abc import Callable
from multiprocessing import context, reduction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Kept:
    """A descriptor that lives as long as this."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


def keep(fd: int) -> Any:
    """Pickles a descriptor for the child that is being started; fd is this function's from here on.

    What the arena calls by that number may be another thing a moment later, so the launcher holds a duplicate:
    until the child has it (our own launchers call `handed_over`), or at most as long as itself.
    """
    popen = context.get_spawning_popen()
    popen.__dict__.setdefault("_kept", []).append(_Kept(fd))
    return reduction.DupFd(fd)


def handed_over(popen: Any) -> None:
    """The child has its descriptors: `popen` need not keep them."""
    popen.__dict__.pop("_kept", None)


def own(passed: Any, use: Callable[[int], Any]) -> Any:
    """What use() makes of a descriptor that was passed, which is its own then, or closed."""
    fd = passed.detach()
    try:
        os.set_inheritable(fd, False)
    except BaseException:
        os.close(fd)
        raise
    return use(fd)


class Remote:
    """Pickles as a call of a function of this package, for a new process that may not find it yet.

    Until a process of spawn is told its `sys.path`, it has its interpreter's. The function runs with the `path` that
    it will have; what it returns takes the object's place.
    """

    _program = """
import importlib, sys
own, sys.path = sys.path, path
try:
    result = getattr(importlib.import_module(name), function)(*args)
finally:
    sys.path = own
"""

    def __init__(self, path: list[str], module: str, function: str, *args: Any) -> None:
        home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        self._names = {
            "path": [*path, home],
            "name": f"{__package__}.{module}",
            "function": function,
            "args": args,
            "program": self._program,
        }

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, dict[str, Any]]]:
        return eval, ("exec(program) or result", self._names)
