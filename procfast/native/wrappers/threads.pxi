# What takes the place of the GIL in a free-threaded Python. With a GIL all of it is nothing.
#
# - A latch, for what is done in a few steps of C: no call in between may let go of the thread (block, run Python code,
#   free an object that is not known to have other references). Then no thread is ever stopped inside, not even for a
#   fork, and no child finds one closed.
# - cython.critical_section, where Python is called. A thread that waits lets go of its own meanwhile, as of a GIL. One
#   that another thread of the parent has just been handed stays closed in a forked child; so those that do not belong to
#   one object lock a guard, which `_after_fork_in_child` replaces.
# - Words that are read and written whole (pf_peek_word, pf_poke_word).
# - What is set once, to what was complete before, may be looked at without any.

cimport cython

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    #include <sched.h>
    #define FREE_THREADED 1
    typedef struct { unsigned char closed; } latch;

    static inline void latch_close(latch *l)
    {
        while (__atomic_exchange_n(&l->closed, 1, __ATOMIC_ACQUIRE))
            while (__atomic_load_n(&l->closed, __ATOMIC_RELAXED))
                sched_yield();
    }

    static inline void latch_open(latch *l) { __atomic_store_n(&l->closed, 0, __ATOMIC_RELEASE); }
    #else
    #define FREE_THREADED 0
    typedef struct { char nothing[1]; } latch;
    #define latch_close(l) ((void)(l))
    #define latch_open(l) ((void)(l))
    #endif

    static inline uint64_t pf_peek_word(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }
    static inline void pf_poke_word(uint64_t *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELAXED); }
    """
    const bint FREE_THREADED
    ctypedef struct latch:
        pass
    void latch_close(latch *l) nogil
    void latch_open(latch *l) nogil
    uint64_t pf_peek_word(const uint64_t *word) nogil
    void pf_poke_word(uint64_t *word, uint64_t value) nogil
