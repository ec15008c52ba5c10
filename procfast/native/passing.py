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
