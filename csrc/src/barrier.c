#include "procfast/barrier.h"

#include <limits.h>

#include "os.h"
#include "point.h"
#include "procfast/error.h"
#include "procfast/futex.h"
#include "spin.h"
#include "waiters.h"

#define SPIN_MOST INT64_C(50000) /* ns */
#define GRACE (PF_SECOND / 20)   /* at least so long for the lock itself: its holder may just be off its CPU */

/* The word: phase << 2 | FULL | BROKEN. BROKEN may be set by anybody at any time, all else under m. A record belongs to
 * the phase in its ticket; a GRANTED one saw its phase broken by a reset. How many have arrived is what the records
 * say: `count` is counted anew where the lock's owner died. */
#define BROKEN 1u
#define FULL 2u
#define PHASE(word) ((word) >> 2)
#define NEXT(word) ((PHASE(word) + 1) << 2)

void pf_barrier_init(struct pf_barrier *b, uint32_t parties)
{
    b->parties = parties;
}

static uint32_t cpu_bit(void)
{
    int cpu = pf__cpu();
    return cpu < 0 ? 0 : UINT32_C(1) << cpu % 32;
}

static uint32_t count_of(struct pf_barrier *b, uint32_t phase)
{
    uint64_t count = pf__peek(&b->count);
    return count >> 32 == phase ? (uint32_t)count : 0;
}

static void set_count(struct pf_barrier *b, uint32_t phase, uint32_t n)
{
    pf__put(&b->count, (uint64_t)phase << 32 | n);
}

static void wake_all(struct pf_barrier *b)
{
    pf_futex_wake(&b->word, INT_MAX);
}

/* The records of a phase: how many; *dead: is the process of one gone? */
static uint32_t arrived(struct pf_barrier *b, struct pf_arena *a, uint32_t phase, bool *dead)
{
    uint64_t id = pf__load(&b->id);
    uint32_t count = 0;
    *dead = false;
    for (uint32_t i = 0, n = pf__records(a); i < n && id; i++) {
        struct pf__record *r = pf__record(a, i);
        uint64_t w = pf__load(&r->word);
        if (PF__STATE(w) != PF__WAITING || pf__peek(&r->object) != id || pf__peek(&r->ticket) != phase)
            continue;
        count++;
        if (pf__record_dead(a, w) && pf__load(&r->word) == w)
            *dead = true;
    }
    return count;
}

/* Breaks it, if it is as it was seen. */
static bool break_it(struct pf_barrier *b, uint32_t seen)
{
    PF_POINT("barrier.break");
    if (!atomic_compare_exchange_strong(&b->word, &seen, seen | BROKEN))
        return false;
    PF_POINT("barrier.broken");
    wake_all(b);
    return true;
}

/* Under m, when it is BROKEN and `reset` says so: those who wait are told by their records, then it is as new. */
static void finish_reset(struct pf_barrier *b, struct pf_arena *a)
{
    uint64_t id = pf__load(&b->id);
    uint32_t word = pf__load(&b->word);
    for (uint32_t i = 0, n = pf__records(a); i < n && id && (word & BROKEN); i++) {
        struct pf__record *r = pf__record(a, i);
        uint64_t w = pf__load(&r->word);
        if (PF__STATE(w) == PF__WAITING && pf__peek(&r->object) == id && pf__peek(&r->ticket) == PHASE(word))
            pf__record_move(r, w, pf__record_dead(a, w) ? PF__FREE : PF__GRANTED);
        PF_POINT("barrier.reset.told");
    }
    if (word & BROKEN)
        pf__store(&b->word, NEXT(word));
    PF_POINT("barrier.reset.new");
    pf__put(&b->reset, 0);
    wake_all(b);
}

static int lock(struct pf_barrier *b, struct pf_arena *a, int64_t deadline)
{
    int rc = pf__arena_tenancy(a); /* also makes the peer this process's */
    if (rc < 0)
        return rc;
    rc = pf_mutex_lock(&b->m, &a->peer, deadline);
    if (rc != -PF_EOWNERDEAD)
        return rc;
    if (pf__peek(&b->reset) == PHASE(pf__load(&b->word)) + 1)
        finish_reset(b, a);
    bool dead;
    uint32_t word = pf__load(&b->word);
    set_count(b, PHASE(word), arrived(b, a, PHASE(word), &dead));
    PF_POINT("barrier.counted");
    if (dead && !(word & BROKEN))
        break_it(b, word);
    return 0;
}

/* Frees a record that is the caller's own, whatever it says. */
static void end(struct pf__record *r)
{
    uint64_t w;
    do
        w = pf__load(&r->word);
    while (PF__STATE(w) != PF__FREE && !pf__record_move(r, w, PF__FREE));
}

/* While the action of the phase before is under way. */
static int wait_turn(struct pf_barrier *b, struct pf_arena *a, uint32_t word, int64_t deadline)
{
    if (deadline == PF_TRY)
        return -EAGAIN;
    int rc = pf_futex_wait(&b->word, word, pf_slice(deadline, PF__LOOK));
    if (rc == 0 || rc == -EAGAIN)
        return 0;
    if (rc != -ETIMEDOUT)
        return rc;
    bool dead;
    arrived(b, a, PHASE(word), &dead);
    if (dead)
        break_it(b, word);
    if (deadline > pf_now())
        return -EINTR;
    return break_it(b, word) ? -ETIMEDOUT : 0;
}

int pf_barrier_arrive(struct pf_barrier *b, struct pf_arena *a, int64_t deadline, uint32_t *record)
{
    uint32_t word;
    int rc;
    for (;;) {
        int64_t grace = deadline == PF_FOREVER ? deadline : pf_deadline(GRACE);
        rc = lock(b, a, deadline > grace ? deadline : grace);
        if (rc == -ETIMEDOUT)
            break_it(b, pf__load(&b->word));
        if (rc < 0)
            return rc;
        word = pf__load(&b->word);
        if (word & BROKEN) {
            pf_mutex_unlock(&b->m);
            return -PF_EBROKEN;
        }
        if (!(word & FULL))
            break;
        pf_mutex_unlock(&b->m);
        rc = wait_turn(b, a, word, deadline);
        if (rc < 0)
            return rc;
    }
    PF_POINT("barrier.locked");
    rc = pf__record_claim(a);
    if (rc < 0) {
        pf_mutex_unlock(&b->m);
        return rc;
    }
    *record = (uint32_t)rc;
    struct pf__record *r = pf__record(a, *record);
    uint32_t index = count_of(b, PHASE(word));
    pf__put(&r->index, index);
    pf__record_show(r, pf__object_id(a, &b->id, PF__BARRIER), PHASE(word));
    PF_POINT("barrier.arrived");
    set_count(b, PHASE(word), index + 1);
    pf__put(&b->cpus[0], pf__peek(&b->cpus[0]) | cpu_bit());
    rc = (int)index;
    if (index + 1 == b->parties) { /* who arrived and died breaks it, though all are there */
        bool dead;
        arrived(b, a, PHASE(word), &dead);
        if (dead)
            break_it(b, word);
        PF_POINT("barrier.fill");
        uint32_t seen = word;
        if (!atomic_compare_exchange_strong(&b->word, &seen, word | FULL)) {
            end(r);
            rc = -PF_EBROKEN;
        }
    }
    PF_POINT("barrier.filled");
    pf_mutex_unlock(&b->m);
    return rc;
}

int pf_barrier_pass(struct pf_barrier *b, struct pf_arena *a, uint32_t record)
{
    struct pf__record *r = pf__record(a, record);
    uint32_t full = (uint32_t)pf__peek(&r->ticket) << 2 | FULL;
    int rc;
    do
        rc = lock(b, a, PF_FOREVER);
    while (rc == -EINTR);
    if (rc < 0)
        return rc;
    pf__put(&b->cpus[1], pf__peek(&b->cpus[0]));
    pf__put(&b->cpus[0], 0);
    PF_POINT("barrier.pass");
    bool passed = atomic_compare_exchange_strong(&b->word, &full, NEXT(full));
    PF_POINT("barrier.passed");
    if (passed) {
        wake_all(b);
        PF_POINT("barrier.woken");
    }
    pf_mutex_unlock(&b->m);
    end(r);
    return passed ? 0 : -PF_EBROKEN;
}

int pf_barrier_wait(struct pf_barrier *b, struct pf_arena *a, uint32_t record, int64_t deadline)
{
    struct pf__record *r = pf__record(a, record);
    const uint32_t phase = (uint32_t)pf__peek(&r->ticket);
    bool spun = false, late = false;
    for (;;) {
        uint32_t word = pf__load(&b->word);
        uint64_t mine = pf__load(&r->word); /* after the word: a reset tells the records first */
        int rc = PF__STATE(mine) == PF__GRANTED || (PHASE(word) == phase && (word & BROKEN)) ? -PF_EBROKEN
                 : PHASE(word) != phase                                                      ? 0
                 : deadline == PF_TRY                                                        ? -EAGAIN
                                                                                             : 1;
        if (rc == 1 && late) {
            if (deadline > pf_now())
                return -EINTR;
            if (!break_it(b, word))
                continue;
            rc = -ETIMEDOUT;
        }
        if (rc == -EAGAIN)
            return rc;
        if (rc != 1) {
            PF_POINT("barrier.leave");
            end(r);
            return rc;
        }
        if (!spun) { /* who arrives on this very CPU does so only when it is let */
            spun = true;
            if (pf__peek(&b->cpus[1]) & ~cpu_bit())
                pf__spin(&b->spin, SPIN_MOST, &b->word, ~FULL, word & ~FULL, false, deadline);
            continue;
        }
        PF_POINT("barrier.sleep");
        rc = pf_futex_wait(&b->word, word, pf_slice(deadline, PF__LOOK));
        PF_POINT("barrier.awake");
        if (rc == -ETIMEDOUT) {
            late = true; /* the caller may see after its signals */
            bool dead;
            arrived(b, a, phase, &dead);
            if (dead && !(word & BROKEN))
                break_it(b, word);
        } else if (rc < 0 && rc != -EAGAIN) {
            return rc;
        }
    }
}

void pf_barrier_leave(struct pf_barrier *b, struct pf_arena *a, uint32_t record)
{
    struct pf__record *r = pf__record(a, record);
    int rc;
    do
        rc = lock(b, a, PF_FOREVER);
    while (rc == -EINTR);
    uint32_t word = pf__load(&b->word);
    if (rc == 0 && PHASE(word) == pf__peek(&r->ticket) && PF__STATE(pf__peek(&r->word)) == PF__WAITING) {
        if ((word & FULL) && pf__peek(&r->index) + 1 == b->parties) /* all wait for it */
            break_it(b, word);
        else if (count_of(b, PHASE(word)) > 0)
            set_count(b, PHASE(word), count_of(b, PHASE(word)) - 1);
    }
    PF_POINT("barrier.uncounted");
    end(r);
    PF_POINT("barrier.left");
    if (rc == 0)
        pf_mutex_unlock(&b->m);
}

void pf_barrier_abort(struct pf_barrier *b)
{
    PF_POINT("barrier.abort");
    atomic_fetch_or(&b->word, BROKEN);
    PF_POINT("barrier.aborted");
    wake_all(b);
}

int pf_barrier_reset(struct pf_barrier *b, struct pf_arena *a)
{
    int rc = lock(b, a, PF_FOREVER);
    if (rc < 0)
        return rc;
    uint32_t word = pf__load(&b->word);
    if ((word & (BROKEN | FULL)) || count_of(b, PHASE(word))) {
        pf__store(&b->reset, PHASE(word) + 1);
        PF_POINT("barrier.reset");
        atomic_fetch_or(&b->word, BROKEN);
        PF_POINT("barrier.reset.broken");
        finish_reset(b, a);
    }
    pf_mutex_unlock(&b->m);
    return 0;
}

bool pf_barrier_broken(const struct pf_barrier *b)
{
    return pf__load(&((struct pf_barrier *)b)->word) & BROKEN;
}

uint32_t pf_barrier_waiting(const struct pf_barrier *b)
{
    struct pf_barrier *barrier = (struct pf_barrier *)b;
    uint32_t word = pf__load(&barrier->word);
    return word & (BROKEN | FULL) ? 0 : count_of(barrier, PHASE(word));
}
