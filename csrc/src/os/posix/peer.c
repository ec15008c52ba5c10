/* A slot's proof of life where the kernel offers none: the pid, asked about by kill(2).
 *
 * Weaker than a lock that the kernel drops (peer.h): a reused pid keeps a dead owner alive until that
 * process ends too, a zombie counts as alive until it is reaped, exec does not count as death, and
 * processes of different pid namespaces must not share a segment. None of these robs a live process. */
#include "../../os.h"

#ifdef PF__OS_POSIX

#include <signal.h>
#include <unistd.h>

static int pf__pid_alive(uint64_t ident)
{
    if (ident == 0)
        return 0;
    return kill((pid_t)ident, 0) == 0 || errno != ESRCH;
}

int pf__token_take(int fd, struct pf_slots *slots, uint32_t slot, void **token)
{
    (void)fd;
    uint64_t old = atomic_load(&slots->ident[slot]);
    if (pf__pid_alive(old))
        return -EBUSY;
    if (!atomic_compare_exchange_strong(&slots->ident[slot], &old, (uint64_t)getpid()))
        return -EBUSY; /* somebody else was faster, and is alive */
    *token = NULL;
    return 0;
}

int pf__token_alive(int fd, struct pf_slots *slots, uint32_t slot)
{
    (void)fd;
    return pf__pid_alive(atomic_load(&slots->ident[slot]));
}

void pf__token_drop(struct pf_slots *slots, uint32_t slot, void *token)
{
    (void)token;
    uint64_t mine = (uint64_t)getpid(); /* a child of C-level fork must not drop its parent's */
    atomic_compare_exchange_strong(&slots->ident[slot], &mine, 0);
}

#endif
