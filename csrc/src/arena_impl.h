/* What the files of the arena and of what lives in it share. */
#ifndef PF_ARENA_IMPL_H
#define PF_ARENA_IMPL_H

#include "atomic.h"
#include "procfast/arena.h"
#include "procfast/peer.h"
#include "self_fast.h"

#define PF__LOOK (PF_SECOND / 2) /* how long a sleeper trusts in being woken, and in the lives of others */

struct pf__allocator;
struct pf__arena_header;

struct pf_arena { /* process-local */
    _Atomic uint64_t epoch;   /* pf_epoch() of the process that has `tenancy`; 0: none yet */
    _Atomic uint32_t tenancy;
    _Atomic uint64_t guard;   /* pf_epoch() of the process one of whose threads is taking it */
    _Atomic uint32_t hint;    /* the record that was claimed last */
    struct pf_peer peer;
    struct pf__arena_header *h;
    size_t size;
    int fd;
    uint64_t creator;         /* pf_epoch() of the process that may allocate; 0: attached */
    struct pf__allocator *alloc;
    void *hold;               /* the current epoch's page */
    void **adopted;           /* pages of other descriptions */
    unsigned nadopted;
};

/* This process's tenancy in the arena, taken now if there was none; or -errno. */
int pf__arena_tenancy(struct pf_arena *a);

#endif
