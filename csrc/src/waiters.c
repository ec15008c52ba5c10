#include "waiters.h"

#include "point.h"
#include "procfast/shm.h"

uint64_t pf__object_id(struct pf_arena *a, _Atomic uint64_t *id, uint64_t kind)
{
    uint64_t seen = pf__load(id);
    if (seen)
        return seen;
    uint64_t mine = (atomic_fetch_add(&a->h->serial, 1) + 1) | kind;
    return atomic_compare_exchange_strong(id, &seen, mine) ? mine : seen;
}

static bool claim(struct pf_arena *a, uint32_t i, uint32_t tenancy)
{
    struct pf__record *r = pf__record(a, i);
    uint64_t seen = pf__peek(&r->word);
    if (PF__STATE(seen) != PF__FREE)
        return false;
    uint64_t mine = (uint64_t)tenancy << 32 | (uint32_t)((PF__GENERATION(seen) + 1) << 2 | PF__BUSY);
    if (!atomic_compare_exchange_strong(&r->word, &seen, mine))
        return false;
    pf__put(&a->hint, i);
    PF_POINT("record.claimed");
    return true;
}

/* Frees the records of the dead; with `all` also what others have to learn from them, and nobody asked for since:
 * notifications that they did not take, arrivals at a barrier. */
static uint32_t sweep(struct pf_arena *a, uint32_t used, bool all)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < used; i++) {
        struct pf__record *r = pf__record(a, i);
        uint64_t seen = pf__load(&r->word);
        bool told = PF__STATE(seen) == PF__GRANTED ||
                    (PF__STATE(seen) == PF__WAITING && (pf__peek(&r->object) & PF__BARRIER));
        if (PF__STATE(seen) == PF__FREE || (told && !all) || !pf__record_dead(a, seen))
            continue;
        PF_POINT("record.sweep");
        n += pf__record_move(r, seen, PF__FREE);
    }
    return n;
}

int pf__record_claim(struct pf_arena *a)
{
    int tenancy = pf__arena_tenancy(a);
    if (tenancy < 0)
        return tenancy;
    for (;;) {
        uint32_t used = pf__records(a), hint = pf__peek(&a->hint);
        for (uint32_t k = 0; k < used; k++) {
            uint32_t i = hint + k < used ? hint + k : (hint + k) % used;
            if (claim(a, i, (uint32_t)tenancy))
                return (int)i;
        }
        /* Before each doubling: those of the killed. */
        bool full = used == a->nrecords;
        if ((full || (used >= 16 && (used & (used - 1)) == 0)) && sweep(a, used, full) > 0)
            continue;
        if (full)
            return -ENOSPC;
        if (used && used % PF__RECORDS_RESERVED == 0) {
            int rc = pf_shm_reserve(a->fd, PF__RECORDS_AT + used * sizeof(struct pf__record),
                                    PF__RECORDS_RESERVED * sizeof(struct pf__record));
            if (rc < 0)
                return rc;
        }
        PF_POINT("record.grow");
        atomic_compare_exchange_strong(&a->h->used, &used, used + 1);
    }
}
