#include "procfast/cond.h"

#include <limits.h>

#include "point.h"
#include "procfast/error.h"
#include "procfast/futex.h"
#include "spin.h"
#include "waiters.h"

#define SPIN_MOST INT64_C(50000) /* ns */

/* A record in one of its lives; never 0. */
static uint64_t reference(uint32_t i, uint64_t word)
{
    return (uint64_t)PF__GENERATION(word) << 32 | (i + 1);
}

static bool is(struct pf_arena *a, uint64_t ref, struct pf__record **r, uint64_t *word)
{
    uint32_t i = (uint32_t)ref - 1;
    if (ref == 0 || i >= a->nrecords)
        return false;
    *r = pf__record(a, i);
    *word = pf__load(&(*r)->word);
    return PF__GENERATION(*word) == (uint32_t)(ref >> 32);
}

static void wake(struct pf__record *r)
{
    pf_futex_wake(pf__low(&r->word), 1);
}

/* Under m. A notification was on its way from the dead `from` to `to` when who passed it on died. `to` does not leave
 * with it before this is settled: so where it is GRANTED the notification has arrived, else it has not. */
static void settle(struct pf_cond *c, struct pf_arena *a)
{
    struct pf__record *to, *from;
    uint64_t word;
    if (is(a, pf__load(&c->to), &to, &word) && PF__STATE(word) == PF__GRANTED) {
        if (is(a, pf__load(&c->from), &from, &word) && PF__STATE(word) == PF__GRANTED)
            pf__record_move(from, word, PF__FREE);
        PF_POINT("cond.settled");
        wake(to);
    }
    pf__store(&c->to, 0);
}

static int lock(struct pf_cond *c, struct pf_arena *a, int64_t deadline)
{
    int rc = pf__arena_tenancy(a); /* also makes the peer this process's */
    if (rc < 0)
        return rc;
    rc = pf_mutex_lock(&c->m, &a->peer, deadline);
    if (rc < 0 && rc != -PF_EOWNERDEAD)
        return rc;
    if (pf__load(&c->to))
        settle(c, a);
    return 0;
}

/* The waiter that came first, of those before `until`; the dead are swept on the way. */
static struct pf__record *first(struct pf_arena *a, uint64_t id, uint64_t until, uint32_t *index, uint64_t *word)
{
    for (;;) {
        struct pf__record *best = NULL;
        uint64_t least = until;
        for (uint32_t i = 0, n = pf__records(a); i < n; i++) {
            struct pf__record *r = pf__record(a, i);
            uint64_t w = pf__load(&r->word);
            if (PF__STATE(w) != PF__WAITING || pf__peek(&r->object) != id || pf__peek(&r->ticket) >= least)
                continue;
            best = r;
            least = pf__peek(&r->ticket);
            *index = i;
            *word = w;
        }
        if (!best || !pf__record_dead(a, *word))
            return best;
        pf__record_move(best, *word, PF__FREE);
        PF_POINT("cond.swept");
    }
}

/* Under m: marks a waiter as notified; false: it has left. */
static bool grant(struct pf__record *r, uint64_t word, uint64_t until)
{
    pf__put(&r->until, until);
    return pf__record_move(r, word, PF__GRANTED);
}

/* Is there a notification that a dead process did not take? */
static bool unclaimed(struct pf_arena *a, uint64_t id, uint32_t *index, uint64_t *word)
{
    for (uint32_t n = pf__records(a); *index < n; ++*index) {
        struct pf__record *r = pf__record(a, *index);
        *word = pf__load(&r->word);
        if (PF__STATE(*word) == PF__GRANTED && pf__peek(&r->object) == id && pf__record_dead(a, *word))
            return true;
    }
    return false;
}

/* Under m: hands them to the next. */
static void pass_on(struct pf_cond *c, struct pf_arena *a, uint64_t id)
{
    uint64_t dead, word;
    for (uint32_t i = 0, to; unclaimed(a, id, &i, &dead);) {
        struct pf__record *from = pf__record(a, i), *r = first(a, id, pf__peek(&from->until), &to, &word);
        if (!r) { /* nobody waits who did then */
            pf__record_move(from, dead, PF__FREE);
            continue;
        }
        pf__put(&c->from, reference(i, dead));
        pf__store(&c->to, reference(to, word));
        PF_POINT("cond.passing");
        bool taken = grant(r, word, pf__peek(&from->until));
        PF_POINT("cond.passed");
        if (taken)
            pf__record_move(from, dead, PF__FREE);
        PF_POINT("cond.forgotten");
        pf__store(&c->to, 0);
        if (taken)
            wake(r);
    }
}

int pf_cond_enter(struct pf_cond *c, struct pf_arena *a, uint32_t *record)
{
    int i = pf__record_claim(a);
    if (i < 0)
        return i;
    *record = (uint32_t)i;
    pf__record_show(pf__record(a, *record), pf__object_id(a, &c->id, 0), atomic_fetch_add(&c->ticket, 1));
    PF_POINT("cond.entered");
    if (atomic_fetch_add(&c->waiting, 1) == UINT32_MAX)
        atomic_fetch_add(&c->waiting, 1);
    PF_POINT("cond.announced");
    return 0;
}

/* Somebody who was notified may have died. */
static void look(struct pf_cond *c, struct pf_arena *a)
{
    uint32_t i = 0;
    uint64_t word, id = pf__load(&c->id);
    if (!pf__load(&c->to) && !unclaimed(a, id, &i, &word))
        return;
    if (lock(c, a, pf_deadline(PF_SECOND / 100)) < 0)
        return;
    pass_on(c, a, id);
    pf_mutex_unlock(&c->m);
}

int pf_cond_wait(struct pf_cond *c, struct pf_arena *a, uint32_t record, int64_t deadline)
{
    struct pf__record *r = pf__record(a, record);
    bool spun = false, late = false;
    for (;;) {
        uint64_t w = pf__load(&r->word);
        if (PF__STATE(w) != PF__WAITING)
            return 0;
        if (deadline == PF_TRY)
            return -EAGAIN;
        if (late)
            return deadline <= pf_now() ? -ETIMEDOUT : -EINTR;
        if (!spun) {
            spun = true;
            pf__spin(&c->spin, SPIN_MOST, pf__low(&r->word), UINT32_MAX, (uint32_t)w, false, deadline);
            continue;
        }
        PF_POINT("cond.sleep");
        int rc = pf_futex_wait(pf__low(&r->word), (uint32_t)w, pf_slice(deadline, PF__LOOK));
        PF_POINT("cond.awake");
        if (rc == -ETIMEDOUT) {
            late = true; /* the caller may see after its signals */
            look(c, a);
        } else if (rc < 0 && rc != -EAGAIN) {
            return rc;
        }
    }
}

bool pf_cond_leave(struct pf_cond *c, struct pf_arena *a, uint32_t record)
{
    struct pf__record *r = pf__record(a, record);
    uint64_t w = pf__load(&r->word);
    PF_POINT("cond.leave");
    if (PF__STATE(w) == PF__WAITING && pf__record_move(r, w, PF__FREE))
        return false;
    w = pf__load(&r->word);
    if (pf__load(&c->to) == reference(record, w)) { /* see settle() */
        int rc;
        do
            rc = lock(c, a, PF_FOREVER);
        while (rc == -EINTR);
        if (rc == 0)
            pf_mutex_unlock(&c->m);
    }
    pf__record_move(r, w, PF__FREE);
    PF_POINT("cond.left");
    return true;
}

/* Under m: everybody who waits, in the order of their records. */
static int notify_all(struct pf_arena *a, uint64_t id, uint64_t until)
{
    int given = 0;
    for (uint32_t i = 0, n = pf__records(a); i < n; i++) {
        struct pf__record *r = pf__record(a, i);
        uint64_t w = pf__load(&r->word);
        if (PF__STATE(w) != PF__WAITING || pf__peek(&r->object) != id || pf__peek(&r->ticket) >= until)
            continue;
        if (pf__record_dead(a, w)) {
            pf__record_move(r, w, PF__FREE);
        } else if (grant(r, w, until)) {
            given++;
            PF_POINT("cond.granted");
            wake(r);
        }
    }
    return given;
}

int pf_cond_notify(struct pf_cond *c, struct pf_arena *a, int n)
{
    uint32_t waiting = atomic_load(&c->waiting);
    if (!waiting)
        return 0;
    int rc = lock(c, a, PF_FOREVER), given = 0;
    if (rc < 0)
        return rc;
    uint64_t id = pf__load(&c->id), until = atomic_load(&c->ticket), word;
    PF_POINT("cond.locked");
    pass_on(c, a, id);
    struct pf__record *r;
    uint32_t i;
    if (n == INT_MAX)
        given = notify_all(a, id, until);
    while (given < n && (r = first(a, id, until, &i, &word))) {
        PF_POINT("cond.chosen");
        if (!grant(r, word, until))
            continue;
        given++;
        PF_POINT("cond.granted");
        wake(r);
        PF_POINT("cond.woken");
    }
    bool any = false; /* GRANTED too: it may have to be passed on */
    for (i = 0; i < pf__records(a) && !any; i++) {
        r = pf__record(a, i);
        any = PF__STATE(pf__load(&r->word)) != PF__FREE && pf__peek(&r->object) == id;
    }
    if (!any) /* who came since has counted on */
        atomic_compare_exchange_strong(&c->waiting, &waiting, 0);
    PF_POINT("cond.notified");
    pf_mutex_unlock(&c->m);
    return given;
}

int pf_cond_waiters(const struct pf_cond *c, struct pf_arena *a)
{
    uint64_t id = pf__load(&((struct pf_cond *)c)->id);
    int count = 0;
    for (uint32_t i = 0, n = pf__records(a); i < n && id; i++) {
        struct pf__record *r = pf__record(a, i);
        uint64_t w = pf__load(&r->word);
        count += PF__STATE(w) == PF__WAITING && pf__peek(&r->object) == id && !pf__record_dead(a, w);
    }
    return count;
}
