"""Value, Array, RawValue and RawArray: objects of ctypes in shared memory, and locks around them.

What has a lock is an instance of the standard library's class (Synchronized, SynchronizedArray, ...) and reads and
writes its memory in C where its type is a simple one; ctypes is asked only for the others. What has none is an
object of ctypes itself.
"""

from __future__ import annotations

import ctypes
from multiprocessing import reduction, sharedctypes
from multiprocessing.context import assert_spawning
from typing import Any
from weakref import WeakKeyDictionary

from . import _native, synchronize

__all__ = ["Array", "RawArray", "RawValue", "Value", "copy", "synchronized"]

_TYPES: dict[str, type[Any]] = {**sharedctypes.typecode_to_type, "?": ctypes.c_bool}
_native._simple_types(
    {code: code for code in sharedctypes.typecode_to_type}
    | {_TYPES[code]: type_code for code in _TYPES if (type_code := _TYPES[code]._type_)}
)
_DATA = ctypes.Structure.__mro__[-2]  # the class of all that ctypes knows


# -- without a lock -------------------------------------------------------------------------------


def RawValue(typecode_or_type: Any, *args: Any) -> Any:
    """An object of ctypes in zeroed shared memory, initialised with args. It has no lock.

    One of a simple type (all typecodes, and c_bool) also has the methods add (of numbers), exchange and
    compare_exchange, atomic and lock-free. TypeError for what is neither a typecode nor a type of ctypes.
    """
    type_ = _type_of(typecode_or_type)
    obj = _place(type_, _native.new_memory(ctypes.sizeof(type_)))
    obj.__init__(*args)
    return obj


def RawArray(typecode_or_type: Any, size_or_initializer: Any) -> Any:
    """An array of ctypes in zeroed shared memory, of so many items or with the items of a sequence. It has no lock."""
    type_ = _type_of(typecode_or_type)
    if isinstance(size_or_initializer, int):
        return _place_array(type_, size_or_initializer)
    array = _place_array(type_, len(size_or_initializer))
    array.__init__(*size_or_initializer)
    return array


def copy(obj: Any) -> Any:
    """A copy of an object of ctypes, in shared memory of its own, without a lock."""
    twin = _place(type(obj), _native.new_memory(ctypes.sizeof(type(obj))))
    ctypes.pointer(twin)[0] = obj
    return twin


def _type_of(typecode_or_type: Any) -> type[Any]:
    type_ = sharedctypes.typecode_to_type.get(typecode_or_type, typecode_or_type)
    if not isinstance(type_, type) or not issubclass(type_, _DATA):
        raise TypeError(
            f"{typecode_or_type!r} is neither a typecode ({', '.join(sharedctypes.typecode_to_type)}) nor a type of "
            "ctypes"
        )
    return type_


def _place_array(type_: type[Any], length: int) -> Any:
    whole = type_ * length
    return _place(whole, _native.new_memory(ctypes.sizeof(whole)))


def _place(type_: type[Any], memory: _native.Memory) -> Any:
    """The object in some memory, which it keeps."""
    reduction.ForkingPickler.register(type_, _reduce)
    obj = type_.from_buffer(memory)
    obj._wrapper = memory
    if operations := memory._lock_free(type_):
        obj.add, obj.exchange, obj.compare_exchange = operations
    return obj


def _reduce(obj: Any) -> Any:
    if not isinstance(obj._wrapper, _native.Memory):
        return sharedctypes.reduce_ctype(obj)  # one of the standard library's own
    assert_spawning(obj)
    return _rebuild, (*_shape(type(obj)), obj._wrapper)


def _shape(type_: Any) -> tuple[type[Any], int | None]:
    """The type, and the length if it is of an array, whose type cannot be pickled."""
    if issubclass(type_, ctypes.Array):
        return type_._type_, type_._length_
    return type_, None


def _rebuild(type_: Any, length: int | None, memory: _native.Memory) -> Any:
    return _place(type_ if length is None else type_ * length, memory)


def _reduce_memory(memory: _native.Memory) -> tuple[Any, ...]:
    assert_spawning(memory)
    return _rebuild_memory, memory._parts()


def _rebuild_memory(*parts: Any) -> _native.Memory:
    memory = _native.Memory()
    memory._attach(*parts)
    return memory


reduction.register(_native.Memory, _reduce_memory)


# -- with a lock ----------------------------------------------------------------------------------


class SynchronizedBase(_native.SharedObject, sharedctypes.SynchronizedBase):
    """An object of ctypes with a lock."""

    def __init__(self, obj: Any, lock: Any = None, ctx: Any = None) -> None:
        lock = lock or synchronize.RLock(ctx=ctx)
        self._use_lock(lock, type(lock) is synchronize.RLock)
        self._adopt(obj, *_kind(type(obj)))

    def _new_lock(self, memory: _native.Memory | None) -> synchronize.RLock:
        if memory is None:
            return synchronize.RLock(ctx=None)
        return _native.lock_in(memory, synchronize.RLock.__new__(synchronize.RLock))

    def _new_obj(self, code: str, length: int, memory: _native.Memory) -> Any:
        return _place(_TYPES[code], memory)

    def __reduce__(self) -> tuple[Any, ...]:
        assert_spawning(self)
        memory, lock = self._parts()
        if memory is None:
            return synchronized, (self._obj, lock)
        return _rebuild_synchronized, (*_shape(type(self._obj)), memory, lock)


class Synchronized(_native.SharedValue, SynchronizedBase, sharedctypes.Synchronized):
    """A value with a lock. add, exchange and compare_exchange take it too."""


class SynchronizedArray(_native.SharedArray, SynchronizedBase, sharedctypes.SynchronizedArray):
    """An array with a lock. It is a buffer: `numpy.asarray(array)` and `memoryview(array)` share its memory."""

    def _new_obj(self, code: str, length: int, memory: _native.Memory) -> Any:
        return _place(_TYPES[code] * length, memory)


class SynchronizedString(_native.SharedString, SynchronizedArray, sharedctypes.SynchronizedString):
    """An array of c_char with a lock."""


_native.own_methods(Synchronized, "value", "add", "exchange", "compare_exchange", "get_lock")
_native.own_methods(SynchronizedArray, "get_lock")


def Value(typecode_or_type: Any, *args: Any, lock: Any = True, ctx: Any = None) -> Any:
    """An object of ctypes in zeroed shared memory, initialised with args, and a lock.

    lock: True or None: an RLock of its own; False: none (RawValue); else any object with acquire() and release().
    """
    if lock is True or lock is None:
        made = _native.new_value(Synchronized, typecode_or_type, args)
        if made is not None:
            return made
        type_ = _type_of(typecode_or_type)
        made = _blank(type_)
        obj = _place(type_, made._allocate(ctypes.sizeof(type_)))
        obj.__init__(*args)
        made._adopt(obj, *_kind(type_))
        return made
    obj = RawValue(typecode_or_type, *args)
    return obj if lock is False else _with_lock(obj, lock, ctx)


def Array(
    typecode_or_type: Any, size_or_initializer: Any, *, lock: Any = True, ctx: Any = None
) -> Any:
    """An array of ctypes in zeroed shared memory, of so many items or with the items of a sequence, and a lock.

    lock: as Value.
    """
    if lock is True or lock is None:
        made = _native.new_array(
            SynchronizedArray, SynchronizedString, typecode_or_type, size_or_initializer
        )
        if made is not None:
            return made
        obj = RawArray(typecode_or_type, size_or_initializer)
        return synchronized(obj, None, ctx)
    obj = RawArray(typecode_or_type, size_or_initializer)
    return obj if lock is False else _with_lock(obj, lock, ctx)


def synchronized(obj: Any, lock: Any = None, ctx: Any = None) -> Any:
    """A wrapper for any object of ctypes whose access takes a lock (None: an RLock of its own).

    AttributeError for what is no simple value, array, structure or union.
    """
    assert not isinstance(obj, sharedctypes.SynchronizedBase), "object already synchronized"
    made = _blank(type(obj))
    made.__init__(obj, lock, ctx)
    return made


def _with_lock(obj: Any, lock: Any, ctx: Any) -> Any:
    if not hasattr(lock, "acquire"):
        if lock == True:  # noqa: E712  as the standard library: 1 is
            return synchronized(obj, None, ctx)
        raise AttributeError(f"{lock!r} has no method 'acquire'")
    return synchronized(obj, lock, ctx)


def _rebuild_synchronized(type_: Any, length: int | None, memory: _native.Memory, lock: Any) -> Any:
    if length is not None:
        type_ = type_ * length
    made = _blank(type_)
    made._use_memory(memory, lock is None)
    if lock is not None:
        made._use_lock(lock, type(lock) is synchronize.RLock)
    kind, items = _kind(type_)
    made._adopt(None if _native.is_simple(kind) else _place(type_, memory), kind, items)
    return made


def _kind(type_: Any) -> tuple[Any, int]:
    """What it is made of, and of how many."""
    if issubclass(type_, ctypes.Array):
        return type_._type_, type_._length_
    return type_, 1


_classes: WeakKeyDictionary[type[Any], type[SynchronizedBase]] = WeakKeyDictionary()


def _blank(type_: Any) -> Any:
    """A wrapper for objects of a type, without anything."""
    if issubclass(type_, ctypes._SimpleCData):
        cls: type[SynchronizedBase] = Synchronized
    elif issubclass(type_, ctypes.Array):
        cls = SynchronizedString if type_._type_ is ctypes.c_char else SynchronizedArray
    else:
        try:
            cls = _classes[type_]
        except KeyError:
            fields = {field[0]: sharedctypes.make_property(field[0]) for field in type_._fields_}
            cls = _classes[type_] = type(
                f"Synchronized{type_.__name__}", (SynchronizedBase,), fields
            )
    return cls.__new__(cls)
