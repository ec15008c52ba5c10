"""What the tests of executors run in their workers."""

import os
import sys
import threading
import time

started_with = None


def start(value):
    global started_with
    started_with = value


def what_it_was_started_with():
    return started_with


def fail_to_start(why):
    raise RuntimeError(why)


def add(a, b=0, *, c=0):
    return a + b + c


def square(x):
    return x * x


def wait_for(path, value=None):
    """Returns when the file is there."""
    while not os.path.exists(path):
        time.sleep(0.002)
    return value


def begin_and_wait_for(begun, path, value=None):
    open(begun, "x").close()
    return wait_for(path, value)


def fail(text):
    raise ValueError(text)  # on purpose


def leave(code):
    sys.exit(code)


def give_lock():
    return threading.Lock()


class FailsToUnpickle(Exception):
    def __init__(self, a, b):
        super().__init__("all too much")


def fail_badly():
    raise FailsToUnpickle(1, 2)


class UnpicklesBadly:
    def __reduce__(self):
        return fail, ("not here",)


class Returned:
    """Something that can be referred to weakly."""


def give(_):
    return Returned()


def array(n):
    import numpy

    return numpy.arange(n)


def has_children_of_its_own(ctx_name):
    import multiprocessing

    child = multiprocessing.get_context(ctx_name).Process(target=square, args=(2,))
    child.start()
    child.join()
    return child.exitcode
