# The raw POSIX layer (procfast.posix): pipes, named semaphores, message queues.


def pipe():
    cdef int fds[2]
    check(pf_pipe_open(fds))
    return fds[0], fds[1]


def move_all(int fd, bint out, buffer, timeout, list moved):
    """Read or write the whole buffer: 0, ETIMEDOUT, EPIPE (the other end is gone), ...

    moved[0] becomes the number of bytes that were, also where a signal handler raises.
    """
    cdef Py_buffer view
    cdef size_t done = 0
    cdef int rc = -EINTR
    cdef int64_t deadline = deadline_of(True, timeout)
    PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE if out else PyBUF_WRITABLE)
    try:
        while rc == -EINTR:
            with nogil:
                if out:
                    rc = pf_write_all(fd, view.buf, view.len, &done, deadline)
                else:
                    rc = pf_read_all(fd, view.buf, view.len, &done, deadline)
            if rc == -EINTR:
                PyErr_CheckSignals()
    finally:
        moved[0] = done
        PyBuffer_Release(&view)
    return -rc


cdef class Named:
    """What a name was opened as: closed at once, or by the last thread that is inside a call.

    The calls return a negated errno; -EBADF: it is closed.
    """

    cdef unsigned users
    cdef readonly bint closed

    cdef void drop(self) noexcept:
        pass

    cdef int enter(self) noexcept:
        cdef int rc = 0
        with cython.critical_section(self):
            if self.closed:
                rc = -EBADF
            else:
                self.users += 1
        return rc

    cdef void leave(self) noexcept:
        with cython.critical_section(self):
            self.users -= 1
            if self.closed and not self.users:
                self.drop()

    cdef Py_ssize_t settled(self, Py_ssize_t rc) except? -1:
        """rc, or -EINTR: call again."""
        if rc == -EINTR:
            PyErr_CheckSignals()
            if self.closed:
                return -EBADF
        return rc

    def close(self):
        with cython.critical_section(self):
            if not self.closed:
                self.closed = True
                if not self.users:
                    self.drop()


cdef class NamedSemaphore(Named):
    """A named semaphore (csrc/include/procfast/named_sem.h)."""

    cdef pf_named_sem s

    def __cinit__(self, const char *name, int how, unsigned mode, unsigned value):
        check(pf_named_sem_open(&self.s, name, <pf_open>how, mode, value))

    def __dealloc__(self):
        pf_named_sem_close(&self.s)

    cdef void drop(self) noexcept:
        pf_named_sem_close(&self.s)

    def wait(self, timeout):
        """0: it has a permit."""
        cdef int64_t deadline = deadline_of(True, timeout)
        cdef Py_ssize_t rc = self.enter()
        if rc < 0:
            return rc
        try:
            rc = pf_named_sem_wait(&self.s, PF_NOWAIT)
            if rc == -ETIMEDOUT and deadline != PF_NOWAIT:
                rc = -EINTR
                while rc == -EINTR:
                    with nogil:
                        rc = pf_named_sem_wait(&self.s, deadline)
                    rc = self.settled(rc)
        finally:
            self.leave()
        return rc

    def post(self):
        cdef int rc = self.enter()
        if rc == 0:
            rc = pf_named_sem_post(&self.s)
            self.leave()
        return rc

    def value(self):
        cdef int rc = self.enter()
        if rc == 0:
            rc = pf_named_sem_value(&self.s)
            self.leave()
        return rc


def semaphore_unlink(const char *name):
    return pf_named_sem_unlink(name)


def semaphore_owner(const char *name):
    """A user id."""
    return pf_named_sem_owner(name)


cdef class MessageQueue(Named):
    """A POSIX message queue (csrc/include/procfast/mqueue.h)."""

    cdef pf_mqueue q

    def __cinit__(self, const char *name, int how, bint read, bint write, unsigned mode, long messages, long size):
        check(pf_mqueue_open(&self.q, name, <pf_open>how, read, write, mode, messages, size))

    def __dealloc__(self):
        pf_mqueue_close(&self.q)

    cdef void drop(self) noexcept:
        pf_mqueue_close(&self.q)

    def limits(self):
        """(messages, bytes of one)"""
        return self.q.max_messages, self.q.max_size

    def fileno(self):
        return -EBADF if self.closed else self.q.fd

    def owner(self):
        return pf_mqueue_owner(&self.q)

    def count(self):
        cdef long rc = self.enter()
        if rc == 0:
            rc = pf_mqueue_count(&self.q)
            self.leave()
        return rc

    def send(self, data, unsigned priority, timeout):
        cdef int64_t deadline = deadline_of(True, timeout)
        cdef Py_buffer view
        cdef Py_ssize_t rc = self.enter()
        if rc < 0:
            return rc
        try:
            PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
            try:
                rc = -EINTR
                while rc == -EINTR:
                    with nogil:
                        rc = pf_mqueue_send(&self.q, view.buf, view.len, priority, deadline)
                    rc = self.settled(rc)
            finally:
                PyBuffer_Release(&view)
        finally:
            self.leave()
        return rc

    def receive(self, timeout):
        """(length, data, priority)"""
        cdef int64_t deadline = deadline_of(True, timeout)
        cdef unsigned priority = 0
        cdef Py_ssize_t rc = self.enter()
        cdef bytes data = b""
        cdef char *into
        if rc < 0:
            return rc, data, priority
        try:
            data = PyBytes_FromStringAndSize(NULL, self.q.max_size)
            into = data
            rc = -EINTR
            while rc == -EINTR:
                with nogil:
                    rc = pf_mqueue_receive(&self.q, into, self.q.max_size, &priority, deadline)
                rc = self.settled(rc)
        finally:
            self.leave()
        return rc, data[:max(rc, 0)], priority


def mqueue_unlink(const char *name):
    return pf_mqueue_unlink(name)
