"""What the tests of pools run in their workers."""

import faulthandler
import os
import signal
import sys
import threading
import time


def square(x):
    return x * x


def add(a, b=0, *, c=0):
    return a + b + c


def nothing(*args) -> None:
    pass


class Counted(int):
    """An int of which is known how many there are in this process."""

    alive = 0

    def __init__(self, value=0):
        Counted.alive += 1

    def __reduce__(self):
        return Counted, (int(self),)

    def __del__(self):
        Counted.alive -= 1

    @staticmethod
    def count():
        return Counted.alive


def identity(x):
    return x


def sleep(seconds):
    time.sleep(seconds)
    return seconds


def spin() -> None:
    while True:
        pass


def fail(x):
    raise ValueError(f"on purpose: {x}")


def fail_at(x, at):
    if x == at:
        raise ValueError(f"on purpose: {x}")
    return x


def array_of(i):
    import numpy

    return numpy.full(10_000, i)


def die(*args) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()


def segfault() -> None:
    faulthandler.disable()
    os.kill(os.getpid(), signal.SIGSEGV)


def note(path, number):
    """Appends to a log of who ran."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, number.to_bytes(8, "little"))
    os.close(fd)
    return number


def note_and_die(path, number):
    note(path, number)
    die()


def note_and_die_once(path, number, deadly):
    note(path, number)
    if deadly and not os.path.exists(f"{path}.died"):
        note(f"{path}.died", 0)
        die()
    return number


class DiesWhenUnpickled:
    def __reduce__(self):
        return die, ()


class DiesWhenPickled:
    def __reduce__(self):
        die()


def give_deadly():
    return DiesWhenPickled()


class DiesWhenDropped(int):
    """Pickles as an int; its worker dies when it lets go of it."""

    def __reduce__(self):
        return int, (int(self),)

    def __del__(self):
        die()


def give_and_die(i):
    return DiesWhenDropped(i)


def fail_to_start(why):
    raise RuntimeError(why)


def fail_twice(folder):
    for k in range(2):
        try:
            os.close(os.open(f"{folder}/{k}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        raise RuntimeError("not yet")


def exit_(code) -> None:
    sys.exit(code)


class CountsPickles:
    """A function that tells how often it was pickled."""

    pickled = 0

    def __reduce__(self):
        type(self).pickled += 1
        return CountsPickles, ()

    def __call__(self, x):
        return x


class Remembers:
    """A function with a state of its own."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *args):
        self.calls += 1
        return self.calls


class SlowToUnpickle:
    """Whoever unpickles it where `here` is set is interrupted at it, once."""

    interrupts = 0

    def __reduce__(self):
        return unpickle_slowly, (os.getpid(),)


def unpickle_slowly(pid):
    if pid != os.getpid() and SlowToUnpickle.interrupts:
        SlowToUnpickle.interrupts -= 1
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass  # where the signal is seen
    return "whole"


def give_slow():
    return SlowToUnpickle()


def with_state(state, x):
    return state, x


def make_state():
    return os.getpid()


def ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def note_interrupts(path):
    """Notes and survives an interrupt."""
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        note(path, 1)
        raise


class Thing(list):
    """Can be referred to weakly."""
