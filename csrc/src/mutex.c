#include "procfast/mutex.h"

#include "os.h"
#include "point.h"
#include "procfast/clock.h"
#include "procfast/error.h"
#include "procfast/futex.h"
#include "self_fast.h"

#define LOOK PF_SECOND /* how long a sleeper trusts in being woken */
#define SPINS 60       /* critical sections last tens of nanoseconds */

/* Names the lock in this thread's robust list. A plain store of our own thread's memory, read by the
 * kernel when this very thread dies: only the compiler must keep the order. */
static void announce(struct pf_thread *t, struct pf_mutex *m)
{
    *t->pending = (char *)&m->word - t->futex_offset;
    atomic_signal_fence(memory_order_seq_cst);
}

static void retire(struct pf_thread *t)
{
    atomic_signal_fence(memory_order_seq_cst);
    *t->pending = NULL;
}

/* The owner field for this thread, or -errno where it can't have one. */
static int64_t identity(struct pf_peer *self, struct pf_thread *t)
{
    if (!self->foreign && t->robust)
        return t->tid;
    int slot = pf_peer_slot(self);
    return slot < 0 ? slot : (int64_t)(PF_OWNER_SLOT + (uint32_t)slot);
}

int pf_mutex_trylock(struct pf_mutex *m, struct pf_peer *self)
{
    struct pf_thread *t = pf__thread_self();
    int64_t me = identity(self, t);
    if (me < 0)
        return (int)me;
    uint32_t free = 0;
    if (me < PF_OWNER_SLOT)
        announce(t, m);
    PF_POINT("mutex.try.announced");
    if (atomic_compare_exchange_strong_explicit(&m->word, &free, (uint32_t)me, memory_order_acquire,
                                                memory_order_relaxed)) {
        PF_POINT("mutex.try.held");
        return 0;
    }
    if (me < PF_OWNER_SLOT)
        retire(t);
    return -EBUSY;
}

/* A slot's owner can't be marked by the kernel. Whoever waits for it asks, and marks it in its stead.
 * Nor is a thread that calls exec in a signal handler while it holds a lock, unless it is the main thread:
 * it got the main thread's id before the kernel looked for its locks. Its own id is gone then. */
static void bury(struct pf_mutex *m, struct pf_peer *self, uint32_t seen)
{
    uint32_t owner = seen & PF_OWNER_MASK;
    if (owner < PF_OWNER_SLOT ? self->foreign || pf__tid_alive(owner) : pf_peer_alive(self, owner - PF_OWNER_SLOT) != 0)
        return;
    PF_POINT("mutex.bury");
    atomic_compare_exchange_strong(&m->word, &seen, (seen & PF_WAITERS) | PF_OWNER_DIED);
}

static int acquire(struct pf_mutex *m, struct pf_peer *self, uint32_t me, int64_t deadline)
{
    bool looked = false;
    uint32_t waiters = 0; /* once we slept others may sleep too: keep the mark when taking the lock */
    for (int spin = 0;; spin++) {
        uint32_t seen = pf__peek(&m->word);
        if ((seen & PF_OWNER_MASK) == 0) {
            bool died = seen & PF_OWNER_DIED;
            if (!atomic_compare_exchange_weak_explicit(&m->word, &seen, me | (seen & PF_WAITERS) | waiters,
                                                       memory_order_acquire, memory_order_relaxed))
                continue;
            PF_POINT("mutex.held");
            return died ? -PF_EOWNERDEAD : 0;
        }
        if (spin < SPINS) {
            pf__relax();
            continue;
        }
        if (!(seen & PF_WAITERS)) {
            if (!atomic_compare_exchange_weak_explicit(&m->word, &seen, seen | PF_WAITERS, memory_order_relaxed,
                                                       memory_order_relaxed))
                continue;
            seen |= PF_WAITERS;
        }
        waiters = PF_WAITERS;
        if (looked) /* the caller may see after signals that came just before the sleep */
            return -EINTR;
        PF_POINT("mutex.marked");
        bury(m, self, seen);
        int rc = pf_futex_wait(&m->word, seen, pf_slice(deadline, LOOK));
        PF_POINT("mutex.woken");
        if (rc == -EINTR || (rc == -ETIMEDOUT && deadline <= pf_now()))
            return rc;
        if (rc < 0 && rc != -EAGAIN && rc != -ETIMEDOUT)
            return rc;
        if (rc == -ETIMEDOUT) {
            looked = true;
            bury(m, self, pf__peek(&m->word));
        }
    }
}

int pf_mutex_lock(struct pf_mutex *m, struct pf_peer *self, int64_t deadline)
{
    struct pf_thread *t = pf__thread_self();
    int64_t me = identity(self, t);
    if (me < 0)
        return (int)me;
    if (me < PF_OWNER_SLOT)
        announce(t, m);
    PF_POINT("mutex.announced");
    int rc = acquire(m, self, (uint32_t)me, deadline);
    if (rc < 0 && rc != -PF_EOWNERDEAD && me < PF_OWNER_SLOT)
        retire(t);
    return rc;
}

void pf_mutex_unlock(struct pf_mutex *m)
{
    PF_POINT("mutex.unlock");
    uint32_t was = atomic_exchange_explicit(&m->word, 0, memory_order_release);
    PF_POINT("mutex.unlocked"); /* killed here: the kernel wakes a waiter, its pending entry has no owner */
    if (was & PF_WAITERS)
        pf_futex_wake(&m->word, 1);
    PF_POINT("mutex.passed");
    if ((was & PF_OWNER_MASK) < PF_OWNER_SLOT)
        retire(&pf__the_thread); /* this thread took the lock: its record is of this process */
}

uint32_t pf_mutex_owner(const struct pf_mutex *m)
{
    return pf__peek(&((struct pf_mutex *)m)->word) & PF_OWNER_MASK;
}
