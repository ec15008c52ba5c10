/* pf_epoch and pf_thread_self as they are nearly always: nothing to find out. For the lock's fast path. */
#ifndef PROCFAST_SRC_SELF_FAST_H
#define PROCFAST_SRC_SELF_FAST_H

#include "atomic.h"
#include "procfast/clock.h"
#include "procfast/self.h"

struct pf__page {
    _Atomic uint64_t epoch; /* 0 in a new process image: the kernel wiped the page */
    _Atomic int pid;
    _Atomic uint64_t pid_namespace;
    _Atomic uint64_t forks; /* of this process, by libc's fork(), counted before each */
    _Atomic int alone;      /* pf_alone: the descriptor, plus one, and which file it is */
    _Atomic uint64_t alone_device, alone_inode;
};

/* Written once: the page's address, with PF__WIPED where the kernel does wipe it at fork; else the pid is
 * compared at each call. */
PF_API extern _Atomic uintptr_t pf__the_page;
#define PF__WIPED ((uintptr_t)1)

/* The thread's cache. Never trusted across an epoch. */
#if defined(__GLIBC__) && !defined(__SANITIZE_THREAD__)
#define PF__TLS __attribute__((tls_model("initial-exec")))
#else
#define PF__TLS
#endif
PF_API extern __thread struct pf_thread pf__the_thread PF__TLS;

/* Changes before every fork(3) of this process. */
static inline uint64_t pf__forks(void)
{
    struct pf__page *page = (struct pf__page *)(pf__load(&pf__the_page) & ~PF__WIPED);
    return page ? pf__load(&page->forks) : (uint64_t)pf_now(); /* no page: any may have been */
}

static inline struct pf_thread *pf__thread_self(void)
{
    uintptr_t page = pf__load(&pf__the_page);
    if (page & PF__WIPED) {
        uint64_t epoch = pf__load(&((struct pf__page *)(page & ~PF__WIPED))->epoch);
        if (epoch && epoch == pf__the_thread.epoch)
            return &pf__the_thread;
    }
    return pf_thread_self();
}

#endif
