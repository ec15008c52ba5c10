#include "procfast/event.h"

#include <limits.h>

#include "arena_impl.h"
#include "os.h"
#include "point.h"
#include "procfast/futex.h"
#include "spin.h"

#define SPIN_MOST INT64_C(50000) /* ns */
#define WAITERS 2u
#define CLEARED 4u /* counts from here up */

void pf_event_set(struct pf_event *e)
{
    uint32_t w = pf__peek(&e->word);
    pf__put(&e->cpu, pf__cpu() + 1);
    PF_POINT("event.set");
    while (!(w & WAITERS)) { /* set or not: who clears it later sees what the caller did before */
        if (atomic_compare_exchange_weak_explicit(&e->word, &w, w | PF_EVENT_SET, memory_order_release,
                                                  memory_order_relaxed)) {
            PF_POINT("event.published");
            return;
        }
    }
    atomic_thread_fence(memory_order_seq_cst);
    if (pf_futex_or_wake(&e->word, 0, INT_MAX) < 0) { /* a kill between costs the sleepers one look */
        atomic_fetch_or(&e->word, PF_EVENT_SET);
        PF_POINT("event.published.plain");
        pf_futex_wake(&e->word, INT_MAX);
    }
    PF_POINT("event.woken");
    w |= PF_EVENT_SET; /* nobody sleeps any more, and nobody goes to sleep before it is cleared */
    atomic_compare_exchange_strong(&e->word, &w, w & ~WAITERS);
}

void pf_event_clear(struct pf_event *e)
{
    uint32_t w = pf__peek(&e->word);
    PF_POINT("event.clear");
    while (w & PF_EVENT_SET) { /* whose sleepers were woken, or see that it was cleared */
        if (atomic_compare_exchange_weak_explicit(&e->word, &w, (w & ~(CLEARED - 1)) + CLEARED, memory_order_acq_rel,
                                                  memory_order_relaxed))
            break;
    }
    PF_POINT("event.cleared");
}

int pf_event_wait(struct pf_event *e, uint32_t seen, int64_t deadline)
{
    bool spun = false, late = false;
    for (;;) {
        uint32_t w = pf__load(&e->word);
        if ((w & PF_EVENT_SET) || w / CLEARED != seen / CLEARED)
            return 0;
        if (deadline == PF_TRY)
            return -EAGAIN;
        if (late)
            return deadline <= pf_now() ? -ETIMEDOUT : -EINTR;
        if (!spun) { /* who sets it on this very CPU does so only when it is let */
            spun = true;
            if (pf__peek(&e->cpu) != pf__cpu() + 1)
                pf__spin(&e->spin, SPIN_MOST, &e->word, ~WAITERS, w & ~WAITERS, false, deadline);
            continue;
        }
        if (!(w & WAITERS) && !atomic_compare_exchange_weak(&e->word, &w, w | WAITERS))
            continue;
        PF_POINT("event.marked");
        int rc = pf_futex_wait(&e->word, w | WAITERS, pf_slice(deadline, PF__LOOK));
        PF_POINT("event.awake");
        if (rc == -ETIMEDOUT)
            late = true; /* the caller may see after its signals */
        else if (rc < 0 && rc != -EAGAIN)
            return rc;
    }
}
