/* A flag to wait for. Zeroed memory is one that is not set.
 *
 * Who waits when it is set is released, though it be cleared at once.
 * Blocking: spins as long as that pays, then sleeps; looks twice a second. Fork: nothing to do.
 * Owner death: there is no owner. Setting and waking is one kernel call where there is FUTEX_WAKE_OP; where not,
 * a kill between costs the sleepers a look. */
#ifndef PROCFAST_EVENT_H
#define PROCFAST_EVENT_H

#include "base.h"
#include "clock.h"

#define PF_EVENT_SET 1u

struct pf_event {
    _Atomic uint32_t word; /* how often it was cleared, a bit for sleepers, PF_EVENT_SET */
    _Atomic uint32_t spin; /* a guess how long spinning pays, ns */
    _Atomic int32_t cpu;   /* where it was set last, plus 1 */
};

static inline bool pf_event_is_set(const struct pf_event *e)
{
    return atomic_load_explicit(&((struct pf_event *)e)->word, memory_order_acquire) & PF_EVENT_SET;
}

PF_API void pf_event_set(struct pf_event *e);
PF_API void pf_event_clear(struct pf_event *e);

/* A wait begins with pf_event_seen(), and passes what it gave to each call of pf_event_wait:
 * 0 it is set, or was meanwhile; -EAGAIN (deadline PF_TRY); -ETIMEDOUT; -EINTR after a signal handler and after each
 * fruitless look: call again. */
static inline uint32_t pf_event_seen(const struct pf_event *e)
{
    return atomic_load_explicit(&((struct pf_event *)e)->word, memory_order_acquire);
}

PF_API int pf_event_wait(struct pf_event *e, uint32_t seen, int64_t deadline);

#endif
