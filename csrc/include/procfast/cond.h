/* What a condition variable is made of: waiters that are notified one by one, whoever dies. Zeroed memory is one that
 * nobody waits for. It must lie in the arena that the calls name. The user's lock is the caller's affair.
 *
 * A wait is:
 *     pf_cond_enter(c, a, &record);     while the user's lock is held: from here on a notify reaches it
 *     release the user's lock
 *     pf_cond_wait(c, a, record, deadline), again after -EINTR
 *     acquire the user's lock
 *     pf_cond_leave(c, a, record)       was it notified? Always to be called, by the same thread, whatever happened
 *
 * Each waiter has a record in the arena's table, that knows its process. notify gives a record of the live its
 * notification; one that a dead process was given and did not take (by pf_cond_leave) is passed on to another waiter of
 * the same condition, exactly once, at the next notify or the next look of one that waits. notify(n) wakes no
 * more than n of the live, in the order they came.
 *
 * Blocking: pf_cond_wait; and for the internal lock, held for microseconds. A sleeper looks twice a second.
 * Fork: a record is its process's: a child does not wait because a thread of its parent did. */
#ifndef PROCFAST_COND_H
#define PROCFAST_COND_H

#include "arena.h"
#include "base.h"
#include "clock.h"
#include "mutex.h"

struct pf_cond {
    _Atomic uint64_t id;       /* names it among all that ever were in the arena; 0: nobody waited yet */
    struct pf_mutex m;         /* serialises those who give notifications */
    _Atomic uint32_t waiting;  /* counts those who come; 0: nobody waits */
    _Atomic uint64_t ticket;   /* the order of the waiters */
    _Atomic uint64_t from, to; /* guarded by m: a notification on its way from one record to another */
    _Atomic uint32_t spin;     /* a guess how long spinning pays, ns */
};

/* -ENOSPC: 65,536 threads wait in this arena; or why this process can have no identity in it: -EMFILE, ... */
PF_API int pf_cond_enter(struct pf_cond *c, struct pf_arena *a, uint32_t *record);

/* 0 notified; -EAGAIN (deadline PF_TRY); -ETIMEDOUT; -EINTR after a signal handler and after each fruitless look:
 * call again. */
PF_API int pf_cond_wait(struct pf_cond *c, struct pf_arena *a, uint32_t record, int64_t deadline);

/* Ends the wait. true: it was notified, even if pf_cond_wait had not said so yet. */
PF_API bool pf_cond_leave(struct pf_cond *c, struct pf_arena *a, uint32_t record);

/* Notifies at most n waiters (INT_MAX: all there are now): how many. -EINTR: the internal lock was not to be had
 * (its owner is stopped), nobody was notified. */
PF_API int pf_cond_notify(struct pf_cond *c, struct pf_arena *a, int n);

/* Live waiters that are not notified yet. */
PF_API int pf_cond_waiters(const struct pf_cond *c, struct pf_arena *a);

#endif
