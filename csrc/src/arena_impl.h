/* What the files of the arena and of what lives in it share. */
#ifndef PF_ARENA_IMPL_H
#define PF_ARENA_IMPL_H

#include "atomic.h"
#include "procfast/arena.h"
#include "procfast/peer.h"
#include "self_fast.h"

#define PF__LOOK (PF_SECOND / 2) /* how long a sleeper trusts in being woken, and in the lives of others */

#define PF__ARENA_MAGIC UINT64_C(0x31616e6572616670) /* "pfarena1" */
#define PF__ARENA_LAYOUT 1
#define PF__RECORDS 65536
#define PF__RECORDS_RESERVED 1024 /* at creation, and at each growth */

/* One thread that waits for a condition, or has arrived at a barrier (waiters.h). */
struct pf__record {
    _Alignas(64) _Atomic uint64_t word; /* tenancy << 32 | futex word: generation, state */
    _Atomic uint64_t object;            /* its id */
    _Atomic uint64_t ticket;            /* order, or phase */
    _Atomic uint64_t until;             /* GRANTED: who came later was not meant. A late notifier of the last one here may still write it */
    _Atomic uint64_t index;             /* at a barrier: how many had come before */
};

struct pf__arena_header {
    uint64_t magic;
    uint32_t layout, nrecords; /* 0: an arena for one block, which has neither slots nor records */
    uint64_t size, first;      /* of the file; where the first block is */
    uint64_t pid_namespace;
    uint8_t id[PF_ARENA_ID];
    _Atomic uint64_t top;      /* memory is there up to here; written by the creator alone */
    _Alignas(64) _Atomic uint64_t serial; /* of the last id */
    _Atomic uint32_t used;                /* records from here on were never used */
    _Alignas(4096) struct pf_slot slots[PF_SLOTS_MOST];
    struct pf__record records[];
};

#define PF__RECORDS_AT (offsetof(struct pf__arena_header, records))
#define PF__SINGLE_AT UINT64_C(4096)

struct pf__allocator;

struct pf_arena { /* process-local */
    _Atomic uint64_t epoch;   /* pf_epoch() of the process that has `tenancy`; 0: none yet */
    _Atomic uint32_t tenancy;
    _Atomic uint64_t who;     /* tenancy << 32 | pid */
    _Atomic uint64_t guard;   /* pf_epoch() of the process one of whose threads is taking it */
    _Atomic uint32_t hint;    /* the record that was claimed last */
    struct pf_peer peer;
    struct pf__arena_header *h;
    size_t size;
    uint64_t first;           /* as in the header, which others can write */
    uint32_t nrecords;
    int fd;
    uint64_t creator;         /* pf_epoch() of the process that may allocate; 0: attached */
    struct pf__allocator *alloc;
    void *hold;               /* the current epoch's page */
    void **adopted;           /* pages of other descriptions */
    unsigned nadopted;
};

/* Where a block lies. */
static inline uint64_t pf__offset(const struct pf_arena *a, const void *addr)
{
    return (uint64_t)((const char *)addr - (const char *)a->h);
}

/* This process's tenancy in the arena, taken now if there was none; or -errno. */
int pf__arena_tenancy(struct pf_arena *a);

#endif
