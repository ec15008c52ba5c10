"""What the tests of values and arrays run in other processes; a spawned child must be able to import it."""

import ctypes
import multiprocessing.sharedctypes
import sys
import time

from workers import context, sleep_forever


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_double), ("name", ctypes.c_char * 8)]


class Inner(ctypes.Structure):
    _fields_ = [("a", ctypes.c_short), ("pair", ctypes.c_int * 2)]


class Outer(ctypes.Structure):
    _fields_ = [("inner", Inner), ("points", Point * 2), ("last", ctypes.c_longlong)]


class Either(ctypes.Union):
    _fields_ = [("i", ctypes.c_uint32), ("bytes", ctypes.c_ubyte * 4)]


class OwnInt(ctypes.c_int):
    """A user's subclass of a simple type."""


def double_all(*shared) -> None:
    """What a child may do with each kind of shared object, by its kind."""
    for obj in shared:
        if hasattr(obj, "x"):
            obj.x *= 2
            obj.y *= 2
            obj.name = bytes(obj.name) * 2
        elif hasattr(obj, "__len__"):
            for i in range(len(obj)):
                obj[i] *= 2
        else:
            obj.value *= 2


def count_up(how: str, counter, times: int, other=None) -> None:
    """Adds 1 so many times, in one of the ways that must not lose any."""
    for i in range(times):
        if how == "lock" or (how == "mixed" and i % 2):
            with counter.get_lock():
                counter.value += 1
                if other is not None:
                    other.value += 1
        elif how == "compare_exchange":
            while not counter.compare_exchange(old := counter.value, old + 1):
                pass
        elif how == "exchange":  # a token that only one has at a time
            while not counter.exchange(0):
                time.sleep(0)
            other.value += 1
            counter.exchange(1)
        else:
            counter.add(1)


def set_value(shared, value) -> None:
    shared.value = value


def set_items(array, start: int, values) -> None:
    array[start : start + len(values)] = values


def report_values(q, *shared) -> None:
    q.put([obj[:] if hasattr(obj, "__len__") else obj.value for obj in shared])


def hold_value(shared, ready) -> None:
    """Dies by a kill from outside, in the middle of a change."""
    with shared.get_lock():
        ready.put("ready")
        sleep_forever()


def with_numpy(array) -> None:
    import numpy

    numpy.frombuffer(getattr(array, "get_obj", lambda: array)(), dtype="d")[:] += 1


def from_a_grandchild(cell, *shared) -> None:
    p = context(cell).Process(target=double_all, args=shared)
    p.start()
    p.join()
    sys.exit(p.exitcode)


def describe_shared(q, *shared) -> None:
    names = ["SynchronizedString", "SynchronizedArray", "Synchronized", "SynchronizedBase"]
    kinds = [getattr(multiprocessing.sharedctypes, name) for name in names]
    q.put([next(n for n, k in zip(names, kinds, strict=True) if isinstance(s, k)) for s in shared])
    taken = []
    for obj in shared:
        with obj.get_lock():
            taken.append(obj.acquire(False))
            obj.release()
    q.put(taken)
    q.put(shared[0].add(1))


def report_later(go, q, *shared) -> None:
    go.wait()
    report_values(q, *shared)


def make_values(cell, q, number: int) -> None:
    ctx = context(cell)
    values = [ctx.Value("i", number) for _ in range(200)]
    time.sleep(0.1)
    (mine,) = {v.value for v in values}
    q.put(mine)


def fill_array(array, number: int, stop) -> None:
    values = [number] * len(array)
    while not stop.value:
        array[:] = values


def touch_and_wait(value, array, ready) -> None:
    value.value += 1
    array[:] = [x + 1 for x in array]
    ready.put("ready")
    sleep_forever()


def write_pairs(value, stop, through: str) -> None:
    where = value.get_obj() if through == "object" else value
    while not stop.value:
        with value.get_lock():
            where.value += 1
            where.value += 1
