/* What plain POSIX can say about the caller: not much. Locks are owned by slot (peer.h), deaths are
 * learnt from kill(2), forks from getpid(2). */
#include "../../os.h"
#include "procfast/mutex.h"

#ifdef PF__OS_POSIX

/* POSIX numbers no threads. The address of a thread-local object differs between the live threads of a
 * process; folded to the width of an owner field it is a label for diagnosis, unique nowhere. Nothing
 * depends on it: without a robust list no lock is owned by a thread id. */
uint32_t pf__tid(void)
{
    static _Thread_local char here;
    uintptr_t at = (uintptr_t)&here >> 4;
    uint32_t tid = (uint32_t)(at ^ at >> 21) & (PF_OWNER_SLOT - 1);
    return tid ? tid : 1;
}

bool pf__tid_alive(uint32_t tid)
{
    (void)tid;
    return true;
}

int pf__robust_list(struct pf_thread *t)
{
    t->robust = false;
    t->pending = NULL;
    t->futex_offset = 0;
    return -ENOSYS;
}

uint64_t pf__pid_namespace(void)
{
    return 0;
}

int pf__wipe_on_fork(void *page, size_t size)
{
    (void)page, (void)size;
    return -ENOSYS;
}

int pf__cpu(void)
{
    return -ENOSYS;
}

#endif
