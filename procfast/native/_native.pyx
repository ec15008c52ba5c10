# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, binding=False, auto_pickle=False
# cython: embedsignature=True, embedsignature.format=clinic
"""The one extension: csrc/ behind thin wrappers. This file is its table of contents."""

cdef extern from *:
    """
    #ifndef PROCFAST_VERSION
    #error "build it by setup.py, which passes the version"
    #endif
    static const char pf_version[] = PROCFAST_VERSION;
    """
    const char pf_version[]

VERSION = (<bytes>pf_version).decode()
"""The version of procfast that this binary was built for."""

include "wrappers/errors.pxi"
include "wrappers/clock.pxi"
include "wrappers/threads.pxi"
include "wrappers/ring.pxi"
include "wrappers/codec.pxi"
include "wrappers/queue.pxi"
include "wrappers/link.pxi"
include "wrappers/pool_messages.pxi"
include "wrappers/pool_worker.pxi"
include "wrappers/pool.pxi"
include "wrappers/pool_future.pxi"
include "wrappers/shared_memory.pxi"
include "wrappers/process.pxi"
include "wrappers/fork.pxi"
include "wrappers/arena.pxi"
include "wrappers/entry.pxi"
include "wrappers/synchronize.pxi"
include "wrappers/condition.pxi"
include "wrappers/sharedctypes.pxi"
include "wrappers/posix.pxi"
include "wrappers/family.pxi"
include "wrappers/features.pxi"
