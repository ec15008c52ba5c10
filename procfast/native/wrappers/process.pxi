# Child: one child process. parent_open: a descriptor by which children see this process end.

cimport cython
import os as _os

from libc.errno cimport EAGAIN, ECHILD, EINTR, ENOSYS, ESRCH
from posix.unistd cimport close, usleep


cdef class Child:
    """One child of this process: wait for its end, signal it (csrc/include/procfast/child.h).

    Child(pid, pipe=-1): `pipe` is the read end of a pipe whose write end only the child keeps, for
    platforms without a descriptor for processes; it stays the caller's, who keeps it open.
    Child(pid, pidfd=fd): a process that need not be a child of this one; the pidfd is this object's. It
    is reaped by its own parent, so wait() tells the exit code only where the kernel does.
    OSError where the child can't be watched.
    """

    cdef pf_child c
    cdef object code
    cdef bint gone  # it had ended and was reaped before it could be watched (SIGCHLD is ignored)
    cdef bint lent  # the descriptor is the caller's

    def __cinit__(self, int pid, int pipe=-1, *, int pidfd=-1):
        if pidfd >= 0:
            self.c.pid, self.c.fd, self.c.exact = pid, pidfd, True
            return
        self.c.fd = -1
        cdef int rc = pf_child_open(&self.c, pid)
        if rc == -ESRCH:
            self.gone = True
            self.c.fd, write = _os.pipe()
            close(write)  # so it is readable from now on, as the descriptor of an ended child is
        elif rc == -ENOSYS and pipe >= 0:
            self.lent = True
            self.c.fd = pipe
        else:
            check(rc)

    def __dealloc__(self):
        self.drop()

    cdef void drop(self) noexcept:
        if self.lent:
            self.c.fd = -1
        pf_child_close(&self.c)

    def fileno(self):
        """The descriptor that is readable once the child has ended; -1 after close()."""
        return self.c.fd

    def close(self):
        """Close the descriptor, unless it is the caller's. Neither waits nor reaps."""
        with cython.critical_section(self):
            self.drop()

    def wait(self, timeout=None):
        """Wait at most `timeout` seconds (None: for ever) for the end, and reap the child.

        The exit code, negative for the signal that killed it; None after the timeout. Other threads run
        meanwhile, signal handlers too. ChildProcessError: somebody else has reaped it, or it is not a
        child of this process, and the kernel does not tell the exit code.
        """
        cdef int64_t deadline = deadline_of(True, timeout)
        cdef int rc
        if deadline == PF_NOWAIT or self.gone:
            return self._reap()
        while self.code is None:
            with nogil:
                rc = pf_child_wait(&self.c, deadline)
            if rc == -EINTR:
                PyErr_CheckSignals()
            elif rc < 0:
                return self._reap()
            elif self._reap() is None:
                with nogil:
                    usleep(1000)  # it has ended, but a debugger holds it
        return self.code

    cdef object _reap(self):
        """The exit code if it has ended. Reaped and noted in one step: other threads wait as well."""
        cdef int code = 0
        cdef int rc = 0
        with cython.critical_section(self):
            if self.gone:
                rc = -ECHILD
            elif self.code is None:
                rc = pf_child_reap(&self.c, &code)
                if rc == 0:
                    self.code = code
        if rc != -EAGAIN:
            check(rc)
        return self.code

    def signal(self, int signum):
        """Send a signal to this very process. ProcessLookupError: it has ended."""
        cdef int rc = -ESRCH
        with cython.critical_section(self):
            if self.code is None and not self.gone:
                rc = pf_child_signal(&self.c, signum)
        check(rc)


def parent_open():
    """A new descriptor by which children of fork see this process end; OSError(ENOSYS): use a pipe."""
    return check(pf_parent_open())


def end_with(int fd):
    """Have this process killed once nobody has the write end of the pipe `fd` open; a new descriptor that does it.

    OSError: ENOSYS, or there is no /proc.
    """
    return check(pf_end_with(fd))


def inherited():
    """What a program started by this thread would inherit, as bytes for comparison (csrc/include/procfast/inherit.h).

    OSError where that can't be told (ENOSYS), or where it would have no file behind 0, 1 or 2 (EBADF).
    """
    cdef Py_ssize_t n, room = 16384
    cdef bytearray buf
    while True:
        buf = bytearray(room)
        n = pf_inherited(<char *>buf, <size_t>room)
        if n < 0:
            check(<int>n)
        if n <= room:
            return bytes(buf[:n])
        room = n


def alone(int fd):
    """Have children of fork find this descriptor closed, those of C code too. One at a time."""
    check(pf_alone(fd))
