#include "procfast/lock.h"

#include <string.h>

#include "lock_fast.h"
#include "procfast/error.h"
#include "procfast/futex.h"
#include "spin.h"

#define SPIN_MOST INT64_C(10000)    /* ns */
#define STARVES (PF_SECOND / 1000)  /* one who has been losing for so long is let go first */
#define STEP_BACK (PF_SECOND / 500) /* ... by a newcomer, who waits so long for that */

/* A process that can have no tenancy is an owner still, of whom nobody knows whether he lives. */
#define UNKNOWN ((uint64_t)PF_NO_SLOT << 32)

/* The calling thread as an owner, or -errno. */
static int owner(struct pf_arena *a, bool plain, uint64_t *me)
{
    *me = pf__owner(a);
    if (*me)
        return 0;
    int tenancy = pf__arena_tenancy(a);
    if (tenancy < 0 && !plain)
        return tenancy;
    *me = (tenancy < 0 ? UNKNOWN : (uint64_t)tenancy << 32) | pf_thread_self()->tid;
    return 0;
}

static void describe(struct pf_lock *l, struct pf_arena *a, uint64_t seen, struct pf_owner *o)
{
    *o = (struct pf_owner){.tid = (uint32_t)seen & PF__TID};
    if (!o->tid)
        return;
    o->pid = pf_peer_pid(&a->peer, (uint32_t)(seen >> 32));
    uint64_t last = pf__peek(&l->last);
    if (o->pid == 0 && last >> 32 == seen >> 32)
        o->pid = (int)(last & UINT32_MAX);
    o->since = pf__load(&l->of) == (seen & PF__OWNER) ? pf__peek(&l->since) : 0;
    o->alive = pf_peer_alive(&a->peer, (uint32_t)(seen >> 32)) != 0;
}

/* Takes a dead owner's lock. */
static bool inherit(struct pf_lock *l, struct pf_arena *a, uint64_t seen, uint64_t me, struct pf_owner *dead)
{
    struct pf_owner o;
    if (pf_peer_alive(&a->peer, (uint32_t)(seen >> 32)) != 0)
        return false;
    describe(l, a, seen, &o);
    o.alive = false;
    if (!(seen & PF__BRIEF))
        me &= ~(uint64_t)PF__BRIEF; /* until the caller has been told, whoever finds him dead must be */
    PF_POINT("lock.inherit");
    if (!atomic_compare_exchange_strong(&l->word, &seen, me | (seen & (PF__WAITERS | PF__STARVED))))
        return false;
    PF_POINT("lock.inherited");
    if (dead)
        *dead = o;
    return true;
}

static void stamp(struct pf_lock *l, uint64_t who)
{
    pf__put(&l->since, pf_now());
    pf__store(&l->of, who & PF__OWNER);
}

static int acquire(struct pf_lock *l, struct pf_arena *a, uint64_t me, int64_t deadline, unsigned flags,
                   struct pf_owner *dead)
{
    const bool robust = flags & PF_LOCK_ROBUST, try = deadline == PF_TRY;
    bool spun = try, slept = try, asked = false, late = false;
    uint64_t mark = 0;       /* once it slept others may sleep too */
    int64_t losing = 0;      /* since when: woken, and found it taken again */
    for (bool woken = false;;) {
        uint64_t seen = pf__peek(&l->word);
        bool free = !(seen & PF__TID);
        if (free && (slept || !(seen & PF__STARVED))) {
            uint64_t bits = seen & (try ? PF__WAITERS | PF__STARVED : PF__WAITERS);
            if (!atomic_compare_exchange_weak_explicit(&l->word, &seen, me | bits | mark, memory_order_acquire,
                                                       memory_order_relaxed))
                continue;
            PF_POINT("lock.held");
            return 0;
        }
        if (robust && !free && !asked) {
            asked = true;
            if (inherit(l, a, seen, me, dead))
                return seen & PF__BRIEF ? 0 : -PF_EOWNERDEAD;
            continue;
        }
        if (try)
            return -EAGAIN;
        if (late)
            return deadline <= pf_now() ? -ETIMEDOUT : -EINTR;
        if (!spun && !free) {
            spun = true;
            if (pf__spin(&l->spin, SPIN_MOST, pf__low(&l->word), PF__TID, 0, true, deadline))
                continue;
            seen = pf__peek(&l->word);
            if (!(seen & PF__TID))
                continue;
        }
        uint64_t want = seen | PF__WAITERS;
        if (woken) {
            int64_t now = pf_now();
            losing = losing ? losing : now;
            if (now - losing > STARVES)
                want |= PF__STARVED;
        }
        if (seen != want && !atomic_compare_exchange_weak_explicit(&l->word, &seen, want, memory_order_relaxed,
                                                                   memory_order_relaxed))
            continue;
        if (!free && pf__peek(&l->of) != (seen & PF__OWNER))
            stamp(l, seen);
        mark = PF__WAITERS;
        PF_POINT("lock.marked");
        int rc = pf_futex_wait(pf__low(&l->word), (uint32_t)want, pf_slice(deadline, free ? STEP_BACK : PF__LOOK));
        PF_POINT("lock.woken");
        woken = rc == 0;
        if (rc == -ETIMEDOUT) {
            late = !free || deadline <= pf_now(); /* the caller may see after its signals; but one more try */
            asked = false;
        } else if (rc < 0 && rc != -EAGAIN) {
            return rc;
        }
        slept = true;
    }
}

int pf_lock_acquire(struct pf_lock *l, struct pf_arena *a, int64_t deadline, unsigned flags, struct pf_owner *dead)
{
    uint64_t me;
    int rc = owner(a, !(flags & PF_LOCK_ROBUST), &me);
    if (rc < 0)
        return rc;
    rc = acquire(l, a, flags & PF_LOCK_BRIEF ? me | PF__BRIEF : me, deadline, flags, dead);
    if (rc < 0 && rc != -PF_EOWNERDEAD)
        return rc;
    if (me >> 32 != UNKNOWN >> 32)
        pf__put(&l->last, pf__peek(&a->who));
    if (flags & PF_LOCK_STAMP)
        stamp(l, me);
    return rc;
}

int pf_lock_release(struct pf_lock *l)
{
    uint64_t seen = pf__peek(&l->word);
    PF_POINT("lock.release");
    do {
        if (!(seen & PF__TID))
            return -EPERM;
        if (seen & PF__WAITERS) /* they noted since when; of this time, not the owner's next */
            pf__put(&l->of, 0);
    } while (!atomic_compare_exchange_weak_explicit(&l->word, &seen, seen & PF__STARVED, memory_order_release,
                                                    memory_order_relaxed));
    PF_POINT("lock.released");
    if (seen & PF__WAITERS)
        pf_futex_wake(pf__low(&l->word), 1);
    PF_POINT("lock.passed");
    return 0;
}

bool pf_lock_mine(const struct pf_lock *l, struct pf_arena *a)
{
    uint64_t me = pf__owner(a);
    if (!me)
        me = UNKNOWN | pf_thread_self()->tid;
    return (pf__peek(&((struct pf_lock *)l)->word) & PF__OWNER) == me;
}

int pf_lock_owner(const struct pf_lock *l, struct pf_arena *a, struct pf_owner *o)
{
    struct pf_lock *lock = (struct pf_lock *)l;
    describe(lock, a, pf__load(&lock->word), o);
    return o->tid != 0;
}

int pf_rlock_acquire(struct pf_lock *l, struct pf_arena *a, int64_t deadline, unsigned flags, struct pf_owner *dead)
{
    uint32_t count = pf_rlock_count(l, a);
    if (count >= INT32_MAX)
        return -EOVERFLOW;
    if (count) {
        pf__put(&l->count, count + 1);
        return 0;
    }
    int rc = pf_lock_acquire(l, a, deadline, flags | PF_LOCK_ROBUST, dead);
    if (rc == 0 || rc == -PF_EOWNERDEAD)
        pf__put(&l->count, 1);
    return rc;
}

uint32_t pf_rlock_count(const struct pf_lock *l, struct pf_arena *a)
{
    return pf_lock_mine(l, a) ? pf__peek(&((struct pf_lock *)l)->count) : 0;
}

int pf_rlock_release(struct pf_lock *l, struct pf_arena *a)
{
    if (!pf_lock_mine(l, a))
        return -EPERM;
    uint32_t count = pf__peek(&l->count);
    pf__put(&l->count, count - 1);
    PF_POINT("rlock.counted");
    return count > 1 ? 0 : pf_lock_release(l);
}

int pf_rlock_release_all(struct pf_lock *l, struct pf_arena *a)
{
    if (!pf_lock_mine(l, a))
        return -EPERM;
    int count = (int)pf__peek(&l->count);
    pf__put(&l->count, 0);
    PF_POINT("rlock.counted");
    pf_lock_release(l);
    return count;
}

void pf_rlock_restore(struct pf_lock *l, int count)
{
    pf__put(&l->count, (uint32_t)count);
}
