#include "procfast/peer.h"

#include "atomic.h"
#include "os.h"
#include "point.h"

void pf_peer_init(struct pf_peer *p, struct pf_slots *slots, int fd, uint64_t pid_namespace)
{
    p->slots = slots;
    p->fd = fd;
    p->pid_namespace = pid_namespace;
    p->epoch = 0;
    pf_peer_refresh(p);
}

bool pf_peer_refresh(struct pf_peer *p)
{
    uint64_t epoch = pf_epoch();
    if (p->epoch == epoch)
        return false;
    /* In a child the token's mapping was not inherited, the slot is the parent's, and it may have been
     * born into another pid namespace, where thread ids mean others. */
    p->token = NULL;
    pf__store(&p->slot, PF_NO_SLOT);
    p->foreign = pf_pid_namespace() != p->pid_namespace || !pf_thread_self()->robust;
    p->epoch = epoch;
    return true;
}

int pf_peer_slot(struct pf_peer *p)
{
    uint32_t tenancy = pf__load(&p->slot), none = PF_NO_SLOT;
    if (tenancy != PF_NO_SLOT)
        return (int)tenancy;
    for (uint32_t slot = 0; slot < PF_SLOTS; slot++) {
        void *token = NULL;
        int rc = pf__token_take(p->fd, p->slots, slot, &token);
        if (rc == -EBUSY)
            continue;
        if (rc < 0)
            return rc;
        PF_POINT("peer.slot.taken");
        if (atomic_compare_exchange_strong(&p->slot, &none, (uint32_t)rc)) {
            p->token = token;
            return rc;
        }
        pf__token_drop(p->slots, (uint32_t)rc, token); /* another thread was faster */
        return (int)none;
    }
    return -ENOSPC;
}

int pf_peer_alive(struct pf_peer *p, uint32_t tenancy)
{
    if (tenancy >= PF_TENANCIES)
        return -EINVAL;
    if (tenancy == pf__load(&p->slot))
        return 1;
    return pf__token_alive(p->fd, p->slots, tenancy);
}

void pf_peer_drop(struct pf_peer *p)
{
    uint32_t tenancy = pf__load(&p->slot);
    if (tenancy == PF_NO_SLOT || p->epoch != pf_epoch())
        return;
    pf__store(&p->slot, PF_NO_SLOT);
    pf__token_drop(p->slots, tenancy, p->token);
    p->token = NULL;
}
