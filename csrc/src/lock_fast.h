/* Locks and semaphores as they are nearly always: free, or the caller's. No system call, nothing sleeps, no GIL to
 * release. Where a function says that it was not so easy, the one of lock.h or sem.h does all. */
#ifndef PF_LOCK_FAST_H
#define PF_LOCK_FAST_H

#include "arena_impl.h"
#include "atomic.h"
#include "point.h"
#include "procfast/lock.h"
#include "procfast/sem.h"

/* The lower half of a lock's word; the upper is the owner's tenancy. */
#define PF__TID UINT32_C(0x003fffff)
#define PF__BRIEF UINT32_C(0x20000000)   /* held for one access only, which is done or not */
#define PF__STARVED UINT32_C(0x40000000) /* one who slept has been losing: others let it go first */
#define PF__WAITERS UINT32_C(0x80000000)
#define PF__OWNER (~UINT64_C(0) << 32 | PF__TID)

/* The calling thread as a lock's owner; 0: to be found out first. */
static inline uint64_t pf__owner(struct pf_arena *a)
{
    struct pf_thread *t = pf__thread_self();
    return pf__load(&a->epoch) == t->epoch ? (uint64_t)pf__peek(&a->tenancy) << 32 | t->tid : 0;
}

/* Takes a free lock. false: use pf_lock_acquire. */
static inline bool pf_lock_take(struct pf_lock *l, struct pf_arena *a)
{
    uint64_t me = pf__owner(a), none = 0;
    if (!me ||
        !atomic_compare_exchange_strong_explicit(&l->word, &none, me, memory_order_acquire, memory_order_relaxed))
        return false;
    PF_POINT("lock.taken");
    pf__put(&l->last, pf__peek(&a->who));
    return true;
}

/* pf_lock_release. */
static inline int pf_lock_drop(struct pf_lock *l)
{
    uint64_t seen = pf__peek(&l->word);
    if (!(seen & PF__TID) || (seen & (PF__WAITERS | PF__STARVED)))
        return pf_lock_release(l);
    PF_POINT("lock.release");
    if (!atomic_compare_exchange_strong_explicit(&l->word, &seen, 0, memory_order_release, memory_order_relaxed))
        return pf_lock_release(l);
    PF_POINT("lock.released");
    return 0;
}

/* Takes a free lock, or one that the caller has. false: use pf_rlock_acquire. */
static inline bool pf_rlock_take(struct pf_lock *l, struct pf_arena *a)
{
    uint64_t me = pf__owner(a), seen = pf__peek(&l->word);
    if (!me)
        return false;
    uint32_t count = 0;
    if ((seen & PF__OWNER) == me) {
        count = pf__peek(&l->count);
        if (count == INT32_MAX)
            return false;
    } else {
        seen = 0;
        if (!atomic_compare_exchange_strong_explicit(&l->word, &seen, me, memory_order_acquire, memory_order_relaxed))
            return false;
        PF_POINT("rlock.taken");
        pf__put(&l->last, pf__peek(&a->who));
    }
    pf__put(&l->count, count + 1);
    return true;
}

/* A recursive lock as by PF_LOCK_BRIEF. 1: taken, to be given back by pf_lock_drop; 0: the caller has it already; -1: use
 * pf_lock_acquire. */
static inline int pf_rlock_enter(struct pf_lock *l, struct pf_arena *a)
{
    uint64_t me = pf__owner(a), seen = pf__peek(&l->word);
    if (!me)
        return -1;
    if ((seen & PF__OWNER) == me)
        return 0;
    seen = 0;
    if (!atomic_compare_exchange_strong_explicit(&l->word, &seen, me | PF__BRIEF, memory_order_acquire,
                                                 memory_order_relaxed))
        return -1;
    PF_POINT("rlock.entered");
    return 1;
}

/* pf_rlock_release. */
static inline int pf_rlock_drop(struct pf_lock *l, struct pf_arena *a)
{
    uint64_t me = pf__owner(a);
    if (!me || (pf__peek(&l->word) & PF__OWNER) != me)
        return pf_rlock_release(l, a);
    uint32_t count = pf__peek(&l->count);
    pf__put(&l->count, count - 1);
    PF_POINT("rlock.counted");
    return count > 1 ? 0 : pf_lock_drop(l);
}

/* Takes a permit that is there. false: use pf_sem_acquire. */
static inline bool pf_sem_take(struct pf_sem *s)
{
    uint64_t seen = pf__peek(&s->word);
    while ((seen & PF_SEM_MAX) && !(seen >> 32)) {
        if (atomic_compare_exchange_weak_explicit(&s->word, &seen, seen - 1, memory_order_acquire,
                                                  memory_order_relaxed)) {
            PF_POINT("sem.taken");
            return true;
        }
    }
    return false;
}

/* pf_sem_release of one. */
static inline int pf_sem_give(struct pf_sem *s, uint32_t max)
{
    uint64_t seen = pf__peek(&s->word);
    if ((seen & PF_SEM_MAX) >= max || (uint32_t)seen >= PF__WAITERS ||
        !atomic_compare_exchange_strong_explicit(&s->word, &seen, seen + 1, memory_order_release, memory_order_relaxed))
        return pf_sem_release(s, 1, max);
    PF_POINT("sem.given");
    return 0;
}

#endif
