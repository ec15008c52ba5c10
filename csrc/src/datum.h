/* A datum of 1, 2, 4 or 8 bytes in shared memory, aligned to its size, whatever its type: what goes in and comes out is
 * memory of the caller's, of the same size. Each is one access; those that both read and write are atomic, lock-free
 * and sequentially consistent. */
#ifndef PF_DATUM_H
#define PF_DATUM_H

#include <stdbool.h>
#include <stdint.h>

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
#define PF__DO(T) *(T *)to = __atomic_load_n((const T *)at, __ATOMIC_RELAXED)
    PF__BY_SIZE(PF__DO)
#undef PF__DO
}

static inline void pf_datum_store(void *at, const void *from, unsigned size)
{
#define PF__DO(T) __atomic_store_n((T *)at, *(const T *)from, __ATOMIC_RELAXED)
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

#endif
