#include "procfast/ring.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pool_impl.h"
#include "procfast/futex.h"
#include "procfast/shm.h"
#include "procfast/wire.h"

/* The address of [pos, pos + len) of the ring zone, under the side's lock. */
static void *at(struct pf_ring *r, int side, uint64_t pos, uint64_t len)
{
    if (pos + len <= NEAR)
        return r->near + ZONE + pos;
    if (pos + len > r->far[side].size) {
        size_t size = 64 * MIB;
        while (size < pos + len)
            size *= 2;
        if (size > r->zone)
            size = r->zone;
        int rc = r->far[side].addr ? pf_shm_remap(r->fd, r->base + ZONE, &r->far[side].addr, r->far[side].size, size)
                                   : pf_shm_map(r->fd, r->base + ZONE, size, &r->far[side].addr);
        if (rc < 0)
            return NULL;
        r->far[side].size = size;
    }
    return (char *)r->far[side].addr + pos;
}

/* Memory for the ring zone up to `end`, under the producers' lock; some more at once, but not beyond `most`. */
static int grow(struct pf_ring *r, uint64_t end, uint64_t most)
{
    struct header *h = r->h;
    uint64_t have = pf__peek(&h->alloc);
    if (end > r->zone)
        return r->zone < ZONE_MAX ? -EFBIG : -ENOSPC;
    if (end <= have)
        return 0;
    uint64_t step = have < 16 * KIB ? 16 * KIB : have > 16 * MIB ? 16 * MIB : have;
    uint64_t want = have + step > end ? have + step : end;
    if (want > most)
        want = most > end ? most : end;
    want = (want + PAGE - 1) & ~(PAGE - 1);
    if (want > r->zone || pf__check_ceiling(r, want - have) < 0)
        want = (end + PAGE - 1) & ~(PAGE - 1);
    int rc = pf__check_ceiling(r, want - have);
    PF_POINT("grow.checked");
    /* In pieces, so that a signal can't make a long reservation start over and over. */
    while (rc == 0 && have < want) {
        uint64_t piece = want - have > 32 * MIB ? 32 * MIB : want - have;
        rc = pf_shm_reserve(r->fd, r->base + ZONE + have, piece);
        PF_POINT("grow.reserved");
        if (rc == 0)
            pf__put(&h->alloc, have += piece);
    }
    return rc;
}

struct place {
    struct view v;   /* the record to commit */
    uint64_t at;     /* where the message goes */
    uint64_t jump_at, jump_to; /* a jump to write, if jump_at is not NO_JUMP */
};
#define NO_JUMP UINT64_MAX

/* Finds room for `need` bytes behind v.pos, without touching shared state but memory reservations. */
static int place(struct pf_ring *r, struct view v, uint64_t need, struct place *p)
{
    struct header *h = r->h;
    uint64_t tail = v.pos, after = need + JUMP_SIZE; /* a jump must always fit behind */
    uint64_t soft = need > SOFT / 4 ? 4 * need : SOFT;
    if (soft > r->zone / 2)
        soft = r->zone / 2;
    p->jump_at = NO_JUMP;
    if (tail > r->zone - JUMP_SIZE || tail % 8)
        return -PF_ECORRUPT;
    if (v.extra & EXT_WRAPPED) {
        if (r->limit_ext != v.extra || tail + after > r->limit) {
            uint64_t reader = pf__view(&h->cons).extra;
            if (reader > tail) { /* still in the old stretch */
                r->limit_ext = v.extra;
                r->limit = reader;
            } else { /* it came to the front */
                v.extra = EXT_TURNS(v.extra);
                r->limit_ext = 0;
            }
        }
        if (v.extra & EXT_WRAPPED) {
            if (tail + after > r->limit) { /* leave the gap, go on behind everything */
                uint64_t top = pf__peek(&h->top);
                if (top < tail || top % 8 || top > r->zone - JUMP_SIZE)
                    return -PF_ECORRUPT;
                p->jump_at = tail;
                p->jump_to = tail = top;
                v.extra = EXT_TURNS(v.extra) | top;
                if (pf__peek(&h->alloc) < top)
                    pf__put(&h->alloc, top & ~(PAGE - 1));
            }
        }
    }
    if (!(v.extra & EXT_WRAPPED) && p->jump_at == NO_JUMP && tail + after > soft) {
        uint64_t reader = pf__view(&h->cons).extra;
        if (reader >= EXT_BASE(v.extra) && reader <= tail && reader >= after && reader >= tail / 2) {
            p->jump_at = tail;
            p->jump_to = 0;
            pf__put(&h->top, tail + JUMP_SIZE);
            if (pf__peek(&h->alloc) > KEEP && tail > KEEP)
                pf__put(&h->alloc, KEEP); /* readers may have punched what lies above */
            v.extra = (EXT_TURNS(v.extra) + EXT_TURN) | EXT_WRAPPED;
            r->limit_ext = v.extra;
            r->limit = reader;
            tail = 0;
        }
    }
    /* What lies above the reader of the old stretch is still to be punched by it. */
    int rc = grow(r, tail + after, v.extra & EXT_WRAPPED ? r->limit : UINT64_MAX);
    if (rc < 0)
        return rc;
    p->at = tail;
    v.pos = tail + need;
    p->v = v;
    return 0;
}

static int write_jump(struct pf_ring *r, const struct place *p)
{
    if (p->jump_at == NO_JUMP)
        return 0;
    uint64_t *j = at(r, 0, p->jump_at, JUMP_SIZE);
    if (!j)
        return -ENOMEM;
    j[1] = p->jump_to;
    j[0] = HEAD(JUMP, 0, 8);
    PF_POINT("put.jump");
    return 0;
}

/* The bell rings before the commit: a kill between leaves it early, never late. That of a linked ring is rung
 * while there is a message, asked for or not, and stays so until a reader wants to sleep: it is how readers are
 * woken, and it can't be rung later from the reader's side. */
int pf__bell_on(struct pf_ring *r)
{
    struct header *h = r->h;
    int rc;
    if (pf__peek(&h->rung) == 1)
        return 0;
    if (r->window) {
        rc = pf_wire_ring(r->bell.ring_fd);
        if (rc < 0)
            return rc;
        if (rc > 0 && pf__load(&h->exposed) && !pf__peek(&h->rung)) /* once the user took his own, nothing is left */
            return -EAGAIN;
    } else {
        if (!pf__load(&h->armed))
            return 0;
        pf_bell_ring(&r->bell);
    }
    PF_POINT("bell.rung");
    pf__put(&h->rung, 1);
    return 0;
}

int pf__bell_off(struct pf_ring *r)
{
    pf__put(&r->h->rung, 0); /* first: the other way round a kill between would silence it for ever */
    PF_POINT("settle.quiet");
    return r->window ? pf_wire_reset(r->bell.wait_fd, pf__load(&r->h->exposed)) : pf_bell_reset(&r->bell);
}

/* Waits for room in a ring that was full at the consumers' word w. */
static int wait_room(struct pf_ring *r, uint32_t w, bool spin, int64_t deadline)
{
    if (deadline == PF_TRY)
        return -EAGAIN;
    if (deadline <= pf_now())
        return -ETIMEDOUT;
    if (spin && pf__spin_on(r, 0, &r->h->cons, w, deadline))
        return 0;
    return pf__sleep_on(&r->h->cons.word, w, deadline, r->window ? LOOK / 2 : LOOK);
}

/* Locks the producers' side with room for at least one message; how much room in *room. `units` and `turn` are
 * a linked ring's: the size of the message, and the turn that it is a part of, or 0. */
static int enter(struct pf_ring *r, uint64_t units, uint64_t turn, int64_t deadline, struct view *v, uint64_t *room)
{
    struct header *h = r->h;
    for (;;) {
        int rc = pf__lock_side(r, &h->prod, deadline);
        if (rc < 0)
            return rc;
        PF_POINT("put.locked");
        pf__refresh_side(r, 0);
        *v = pf__view(&h->prod);
        *room = UINT64_MAX;
        if (!r->maxsize && !r->window)
            return 0;
        uint64_t holder = pf__load(&h->turn[0].holder);
        if (holder && holder != turn) {
            pf_mutex_unlock(&h->prod.lock);
            rc = pf__turn_wait(r, &h->turn[0], holder, deadline);
            if (rc < 0)
                return rc;
            continue;
        }
        if (r->window && pf__link_fits(r, *v, units)) /* without a look at the line that each read changes */
            return 0;
        uint32_t w = pf__load(&h->cons.word);
        if (r->window) {
            if (pf__link_fits(r, *v, units))
                return 0;
        } else {
            uint64_t inside = v->count - pf__view(&h->cons).count;
            if (inside < r->maxsize) {
                *room = r->maxsize - inside;
                return 0;
            }
        }
        pf_mutex_unlock(&h->prod.lock);
        /* A reader with many small messages before it wakes us when half of them are gone. */
        rc = pf__link_reader(r, 0); /* who closes from now on changes the word */
        if (rc == 0)
            rc = wait_room(r, w, !r->window || units >= r->window / UNIT / 8, deadline);
        if (rc < 0)
            return rc;
    }
}

static int put(struct pf_ring *r, enum kind kind, uint64_t turn, const struct pf_iov *iov, unsigned n,
               const struct pf_loan *refs, unsigned nrefs, int64_t deadline)
{
    struct header *h = r->h;
    pf__refresh(r);
    uint64_t len = turn ? sizeof turn : 0, bytes = 0, room;
    for (unsigned i = 0; i < n; i++)
        len += iov[i].len;
    if (nrefs > PF_MAX_REFS || len > r->zone / 8)
        return -EMSGSIZE;
    uint64_t need = (8 + nrefs * sizeof(struct pf_ref) + len + 7) & ~UINT64_C(7);
    for (unsigned i = 0; i < nrefs; i++)
        bytes += refs[i].len;
    for (unsigned i = 0; i < nrefs; i++) {
        if (!pf__block_ours(r, refs[i].block))
            return -EINVAL; /* filled before a fork: the parent's */
    }
    uint64_t units = UNITS(need + bytes);
    struct view v;
    int rc = pf__link_reader(r, need + bytes);
    if (rc == 0)
        rc = enter(r, units, turn, deadline, &v, &room);
    if (rc < 0)
        return rc;
    struct place p;
    char *to = NULL;
    rc = place(r, v, need, &p);
    if (rc == 0 && (rc = write_jump(r, &p)) == 0 && !(to = at(r, 0, p.at, need)))
        rc = -ENOMEM;
    if (rc == 0)
        rc = pf__bell_on(r);
    if (rc == 0) {
        *(uint64_t *)(void *)to = HEAD(kind, nrefs, len);
        to += 8;
        for (unsigned i = 0; i < nrefs; i++) {
            struct pf_ref ref = {refs[i].block, 0, refs[i].len};
            memcpy(to, &ref, sizeof ref);
            to += sizeof ref;
            pf__put(&h->blocks[ref.block].seq, v.count);
            pf__store(&h->blocks[ref.block].state, FLIGHT);
            PF_POINT("put.block");
        }
        if (turn) {
            memcpy(to, &turn, sizeof turn);
            to += sizeof turn;
        }
        for (unsigned i = 0; i < n; i++) {
            if (iov[i].len)
                memcpy(to, iov[i].base, iov[i].len);
            to += iov[i].len;
        }
        PF_POINT("put.copied");
        if (kind == FIRST)
            pf__store(&h->turn[0].holder, turn);
        PF_POINT("put.turn");
        p.v.count = r->mine = v.count + 1;
        p.v.units = (v.units + units) & UNITS_MASK;
        pf__commit(&h->prod, p.v, 1);
    }
    pf_mutex_unlock(&h->prod.lock);
    return rc == -EAGAIN && deadline != PF_TRY ? pf__link_nap(r->bell.ring_fd, deadline) : rc;
}

int pf_ring_put(struct pf_ring *r, const struct pf_iov *iov, unsigned n, const struct pf_loan *refs,
                unsigned nrefs, int64_t deadline)
{
    return put(r, MESSAGE, 0, iov, n, refs, nrefs, deadline);
}

int pf_ring_put_first(struct pf_ring *r, uint64_t turn, const struct pf_iov *iov, unsigned n,
                      const struct pf_loan *refs, unsigned nrefs, int64_t deadline)
{
    return put(r, FIRST, turn, iov, n, refs, nrefs, deadline);
}

int pf_ring_put_part(struct pf_ring *r, uint64_t turn, const struct pf_iov *iov, unsigned n,
                     const struct pf_loan *refs, unsigned nrefs, int64_t deadline)
{
    pf__refresh(r);
    return pf__turn_ours(r, turn) ? put(r, PART, turn, iov, n, refs, nrefs, deadline) : -PF_ETORN;
}

int pf_ring_put_many(struct pf_ring *r, const char *data, const uint64_t *off, unsigned n, int64_t deadline)
{
    struct header *h = r->h;
    pf__refresh(r);
    if (r->window)
        return -ENOTSUP;
    if (n == 0)
        return 0;
    uint64_t room;
    struct view v;
    int rc = enter(r, 0, 0, deadline, &v, &room);
    if (rc < 0)
        return rc;
    if (n > room)
        n = (unsigned)room;
    unsigned k = 0;
    struct view next = v;
    for (; k < n; k++) {
        uint64_t len = off[k + 1] - off[k], need = (8 + len + 7) & ~UINT64_C(7);
        struct place p;
        char *to = NULL;
        rc = len > r->zone / 8 ? -EMSGSIZE : place(r, next, need, &p);
        if (rc == 0 && (rc = write_jump(r, &p)) == 0 && !(to = at(r, 0, p.at, need)))
            rc = -ENOMEM;
        if (rc < 0)
            break;
        *(uint64_t *)(void *)to = HEAD(MESSAGE, 0, len);
        memcpy(to + 8, data + off[k], len);
        next = p.v;
        PF_POINT("put_many.copied");
        /* A jump left by an uncommitted message is harmless: only a committed position leads to it. */
    }
    if (k > 0) {
        pf__bell_on(r);
        next.count = v.count + k;
        pf__commit(&h->prod, next, k > 1000 ? 1000 : (int)k);
    }
    pf_mutex_unlock(&h->prod.lock);
    return k > 0 ? (int)k : rc;
}

/* 0: there is a message, or something else happened: look again. */
static int await(struct pf_ring *r, int64_t deadline)
{
    struct header *h = r->h;
    uint32_t w = pf__load(&h->prod.word);
    if (!pf__empty(h))
        return 0;
    if (deadline <= PF_NOWAIT || (deadline != PF_FOREVER && deadline <= pf_now())) {
        int rc = r->window ? pf_wire_look(r->bell.wait_fd) : 0;
        return rc == 0 ? -ETIMEDOUT : rc == -EPIPE && !pf__empty(h) ? 0 : rc;
    }
    if (pf__spin_on(r, 1, &h->prod, w, deadline))
        return 0;
    return r->window ? pf__link_sleep(r, deadline) : pf__sleep_on(&h->prod.word, w, deadline, LOOK);
}

int pf_ring_wait(struct pf_ring *r, int64_t deadline)
{
    int rc;
    pf__refresh(r);
    do
        rc = await(r, deadline);
    while (rc == 0 && pf__empty(r->h));
    return rc;
}

/* The message at *v (the consumers' next), which exists; its head's position may move over a jump.
 * Everything read is checked against what a producer can have written. */
static int look(struct pf_ring *r, struct view *v, uint64_t *head, char **body, uint64_t *next)
{
    uint64_t zone = r->zone;
    for (int jumps = 0; jumps < 2; jumps++) {
        if (v->pos > zone - JUMP_SIZE || v->pos % 8)
            return -PF_ECORRUPT;
        uint64_t *at_head = at(r, 1, v->pos, JUMP_SIZE);
        if (!at_head)
            return -ENOMEM;
        *head = at_head[0];
        if ((*head & 0xff) == JUMP) {
            v->pos = at_head[1];
            continue;
        }
        uint64_t len = *head >> 16, nrefs = *head >> 8 & 0xff, kind = *head & 0xff;
        bool part = r->window && (kind == FIRST || kind == PART) && len >= sizeof(uint64_t);
        if ((kind != MESSAGE && !part) || nrefs > PF_MAX_REFS || len > zone / 8)
            return -PF_ECORRUPT;
        uint64_t need = (8 + nrefs * sizeof(struct pf_ref) + len + 7) & ~UINT64_C(7);
        *next = v->pos + need;
        /* Beyond `alloc` there may be no memory; the tail bounds what lies in its own stretch. */
        if (*next > zone || (v->pos < r->seen.pos && *next > r->seen.pos))
            return -PF_ECORRUPT;
        *body = at(r, 1, v->pos, need);
        if (!*body)
            return -ENOMEM;
        *body += 8;
        return 0;
    }
    return -PF_ECORRUPT;
}

/* Moves the message's blocks into the caller's hands. Before the commit: a kill between leaves them HELD by
 * the dead for a message that is still there, and the next taker simply takes them over. */
static int take_blocks(struct pf_ring *r, struct pf_box *box, uint32_t nrefs, const char *body)
{
    struct header *h = r->h;
    if (nrefs == 0)
        return 0;
    int slot = pf_peer_slot(r->peer);
    uint64_t mine = HELD | (uint64_t)(slot < 0 ? NOBODY : (uint32_t)slot) << 8;
    box->loans = malloc(nrefs * sizeof *box->loans);
    if (!box->loans)
        return -ENOMEM;
    for (uint32_t i = 0; i < nrefs; i++) {
        struct pf_ref ref;
        memcpy(&ref, body + i * sizeof ref, sizeof ref);
        uint64_t kind = ref.block < BLOCKS ? pf__load(&h->blocks[ref.block].state) & 255 : EMPTY;
        if ((kind != FLIGHT && kind != HELD) || ref.len > pf__peek(&h->blocks[ref.block].touched))
            return -PF_ECORRUPT;
        void *base = pf__block_at(r, ref.block);
        if (!base)
            return -ENOMEM;
        if (ref.len > pf__peek(&r->map[ref.block].size))
            return -PF_ECORRUPT;
        for (uint32_t k = 0; k < i; k++) {
            if (box->loans[k].block == ref.block) /* two owners of the same memory */
                return -PF_ECORRUPT;
        }
        box->loans[i] = (struct pf_loan){ref.block, base, ref.len};
    }
    for (uint32_t i = 0; i < nrefs; i++) {
        pf__store(&h->blocks[box->loans[i].block].state, mine);
        PF_POINT("get.block");
    }
    box->nloans = nrefs;
    return 0;
}

/* Copies the message at v into the box and moves v behind it: its kind. On an error the box is empty.
 * -PF_ETORN: `part` is not NULL, and this is not a part of that message. */
static int receive(struct pf_ring *r, struct view *v, const struct pf_box *part, struct pf_box *box)
{
    uint64_t head, next, bytes;
    char *body;
    int rc = look(r, v, &head, &body, &next);
    if (rc < 0)
        return rc;
    int kind = head & 0xff;
    uint32_t nrefs = head >> 8 & 0xff;
    const char *payload = body + nrefs * sizeof(struct pf_ref);
    box->len = head >> 16;
    box->writer = box->reader = 0;
    if (kind != MESSAGE) {
        memcpy(&box->writer, payload, sizeof box->writer);
        payload += sizeof box->writer;
        box->len -= sizeof box->writer;
    }
    if (part && (kind != PART || box->writer != part->writer))
        return -PF_ETORN;
    if (kind == FIRST && (rc = pf__turn_take(r, &box->reader)) < 0)
        return rc;
    box->data = box->len <= sizeof box->small ? box->small : malloc(box->len);
    rc = box->data ? take_blocks(r, box, nrefs, body) : -ENOMEM;
    if (rc < 0) {
        pf_box_clear(box);
        return rc;
    }
    memcpy(box->data, payload, box->len);
    bytes = next - v->pos;
    for (uint32_t i = 0; i < nrefs; i++)
        bytes += box->loans[i].len;
    v->pos = next;
    v->count++;
    v->units = (v->units + UNITS(bytes)) & UNITS_MASK;
    return kind;
}

static void throw_away(struct pf_ring *r, struct pf_box *box)
{
    for (uint32_t i = 0; i < box->nloans; i++)
        pf_ring_return(r, &box->loans[i]);
    pf_box_clear(box);
}

void pf_box_clear(struct pf_box *box)
{
    if (box->data != box->small)
        free(box->data);
    free(box->loans);
    box->data = NULL;
    box->loans = NULL;
    box->nloans = 0;
    box->len = 0;
}

/* Gives back ring memory beyond KEEP that was read: after the commit that leaves it, before the one
 * that lets producers reuse it. */
#define PUNCH_STEP (4 * MIB)

static void punch(struct pf_ring *r, uint64_t from, uint64_t to)
{
    if (from < KEEP)
        from = KEEP;
    if (to > from) {
        pf_shm_punch(r->fd, r->base + ZONE + from, to - from);
        PF_POINT("get.punched");
    }
}

/* `v` is the new record but for `extra`; `old` the one before, `crossed` where a jump was followed, or 0. */
static void commit_read(struct pf_ring *r, struct view old, struct view v, uint64_t crossed)
{
    struct side *s = &r->h->cons;
    int wake = v.count - old.count > 1000 ? 1000 : (int)(v.count - old.count);
    bool empty = v.count == r->seen.count;
    if (r->window) /* writers go on together when half of it is read */
        wake = empty || ((r->seen.units - v.units) & UNITS_MASK) <= r->window / UNIT / 2 ? 1000 : 0;
    v.extra = v.pos;
    if (crossed ? crossed <= KEEP : v.pos <= KEEP) {
        pf__commit(s, v, wake);
        return;
    }
    uint64_t from = old.extra, to = crossed ? crossed : v.pos;
    if (!crossed && !empty && to - from < PUNCH_STEP) {
        v.extra = from; /* gather more first */
        pf__commit(s, v, wake);
        return;
    }
    struct view first = v;
    first.extra = from;
    pf__commit(s, first, wake);
    PF_POINT("get.committed");
    punch(r, from, to);
    pf__commit(s, v, 1);
}

/* Locks the consumers' side with a message there, and nobody else in the middle of one of several parts.
 * `part`: the box that the caller's own has come to so far, or NULL. */
static int enter_get(struct pf_ring *r, const struct pf_box *part, int64_t deadline, struct view *old)
{
    struct header *h = r->h;
    for (;;) {
        int rc = pf__lock_side(r, &h->cons, deadline);
        if (rc < 0)
            return rc;
        PF_POINT("get.locked");
        pf__refresh_side(r, 1);
        *old = pf__view(&h->cons);
        uint64_t holder = r->window ? pf__load(&h->turn[1].holder) : 0, writer = pf__load(&h->turn[0].holder);
        /* Counts only grow: while the record seen last is ahead of us, there is something. */
        if ((int64_t)(r->seen.count - old->count) <= 0)
            r->seen = pf__view(&h->prod);
        if (r->seen.count != old->count && (!holder || (part && holder == part->reader)))
            return 0;
        pf_mutex_unlock(&h->cons.lock);
        if (part && holder != part->reader)
            return -PF_ETORN; /* cannot be: nobody ends the turn of the living */
        if (holder && !part) {
            rc = pf__turn_wait(r, &h->turn[1], holder, deadline);
        } else {
            if (part && writer != part->writer) /* it gave up: read before the ring was seen to be empty */
                return -PF_ETORN;
            rc = deadline == PF_TRY ? -EAGAIN : part ? await(r, deadline) : pf_ring_wait(r, deadline);
            if (part && (rc == -EINTR || rc == -ETIMEDOUT) && pf__turn_bury(r, &h->turn[0], part->writer))
                continue; /* it died; all that it sent is seen before that is said */
        }
        if (rc < 0)
            return rc;
    }
}

#define THROWN_MOST 65536 /* parts, by one call: more than a window holds; a liar's may have no end */

int pf_ring_get_many(struct pf_ring *r, struct pf_box *boxes, unsigned max, int64_t deadline, bool *settle)
{
    struct header *h = r->h;
    pf__refresh(r);
    if (settle)
        *settle = false;
    struct view old, v;
    int rc;
    unsigned k = 0, thrown = 0;
    bool last;
    do {
        rc = enter_get(r, NULL, deadline, &old);
        if (rc < 0)
            return rc;
        uint64_t crossed = 0;
        v = old;
        while (k < max && v.count != r->seen.count) {
            struct view before = v;
            rc = receive(r, &v, NULL, &boxes[k]);
            if (rc < 0)
                break;
            PF_POINT("get.copied");
            if (v.pos < before.pos)
                crossed = before.pos;
            if (rc == FIRST) {
                pf__store(&h->turn[1].holder, boxes[k].reader);
                PF_POINT("get.turn");
            }
            k++;
            if (crossed || rc != MESSAGE) /* one stretch at a time: what lies before is given back first */
                break;
        }
        if (k > 0 && r->claim)
            pf__claim(r, old.count, &boxes[0]);
        if (k > 0)
            commit_read(r, old, v, crossed);
        last = k > 0 && v.count == r->seen.count;
        pf_mutex_unlock(&h->cons.lock);
        if (rc == PART) { /* of a message whose reader died, or gave up */
            throw_away(r, &boxes[--k]);
            if (++thrown == THROWN_MOST)
                rc = deadline == PF_TRY ? -EAGAIN : deadline <= pf_now() ? -ETIMEDOUT : -EINTR;
        }
    } while (k == 0 && rc >= 0);
    if (settle && last && pf__load(&h->armed) && pf__load(&h->rung))
        *settle = true;
    return k > 0 ? (int)k : rc;
}

int pf_ring_get_part(struct pf_ring *r, const struct pf_box *message, struct pf_box *box, int64_t deadline)
{
    struct header *h = r->h;
    pf__refresh(r);
    if (!pf__turn_ours(r, message->reader))
        return -PF_ETORN;
    struct view old;
    int rc = enter_get(r, message, deadline, &old);
    if (rc < 0)
        return rc;
    struct view v = old;
    rc = receive(r, &v, message, box);
    if (rc >= 0) {
        PF_POINT("get.part");
        commit_read(r, old, v, v.pos < old.pos ? old.pos : 0);
    }
    bool last = rc >= 0 && v.count == r->seen.count;
    pf_mutex_unlock(&h->cons.lock);
    return rc < 0 ? rc : last && pf__load(&h->armed) && pf__load(&h->rung);
}

int pf_ring_get(struct pf_ring *r, struct pf_box *box, int64_t deadline)
{
    bool settle;
    int rc = pf_ring_get_many(r, box, 1, deadline, &settle);
    return rc < 0 ? rc : settle;
}

uint64_t pf_ring_size(struct pf_ring *r)
{
    /* Consumers first: a put between makes it one more than it was, never negative. */
    uint64_t got = pf__view(&r->h->cons).count, put = pf__view(&r->h->prod).count;
    uint64_t size = put - got;
    return r->maxsize && size > r->maxsize ? r->maxsize : size;
}

uint64_t pf_ring_maxsize(const struct pf_ring *r)
{
    return r->maxsize;
}

int pf_ring_arm(struct pf_ring *r)
{
    struct header *h = r->h;
    pf__refresh(r);
    if (r->window)
        return pf__link_arm(r);
    if (pf__load(&h->armed))
        return 0;
    int rc = pf__lock_side(r, &h->prod, pf_deadline(PF_SECOND)), rung = 0;
    /* Rung first: a kill between leaves it early. Without the lock (a stopped process has it) in any case, and
     * not noted: that process may be about to reset it. */
    if (rc < 0 || !pf__empty(h)) {
        rung = pf_bell_ring(&r->bell);
        PF_POINT("arm.rung");
        if (rc == 0 && rung == 0)
            pf__put(&h->rung, 1);
    }
    if (rung == 0)
        pf__store(&h->armed, 1);
    PF_POINT("arm.armed");
    if (rc == 0)
        pf_mutex_unlock(&h->prod.lock);
    return rung;
}

int pf_ring_settle(struct pf_ring *r)
{
    struct header *h = r->h;
    pf__refresh(r);
    if (!pf__load(&h->armed))
        return 0;
    int rc = pf__lock_side(r, &h->prod, PF_NOWAIT);
    if (rc < 0)
        return rc;
    if (pf__empty(h))
        rc = pf__bell_off(r);
    pf_mutex_unlock(&h->prod.lock);
    return rc;
}

int pf_ring_done(struct pf_ring *r)
{
    struct header *h = r->h;
    uint64_t done = pf__load(&h->done), put;
    do {
        put = pf__view(&h->prod).count;
        if (done >= put)
            return -EINVAL;
    } while (!atomic_compare_exchange_weak(&h->done, &done, done + 1));
    PF_POINT("done.counted");
    if (done + 1 != put)
        return 0;
    uint32_t w = pf__load(&h->done_word);
    while (!(w & 255)) {
        if (atomic_compare_exchange_weak(&h->done_word, &w, w + 256))
            return 0;
    }
    if (pf_futex_add_wake(&h->done_word, 8, INT_MAX) == -ENOSYS) {
        atomic_fetch_add(&h->done_word, 256);
        pf_futex_wake(&h->done_word, INT_MAX);
    }
    PF_POINT("done.woken");
    return 0;
}

int pf_ring_join(struct pf_ring *r, int64_t deadline)
{
    struct header *h = r->h;
    for (;;) {
        uint32_t w = pf__load(&h->done_word);
        if (pf__load(&h->done) == pf__view(&h->prod).count)
            return 0;
        if (deadline <= PF_NOWAIT || (deadline != PF_FOREVER && deadline <= pf_now()))
            return -ETIMEDOUT;
        int rc = pf__sleep_on(&h->done_word, w, deadline, LOOK);
        if (rc < 0)
            return rc;
    }
}

void pf_ring_stats(struct pf_ring *r, struct pf_ring_stats *s)
{
    struct header *h = r->h;
    s->got = pf__view(&h->cons).count;
    s->put = pf__view(&h->prod).count;
    s->done = pf__load(&h->done);
    s->ring_bytes = pf__peek(&h->alloc);
    s->block_bytes = pf__block_bytes(h, false);
    s->lent_bytes = s->block_bytes - pf__block_bytes(h, true);
    s->producer = pf_mutex_owner(&h->prod.lock);
    s->consumer = pf_mutex_owner(&h->cons.lock);
}

int pf__ring_open(struct pf_ring **out, int fd, uint64_t base, struct pf_bell bell)
{
    struct pf_ring *r = calloc(1, sizeof *r);
    if (!r)
        return -ENOMEM;
    void *addr;
    int rc = pf_shm_map(fd, base, ZONE + NEAR, &addr);
    if (rc < 0) {
        free(r);
        return rc;
    }
    r->near = addr;
    r->h = addr;
    r->fd = fd;
    r->base = base;
    r->bell = bell;
    r->peer = &r->own;
    atomic_init(&r->spin[0], SPIN_MAX / 2);
    atomic_init(&r->spin[1], SPIN_MAX / 2);
    *out = r;
    return 0;
}

/* All but the descriptors. */
void pf__ring_release(struct pf_ring *r)
{
    for (uint32_t i = 0; i < BLOCKS; i++) {
        void *addr = pf__peek(&r->map[i].addr);
        if (addr)
            pf_shm_unmap(addr, pf__peek(&r->map[i].size));
    }
    if (r->own.slots)
        pf_peer_drop(&r->own);
    for (int side = 0; side < 2; side++) {
        if (r->far[side].addr)
            pf_shm_unmap(r->far[side].addr, r->far[side].size);
    }
    pf_shm_unmap(r->near, ZONE + NEAR);
    free(r);
}

/* What the handle keeps of the header, and the peer: of `first`, where that is a ring of the same segment. */
void pf__ring_settle_in(struct pf_ring *r, struct pf_ring *first)
{
    r->zone = r->h->zone;
    r->blocks_max = r->h->blocks_max;
    r->maxsize = r->h->maxsize;
    r->window = r->h->window;
    if (r->window > r->zone / 4)
        r->window = r->zone / 4;
    if (first)
        r->peer = first->peer;
    else
        pf_peer_init(&r->own, r->h->slots, SLOTS, r->fd, r->h->pid_namespace);
}

int pf__ring_segment(unsigned rings, uint64_t *zone, uint64_t *blocks_max, uint64_t *span)
{
    *zone = ZONE_MAX;
    *blocks_max = BLOCKS_MAX;
    *span = BLOCKS_AT + BLOCKS_MAX;
    int fd = pf_shm_create(rings * *span);
    /* A limit on file sizes, or a platform whose segments are not sparse: a smaller file, without blocks. */
    for (uint64_t size = ZONE_MAX; (fd == -EFBIG || fd == -EINVAL || fd == -ENOMEM) && size >= ZONE_MIN; size /= 2) {
        *zone = size;
        *blocks_max = 0;
        *span = ZONE + size;
        fd = pf_shm_create(rings * *span);
    }
    return fd;
}

int pf__ring_format(struct pf_ring *r, uint64_t zone, uint64_t blocks_max)
{
    int rc = pf_shm_reserve(r->fd, r->base, sizeof(struct header) < PAGE ? PAGE : 2 * PAGE);
    if (rc < 0)
        return rc;
    struct header *h = r->h;
    h->layout = LAYOUT;
    h->header_size = sizeof *h;
    h->zone = zone;
    h->blocks_max = blocks_max;
    h->pid_namespace = pf_pid_namespace();
    pf__put(&h->prod.cpu, -1);
    pf__put(&h->cons.cpu, -1);
    h->magic = MAGIC;
    return 0;
}

/* Is this a ring that we can trust, in a file of that size? */
int pf__ring_check(const struct header *h, uint64_t base, uint64_t size)
{
    if (h->magic != MAGIC)
        return -PF_ECORRUPT;
    if (h->layout != LAYOUT || h->header_size != sizeof *h)
        return -PF_EVERSION;
    if (h->zone < ZONE_MIN || h->zone > ZONE_MAX || base + ZONE + h->zone > size || h->blocks_max > BLOCKS_MAX ||
        (h->blocks_max && base + BLOCKS_AT + h->blocks_max > size))
        return -PF_ECORRUPT;
    return 0;
}

int64_t pf__ring_file_size(int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    if (size < 0)
        return -errno;
    return (uint64_t)size < ZONE + ZONE_MIN ? -PF_ECORRUPT : size;
}

int pf_ring_create(struct pf_ring **out, uint64_t maxsize, uint64_t max_bytes)
{
    uint64_t zone, blocks_max, span;
    int fd = pf__ring_segment(1, &zone, &blocks_max, &span);
    if (fd < 0)
        return fd;
    struct pf_bell bell;
    int rc = pf_bell_open(&bell);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    struct pf_ring *r;
    rc = pf__ring_open(&r, fd, 0, bell);
    if (rc < 0) {
        pf_bell_close(&bell);
        close(fd);
        return rc;
    }
    rc = pf__ring_format(r, zone, blocks_max);
    if (rc < 0) {
        pf_ring_close(r);
        return rc;
    }
    r->h->maxsize = maxsize;
    atomic_init(&r->h->ceiling, max_bytes);
    pf__ring_settle_in(r, NULL);
    *out = r;
    return 0;
}

int pf_ring_attach(struct pf_ring **out, int fd, struct pf_bell bell)
{
    struct pf_ring *r;
    int64_t size = pf__ring_file_size(fd);
    if (size < 0)
        return (int)size;
    int rc = pf__ring_open(&r, fd, 0, bell);
    if (rc < 0)
        return rc;
    rc = pf__ring_check(r->h, 0, (uint64_t)size);
    if (rc == 0 && r->h->window)
        rc = -PF_ECORRUPT;
    if (rc < 0) {
        pf__ring_release(r);
        return rc;
    }
    pf__ring_settle_in(r, NULL);
    *out = r;
    return 0;
}

void pf_ring_close(struct pf_ring *r)
{
    int fd = r->fd;
    struct pf_bell bell = r->bell;
    pf__ring_release(r);
    pf_bell_close(&bell);
    close(fd);
}

int pf_ring_fd(const struct pf_ring *r)
{
    return r->fd;
}

struct pf_bell pf_ring_bell(const struct pf_ring *r)
{
    return r->bell;
}
