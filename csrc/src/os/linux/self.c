#include "../../os.h"

#ifdef PF__OS_LINUX

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

uint32_t pf__tid(void)
{
    return (uint32_t)syscall(SYS_gettid);
}

bool pf__tid_alive(uint32_t tid)
{
    return kill((pid_t)tid, 0) == 0 || errno != ESRCH; /* kill(2) finds threads too */
}

static struct robust_list_head *robust_head(void)
{
    struct robust_list_head *head = NULL;
    size_t len = 0;
    if (syscall(SYS_get_robust_list, 0, &head, &len) < 0 || len != sizeof *head)
        return NULL;
    return head;
}

int pf__robust_list(struct pf_thread *t)
{
    struct robust_list_head *head = robust_head();
    if (!head) {
        /* musl registers a thread's list when it first locks a robust mutex: make it do so. */
        pthread_mutexattr_t attr;
        pthread_mutex_t m;
        pthread_mutexattr_init(&attr);
        pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
        pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
        if (pthread_mutex_init(&m, &attr) == 0) {
            pthread_mutex_lock(&m);
            pthread_mutex_unlock(&m);
            pthread_mutex_destroy(&m);
        }
        pthread_mutexattr_destroy(&attr);
        head = robust_head();
    }
    if (!head)
        return -ENOSYS;
    t->pending = (void **)&head->list_op_pending;
    t->futex_offset = head->futex_offset;
    return 0;
}

uint64_t pf__pid_namespace(void)
{
    struct stat st;
    return stat("/proc/self/ns/pid", &st) == 0 ? (uint64_t)st.st_ino : 0;
}

/* An emulator (qemu-user) may say yes to any advice and follow none: one that there is not tells. */
#define NO_ADVICE 9999

int pf__wipe_on_fork(void *page, size_t size)
{
    if (madvise(page, size, NO_ADVICE) == 0)
        return -ENOSYS;
    return madvise(page, size, MADV_WIPEONFORK) < 0 ? -errno : 0;
}

int pf__cpu(void)
{
    int cpu = sched_getcpu();
    return cpu < 0 ? -ENOSYS : cpu;
}

#endif
