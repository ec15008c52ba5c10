"""Value, Array, RawValue, RawArray, sharedctypes: the standard library and ctypes are the oracle."""

import contextlib
import copy
import ctypes
import gc
import math
import multiprocessing.sharedctypes as sharedctypes
import os
import pickle
import random
import signal
import threading
import time
import weakref
from functools import partial

import numpy
import pytest
import value_workers
import workers
from conftest import METHODS
from value_workers import Either, Outer, OwnInt, Point

INTEGERS = "bBhHiIlLqQ"
FLOATS = "fd"
NUMBERS = INTEGERS + FLOATS
TYPECODES = "cu" + NUMBERS
TYPES = sharedctypes.typecode_to_type
SLACK = 5.0  # seconds a loaded machine may add to what should be immediate
LOCKS = ("Lock", "RLock", "Semaphore", "BoundedSemaphore")

WHOLE = [0, 1, -1, 127, 128, 300, 2**31, -(2**31) - 1, 2**32 + 5, 2**63, 2**64 - 1, 2**70, True]
REAL = [0, 1.5, -0.0, 1e-300, 1e300, math.inf, -math.inf, math.nan, 0.1, 2**60, True]
SAMPLES = {
    "c": [b"x", b"\0", bytearray(b"y"), 97, 255, 0, True],
    "u": ["x", "ü", "\U0001f600", "\0"],
    **dict.fromkeys(INTEGERS, WHOLE),
    **dict.fromkeys(FLOATS, REAL),
}
WRONG = {
    "c": [b"", b"xy", "x", -1, 256, 2**70, 1.5, None, bytearray(b"xy"), []],
    "u": ["", "xy", b"x", 1, None],
    **{code: [1.5, "5", b"5", None, [1]] for code in INTEGERS},
    **{code: ["5", b"5", None, [1], 2**2000, 1j] for code in FLOATS},
}


def outcome(function, *args):
    """What it gives, or the kind and the words of its error."""
    try:
        result = function(*args)
    except Exception as error:
        return type(error), str(error)
    return repr(result)


def simple(type_, value):
    """What ctypes makes of a value."""
    return type_(value).value


def same(a, b) -> bool:
    return type(a) is type(b) and (a == b or (a != a and b != b))


@pytest.fixture(params=[True, False], ids=["lock", "no lock"])
def lock(request):
    return request.param


# -- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", TYPECODES)
def test_value_of_each_typecode(local, lock, code):
    """Assignment converts as ctypes does: integers wrap round, floats are rounded."""
    for kind in (code, TYPES[code]):
        fresh = local.Value(kind, lock=lock)
        assert same(fresh.value, TYPES[code]().value)
        for sample in SAMPLES[code]:
            want = simple(TYPES[code], sample)
            assert same(local.Value(kind, sample, lock=lock).value, want)
            fresh.value = sample
            assert same(fresh.value, want)
            assert same(local.RawValue(kind, sample).value, want)


@pytest.mark.parametrize("code", TYPECODES)
def test_wrong_values(local, lock, code):
    """The same errors as ctypes', at creation and later; nothing is changed by them."""
    v = local.Value(code, lock=lock)
    before = v.value
    for wrong in WRONG[code]:
        want = outcome(simple, TYPES[code], wrong)
        assert isinstance(want, tuple), "a sample that ctypes takes"
        assert outcome(setattr, v, "value", wrong) == want
        assert outcome(partial(local.Value, lock=lock), code, wrong) == want
        assert outcome(local.RawValue, code, wrong) == want
        assert v.value == before
    with pytest.raises(TypeError, match="at most 1 argument"):
        local.Value(code, *SAMPLES[code][:2])


class Index:
    def __index__(self):
        return 7


class Float:
    def __float__(self):
        return 7.5


def test_numbers_of_other_kinds(local):
    for code in INTEGERS:
        assert local.Value(code, Index()).value == 7
        assert local.Value(code, numpy.int16(-3)).value == simple(TYPES[code], -3)
    for code in FLOATS:
        assert local.Value(code, Float()).value == 7.5
        assert local.Value(code, numpy.float32(2.5)).value == 2.5


def test_error_in_a_conversion(local):
    class Bad:
        def __index__(self):
            raise ZeroDivisionError("on purpose")

        __float__ = __index__

    for code in NUMBERS:
        v = local.Value(code, 3)
        with pytest.raises(ZeroDivisionError):
            v.value = Bad()
        assert v.value == 3
        assert v.get_lock().acquire(timeout=SLACK)  # it is not left locked
        v.get_lock().release()


@pytest.mark.parametrize("wrong", ["x", "", "ii", b"i", None, int, 5, object()], ids=repr)
def test_wrong_typecodes(local, wrong):
    for make in (local.Value, local.RawValue):
        with pytest.raises(TypeError):
            make(wrong)
    for make in (local.Array, local.RawArray):
        with pytest.raises(TypeError):
            make(wrong, 3)
    with pytest.raises(TypeError):
        local.Value([])


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (ctypes.c_bool, 5),
        (ctypes.c_bool, []),
        (ctypes.c_longdouble, 1.5),
        (ctypes.c_size_t, -1),
        (ctypes.c_ssize_t, -1),
        (ctypes.c_int8, 200),
        (ctypes.c_uint16, -1),
        (ctypes.c_int32.__ctype_be__, 1),
        (ctypes.c_void_p, 5),
        (ctypes.c_void_p, None),
        (ctypes.c_char_p, b"abc"),
        (ctypes.c_wchar_p, "abc"),
        (ctypes.py_object, TYPES),
        (OwnInt, 2**31),
    ],
    ids=lambda v: getattr(v, "__name__", repr(v)[:5]),
)
def test_other_simple_types(local, lock, type_, value):
    v = local.Value(type_, value, lock=lock)
    want = type_(value).value
    assert same(v.value, want)
    v.value = value
    assert same(v.value, want)
    obj = v.get_obj() if lock else v
    assert type(obj) is type_
    if lock:
        old = v.exchange(value)
        assert same(old, want)
        assert v.compare_exchange(value, value)
        assert isinstance(v, sharedctypes.Synchronized)


def test_null_py_object(local):
    with pytest.raises(ValueError, match="NULL"):
        _ = local.Value(ctypes.py_object).value


def test_pointers_are_refused(local):
    """A pointer has neither fields nor a value; a raw one is as today."""
    kind = ctypes.POINTER(ctypes.c_int)
    with pytest.raises(AttributeError, match="_fields_"):
        local.Value(kind)
    assert not local.RawValue(kind)
    assert len(local.Array(kind, 3)) == 3


def test_reprs(local):
    assert repr(local.Value("i", 5)) == "<Synchronized wrapper for c_int(5)>"
    assert repr(local.RawValue("i", 5)) == "c_int(5)"
    assert repr(local.Array("i", 5)).startswith("<SynchronizedArray wrapper for <")
    assert repr(local.Array("c", 5)).startswith("<SynchronizedString wrapper for <")
    assert repr(local.Value(Point)).startswith("<SynchronizedPoint wrapper for <")


def test_classes(local):
    made = {
        "Synchronized": local.Value("d"),
        "SynchronizedArray": local.Array("d", 2),
        "SynchronizedString": local.Array("c", 2),
        "SynchronizedBase": local.Value(Point),
    }
    for name, obj in made.items():
        assert isinstance(obj, getattr(sharedctypes, name))
        assert isinstance(obj, sharedctypes.SynchronizedBase)
    assert isinstance(made["SynchronizedString"], sharedctypes.SynchronizedArray)
    assert isinstance(local.Value(ctypes.c_int * 3, 1, 2), sharedctypes.SynchronizedArray)
    assert isinstance(local.Value(ctypes.c_char * 3), sharedctypes.SynchronizedString)
    assert type(local.Array("i", 2, lock=False)) is type(local.RawArray("i", 2)) is ctypes.c_int * 2
    assert type(local.Value("i", lock=False)) is type(local.RawValue("i")) is ctypes.c_int
    assert not hasattr(made["SynchronizedArray"], "value")
    assert not hasattr(made["SynchronizedBase"], "value")


def test_hash_and_equality_are_by_identity(local):
    v = local.Value("i", 5)
    assert v != local.Value("i", 5)
    assert len({v, v, local.Value("i", 5)}) == 2


def test_attributes_of_ones_own(local):
    for obj in (local.Value("i"), local.Array("i", 2), local.RawValue("i"), local.Value(Point)):
        obj.note = "mine"
        assert obj.note == "mine"
        assert weakref.ref(obj)() is obj


# -- locks ----------------------------------------------------------------------------------------


def test_default_lock_is_recursive(local):
    for lock in (True, None, 1):
        v = local.Value("i", 5, lock=lock)
        assert isinstance(v.get_lock(), type(local.RLock()))
        assert v.get_lock() is v.get_lock()
        with v.get_lock(), v.get_lock(), v:
            v.value += 1
            assert v.acquire()
            v.release()
        assert v.value == 6
        with pytest.raises(AssertionError):
            v.release()


@pytest.mark.parametrize("wrong", [0, "a", 5.5, object()], ids=repr)
def test_wrong_locks(local, wrong):
    with pytest.raises(AttributeError, match="has no method 'acquire'"):
        local.Value("i", lock=wrong)
    with pytest.raises(AttributeError, match="has no method 'acquire'"):
        local.Array("i", 3, lock=wrong)


class Recorder:
    """Any object with acquire and release does."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def acquire(self) -> bool:
        self.calls.append("acquire")
        return True

    def release(self) -> None:
        self.calls.append("release")

    __enter__ = acquire

    def __exit__(self, *exc) -> None:
        self.release()


def test_any_lock(local):
    lock = Recorder()
    v, a, p, s = (
        local.Value("i", 1, lock=lock),
        local.Array("i", 3, lock=lock),
        local.Value(Point, lock=lock),
        local.Array("c", 3, lock=lock),
    )
    assert lock.calls == []
    steps = [
        lambda: v.value,
        lambda: setattr(v, "value", 2),
        lambda: v.add(1),
        lambda: v.exchange(4),
        lambda: v.compare_exchange(4, 5),
        lambda: a[1],
        lambda: a.__setitem__(1, 5),
        lambda: a[:],
        lambda: a.__setitem__(slice(0, 2), [1, 2]),
        lambda: p.x,
        lambda: setattr(p, "y", 5),
        lambda: s.value,
        lambda: setattr(s, "raw", b"ab"),
        lambda: s[0],
        lambda: v.__enter__() and v.__exit__(None, None, None),
    ]
    for number, step in enumerate(steps):
        lock.calls.clear()
        step()
        assert lock.calls == ["acquire", "release"], number
    assert v.value == 5
    assert v.get_lock() is lock
    lock.calls.clear()
    for step in (lambda: a[9], lambda: a.__setitem__(9, 1), lambda: setattr(v, "value", "a")):
        with pytest.raises((IndexError, TypeError)):
            step()
    assert lock.calls.count("acquire") == lock.calls.count("release")


def test_a_lock_that_fails(local):
    class Broken(Recorder):
        def acquire(self):
            raise ZeroDivisionError("on purpose")

        __enter__ = acquire

    lock = Broken()
    v = local.Value("i", 1, lock=lock)
    a = local.Array("i", 3, lock=lock)
    for step in (lambda: v.value, lambda: v.add(1), lambda: a[0], lambda: a[:]):
        with pytest.raises(ZeroDivisionError):
            step()
    assert lock.calls == []
    assert v.get_obj().value == 1


@pytest.mark.parametrize("kind", LOCKS)
def test_locks_of_the_context(local, kind):
    lock = getattr(local, kind)()
    v = local.Value("i", 5, lock=lock)
    a = local.Array("i", [1, 2], lock=lock)
    assert v.get_lock() is a.get_lock() is lock
    v.value += 1
    assert v.add(1) == 7
    assert (v.value, a[:]) == (7, [1, 2])
    assert lock.acquire(False)
    if kind == "RLock":
        v.value = 1  # its owner's again
    else:
        blocked = threading.Thread(target=lambda: v.add(1))
        blocked.start()
        blocked.join(0.2)
        assert blocked.is_alive()
    lock.release()
    if kind != "RLock":
        blocked.join(SLACK)
        assert v.value == 8


def test_lock_of_threads(local):
    v = local.Value("i", lock=threading.Lock())
    v.value += 1
    assert v.add(1) == 2


def test_methods_of_the_lock(local):
    v = local.Value("i")
    assert v.acquire()
    assert v.acquire(True, 1.0)
    got = []
    thread = threading.Thread(target=lambda: got.append(v.acquire(timeout=0.1)))
    thread.start()
    thread.join()
    assert got == [False]
    v.release()
    v.release()
    with v as answer:
        assert answer is True
    with pytest.raises(ZeroDivisionError), v:
        _ = 1 / 0
    thread = threading.Thread(target=lambda: got.append(v.acquire(False) and (v.release() or True)))
    thread.start()
    thread.join()
    assert got == [False, True]


def test_access_waits_for_the_lock(local):
    v, a, p = local.Value("i", 1), local.Array("i", 3), local.Value(Point)
    steps = [lambda: v.value, lambda: v.add(1), lambda: a[0], lambda: a[:], lambda: p.x]
    for obj, step in zip((v, v, a, a, p), steps, strict=True):
        done = []
        thread = threading.Thread(target=lambda step=step, done=done: done.append(step()))
        with obj.get_lock():
            thread.start()
            thread.join(0.1)
            assert not done
        thread.join(SLACK)
        assert len(done) == 1


def test_signal_in_the_wait(local):
    """The handler runs; the access goes on."""
    v = local.Value("i", 3)
    seen = []
    before = signal.signal(signal.SIGALRM, lambda *args: seen.append(time.monotonic()))
    held, leave = threading.Event(), threading.Event()

    def hold():
        with v.get_lock():
            held.set()
            leave.wait(SLACK)

    thread = threading.Thread(target=hold)
    try:
        thread.start()
        held.wait()
        threading.Timer(0.5, leave.set).start()
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        assert v.value == 3
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert len(seen) >= 3
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        thread.join()


def test_exception_of_a_handler_ends_the_wait(local):
    def handler(*args):
        raise ZeroDivisionError("on purpose")

    v, a = local.Value("i", 3), local.Array("i", 3, lock=None)
    before = signal.signal(signal.SIGALRM, handler)
    for obj, step in ((v, lambda: v.value), (v, lambda: v.add(1)), (a, lambda: a[0])):
        held, leave = threading.Event(), threading.Event()

        def hold(obj=obj, held=held, leave=leave):
            with obj.get_lock():
                held.set()
                leave.wait(20)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(ZeroDivisionError):
                step()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            leave.set()
            thread.join()
    signal.signal(signal.SIGALRM, before)
    assert v.value == 3


# -- arrays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", TYPECODES)
def test_array_of_each_typecode(local, lock, code):
    samples = SAMPLES[code]
    oracle = (TYPES[code] * len(samples))(*samples)
    a = local.Array(code, samples, lock=lock)
    assert len(a) == len(oracle)
    assert all(same(x, y) for x, y in zip(a, oracle, strict=True))
    assert all(same(a[-i], oracle[-i]) for i in range(1, len(samples) + 1))
    zero = local.Array(TYPES[code], 4, lock=lock)
    assert zero[:] == (TYPES[code] * 4)()[:]
    for i, sample in enumerate(samples[:4]):
        zero[i] = sample
        assert same(zero[i], simple(TYPES[code], sample))
        zero[-1] = sample
        assert same(zero[3], simple(TYPES[code], sample))
    for wrong in WRONG[code]:
        want = outcome(oracle.__setitem__, 0, wrong)
        assert outcome(a.__setitem__, 0, wrong) == want
        assert outcome(partial(local.Array, lock=lock), code, [wrong]) == want
    assert all(same(x, y) for x, y in zip(a, oracle, strict=True))


SLICES = [
    slice(None), slice(2, 5), slice(5, 2), slice(None, None, 2), slice(1, None, 3), slice(None, None, -1),
    slice(-3, None), slice(None, -3), slice(8, 2, -2), slice(100), slice(-100, 100), slice(3, 3), slice(0, 1),
]  # fmt: skip


@pytest.mark.parametrize("code", TYPECODES)
def test_slices(local, lock, code):
    rng = random.Random(code)
    pool = [s for s in SAMPLES[code] if s == s]
    initial = [simple(TYPES[code], rng.choice(pool)) for _ in range(10)]
    oracle = (TYPES[code] * 10)(*initial)
    a = local.Array(code, initial, lock=lock)
    for cut in SLICES:
        got = a[cut]
        assert type(got) is type(oracle[cut])
        assert got == oracle[cut]
        values = [simple(TYPES[code], rng.choice(pool)) for _ in range(len(got))]
        for source in (values, tuple(values)):
            oracle[cut] = source
            a[cut] = source
            assert a[:] == oracle[:]
    with pytest.raises(ValueError, match="slice step cannot be zero"):
        a[::0]


def test_slices_at_random(local):
    rng = random.Random(4)
    oracle, a = (ctypes.c_short * 30)(), local.Array("h", 30)
    for _ in range(300):
        bounds = [rng.choice([None, *range(-35, 36)]) for _ in range(2)]
        cut = slice(*bounds, rng.choice([None, 1, 2, 3, -1, -2, -7, 40]))
        values = [rng.randrange(-40000, 40000) for _ in oracle[cut]]
        oracle[cut] = values
        a[cut] = values
        assert a[cut] == oracle[cut]
        assert a[:] == oracle[:]


def test_slice_sources(local, lock):
    """Any sequence of the right length: also buffers, and the array itself."""
    import array

    a = local.Array("i", range(10), lock=lock)
    sources = [
        range(10), array.array("i", range(10, 20)), array.array("d", range(10)), numpy.arange(10, dtype="i"),
        numpy.arange(10, dtype="q")[::-1], (ctypes.c_int * 10)(*range(5)), bytes(range(10)), bytearray(10),
        local.Array("q", range(10)), memoryview(bytes(range(10))), a, numpy.arange(20, dtype="i")[::2],
    ]  # fmt: skip
    for source in sources:
        if isinstance(source, array.array) and source.typecode == "d":
            with pytest.raises(TypeError):
                a[:] = source
            continue
        want = [int(x) for x in source]
        a[:] = source
        assert a[:] == want
    a[2:5] = a[5:8]
    assert a[2:5] == a[5:8]
    big = local.Array("d", 5, lock=lock)
    big[:] = numpy.arange(5)
    assert big[:] == [0, 1, 2, 3, 4]
    text = local.Array("c", 5, lock=lock)
    text[1:4] = b"abc"
    assert text[:] == b"\0abc\0"
    text[:2] = bytearray(b"xy")
    assert text[:] == b"xybc\0"
    wide = local.Array("u", 5, lock=lock)
    wide[1:3] = "äö"
    assert wide[:] == "\0äö\0\0"


def test_wrong_slices(local, lock):
    a = local.Array("i", range(5), lock=lock)
    for values in ([1], [1, 2, 3], [], range(9), b"abc"):
        with pytest.raises(ValueError, match="same size"):
            a[0:2] = values
    for values in (5, None, (x for x in (1, 2))):
        with pytest.raises((TypeError, ValueError)):
            a[0:2] = values
    for values in ([1, "a"], ["a", 1], "ab", [1.5, 1], [1, None]):
        with pytest.raises(TypeError):
            a[3:5] = values
    assert a[:3] == [0, 1, 2]


def test_all_or_nothing(local):
    """A slice with a wrong item in it changes nothing."""
    a = local.Array("i", range(5))
    with pytest.raises(TypeError):
        a[1:4] = [7, 8, "a"]
    assert a[:] == [0, 1, 2, 3, 4]


def test_wrong_indices(local, lock):
    a = local.Array("i", 3, lock=lock)
    for wrong in (3, -4, 100, -(2**40), 2**70):
        with pytest.raises(IndexError):
            a[wrong]
        with pytest.raises(IndexError):
            a[wrong] = 1
    for wrong in ("a", 1.5, None, (0, 1), b"1"):
        with pytest.raises(TypeError, match="indices must be integer"):
            a[wrong]
        with pytest.raises(TypeError, match="indices must be integer"):
            a[wrong] = 1
    with pytest.raises(TypeError):
        a["a":2]
    assert a[Index.__index__(None) - 5] == 0
    assert a[numpy.int8(-1)] == 0
    with pytest.raises((TypeError, AttributeError)):
        del a[0]
    with pytest.raises((TypeError, AttributeError)):
        del a[0:1]


def test_resized_by_an_index(local):
    """An object that changes a list while the array reads it: an error or a value, never a crash."""
    values: list = [0, 1, 2, 3]

    class Sly:
        def __index__(self):
            values.clear()
            gc.collect()
            return 5

    values[1] = Sly()
    a = local.Array("i", 4)
    with pytest.raises((IndexError, ValueError, RuntimeError)):
        a[:] = values
    assert len(a[:]) == 4


@pytest.mark.parametrize("make", ["Array", "RawArray"])
def test_sizes(local, make):
    make = getattr(local, make)
    assert len(make("i", 0)) == 0
    assert make("i", 0)[:] == []
    assert make("c", 0)[:] == b""
    assert make("i", [])[:] == []
    assert len(make("i", True)) == 1
    with pytest.raises(IndexError):
        make("i", 0)[0]
    with pytest.raises(ValueError, match="Array length must be >= 0, not -1"):
        make("i", -1)
    for wrong in (2**62, 2**63, 2**70):
        with pytest.raises(OverflowError):
            make("i", wrong)
    for wrong in (2.5, None, object()):
        with pytest.raises(TypeError, match=r"has no len\(\)"):
            make("i", wrong)
    with pytest.raises(TypeError, match=r"has no len\(\)"):
        make("i", (x for x in (1, 2)))
    with pytest.raises(TypeError):
        make("i", numpy.int64(3))


def test_initialisers(local, lock):
    for values in (
        range(5),
        [1, 2, 3],
        (7,),
        b"ab",
        numpy.arange(4),
        bytearray(b"xyz"),
        {1: 2, 3: 4},
    ):
        assert local.Array("i", values, lock=lock)[:] == [int(x) for x in values]
    assert local.Array("d", [1, 2.5], lock=lock)[:] == [1.0, 2.5]
    assert local.Array("c", b"hello", lock=lock)[:] == b"hello"
    assert local.Array("u", "hellö", lock=lock)[:] == "hellö"
    for wrong in ([1, "a"], "ab", ["a", 1], [1.5]):
        with pytest.raises(TypeError):
            local.Array("i", wrong, lock=lock)


def test_iteration(local, lock):
    a = local.Array("i", range(100), lock=lock)
    assert list(a) == list(range(100))
    assert list(reversed(a)) == list(range(99, -1, -1))
    assert 57 in a and 100 not in a
    assert sum(a) == 4950
    it = iter(a)
    next(it)
    a[1] = 77
    assert next(it) == 77
    first, *rest = a
    assert first == 0 and len(rest) == 99


def test_strings(local, lock):
    oracle, s = (ctypes.c_char * 6)(), local.Array("c", 6, lock=lock)
    for value in (b"hello", b"", b"a\0b", b"sixsix", b"x"):
        oracle.value = value
        s.value = value
        assert (s.value, s.raw) == (oracle.value, oracle.raw)
        assert type(s.value) is type(s.raw) is bytes
    for raw in (
        b"ab\0cd\0",
        b"",
        b"xy",
        bytearray(b"12"),
        memoryview(b"345"),
        numpy.arange(3, dtype="B"),
    ):
        oracle.raw = raw
        s.raw = raw
        assert (s.value, s.raw) == (oracle.value, oracle.raw)
    for name, wrong in (
        ("value", b"toolong"), ("raw", b"toolong"), ("value", "text"), ("raw", "text"), ("value", bytearray(b"x")),
        ("value", None), ("raw", None), ("value", 5), ("raw", 5),
    ):  # fmt: skip
        want = outcome(setattr, oracle, name, wrong)
        assert isinstance(want, tuple)
        assert outcome(setattr, s, name, wrong) == want
    assert s.raw == oracle.raw
    assert s[0] == oracle[0]
    s[0] = b"Z"
    assert s.value.startswith(b"Z")


def test_arrays_of_other_types(local, lock):
    a = local.Array(ctypes.c_bool, [0, 1, 5], lock=lock)
    assert a[:] == [False, True, True]
    b = local.Array(OwnInt, 3, lock=lock)
    b[1] = OwnInt(5)
    assert b[1].value == 5
    c = local.Array(ctypes.c_int * 2, 3, lock=lock)
    c[1][0] = 7
    assert c[1][:] == [7, 0]
    d = local.Array(Point, [(1, 2.0), (3, 4.0, b"abc")], lock=lock)
    assert (d[1].x, d[1].y, d[1].name) == (3, 4.0, b"abc")
    d[0].x = 9
    assert d[0].x == 9
    assert [p.x for p in d] == [9, 3]
    e = local.Array(ctypes.c_longdouble, [1.5], lock=lock)
    assert e[0] == 1.5
    f = local.Array(ctypes.c_int.__ctype_be__, [1, 2], lock=lock)
    assert f[:] == [1, 2]
    assert bytes(f.get_obj() if lock else f) == b"\0\0\0\1\0\0\0\2"


# -- structures -----------------------------------------------------------------------------------


def test_structures(local, lock):
    p = local.Value(Point, 1, 2.5, lock=lock)
    assert (p.x, p.y, p.name) == (1, 2.5, b"")
    p.x, p.y, p.name = -3, 1e9, b"abc"
    assert (p.x, p.y, p.name) == (-3, 1e9, b"abc")
    for wrong in ("a", 1.5, None):
        with pytest.raises(TypeError):
            p.x = wrong
    with pytest.raises(ValueError):
        p.name = b"too long for it"
    with pytest.raises(TypeError):
        local.Value(Point, 1, 2, b"a", 4)
    assert local.Value(Point).x == 0
    u = local.Value(Either, lock=lock)
    u.i = 0x01020304
    assert sorted(u.bytes) == [1, 2, 3, 4]


def test_nested_structures(local, lock):
    o = local.Value(Outer, lock=lock)
    o.inner.pair[1] = 5
    o.points[1].y = 2.5
    o.last = -1
    inner = o.inner
    inner.a = 7
    assert (o.inner.a, o.inner.pair[:], o.points[1].y, o.last) == (7, [0, 5], 2.5, -1)
    o.inner = (1, (2, 3))
    assert (o.inner.a, o.inner.pair[:]) == (1, [2, 3])


def test_structure_outlives_its_wrapper(local):
    obj = local.Value(Outer).get_obj()
    points = obj.points
    del obj
    gc.collect()
    others = [local.Value(Outer) for _ in range(100)]
    for other in others:
        other.last = -1
    points[0].x = 5
    assert (points[0].x, points[1].x) == (5, 0)


# -- objects of ctypes ----------------------------------------------------------------------------


def test_get_obj(local):
    v = local.Value("i", 5)
    obj = v.get_obj()
    assert type(obj) is ctypes.c_int and v.get_obj() is obj
    obj.value = 7
    assert v.value == 7
    v.value = 8
    assert obj.value == 8
    a = local.Array("d", 3)
    a.get_obj()[1] = 5
    assert a[1] == 5
    assert a.get_obj() is a.get_obj()


def test_usable_in_ctypes(local):
    libc = ctypes.CDLL(None)
    for v in (local.RawValue("i", 5), local.Value("i", 5).get_obj()):
        assert isinstance(v, ctypes.c_int) and isinstance(v, ctypes._SimpleCData)
        assert ctypes.sizeof(v) == 4
        pointer = ctypes.pointer(v)
        pointer[0] = 9
        assert v.value == 9
        assert ctypes.c_int.from_address(ctypes.addressof(v)).value == 9
        libc.memset(ctypes.byref(v), 0, ctypes.sizeof(v))
        assert v.value == 0
        assert libc.abs(v) == 0

        class Holder(ctypes.Structure):
            _fields_ = [("p", ctypes.POINTER(ctypes.c_int)), ("n", ctypes.c_int)]

        holder = Holder(pointer, v.value)
        holder.p[0] = 4
        assert v.value == 4
        assert ctypes.c_int.from_buffer(v).value == 4
    a = local.RawArray("c", 10)
    libc.strcpy(a, b"hello")
    assert a.value == b"hello"
    values = local.RawArray("i", [3, 1, 2])
    compare = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int)
    )(lambda x, y: x[0] - y[0])
    libc.qsort(values, ctypes.c_size_t(3), ctypes.c_size_t(4), compare)
    assert values[:] == [1, 2, 3]


def test_aligned(local):
    for kind in (*TYPECODES, ctypes.c_longdouble, Outer):
        for n in (1, 3):
            a = local.RawArray(kind, n)
            assert ctypes.addressof(a) % ctypes.alignment(a) == 0
            assert ctypes.addressof(local.Array(kind, n).get_obj()) % ctypes.alignment(a) == 0


def test_memory_outlives_the_value(local):
    objs = [local.Value("q", i).get_obj() for i in range(100)]
    raws = [memoryview(local.RawArray("q", [i, i])).cast("B").cast("q") for i in range(100)]
    gc.collect()
    noise = [local.Value("q", -1) for _ in range(500)]
    assert [o.value for o in objs] == list(range(100))
    assert [r[1] for r in raws] == list(range(100))
    assert all(n.value == -1 for n in noise)


def test_lock_outlives_the_value(local):
    locks = [local.Value("q", -1).get_lock() for _ in range(100)]
    for lock in locks:
        lock.acquire()
    gc.collect()
    noise = [local.Value("q", -1) for _ in range(500)]
    assert sum(n.value for n in noise) == -500
    for lock in locks:
        lock.release()
        with pytest.raises(AssertionError):
            lock.release()


def test_nothing_keeps_a_value_alive(local):
    """Reference counts alone give it back."""
    gc.disable()
    try:
        for make in (lambda: local.Value("i"), lambda: local.Array("i", 3), lambda: local.RawValue("i"),
                     lambda: local.RawArray("i", 3), lambda: local.Value(Point)):  # fmt: skip
            obj = make()
            if hasattr(obj, "get_obj"):
                obj.get_obj()
                obj.get_lock().acquire()
                obj.get_lock().release()
            gone = weakref.ref(obj)
            del obj
            assert gone() is None
    finally:
        gc.enable()


def test_memory_is_zeroed(local):
    """Also where other values were before."""
    for size in (1, 8, 100, 3000):
        for _ in range(50):
            for make in (local.RawArray, lambda *args: local.Array(*args).get_obj()):
                a = make("B", size)
                assert not any(a)
                a[:] = b"\xff" * size
                del a


def test_copy(local):
    module = module_of(local)
    v = local.RawValue("i", 5)
    twin = module.copy(v)
    twin.value = 6
    assert (v.value, twin.value, type(twin)) == (5, 6, ctypes.c_int)
    assert module.copy(ctypes.c_double(2.5)).value == 2.5
    a = module.copy(local.RawArray("i", [1, 2]))
    assert a[:] == [1, 2]
    p = module.copy(local.RawValue(Point, 1, 2.0))
    assert (p.x, p.y) == (1, 2.0)
    for wrong in (local.Value("i"), 5, None):
        with pytest.raises(TypeError):
            module.copy(wrong)


def module_of(ctx):
    """The `sharedctypes` of a backend."""
    import importlib

    return importlib.import_module(f"procfast.{ctx.backend}.sharedctypes")


def test_synchronized(local):
    """Around what is there: shared memory or any object of ctypes."""
    module = module_of(local)
    for obj in (local.RawValue("i", 5), ctypes.c_int(5)):
        v = module.synchronized(obj)
        assert isinstance(v, sharedctypes.Synchronized) and v.get_obj() is obj
        v.value += 1
        assert obj.value == 6
        assert v.add(2) == 8
        assert obj.value == 8
        assert v.exchange(1) == 8
        assert v.compare_exchange(1, 3) and obj.value == 3
    for obj in (local.RawArray("i", [1, 2]), (ctypes.c_int * 2)(1, 2)):
        lock = local.RLock()
        a = module.synchronized(obj, lock)
        assert isinstance(a, sharedctypes.SynchronizedArray) and a.get_obj() is obj
        assert a.get_lock() is lock
        a[:] = [5, 6]
        assert obj[:] == [5, 6] and a[1] == 6 and len(a) == 2
    s = module.synchronized((ctypes.c_char * 3)(), ctx=local)
    s.value = b"ab"
    assert s.get_obj().raw == b"ab\0"
    p = module.synchronized(Point(1, 2), None, local)
    p.x += 1
    assert p.get_obj().x == 2
    assert type(p) is type(module.synchronized(Point()))
    with pytest.raises(AssertionError, match="already synchronized"):
        module.synchronized(v)
    for wrong in (5, None, "i"):
        with pytest.raises(AttributeError):
            module.synchronized(wrong)


def test_module(local):
    """The functions of the module are the context's."""
    module = module_of(local)
    assert set(sharedctypes.__all__) <= set(dir(module))
    assert module.Value("i", 5, ctx=local).add(1) == 6
    assert module.Value("i", 5, lock=False).value == 5
    assert module.Array("i", [1], ctx=local)[:] == [1]
    assert module.RawValue("i", 2).value == 2
    assert module.RawArray("i", 2)[:] == [0, 0]
    with pytest.raises(TypeError):
        module.Array("i", [1], False)


# -- add, exchange, compare_exchange --------------------------------------------------------------


@pytest.mark.parametrize("code", INTEGERS)
def test_add(local, code):
    """Answers the new value, wrapped round as assignment does."""
    oracle, v = TYPES[code](), local.Value(code)
    for n in (1, 5, -3, 127, 2**31, 2**63, -(2**70), True, 0, Index(), numpy.int8(3)):
        oracle.value = oracle.value + int(n if not isinstance(n, Index) else 7)
        got = v.add(n)
        assert same(got, oracle.value)
        assert v.value == got
    for wrong in WRONG[code]:
        with pytest.raises(TypeError):
            v.add(wrong)
    assert v.value == oracle.value
    with pytest.raises(TypeError):
        v.add()


@pytest.mark.parametrize("code", FLOATS)
def test_add_floats(local, code):
    oracle, v = TYPES[code](), local.Value(code)
    for n in (1, 0.1, -1e10, 2**60, 1e-30, math.inf, -math.inf, 1):
        oracle.value = oracle.value + simple(TYPES[code], n)
        assert same(v.add(n), oracle.value)
        assert same(v.value, oracle.value)
    for wrong in WRONG[code]:
        with pytest.raises((TypeError, OverflowError)):
            v.add(wrong)


@pytest.mark.parametrize("kind", ["c", "u", ctypes.c_bool, ctypes.c_char_p, ctypes.py_object])
def test_add_to_what_is_no_number(local, kind):
    v = local.Value(kind)
    with pytest.raises(TypeError, match="no number"):
        v.add(1)
    assert v.acquire(timeout=SLACK)
    v.release()


def test_atomics_of_arrays_and_structures(local):
    """There are none: which item?"""
    for obj in (local.Array("i", 3), local.Value(Point), local.RawArray("i", 3)):
        assert not hasattr(obj, "add")


@pytest.mark.parametrize("code", [*TYPECODES, ctypes.c_bool])
def test_exchange(local, code):
    type_ = TYPES.get(code, code)
    samples = SAMPLES.get(code, [True, False, 5])
    v = local.Value(code, samples[0])
    before = v.value
    for sample in samples:
        assert same(v.exchange(sample), before)
        before = simple(type_, sample)
        assert same(v.value, before)
    for wrong in WRONG.get(code, []):
        assert outcome(v.exchange, wrong) == outcome(simple, type_, wrong)
    assert same(v.value, before)


@pytest.mark.parametrize("code", [*TYPECODES, ctypes.c_bool])
def test_compare_exchange(local, code):
    """True and changed where it is the expected value (as assignment would store it), else False."""
    type_ = TYPES.get(code, code)
    samples = SAMPLES.get(code, [True, False, 5])
    v = local.Value(code, samples[0])
    for old in samples:
        for new in samples:
            v.value = old
            assert v.compare_exchange(old, new) is True
            assert same(v.value, simple(type_, new))
            v.value = old
            if not same(simple(type_, old), simple(type_, new)):
                assert v.compare_exchange(new, old) is (simple(type_, new) == simple(type_, old))
            assert v.value == simple(type_, old) or v.value != v.value
    v.value = samples[0]
    for wrong in WRONG.get(code, []):
        want = outcome(simple, type_, wrong)
        assert outcome(v.compare_exchange, wrong, samples[0]) == want
        assert outcome(v.compare_exchange, samples[0], wrong) == want
    assert same(v.value, simple(type_, samples[0]))


def test_compare_exchange_of_zeros_and_nan(local):
    v = local.Value("d", -0.0)
    assert v.compare_exchange(0.0, math.nan)
    assert v.compare_exchange(math.nan, 1.0)
    assert v.value == 1.0


@pytest.mark.parametrize("kind", [*TYPECODES, ctypes.c_bool])
def test_lock_free(local, kind):
    """The same methods without a lock, on a real object of ctypes."""
    type_ = TYPES.get(kind, kind)
    samples = SAMPLES.get(kind, [True, False])
    for v in (local.RawValue(kind), local.Value(kind, lock=False)):
        assert type(v) is type_
        oracle = local.Value(kind)
        for sample in samples:
            assert same(v.exchange(sample), oracle.exchange(sample))
            assert v.compare_exchange(sample, samples[0]) is oracle.compare_exchange(
                sample, samples[0]
            )
            assert same(v.value, oracle.value)
            if kind in [*NUMBERS]:
                assert same(v.add(sample), oracle.add(sample))
                assert same(v.value, oracle.value)
        if kind not in [*NUMBERS]:
            with pytest.raises(TypeError, match="no number"):
                v.add(1)
        for wrong in WRONG.get(kind, []):
            assert outcome(v.exchange, wrong) == outcome(simple, type_, wrong)


# -- buffers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", NUMBERS)
def test_numpy_on_the_object(local, lock, code):
    """As today: get_obj(), or an array without a lock."""
    a = local.Array(code, [1, 2, 3], lock=lock)
    x = numpy.asarray(a.get_obj() if lock else a)
    assert x.dtype == numpy.dtype(TYPES[code])
    x[1] = 5
    assert a[:] == [1, 5, 3]
    a[2] = 7
    assert x[2] == 7


@pytest.mark.parametrize("code", TYPECODES)
def test_buffer(local, code):
    """numpy.asarray(array) and memoryview(array) are its very memory, also with a lock."""
    a = local.Array(code, SAMPLES[code][:3] * 4)
    with memoryview(a) as m:
        assert m.nbytes == len(a) * ctypes.sizeof(TYPES[code])
        assert (m.ndim, m.shape, m.readonly, m.contiguous) == (1, (12,), False, True)
        assert m.itemsize == ctypes.sizeof(TYPES[code])
        assert m.format == {"u": "w"}.get(code, code)
        assert bytes(m) == bytes(a.get_obj())
        if code in NUMBERS:
            m[5] = 77
            assert a[5] == 77
            assert m[5] == 77
    x = numpy.asarray(a)
    assert x.shape == (12,)
    assert x.itemsize == ctypes.sizeof(TYPES[code])
    if code in NUMBERS:
        assert x.dtype == numpy.dtype(TYPES[code])
    assert x.__array_interface__["data"][0] == ctypes.addressof(a.get_obj())
    x[3] = x[4]
    assert a[3] == a[4]
    numpy.frombuffer(a, dtype="B")[:] = 0
    assert bytes(a.get_obj()) == bytes(x.nbytes)


class Pair(ctypes.Structure):
    _fields_ = [("a", ctypes.c_int), ("b", ctypes.c_int)]


def test_buffer_of_other_types(local):
    a = local.Array(ctypes.c_double * 3, 5)
    x = numpy.asarray(a)
    assert (x.shape, x.dtype) == ((5, 3), numpy.float64)
    x[4, 2] = 2.5
    assert a[4][2] == 2.5
    b = local.Array(Pair, 4)
    y = numpy.asarray(b)
    y["a"] = range(4)
    assert [p.a for p in b] == [0, 1, 2, 3]
    flags = numpy.asarray(local.Array(ctypes.c_bool, [0, 1]))
    assert flags.dtype == bool and flags.tolist() == [False, True]


def test_buffer_outlives_the_array(local):
    x = numpy.asarray(local.Array("d", [1.5] * 100))
    gc.collect()
    noise = [local.Array("d", [2.5] * 100) for _ in range(50)]
    assert (x == 1.5).all() and all(n[0] == 2.5 for n in noise)


def test_buffer_of_nothing(local):
    assert numpy.asarray(local.Array("d", 0)).shape == (0,)
    assert memoryview(local.Array("c", 0)).nbytes == 0


def test_large_array(local):
    n = 5 << 20
    a = local.Array("B", n)
    a[n - 1] = 5
    assert a[n - 1] == 5 and a[0] == 0
    a[: 1 << 20] = bytes([7]) * (1 << 20)
    assert a[(1 << 20) - 1 : (1 << 20) + 1] == [7, 0]
    raw = local.RawArray("d", 1 << 20)
    raw[-1] = 2.5
    assert raw[-1] == 2.5


# -- pickling -------------------------------------------------------------------------------------


def test_pickled_only_while_spawning(local):
    from multiprocessing.reduction import ForkingPickler

    for obj in (local.Value("i"), local.Array("i", 3), local.Array("c", 3), local.Value(Point)):
        with pytest.raises(RuntimeError, match="through inheritance"):
            pickle.dumps(obj)
        with pytest.raises(RuntimeError, match="through inheritance"):
            ForkingPickler.dumps(obj)
    for obj in (local.RawValue("i"), local.RawArray("i", 3), local.RawValue(Point)):
        with pytest.raises((RuntimeError, TypeError, pickle.PicklingError)):
            pickle.dumps(obj)
        with pytest.raises(RuntimeError, match="through inheritance"):
            ForkingPickler.dumps(obj)
        with pytest.raises((RuntimeError, TypeError, pickle.PicklingError)):
            copy.deepcopy(obj)


def run(ctx, target, *args):
    p = ctx.Process(target=target, args=args)
    p.start()
    p.join()
    assert p.exitcode == 0


def kinds(ctx):
    """One of each, with what a child makes of it."""
    lock = ctx.Lock()
    return [
        (ctx.Value("i", 21), lambda v: v.value == 42),
        (ctx.Value("d", 1.25), lambda v: v.value == 2.5),
        (ctx.Value("i", 3, lock=lock), lambda v: v.value == 6),
        (ctx.Value("q", 2**40, lock=False), lambda v: v.value == 2**41),
        (ctx.RawValue("h", 5), lambda v: v.value == 10),
        (ctx.Array("i", [1, 2, 3]), lambda a: a[:] == [2, 4, 6]),
        (ctx.Array("d", [1, 2.5], lock=lock), lambda a: a[:] == [2, 5]),
        (ctx.Array("b", [1, 2], lock=False), lambda a: a[:] == [2, 4]),
        (ctx.RawArray("Q", [1] * 1000), lambda a: a[:] == [2] * 1000),
        (ctx.Array("l", [3] * 300_000), lambda a: a[:] == [6] * 300_000),
        (ctx.Value(Point, 1, 2, b"ab"), lambda p: (p.x, p.y, p.name) == (2, 4, b"abab")),
        (ctx.RawValue(Point, 1, 2, b"ab"), lambda p: (p.x, p.y, p.name) == (2, 4, b"abab")),
        (ctx.Value(OwnInt, 4), lambda v: v.value == 8),
        (ctx.Value(ctypes.c_longdouble, 4), lambda v: v.value == 8),
    ]


def test_passed_to_a_child(ctx):
    made = kinds(ctx)
    run(ctx, value_workers.double_all, *(obj for obj, _ in made))
    for number, (obj, check) in enumerate(made):
        assert check(obj), (number, obj)


def test_passed_on_to_a_grandchild(ctx):
    made = kinds(ctx)
    run(ctx, value_workers.from_a_grandchild, workers.cell_of(ctx), *(obj for obj, _ in made))
    for number, (obj, check) in enumerate(made):
        assert check(obj), (number, obj)


def test_a_child_knows_them_as_it_should(ctx):
    """Classes, locks and atomic operations on the other side."""
    q = ctx.SimpleQueue()
    shared = (
        ctx.Value("i", 3),
        ctx.Array("i", 3),
        ctx.Array("c", 3),
        ctx.Value(Point),
        ctx.Value(OwnInt),
    )
    run(ctx, value_workers.describe_shared, q, *shared)
    assert q.get() == [
        "Synchronized",
        "SynchronizedArray",
        "SynchronizedString",
        "SynchronizedBase",
        "Synchronized",
    ]
    assert q.get() == [True] * len(shared)
    assert q.get() == 4
    assert shared[0].value == 4
    q.close()


@pytest.mark.limit(120)
def test_dropped_after_start(ctx):
    """Process(args=(v,)).start(), and the parent forgets v at once: the child's stays what it is."""
    q, go = ctx.SimpleQueue(), ctx.Event()
    children = []
    for i in range(5):
        p = ctx.Process(
            target=value_workers.report_later,
            args=(go, q, ctx.Value("i", i), ctx.Array("i", [i] * 10)),
        )
        p.start()
        children.append(p)
    del p
    gc.collect()
    noise = [ctx.Value("i", -1) for _ in range(2000)] + [
        ctx.Array("i", [-1] * 10) for _ in range(500)
    ]
    go.set()
    assert sorted(q.get() for _ in range(5)) == [[i, [i] * 10] for i in range(5)]
    for p in children:
        p.join()
    assert noise[0].value == -1
    q.close()


def test_sent_to_another_start_method(backend):
    made = backend.context("fork").Value("i", 21), backend.context("fork").Array("i", [1, 2])
    run(backend.context("spawn"), value_workers.double_all, *made)
    assert (made[0].value, made[1][:]) == (42, [2, 4])


def test_lock_of_another_value(ctx):
    """It may outlive that value."""
    v = ctx.Value("i")
    w = ctx.Value("q", lock=v.get_lock())
    count(ctx, ["lock"] * 3, 500, v, w)
    assert v.value == w.value == 1500
    del v
    gc.collect()
    noise = [ctx.Value("i", -1) for _ in range(200)]
    count(ctx, ["lock", "add"], 500, w)
    assert w.value == 2500 and noise[0].value == -1


def test_inherited(python, script, cell):
    """By a global of the main module, where fork is the method."""
    if cell.method != "fork":
        return
    program = """
        import procfast
        ctx = procfast.get_context("fork", backend=%r)
        v, a, r = ctx.Value("i", 1), ctx.Array("d", 3), ctx.RawValue("q", 5)
        def work():
            v.value += 1
            a[1] = 2.5
            r.value = 7
        p = ctx.Process(target=work)
        p.start()
        p.join()
        print(v.value, a[:], r.value)
    """
    import textwrap

    done = python(script(textwrap.dedent(program % cell.backend.name)))
    assert done.stdout == "2 [0.0, 2.5, 0.0] 7\n"


def test_made_in_a_child(ctx):
    """A child's own values are not its parent's, nor its sister's."""
    q = ctx.SimpleQueue()
    v = ctx.Value("i", 5)
    children = [
        ctx.Process(target=value_workers.make_values, args=(workers.cell_of(ctx), q, i))
        for i in range(3)
    ]
    for p in children:
        p.start()
    mine = [ctx.Value("i", -1) for _ in range(200)]
    assert sorted(q.get() for _ in range(3)) == [0, 1, 2]
    for p in children:
        p.join()
        assert p.exitcode == 0
    assert v.value == 5 and all(m.value == -1 for m in mine)
    q.close()


def test_numpy_in_a_child(ctx):
    a, raw = ctx.Array("d", 100), ctx.RawArray("d", 100)
    run(ctx, value_workers.with_numpy, a)
    run(ctx, value_workers.with_numpy, raw)
    assert a[:] == raw[:] == [1.0] * 100


def test_ten_thousand(local):
    """No descriptor each, and each its own."""
    before = len(os.listdir("/proc/self/fd"))
    values = [local.Value("i", i) for i in range(10_000)] if local.backend == "native" else [
        local.Value("i", i, lock=local.RLock()) for i in range(10_000)]  # fmt: skip
    assert len(os.listdir("/proc/self/fd")) <= before + 10
    assert [v.value for v in values] == list(range(10_000))
    addresses = {ctypes.addressof(v.get_obj()) for v in values}
    assert len(addresses) == 10_000


# -- counting -------------------------------------------------------------------------------------

WAYS = ["lock", "add", "mixed", "compare_exchange"]
PROCESSES, TIMES = 4, 3000


def count(ctx, hows, times, *args) -> None:
    children = [
        ctx.Process(target=value_workers.count_up, args=(how, args[0], times, *args[1:]))
        for how in hows
    ]
    for p in children:
        p.start()
    for p in children:
        p.join()
        assert p.exitcode == 0


@pytest.mark.parametrize("code", ["i", "q", "d", "H"])
@pytest.mark.parametrize("how", WAYS)
def test_every_update_counts(ctx, how, code):
    v = ctx.Value(code)
    count(ctx, [how] * PROCESSES, TIMES, v)
    assert v.value == PROCESSES * TIMES


def test_every_update_counts_in_all_ways_at_once(ctx):
    v = ctx.Value("i")
    count(ctx, WAYS, TIMES, v)
    assert v.value == len(WAYS) * TIMES


def test_one_lock_for_several(ctx):
    lock = ctx.RLock()
    v, w = ctx.Value("i", lock=lock), ctx.Value("q", lock=lock)
    count(ctx, ["lock"] * PROCESSES, TIMES, v, w)
    assert v.value == w.value == PROCESSES * TIMES


def test_exchange_hands_over(ctx):
    """Only one at a time gets the token."""
    token, v = ctx.Value("b", 1), ctx.Value("i")
    count(ctx, ["exchange"] * 3, 300, token, v)
    assert (token.value, v.value) == (1, 900)


@pytest.mark.parametrize("code", ["b", "h", "i", "q", "Q", "f", "d"])
def test_lock_free_updates_count(ctx, code):
    v = ctx.RawValue(code) if code != "b" else ctx.Value("b", lock=False)
    count(ctx, ["add", "compare_exchange"] * 2, TIMES, v)
    assert v.value == simple(TYPES[code], 4 * TIMES)


def test_threads(local):
    v, a = local.Value("i"), local.Array("i", 2)

    def work():
        for _ in range(2000):
            v.add(1)
            with v.get_lock():
                v.value += 1
            with a.get_lock():
                a[0] += 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert (v.value, a[0]) == (16_000, 8000)


def test_slices_are_not_torn(ctx):
    """A slice is read and written under the lock as a whole."""
    a = ctx.Array("i", 64)
    stop = ctx.Value("b")
    children = [ctx.Process(target=value_workers.fill_array, args=(a, k, stop)) for k in (1, 2)]
    for p in children:
        p.start()
    end = time.monotonic() + 1
    torn = 0
    while time.monotonic() < end:
        torn += len(set(a[:])) != 1
    stop.value = 1
    for p in children:
        p.join()
        assert p.exitcode == 0
    assert torn == 0


@pytest.mark.parametrize("through", ["value", "object"])
def test_nothing_in_between(ctx, through):
    """Who reads, lock or no lock in his hands, never sees what a holder of the lock goes on to change."""
    v, stop = ctx.Value("q"), ctx.Value("b")
    p = ctx.Process(target=value_workers.write_pairs, args=(v, stop, through))
    p.start()
    end, last = time.monotonic() + 1, 0
    while time.monotonic() < end:
        for n in (v.value, v.add(0), v.value):
            assert n % 2 == 0
            assert n >= last
            last = n
    stop.value = 1
    p.join()
    assert p.exitcode == 0
    assert last > 0


# -- deaths and forks -----------------------------------------------------------------------------


def test_fork_while_threads_use_it(local):
    """A child forked by a thread finds the lock as any other process does: it gets it when it is free."""
    v, stop = local.Value("i"), threading.Event()

    def work():
        while not stop.is_set():
            v.add(1)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    try:
        for _ in range(10):
            p = local.Process(target=value_workers.count_up, args=("mixed", v, 10))
            p.start()
            p.join(20)
            assert p.exitcode == 0
    finally:
        stop.set()
        for t in threads:
            t.join()


@pytest.mark.parametrize("method", METHODS)
def test_kept_by_nobody_else(backend, method):
    """What a dead child had in its hands stays usable."""
    ctx = backend.context(method)
    v, a = ctx.Value("i", 5), ctx.Array("i", [1, 2, 3], lock=False)
    ready = ctx.SimpleQueue()
    p = ctx.Process(target=value_workers.touch_and_wait, args=(v, a, ready))
    p.start()
    assert ready.get() == "ready"
    p.kill()
    p.join()
    assert (v.value, a[:]) == (6, [2, 3, 4])
    v.value += 1
    ready.close()


def test_free_of_a_held_value(local):
    """Dropped while locked: the next one in its place is free."""
    for _ in range(100):
        v = local.Value("i")
        v.acquire()
        del v
        v = local.Value("i")
        assert v.acquire(False)
        with contextlib.suppress(AssertionError):
            v.release()
