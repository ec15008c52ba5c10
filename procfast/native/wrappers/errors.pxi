# The one translation from a pf_* code to an exception.

from libc.errno cimport EAGAIN, EBADF, EINTR, EINVAL, EMSGSIZE, ENOMEM, ENOSPC, EPERM, EPIPE, ETIMEDOUT
from cpython.exc cimport PyErr_CheckSignals

from libprocfast cimport *


cdef int check(int rc) except -1:
    """rc where it is no error, else the exception for it."""
    if rc >= 0:
        return rc
    cdef int code = -rc
    text = pf_strerror(code).decode(errors="replace")
    if code == PF_ETOOBIG or code == ENOMEM:
        raise MemoryError(text)
    if code == PF_ECORRUPT:
        from procfast.exceptions import RingCorrupted
        raise RingCorrupted(text)
    if code == PF_EVERSION:
        raise RuntimeError(text)
    if code == PF_EOWNERDEAD:
        raise RuntimeError(text)
    if code == PF_ETORN:
        raise OSError(text)
    raise OSError(code, text)
