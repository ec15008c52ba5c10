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

/* One word, so that all of it changes at once: the pid (20 bits; the system's largest is 99999), the start
 * time in microseconds (25 bits: it comes round every 33 s, to the microsecond), how often the slot was
 * taken. */
#define WHO_MASK ((UINT64_C(1) << 45) - 1)
#define PID(ident) ((pid_t)((ident) & 0xfffff))
#define COUNT(ident) ((uint32_t)((ident) >> 45))

/* pid and start time of a running process. 0: there is none. UINT64_MAX: the kernel will not tell. */
static uint64_t who(pid_t pid)
{
    struct proc_bsdinfo info;
    errno = 0;
    if (proc_pidinfo(pid, PROC_PIDTBSDINFO, 0, &info, sizeof info) != (int)sizeof info)
        return errno == ESRCH ? 0 : UINT64_MAX; /* zombies are ESRCH too */
    uint64_t us = info.pbi_start_tvsec * 1000000 + info.pbi_start_tvusec;
    return (us << 20 | (uint32_t)pid) & WHO_MASK;
}

static int ident_alive(uint64_t ident)
{
    if (PID(ident) == 0)
        return 0;
    uint64_t now = who(PID(ident));
    if (now == UINT64_MAX)
        return kill(PID(ident), 0) == 0 || errno != ESRCH;
    return now == (ident & WHO_MASK);
}

int pf__token_take(struct pf_peer *p, uint32_t slot, void **token)
{
    struct pf_slot *s = &p->slots[slot];
    uint64_t old = atomic_load(&s->ident);
    if (ident_alive(old))
        return -EBUSY;
    uint64_t mine = who(getpid());
    if (mine == 0 || mine == UINT64_MAX)
        return -EPERM;
    uint32_t count = (COUNT(old) + 1) % (PF_TENANCIES / PF_SLOTS_MOST);
    if (!atomic_compare_exchange_strong(&s->ident, &old, (uint64_t)count << 45 | mine))
        return -EBUSY; /* somebody else was faster, and is alive */
    atomic_store(&s->last, (uint32_t)PID(old));
    atomic_store(&s->taken, count);
    *token = NULL;
    return (int)(count * PF_SLOTS_MOST + slot);
}

int pf__token_alive(struct pf_peer *p, uint32_t tenancy)
{
    uint64_t ident = atomic_load(&p->slots[tenancy % PF_SLOTS_MOST].ident);
    return COUNT(ident) == tenancy / PF_SLOTS_MOST && ident_alive(ident);
}

void pf__token_drop(struct pf_peer *p, uint32_t tenancy, void *token)
{
    (void)token;
    struct pf_slot *s = &p->slots[tenancy % PF_SLOTS_MOST];
    uint64_t mine = atomic_load(&s->ident);
    /* a child of C-level fork must not drop its parent's */
    if (PID(mine) == getpid() && COUNT(mine) == tenancy / PF_SLOTS_MOST)
        atomic_compare_exchange_strong(&s->ident, &mine, mine & ~WHO_MASK);
}

uint32_t pf__token_pid(uint64_t ident)
{
    return (uint32_t)PID(ident);
}

#endif
