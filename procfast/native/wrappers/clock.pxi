# A timeout (seconds from now, or None) becomes one absolute deadline for the whole operation.

from libc.math cimport isnan


cdef int64_t deadline_of(object block, object timeout) except? -2:
    if not block:
        return PF_NOWAIT
    if timeout is None:
        return PF_FOREVER
    cdef double seconds = timeout
    if isnan(seconds):
        raise ValueError("timeout must be a number of seconds or None, not nan")
    if seconds >= 9e9:
        return PF_FOREVER
    if seconds <= 0:
        return PF_NOWAIT
    return pf_deadline(<int64_t>(seconds * 1e9))
