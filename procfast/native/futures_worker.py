"""What a worker process of an executor runs."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures._base import LOGGER
from multiprocessing import context, process, reduction, util
from typing import Any

from .._pool import Report, _repr
from . import _native, liveness
from .pool_worker import Share


class Alive:
    """A pipe that this process keeps open, on its way to a worker, which ends with this process."""

    def __init__(self) -> None:
        self.fd = liveness.pipe()

    def __getstate__(self) -> Any:
        context.assert_spawning(self)
        return reduction.DupFd(self.fd)

    def __setstate__(self, state: Any) -> None:
        self.fd = state.detach()


def work(
    shared: Share,
    number: int,
    alive: Alive,
    initializer: Callable[..., object] | None,
    initargs: Iterable[Any],
    most: int | None,
    strict: bool,
) -> None:
    """The target of a worker's Process."""
    liveness.end_with(alive.fd)
    worker = _native.PoolWorker(shared.share, number)
    if initializer is not None:
        try:
            initializer(*initargs)
        except BaseException as error:
            LOGGER.critical("Exception in initializer:", exc_info=True)
            worker.failed_to_start(report(error))
            raise SystemExit(1) from None
    del initializer, initargs

    def strict_report(error: BaseException) -> Report:
        if not worker.opened:  # the standard library's worker dies of what it can't unpickle
            traceback.print_exception(error)
            raise SystemExit(1)
        return report(error)

    parent = process.parent_process()
    done = worker.run(
        most,
        strict_report if strict else report,
        unsendable,
        lambda: parent is None or parent.is_alive(),
    )
    util.debug(f"worker exiting after {done} tasks")


def report(error: BaseException) -> Report:
    """What the owner is told of an exception."""
    remote = "".join(traceback.format_exception(error))
    try:
        pickled = bytes(reduction.ForkingPickler.dumps(error))
    except Exception as why:
        why.__cause__ = error
        return unsendable(why)
    return pickled, _repr(error), remote


def unsendable(why: BaseException, value: object = None) -> Report:
    """The same of a result, or an exception, that can't be pickled: why that is so."""
    remote = "".join(traceback.format_exception(why))
    try:
        pickled = bytes(reduction.ForkingPickler.dumps(why))
    except Exception:
        pickled = pickle.dumps(pickle.PicklingError(_repr(why)))
    return pickled, _repr(why), remote
