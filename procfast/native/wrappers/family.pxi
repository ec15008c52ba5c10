# The raw layer's processes (procfast.posix): waiting, pidfds. Handlers run in each wait; one that raises ends it.


def waitpid(int pid, int options):
    """(pid, wait status)"""
    cdef int status = 0
    cdef int rc = -EINTR
    while rc == -EINTR:
        with nogil:
            rc = pf_waitpid(pid, options, &status)
        if rc == -EINTR:
            PyErr_CheckSignals()
    return check(rc), status


def waitid(int idtype, unsigned id, int options):
    """(si_pid, si_uid, si_signo, si_status, si_code), or None."""
    cdef pf_child_event event
    cdef int rc = -EINTR
    while rc == -EINTR:
        with nogil:
            rc = pf_waitid(idtype, id, options, &event)
        if rc == -EINTR:
            PyErr_CheckSignals()
    check(rc)
    return (event.pid, event.uid, event.signo, event.status, event.code) if event.pid else None


def pidfd_open(int pid):
    return check(pf_pidfd_open(pid))


def pidfd_signal(int fd, int signum):
    check(pf_pidfd_signal(fd, signum))


def pidfd_wait(int fd, timeout):
    """Whether the process has ended within `timeout` seconds."""
    cdef int64_t deadline = deadline_of(True, timeout)
    cdef int rc = -EINTR
    while rc == -EINTR:
        with nogil:
            rc = pf_pidfd_wait(fd, deadline)
        if rc == -EINTR:
            PyErr_CheckSignals()
    if rc != -ETIMEDOUT:
        check(rc)
    return rc == 0


def pidfd_status(int fd):
    """The wait status of a process that was reaped; None: it was not, or the kernel does not tell."""
    cdef int status = 0
    cdef int rc
    with nogil:
        rc = pf_pidfd_status(fd, &status)
    return status if rc == 0 else None


def parent_death_signal(int signum):
    check(pf_parent_death_signal(signum))


def subreaper(bint on):
    check(pf_subreaper(on))
