#include "procfast/self.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os.h"
#include "procfast/clock.h"
#include "self_fast.h"

_Atomic uintptr_t pf__the_page;
__thread struct pf_thread pf__the_thread PF__TLS;

/* What the page says of pf_alone, for the child of this very thread, which finds the page wiped. */
static __thread struct {
    int fd; /* -1: none */
    uint64_t device, inode;
} to_close;

static void before_fork(void)
{
    uintptr_t tagged = pf__load(&pf__the_page);
    if (!tagged)
        return;
    struct pf__page *page = (struct pf__page *)(tagged & ~PF__WIPED);
    atomic_fetch_add(&page->forks, 1);
    to_close.fd = pf__load(&page->alone) - 1;
    to_close.device = pf__load(&page->alone_device);
    to_close.inode = pf__load(&page->alone_inode);
}

static void after_fork(void)
{
    struct stat s;
    uintptr_t tagged = pf__load(&pf__the_page);
    if (!tagged || to_close.fd < 0)
        return;
    if (fstat(to_close.fd, &s) == 0 && (uint64_t)s.st_dev == to_close.device && (uint64_t)s.st_ino == to_close.inode)
        close(to_close.fd);
    pf__put(&((struct pf__page *)(tagged & ~PF__WIPED))->alone, 0);
}

static struct pf__page *get_page(bool *wiped)
{
    uintptr_t tagged = pf__load(&pf__the_page);
    if (!tagged) {
        void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            return NULL;
        if (pthread_atfork(before_fork, NULL, after_fork) != 0) {
            munmap(p, 4096);
            return NULL;
        }
        uintptr_t mine = (uintptr_t)p | (pf__wipe_on_fork(p, 4096) == 0 ? PF__WIPED : 0);
        if (atomic_compare_exchange_strong(&pf__the_page, &tagged, mine))
            tagged = mine;
        else
            munmap(p, 4096);
    }
    *wiped = tagged & PF__WIPED;
    return (struct pf__page *)(tagged & ~PF__WIPED);
}

static uint64_t new_epoch(struct pf__page *p)
{
    /* Time, so that a pid that comes round again can't look like an ancestor. */
    uint64_t seen = 0, mine = ((uint64_t)pf_now() << 1) | 1;
    pf__store(&p->pid, getpid());
    return atomic_compare_exchange_strong(&p->epoch, &seen, mine) ? mine : seen;
}

uint64_t pf_epoch(void)
{
    bool wiped;
    struct pf__page *p = get_page(&wiped);
    if (!p) /* not even a page of memory: the pid must do */
        return ((uint64_t)getpid() << 1) | 1;
    uint64_t epoch = pf__load(&p->epoch);
    if (epoch && !wiped) {
        if (pf__load(&p->pid) != getpid() && atomic_compare_exchange_strong(&p->epoch, &epoch, 0))
            pf__put(&p->pid_namespace, 0);
        epoch = pf__load(&p->epoch); /* the parent's is gone, by this thread or another, before the pid is ours */
    }
    return epoch ? epoch : new_epoch(p);
}

struct pf_thread *pf_thread_self(void)
{
    struct pf_thread *t = &pf__the_thread;
    uint64_t epoch = pf_epoch();
    if (t->epoch != epoch) {
        t->tid = pf__tid();
        t->robust = pf__robust_list(t) == 0;
        t->epoch = epoch;
    }
    return t;
}

int pf_alone(int fd)
{
    bool wiped;
    struct stat s;
    struct pf__page *p = get_page(&wiped);
    if (!p)
        return -ENOMEM;
    if (fstat(fd, &s) < 0)
        return -errno;
    pf__put(&p->alone, 0);
    pf__put(&p->alone_device, (uint64_t)s.st_dev);
    pf__put(&p->alone_inode, (uint64_t)s.st_ino);
    pf__put(&p->alone, fd + 1);
    return 0;
}

uint64_t pf_pid_namespace(void)
{
    bool wiped;
    struct pf__page *p = get_page(&wiped);
    if (!p)
        return pf__pid_namespace();
    pf_epoch(); /* a child may be in a namespace of its own: a fork clears the cache */
    uint64_t ns = pf__peek(&p->pid_namespace);
    if (!ns) {
        ns = pf__pid_namespace();
        pf__put(&p->pid_namespace, ns ? ns : UINT64_MAX);
    }
    return ns == UINT64_MAX ? 0 : ns;
}
