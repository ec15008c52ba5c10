/* A lock in shared memory that knows its owner, and whose owner's death is learnt from the kernel.
 *
 * The word is a robust futex: FUTEX_WAITERS | FUTEX_OWNER_DIED | owner. Owners below PF_OWNER_SLOT are
 * kernel thread ids: before it touches the word a thread names the lock in `list_op_pending` of its own
 * robust list, so at its death (SIGKILL, exit or exec) the kernel itself marks the word and wakes a
 * waiter (kernel Documentation/locking/robust-futexes.rst). Owners from PF_OWNER_SLOT on are slots of
 * peer.h: for processes in another pid namespace and platforms without robust lists; a waiter asks the
 * slot's token about them at each look.
 *
 * Blocking: a short spin, then sleep; each sleeper looks again once a second, so a wake-up that died
 * with its receiver costs a second at most.
 * Fork: a lock held by a thread of the parent stays the parent's; the child must not release it.
 * Owner death: the next lock call gets the lock and returns -PF_EOWNERDEAD, one caller at a time; it
 * repairs what the lock guards and goes on. A stopped owner (SIGSTOP) is alive and is never robbed.
 * One lock at a time: a robust list has one pending entry, so a thread holds at most one of these. */
#ifndef PROCFAST_MUTEX_H
#define PROCFAST_MUTEX_H

#include "base.h"
#include "peer.h"

#define PF_OWNER_SLOT UINT32_C(0x00400000) /* no kernel thread id reaches it: PID_MAX_LIMIT is 2^22 */
#define PF_OWNER_MASK UINT32_C(0x3fffffff)
#define PF_OWNER_DIED UINT32_C(0x40000000)
#define PF_WAITERS UINT32_C(0x80000000)

struct pf_mutex {
    _Atomic uint32_t word;
};

/* 0 or -EBUSY (held, or its owner died: pf_mutex_lock will tell). Never sleeps nor asks the kernel. */
PF_API int pf_mutex_trylock(struct pf_mutex *m, struct pf_peer *self);

/* 0, -PF_EOWNERDEAD (held as well), -ETIMEDOUT; -EINTR after a signal handler, and after each fruitless look. */
PF_API int pf_mutex_lock(struct pf_mutex *m, struct pf_peer *self, int64_t deadline);

/* By the thread that took it. */
PF_API void pf_mutex_unlock(struct pf_mutex *m);

/* The owner field as it stands (0: free), for diagnosis only. */
PF_API uint32_t pf_mutex_owner(const struct pf_mutex *m);

#endif
