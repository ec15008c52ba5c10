/* Locks that users hold: any number at a time, for long, by a process that may have threads. (mutex.h is for the
 * library's own short critical sections.)
 *
 * One word, changed as a whole: the kernel id of the owning thread, and the tenancy of its process in the arena
 * (peer.h). So who owns a lock is always exact, and whether that process lives the kernel tells. Zeroed memory is a
 * free lock. The lock must lie in the arena that the calls name.
 *
 * Plain (flags 0): like the standard library's. Any thread of any process may release it; a dead owner's stays locked.
 * PF_LOCK_ROBUST, and every pf_rlock_*: a dead owner's lock goes to the next who asks, waiter or not, with word of it.
 * The end of a thread in a live process is no death. A stopped owner (SIGSTOP) is never robbed.
 *
 * Blocking: a short spin, then sleep. A sleeper looks twice a second. Fair enough: one that keeps losing to others for
 * a millisecond or two is let go first.
 * Fork: what a thread of the parent holds stays the parent's.
 * No system call where nobody waits; src/lock_fast.h has that way inline. */
#ifndef PROCFAST_LOCK_H
#define PROCFAST_LOCK_H

#include "arena.h"
#include "base.h"
#include "clock.h"

#define PF_LOCK_ROBUST 1u
#define PF_LOCK_BRIEF 4u /* for one access, which is done or not: if the caller dies with the lock, nobody is told */
#define PF_LOCK_STAMP 2u /* note the time of each acquisition, for pf_lock_owner */

struct pf_lock {
    _Atomic uint64_t word;   /* tenancy << 32 | futex word: bits of state, thread id */
    _Atomic uint32_t count;  /* pf_rlock: how often its owner has it; guarded by the lock */
    _Atomic uint32_t spin;   /* a guess how long spinning pays, ns */
    _Atomic uint64_t last;   /* tenancy << 32 | pid of who had it last, for when the arena has forgotten; diagnosis */
    _Atomic uint64_t of;     /* the owner that `since` is about; both only for diagnosis */
    _Atomic int64_t since;
};

struct pf_owner {
    int pid;       /* in its own pid namespace; 0 unknown */
    uint32_t tid;  /* of the thread that acquired; 0: nobody holds it */
    int64_t since; /* pf_now() when a waiter saw it hold the lock first, or with PF_LOCK_STAMP took it; 0 unknown */
    bool alive;    /* as far as the kernel tells */
};

/* 0; -EAGAIN (deadline PF_TRY); -ETIMEDOUT; -EINTR after a signal handler and after each fruitless look;
 * -PF_EOWNERDEAD (robust only): held by the caller now, the last owner died: *dead (may be NULL) says who that was.
 * Robust locks: also why this process can have no identity in the arena: -ENOSPC, -EMFILE. */
PF_API int pf_lock_acquire(struct pf_lock *l, struct pf_arena *a, int64_t deadline, unsigned flags,
                           struct pf_owner *dead);

/* By anybody. -EPERM: it is free. */
PF_API int pf_lock_release(struct pf_lock *l);

static inline bool pf_lock_locked(const struct pf_lock *l)
{
    return (atomic_load_explicit(&((struct pf_lock *)l)->word, memory_order_relaxed) & UINT32_C(0x3fffff)) != 0;
}

/* Does the calling thread hold it? */
PF_API bool pf_lock_mine(const struct pf_lock *l, struct pf_arena *a);

/* Who holds it now. 0: nobody does (*o is zeroed), 1: *o says who. */
PF_API int pf_lock_owner(const struct pf_lock *l, struct pf_arena *a, struct pf_owner *o);

/* Recursive, always robust. acquire: as pf_lock_acquire, and -EOVERFLOW. release: -EPERM: the caller has not got it. */
PF_API int pf_rlock_acquire(struct pf_lock *l, struct pf_arena *a, int64_t deadline, unsigned flags,
                            struct pf_owner *dead);
PF_API int pf_rlock_release(struct pf_lock *l, struct pf_arena *a);

/* How often the calling thread has it; 0: not at all. */
PF_API uint32_t pf_rlock_count(const struct pf_lock *l, struct pf_arena *a);

/* For Condition.wait: releases it whatever its count, which is returned (-EPERM: not the caller's); and sets the count
 * of one that the caller has just acquired. */
PF_API int pf_rlock_release_all(struct pf_lock *l, struct pf_arena *a);
PF_API void pf_rlock_restore(struct pf_lock *l, int count);

#endif
