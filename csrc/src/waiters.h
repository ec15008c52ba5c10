/* Records of those who wait: in the header of an arena, for its conditions and barriers. A thread has one at a time for
 * each object that it waits for. */
#ifndef PF_WAITERS_H
#define PF_WAITERS_H

#include "arena_impl.h"

/* A record's word: tenancy << 32 | generation << 2 | state. It changes as a whole, so whose it is is always exact. BUSY
 * is one that its owner is filling in. A record of the dead may be freed by anybody, but for a condition's GRANTED. */
enum { PF__FREE, PF__BUSY, PF__WAITING, PF__GRANTED };
#define PF__STATE(word) ((unsigned)(word) & 3)
#define PF__GENERATION(word) ((uint32_t)(word) >> 2)
#define PF__WITH(word, state) (((word) & ~UINT64_C(3)) | (state))

/* In the ids of barriers: the records of their dead are what breaks them, and not swept. */
#define PF__BARRIER (UINT64_C(1) << 63)

/* The id of an object, given to it now if it had none; kind is PF__BARRIER or 0. */
uint64_t pf__object_id(struct pf_arena *a, _Atomic uint64_t *id, uint64_t kind);

/* A BUSY record of this process's, or -errno. */
int pf__record_claim(struct pf_arena *a);

static inline struct pf__record *pf__record(struct pf_arena *a, uint32_t i)
{
    return &a->h->records[i < a->nrecords ? i : 0];
}

static inline uint32_t pf__records(struct pf_arena *a) /* that were ever used */
{
    uint32_t n = pf__load(&a->h->used);
    return n < a->nrecords ? n : a->nrecords;
}

/* Shows a claimed record to others. */
static inline void pf__record_show(struct pf__record *r, uint64_t object, uint64_t ticket)
{
    pf__put(&r->object, object);
    pf__put(&r->ticket, ticket);
    atomic_store(&r->word, PF__WITH(pf__peek(&r->word), PF__WAITING));
}

/* From the word that was seen to another state; FREE forgets the owner. */
static inline bool pf__record_move(struct pf__record *r, uint64_t seen, unsigned state)
{
    uint64_t next = PF__WITH(seen, state);
    return atomic_compare_exchange_strong(&r->word, &seen, state == PF__FREE ? (uint32_t)next : next);
}

static inline bool pf__record_dead(struct pf_arena *a, uint64_t word)
{
    return pf_peer_alive(&a->peer, (uint32_t)(word >> 32)) == 0;
}

#endif
