# Link: the memory of a pipe. RingConnection: the methods of its ends.

from cpython.number cimport PyNumber_Index

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef enum:
    CHUNK = 262144   # bytes in a part of a long message: four of them are under way
    IDLE_MOST = 4    # links kept for the next pipe: fresh memory costs more than all else about one

# Links that only this process ever had, as new. Another process image must not use them.
cdef latch idle_latch
cdef pf_link idle[2][IDLE_MOST]
cdef unsigned idle_count[2]
idle_count[0] = idle_count[1] = 0
cdef uint64_t idle_epoch = 0
cdef uint64_t forks = 0  # by this process, or by those that it was forked from


cdef void forget_idle() noexcept:
    global idle_epoch
    cdef unsigned kind, k
    latch_close(&idle_latch)
    for kind in range(2):
        for k in range(idle_count[kind]):
            pf_link_close(&idle[kind][k])
        idle_count[kind] = 0
    idle_epoch = pf_epoch()
    latch_open(&idle_latch)


def _forget_idle_links():
    """Gives back the memory and the descriptors that are kept for the next pipes."""
    forget_idle()


cdef void count_fork() noexcept:
    global forks
    latch_close(&idle_latch)
    forks += 1  # whoever is forked now shares every live link
    latch_open(&idle_latch)


cdef class Link:
    """One or two rings in one anonymous segment (csrc/include/procfast/link.h)."""

    cdef pf_link link
    cdef bint open
    cdef bint shared  # it was handed to another process
    cdef uint64_t born

    def __dealloc__(self):
        cdef unsigned kind = self.link.rings - 1
        if not self.open:
            return
        cdef bint kept = False
        latch_close(&idle_latch)
        if not self.shared and self.born == forks and idle_epoch == pf_epoch() and \
                idle_count[kind] < IDLE_MOST and pf_link_renew(&self.link):
            idle[kind][idle_count[kind]] = self.link
            idle_count[kind] += 1
            kept = True
        latch_open(&idle_latch)
        if not kept:
            pf_link_close(&self.link)

    def _parts(self):
        """(rings, memory): what another process needs to attach."""
        self.shared = True
        return self.link.rings, self.link.fd

    cdef Ring ring(self, unsigned which):
        cdef Ring ring = Ring.__new__(Ring)
        ring.r = self.link.ring[which]
        ring.link = self
        return ring


cdef Link new_link(unsigned rings):
    cdef Link self = Link.__new__(Link)
    hook_forks()
    if idle_epoch != pf_epoch():
        forget_idle()
    latch_close(&idle_latch)
    self.born = forks
    while idle_count[rings - 1] and not self.open:
        idle_count[rings - 1] -= 1
        self.link = idle[rings - 1][idle_count[rings - 1]]
        self.open = pf_link_intact(&self.link)
        if not self.open:
            pf_link_close(&self.link)
    latch_open(&idle_latch)
    if not self.open:
        check(pf_link_create(&self.link, rings))
    self.open = True
    return self


def attach_link(unsigned rings, int fd):
    """A link whose descriptor came from another process; it is the link's own, or closed, afterwards."""
    cdef Link self = Link.__new__(Link)
    cdef int rc = pf_link_attach(&self.link, rings, fd)
    if rc < 0:
        close(fd)
    check(rc)
    self.open = True
    self.shared = True
    return self


# ---- messages of several parts


cdef int send_parts(Ring ring, const pf_iov *head, const pf_loan *refs, unsigned *nrefs, list pieces) except -1:
    """A message whose pieces follow in parts. The blocks are the ring's once the first part is there: then
    *nrefs is 0."""
    cdef uint64_t turn = 0
    cdef int rc
    cdef cbool whole = False
    cdef Py_buffer view
    check(pf_ring_begin(ring.r, &turn))
    while True:
        with nogil:
            rc = pf_ring_put_first(ring.r, turn, head, 1, refs, nrefs[0], PF_FOREVER)
        if rc != -EINTR:
            break
        PyErr_CheckSignals()
    check(rc)
    nrefs[0] = 0
    ring.enter()
    try:
        for piece in pieces:
            PyObject_GetBuffer(piece, &view, PyBUF_SIMPLE)
            try:
                send_piece(ring, turn, <const char *>view.buf, view.len)
            finally:
                PyBuffer_Release(&view)
        whole = True
        return 0
    finally:
        ring.exit()
        with nogil:
            pf_ring_end(ring.r, turn, whole)


cdef int send_piece(Ring ring, uint64_t turn, const char *data, size_t n) except -1:
    cdef pf_loan loan
    cdef pf_iov iov
    cdef size_t part
    cdef int rc, filled
    while n:
        PyErr_CheckSignals()  # no part may have to wait; and after the last one the message is sent
        part = n if n < CHUNK else CHUNK
        filled = fill(ring, data, part, &loan)
        if filled < 0:  # no block is to be had: through the ring itself
            part = n if n < BLOCK_LEAST else BLOCK_LEAST
            iov.base = data
            iov.len = part
        try:
            while True:
                with nogil:
                    if filled == 0:
                        rc = pf_ring_put_part(ring.r, turn, NULL, 0, &loan, 1, PF_FOREVER)
                    else:
                        rc = pf_ring_put_part(ring.r, turn, &iov, 1, NULL, 0, PF_FOREVER)
                if rc != -EINTR:
                    break
                PyErr_CheckSignals()
            check(rc)
        except:
            if filled == 0:
                pf_ring_return(ring.r, &loan)
            raise
        data += part
        n -= part
    return 0


cdef int send_raw_parts(Ring ring, char tag, const void *data, size_t n) except -1:
    cdef char head[9]
    cdef uint64_t size = n
    cdef unsigned none = 0
    cdef pf_iov iov
    head[0] = tag
    memcpy(head + 1, &size, 8)
    iov.base = head
    iov.len = 9
    return send_parts(ring, &iov, NULL, &none, [PyMemoryView_FromMemory(<char *>data, <Py_ssize_t>n, PyBUF_READ)])


cdef class Assembly:
    """A message while its parts come in."""

    cdef Ring ring
    cdef pf_box box
    cdef bint whole
    cdef list places
    cdef size_t place, at

    def __dealloc__(self):
        if self.ring is not None:
            self.leave()
            drop_box(self.ring, &self.box)

    cdef void leave(self) noexcept:
        if self.box.reader:
            self.ring.exit()
            pf_ring_leave(self.ring.r, self.box.reader)
            self.box.reader = 0

    cdef int collect(self) except -1:
        """Waits for the rest. Interrupted by an exception, it may be called again; False: no more will come, and the
        message was never sent whole."""
        cdef pf_box part
        cdef int rc
        cdef const char *data
        cdef uint64_t n
        part.data = NULL
        part.loans = NULL
        part.nloans = 0
        while self.place < <size_t>len(self.places):
            if self.at == <size_t>len(self.places[self.place]):
                self.place += 1
                self.at = 0
                continue
            with nogil:
                rc = pf_ring_get_part(self.ring.r, &self.box, &part, PF_FOREVER)
            if rc == -EINTR:
                PyErr_CheckSignals()
                continue
            if rc == -PF_ETORN:
                self.leave()
                return False
            if rc == -EPIPE:
                self.leave()
                raise OSError("got end of file during message")
            check(rc)
            try:
                n = part.loans[0].len if part.nloans else part.len
                data = <const char *>(part.loans[0].base if part.nloans else part.data)
                self.store(data, n)
            finally:
                drop_box(self.ring, &part)
            if rc == 1:
                self.ring.settle()
            PyErr_CheckSignals()  # no part may have to be waited for
        self.leave()
        return True

    cdef int store(self, const char *data, uint64_t n) except -1:
        cdef object place = self.places[self.place]
        cdef char *to
        if n == 0 or n > <uint64_t>len(place) - self.at:
            raise corrupted()
        to = PyBytes_AS_STRING(place) if PyBytes_CheckExact(place) else PyByteArray_AS_STRING(place)
        to += self.at
        with nogil:
            memcpy(to, data, n)
        self.at += n
        return 0


cdef object whole_number(str name, object value):
    if PyLong_CheckExact(value):
        return value
    try:
        return PyNumber_Index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None


cdef class RingConnection:
    """send, recv and their kin of the two ends of a pipe."""

    cdef Link link
    cdef Ring incoming, outgoing  # or None
    cdef int fd                   # of the wire; -1: closed
    cdef unsigned end
    cdef bint can_read, can_write
    cdef Assembly partial         # a message whose receipt was interrupted
    cdef latch latch              # of all these

    def __cinit__(self):
        self.fd = -1

    def __del__(self):
        self.shut()

    cdef void start(self, Link link, unsigned end, int fd) noexcept:
        """Nobody else has it yet."""
        self.link = link
        self.end = end
        self.fd = fd
        pf_link_wire(&link.link, end, fd)
        self.outgoing = link.ring(end) if end < link.link.rings else None
        self.incoming = link.ring(1 - end) if 1 - end < link.link.rings else None
        self.can_read = self.incoming is not None
        self.can_write = self.outgoing is not None

    cdef void shut(self) noexcept:
        cdef int fd
        cdef Link link
        cdef Ring incoming, outgoing
        cdef Assembly partial
        latch_close(&self.latch)
        fd = self.fd
        link, incoming, outgoing, partial = self.link, self.incoming, self.outgoing, self.partial
        self.fd = -1
        self.link = None
        self.incoming = self.outgoing = None
        self.partial = None
        latch_open(&self.latch)
        if fd >= 0:
            pf_link_unwire(&link.link, self.end, fd)

    def _attach(self, Link link not None, unsigned end, int fd):
        """Becomes an end whose descriptor came from another process; it is its own, or closed, afterwards."""
        if end > 1:
            close(fd)
            raise ValueError(f"end must be 0 or 1, not {end}")
        self.start(link, end, fd)

    def _parts(self):
        """(link, end, wire): what another process needs to attach."""
        cdef int fd
        cdef Link link = self.opened(&fd)
        return link, self.end, fd

    cdef Link opened(self, int *fd):
        """Its link, and its descriptor; close() in another thread drops them."""
        cdef Link link
        latch_close(&self.latch)
        link = self.link
        fd[0] = self.fd
        latch_open(&self.latch)
        if link is None:
            raise OSError("handle is closed")
        return link

    cdef Ring reader(self):
        cdef Ring ring
        cdef bint able
        latch_close(&self.latch)
        ring = self.incoming
        able = self.can_read
        latch_open(&self.latch)
        if ring is None or not able:
            raise OSError("handle is closed" if self.fd < 0 else "connection is write-only")
        if ring.inside():
            raise RuntimeError("this signal handler interrupted the receipt of a message from this connection")
        return ring

    cdef Ring writer(self):
        cdef Ring ring
        latch_close(&self.latch)
        ring = self.outgoing
        latch_open(&self.latch)
        if ring is None:
            raise OSError("handle is closed" if self.fd < 0 else "connection is read-only")
        if ring.inside():
            raise RuntimeError("this signal handler interrupted the sending of a message to this connection")
        return ring

    cdef Assembly take_partial(self):
        cdef Assembly message
        latch_close(&self.latch)
        message = self.partial
        self.partial = None
        latch_open(&self.latch)
        return message

    cdef void keep_partial(self, Assembly message) noexcept:
        """For the next who receives, if it isn't closed."""
        latch_close(&self.latch)
        if self.fd >= 0:
            self.partial = message
        latch_open(&self.latch)

    cdef object gone(self, error):
        """What to say instead where another thread has closed it."""
        return OSError("handle is closed") if self.fd < 0 else error

    @property
    def _handle(self):
        return None if self.fd < 0 else self.fd

    def _close(self):
        self.shut()

    def close(self):
        """No more use of it in this process. Twice is harmless."""
        self.shut()

    @property
    def closed(self):
        """Whether this process has closed it."""
        return self.fd < 0

    @property
    def readable(self):
        """Whether it can receive."""
        return self.can_read

    @property
    def writable(self):
        """Whether it can send."""
        return self.can_write

    def fileno(self):
        """The descriptor to select on: a socket that is readable whenever a message can be received, or when the other
        end is gone. It may be so a moment early, never late. OSError after close().

        Not for read(2) and write(2) by the user: messages do not pass through it. Descriptors may be passed over it
        (multiprocessing.reduction.send_handle). Asking for it makes every later message a little slower.
        """
        cdef int rc, fd
        cdef Link link = self.opened(&fd)
        with nogil:
            rc = pf_link_expose(&link.link, self.end)
        check(rc)
        return fd

    def send(self, obj):
        """Send a picklable object.

        Pickles first: what can't be pickled raises, and nothing is sent. Waits while 1 MiB or more is unread by the other
        side. BrokenPipeError where nobody is left to receive: at once when the other end was closed, 50 ms after it
        died. OSError after close() and on an end that only receives. An exception raised by a signal handler while it
        waits ends it; the message was not sent then. Buffers (PEP 574: NumPy arrays, ...) are copied once.
        """
        try:
            send(self.writer(), obj, True, None)
        except OSError as error:
            raise self.gone(error)

    def send_bytes(self, buf, offset=0, size=None):
        """Send `size` bytes (None: all) of a bytes-like object from `offset` on as one message, of any length.

        ValueError where they are not inside the object. Else as send().
        """
        cdef Py_buffer view
        cdef Ring ring = self.writer()
        if size is None and PyBytes_CheckExact(buf) and PyLong_CheckExact(offset) and offset == 0:
            try:
                send_raw(ring, b"r", b"R", b"w", PyBytes_AS_STRING(buf), PyBytes_GET_SIZE(buf), True, None)
            except OSError as error:
                raise self.gone(error)
            return
        if not PyBytes_CheckExact(buf):
            buf = memoryview(buf)
            if buf.itemsize > 1:
                buf = buf.cast("B")
        n = len(buf) if PyBytes_CheckExact(buf) else buf.nbytes
        offset = whole_number("offset", offset)
        if offset < 0:
            raise ValueError("offset is negative")
        if n < offset:
            raise ValueError("buffer length < offset")
        if size is None:
            size = n - offset
        else:
            size = whole_number("size", size)
            if size < 0:
                raise ValueError("size is negative")
            if offset + size > n:
                raise ValueError("buffer length < offset + size")
        cdef size_t first = offset, most = size
        PyObject_GetBuffer(buf, &view, PyBUF_SIMPLE)
        try:
            send_raw(ring, b"r", b"R", b"w", <const char *>view.buf + first, most, True, None)
        except OSError as error:
            raise self.gone(error)
        finally:
            PyBuffer_Release(&view)

    def recv(self):
        """The next object, waiting for it.

        EOFError where there is none and every copy of the other end is closed or its process dead; OSError where
        it went in the middle of a message, which is never received in part. An object that fails to unpickle
        raises here and is gone. Received arrays and other buffers are this process's own and writable; large ones
        live on shared memory until they are collected. OSError after close() and on an end that only sends.
        """
        return self.take(False, None)

    def recv_bytes(self, maxlength=None):
        """The next message as bytes: what send_bytes() sent, or the pickle of what send() sent.

        Where it is longer than maxlength bytes: OSError, and the connection can't be read any more.
        Else as recv().
        """
        self.reader()
        if maxlength is not None:
            maxlength = whole_number("maxlength", maxlength)
            if maxlength < 0:
                raise ValueError("negative maxlength")
        return self.take(True, maxlength)

    def recv_bytes_into(self, buf, offset=0):
        """Receive the next message into a writable bytes-like object from the byte `offset` on; its length.

        multiprocessing.BufferTooShort, with the message as its argument, where it does not fit. ValueError for an
        offset outside the buffer. Else as recv_bytes().
        """
        cdef Py_buffer view
        self.reader()
        with memoryview(buf) as target:
            if target.readonly:
                raise TypeError("buf must be a writable bytes-like object, not a read-only one")
            room = target.nbytes
            offset = whole_number("offset", offset)
            if offset < 0:
                raise ValueError("negative offset")
            if offset > room:
                raise ValueError("offset too large")
            PyObject_GetBuffer(target, &view, PyBUF_WRITABLE)
            try:
                data = <bytes>self.take(True, None)
                if room < offset + len(data):
                    from multiprocessing import BufferTooShort
                    raise BufferTooShort(data)
                memcpy(<char *>view.buf + <size_t>offset, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
                return len(data)
            finally:
                PyBuffer_Release(&view)

    def poll(self, timeout=0.0):
        """Is there a message, or the end of all messages, waiting at most `timeout` seconds for it (None: for ever)?"""
        cdef Ring ring = self.reader()
        cdef int64_t deadline = deadline_of(True, timeout)
        cdef int rc = pf_ring_wait(ring.r, PF_NOWAIT)
        while rc != 0 and rc != -EPIPE:
            if rc == -ETIMEDOUT and (deadline == PF_NOWAIT or deadline <= pf_now()):
                ring.settle()
                return False
            if rc == -EBADF:
                raise self.gone(OSError(EBADF, "Bad file descriptor"))
            if rc != -ETIMEDOUT and rc != -EINTR:
                check(rc)
            with nogil:
                rc = pf_ring_wait(ring.r, deadline)
            if rc == -EINTR:
                PyErr_CheckSignals()
        return True

    cdef object take(self, bint raw, object maxlength):
        cdef pf_box box
        cdef Ring ring = self.reader()
        cdef Assembly message
        while True:
            message = self.take_partial()
            if message is None:
                try:
                    pull(ring, &box, True, None)
                except OSError as error:
                    raise self.gone(error)
                if not box.writer:
                    return self.open(ring, &box, None, raw, maxlength)
                message = Assembly.__new__(Assembly)
                message.box = box
                message.ring = ring
                if box.data == box.small:
                    message.box.data = message.box.small
                message.places = parts_of(&message.box)
                if maxlength is not None and box.len and box.data[0] == b"w":
                    self.check_length(len(message.places[0]), maxlength)
            ring.enter()
            try:
                whole = message.collect()
            except BaseException as error:
                if isinstance(error, OSError):
                    raise self.gone(error)
                if message.box.reader:
                    ring.exit()
                    self.keep_partial(message)
                raise
            if whole:
                message.ring = None
                return self.open(ring, &message.box, message.places, raw, maxlength)

    cdef object open(self, Ring ring, pf_box *box, list streamed, bint raw, object maxlength):
        cdef uint32_t k
        if not raw:
            return open_box(ring, box, streamed)
        try:
            data = decode_raw(box, streamed)
            if data is None:
                data = bytes(_ForkingPickler.dumps(decode(ring, box, streamed)))
        finally:
            drop_box(ring, box)
        if maxlength is not None:
            self.check_length(len(data), maxlength)
        return data

    cdef int check_length(self, Py_ssize_t length, object maxlength) except -1:
        """As the standard library's, which leaves the message unread: no more is read."""
        if length <= maxlength:
            return 0
        if self.can_write:
            self.can_read = False
        else:
            self.shut()
        raise OSError("bad message length")


def open_pipe(RingConnection one not None, RingConnection two not None, bint duplex):
    """Makes two new connections the ends of a new pipe; unless duplex the first only receives."""
    cdef int fds[2]
    cdef Link link = new_link(2 if duplex else 1)
    check(pf_wire_open(fds))
    if duplex:
        one.start(link, 0, fds[0])
        two.start(link, 1, fds[1])
    else:
        one.start(link, 1, fds[1])
        two.start(link, 0, fds[0])
