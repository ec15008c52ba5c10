"""SimpleQueue, Queue and JoinableQueue on a ring in anonymous shared memory.

They are instances of the standard library's classes and have their methods, but no pipe, no feeder thread
and no semaphores: `put` pickles in the caller and is done when it returns, so a process can end, or be
killed, at any time without losing what it had put and without blocking anybody else.
"""

from __future__ import annotations

import functools
import operator
import os
import threading
import types
from multiprocessing import context, queues, reduction

from . import _native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]

UNBOUNDED = 2**31 - 1  # what the standard library's _maxsize is without a maxsize (SEM_VALUE_MAX)


class End:
    """What `_reader` and `_writer` of a queue are: an end with the methods of a Connection.

    The reader takes from the queue, the writer puts into it. `fileno()` of the reader is readable whenever
    an item can be got (select, selectors, asyncio, `multiprocessing.connection.wait`); asking for it makes
    every later put and get a little slower.
    """

    def __init__(self, ring: _native.Ring, readable: bool) -> None:
        self._queue = (
            _native.RingQueue()
        )  # not the queue itself: the two would keep each other alive
        self._queue._open(ring)
        self.readable = readable
        self.writable = not readable
        self.closed = False

    def _check(self, allowed: bool, what: str) -> None:
        if self.closed:
            raise OSError("handle is closed")
        if not allowed:
            raise OSError(f"connection is {what}-only")

    def fileno(self) -> int:
        """The descriptor to select on (reader), or that of the shared memory (writer)."""
        self._check(True, "")
        ring = self._queue._ring
        return ring.arm() if self.readable else ring.fds()[0]

    @property
    def _handle(self) -> int | None:
        return None if self.closed else self.fileno()

    def recv(self) -> Any:
        """The next item, waiting for one."""
        self._check(self.readable, "write")
        return self._queue.get()

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """The next item as its pickle. OSError where it is longer than maxlength bytes: it is gone then, as
        with a Connection."""
        self._check(self.readable, "write")
        if maxlength is not None and maxlength < 0:
            raise ValueError("negative maxlength")
        data = self._queue._recv_pickled()
        if maxlength is not None and len(data) > maxlength:
            raise OSError(f"bad message length: {len(data)} bytes, but maxlength is {maxlength}")
        return data

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Is there an item, waiting at most `timeout` seconds for one (None: for ever)?"""
        self._check(self.readable, "write")
        return self._queue._ring.wait(True, timeout)

    def send(self, obj: Any) -> None:
        """Puts obj, waiting for room as put() does."""
        self._check(self.writable, "read")
        self._queue.put(obj)

    def send_bytes(self, buf: Any, offset: int = 0, size: int | None = None) -> None:
        """Puts the object that these bytes are the pickle of."""
        self._check(self.writable, "read")
        view = memoryview(buf).cast("B")
        if offset < 0:
            raise ValueError("offset is negative")
        if offset > len(view):
            raise ValueError("buffer length < offset")
        if size is None:
            size = len(view) - offset
        elif size < 0:
            raise ValueError("size is negative")
        elif offset + size > len(view):
            raise ValueError("buffer length < offset + size")
        self._queue._send_pickled(view[offset : offset + size])

    def close(self) -> None:
        """This process does not use this end any more. Twice is harmless."""
        self.closed = True
        self._queue._shut(True)

    def __enter__(self) -> End:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "readable" if self.readable else "writable"
        return f"<end of a queue, {state}>"


def _limit(max_bytes: int | None) -> int:
    if max_bytes is None:
        return 0
    if not isinstance(max_bytes, int):
        raise TypeError(f"max_bytes must be an int or None, not {type(max_bytes).__name__}")
    if max_bytes < 65536:
        raise ValueError(f"max_bytes must be at least 65536 bytes, not {max_bytes}")
    return max_bytes


class _OnRing:
    """Creation, inheritance and pickling, the same for all three."""

    _of_fork = False  # made by a context whose processes are forked

    def _start(self, ring: _native.Ring, ctx: Any = None) -> None:
        self._of_fork = ctx is not None and ctx.get_start_method() == "fork"
        self._open(ring)
        self._reader = End(ring, True)
        self._writer = End(ring, False)
        self._opid = os.getpid()

    def __getstate__(self) -> tuple:
        context.assert_spawning(self)
        if self._of_fork:  # it would work here, but the program must not depend on that
            raise RuntimeError(
                f'{type(self).__name__}: as with multiprocessing ("A SemLock created in a fork context is '
                'being shared with a process in a spawn context. This is not supported."), use the same '
                "context to create the queue and the Process"
            )
        memory, bell, ringer = self._ring.fds()
        return (
            reduction.DupFd(memory),
            reduction.DupFd(bell),
            reduction.DupFd(ringer) if ringer != bell else None,
            self._opid,
        )

    def __setstate__(self, state: tuple) -> None:
        memory, bell, ringer, opid = state
        fds = [memory.detach(), bell.detach()]
        fds.append(ringer.detach() if ringer is not None else fds[1])
        for fd in fds:
            os.set_inheritable(fd, False)
        self._start(_native.Ring.attach(*fds))
        self._opid = opid


_HOOKS = ("_feed", "_start_thread", "_on_queue_feeder_error", "_reset", "_after_fork", "_finalize_join",
          "_finalize_close")  # fmt: skip
_METHODS = ("put", "get", "put_nowait", "get_nowait", "qsize", "empty", "full", "close", "join_thread",
            "cancel_join_thread", "task_done", "join", "_terminate_broken", "__getstate__",
            "__setstate__", *_HOOKS)  # fmt: skip


class Queue(_OnRing, _native.RingQueue, queues.Queue):
    """A queue for any number of processes and threads, first in first out.

    maxsize: items it may hold; 0 or less: any number. Then put() never blocks.
    max_bytes: ceiling of the shared memory it may use; put() raises MemoryError beyond it. None: half of the
    memory that the machine and the control group leave when the queue first outgrows 64 MiB.

    Any process that uses it may be killed at any moment: the others go on, and no item is lost but the
    one that the victim's get() had taken. Nothing is left behind when the last process is gone.
    """

    _ignore_epipe = False
    _classic = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """A subclass that overrides a hook of the standard class works the standard way: only there is
        anything that would call it."""
        super().__init_subclass__(**kwargs)
        if any(name in vars(cls) for name in _HOOKS):
            cls._classic = True
            base: Any = queues.JoinableQueue if "task_done" in dir(cls) else queues.Queue
            standard = {name: getattr(base, name) for name in _METHODS if hasattr(base, name)}
            standard["_closed"] = False  # a plain attribute again
            for name, value in standard.items():
                if name not in vars(cls):
                    setattr(cls, name, value)

    def __init__(self, maxsize: int = 0, *, ctx: Any, max_bytes: int | None = None) -> None:
        if self._classic:
            queues.Queue.__init__(self, maxsize, ctx=ctx)
            return
        bound = max(operator.index(maxsize), 0)
        self._maxsize = bound or UNBOUNDED
        self._start(_native.Ring.create(bound, _limit(max_bytes)), ctx)

    def __getstate__(self) -> tuple:
        return (self._maxsize, super().__getstate__())

    def __setstate__(self, state: tuple) -> None:
        self._maxsize, rest = state
        super().__setstate__(rest)

    def close(self) -> None:
        """No more put or get in this process. Items already put stay for the others."""
        self._shut()
        self._reader.close()
        self._writer.close()

    def join_thread(self) -> None:
        """Returns at once: put() has no thread to wait for. Only after close(), as ever."""
        assert self._closed, f"Queue {self!r} not closed"

    def cancel_join_thread(self) -> None:
        """Does nothing: there is no thread that could keep the process from ending."""

    def _terminate_broken(self) -> None:
        self.close()
        self.join_thread()


class JoinableQueue(Queue, queues.JoinableQueue):
    """A Queue that counts the items not done yet."""

    def task_done(self) -> None:
        """One item that was got is done. ValueError if more are done than were put."""
        if not self._ring.done():
            raise ValueError("task_done() called too many times")

    def join(self) -> None:
        """Waits until task_done() was called for every item put."""
        self._ring.join()


class SimpleQueue(_OnRing, _native.RingSimpleQueue, queues.SimpleQueue):
    """An unbounded queue with no more than put, get, empty and close."""

    def __init__(self, *, ctx: Any) -> None:
        self._start(_native.Ring.create(), ctx)

    def _refuse(self) -> None:
        raise OSError("handle is closed")

    def close(self) -> None:
        """No more put or get in this process: OSError. Its descriptors are closed."""
        self._shut(True)
        self._reader.close()
        self._writer.close()

    def _poll(self, timeout: float | None = 0.0) -> bool:
        return self._reader.poll(timeout)

    @functools.cached_property
    def _rlock(self) -> threading.Lock:
        """What `multiprocessing.pool.Pool` takes before it empties its task queue at its end, and keeps.
        Reading needs no lock here, so it guards nothing."""
        return threading.Lock()

    __class_getitem__: Any = classmethod(types.GenericAlias)
