"""What the tests of processes run in others; a spawned child must be able to import it."""

import atexit
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing import util

from workers import context

STATE = ["imported"]


def change(given: dict, go, seen) -> None:
    """Says what it sees once it may, and changes all of it."""
    go.get()
    seen.put((STATE, given))
    STATE.append("child")
    given["list"].append("child")


def relations(cell, q, seen, depth: int) -> None:
    """Tells who is who; so does its child, and the child of that. Ends when its parent has seen it alive."""
    me, parent = multiprocessing.current_process(), multiprocessing.parent_process()
    ctx, child, active = context(cell), None, multiprocessing.active_children()
    if depth:
        event = ctx.Event()
        child = ctx.Process(target=relations, args=(cell, q, event, depth - 1))
        child.start()
        active += multiprocessing.active_children()
        event.set()
    q.put(
        {
            "me": (me.name, os.getpid(), me.pid, me.is_alive(), me._identity),
            "parent": (parent.name, parent.pid, parent.ident, parent.is_alive()),
            "active": [p.name for p in active],
            "child": (child.name, child.pid) if child else None,
        }
    )
    if child:
        child.join()
    seen.wait()


def signals(q, number: int) -> None:
    """Disposition of signals that the parent has set, and the mask."""

    def told(signum: int) -> str:
        handler = signal.getsignal(signum)
        return getattr(handler, "__name__", None) or signal.Handlers(handler).name

    chosen = {
        s: told(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, number)
    }
    q.put((chosen, number in signal.pthread_sigmask(signal.SIG_BLOCK, ())))


def wait_for(q) -> None:
    """Until it is told to end."""
    q.get()


# -- how to die -----------------------------------------------------------------------------------


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


FATAL: list[int] = []  # not empty: children of os.fork die in its first hook
os.register_at_fork(after_in_child=lambda: FATAL and die())


class Bomb:
    """Kills the child that gets it: while it is unpickled, or under fork in its bootstrap."""

    def __init__(self) -> None:
        util.register_after_fork(self, lambda self: die())

    def __reduce__(self):
        return die, ()


def die_at(stage: str) -> None:
    if stage == "run":
        die()
    elif stage == "finalizer":
        util.Finalize(None, die, exitpriority=0)
    elif stage == "thread":
        threading.Timer(0.01, die).start()
    elif stage == "atexit":
        atexit.register(die)


def report_and_wait(q, go) -> None:
    q.put(os.getpid())
    go.get()


def hold_descriptor(fd) -> None:
    """Keeps a descriptor open until it is killed."""
    while True:
        time.sleep(60)


def share(q, lock, value) -> None:
    """A little of everything, as fast as it goes."""
    with lock:
        value.value += 1
    q.put(b"x" * 500)
    value.add(1)
