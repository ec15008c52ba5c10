"""SharedMemory that outlives no group of processes, and that no process's exit takes from another.

The segments are plain files of /dev/shm, as the standard library's: either side attaches to the other's. A tracked one
carries a record of the process that answers for it; who finds that process dead, and nobody using the segment, removes
it (`csrc/include/procfast/named_shm.h`). No tracker process is needed, and attaching leaves no duty behind.
"""

from __future__ import annotations

import errno
import types
from multiprocessing import resource_tracker, shared_memory
from typing import TYPE_CHECKING

from .._twin import ExactTwin, original
from . import _native, segments

__all__ = ["ShareableList", "SharedMemory"]

if TYPE_CHECKING:
    from multiprocessing.shared_memory import SharedMemory as _Original
else:
    _Original = original(shared_memory.SharedMemory)

_known: dict[str, bool] = {}  # names that this process has native access to: {_name: created here}
_KNOWN_MOST = 4096


class SharedMemory(_native.Segment, _Original, metaclass=ExactTwin):
    """Memory with a name, of `size` bytes, by which other processes attach to it: `multiprocessing`'s SharedMemory.

    create=True makes a new one, called `name` or by a name of its own; otherwise one called `name` is attached to.
    FileExistsError, FileNotFoundError, ValueError for a bad size; OSError (ENOSPC) where /dev/shm has too little room.
    Up to 1 MiB the memory is allocated at once, with reserve=True all of it. A larger one gets it page by page when it
    is written to; if /dev/shm is full by then, the writer is killed (SIGBUS).

    track=True: when the process that created it has died without unlink() and nobody has it attached, it is removed by
    the next process of this user that creates one. track=False: it stays until somebody calls unlink(). Both are
    settled at creation; who attaches never is the cause of a removal.

    close() gives up this object's access, unlink() removes the name.
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
        if type(self) is not SharedMemory:  # of a subclass, which called it by the name of its base
            options = {} if track else {"track": track}
            _Original.__init__(self, name, create, size, **options)
            return
        if not size >= 0:
            raise ValueError("'size' must be a positive integer")
        if create and size == 0:
            raise ValueError("'size' must be a positive number different from zero")
        if create:
            segments.prepare()
            own, fd = "", -1
            while fd < 0:
                own = shared_memory._make_filename() if name is None else "/" + name
                try:
                    fd = _native.segment_create(own, size, track, reserve)
                except OSError as error:
                    taken = error.errno == errno.EEXIST
                    if not (taken and name is None) and not _made_room(error, own):
                        raise
        elif name is None:
            raise ValueError("'name' can only be None if create=True")
        else:
            own = "/" + name
            fd, size = _native.segment_open(own)
        if len(_known) >= _KNOWN_MOST:
            _known.clear()  # all it costs is that resource_tracker.unregister(), if called, complains
        _known[own] = create
        try:
            self._hold(own, fd, size, track)
        except BaseException:
            if create:
                self.unlink()
            raise

    def unlink(self) -> None:
        """Remove the name, for all processes; who has it attached keeps its access.

        To be called once for a segment. FileNotFoundError where the name is not there any more.
        """
        if type(self) is not SharedMemory:
            _Original.unlink(self)
        elif self._name:
            _native.segment_unlink(self._name, self._fd >= 0)
            _known.pop(self._name, None)


def _made_room(error: OSError, name: str) -> bool:
    """Whether something was in the way whose owner is dead: it is not, then."""
    if error.errno == errno.EEXIST:
        return bool(segments.sweep([name.encode()]))
    return error.errno == errno.ENOSPC and bool(segments.sweep())


class ShareableList(shared_memory.ShareableList, metaclass=ExactTwin):
    __doc__ = shared_memory.ShareableList.__doc__

    # the original's own code, where it says SharedMemory
    __init__ = types.FunctionType(
        shared_memory.ShareableList.__init__.__code__,
        vars(shared_memory) | {"SharedMemory": SharedMemory},
        "__init__",
    )
    __init__.__kwdefaults__ = shared_memory.ShareableList.__init__.__kwdefaults__
    __init__.__defaults__ = shared_memory.ShareableList.__init__.__defaults__


_send = resource_tracker._resource_tracker._send


def _send_of_others(cmd: str, name: str, rtype: str) -> None:
    """What the resource tracker is told.

    It knows nothing of native segments, but programs that wanted to keep one from it before there was track=False call
    resource_tracker.unregister(shm._name, "shared_memory").
    """
    created = _known.get(name) if rtype == "shared_memory" else None
    if created is None:
        _send(cmd, name, rtype)
    elif created:
        mine = _native.segment_owner()
        _native.segment_give(name, *((mine, 0) if cmd == "UNREGISTER" else (0, mine)))


resource_tracker._resource_tracker._send = _send_of_others
