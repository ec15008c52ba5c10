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

int pf__token_take(int fd, struct pf_slots *slots, uint32_t slot, void **token)
{
    (void)fd;
    uint64_t old = atomic_load(&slots->ident[slot]);
    if (pid_alive(old))
        return -EBUSY;
    uint32_t count = (uint32_t)((old >> 32) + 1) % (PF_TENANCIES / PF_SLOTS);
    if (!atomic_compare_exchange_strong(&slots->ident[slot], &old, IDENT(count, getpid())))
        return -EBUSY; /* somebody else was faster, and is alive */
    *token = NULL;
    return (int)(count * PF_SLOTS + slot);
}

int pf__token_alive(int fd, struct pf_slots *slots, uint32_t tenancy)
{
    (void)fd;
    uint64_t ident = atomic_load(&slots->ident[tenancy % PF_SLOTS]);
    return ident >> 32 == tenancy / PF_SLOTS && pid_alive(ident);
}

void pf__token_drop(struct pf_slots *slots, uint32_t tenancy, void *token)
{
    (void)token;
    uint32_t count = tenancy / PF_SLOTS;
    uint64_t mine = IDENT(count, getpid()); /* a child of C-level fork must not drop its parent's */
    atomic_compare_exchange_strong(&slots->ident[tenancy % PF_SLOTS], &mine, IDENT(count, 0));
}

#endif
