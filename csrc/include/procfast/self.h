/* Who the calling process and thread are.
 *
 * The library's only mutable state of its own: one write-once pointer to a page that the kernel wipes at
 * fork (MADV_WIPEONFORK, madvise(2)), and a per-thread cache checked against it. So a fork that bypasses
 * every hook is noticed by the next call. Where the page can't be wiped (macOS), getpid() is asked each
 * time. */
#ifndef PROCFAST_SELF_H
#define PROCFAST_SELF_H

#include "base.h"

struct pf_thread {
    uint64_t epoch;    /* of the process image in which the rest was read; 0 = never read */
    uint32_t tid;      /* kernel thread id, in the caller's pid namespace */
    bool robust;       /* the kernel clears our locks at death: `pending` may be used */
    void **pending;    /* list_op_pending of this thread's robust list (get_robust_list(2)) */
    long futex_offset; /* of that list */
};

/* Changes with every fork; never 0. */
PF_API uint64_t pf_epoch(void);

/* The calling thread's record, fresh after a fork. Never NULL. */
PF_API struct pf_thread *pf_thread_self(void);

/* Makes a descriptor this process's alone: children of fork(3) have it closed at once, though no hook of an interpreter
 * runs in them. One at a time. 0, -ENOMEM, or why fstat(2) fails. What is made by vfork(2) or clone(2) has it until it
 * executes something, if it is close-on-exec. */
PF_API int pf_alone(int fd);

/* Names this process's pid namespace (st_ino of /proc/self/ns/pid); 0 where there are none or it is unknown. */
PF_API uint64_t pf_pid_namespace(void);

#endif
