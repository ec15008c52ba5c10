# PoolShare: what a pool's processes share. The messages of tasks and results.
#
# A task: TaskHead, the function's pickle (or where it lies), the arguments as codec.pxi has them.
# A result: ResultHead, the value or the report of an error as codec.pxi has it.

cdef enum:
    CALL = 0     # the arguments: a tuple
    CALL_NAMED   # (tuple, dict)
    ONE          # one item of an iterable
    EACH         # a tuple of items
    EACH_STAR    # a tuple of items that are arguments themselves

cdef enum:
    DONE = 0     # the result's status
    FAILED       # a report: (pickle of the exception or b"", its repr, its traceback)
    SKIPPED      # the task had been called off
    NO_START     # a report, of the initializer: this worker ends
    STARTED      # ... has begun to take tasks

cdef struct TaskHead:
    uint64_t ticket # job | index << 24
    uint32_t epoch  # of the job's number: numbers come again
    uint32_t nfunc
    uint16_t form
    uint16_t state   # the function gets the worker's state first
    uint32_t by_name # the function's pickle is no more than its name

cdef struct ResultHead:
    uint64_t ticket
    int64_t ns
    uint32_t epoch
    uint32_t worker
    uint32_t status
    uint32_t unused


@cython.no_gc
cdef class PoolShare:
    """Claims of the workers, and who wants to be woken (csrc/include/procfast/pool.h)."""

    cdef pf_pool *p
    cdef Ring tasks, results

    @staticmethod
    def create(unsigned workers, Ring tasks not None, Ring results not None):
        cdef PoolShare self = PoolShare.__new__(PoolShare)
        check(pf_pool_create(&self.p, workers))
        self.use(tasks, results)
        return self

    @staticmethod
    def attach(int fd, Ring tasks not None, Ring results not None):
        """Another process's; the descriptor is the share's, or closed, afterwards."""
        cdef PoolShare self = PoolShare.__new__(PoolShare)
        cdef int rc = pf_pool_attach(&self.p, fd)
        if rc < 0:
            close(fd)
        check(rc)
        self.use(tasks, results)
        return self

    cdef void use(self, Ring tasks, Ring results) noexcept:
        self.tasks = tasks
        self.results = results
        pf_pool_tasks(self.p, tasks.r)

    def __dealloc__(self):
        if self.p:
            pf_pool_close(self.p)

    def _parts(self):
        """(descriptor, ring of tasks, ring of results): what another process needs to attach."""
        return pf_pool_fd(self.p), self.tasks, self.results


cdef int pack(Ring ring, object obj, Flat *f, pf_loan *refs, unsigned *nrefs) except -1:
    """The payload of an object in f, and in blocks that are the caller's until they were put."""
    cdef Py_buffer view
    nrefs[0] = 0
    if encode_flat(obj, f):
        return 0
    if PyBytes_CheckExact(obj):
        return pack_raw(ring, b"b", b"B", PyBytes_AS_STRING(obj), PyBytes_GET_SIZE(obj), f, refs, nrefs)
    if PyByteArray_CheckExact(obj):
        PyObject_GetBuffer(obj, &view, PyBUF_SIMPLE)
        try:
            return pack_raw(ring, b"a", b"A", view.buf, view.len, f, refs, nrefs)
        finally:
            PyBuffer_Release(&view)
    return pack_pickle(ring, obj, f, refs, nrefs, None)


cdef int pack_raw(Ring ring, char tag, char block_tag, const void *data, size_t n, Flat *f, pf_loan *refs,
                  unsigned *nrefs) except -1:
    if n >= BLOCK_LEAST and fill(ring, data, n, &refs[0]) == 0:
        nrefs[0] = 1
        return flat_tag(f, block_tag, NULL, 0)
    return flat_tag(f, tag, data, n)


cdef void unpack_refs(Ring ring, const pf_loan *refs, unsigned nrefs) noexcept:
    cdef unsigned k
    for k in range(nrefs):
        pf_ring_return(ring.r, &refs[k])


cdef object open_behind(Ring ring, pf_box *box, size_t n):
    """decode of what lies behind the first n bytes. The box is still to be dropped."""
    cdef char *data = box.data
    box.data += n
    box.len -= n
    try:
        return decode(ring, box, None)
    finally:
        box.data = data
        box.len += n


cdef inline void no_box(pf_box *box) noexcept:
    box.data = NULL
    box.loans = NULL
    box.nloans = 0
