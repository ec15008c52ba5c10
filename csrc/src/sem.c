#include "procfast/sem.h"

#include "lock_fast.h"
#include "procfast/futex.h"
#include "spin.h"

#define SPIN_MOST INT64_C(10000)    /* ns */
#define STARVES (PF_SECOND / 1000)  /* as in lock.c */
#define STEP_BACK (PF_SECOND / 500)
#define STARVED (UINT64_C(1) << 32)

void pf_sem_init(struct pf_sem *s, uint32_t value)
{
    pf__store(&s->word, value);
}

int pf_sem_acquire(struct pf_sem *s, int64_t deadline)
{
    const bool try = deadline == PF_TRY;
    bool spun = try, slept = try, late = false;
    uint64_t mark = 0;  /* once it slept others may sleep too */
    int64_t losing = 0; /* since when: woken, and the permit was gone */
    for (bool woken = false;;) {
        uint64_t seen = pf__peek(&s->word);
        bool there = seen & PF_SEM_MAX;
        if (there && (slept || !(seen & STARVED))) {
            uint64_t next = ((seen - 1) | mark) & ~(try ? 0 : STARVED);
            if (!atomic_compare_exchange_weak_explicit(&s->word, &seen, next, memory_order_acquire,
                                                       memory_order_relaxed))
                continue;
            PF_POINT("sem.held");
            return 0;
        }
        if (try)
            return -EAGAIN;
        if (late)
            return deadline <= pf_now() ? -ETIMEDOUT : -EINTR;
        if (!spun && !there) {
            spun = true;
            pf__spin(&s->spin, SPIN_MOST, pf__low(&s->word), PF_SEM_MAX, 0, false, deadline);
            continue;
        }
        uint64_t want = seen | PF__WAITERS;
        if (woken) {
            int64_t now = pf_now();
            losing = losing ? losing : now;
            if (now - losing > STARVES)
                want |= STARVED;
        }
        if (seen != want && !atomic_compare_exchange_weak_explicit(&s->word, &seen, want, memory_order_relaxed,
                                                                   memory_order_relaxed))
            continue;
        mark = PF__WAITERS;
        PF_POINT("sem.marked");
        int rc = pf_futex_wait(pf__low(&s->word), (uint32_t)want, pf_slice(deadline, there ? STEP_BACK : PF__LOOK));
        PF_POINT("sem.woken");
        woken = rc == 0;
        if (rc == -ETIMEDOUT)
            late = !there || deadline <= pf_now(); /* the caller may see after its signals; but one more try */
        else if (rc < 0 && rc != -EAGAIN)
            return rc;
        slept = true;
    }
}

int pf_sem_release(struct pf_sem *s, uint32_t n, uint32_t max)
{
    uint64_t seen = pf__peek(&s->word), next;
    PF_POINT("sem.release");
    do {
        uint64_t value = seen & PF_SEM_MAX;
        if (value + n > max)
            return -EOVERFLOW;
        next = seen + n;
    } while (!atomic_compare_exchange_weak_explicit(&s->word, &seen, next, memory_order_release,
                                                    memory_order_relaxed));
    PF_POINT("sem.released");
    if (!(next & PF__WAITERS))
        return 0;
    int woken = pf_futex_wake(pf__low(&s->word), n > INT32_MAX ? INT32_MAX : (int)n);
    PF_POINT("sem.passed");
    /* Nobody sleeps. Who marks the word meanwhile has seen a value of 0, which is not this one; who was woken by
     * another marks it again when he takes his permit. */
    if (woken == 0)
        atomic_compare_exchange_strong(&s->word, &next, next & ~(uint64_t)PF__WAITERS);
    return 0;
}
