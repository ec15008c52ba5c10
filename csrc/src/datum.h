/* A datum of 1, 2, 4 or 8 bytes in shared memory, aligned to its size, whatever its type: what goes in and comes out is
 * memory of the caller's, of the same size. Each is one access; those that both read and write are atomic, lock-free
 * and sequentially consistent. */
#ifndef PF_DATUM_H
#define PF_DATUM_H

#include <stdbool.h>
#include <stdint.h>

#include "lock_fast.h"

typedef uint8_t __attribute__((may_alias)) pf__datum1;
typedef uint16_t __attribute__((may_alias)) pf__datum2;
typedef uint32_t __attribute__((may_alias)) pf__datum4;
typedef uint64_t __attribute__((may_alias)) pf__datum8;

#define PF__BY_SIZE(DO)                                                                                                \
    switch (size) {                                                                                                    \
    case 1:                                                                                                            \
        DO(pf__datum1);                                                                                                \
        break;                                                                                                         \
    case 2:                                                                                                            \
        DO(pf__datum2);                                                                                                \
        break;                                                                                                         \
    case 4:                                                                                                            \
        DO(pf__datum4);                                                                                                \
        break;                                                                                                         \
    default:                                                                                                           \
        DO(pf__datum8);                                                                                                \
    }

static inline void pf_datum_load(const void *at, void *to, unsigned size)
{
#define PF__DO(T) *(T *)to = __atomic_load_n((const T *)at, __ATOMIC_ACQUIRE)
    PF__BY_SIZE(PF__DO)
#undef PF__DO
}

static inline void pf_datum_store(void *at, const void *from, unsigned size)
{
#define PF__DO(T) __atomic_store_n((T *)at, *(const T *)from, __ATOMIC_RELEASE)
    PF__BY_SIZE(PF__DO)
#undef PF__DO
}

static inline void pf_datum_exchange(void *at, const void *with, void *was, unsigned size)
{
#define PF__DO(T) *(T *)was = __atomic_exchange_n((T *)at, *(const T *)with, __ATOMIC_SEQ_CST)
    PF__BY_SIZE(PF__DO)
#undef PF__DO
}

/* If it is *seen, stores *with: true. Else *seen is what it is. */
static inline bool pf_datum_replace(void *at, void *seen, const void *with, unsigned size)
{
    bool done = false;
#define PF__DO(T)                                                                                                      \
    done =                                                                                                             \
        __atomic_compare_exchange_n((T *)at, (T *)seen, *(const T *)with, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
    PF__BY_SIZE(PF__DO)
#undef PF__DO
    return done;
}

/* In front of a datum with a lock of its own, which is read without it while it is free.
 *
 * What a reader must not see is a value that a holder of the lock goes on to change before he releases it. So whoever
 * stores while he holds the lock for more than that store counts first. A reader who finds the lock free and the
 * count the same before and after has what the last holder left, or the one store of somebody who took the lock for no
 * more. Where others may store without counting (into an object of ctypes), it is exposed, and all take the lock. */
struct pf_guard {
    struct pf_lock lock;
    _Atomic uint32_t changes, exposed;
};

static inline void pf_guard_change(struct pf_guard *g)
{
    pf__store(&g->changes, pf__peek(&g->changes) + 1); /* who sees it sees the lock taken */
}

static inline void pf_guard_expose(struct pf_guard *g)
{
    pf__put(&g->exposed, 1);
    atomic_thread_fence(memory_order_seq_cst);
}

/* The datum without the lock, or of a caller who has it; false: take it. */
static inline bool pf_guard_read(struct pf_guard *g, struct pf_arena *a, const void *at, void *to, unsigned size)
{
    uint32_t before = pf__load(&g->changes);
    uint64_t seen = pf__load(&g->lock.word);
    if (seen & PF__TID) {
        if ((seen & PF__OWNER) != pf__owner(a))
            return false;
        pf_datum_load(at, to, size);
        return true;
    }
    pf_datum_load(at, to, size);
    return pf__peek(&g->changes) == before && !pf__peek(&g->exposed);
}

#endif
