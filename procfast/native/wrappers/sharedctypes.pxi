# SharedValue, SharedArray, SharedString: what shared objects of ctypes do without ctypes, where their type is a simple
# one. Memory: what they lie in, and what the objects of ctypes that are made of it keep alive.
#
# Of a type that is not in `kinds` they only know the object of ctypes, `_obj`, and use its attributes under the lock.

from cpython.bytes cimport PyBytes_AsString, PyBytes_Check, PyBytes_FromStringAndSize, PyBytes_GET_SIZE, PyBytes_Size
from cpython.bytearray cimport PyByteArray_AsString, PyByteArray_Check, PyByteArray_Size
from cpython.float cimport PyFloat_AsDouble, PyFloat_FromDouble
from cpython.long cimport PyLong_AsUnsignedLongLongMask, PyLong_FromLong, PyLong_FromLongLong
from cpython.long cimport PyLong_FromUnsignedLong, PyLong_FromUnsignedLongLong
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.number cimport PyIndex_Check, PyNumber_AsSsize_t
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES, PyObject_CheckBuffer
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.ref cimport Py_INCREF
from cpython.sequence cimport PySequence_GetItem
from cpython.slice cimport PySlice_AdjustIndices, PySlice_Check, PySlice_Unpack
from libc.stddef cimport wchar_t

cdef extern from "Python.h":
    object PyUnicode_FromWideChar(const wchar_t *w, Py_ssize_t size)
    Py_ssize_t PyUnicode_AsWideChar(object unicode, wchar_t *w, Py_ssize_t size) except -1

cdef extern from *:
    """
    #if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    #define NATIVE_LITTLE 1
    #else
    #define NATIVE_LITTLE 0
    #endif
    _Static_assert(sizeof(struct pf_guard) <= 48, "a lock overlaps the datum behind it");
    """
    const bint NATIVE_LITTLE

cdef extern from *:
    """
    /* Is it an int of one digit? *n is its value. */
    static inline int short_int(PyObject *o, long *n)
    {
        if (!PyLong_CheckExact(o))
            return 0;
    #if PY_VERSION_HEX >= 0x030C0000
        if (!PyUnstable_Long_IsCompact((PyLongObject *)o))
            return 0;
        *n = (long)PyUnstable_Long_CompactValue((PyLongObject *)o);
    #else
        if (Py_SIZE(o) < -1 || Py_SIZE(o) > 1)
            return 0;
        *n = (long)Py_SIZE(o) * (long)((PyLongObject *)o)->ob_digit[0];
    #endif
        return 1;
    }
    """
    bint short_int(object o, long *n)

cdef enum:
    DATUM_AT = 48   # behind the lock, in its cache line
    OTHER = 0       # the kind of all types that are not simple

# The code that ctypes calls a simple type by is its kind.
cdef dict kinds = {}  # typecodes and types of ctypes -> kind


def _simple_types(dict types):
    """Tells which typecodes and types are simple: {what a user calls it: code of its type in ctypes}."""
    kinds.update({key: ord(code) for key, code in types.items()})


cdef unsigned size_of(char kind) noexcept nogil:
    if kind == b"c" or kind == b"b" or kind == b"B" or kind == b"?":
        return 1
    if kind == b"h" or kind == b"H":
        return sizeof(short)
    if kind == b"i" or kind == b"I" or kind == b"f":
        return 4
    if kind == b"u":
        return sizeof(wchar_t)
    if kind == b"l" or kind == b"L":
        return sizeof(long)
    return 8


cdef bint is_integer(char kind) noexcept nogil:
    return kind in b"bBhHiIlLqQ"


cdef bint is_number(char kind) noexcept nogil:
    return kind in b"bBhHiIlLqQfd"


cdef char *format_of(char kind) noexcept:
    """As the struct module calls it; a wide character as array and NumPy do."""
    cdef const char *codes = b"c\0b\0B\0h\0H\0i\0I\0l\0L\0q\0Q\0f\0d\0?\0w"
    if kind == b"u":
        kind = b"w"
    while codes[0] != kind:
        codes += 2
    return <char *>codes


cdef object load(char kind, const datum *d):
    if kind == b"i":
        return PyLong_FromLong(d.i)
    if kind == b"d":
        return PyFloat_FromDouble(d.d)
    if kind == b"l":
        return PyLong_FromLong(d.l)
    if kind == b"q":
        return PyLong_FromLongLong(d.q)
    if kind == b"c":
        return PyBytes_FromStringAndSize(&d.c, 1)
    if kind == b"u":
        return PyUnicode_FromWideChar(&d.u, 1)
    if kind == b"b":
        return PyLong_FromLong(d.b)
    if kind == b"B":
        return PyLong_FromLong(d.B)
    if kind == b"?":
        return d.B != 0
    if kind == b"h":
        return PyLong_FromLong(d.h)
    if kind == b"H":
        return PyLong_FromLong(d.H)
    if kind == b"I":
        return PyLong_FromUnsignedLong(d.I)
    if kind == b"L":
        return PyLong_FromUnsignedLong(d.L)
    if kind == b"Q":
        return PyLong_FromUnsignedLongLong(d.Q)
    return PyFloat_FromDouble(d.f)


cdef inline object quick_load(char kind, const datum *d):
    """The same, with what is usual in front."""
    if kind == b"i":
        return PyLong_FromLong(d.i)
    if kind == b"q":
        return PyLong_FromLongLong(d.q)
    return load(kind, d)


cdef int refuse(str name, object value) except -1:
    """What ctypes says, which differs from version to version."""
    import ctypes

    getattr(ctypes, name)(value)
    raise TypeError(f"{name} expected instead of {type(value).__name__} instance")


cdef int store(char kind, datum *d, object value) except -1:
    """Converts as ctypes does: integers wrap round, floats are rounded, and these are its errors."""
    cdef unsigned long long n
    if kind == b"d":
        d.d = PyFloat_AsDouble(value)
    elif kind == b"f":
        d.f = <float>PyFloat_AsDouble(value)
    elif kind == b"?":
        d.B = 1 if value else 0
    elif kind == b"c":
        if PyBytes_Check(value) and PyBytes_Size(value) == 1:
            d.c = PyBytes_AsString(value)[0]
        elif PyByteArray_Check(value) and PyByteArray_Size(value) == 1:
            d.c = PyByteArray_AsString(value)[0]
        elif isinstance(value, int) and 0 <= value <= 255:
            d.B = <unsigned char><long>value
        else:
            refuse("c_char", value)
    elif kind == b"u":
        if not isinstance(value, str) or len(<str>value) != 1:
            refuse("c_wchar", value)
        PyUnicode_AsWideChar(value, &d.u, 1)
    else:
        n = integer(value)
        if kind == b"i" or kind == b"I":
            d.I = <unsigned int>n
        elif kind == b"b" or kind == b"B":
            d.B = <unsigned char>n
        elif kind == b"h" or kind == b"H":
            d.H = <unsigned short>n
        elif kind == b"l" or kind == b"L":
            d.L = <unsigned long>n
        else:
            d.Q = n
    return 0


cdef inline int quick_store(char kind, datum *d, object value) except -1:
    """The same, with what is usual in front."""
    cdef long n
    if kind == b"i" and short_int(value, &n):
        d.i = <int>n
        return 0
    if (kind == b"q" or (kind == b"l" and sizeof(long) == 8)) and short_int(value, &n):
        d.q = n
        return 0
    return store(kind, d, value)


cdef inline unsigned long long integer(object value) except? -1:
    cdef long n
    if short_int(value, &n):
        return <unsigned long long>n
    if not PyLong_CheckExact(value):
        value = PyNumber_Index(value)
    return PyLong_AsUnsignedLongLongMask(value)


# ---- atomic operations


cdef int not_a_number(object name) except -1:
    raise TypeError(f"a {name} is no number: nothing can be added to it")


cdef int addend(char kind, object n, datum *d) except -1:
    """What is to be added, in the widest form of its kind."""
    if kind == b"d" or kind == b"f":
        d.d = PyFloat_AsDouble(n)
    else:
        d.Q = integer(n)
    return 0


cdef void plus(char kind, datum *d, const datum *n) noexcept nogil:
    if kind == b"d":
        d.d += n.d
    elif kind == b"f":
        d.f = <float>(d.f + n.d)
    elif kind == b"i" or kind == b"I":
        d.I += <unsigned int>n.Q
    elif kind == b"b" or kind == b"B":
        d.B += <unsigned char>n.Q
    elif kind == b"h" or kind == b"H":
        d.H += <unsigned short>n.Q
    elif kind == b"l" or kind == b"L":
        d.L += <unsigned long>n.Q
    else:
        d.Q += n.Q


cdef bint equal(char kind, const datum *a, const datum *b) noexcept nogil:
    """As Python compares them, but that NaN equals itself."""
    cdef unsigned size = size_of(kind)
    if kind == b"d":
        return a.d == b.d or (a.d != a.d and b.d != b.d)
    if kind == b"f":
        return a.f == b.f or (a.f != a.f and b.f != b.f)
    if kind == b"?":
        return (a.B != 0) == (b.B != 0)
    if size == 1:
        return a.B == b.B
    if size == 2:
        return a.H == b.H
    if size == 4:
        return a.I == b.I
    return a.Q == b.Q


def is_simple(what):
    """Is a type, or a typecode, one that needs no ctypes?"""
    return what in kinds


# ---- memory


cdef class Memory(Block):
    """Where a value or an array lies: a buffer of bytes, and, lock-free, a datum of a simple type."""

    cdef char *data
    cdef Py_ssize_t length   # bytes
    cdef char kind           # for the lock-free operations

    def __cinit__(self):
        self.kind = OTHER

    cdef int place(self, size_t at, Py_ssize_t length) except -1:
        self.data = <char *>self.addr + at
        self.length = length
        return 0

    def _parts(self):
        """(arena, offset, size, where the datum begins, its length): what another process needs to map it."""
        return (*self._place(), self.size, self.data - <char *>self.addr, self.length)

    def _attach(self, Arena arena, uint64_t offset, size_t size, size_t at, size_t length):
        if at > size or length > size - at:
            raise ValueError("a datum outside its memory")
        self._map(arena, offset, size)
        self.place(at, length)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.length, 0, flags)

    def create_memoryview(self):
        """As of multiprocessing.heap.BufferWrapper."""
        return memoryview(self)

    def _lock_free(self, kind):
        """Gives it the operations of a kind: (add, exchange, compare_exchange), or None where it has none."""
        self.kind = kinds.get(kind, OTHER)
        return (self.add, self.exchange, self.compare_exchange) if self.kind else None

    cdef unsigned datum_size(self) except 0:
        if self.kind == OTHER:
            raise TypeError("this memory is no datum of a simple type")
        return size_of(self.kind)

    def add(self, n):
        """Add n, atomically, and answer the new value.

        Integers wrap round, as they do when assigned. TypeError where the value or n is no number.
        """
        cdef datum d, seen, more
        cdef unsigned size = self.datum_size()
        if not is_number(self.kind):
            not_a_number({"c": "c_char", "u": "c_wchar", "?": "c_bool"}[chr(self.kind)])
        addend(self.kind, n, &more)
        pf_datum_load(self.data, &seen, size)
        while True:
            d = seen
            plus(self.kind, &d, &more)
            if pf_datum_replace(self.data, &seen, &d, size):
                return load(self.kind, &d)

    def exchange(self, value):
        """Set it, atomically, and answer the value before."""
        cdef datum d, was
        cdef unsigned size = self.datum_size()
        store(self.kind, &d, value)
        pf_datum_exchange(self.data, &d, &was, size)
        return load(self.kind, &was)

    def compare_exchange(self, expected, value):
        """Set it if it is `expected` (converted as if assigned), atomically; whether it was.

        NaN is taken for equal to itself.
        """
        cdef datum want, d, seen
        cdef unsigned size = self.datum_size()
        store(self.kind, &want, expected)
        store(self.kind, &d, value)
        pf_datum_load(self.data, &seen, size)
        while equal(self.kind, &seen, &want):
            if pf_datum_replace(self.data, &seen, &d, size):
                return True
        return False


def new_memory(Py_ssize_t length):
    """Zeroed shared memory, without a lock."""
    cdef Memory self = Memory.__new__(Memory)
    self.allocate(length if length > 0 else 1)
    self.place(0, length)
    return self


def lock_in(Memory memory not None, SharedRLock lock not None):
    """Makes a new RLock the one that lies in front of the datum."""
    lock.lie_in(memory, sizeof(pf_lock))
    lock.set_flags(0)
    return lock


# ---- objects with a lock


cdef enum:  # how to leave what was entered
    HELD = 0     # the caller had it before
    TAKEN = 1    # for one access: nobody need be told if this process dies in it
    COUNTED = 2
    FOREIGN = 3


@cython.no_gc_clear  # its pointers are good as long as it is there
cdef class SharedObject:
    """A lock, and memory or an object of ctypes. Of our memory, locks and objects are made when somebody asks for them."""

    cdef Memory memory       # None where an object lies that is not ours
    cdef char *data
    cdef Py_ssize_t length   # items of an array
    cdef Py_ssize_t size     # bytes of an item; 0 where OTHER
    cdef char kind
    cdef pf_lock *rlock      # NULL: `lock` is any object with acquire and release
    cdef pf_arena *home      # where it lies
    cdef pf_guard *guard     # the lock in front of a datum of a simple type, else NULL
    cdef object lock         # None: it lies in `memory`, and nobody has asked for it
    cdef object obj          # None: nobody has asked for it

    # ---- construction

    cdef int begin(self, char kind, Py_ssize_t length) except -1:
        """New memory for so many items of a kind, and a lock."""
        self.kind = kind
        self.size = size_of(kind)
        self.length = length
        if length > PY_SSIZE_T_MAX // self.size:
            raise OverflowError("array too large")
        return self.allocate(length * self.size)

    cdef int allocate(self, size_t length) except -1:
        cdef Memory memory = Memory.__new__(Memory)
        if length <= PF_ARENA_MOST - DATUM_AT:
            memory.allocate(DATUM_AT + length)
            memory.place(DATUM_AT, length)
            self.own_lock(memory)
        else:  # a memory file of its own, which is no place for locks
            memory.allocate(length)
            memory.place(0, length)
            self.use_lock(self._new_lock(None), True)
        self.memory = memory
        self.data = memory.data
        return 0

    cdef bint lock_is_within(self) noexcept:
        return self.memory is not None and self.rlock == <pf_lock *>self.memory.addr

    cdef void watch(self) noexcept:
        """From now on the datum may be read while its lock is free."""
        if self.lock_is_within():
            self.guard = <pf_guard *>self.memory.addr

    cdef void own_lock(self, Memory memory) noexcept:
        self.rlock = <pf_lock *>memory.addr
        self.home = memory.arena.a

    cdef int use_lock(self, object lock, bint direct) except -1:
        cdef SharedRLock rlock
        self.lock = lock
        if direct:
            rlock = lock
            self.rlock = rlock.lock()
            self.home = rlock.arena.a
        return 0

    def _allocate(self, size_t length):
        """New memory of so many bytes, and a lock: for an object that `_adopt` is told of."""
        self.allocate(length)
        return self.memory

    def _use_lock(self, lock, bint direct):
        """direct: it is an RLock of ours none of whose methods anybody has overridden."""
        self.use_lock(lock, direct)

    def _use_memory(self, Memory memory not None, bint locked):
        """Memory from the parent process; with a lock in front of the datum, or not."""
        if locked:
            if memory.data - <char *>memory.addr != DATUM_AT:
                raise ValueError("there is no lock in this memory")
            self.own_lock(memory)
        self.memory = memory
        self.data = memory.data

    def _adopt(self, obj, kind, Py_ssize_t length):
        """The object of ctypes (None: to be made when asked for) and what it is made of: of which kind, how many.
        A kind that is no simple one, or memory that is not ours: no more than the object is known."""
        cdef object memory = self.memory if obj is None else getattr(obj, "_wrapper", None)
        self.obj = obj
        self.kind = kinds.get(kind, OTHER)
        if self.kind == OTHER or not isinstance(memory, Memory):
            self.kind = OTHER
            return
        self.size = size_of(self.kind)
        self.length = length
        if length < 0 or length > (<Memory>memory).length // self.size:
            raise ValueError("an object larger than its memory")
        self.memory = memory
        self.data = self.memory.data
        if obj is None:
            self.watch()

    # ---- the lock

    cdef int enter_otherwise(self, bint brief) except -1:
        cdef pf_owner dead
        cdef int rc = -EINTR
        if self.rlock == NULL:
            self.lock.acquire()
            return FOREIGN
        while rc == -EINTR:
            with nogil:
                if brief:
                    rc = pf_lock_acquire(self.rlock, self.home, PF_FOREVER, PF_LOCK_ROBUST | PF_LOCK_BRIEF, &dead)
                else:
                    rc = pf_rlock_acquire(self.rlock, self.home, PF_FOREVER, 0, &dead)
            if rc == -EINTR:
                PyErr_CheckSignals()
        if rc == -PF_EOWNERDEAD:
            pf_lock_release(self.rlock)  # whatever its count: if this process dies before it tells, the next one must
            raise owner_died(self.get_lock(), &dead)
        check(rc)
        return TAKEN if brief else COUNTED

    cdef int leave_otherwise(self, int how) except -1:
        if how == COUNTED:
            pf_rlock_drop(self.rlock, self.home)
        elif how == FOREIGN:
            self.lock.release()
        return 0

    @cython.always_allow_keywords(False)
    def get_lock(self):
        """The lock: an RLock, unless it was made with another one."""
        return self.lock if self.lock is not None else self.first_lock()

    cdef object first_lock(self):
        lock = self._new_lock(self.memory)
        with cython.critical_section(self):
            if self.lock is None:
                self.lock = lock
        return self.lock

    @property
    def _lock(self):
        return self.get_lock()

    def acquire(self, *args, **kwargs):
        """Acquire its lock, with the arguments that the lock takes."""
        return self.get_lock().acquire(*args, **kwargs)

    def release(self):
        """Release its lock."""
        return self.get_lock().release()

    def __enter__(self):
        return self.get_lock().__enter__()

    def __exit__(self, *exc):
        return self.get_lock().__exit__(*exc)

    # ---- the object of ctypes

    def get_obj(self):
        """The object of ctypes, in the same memory; what is done with it does not take the lock."""
        return self.obj if self.obj is not None else self.first_obj()

    cdef object first_obj(self):
        obj = self._new_obj(chr(self.kind), self.length, self.memory)
        if self.guard != NULL:
            pf_guard_expose(self.guard)
        with cython.critical_section(self):
            if self.obj is None:
                self.obj = obj
        return self.obj

    @property
    def _obj(self):
        return self.get_obj()

    def _parts(self):
        """(memory, lock): None for memory that is not ours, and for a lock that lies in it."""
        return self.memory, None if self.lock_is_within() else self.lock


cdef inline int enter(SharedObject self) except -1:
    """For one access, or one that only reads."""
    cdef int how = pf_rlock_enter(self.rlock, self.home) if self.rlock != NULL else -1
    return how if how >= 0 else self.enter_otherwise(True)


cdef inline int enter_to_change(SharedObject self) except -1:
    """For several: whoever finds this process dead in between is told."""
    if self.rlock != NULL and pf_rlock_take(self.rlock, self.home):
        return COUNTED
    return self.enter_otherwise(False)


cdef inline int leave(SharedObject self, int how) except -1:
    if how == TAKEN:
        pf_lock_drop(self.rlock)
        return 0
    return 0 if how == HELD else self.leave_otherwise(how)


cdef inline void put(SharedObject self, int how, const datum *d) noexcept:
    """Stores a datum under the lock."""
    if how != TAKEN and self.guard != NULL:
        pf_guard_change(self.guard)
    pf_datum_store(self.data, d, self.size)


cdef object blank(type cls):
    """A new instance, without __init__."""
    return cls.__new__(cls)


cdef class SharedValue(SharedObject):
    """A datum with a lock."""

    @property
    def value(self):
        """The value, read and set under the lock. Integers out of range wrap round, as in ctypes."""
        cdef datum d
        if self.guard != NULL and pf_guard_read(self.guard, self.home, self.data, &d, self.size):
            return quick_load(self.kind, &d)
        return self.read()

    @value.setter
    def value(self, value):
        cdef int how
        cdef datum d
        if self.kind == OTHER:
            self.write(value)
            return
        quick_store(self.kind, &d, value)
        how = enter(self)
        put(self, how, &d)
        leave(self, how)

    cdef object read(self):
        cdef datum d
        cdef int how = enter(self)
        if self.kind == OTHER:
            try:
                return self.get_obj().value
            finally:
                leave(self, how)
        pf_datum_load(self.data, &d, self.size)
        leave(self, how)
        return load(self.kind, &d)

    cdef int write(self, value) except -1:
        cdef int how = enter_to_change(self)
        try:
            self.get_obj().value = value
        finally:
            leave(self, how)
        return 0

    def add(self, n):
        """Add n and answer the new value, under the lock: no update by others who take it is lost.

        As `value += n`: integers wrap round. TypeError where the value or n is no number.
        """
        cdef int how
        cdef datum d, more
        if self.kind == OTHER:
            return self.add_other(n)
        if not is_number(self.kind):
            not_a_number(type(self.get_obj()).__name__)
        addend(self.kind, n, &more)
        how = enter(self)
        pf_datum_load(self.data, &d, self.size)
        plus(self.kind, &d, &more)
        put(self, how, &d)
        leave(self, how)
        return load(self.kind, &d)

    cdef object add_other(self, n):
        obj = self.get_obj()
        if obj._type_ in "bBhHiIlLqQ":
            n = PyNumber_Index(n)
        elif obj._type_ in "fdg":
            n = PyFloat_AsDouble(n)
        else:
            not_a_number(type(obj).__name__)
        cdef int how = enter_to_change(self)
        try:
            obj.value += n
            return obj.value
        finally:
            leave(self, how)

    def exchange(self, value):
        """Set it and answer the value before, under the lock."""
        cdef int how
        cdef datum d, was
        if self.kind == OTHER:
            obj = self.get_obj()
            new = type(obj)(value).value
            how = enter_to_change(self)
            try:
                old = obj.value
                obj.value = new
                return old
            finally:
                leave(self, how)
        store(self.kind, &d, value)
        how = enter(self)
        pf_datum_load(self.data, &was, self.size)
        put(self, how, &d)
        leave(self, how)
        return load(self.kind, &was)

    def compare_exchange(self, expected, value):
        """Set it if it is `expected` (converted as if assigned), under the lock; whether it was.

        NaN is taken for equal to itself.
        """
        cdef int how
        cdef bint found
        cdef datum d, want, seen
        if self.kind == OTHER:
            obj = self.get_obj()
            expected, new = type(obj)(expected).value, type(obj)(value).value
            how = enter_to_change(self)
            try:
                old = obj.value
                if old != expected and (old == old or expected == expected):
                    return False
                obj.value = new
                return True
            finally:
                leave(self, how)
        store(self.kind, &want, expected)
        store(self.kind, &d, value)
        how = enter(self)
        pf_datum_load(self.data, &seen, self.size)
        found = equal(self.kind, &seen, &want)
        if found:
            put(self, how, &d)
        leave(self, how)
        return found


def new_value(type cls not None, what, tuple args not None):
    """A value of class cls, a SharedValue's; None where its type is no simple one."""
    cdef object kind = kinds.get(what)
    if kind is None:
        return None
    if len(args) > 1:
        raise TypeError(f"__init__ expected at most 1 argument, got {len(args)}")
    cdef datum d
    cdef SharedValue self
    if args:
        store(kind, &d, args[0])
    self = blank(cls)
    self.begin(kind, 1)
    self.watch()
    if args:
        pf_datum_store(self.data, &d, self.size)
    return self


# ---- arrays


cdef int wrong_length() except -1:
    raise ValueError("Can only assign sequence of same size")


cdef bint same_layout(char kind, const Py_buffer *view) noexcept:
    """Are the items of a buffer, as bytes, what assigning them one by one would store?"""
    cdef const char *format = b"B"
    if view.format != NULL:
        format = view.format
    cdef unsigned size = size_of(kind)
    cdef char code
    if format[0] == b"@" or format[0] == b"=" or (format[0] == b"<" and NATIVE_LITTLE):
        format += 1
    code = format[0]
    if code == 0 or format[1] != 0 or view.ndim != 1 or view.itemsize != size or size_of(code) != size:
        return False
    if kind == b"c":
        return code == b"B" or code == b"c"
    if is_integer(kind):
        return is_integer(code)
    return code == kind and (kind == b"f" or kind == b"d")


cdef bint copy_buffer(char kind, object values, char *to, Py_ssize_t n) except -1:
    """Copies the items where they are a buffer of the same layout; False where they are not."""
    cdef Py_buffer view
    cdef Py_ssize_t k, size = size_of(kind)
    cdef const char *at
    try:
        PyObject_GetBuffer(values, &view, PyBUF_FORMAT | PyBUF_STRIDES)
    except (BufferError, ValueError, TypeError):
        return False
    try:
        if not same_layout(kind, &view):
            return False
        if view.shape[0] != n:
            wrong_length()
        at = <const char *>view.buf
        if view.strides == NULL or view.strides[0] == size:  # ctypes gives none
            memcpy(to, at, n * size)
        else:
            for k in range(n):
                memcpy(to + k * size, at + k * view.strides[0], size)
        return True
    finally:
        PyBuffer_Release(&view)


cdef int convert(char kind, object values, char *to, Py_ssize_t n) except -1:
    """Writes the n items of a sequence to private memory. ValueError where there are more or fewer."""
    cdef Py_ssize_t k = -1, size = size_of(kind)
    cdef datum d
    if isinstance(values, SharedArray):
        values = values[:]  # under its lock
    if isinstance(values, (list, tuple)):
        for k in range(n):
            if k >= len(values):  # a conversion of an item may change the list
                wrong_length()
            store(kind, &d, values[k])
            pf_datum_store(to + k * size, &d, size)
        if len(values) != n:
            wrong_length()
        return 0
    if PyObject_CheckBuffer(values) and copy_buffer(kind, values, to, n):
        return 0
    try:
        k = len(values)
    except TypeError:
        wrong_length()
    if k != n:
        wrong_length()
    if kind == b"u" and isinstance(values, str):
        PyUnicode_AsWideChar(values, <wchar_t *>to, n)
        return 0
    for k in range(n):
        store(kind, &d, PySequence_GetItem(values, k))
        pf_datum_store(to + k * size, &d, size)
    return 0


cdef class SharedArray(SharedObject):
    """Items with a lock. A buffer of their type, which shares the memory."""

    def __len__(self):
        return self.length if self.kind != OTHER else len(self.get_obj())

    def __getitem__(self, index):
        cdef int how
        cdef datum d
        cdef Py_ssize_t start, stop, step
        if self.kind == OTHER:
            how = enter(self)
            try:
                return self.get_obj()[index]
            finally:
                leave(self, how)
        if PyIndex_Check(index):
            start = self.at(index)
            how = enter(self)
            pf_datum_load(self.data + start * self.size, &d, self.size)
            leave(self, how)
            return load(self.kind, &d)
        if not PySlice_Check(index):
            raise TypeError("indices must be integers")
        PySlice_Unpack(index, &start, &stop, &step)
        stop = PySlice_AdjustIndices(self.length, &start, &stop, step)
        return self.items(start, step, stop)

    def __delitem__(self, index):
        raise TypeError("Array does not support item deletion")

    def __setitem__(self, index, value):
        cdef int how
        cdef datum d
        cdef Py_ssize_t start, stop, step
        if self.kind == OTHER:
            how = enter_to_change(self)
            try:
                self.get_obj()[index] = value
                return
            finally:
                leave(self, how)
        if PyIndex_Check(index):
            start = self.at(index)
            quick_store(self.kind, &d, value)
            how = enter(self)
            pf_datum_store(self.data + start * self.size, &d, self.size)
            leave(self, how)
            return
        if not PySlice_Check(index):
            raise TypeError("indices must be integers")
        PySlice_Unpack(index, &start, &stop, &step)
        stop = PySlice_AdjustIndices(self.length, &start, &stop, step)
        self.assign(start, step, stop, value)

    cdef Py_ssize_t at(self, object index) except -1:
        cdef Py_ssize_t k = PyNumber_AsSsize_t(index, IndexError)
        if k < 0:
            k += self.length
        if k < 0 or k >= self.length:
            raise IndexError("invalid index")
        return k

    cdef object items(self, Py_ssize_t start, Py_ssize_t step, Py_ssize_t n):
        """A list; bytes of c, a str of u."""
        cdef Py_ssize_t k
        cdef datum d
        cdef object item, result
        cdef char *to
        cdef int how
        if self.kind != b"c" and self.kind != b"u":
            result = PyList_New(n)
            how = enter(self)
            try:
                for k in range(n):
                    pf_datum_load(self.data + (start + k * step) * self.size, &d, self.size)
                    item = quick_load(self.kind, &d)
                    Py_INCREF(item)
                    PyList_SET_ITEM(result, k, item)
            finally:
                leave(self, how)
            return result
        result = PyBytes_FromStringAndSize(NULL, n * self.size)
        to = PyBytes_AS_STRING(result)
        how = enter(self)
        if step == 1:
            memcpy(to, self.data + start * self.size, n * self.size)
        else:
            for k in range(n):
                memcpy(to + k * self.size, self.data + (start + k * step) * self.size, self.size)
        leave(self, how)
        return result if self.kind == b"c" else PyUnicode_FromWideChar(<const wchar_t *>to, n)

    cdef int assign(self, Py_ssize_t start, Py_ssize_t step, Py_ssize_t n, object values) except -1:
        """All or nothing: converts first, which may fail."""
        cdef uint64_t small[64]
        cdef char *converted = <char *>small
        cdef Py_ssize_t k, bytes = n * self.size
        cdef int how
        if bytes > <Py_ssize_t>sizeof(small):
            converted = <char *>PyMem_Malloc(bytes)
            if converted == NULL:
                raise MemoryError
        try:
            convert(self.kind, values, converted, n)
            how = enter_to_change(self)
            if step == 1:
                memcpy(self.data + start * self.size, converted, bytes)
            else:
                for k in range(n):
                    memcpy(self.data + (start + k * step) * self.size, converted + k * self.size, self.size)
            leave(self, how)
        finally:
            if converted != <char *>small:
                PyMem_Free(converted)
        return 0

    def __getbuffer__(self, Py_buffer *view, int flags):
        cdef Py_buffer other
        if self.kind == OTHER:
            PyObject_GetBuffer(self.get_obj(), &other, flags)
            view.buf, view.len, view.itemsize, view.readonly = other.buf, other.len, other.itemsize, other.readonly
            view.ndim, view.format, view.shape, view.strides = other.ndim, other.format, other.shape, other.strides
            view.suboffsets = other.suboffsets
            PyBuffer_Release(&other)  # they are the type's, and the object is kept
        else:
            view.buf = self.data
            view.len = self.length * self.size
            view.itemsize = self.size
            view.readonly = 0
            view.ndim = 1
            view.format = format_of(self.kind) if flags & PyBUF_FORMAT else NULL
            view.shape = &self.length if flags & PyBUF_ND else NULL
            view.strides = &self.size if (flags & PyBUF_STRIDES) == PyBUF_STRIDES else NULL
            view.suboffsets = NULL
        view.internal = NULL
        view.obj = self


cdef class SharedString(SharedArray):
    """An array of c_char."""

    @property
    def value(self):
        """The bytes up to the first zero. Set: as many as are given, and a zero if there is room. Under the lock."""
        cdef int how
        if self.kind == OTHER:
            how = enter(self)
            try:
                return self.get_obj().value
            finally:
                leave(self, how)
        raw = self.items(0, 1, self.length)
        return raw.partition(b"\0")[0]

    @value.setter
    def value(self, value):
        if not isinstance(value, bytes):
            raise TypeError(f"bytes expected instead of {type(value).__name__} instance")
        if len(value) < len(self):
            value = value + b"\0"
        self.put(value)

    @property
    def raw(self):
        """All the bytes. Set: as many as are given, which may be fewer. Under the lock."""
        cdef int how
        if self.kind == OTHER:
            how = enter(self)
            try:
                return self.get_obj().raw
            finally:
                leave(self, how)
        return self.items(0, 1, self.length)

    @raw.setter
    def raw(self, value):
        cdef Py_buffer view
        PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
        PyBuffer_Release(&view)
        self.put(bytes(value))

    cdef int put(self, bytes value) except -1:
        cdef int how
        if len(value) > len(self):
            raise ValueError("byte string too long")
        how = enter_to_change(self)
        if self.kind != OTHER:
            memcpy(self.data, PyBytes_AS_STRING(value), len(value))
            return leave(self, how)
        try:
            self.get_obj().raw = value
        finally:
            leave(self, how)


def new_array(type cls not None, type of_chars not None, what, size_or_initializer):
    """An array of class cls, a SharedArray's, or of_chars; None where the type of its items is no simple one."""
    cdef object kind = kinds.get(what)
    cdef SharedArray self
    cdef Py_ssize_t n
    if kind is None:
        return None
    self = blank(of_chars if <char>kind == b"c" else cls)
    if isinstance(size_or_initializer, int):
        n = PyNumber_AsSsize_t(size_or_initializer, OverflowError)
        if n < 0:
            raise ValueError(f"Array length must be >= 0, not {n}")
        self.begin(kind, n)
    else:
        n = len(size_or_initializer)
        self.begin(kind, n)
        if isinstance(size_or_initializer, (str, bytes, list, tuple)) or PyObject_CheckBuffer(size_or_initializer):
            convert(kind, size_or_initializer, self.data, n)
        else:
            convert(kind, list(size_or_initializer), self.data, n)
    return self
