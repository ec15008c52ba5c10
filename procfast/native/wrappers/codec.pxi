# Objects to payloads and back. A payload begins with a tag:
#
#   N T F        None, True, False
#   i d          int64, float: 8 bytes
#   s b a        str (UTF-8), bytes, bytearray: the rest
#   r            bytes of send_bytes: the rest
#   B A R        bytes, bytearray, bytes of send_bytes: in the message's only block
#   c e w        the same in the parts that follow: length (64 bits)
#   (            flat tuple: count, then items; s and b with a 32-bit length before them
#   P            pickle: the rest
#   K            pickle in the message's last block; buffers before it
#   Q            pickle, the rest behind a table of buffers
#   S            pickle in the parts that follow, behind the streamed buffers
#
# K, Q and S: count (32 bits), pickle length (64 bits; K: 0), then per buffer length << 3 | streamed << 2 |
# in block << 1 | read-only, then the buffers that are in no block and not streamed, then (Q) the pickle.
#
# Parts follow only on a link's rings: link.pxi.
#
# Only exact types have a code of their own: subclasses keep their type by being pickled.

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyObject_GetBuffer, PyBuffer_Release
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_CheckExact, PyByteArray_FromStringAndSize, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact, PyFloat_FromDouble
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact, PyLong_FromLongLong
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.ref cimport Py_INCREF, PyObject
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from cpython.unicode cimport PyUnicode_CheckExact, PyUnicode_DecodeUTF8
from libc.stdlib cimport free, malloc, realloc

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    int PyBUF_READ

import copyreg as _copyreg
import pickle as _pickle
import sys as _sys
from multiprocessing.reduction import ForkingPickler as _ForkingPickler

cdef enum:
    SMALL = 224           # bytes of a message that is built on the C stack
    ITEM_MAX = 65536      # a longer str or bytes is not put into a tuple's flat code
    TUPLE_MAX = 32        # nor is a longer tuple
    OUT_OF_BAND = 1024    # smaller buffers are cheaper inside the pickle
    BLOCK_LEAST = 32768   # PF_INLINE_MAX: from here on a buffer travels in a block
    NOGIL_COPY = 131072   # longer copies let other threads run
    STREAM_LEAST = 4 << 20 # from here on bytes go through a link in parts
    LOAN_MOST = 32 << 20   # the most of a link's message that goes in blocks, to be lent
    LEND_MOST = 256 << 20 # bytes lent to this process; beyond it received buffers are copied

cdef object _loads = _pickle.loads
cdef object _Pickler = _pickle.Pickler


cdef object _ndarray = None  # numpy's, once numpy is loaded


def _reduce_array(array):
    """A read-only array arrives as it does by multiprocessing's protocol: writable by 4, which it is before Python
    3.14; not by 5, PEP 574, whose buffers stay read-only."""
    return array.__reduce_ex__(5 if array.flags.writeable else _pickle.DEFAULT_PROTOCOL)


cdef class _Reducers:
    """The registry of ForkingPickler as a mapping: later registrations count, nothing is copied."""

    def __getitem__(self, kind):
        global _ndarray
        reducer = (<dict>_ForkingPickler._extra_reducers).get(kind)
        if reducer is None:
            reducer = (<dict>_copyreg.dispatch_table).get(kind)
        if reducer is not None:
            return reducer
        if _ndarray is None:
            numpy = _sys.modules.get("numpy")
            _ndarray = getattr(numpy, "ndarray", None)
        if _ndarray is not None and issubclass(kind, _ndarray):
            return _reduce_array
        raise KeyError(kind)


cdef class _Sink:
    """What a pickler writes to: the pieces of the pickle, and the buffers that stay out of it."""

    cdef list pieces, buffers

    def write(self, piece):
        # Anything but bytes may change before it is sent.
        self.pieces.append(piece if PyBytes_CheckExact(piece) else bytes(piece))

    def keep(self, buffer):
        """buffer_callback: true keeps the buffer in the pickle (PEP 574)."""
        cdef Py_buffer view
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if self.buffers is None or raw.nbytes < OUT_OF_BAND or len(self.buffers) >= PF_MAX_REFS - 1:
            return True
        self.buffers.append(raw)
        return False


cdef object _reducers = _Reducers()
cdef list _spare = []  # picklers at rest: making one costs more than most pickles
cdef latch _spare_latch


cdef object dump(object obj, list pieces, list buffers):
    """Pickles obj into pieces and buffers; buffers None: all into pieces."""
    cdef _Sink sink
    cdef object pickler
    cdef tuple rested = None
    latch_close(&_spare_latch)
    if _spare:
        rested = <tuple>_spare.pop()
    latch_open(&_spare_latch)
    if rested is not None:
        pickler, sink = rested
    else:
        sink = _Sink.__new__(_Sink)
        pickler = _Pickler(sink, 5, buffer_callback=sink.keep)
        pickler.dispatch_table = _reducers
    sink.pieces = pieces
    sink.buffers = buffers
    pickler.dump(obj)  # one that failed is not used again
    sink.pieces = None
    sink.buffers = None
    # A pickler's memo never shrinks, and clearing it takes as long as it is large.
    if len(_spare) < 8 and len(pieces) == 1 and PyBytes_GET_SIZE(pieces[0]) < 65536:
        pickler.clear_memo()
        if rested is None:
            rested = (pickler, sink)
        latch_close(&_spare_latch)
        try:
            _spare.append(rested)
        finally:
            latch_open(&_spare_latch)


cdef struct Flat:
    # A message in one piece, on the stack or from malloc.
    char *data
    size_t len, room
    char small[SMALL]


cdef inline void flat_init(Flat *f) noexcept:
    f.data = f.small
    f.len = 0
    f.room = SMALL


cdef inline void flat_free(Flat *f) noexcept:
    if f.data != f.small:
        free(f.data)


cdef char *flat_more(Flat *f, size_t n) except NULL:
    """n more bytes at the end."""
    cdef size_t room = f.room
    cdef char *data
    if f.len + n > room:
        while f.len + n > room:
            room *= 2
        data = <char *>malloc(room)
        if data == NULL:
            raise MemoryError()
        memcpy(data, f.data, f.len)
        flat_free(f)
        f.data = data
        f.room = room
    data = f.data + f.len
    f.len += n
    return data


cdef inline int flat_tag(Flat *f, char tag, const void *body, size_t n) except -1:
    cdef char *at = flat_more(f, n + 1)
    at[0] = tag
    if n:  # body may be NULL
        memcpy(at + 1, body, n)
    return 0


cdef bint encode_scalar(object obj, Flat *f, bint inside) except -1:
    """Appends obj's own code; False where it has none (nothing is appended)."""
    cdef int overflow = 0
    cdef long long number
    cdef double real
    cdef Py_ssize_t n
    cdef const char *text
    cdef char *at
    cdef char tag
    if PyLong_CheckExact(obj):
        number = PyLong_AsLongLongAndOverflow(obj, &overflow)
        if overflow:
            return False
        flat_tag(f, b"i", &number, 8)
        return True
    if PyUnicode_CheckExact(obj):
        if len(<str>obj) > ITEM_MAX // 4:
            return False
        try:
            text = PyUnicode_AsUTF8AndSize(obj, &n)
        except UnicodeEncodeError:  # lone surrogates: pickle knows them
            return False
        tag = b"s"
    elif PyBytes_CheckExact(obj):
        n = PyBytes_GET_SIZE(obj)
        if n > ITEM_MAX // 4:
            return False
        text = PyBytes_AS_STRING(obj)
        tag = b"b"
    elif PyFloat_CheckExact(obj):
        real = PyFloat_AS_DOUBLE(obj)
        flat_tag(f, b"d", &real, 8)
        return True
    elif obj is None:
        flat_tag(f, b"N", NULL, 0)
        return True
    elif obj is True:
        flat_tag(f, b"T", NULL, 0)
        return True
    elif obj is False:
        flat_tag(f, b"F", NULL, 0)
        return True
    else:
        return False
    cdef uint32_t size = <uint32_t>n
    if inside:
        flat_tag(f, tag, &size, 4)
        memcpy(flat_more(f, n), text, n)
    else:
        flat_tag(f, tag, text, n)
    return True


cdef bint encode_flat(object obj, Flat *f) except -1:
    """Appends a direct code for the small and common; False where there is none."""
    cdef size_t start = f.len
    cdef Py_ssize_t i, n
    cdef char *at
    if not PyTuple_CheckExact(obj):
        return encode_scalar(obj, f, False)
    n = PyTuple_GET_SIZE(obj)
    if n > TUPLE_MAX:
        return False
    at = flat_more(f, 2)
    at[0] = b"("
    at[1] = <char>n
    for i in range(n):
        if not encode_scalar(<object>PyTuple_GET_ITEM(obj, i), f, True):
            f.len = start
            return False
    return True


cdef object decode_scalar(const char *data, size_t n, size_t *used):
    """One item of a tuple; checked, since it comes from shared memory."""
    cdef long long number
    cdef double real
    cdef uint32_t size
    cdef char tag
    if n < 1:
        raise corrupted()
    tag = data[0]
    used[0] = 1
    if tag == b"N":
        return None
    if tag == b"T":
        return True
    if tag == b"F":
        return False
    if tag == b"i" or tag == b"d":
        if n < 9:
            raise corrupted()
        used[0] = 9
        if tag == b"i":
            memcpy(&number, data + 1, 8)
            return PyLong_FromLongLong(number)
        memcpy(&real, data + 1, 8)
        return PyFloat_FromDouble(real)
    if n < 5:
        raise corrupted()
    memcpy(&size, data + 1, 4)
    if size > n - 5:
        raise corrupted()
    used[0] = 5 + <size_t>size
    if tag == b"s":
        return PyUnicode_DecodeUTF8(data + 5, size, NULL)
    if tag == b"b":
        return PyBytes_FromStringAndSize(data + 5, size)
    raise corrupted()


cdef object corrupted():
    from procfast.exceptions import RingCorrupted
    return RingCorrupted("a message in shared memory has an impossible code")


cdef object copy_out(const void *base, uint64_t n, bint as_bytes):
    """The bytes at base as bytes or bytearray."""
    cdef object out
    cdef char *to
    if n > <uint64_t>PY_SSIZE_T_MAX:
        raise corrupted()
    if as_bytes:
        out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>n)
        to = PyBytes_AS_STRING(out)
    else:
        out = PyByteArray_FromStringAndSize(NULL, <Py_ssize_t>n)
        to = PyByteArray_AS_STRING(out)
    if n >= NOGIL_COPY:
        with nogil:
            memcpy(to, base, n)
    else:
        memcpy(to, base, n)
    return out


cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX


cdef object decode_buffers(Ring ring, pf_box *box, char tag, list streamed):
    """K, Q and S. `streamed`: what came in parts."""
    cdef list buffers = []
    return loads(take_buffers(ring, box, tag, streamed, buffers, False), buffers)


cdef object take_buffers(Ring ring, pf_box *box, char tag, list streamed, list buffers, bint keep):
    """The pickle of K, Q or S, as a view of the box or, with keep, by itself; and its buffers, out of the box."""
    cdef uint32_t count, k, block = 0, part = 0
    cdef uint64_t size, word, n, at
    cdef Loan loan
    if box.len < 13:
        raise corrupted()
    memcpy(&count, box.data + 1, 4)
    memcpy(&size, box.data + 5, 8)
    if count > PF_MAX_REFS or box.len < 13 + 8 * <uint64_t>count:
        raise corrupted()
    at = 13 + 8 * <uint64_t>count
    for k in range(count):
        memcpy(&word, box.data + 13 + 8 * k, 8)
        n = word >> 3
        if word & 4:
            buffers.append(streamed[part])
            part += 1
        elif word & 2:
            if block >= box.nloans or n != box.loans[block].len:
                raise corrupted()
            loan = lend(ring, &box.loans[block])
            if loan is not None:
                buffers.append(loan)
                box.loans[block].base = NULL  # moved into the loan
            else:
                buffers.append(copy_out(box.loans[block].base, n, word & 1))
            block += 1
        else:
            if n > box.len - at:
                raise corrupted()
            buffers.append(copy_out(box.data + at, n, word & 1))
            at += n
    if tag == b"S":
        return memoryview(streamed[part])
    if tag == b"K":
        if block + 1 != box.nloans:
            raise corrupted()
        if keep:
            return copy_out(box.loans[block].base, box.loans[block].len, True)
        return PyMemoryView_FromMemory(<char *>box.loans[block].base, <Py_ssize_t>box.loans[block].len, PyBUF_READ)
    if size != box.len - at:
        raise corrupted()
    if keep:
        return copy_out(box.data + at, size, True)
    return PyMemoryView_FromMemory(box.data + at, <Py_ssize_t>size, PyBUF_READ)


cdef object loads(object view, list buffers):
    """Unpickles from memory that is about to go: nobody may keep a view of it."""
    try:
        return _loads(view, buffers=buffers)
    finally:
        view.release()


cdef object decode(Ring ring, pf_box *box, list streamed):
    """The object of a received message. Blocks that the object does not live on are still the box's.
    `streamed`: what came in parts, or None."""
    cdef const char *data = box.data
    cdef uint64_t n = box.len
    cdef size_t used = 0, at
    cdef Py_ssize_t i, count
    cdef tuple items
    cdef char tag
    if n < 1:
        raise corrupted()
    tag = data[0]
    if tag == b"s":
        return PyUnicode_DecodeUTF8(data + 1, <Py_ssize_t>(n - 1), NULL)
    if tag == b"b":
        return copy_out(data + 1, n - 1, True)
    if tag == b"a":
        return copy_out(data + 1, n - 1, False)
    if tag == b"P":
        if n < BLOCK_LEAST:  # a copy is cheaper than a view
            return _loads(PyBytes_FromStringAndSize(data + 1, <Py_ssize_t>(n - 1)))
        return loads(PyMemoryView_FromMemory(box.data + 1, <Py_ssize_t>(n - 1), PyBUF_READ), None)
    if tag == b"B" or tag == b"A":
        if box.nloans != 1:
            raise corrupted()
        return copy_out(box.loans[0].base, box.loans[0].len, tag == b"B")
    if tag == b"c" or tag == b"e":
        return streamed[0]
    if tag == b"r" or tag == b"R" or tag == b"w":
        return _loads(decode_raw(box, streamed))
    if tag == b"(":
        if n < 2:
            raise corrupted()
        count = <unsigned char>data[1]
        at = 2
        items = PyTuple_New(count)
        for i in range(count):
            item = decode_scalar(data + at, n - at, &used)
            Py_INCREF(item)
            PyTuple_SET_ITEM(items, i, item)
            at += used
        return items
    if tag == b"K" or tag == b"Q" or tag == b"S":
        return decode_buffers(ring, box, tag, streamed)
    return decode_scalar(data, n, &used)


cdef object decode_raw(pf_box *box, list streamed):
    """The bytes of a message of send_bytes; None where it is none."""
    cdef char tag = box.data[0] if box.len else 0
    if tag == b"r":
        return copy_out(box.data + 1, box.len - 1, True)
    if tag == b"R":
        if box.nloans != 1:
            raise corrupted()
        return copy_out(box.loans[0].base, box.loans[0].len, True)
    return streamed[0] if tag == b"w" else None


cdef list parts_of(const pf_box *box):
    """Where the parts of a message go that is not all in the box: bytes and bytearrays, in order."""
    cdef char tag = box.data[0] if box.len else 0
    cdef uint64_t word, n
    cdef uint32_t count, k
    cdef list places = []
    if tag == b"c" or tag == b"e" or tag == b"w":
        if box.len != 9:
            raise corrupted()
        memcpy(&n, box.data + 1, 8)
        places.append(new_place(n, tag != b"e"))
    elif tag == b"K" or tag == b"Q" or tag == b"S":
        if box.len < 13:
            raise corrupted()
        memcpy(&count, box.data + 1, 4)
        if count > PF_MAX_REFS or box.len < 13 + 8 * <uint64_t>count:
            raise corrupted()
        for k in range(count):
            memcpy(&word, box.data + 13 + 8 * k, 8)
            if word & 4:
                places.append(new_place(word >> 3, word & 1))
        if tag == b"S":
            memcpy(&n, box.data + 5, 8)
            places.append(new_place(n, True))
    return places


cdef object new_place(uint64_t n, bint as_bytes):
    if n > <uint64_t>PY_SSIZE_T_MAX - 1024:
        raise corrupted()
    if as_bytes:
        return PyBytes_FromStringAndSize(NULL, <Py_ssize_t>n)
    return PyByteArray_FromStringAndSize(NULL, <Py_ssize_t>n)


cdef object open_box(Ring ring, pf_box *box, list streamed):
    """decode, then gives back what the box still holds, also after an error."""
    try:
        return decode(ring, box, streamed)
    finally:
        drop_box(ring, box)


cdef void drop_box(Ring ring, pf_box *box) noexcept:
    cdef uint32_t k
    for k in range(box.nloans):
        if box.loans[k].base != NULL:
            pf_ring_return(ring.r, &box.loans[k])
    pf_box_clear(box)
