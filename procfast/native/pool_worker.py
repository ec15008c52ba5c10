"""What a worker process of a pool runs."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable, Iterable
from multiprocessing import context, process, reduction, util
from typing import Any

from .._pool import Report, _repr, report
from . import _native


class Share:
    """The shared memory of a pool, on its way to a worker."""

    def __init__(self, share: _native.PoolShare) -> None:
        self.share = share

    def __getstate__(self) -> tuple[Any, ...]:
        context.assert_spawning(self)
        claims, *rings = self.share._parts()
        fds = [claims, *(fd for ring in rings for fd in ring.fds())]
        passed = {
            fd: reduction.DupFd(fd) for fd in set(fds)
        }  # a bell may be one descriptor, or two
        return tuple(passed[fd] for fd in fds)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        fds: list[int] = []
        for k, passed in enumerate(state):
            fds.append(fds[state.index(passed)] if passed in state[:k] else passed.detach())
        for fd in fds:
            os.set_inheritable(fd, False)
        self.share = _native.PoolShare.attach(
            fds[0], _native.Ring.attach(*fds[1:4]), _native.Ring.attach(*fds[4:7])
        )


def work(
    shared: Share,
    number: int,
    initializer: Callable[..., object] | None,
    initargs: Iterable[Any],
    most: int | None,
    make_state: Callable[[], object] | None,
) -> None:
    """The target of a worker's Process."""
    worker = _native.PoolWorker(shared.share, number)
    try:
        if initializer is not None:
            initializer(*initargs)
        if make_state is not None:
            worker.state = make_state()
    except BaseException as error:
        worker.failed_to_start(report(error))
        raise SystemExit(1) from None
    done = worker.run(most, report, unsendable, _Parent().lives)
    util.debug(f"worker exiting after {done} tasks")


class _Parent:
    def __init__(self) -> None:
        self._parent = process.parent_process()

    def lives(self) -> bool:
        return self._parent is None or self._parent.is_alive()


def unsendable(why: BaseException, value: object = None) -> Report:
    """The same of a result, or an exception, that can't be pickled."""
    from multiprocessing import pool  # here: under install() it imports who imports this

    wrapped = pool.MaybeEncodingError(_Text(_repr(why)), _Text(_repr(value)))
    error = value if isinstance(value, BaseException) else why
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    return pickle.dumps(wrapped), str(wrapped), "".join(lines)


class _Text:
    """Its repr is a text that is one already."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text
