#include "procfast/peer.h"

#include <sched.h>
#include <sys/stat.h>

#include "atomic.h"
#include "os.h"
#include "point.h"

void pf_peer_init(struct pf_peer *p, struct pf_slot *slots, uint32_t nslots, int fd, uint64_t pid_namespace)
{
    struct stat st;
    bool known = fstat(fd, &st) == 0;
    p->slots = slots;
    p->nslots = nslots;
    p->fd = fd;
    p->file[0] = known ? (uint64_t)st.st_dev : 0;
    p->file[1] = known ? (uint64_t)st.st_ino : 0;
    p->pid_namespace = pid_namespace;
    pf__put(&p->epoch, 0);
    pf__put(&p->guard, 0);
    pf_peer_refresh(p);
}

bool pf_peer_refresh(struct pf_peer *p)
{
    uint64_t epoch = pf_epoch();
    if (pf__load(&p->epoch) == epoch)
        return false;
    uint64_t before = pf__load(&p->guard);
    /* Of threads that come at once one does it. One that was at it in the parent when it forked is not here. */
    if (before == epoch || !atomic_compare_exchange_strong(&p->guard, &before, epoch)) {
        while (pf__load(&p->epoch) != epoch)
            sched_yield();
        return true;
    }
    /* In a child the token's mapping was not inherited, the slot is the parent's, and it may have been
     * born into another pid namespace, where thread ids mean others. */
    p->token = NULL;
    pf__store(&p->slot, PF_NO_SLOT);
    p->foreign = pf_pid_namespace() != p->pid_namespace || !pf_thread_self()->robust;
    pf__store(&p->epoch, epoch);
    return true;
}

int pf_peer_slot(struct pf_peer *p)
{
    uint32_t tenancy = pf__load(&p->slot), none = PF_NO_SLOT;
    if (tenancy != PF_NO_SLOT)
        return (int)tenancy;
    for (uint32_t slot = 0; slot < p->nslots; slot++) {
        void *token = NULL;
        int rc = pf__token_take(p, slot, &token);
        if (rc == -EBUSY)
            continue;
        if (rc < 0)
            return rc;
        PF_POINT("peer.slot.taken");
        if (atomic_compare_exchange_strong(&p->slot, &none, (uint32_t)rc)) {
            p->token = token;
            return rc;
        }
        pf__token_drop(p, (uint32_t)rc, token); /* another thread was faster */
        return (int)none;
    }
    return -ENOSPC;
}

int pf_peer_alive(struct pf_peer *p, uint32_t tenancy)
{
    if (tenancy >= PF_TENANCIES || tenancy % PF_SLOTS_MOST >= p->nslots)
        return -EINVAL;
    if (tenancy == pf__load(&p->slot))
        return 1;
    return pf__token_alive(p, tenancy);
}

int pf_peer_pid(struct pf_peer *p, uint32_t tenancy)
{
    if (tenancy >= PF_TENANCIES || tenancy % PF_SLOTS_MOST >= p->nslots)
        return 0;
    struct pf_slot *s = &p->slots[tenancy % PF_SLOTS_MOST];
    const uint32_t counts = PF_TENANCIES / PF_SLOTS_MOST;
    uint32_t count = tenancy / PF_SLOTS_MOST, now = pf__load(&s->taken);
    uint32_t pid = now == count ? pf__token_pid(pf__load(&s->ident))
                   : now == (count + 1) % counts ? pf__load(&s->last) : 0;
    return pf__load(&s->taken) == now ? (int)pid : 0;
}

void pf_peer_drop(struct pf_peer *p)
{
    uint32_t tenancy = pf__load(&p->slot);
    if (tenancy == PF_NO_SLOT || p->epoch != pf_epoch())
        return;
    pf__store(&p->slot, PF_NO_SLOT);
    pf__token_drop(p, tenancy, p->token);
    p->token = NULL;
}
