"""The standard library's SharedMemory and ShareableList, with procfast's additions: `track=` everywhere, `reserve=`."""

from __future__ import annotations

import os
import types
from collections.abc import Callable
from multiprocessing import shared_memory
from typing import TYPE_CHECKING, Any

from .._twin import Twin, original

__all__ = ["ShareableList", "SharedMemory"]

if TYPE_CHECKING:
    from multiprocessing.shared_memory import SharedMemory as _Original
else:
    _Original = original(shared_memory.SharedMemory)


def _untracked(function: Any) -> Callable[..., None]:
    """The original's own code, where the resource tracker is nobody: Python before 3.13 has no track=."""
    nobody = types.SimpleNamespace(register=lambda *_: None, unregister=lambda *_: None)
    space = vars(shared_memory) | {"resource_tracker": nobody}
    made = types.FunctionType(function.__code__, space, function.__name__, function.__defaults__)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


_init_untracked = _untracked(_Original.__init__)
_unlink_untracked = _untracked(_Original.unlink)


class SharedMemory(_Original, metaclass=Twin):
    """`multiprocessing`'s SharedMemory.

    track=False keeps it from the resource tracker, which removes what is tracked when the process that attached to it
    or created it has ended, with all that share its tracker. reserve=True allocates all of its memory at creation, or
    raises OSError (ENOSPC); else a store may find none later, and the process is killed (SIGBUS).
    """

    def __init__(
        self,
        name: str | None = None,
        create: bool = False,
        size: int = 0,
        *,
        track: bool = True,
        reserve: bool = False,
    ) -> None:
        self._track = track
        (_Original.__init__ if track else _init_untracked)(self, name, create, size)
        self._track = track  # from Python 3.13 on the original sets it, too
        if create and reserve and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self._fd, 0, self._size)
            except OSError:
                self.close()
                self.unlink()
                raise

    def unlink(self) -> None:
        """Remove the name, for all processes; who has it attached keeps its access."""
        (_Original.unlink if self._track else _unlink_untracked)(self)


class ShareableList(shared_memory.ShareableList, metaclass=Twin):
    __doc__ = shared_memory.ShareableList.__doc__
