"""What becomes of named segments whose owner is gone: sweeping, and leaving in order.

Apart from `shared_memory`, so that it costs little to those who never make one.
"""

from __future__ import annotations

import contextlib
import multiprocessing.process
import os
import time
import warnings
from multiprocessing import util

from . import _native

__all__ = ["answer", "prepare", "sweep"]

_DIRECTORY = "/dev/shm"
_PERIOD = 10.0  # seconds between two sweeps of one process

_PAUSES = (0, 0.001, 0.004, 0.016)  # before each look: another process may be looking for a moment

_answering = 0  # the process that has the exit function


def answer() -> None:
    """Have what this process or its children leave behind looked after at its exit."""
    global _answering
    if _answering != os.getpid():
        _answering = os.getpid()
        util.Finalize(None, _leave, exitpriority=-1)  # when the children have been joined


def prepare() -> None:
    """To be called before a segment is created: sweeps at the first one of a process, and later when it is time."""
    if _native.segment_look(_PERIOD):
        answer()
        sweep()


def sweep(names: list[bytes] | None = None) -> list[str]:
    """Remove the tracked segments of this user whose owners are dead and which nobody uses; answers their names.

    Spared is what anybody has open or mapped, what was created with track=False or by another library, and what belongs
    to another user. Any number of processes may sweep at once.
    """
    swept: list[str] = []
    if not _native.segment_owner():
        return swept
    busy = _names() if names is None else names
    for pause in _PAUSES:
        time.sleep(pause)
        found = {name: _native.segment_sweep(name) for name in busy}
        swept += [os.fsdecode(name) for name, done in found.items() if done]
        busy = [name for name, done in found.items() if done is None]
        if not busy:
            break
    return swept


def _names() -> list[bytes]:
    try:
        names = os.listdir(os.fsencode(_DIRECTORY))
    except OSError:
        return []  # there is no such place here, or not for us
    return [name for name in names if not name.startswith(b"sem.")]


def _leave() -> None:
    """At exit: what is this process's own goes to the process that started it, as long as that one lives.

    Else this is the last of its group, and removes what nobody uses.
    """
    owner = _native.segment_owner()
    if not owner:
        return  # there are no records
    parent = multiprocessing.process.parent_process()
    heir = _native.segment_owner_of(parent.pid) if parent and parent.pid else 0
    removed = []
    for name in _names():
        if _native.segment_recorded(name) != owner:
            continue
        if heir:
            _native.segment_give(name, owner, heir)
        elif _native.segment_sweep(name, owner) or _remove_own(name):
            removed.append(os.fsdecode(name))
    if removed:
        warnings.warn(
            f"{len(removed)} shared memory segments were never unlinked; removed at exit: {', '.join(removed)}",
            stacklevel=2,
        )


def _remove_own(name: bytes) -> bool:
    """Remove a segment that this process still has open, if no other one has."""
    try:
        status = os.stat(os.path.join(os.fsencode(_DIRECTORY), name))
        mark = (
            f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x} {status.st_ino} ".encode()
        )
        for pid in os.listdir("/proc"):
            if pid.isdigit() and int(pid) != os.getpid():
                # of others' processes we see nothing: they are not let into a file of mode 0600
                with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", "rb") as maps:
                    if mark in maps.read():
                        return False
        _native.segment_unlink(name, True)
    except OSError:
        return False  # gone meanwhile
    return True
