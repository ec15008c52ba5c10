# The raw POSIX layer (procfast.posix): pipes.


def pipe():
    cdef int fds[2]
    check(pf_pipe_open(fds))
    return fds[0], fds[1]


def move_all(int fd, bint out, buffer, timeout):
    """(code, done): read or write the whole buffer. code is 0, ETIMEDOUT, EPIPE (the other end is gone), ...

    BaseException of a signal handler: its `done` says how many bytes were moved.
    """
    cdef Py_buffer view
    cdef size_t done = 0
    cdef int rc
    cdef int64_t deadline = deadline_of(True, timeout)
    PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE if out else PyBUF_WRITABLE)
    try:
        while True:
            with nogil:
                if out:
                    rc = pf_write_all(fd, view.buf, view.len, &done, deadline)
                else:
                    rc = pf_read_all(fd, view.buf, view.len, &done, deadline)
            if rc != -EINTR:
                return -rc, done
            try:
                PyErr_CheckSignals()
            except BaseException as error:
                error.done = done
                raise
    finally:
        PyBuffer_Release(&view)
