#include "procfast/link.h"

#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "procfast/futex.h"
#include "procfast/shm.h"
#include "procfast/wire.h"
#include "ring_impl.h"

#define ASK_EVERY (PF_SECOND / 20) /* a dead reader is noticed after so long, */
#define ASK_BYTES (256 * KIB)      /* or so many bytes; one that has closed, at once */

int pf__link_reader(struct pf_ring *r, uint64_t bytes)
{
    if (!r->window)
        return 0;
    uint32_t hangups = pf__load(&r->h->hangups);
    int64_t now = pf_now_coarse();
    bytes += pf__peek(&r->reader.bytes);
    if (hangups == pf__peek(&r->reader.hangups) && now - pf__peek(&r->reader.asked) < ASK_EVERY && bytes < ASK_BYTES) {
        pf__put(&r->reader.bytes, bytes);
        return 0;
    }
    int rc = pf_wire_look(r->bell.ring_fd);
    if (rc == 0) {
        pf__put(&r->reader.hangups, hangups);
        pf__put(&r->reader.asked, now);
        pf__put(&r->reader.bytes, 0);
    }
    return rc;
}

/* Whose turn it is to send, or to receive, a message of several parts, is a matter of processes and of a long
 * time, so no lock: the turn names a tenancy, and whoever waits for it asks whether that goes on. */
int pf__turn_take(struct pf_ring *r, uint64_t *turn)
{
    int tenancy = pf_peer_slot(r->peer);
    if (tenancy < 0)
        return tenancy;
    *turn = (uint64_t)(atomic_fetch_add(&r->h->serial, 1) + 1) << 32 | ((uint32_t)tenancy + 1);
    return 0;
}

void pf__turn_end(struct turn *t, uint64_t turn)
{
    if (!turn || !atomic_compare_exchange_strong(&t->holder, &turn, 0))
        return;
    PF_POINT("turn.ended");
    atomic_fetch_add(&t->ended, 1);
    if (atomic_load(&t->waiters))
        pf_futex_wake(&t->ended, INT_MAX);
}

bool pf__turn_bury(struct pf_ring *r, struct turn *t, uint64_t turn)
{
    if (pf_peer_alive(r->peer, (uint32_t)turn - 1) != 0)
        return false;
    PF_POINT("turn.bury");
    pf__turn_end(t, turn);
    return true;
}

int pf__turn_wait(struct pf_ring *r, struct turn *t, uint64_t turn, int64_t deadline)
{
    if (deadline == PF_TRY)
        return -EAGAIN;
    if (pf__turn_bury(r, t, turn))
        return 0;
    if (deadline != PF_FOREVER && deadline <= pf_now())
        return -ETIMEDOUT;
    uint32_t ended = atomic_load(&t->ended);
    int rc = 0;
    atomic_fetch_add(&t->waiters, 1);
    if (atomic_load(&t->holder) == turn)
        rc = pf_futex_wait(&t->ended, ended, pf_slice(deadline, LOOK));
    atomic_fetch_sub(&t->waiters, 1);
    if (rc == -ETIMEDOUT)
        return deadline <= pf_now() ? -ETIMEDOUT : -EINTR;
    return rc == -EAGAIN ? 0 : rc;
}

bool pf__link_fits(struct pf_ring *r, struct view v, uint64_t units)
{
    uint64_t window = r->window / UNIT;
    if (r->mine == v.count && ((v.units - r->taken) & UNITS_MASK) + units <= window)
        return true;
    struct view c = pf__view(&r->h->cons);
    r->taken = c.units;
    return c.count == v.count || ((v.units - c.units) & UNITS_MASK) + units <= window;
}

int pf_ring_begin(struct pf_ring *r, uint64_t *turn)
{
    pf__refresh(r);
    return r->window ? pf__turn_take(r, turn) : -ENOTSUP;
}

void pf_ring_end(struct pf_ring *r, uint64_t turn, bool whole)
{
    pf__refresh(r);
    if (!pf__turn_ours(r, turn))
        return;
    int64_t deadline = pf_deadline(PF_SECOND);
    int rc = -EAGAIN;
    if (!whole) {
        do
            rc = pf__lock_side(r, &r->h->prod, deadline);
        while (rc == -EINTR);
    }
    if (rc == 0)
        pf__bell_on(r); /* its reader may be asleep: it shall see that no more comes */
    pf__turn_end(&r->h->turn[0], turn);
    if (rc == 0)
        pf_mutex_unlock(&r->h->prod.lock);
}

void pf_ring_leave(struct pf_ring *r, uint64_t turn)
{
    pf__refresh(r);
    if (pf__turn_ours(r, turn))
        pf__turn_end(&r->h->turn[1], turn);
}

int pf__link_nap(int fd, int64_t deadline)
{
    int rc = pf_wire_wait(fd, false, pf_slice(deadline, PF_SECOND / 200));
    return rc == -ETIMEDOUT && deadline > pf_now() ? -EINTR : rc;
}

int pf__link_sleep(struct pf_ring *r, int64_t deadline)
{
    struct header *h = r->h;
    int rc = 0;
    if (!pf__load(&h->rung)) {
        PF_POINT("wire.sleep");
        rc = pf_wire_wait(r->bell.wait_fd, true, pf_slice(deadline, LOOK));
        PF_POINT("wire.woken");
        if (rc == -EPIPE)
            return pf__empty(h) ? -EPIPE : 0; /* all that it sent came before it was gone */
        if (rc == -ETIMEDOUT)
            return deadline <= pf_now() ? -ETIMEDOUT : -EINTR;
        if (rc < 0)
            return rc;
        /* The ring comes first, the message a moment after: the producer may need this very CPU for it. */
        for (int i = 0; i < 3 && pf__empty(h) && pf_mutex_owner(&h->prod.lock); i++)
            sched_yield();
        if (pf__load(&h->rung) || !pf__empty(h))
            return 0;
    }
    /* Rung for what is gone, or for what is about to come: then the producer has the lock. */
    rc = pf__lock_side(r, &h->prod, deadline);
    if (rc < 0)
        return rc;
    bool noted = pf__peek(&h->rung), none = pf__empty(h);
    if (none)
        pf__bell_off(r);
    pf_mutex_unlock(&h->prod.lock);
    if (noted || !none || pf_wire_wait(r->bell.wait_fd, true, PF_NOWAIT) != 1)
        return 0;
    /* What still lies there is the user's own, and would hide a ring. */
    rc = pf__link_nap(r->bell.wait_fd, deadline);
    return rc == -EPIPE && !pf__empty(h) ? 0 : rc;
}

#define NO_WIRE ((struct pf_bell){-1, -1})

static uint64_t span_of(const struct header *h)
{
    return h->blocks_max ? BLOCKS_AT + BLOCKS_MAX : ZONE + h->zone;
}

static void identify(struct pf_link *l)
{
    struct stat s;
    if (fstat(l->fd, &s) == 0) {
        l->device = (uint64_t)s.st_dev;
        l->inode = (uint64_t)s.st_ino;
    }
}

bool pf_link_intact(const struct pf_link *l)
{
    struct stat s;
    return fstat(l->fd, &s) == 0 && (uint64_t)s.st_dev == l->device && (uint64_t)s.st_ino == l->inode;
}

int pf_link_create(struct pf_link *l, unsigned rings)
{
    uint64_t zone, blocks_max, span;
    *l = (struct pf_link){.fd = pf__ring_segment(rings, &zone, &blocks_max, &span), .rings = rings};
    if (l->fd < 0)
        return l->fd;
    identify(l);
    for (unsigned i = 0; i < rings; i++) {
        int rc = pf__ring_open(&l->ring[i], l->fd, i * span, NO_WIRE);
        if (rc == 0)
            rc = pf__ring_format(l->ring[i], zone, blocks_max);
        if (rc < 0) {
            pf_link_close(l);
            return rc;
        }
        l->ring[i]->h->window = PF_LINK_WINDOW;
        pf__ring_settle_in(l->ring[i], i ? l->ring[0] : NULL);
    }
    return 0;
}

int pf_link_attach(struct pf_link *l, unsigned rings, int fd)
{
    *l = (struct pf_link){.fd = fd, .rings = rings};
    int64_t size = pf__ring_file_size(fd);
    if (size < 0)
        return (int)size;
    identify(l);
    uint64_t base = 0;
    for (unsigned i = 0; i < rings; i++) {
        int rc = -PF_ECORRUPT;
        if (base + ZONE + ZONE_MIN <= (uint64_t)size)
            rc = pf__ring_open(&l->ring[i], fd, base, NO_WIRE);
        if (rc == 0)
            rc = pf__ring_check(l->ring[i]->h, base, (uint64_t)size);
        if (rc == 0 && l->ring[i]->h->window != PF_LINK_WINDOW)
            rc = -PF_ECORRUPT;
        if (rc < 0) {
            l->fd = -1; /* still the caller's */
            pf_link_close(l);
            return rc;
        }
        pf__ring_settle_in(l->ring[i], i ? l->ring[0] : NULL);
        base += span_of(l->ring[i]->h);
    }
    return 0;
}

void pf_link_wire(struct pf_link *l, unsigned end, int fd)
{
    for (unsigned i = 0; i < l->rings; i++) {
        if (i == end)
            l->ring[i]->bell.ring_fd = fd;
        else
            l->ring[i]->bell.wait_fd = fd;
    }
}

/* The user gets the descriptor of the ring's writing end, or of the other. */
static int expose(struct pf_ring *r, bool writing)
{
    struct header *h = r->h;
    int64_t deadline = pf_deadline(PF_SECOND);
    int rc;
    pf__refresh(r);
    pf__store(&h->exposed, 1);
    do
        rc = pf__lock_side(r, &h->prod, deadline);
    while (rc == -EINTR);
    if (!writing)
        pf__store(&h->armed, 1);
    PF_POINT("arm.armed");
    if (rc < 0)
        return 0; /* its holder is stopped */
    if (!writing && pf__empty(h)) {
        rc = pf__bell_off(r); /* it was rung for what is gone */
    } else if (pf__peek(&h->rung)) {
        rc = writing ? 1 : pf_wire_strip(r->bell.wait_fd);
        if (rc > 0)
            pf__put(&h->rung, AGAIN);
    }
    pf_mutex_unlock(&h->prod.lock);
    return rc < 0 ? rc : 0;
}

int pf__link_arm(struct pf_ring *r)
{
    return expose(r, false);
}

int pf_link_expose(struct pf_link *l, unsigned end)
{
    int rc = 0;
    for (unsigned i = 0; i < l->rings && rc == 0; i++)
        rc = expose(l->ring[i], i == end);
    return rc;
}

void pf_link_unwire(struct pf_link *l, unsigned end, int fd)
{
    pf_link_wire(l, end, -1);
    close(fd);
    for (unsigned i = 0; i < l->rings; i++) {
        struct header *h = l->ring[i]->h;
        if (i == end)
            continue;
        /* Writers ask the kernel now. Who is about to sleep finds the word changed. */
        atomic_fetch_add(&h->hangups, 1);
        uint32_t w = pf__load(&h->cons.word), next;
        do
            next = (w & ~UINT32_C(255)) | ((w & 255) == 255 ? 2 : (w & 255) + 1);
        while (!atomic_compare_exchange_weak(&h->cons.word, &w, next));
        if (w & 255)
            pf_futex_wake(&h->cons.word, INT_MAX);
    }
}

static bool clean(struct pf_ring *r)
{
    struct header *h = r->h;
    uint32_t n = pf__load(&h->nblocks);
    for (uint32_t i = 0; i < n && i < BLOCKS; i++) {
        uint64_t state = pf__load(&h->blocks[i].state);
        if (state != FREE && state != EMPTY)
            return false;
    }
    return !pf_mutex_owner(&h->prod.lock) && !pf_mutex_owner(&h->cons.lock) && !pf__load(&h->turn[0].holder) &&
           !pf__load(&h->turn[1].holder) && pf__peek(&h->alloc) + pf__block_bytes(h, false) <= PF_LINK_KEEP;
}

/* Blocks in flight, in messages that nobody will read, are free. */
static void drop_messages(struct pf_ring *r)
{
    struct header *h = r->h;
    uint32_t n = pf__load(&h->nblocks);
    for (uint32_t i = 0; i < n && i < BLOCKS; i++) {
        if (pf__load(&h->blocks[i].state) == FLIGHT)
            pf__store(&h->blocks[i].state, FREE);
    }
}

bool pf_link_renew(struct pf_link *l)
{
    for (unsigned i = 0; i < l->rings; i++) {
        if (pf__refresh(l->ring[i])) /* a child: the segment may be its parent's too */
            return false;
        drop_messages(l->ring[i]);
        if (!clean(l->ring[i]))
            return false;
    }
    for (unsigned i = 0; i < l->rings; i++) {
        struct pf_ring *r = l->ring[i];
        struct header *h = r->h;
        uint64_t alloc = pf__peek(&h->alloc);
        memset(&h->prod, 0, sizeof h->prod);
        memset(&h->cons, 0, sizeof h->cons);
        memset(&h->turn, 0, sizeof h->turn);
        pf__put(&h->prod.cpu, -1);
        pf__put(&h->cons.cpu, -1);
        pf__put(&h->alloc, alloc < KEEP ? alloc : KEEP);
        pf__put(&h->top, 0);
        pf__put(&h->rung, 0);
        pf__put(&h->armed, 0);
        pf__put(&h->exposed, 0);
        pf__put(&h->hangups, 0);
        r->limit_ext = r->mine = 0;
        memset(&r->seen, 0, sizeof r->seen);
        memset(&r->reader, 0, sizeof r->reader);
    }
    return true;
}

void pf_link_close(struct pf_link *l)
{
    for (unsigned i = l->rings; i-- > 0;) { /* the first has the peer */
        if (l->ring[i])
            pf__ring_release(l->ring[i]);
        l->ring[i] = NULL;
    }
    if (l->fd >= 0 && pf_link_intact(l))
        close(l->fd);
    l->fd = -1;
}
