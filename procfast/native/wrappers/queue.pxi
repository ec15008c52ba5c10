# RingQueue, RingSimpleQueue: the methods of the queues that run for every item.

from queue import Empty as _Empty, Full as _Full


cdef int push(Ring ring, const pf_iov *iov, unsigned n, const pf_loan *refs, unsigned nrefs, object block,
              object timeout) except -1:
    """Puts a message that is built: at once where that needs no wait, else without the GIL."""
    cdef int64_t deadline
    cdef int rc = -EAGAIN
    if iov[0].len + (iov[1].len if n > 1 else 0) < NOGIL_COPY:
        rc = pf_ring_put(ring.r, iov, n, refs, nrefs, PF_TRY)
    if rc == -EAGAIN:
        deadline = deadline_of(block, timeout)
        while True:
            with nogil:
                rc = pf_ring_put(ring.r, iov, n, refs, nrefs, deadline)
            if rc != -EINTR:
                break
            PyErr_CheckSignals()
    if rc == -ETIMEDOUT:
        raise _Full
    return check(rc)


cdef int fill(Ring ring, const void *data, uint64_t n, pf_loan *loan) noexcept:
    """A block with a copy of the data, or why there is none."""
    cdef int rc
    with nogil:
        rc = pf_ring_block(ring.r, n, loan)
        if rc == 0:
            memcpy(loan.base, data, n)
    return rc


cdef bint streams(Ring ring) noexcept:
    """Can this process send messages of several parts here? It takes a descriptor for a moment, the first time."""
    cdef uint64_t turn
    return ring.link is not None and pf_ring_begin(ring.r, &turn) == 0


cdef int send_raw(Ring ring, char tag, char block_tag, char stream_tag, const void *data, size_t n,
                  object block, object timeout) except -1:
    """A bytes or bytearray: the buffer as it is."""
    cdef pf_loan loan
    cdef pf_iov iov[2]
    iov[0].base = &tag
    iov[0].len = 1
    if n >= BLOCK_LEAST:
        if n >= STREAM_LEAST and streams(ring):
            return send_raw_parts(ring, stream_tag, data, n)
        if fill(ring, data, n, &loan) == 0:
            tag = block_tag
            try:
                return push(ring, iov, 1, &loan, 1, block, timeout)
            except:
                pf_ring_return(ring.r, &loan)
                raise
        if streams(ring):
            return send_raw_parts(ring, stream_tag, data, n)
    iov[1].base = data
    iov[1].len = n
    return push(ring, iov, 2, NULL, 0, block, timeout)


cdef int send_pickle(Ring ring, object obj, Flat *f, object block, object timeout) except -1:
    """Everything else. Raises what pickling raises, before anything is shared."""
    cdef list streamed = [] if ring.link is not None else None
    cdef unsigned nrefs = 0
    cdef pf_loan refs[PF_MAX_REFS]
    cdef pf_iov iov
    pack_pickle(ring, obj, f, refs, &nrefs, streamed)
    iov.base = f.data
    iov.len = f.len
    try:
        if streamed:
            return send_parts(ring, &iov, refs, &nrefs, streamed)
        return push(ring, &iov, 1, refs, nrefs, block, timeout)
    except:
        unpack_refs(ring, refs, nrefs)
        raise


cdef int pack_pickle(Ring ring, object obj, Flat *f, pf_loan *refs, unsigned *nrefs, list streamed) except -1:
    """A pickle in the empty f, and in blocks that are the caller's until they were put. `streamed`, on a link: what is
    to follow in parts."""
    cdef list pieces = [], buffers = [], inline = []
    dump(obj, pieces, buffers)
    cdef uint64_t size = 0, word, zero = 0, in_blocks = 0
    cdef uint32_t count = <uint32_t>len(buffers)
    cdef unsigned n = 0
    cdef Py_buffer view
    cdef char *at
    cdef bint linked = streamed is not None
    nrefs[0] = 0
    for piece in pieces:
        size += <uint64_t>PyBytes_GET_SIZE(piece)
    if count == 0 and size < BLOCK_LEAST:
        flat_more(f, 1)[0] = b"P"
        for piece in pieces:
            memcpy(flat_more(f, PyBytes_GET_SIZE(piece)), PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece))
        return 0
    try:
        at = flat_more(f, 13)
        at[0] = b"Q"
        memcpy(at + 1, &count, 4)
        for raw in buffers:
            PyObject_GetBuffer(raw, &view, PyBUF_SIMPLE)
            try:
                word = <uint64_t>view.len << 3 | (1 if raw.readonly else 0)
                if view.len < BLOCK_LEAST:
                    inline.append(raw)
                elif (not linked or in_blocks + view.len <= LOAN_MOST) and \
                        fill(ring, view.buf, view.len, &refs[n]) == 0:
                    n += 1
                    in_blocks += view.len
                    word |= 2
                elif linked and streams(ring):
                    streamed.append(raw)
                    word |= 4
                else:
                    inline.append(raw)
                memcpy(flat_more(f, 8), &word, 8)
            finally:
                PyBuffer_Release(&view)
        for raw in inline:
            PyObject_GetBuffer(raw, &view, PyBUF_SIMPLE)
            try:
                memcpy(flat_more(f, view.len), view.buf, view.len)
            finally:
                PyBuffer_Release(&view)
        if size >= BLOCK_LEAST and not (linked and size >= STREAM_LEAST) and \
                send_pieces(ring, pieces, size, &refs[n]) == 0:
            n += 1
            f.data[0] = b"K"
            memcpy(f.data + 5, &zero, 8)
        elif size >= BLOCK_LEAST and linked and streams(ring):
            f.data[0] = b"S"
            memcpy(f.data + 5, &size, 8)
            streamed += pieces
        else:
            memcpy(f.data + 5, &size, 8)
            for piece in pieces:
                memcpy(flat_more(f, PyBytes_GET_SIZE(piece)), PyBytes_AS_STRING(piece),
                       PyBytes_GET_SIZE(piece))
        nrefs[0] = n
        return 0
    except:
        unpack_refs(ring, refs, n)
        raise


cdef int send_pieces(Ring ring, list pieces, uint64_t size, pf_loan *loan) except? -1:
    """A block with the pieces of a pickle in it, or why there is none."""
    cdef int rc
    cdef char *to
    cdef const char *data
    cdef size_t n
    with nogil:
        rc = pf_ring_block(ring.r, size, loan)
    if rc < 0:
        return -2
    to = <char *>loan.base
    for piece in pieces:
        n = PyBytes_GET_SIZE(piece)
        data = PyBytes_AS_STRING(piece)
        with nogil:
            memcpy(to, data, n)
        to += n
    return 0


cdef int send(Ring ring, object obj, object block, object timeout) except -1:
    cdef Flat f
    cdef pf_iov iov
    cdef Py_buffer view
    flat_init(&f)
    try:
        if encode_flat(obj, &f):
            iov.base = f.data
            iov.len = f.len
            return push(ring, &iov, 1, NULL, 0, block, timeout)
        if PyBytes_CheckExact(obj):
            return send_raw(ring, b"b", b"B", b"c", PyBytes_AS_STRING(obj), PyBytes_GET_SIZE(obj), block, timeout)
        if PyByteArray_CheckExact(obj):
            PyObject_GetBuffer(obj, &view, PyBUF_SIMPLE)
            try:
                return send_raw(ring, b"a", b"A", b"e", view.buf, view.len, block, timeout)
            finally:
                PyBuffer_Release(&view)
        return send_pickle(ring, obj, &f, block, timeout)
    finally:
        flat_free(&f)


cdef int pull(Ring ring, pf_box *box, object block, object timeout) except -1:
    """Receives the next message into the box, or raises Empty."""
    cdef int64_t deadline
    box.data = NULL
    box.loans = NULL
    box.nloans = 0
    cdef int rc = pf_ring_get(ring.r, box, PF_TRY)
    if rc == -EAGAIN:
        deadline = deadline_of(block, timeout)
        while True:
            with nogil:
                rc = pf_ring_get(ring.r, box, deadline)
            if rc != -EINTR:
                break
            PyErr_CheckSignals()
    if rc == 1 or rc == -ETIMEDOUT:
        ring.settle()  # a bell that rings for nothing would keep a select loop spinning
    if rc == -ETIMEDOUT:
        raise _Empty
    if rc == -EPIPE:
        raise EOFError
    return check(rc)


cdef class RingBase:
    """What queues on a ring have in common."""

    cdef Ring ring
    cdef uint64_t closed  # the process image that closed it: a child may go on, as with multiprocessing
    cdef latch latch      # of these two
    cdef bint used  # this process put something: only then does the standard library's close() close
    cdef list deferred  # what a batch held from its first unpickling error on: (error or None, item); set once

    def _open(self, Ring ring not None):
        """Uses this ring from now on."""
        self.ring = ring
        self.closed = 0

    @property
    def _ring(self):
        return self.now(NULL)

    @property
    def _closed(self):
        cdef uint64_t closed
        return self.now(&closed) is None or closed == pf_epoch()

    def _shut(self, bint forget=False):
        """Closed in this process; with forget also the memory and the descriptors go."""
        cdef Ring ring = None  # it goes when the latch is open again
        latch_close(&self.latch)
        self.closed = pf_epoch()
        if forget:
            ring = self.ring
            self.ring = None
        latch_open(&self.latch)

    def _refuse(self):
        """Raises the error for use after close."""
        raise ValueError(f"Queue {self!r} is closed")

    cdef inline Ring now(self, uint64_t *closed):
        cdef Ring ring
        latch_close(&self.latch)
        ring = self.ring
        if closed:
            closed[0] = self.closed
        latch_open(&self.latch)
        return ring

    cdef Ring usable(self):
        """Its ring, for a whole call: close() in another thread drops it."""
        cdef uint64_t closed
        cdef Ring ring = self.now(&closed)
        if ring is None or (closed and closed == pf_epoch()):
            self._refuse()
        return ring

    cdef Ring opened(self):
        """The same where use after close is allowed."""
        cdef Ring ring = self.now(NULL)
        if ring is None:
            self._refuse()
        return ring

    cdef list take_deferred(self, Py_ssize_t most):
        """At most so many deferred items, or the error that is the first; an empty list where nothing is deferred."""
        cdef list items = []
        with cython.critical_section(self):
            while self.deferred and len(items) < most and (not items or self.deferred[0][0] is None):
                error, item = self.deferred.pop(0)
                if error is not None:
                    raise error
                items.append(item)
        return items

    cdef int defer(self, list rest) except -1:
        with cython.critical_section(self):
            if self.deferred is None:
                self.deferred = []
            self.deferred += rest
        return 0

    cdef object take(self, Ring ring, object block, object timeout):
        cdef pf_box box
        cdef list items
        if self.deferred:
            items = self.take_deferred(1)
            if items:
                return items[0]
        pull(ring, &box, block, timeout)
        return open_box(ring, &box, None)

    def _send_pickled(self, data):
        """Puts the object that these bytes are the pickle of."""
        cdef char tag = b"P"
        cdef Py_buffer view
        cdef pf_iov iov[2]
        cdef Ring ring = self.usable()
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            iov[0].base = &tag
            iov[0].len = 1
            iov[1].base = view.buf
            iov[1].len = view.len
            push(ring, iov, 2, NULL, 0, True, None)
        finally:
            PyBuffer_Release(&view)

    def _recv_pickled(self):
        """The next object as its pickle."""
        cdef pf_box box
        cdef Ring ring = self.usable()
        pull(ring, &box, True, None)
        if box.len > 0 and box.data[0] == b"P":
            try:
                return PyBytes_FromStringAndSize(box.data + 1, <Py_ssize_t>(box.len - 1))
            finally:
                pf_box_clear(&box)
        return bytes(_ForkingPickler.dumps(open_box(ring, &box, None)))


cdef class RingQueue(RingBase):
    """put, get and their kin of Queue and JoinableQueue."""

    def put(self, obj, block=True, timeout=None):
        """Put obj into the queue.

        Pickles in the caller: what can't be pickled raises here, and the queue is as before. Blocks only
        while a queue made with a maxsize is full: for ever, or at most timeout seconds, or not at all
        with block=False; then queue.Full. MemoryError beyond max_bytes, OSError where the system
        refuses memory (RLIMIT_FSIZE): nothing is lost, nothing was put. ValueError after close().
        """
        cdef Ring ring = self.usable()
        self.used = True
        send(ring, obj, block, timeout)

    def get(self, block=True, timeout=None):
        """Remove and return the oldest item.

        Waits for one: for ever, or at most timeout seconds over the whole call, or not at all with
        block=False; then queue.Empty. An item that fails to unpickle raises here and is gone.
        ValueError after close(). Large NumPy arrays and other buffers (PEP 574) live on shared memory
        until they are collected; they are this process's own and writable.
        """
        return self.take(self.usable(), block, timeout)

    def put_nowait(self, obj):
        """put(obj, block=False)."""
        cdef Ring ring = self.usable()
        self.used = True
        send(ring, obj, False, None)

    def get_nowait(self):
        """get(block=False)."""
        return self.take(self.usable(), False, None)

    def put_many(self, items, block=True, timeout=None):
        """Put all items of an iterable, in order. A list, tuple or range goes in batches, which take the lock and
        wake consumers once; of any other iterable each item is there before the next is asked for.

        The timeout (seconds) is over the whole call; when it ends, or at once with block=False and a full
        queue, raises queue.Full with the number of items that were put as its argument. An item that can't
        be pickled raises; those before it were put. How many were put.
        """
        cdef Flat f
        cdef uint64_t offsets[257]
        cdef unsigned n = 0, batch = 1
        cdef size_t start
        cdef int64_t deadline
        cdef bint flat
        cdef object total = 0
        cdef Ring ring = self.usable()
        self.used = True
        deadline = deadline_of(block, timeout)
        if isinstance(items, (list, tuple, range)):
            batch = 256
        flat_init(&f)
        try:
            for obj in items:
                start = f.len
                try:
                    flat = encode_flat(obj, &f)
                except BaseException:
                    f.len = start
                    self.flush(ring, &f, offsets, n, deadline, total)
                    raise
                if flat:
                    offsets[n] = start
                    n += 1
                    offsets[n] = f.len
                if n >= batch or f.len > 65536 or not flat:
                    total += self.flush(ring, &f, offsets, n, deadline, total)
                    n = 0
                if not flat:
                    self.send_until(ring, obj, deadline, total)
                    total += 1
            return total + self.flush(ring, &f, offsets, n, deadline, total)
        finally:
            flat_free(&f)

    cdef object flush(self, Ring ring, Flat *f, const uint64_t *offsets, unsigned n, int64_t deadline, object before):
        cdef unsigned sent = 0
        cdef int rc
        while sent < n:
            with nogil:
                rc = pf_ring_put_many(ring.r, f.data, offsets + sent, n - sent, deadline)
            if rc == -EINTR:
                PyErr_CheckSignals()
            elif rc == -ETIMEDOUT:
                raise _Full(before + sent)
            else:
                sent += check(rc)
        f.len = 0
        return n

    cdef int send_until(self, Ring ring, object obj, int64_t deadline, object before) except -1:
        try:
            if deadline == PF_NOWAIT:
                send(ring, obj, False, None)
            elif deadline == PF_FOREVER:
                send(ring, obj, True, None)
            else:
                send(ring, obj, True, <double>(deadline - pf_now()) * 1e-9)
        except _Full:
            raise _Full(before) from None
        return 0

    def get_many(self, max_items, block=True, timeout=None):
        """Up to max_items items, the oldest first, as a list: waits, as get() does, for the first only, and
        takes what else is there under one lock. Raises queue.Empty instead of returning an empty list.

        All of a batch is in this process's hands at once. Where an item fails to unpickle, those before it
        are returned, the next get of this process raises its error, and further ones return the rest.
        """
        cdef Py_ssize_t most = max_items
        cdef pf_box *boxes
        cdef int64_t deadline
        cdef int rc = -EAGAIN, k = 0
        cdef unsigned want
        cdef cbool quiet = False, settle = False
        cdef list items = [], rest = []
        cdef Ring ring = self.usable()
        if most < 1:
            raise ValueError(f"max_items must be at least 1, not {max_items}")
        if self.deferred:
            items = self.take_deferred(most)
            if items:
                return items
        deadline = deadline_of(block, timeout)
        want = <unsigned>min(most, 256)
        boxes = <pf_box *>malloc(want * sizeof(pf_box))
        if boxes == NULL:
            raise MemoryError()
        try:
            while len(items) < most:
                want = <unsigned>min(most - len(items), 256)
                for k in range(<int>want):
                    boxes[k].data = NULL
                    boxes[k].loans = NULL
                    boxes[k].nloans = 0
                with nogil:
                    rc = pf_ring_get_many(ring.r, boxes, want, deadline, &quiet)
                if items and rc < 0:
                    break  # what is in hand must not be lost to a signal or an error
                if rc == -EINTR:
                    PyErr_CheckSignals()
                    continue
                if rc == -ETIMEDOUT:
                    break
                check(rc)
                deadline = PF_NOWAIT
                settle = settle or quiet
                for k in range(rc):
                    error = item = None
                    try:
                        item = open_box(ring, &boxes[k], None)
                    except BaseException as raised:
                        error = raised
                    if error is None and not rest:
                        items.append(item)
                    else:
                        rest.append((error, item))
                if rest:
                    break
            if settle or not items:
                ring.settle()
            if rest:
                error = None if items else rest.pop(0)[0]
                self.defer(rest)
                if error is not None:
                    raise error
        finally:
            free(boxes)
        if not items:
            raise _Empty
        return items

    def qsize(self):
        """Items inside, exact at the instant of the call, on every platform."""
        cdef Ring ring = self.opened()
        return pf_ring_size(ring.r) + (len(self.deferred) if self.deferred else 0)

    def empty(self):
        """Was the queue empty at the instant of the call? OSError where this process put items and then
        closed it."""
        if self._closed and self.used:
            raise OSError("handle is closed")
        cdef Ring ring = self.opened()
        return not self.deferred and pf_ring_size(ring.r) == 0

    def full(self):
        """Had the queue maxsize items at the instant of the call?"""
        cdef Ring ring = self.opened()
        cdef uint64_t most = pf_ring_maxsize(ring.r)
        return most != 0 and pf_ring_size(ring.r) >= most


cdef object flat_end = object()


cdef class RingSimpleQueue(RingBase):
    """put and get of SimpleQueue."""

    def put(self, obj):
        """Put obj into the queue; never blocks for room. Raises what pickling raises; OSError after close()."""
        send(self.usable(), obj, True, None)

    def get(self):
        """Remove and return the oldest item, waiting for one. OSError after close()."""
        return self.take(self.usable(), True, None)

    def empty(self):
        """Was the queue empty at the instant of the call? OSError after close()."""
        cdef Ring ring = self.usable()
        return pf_ring_size(ring.r) == 0
