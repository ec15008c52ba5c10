/* macOS: no robust list and no pid namespaces, so locks are owned by slot (peer.h). */
#include "../../os.h"
#include "procfast/mutex.h"

#ifdef PF__OS_DARWIN

#include <pthread.h>

/* Since macOS 11; weak, as the library runs on older ones too. */
extern int pthread_cpu_number_np(size_t *cpu) __attribute__((weak_import));

uint32_t pf__tid(void)
{
    uint64_t tid = 0;
    pthread_threadid_np(NULL, &tid); /* 64 bits, unique since boot; its low ones label an owner */
    tid &= PF_OWNER_SLOT - 1;
    return tid ? (uint32_t)tid : 1;
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
    (void)page, (void)size; /* minherit(2) here has no inheritance that zeroes; getpid(2) is cached by libc */
    return -ENOSYS;
}

int pf__cpu(void)
{
    size_t cpu;
    if (pthread_cpu_number_np == NULL || pthread_cpu_number_np(&cpu) != 0)
        return -ENOSYS;
    return (int)cpu;
}

#endif
