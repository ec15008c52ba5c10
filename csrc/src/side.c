#include <sched.h>
#include <string.h>

#include "pool_impl.h"
#include "procfast/futex.h"

/* Nobody asleep: one compare-and-swap. Else publish and wake in one kernel call, or with wake 0 leave the
 * sleepers to a later commit. */
void pf__commit(struct side *s, struct view v, int wake)
{
    uint32_t w = pf__peek(&s->word);
    struct record *rec = &s->rec[((w >> 8) + 1) & 1];
    atomic_thread_fence(memory_order_release); /* who sees these stores sees the generation before them */
    pf__put(&rec->place, v.pos | v.units << POS_BITS);
    pf__put(&rec->count, v.count);
    pf__put(&rec->extra, v.extra);
    pf__put(&s->cpu, pf__cpu());
    PF_POINT("commit.recorded");
    if (wake == 0) {
        atomic_fetch_add_explicit(&s->word, 256, memory_order_release);
        PF_POINT("commit.published.quietly");
        return;
    }
    while (!(w & 255)) {
        if (atomic_compare_exchange_weak_explicit(&s->word, &w, w + 256, memory_order_release,
                                                  memory_order_relaxed)) {
            PF_POINT("commit.published");
            return;
        }
    }
    atomic_thread_fence(memory_order_seq_cst);
    int woken = pf_futex_add_wake(&s->word, 8, wake);
    if (woken == -ENOSYS) { /* a kill between costs a sleeper one look */
        atomic_fetch_add(&s->word, 256);
        PF_POINT("commit.published.plain");
        woken = pf_futex_wake(&s->word, wake);
    }
    PF_POINT("commit.woken");
    /* Fewer than asked for, or the only one who ever announced: nobody sleeps now. Who announces
     * meanwhile changes the byte, and the exchange fails. */
    if (woken >= 0 && (woken < wake || ((w & 255) == 1 && woken == 1))) {
        w += 256;
        atomic_compare_exchange_strong(&s->word, &w, w & ~UINT32_C(255));
    }
}

int pf__sleep_on(_Atomic uint32_t *word, uint32_t w, int64_t deadline, int64_t look)
{
    uint32_t sleepers = w & 255, next = (w & ~UINT32_C(255)) | (sleepers == 255 ? 2 : sleepers + 1);
    if (!atomic_compare_exchange_strong(word, &w, next))
        return 0;
    PF_POINT("sleep.announced");
    int rc = pf_futex_wait(word, next, pf_slice(deadline, look));
    PF_POINT("sleep.woken");
    /* After a look the caller gets a chance to see after its signals: one that came just before the sleep
     * did not interrupt it. */
    if (rc == -ETIMEDOUT)
        return deadline <= pf_now() ? -ETIMEDOUT : -EINTR;
    return rc == -EAGAIN ? 0 : rc;
}

/* On this very CPU the peer commits only when it is let: that costs one switch, where a sleep costs a ring as well.
 * Where others want the CPU too the turn comes back late, and only sleepers are preferred: then rarely again. */
#define YIELD_MAX INT64_C(50000)
#define YIELD_LATE 256
#define YIELD_REST 4096

static bool yield_to(struct pf_ring *r, int side, struct side *s, uint32_t w)
{
    uint32_t rest = pf__peek(&r->yield[side].rest), misses = pf__peek(&r->yield[side].misses);
    if (rest > 0) {
        pf__put(&r->yield[side].rest, rest - 1);
        return false;
    }
    int64_t start = pf_now();
    bool moved = false, late = false;
    for (int i = 0; i < 2 && !moved && !late; i++) {
        sched_yield();
        moved = pf__load(&s->word) >> 8 != w >> 8;
        late = pf_now() - start > YIELD_MAX;
    }
    if (moved && !late) {
        pf__put(&r->yield[side].misses, misses - (misses + 15) / 16);
        return true;
    }
    misses = late && misses < YIELD_LATE ? YIELD_LATE : misses < YIELD_REST / 2 ? 2 * misses + 1 : YIELD_REST;
    pf__put(&r->yield[side].misses, misses);
    pf__put(&r->yield[side].rest, misses);
    return moved;
}

/* Spinning pays where the peer is about to commit on another CPU; elsewhere it steals the peer's time. */
#define SPIN_MIN INT64_C(500)

bool pf__spin_on(struct pf_ring *r, int side, struct side *s, uint32_t w, int64_t deadline)
{
    int cpu = pf__cpu();
    int64_t budget = pf__peek(&r->spin[side]);
    if (cpu < 0)
        return false;
    if (cpu == pf__peek(&s->cpu))
        return r->window && yield_to(r, side, s, w);
    if (budget < SPIN_MIN) { /* has not been paying: try again now and then */
        if (atomic_fetch_add_explicit(&r->idle[side], 1, memory_order_relaxed) & 15)
            return false;
        budget = SPIN_MAX / 2;
    }
    int64_t start = pf_now(), end = start + budget;
    if (end > deadline)
        end = deadline;
    for (;;) {
        for (int i = 0; i < 16; i++) {
            if (pf__load(&s->word) >> 8 != w >> 8) {
                pf__put(&r->spin[side], budget + (SPIN_MAX - budget) / 4);
                return true;
            }
            pf__relax();
        }
        if (pf_now() >= end)
            break;
    }
    pf__put(&r->spin[side], budget / 2);
    return false;
}

void pf__refresh_side(struct pf_ring *r, int side)
{
    if (r->epoch[side] == r->peer->epoch)
        return;
    r->far[side].addr = NULL;
    r->far[side].size = 0;
    if (side == 0)
        r->limit_ext = r->mine = 0;
    else
        memset(&r->seen, 0, sizeof r->seen);
    r->epoch[side] = r->peer->epoch;
}

int pf__lock_side(struct pf_ring *r, struct side *s, int64_t deadline)
{
    if (deadline == PF_TRY)
        return pf_mutex_trylock(&s->lock, r->peer) == 0 ? 0 : -EAGAIN;
    int64_t grace = deadline == PF_FOREVER ? deadline : pf_deadline(GRACE);
    int rc = pf_mutex_lock(&s->lock, r->peer, deadline > grace ? deadline : grace);
    if (rc != -PF_EOWNERDEAD)
        return rc;
    PF_POINT("side.dead");
    if (s == &r->h->prod)
        pf__recover_blocks(r);
    else if (r->claims)
        pf__forget_claims(r);
    return 0;
}
