/* A slot's proof of life where the kernel offers none: the pid, asked about by kill(2).
 *
 * Weaker than a lock that the kernel drops (peer.h): a reused pid keeps a dead owner alive until that
 * process ends too, a zombie counts as alive until it is reaped, exec does not count as death, and
 * processes of different pid namespaces must not share a segment. None of these robs a live process. */
#include "../../os.h"

#ifdef PF__OS_POSIX

#include <signal.h>
#include <unistd.h>

/* The pid, and above it how often the slot was taken: one word, so that both change at once. */
#define IDENT(count, pid) ((uint64_t)(count) << 32 | (uint32_t)(pid))

static int pid_alive(uint64_t ident)
{
    pid_t pid = (pid_t)(ident & UINT32_MAX);
    return pid != 0 && (kill(pid, 0) == 0 || errno != ESRCH);
}

int pf__token_take(struct pf_peer *p, uint32_t slot, void **token)
{
    struct pf_slot *s = &p->slots[slot];
    uint64_t old = atomic_load(&s->ident);
    if (pid_alive(old))
        return -EBUSY;
    uint32_t count = (uint32_t)((old >> 32) + 1) % (PF_TENANCIES / PF_SLOTS_MOST);
    if (!atomic_compare_exchange_strong(&s->ident, &old, IDENT(count, getpid())))
        return -EBUSY; /* somebody else was faster, and is alive */
    atomic_store(&s->last, (uint32_t)old);
    atomic_store(&s->taken, count);
    *token = NULL;
    return (int)(count * PF_SLOTS_MOST + slot);
}

int pf__token_alive(struct pf_peer *p, uint32_t tenancy)
{
    uint64_t ident = atomic_load(&p->slots[tenancy % PF_SLOTS_MOST].ident);
    return ident >> 32 == tenancy / PF_SLOTS_MOST && pid_alive(ident);
}

void pf__token_drop(struct pf_peer *p, uint32_t tenancy, void *token)
{
    (void)token;
    uint32_t count = tenancy / PF_SLOTS_MOST;
    uint64_t mine = IDENT(count, getpid()); /* a child of C-level fork must not drop its parent's */
    atomic_compare_exchange_strong(&p->slots[tenancy % PF_SLOTS_MOST].ident, &mine, IDENT(count, 0));
}

uint32_t pf__token_pid(uint64_t ident)
{
    return (uint32_t)ident;
}

#endif
