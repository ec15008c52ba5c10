/* macOS: a slot's proof of life is its pid together with that process's start time (proc_pidinfo).
 *
 * Weaker than a lock that the kernel drops (peer.h): exec is not seen as death, and a process of another
 * user whose start time may not be read counts as alive while its pid exists. Reused pids and zombies
 * are told apart. None of these robs a live process. */
#include "../../os.h"

#ifdef PF__OS_DARWIN

#include <libproc.h>
#include <signal.h>
#include <sys/proc_info.h>
#include <unistd.h>

#define PF__PID(ident) ((pid_t)((ident) & UINT32_MAX))

/* pid below, start time in microseconds above, cut to 32 bits (it comes round once in 71 minutes, to
 * the microsecond). 0: there is no such process. UINT64_MAX: the kernel will not tell. */
static uint64_t pf__ident(pid_t pid)
{
    struct proc_bsdinfo info;
    errno = 0;
    if (proc_pidinfo(pid, PROC_PIDTBSDINFO, 0, &info, sizeof info) != (int)sizeof info)
        return errno == ESRCH ? 0 : UINT64_MAX; /* zombies are ESRCH too */
    uint64_t us = info.pbi_start_tvsec * 1000000 + info.pbi_start_tvusec;
    return us << 32 | (uint32_t)pid;
}

static int pf__ident_alive(uint64_t ident)
{
    if (ident == 0)
        return 0;
    uint64_t now = pf__ident(PF__PID(ident));
    if (now == UINT64_MAX)
        return kill(PF__PID(ident), 0) == 0 || errno != ESRCH;
    return now == ident;
}

int pf__token_take(int fd, struct pf_slots *slots, uint32_t slot, void **token)
{
    (void)fd;
    uint64_t old = atomic_load(&slots->ident[slot]);
    if (pf__ident_alive(old))
        return -EBUSY;
    uint64_t mine = pf__ident(getpid());
    if (mine == 0 || mine == UINT64_MAX)
        return -EPERM;
    if (!atomic_compare_exchange_strong(&slots->ident[slot], &old, mine))
        return -EBUSY; /* somebody else was faster, and is alive */
    *token = NULL;
    return 0;
}

int pf__token_alive(int fd, struct pf_slots *slots, uint32_t slot)
{
    (void)fd;
    return pf__ident_alive(atomic_load(&slots->ident[slot]));
}

void pf__token_drop(struct pf_slots *slots, uint32_t slot, void *token)
{
    (void)token;
    uint64_t mine = atomic_load(&slots->ident[slot]);
    if (PF__PID(mine) == getpid()) /* a child of C-level fork must not drop its parent's */
        atomic_compare_exchange_strong(&slots->ident[slot], &mine, 0);
}

#endif
