/* What the ring knows of a pool: where its consumers note the message that they are about to take. */
#ifndef PF_POOL_IMPL_H
#define PF_POOL_IMPL_H

#include "ring_impl.h"

struct pf_claim {
    _Alignas(64) _Atomic uint64_t number; /* of the message in its hands, from 1 on; 0: none */
    _Atomic uint64_t ticket;
    _Atomic uint32_t state; /* serial of the task, and how far it is */
    _Atomic uint32_t ready;
    _Atomic int64_t since, busy;
    _Atomic uint64_t done;
};

/* The consumer's next message, under its lock and before the commit that takes it. */
static inline void pf__claim(struct pf_ring *r, uint64_t count, const struct pf_box *box)
{
    uint64_t ticket = 0;
    if (box->len >= sizeof ticket)
        memcpy(&ticket, box->data, sizeof ticket);
    pf__put(&r->claim->ticket, ticket);
    pf__store(&r->claim->number, count + 1);
    PF_POINT("pool.noted");
}

/* Under the consumers' lock, whose last owner died inside: what it noted and did not take is nobody's. */
void pf__forget_claims(struct pf_ring *r);

#endif
