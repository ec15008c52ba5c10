#include "../../os.h"

#ifdef PF__OS_LINUX

#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "procfast/clock.h"

#ifndef SYS_futex
#error "this architecture's libc names no futex system call"
#endif

/* FUTEX_WAIT_BITSET takes an absolute CLOCK_MONOTONIC time, FUTEX_WAIT a relative one (futex(2)). */
int pf__futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
    struct timespec ts, *until = NULL;
    if (deadline != PF_FOREVER) {
        ts.tv_sec = (time_t)(deadline / PF_SECOND);
        ts.tv_nsec = (long)(deadline % PF_SECOND);
        until = &ts;
    }
    long rc = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, until, NULL, FUTEX_BITSET_MATCH_ANY);
    return rc < 0 ? (errno == EPERM ? -ENOSYS : -errno) : 0;
}

int pf__futex_wake(_Atomic uint32_t *word, int n)
{
    long rc = syscall(SYS_futex, word, FUTEX_WAKE, n, NULL, NULL, 0);
    return rc < 0 ? (errno == EPERM ? -ENOSYS : -errno) : (int)rc;
}

static int wake_op(_Atomic uint32_t *word, unsigned operation, unsigned shift, int n)
{
#if defined(__SANITIZE_THREAD__)
    (void)word, (void)operation, (void)shift, (void)n; /* it does not see a store by the kernel as a release */
    return -ENOSYS;
#else
    /* The operand is 12 bits; with FUTEX_OP_ARG_SHIFT it is 1 << operand. The comparison's second wake is
     * of none. */
    unsigned op = ((operation | FUTEX_OP_OPARG_SHIFT) << 28) | ((unsigned)FUTEX_OP_CMP_EQ << 24) | (shift << 12);
    long rc = syscall(SYS_futex, word, FUTEX_WAKE_OP, n, (void *)0, word, op);
    return rc < 0 ? (errno == EPERM ? -ENOSYS : -errno) : (int)rc;
#endif
}

int pf__futex_add_wake(_Atomic uint32_t *word, unsigned shift, int n)
{
    return wake_op(word, FUTEX_OP_ADD, shift, n);
}

int pf__futex_or_wake(_Atomic uint32_t *word, unsigned shift, int n)
{
    return wake_op(word, FUTEX_OP_OR, shift, n);
}

#endif
