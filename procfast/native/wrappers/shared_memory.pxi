# Named segments (csrc/include/procfast/named_shm.h). Names: as SharedMemory._name has them; a slash in front does not count.

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.memoryview cimport PyMemoryView_FromObject
from libc.errno cimport EBUSY

# This process as the owner of segments: its descriptor lives as long as the process. A fork makes it another's.
cdef pf_shm_owner this_process
cdef latch owner_latch


cdef pf_shm_owner owner_now() noexcept:
    cdef pf_shm_owner owner
    latch_close(&owner_latch)
    owner = this_process
    latch_open(&owner_latch)
    return owner


cdef bytes named(object name):
    cdef bytes text = name if isinstance(name, bytes) else name.encode()
    if b"\0" in text:
        raise ValueError("embedded null character")
    return text


cdef int check_named(int rc, object name) except -1:
    """As check, with the name in the error."""
    if rc >= 0:
        return rc
    raise OSError(-rc, pf_strerror(-rc).decode(errors="replace"), name)


def segment_owner():
    """The number that stands for this process in what it creates; 0 where segments carry no records."""
    hook_forks()
    latch_close(&owner_latch)
    pf_shm_owner_refresh(&this_process, True)
    latch_open(&owner_latch)
    return owner_now().id


cdef int64_t next_look = 0  # of this process, at its first segment too


def segment_look(double seconds):
    """Whether nobody has asked in this process for so long; the answer counts as a look."""
    global next_look
    cdef int64_t now = pf_now()
    cdef bint due
    latch_close(&owner_latch)
    due = pf_epoch() != this_process.epoch or now >= next_look
    if due:
        next_look = now + <int64_t>(seconds * 1e9)
    latch_open(&owner_latch)
    return due


def segment_owner_of(int pid):
    """The number that stands for a live process; 0 where there is none, or it can't be known."""
    return pf_shm_owner_of_pid(pid)


def segment_create(name, object size, bint track, bint reserve):
    """A descriptor of a new segment; with `track` it is this process's, to be swept after its death.

    FileExistsError, OSError (ENOSPC, EINVAL: the name).
    """
    cdef bytes text = named(name)
    cdef const char *raw = text
    cdef int64_t n = PyNumber_Index(size)
    cdef uint64_t owner = owner_now().id if track else 0
    cdef int rc
    with nogil:
        rc = pf_named_shm_create(raw, n, owner, reserve)
    return check_named(rc, name)


def segment_open(name):
    """(descriptor, size) of an existing segment. FileNotFoundError, OSError."""
    cdef bytes text = named(name)
    cdef const char *raw = text
    cdef uint64_t size = 0
    cdef int rc
    while True:
        with nogil:
            rc = pf_named_shm_open(raw, &size)
        if rc != -EINTR:
            return check_named(rc, name), size
        PyErr_CheckSignals()


cdef class Mapping:
    """The memory of a segment, as a buffer: what SharedMemory needs of mmap.mmap, for half the time."""

    cdef void *base
    cdef Py_ssize_t size
    cdef Py_ssize_t exports
    cdef latch latch  # of base and exports

    def __cinit__(self, int fd, Py_ssize_t size):
        if size <= 0:
            raise ValueError("cannot mmap an empty file")
        check(pf_shm_map(fd, 0, size, &self.base))
        self.size = size

    def __dealloc__(self):
        if self.base != NULL:
            pf_shm_unmap(self.base, self.size)

    def __len__(self):
        return self.size

    def __getbuffer__(self, Py_buffer *view, int flags):
        cdef void *base
        latch_close(&self.latch)
        base = self.base
        if base != NULL:
            self.exports += 1
        latch_open(&self.latch)
        if base == NULL:
            raise ValueError("the shared memory is closed")
        PyBuffer_FillInfo(view, self, base, self.size, 0, flags)

    def __releasebuffer__(self, Py_buffer *view):
        latch_close(&self.latch)
        self.exports -= 1
        latch_open(&self.latch)

    def close(self):
        """Give it up. BufferError while there are views."""
        cdef void *base = NULL
        cdef Py_ssize_t exports
        latch_close(&self.latch)
        exports = self.exports
        if exports == 0:
            base = self.base
            self.base = NULL
        latch_open(&self.latch)
        if exports:
            raise BufferError("cannot close exported pointers exist")
        if base != NULL:
            pf_shm_unmap(base, self.size)


cdef class Segment:
    """What a SharedMemory holds: the attributes and properties of the standard library's, and how it lets go."""

    cdef public object _name, _buf, _mmap, _size, _track
    cdef public int _fd
    cdef latch latch  # of what close() drops

    def __cinit__(self):
        self._fd = -1

    def __del__(self):
        try:
            self.close()
        except OSError:
            pass

    def _hold(self, name, int fd, Py_ssize_t size, track):
        """Take over a descriptor; its memory is mapped."""
        self._name = name
        self._fd = fd
        self._size = size
        self._track = track
        self._mmap = Mapping(fd, size)
        self._buf = PyMemoryView_FromObject(self._mmap)

    @property
    def buf(self):
        """A memoryview of the memory; None after close()."""
        latch_close(&self.latch)
        buf = self._buf
        latch_open(&self.latch)
        return buf

    @property
    def name(self):
        """The name by which other processes attach to it."""
        name = self._name
        return name[1:] if name is not None and name.startswith("/") else name

    @property
    def size(self):
        """In bytes."""
        return self._size

    def close(self):
        """Give up this object's access; the segment stays. BufferError while there are views of it."""
        cdef int fd
        latch_close(&self.latch)
        buf, mapping = self._buf, self._mmap
        latch_open(&self.latch)
        if buf is not None:
            buf.release()
        if mapping is not None:
            mapping.close()
        latch_close(&self.latch)
        self._buf = self._mmap = None
        fd = self._fd
        self._fd = -1
        latch_open(&self.latch)
        if fd >= 0:
            close(fd)


def segment_unlink(name, bint open_here):
    """Remove a name. FileNotFoundError where it is not there."""
    cdef bytes text = named(name)
    cdef const char *raw = text
    cdef pf_shm_owner self = owner_now()
    cdef int rc
    while True:
        with nogil:
            rc = pf_named_shm_unlink(&self, raw, open_here)
        if rc != -EINTR:
            check_named(rc, name)
            return
        PyErr_CheckSignals()


def segment_recorded(name):
    """The owner in the record of a segment; 0 where it has none, or is not there."""
    cdef uint64_t owner = 0
    pf_named_shm_owner(named(name), &owner)
    return owner


def segment_give(name, uint64_t owner, uint64_t to):
    """Make the segment of `owner` that of `to` (0: nobody's, never swept). False where it is another's, or not there."""
    return pf_named_shm_give(named(name), owner, to) > 0


def segment_sweep(name, uint64_t dead=0):
    """Remove a segment if its owner is dead (or is `dead`) and nobody has it open or mapped. True: it did.

    None: somebody has it open, but may only be looking for a moment.
    """
    cdef bytes text = named(name)
    cdef const char *raw = text
    cdef pf_shm_owner self = owner_now()
    cdef int rc
    with nogil:
        rc = pf_named_shm_sweep(&self, raw, dead)
    return None if rc == -EBUSY else rc > 0
