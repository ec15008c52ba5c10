/* A counting semaphore in shared memory, without an owner. Zeroed memory is one of value 0.
 *
 * Blocking: a short spin, then sleep. Each sleeper looks twice a second, so one that is killed after it was woken, and
 * one that is killed before it wakes others, cost them a look at most. As fair as lock.h.
 * Fork: nothing to do. Owner death: a permit in the hands of the dead is gone. */
#ifndef PROCFAST_SEM_H
#define PROCFAST_SEM_H

#include "base.h"
#include "clock.h"

#define PF_SEM_MAX UINT32_C(0x7fffffff)

struct pf_sem {
    _Atomic uint64_t word; /* futex word: a bit for sleepers, value; above it a bit for fairness */
    _Atomic uint32_t spin; /* as in lock.h */
};

/* Before anybody else has it. value <= PF_SEM_MAX. */
PF_API void pf_sem_init(struct pf_sem *s, uint32_t value);

/* 0; -EAGAIN (deadline PF_TRY); -ETIMEDOUT; -EINTR after a signal handler and after each fruitless look. */
PF_API int pf_sem_acquire(struct pf_sem *s, int64_t deadline);

/* Adds n permits, if that makes no more than max: else -EOVERFLOW and nothing changed. */
PF_API int pf_sem_release(struct pf_sem *s, uint32_t n, uint32_t max);

static inline uint32_t pf_sem_value(const struct pf_sem *s)
{
    return (uint32_t)atomic_load_explicit(&((struct pf_sem *)s)->word, memory_order_acquire) & PF_SEM_MAX;
}

#endif
