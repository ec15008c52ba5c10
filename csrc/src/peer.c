#include "procfast/peer.h"

#include "atomic.h"
#include "os.h"
#include "point.h"

void pf_peer_init(struct pf_peer *p, struct pf_slots *slots, int fd, uint64_t pid_namespace)
{
    p->slots = slots;
    p->fd = fd;
    p->epoch = pf_epoch();
    atomic_init(&p->slot, PF_NO_SLOT);
    p->token = NULL;
    p->foreign = pf_pid_namespace() != pid_namespace || !pf_thread_self()->robust;
}

bool pf_peer_refresh(struct pf_peer *p)
{
    uint64_t epoch = pf_epoch();
    if (p->epoch == epoch)
        return false;
    /* In a child. The token's mapping was not inherited; the slot is the parent's. */
    p->epoch = epoch;
    p->token = NULL;
    pf__store(&p->slot, PF_NO_SLOT);
    return true;
}

int pf_peer_slot(struct pf_peer *p, void (*swept)(void *arg, uint32_t slot), void *arg)
{
    uint32_t slot = pf__load(&p->slot);
    if (slot != PF_NO_SLOT)
        return (int)slot;
    for (slot = 0; slot < PF_SLOTS; slot++) {
        void *token = NULL;
        int rc = pf__token_take(p->fd, p->slots, slot, &token);
        if (rc == -EBUSY)
            continue;
        if (rc < 0)
            return rc;
        PF_POINT("peer.slot.taken");
        if (swept)
            swept(arg, slot);
        PF_POINT("peer.slot.swept");
        uint32_t none = PF_NO_SLOT;
        if (atomic_compare_exchange_strong(&p->slot, &none, slot)) {
            p->token = token;
            return (int)slot;
        }
        pf__token_drop(p->slots, slot, token); /* another thread was faster */
        return (int)none;
    }
    return -ENOSPC;
}

int pf_peer_alive(struct pf_peer *p, uint32_t slot)
{
    if (slot >= PF_SLOTS)
        return -EINVAL;
    if (slot == pf__load(&p->slot))
        return 1;
    return pf__token_alive(p->fd, p->slots, slot);
}

void pf_peer_drop(struct pf_peer *p)
{
    uint32_t slot = pf__load(&p->slot);
    if (slot == PF_NO_SLOT || p->epoch != pf_epoch())
        return;
    pf__store(&p->slot, PF_NO_SLOT);
    pf__token_drop(p->slots, slot, p->token);
    p->token = NULL;
}
