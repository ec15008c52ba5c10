#include "procfast/ring.h"

#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "atomic.h"
#include "os.h"
#include "point.h"
#include "procfast/clock.h"
#include "procfast/error.h"
#include "procfast/futex.h"
#include "procfast/link.h"
#include "procfast/mutex.h"
#include "procfast/shm.h"
#include "procfast/wire.h"

/* ---- layout ---------------------------------------------------------------------------------------- */

#define MAGIC UINT64_C(0x31676e6972666670) /* "pffring1" */
#define LAYOUT 2
#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define TIB (MIB * MIB)
#define PAGE UINT64_C(4096)

#define ZONE (64 * KIB)     /* file offset of the ring zone */
#define ZONE_MAX TIB        /* its size: a position fits 41 bits */
#define BLOCKS_AT (2 * TIB) /* file offset of the block zone */
#define BLOCKS_MAX (64 * TIB)
#define ZONE_MIN (64 * KIB) /* where files may not be larger */
#define NEAR (8 * MIB)      /* mapped from the start, by everybody */
#define SOFT (1 * MIB)      /* where a writer goes back to the front if it can: fits a second-level cache */
#define KEEP (16 * MIB)     /* touched ring memory that is not given back */
#define KEEP_BLOCKS (32 * MIB) /* the same, of free blocks */
#define FREE_CEILING (64 * MIB) /* below it nobody asks what memory is left */
#define LOOK PF_SECOND      /* how long a sleeper trusts in being woken */
#define GRACE (PF_SECOND / 20) /* at least so long for the lock itself: its holder may just be off its CPU */

#define BLOCKS 512
#define BLOCK_MIN (64 * KIB)
#define NOBODY PF_NO_SLOT /* answers for a block when no slot is to be had: never swept */

struct record { /* what a commit makes current */
    _Atomic uint64_t place; /* position in the ring zone: where this side goes on | bytes since creation, in UNITs */
    _Atomic uint64_t count; /* messages since creation */
    _Atomic uint64_t extra; /* producers: the extent (below); consumers: everything before it may be reused */
};

/* The word: generation << 8 | sleepers. The low byte counts announcements of sleep since it was 0 (255
 * goes on at 2): 0 means that nobody sleeps, 1 that only one ever announced it, more is no number. */
struct side {
    _Alignas(64) struct pf_mutex lock;
    _Alignas(64) _Atomic uint32_t word;
    _Atomic int32_t cpu; /* where the last commit was made */
    struct record rec[2];
};

#define POS_BITS 41
#define POS(place) ((place) & ((UINT64_C(1) << POS_BITS) - 1))
#define UNIT 64
#define UNITS(bytes) (((bytes) + UNIT - 1) / UNIT)
#define UNITS_MASK ((UINT64_C(1) << (64 - POS_BITS)) - 1)
_Static_assert((UINT64_C(1) << POS_BITS) > ZONE_MAX, "a position fits");

/* Whose message of several parts is under way on this side: 0, or serial << 32 | tenancy + 1. */
struct turn {
    _Atomic uint64_t holder;
    _Atomic uint32_t ended, waiters; /* a futex; how many may sleep on it: never fewer than do */
};

enum state { EMPTY, FREE, FILL, FLIGHT, HELD };

struct block { /* state: enum state | tenancy of the slot (peer.h) << 8 */
    _Alignas(64) _Atomic uint64_t state;
    _Atomic uint64_t seq; /* FLIGHT, HELD: which message it belongs to */
    _Atomic uint64_t at;  /* offset in the block zone */
    _Atomic uint64_t cap; /* power of two; 0: not made yet */
    _Atomic uint64_t touched; /* bytes with memory behind them, from the front */
};

struct header {
    uint64_t magic;
    uint32_t layout, header_size;
    uint64_t maxsize, zone, blocks_max, pid_namespace;
    uint64_t window; /* linked rings: bytes that may be unread before a put waits; else 0 */
    _Atomic uint64_t ceiling; /* max_bytes; 0: not asked for yet */
    struct turn turn[2];      /* linked rings, by side */
    _Atomic uint32_t serial;  /* of the last turn */
    _Atomic uint32_t hangups; /* linked rings: how many readers have closed */
    _Atomic uint32_t exposed; /* linked rings: the user has the descriptors, and may use them himself */
    struct side prod, cons;
    /* written by producers under their lock; each may be behind the truth after a kill, never ahead */
    _Alignas(64) _Atomic uint64_t alloc; /* the ring zone has memory up to here, but for what was punched */
    _Atomic uint64_t top;                /* end of the extent that was left at the last return to the front */
    _Atomic uint32_t rung;               /* the bell was rung and not reset since */
    _Alignas(64) _Atomic uint32_t armed; /* somebody selects on the bell: sticky */
    _Alignas(64) _Atomic uint64_t done;  /* pf_ring_done calls */
    _Atomic uint32_t done_word;          /* like a side's word */
    _Alignas(64) _Atomic uint64_t blocks_end;
    _Atomic uint32_t nblocks; /* in use: [0, nblocks) */
    struct block blocks[BLOCKS];
    struct pf_slots slots;
};
_Static_assert(sizeof(struct header) <= ZONE, "the header fits before the ring zone");
_Static_assert(sizeof(struct side) == 128, "a lock's line and a commit's line");
_Static_assert(sizeof(struct pf_ref) == 16, "references are stored as they are");

/* The producers' extent: where the newest stretch [base, tail) began, which return to the front it is (so a
 * cached limit can be told from an older one), and whether the writer runs behind the reader:
 *   straight: the reader is in [base, tail), or still in an older stretch that ends in a jump to base;
 *   wrapped:  base is 0, and the reader is in the old stretch, above tail, or in the new one, below. */
#define EXT_BASE(e) ((e) & ((UINT64_C(1) << 41) - 1))
#define EXT_WRAPPED (UINT64_C(1) << 41)
#define EXT_TURN (UINT64_C(1) << 42)
#define EXT_TURNS(e) ((e) & ~(EXT_TURN - 1))

/* Before each message: len << 16 | nrefs << 8 | kind. FIRST and PART are parts of one long message, and begin
 * with its writer's turn, 8 bytes of len. */
enum kind { MESSAGE = 0x51, FIRST = 0x46, PART = 0x50, JUMP = 0x4a };
#define HEAD(kind, nrefs, len) ((uint64_t)(len) << 16 | (uint64_t)(nrefs) << 8 | (kind))
#define JUMP_SIZE 16

struct view { /* one record, read whole */
    uint64_t pos, count, extra;
    uint64_t units; /* modulo UNITS_MASK + 1 */
};

struct pf_ring { /* process-local; what changes is guarded by the side's lock, or atomic */
    struct header *h;
    char *near;
    int fd;
    uint64_t base; /* file offset of the header */
    struct pf_bell bell; /* linked rings: the two ends of the wire, as far as this process has them */
    struct pf_peer own, *peer; /* the rings of a link have one peer */
    uint64_t window;
    struct { /* linked rings, producers: what is known of the readers. Guesses: racing threads ask once more */
        _Atomic int64_t asked;
        _Atomic uint64_t bytes;
        _Atomic uint32_t hangups;
    } reader;
    uint64_t mine, taken; /* linked rings, producers under their lock: so many units were read at least, if the
                           * last message was this process's */
    struct { void *addr; size_t size; } far[2]; /* whole-zone mappings, by side: 0 producers, 1 consumers */
    uint64_t zone, blocks_max, maxsize; /* checked once; the header's could be overwritten */
    uint64_t epoch[2];                          /* by side: where far, limit, seen were filled in */
    uint64_t limit_ext, limit;                  /* producers: the reader was at least here in that extent */
    struct view seen;                           /* consumers: the producers' last record read */
    _Atomic int64_t spin[2];                    /* how long waiting by spinning has been paying, ns */
    _Atomic uint32_t idle[3], impatience;
    struct { _Atomic(void *) addr; _Atomic uint64_t size; } map[BLOCKS];
};

/* ---- records --------------------------------------------------------------------------------------- */

static struct view view(struct side *s)
{
    for (;;) {
        uint32_t w = pf__load(&s->word);
        struct record *rec = &s->rec[w >> 8 & 1];
        uint64_t place = pf__peek(&rec->place);
        struct view v = {POS(place), pf__peek(&rec->count), pf__peek(&rec->extra), place >> POS_BITS};
        atomic_thread_fence(memory_order_acquire);
        /* The next commit but one writes into this record, so the generation must not have moved. */
        if (pf__peek(&s->word) >> 8 == w >> 8)
            return v;
    }
}

/* Nobody asleep: one compare-and-swap. Else publish and wake in one kernel call, or with wake 0 leave the
 * sleepers to a later commit. */
static void commit(struct side *s, struct view v, int wake)
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

/* Sleeps until the word moves on from w, which the caller found wanting. 0, -ETIMEDOUT or -EINTR. */
static int sleep_on(_Atomic uint32_t *word, uint32_t w, int64_t deadline, int64_t look)
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

/* Spinning pays where the peer is about to commit on another CPU; elsewhere it steals the peer's time. */
#define SPIN_MAX INT64_C(50000)
#define SPIN_MIN INT64_C(500)

static bool spin_on(struct pf_ring *r, int side, struct side *s, uint32_t w, int64_t deadline)
{
    int cpu = pf__cpu();
    int64_t budget = pf__peek(&r->spin[side]);
    if (cpu < 0 || cpu == pf__peek(&s->cpu))
        return false;
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

/* First in every operation. In a child: what another thread of the parent may have been writing at the
 * fork can't be trusted; forgotten mappings cost addresses only. */
static bool refresh(struct pf_ring *r)
{
    return pf_peer_refresh(r->peer);
}

/* The same for what a side's lock guards, once that is held. */
static void refresh_side(struct pf_ring *r, int side)
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

/* ---- mappings -------------------------------------------------------------------------------------- */

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

static void *block_at(struct pf_ring *r, uint32_t i)
{
    void *addr = pf__load(&r->map[i].addr);
    if (addr)
        return addr;
    uint64_t cap = pf__load(&r->h->blocks[i].cap), off = pf__peek(&r->h->blocks[i].at);
    if (!cap || cap > r->blocks_max || off > r->blocks_max - cap || off % PAGE || cap % PAGE)
        return NULL;
    void *mine;
    if (pf_shm_map(r->fd, r->base + BLOCKS_AT + off, cap, &mine) < 0)
        return NULL;
    pf__put(&r->map[i].size, cap); /* a block's size never changes: racing threads write the same */
    if (atomic_compare_exchange_strong(&r->map[i].addr, &addr, mine))
        return mine;
    pf_shm_unmap(mine, cap);
    return addr;
}

/* ---- memory ---------------------------------------------------------------------------------------- */

static uint64_t block_bytes(struct header *h, bool only_free)
{
    uint64_t sum = 0;
    uint32_t n = pf__load(&h->nblocks);
    for (uint32_t i = 0; i < n && i < BLOCKS; i++) {
        uint64_t state = pf__peek(&h->blocks[i].state) & 255;
        if (state == FREE || (!only_free && state != EMPTY))
            sum += pf__peek(&h->blocks[i].touched);
    }
    return sum;
}

static void sweep(struct pf_ring *r, uint64_t mine);

/* Punches out all free blocks, those of the dead too; how many bytes that were. */
static uint64_t give_back(struct pf_ring *r)
{
    struct header *h = r->h;
    uint64_t sum = 0;
    uint32_t n = pf__load(&h->nblocks);
    int slot = pf_peer_slot(r->peer);
    if (slot >= 0)
        sweep(r, FILL | (uint64_t)(uint32_t)slot << 8);
    for (uint32_t i = 0; i < n && i < BLOCKS && slot >= 0; i++) {
        struct block *b = &h->blocks[i];
        uint64_t state = FREE, touched = pf__peek(&b->touched);
        if (!touched || !atomic_compare_exchange_strong(&b->state, &state, FILL | (uint64_t)(uint32_t)slot << 8))
            continue;
        pf__put(&b->touched, 0);
        pf_shm_punch(r->fd, r->base + BLOCKS_AT + pf__peek(&b->at), pf__peek(&b->cap));
        PF_POINT("give_back.punched");
        pf__store(&b->state, FREE);
        sum += touched;
    }
    return sum;
}

/* May the segment have `more` bytes? */
static int check_ceiling(struct pf_ring *r, uint64_t more)
{
    struct header *h = r->h;
    uint64_t ceiling = pf__peek(&h->ceiling), used = pf__peek(&h->alloc) + block_bytes(h, false);
    if (!ceiling) {
        if (used + more <= FREE_CEILING)
            return 0;
        uint64_t free = pf__memory_free(), none = 0;
        uint64_t half = free ? used + free / 2 : ZONE_MAX;
        ceiling = atomic_compare_exchange_strong(&h->ceiling, &none, half) ? half : none;
    }
    if (used + more <= ceiling)
        return 0;
    if (give_back(r) == 0) /* what is kept for reuse is no use now */
        return -PF_ETOOBIG;
    used = pf__peek(&h->alloc) + block_bytes(h, false);
    return used + more <= ceiling ? 0 : -PF_ETOOBIG;
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
    if (want > r->zone || check_ceiling(r, want - have) < 0)
        want = (end + PAGE - 1) & ~(PAGE - 1);
    int rc = check_ceiling(r, want - have);
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

/* ---- producers ------------------------------------------------------------------------------------- */

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
    p->jump_at = NO_JUMP;
    if (tail > r->zone - JUMP_SIZE || tail % 8)
        return -PF_ECORRUPT;
    if (v.extra & EXT_WRAPPED) {
        if (r->limit_ext != v.extra || tail + after > r->limit) {
            uint64_t reader = view(&h->cons).extra;
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
        uint64_t reader = view(&h->cons).extra;
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

/* The last producer died inside: blocks that it gave to a message which was never committed are free. */
static void recover(struct pf_ring *r)
{
    struct header *h = r->h;
    uint64_t count = view(&h->prod).count;
    uint32_t n = pf__load(&h->nblocks);
    for (uint32_t i = 0; i < n && i < BLOCKS; i++) {
        uint64_t state = pf__load(&h->blocks[i].state);
        if (state == FLIGHT && pf__peek(&h->blocks[i].seq) >= count)
            atomic_compare_exchange_strong(&h->blocks[i].state, &state, FREE);
        PF_POINT("put.recover");
    }
}

static int lock_side(struct pf_ring *r, struct side *s, int64_t deadline)
{
    if (deadline == PF_TRY)
        return pf_mutex_trylock(&s->lock, r->peer) == 0 ? 0 : -EAGAIN;
    int64_t grace = deadline == PF_FOREVER ? deadline : pf_deadline(GRACE);
    int rc = pf_mutex_lock(&s->lock, r->peer, deadline > grace ? deadline : grace);
    if (rc != -PF_EOWNERDEAD)
        return rc;
    PF_POINT("lock.dead");
    if (s == &r->h->prod)
        recover(r);
    return 0;
}

/* The bell rings before the commit: a kill between leaves it early, never late. That of a linked ring is rung
 * while there is a message, asked for or not, and stays so until a reader wants to sleep: it is how readers are
 * woken, and it can't be rung later from the reader's side. */
static int ring_bell(struct pf_ring *r)
{
    struct header *h = r->h;
    int rc;
    if (pf__peek(&h->rung))
        return 0;
    if (r->window) {
        rc = pf_wire_ring(r->bell.ring_fd);
        if (rc < 0)
            return rc;
    } else {
        if (!pf__load(&h->armed))
            return 0;
        pf_bell_ring(&r->bell);
    }
    PF_POINT("bell.rung");
    pf__put(&h->rung, 1);
    return 0;
}

static int silence_bell(struct pf_ring *r)
{
    pf__put(&r->h->rung, 0); /* first: the other way round a kill between would silence it for ever */
    PF_POINT("settle.quiet");
    return r->window ? pf_wire_reset(r->bell.wait_fd, pf__load(&r->h->exposed)) : pf_bell_reset(&r->bell);
}

/* ---- the ends of a linked ring --------------------------------------------------------------------- */

#define ASK_EVERY (PF_SECOND / 20) /* a dead reader is noticed after so long, */
#define ASK_BYTES (256 * KIB)      /* or so many bytes; one that has closed, at once */

/* Before a put: -EPIPE where nobody is left to read. */
static int check_reader(struct pf_ring *r, uint64_t bytes)
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
static int take_turn(struct pf_ring *r, uint64_t *turn)
{
    int tenancy = pf_peer_slot(r->peer);
    if (tenancy < 0)
        return tenancy;
    *turn = (uint64_t)(atomic_fetch_add(&r->h->serial, 1) + 1) << 32 | ((uint32_t)tenancy + 1);
    return 0;
}

static void end_turn(struct turn *t, uint64_t turn)
{
    if (!turn || !atomic_compare_exchange_strong(&t->holder, &turn, 0))
        return;
    PF_POINT("turn.ended");
    atomic_fetch_add(&t->ended, 1);
    if (atomic_load(&t->waiters))
        pf_futex_wake(&t->ended, INT_MAX);
}

/* True where the holder is dead; then its turn is over. */
static bool bury_turn(struct pf_ring *r, struct turn *t, uint64_t turn)
{
    if (pf_peer_alive(r->peer, (uint32_t)turn - 1) != 0)
        return false;
    PF_POINT("turn.bury");
    end_turn(t, turn);
    return true;
}

static int wait_turn(struct pf_ring *r, struct turn *t, uint64_t turn, int64_t deadline)
{
    if (deadline == PF_TRY)
        return -EAGAIN;
    if (bury_turn(r, t, turn))
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

/* Waits for room in a ring that was full at the consumers' word w. */
static int wait_room(struct pf_ring *r, uint32_t w, bool spin, int64_t deadline)
{
    if (deadline == PF_TRY)
        return -EAGAIN;
    if (deadline <= pf_now())
        return -ETIMEDOUT;
    if (spin && spin_on(r, 0, &r->h->cons, w, deadline))
        return 0;
    return sleep_on(&r->h->cons.word, w, deadline, r->window ? LOOK / 2 : LOOK);
}

/* May a linked ring take so many units more? A message always fits where nothing is unread. */
static bool fits(struct pf_ring *r, struct view v, uint64_t units)
{
    uint64_t window = r->window / UNIT;
    if (r->mine == v.count && ((v.units - r->taken) & UNITS_MASK) + units <= window)
        return true;
    struct view c = view(&r->h->cons);
    r->taken = c.units;
    return c.count == v.count || ((v.units - c.units) & UNITS_MASK) + units <= window;
}

/* Locks the producers' side with room for at least one message; how much room in *room. `units` and `turn` are
 * a linked ring's: the size of the message, and the turn that it is a part of, or 0. */
static int enter(struct pf_ring *r, uint64_t units, uint64_t turn, int64_t deadline, struct view *v, uint64_t *room)
{
    struct header *h = r->h;
    for (;;) {
        int rc = lock_side(r, &h->prod, deadline);
        if (rc < 0)
            return rc;
        PF_POINT("put.locked");
        refresh_side(r, 0);
        *v = view(&h->prod);
        *room = UINT64_MAX;
        if (!r->maxsize && !r->window)
            return 0;
        uint64_t holder = pf__load(&h->turn[0].holder);
        if (holder && holder != turn) {
            pf_mutex_unlock(&h->prod.lock);
            rc = wait_turn(r, &h->turn[0], holder, deadline);
            if (rc < 0)
                return rc;
            continue;
        }
        uint32_t w = pf__load(&h->cons.word);
        if (r->window) {
            if (fits(r, *v, units))
                return 0;
        } else {
            uint64_t inside = v->count - view(&h->cons).count;
            if (inside < r->maxsize) {
                *room = r->maxsize - inside;
                return 0;
            }
        }
        pf_mutex_unlock(&h->prod.lock);
        /* A reader with many small messages before it wakes us when half of them are gone. */
        rc = check_reader(r, 0); /* who closes from now on changes the word */
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
    refresh(r);
    uint64_t len = turn ? sizeof turn : 0, bytes = 0, room;
    for (unsigned i = 0; i < n; i++)
        len += iov[i].len;
    if (nrefs > PF_MAX_REFS || len > ZONE_MAX / 8)
        return -EMSGSIZE;
    uint64_t need = (8 + nrefs * sizeof(struct pf_ref) + len + 7) & ~UINT64_C(7);
    for (unsigned i = 0; i < nrefs; i++)
        bytes += refs[i].len;
    uint64_t units = UNITS(need + bytes);
    struct view v;
    int rc = check_reader(r, need + bytes);
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
        rc = ring_bell(r);
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
        commit(&h->prod, p.v, 1);
    }
    pf_mutex_unlock(&h->prod.lock);
    return rc;
}

int pf_ring_put(struct pf_ring *r, const struct pf_iov *iov, unsigned n, const struct pf_loan *refs,
                unsigned nrefs, int64_t deadline)
{
    return put(r, MESSAGE, 0, iov, n, refs, nrefs, deadline);
}

int pf_ring_begin(struct pf_ring *r, uint64_t *turn)
{
    refresh(r);
    return r->window ? take_turn(r, turn) : -ENOTSUP;
}

int pf_ring_put_first(struct pf_ring *r, uint64_t turn, const struct pf_iov *iov, unsigned n,
                      const struct pf_loan *refs, unsigned nrefs, int64_t deadline)
{
    return put(r, FIRST, turn, iov, n, refs, nrefs, deadline);
}

int pf_ring_put_part(struct pf_ring *r, uint64_t turn, const struct pf_iov *iov, unsigned n,
                     const struct pf_loan *refs, unsigned nrefs, int64_t deadline)
{
    return put(r, PART, turn, iov, n, refs, nrefs, deadline);
}

void pf_ring_end(struct pf_ring *r, uint64_t turn, bool whole)
{
    refresh(r);
    int rc = whole ? -EAGAIN : lock_side(r, &r->h->prod, pf_deadline(PF_SECOND));
    if (rc == 0)
        ring_bell(r); /* its reader may be asleep: it shall see that no more comes */
    end_turn(&r->h->turn[0], turn);
    if (rc == 0)
        pf_mutex_unlock(&r->h->prod.lock);
}

int pf_ring_put_many(struct pf_ring *r, const char *data, const uint64_t *off, unsigned n, int64_t deadline)
{
    struct header *h = r->h;
    refresh(r);
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
        rc = place(r, next, need, &p);
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
        ring_bell(r);
        next.count = v.count + k;
        commit(&h->prod, next, k > 1000 ? 1000 : (int)k);
    }
    pf_mutex_unlock(&h->prod.lock);
    return k > 0 ? (int)k : rc;
}

/* ---- consumers ------------------------------------------------------------------------------------- */

static bool empty(struct header *h)
{
    return view(&h->prod).count == view(&h->cons).count;
}

/* Sleeps on the wire until it is rung: 0 look again, -EPIPE no writer is left and the ring is empty,
 * -ETIMEDOUT, -EINTR. */
static int sleep_on_wire(struct pf_ring *r, int64_t deadline)
{
    struct header *h = r->h;
    int rc = 0;
    if (!pf__load(&h->rung)) {
        PF_POINT("wire.sleep");
        rc = pf_wire_wait(r->bell.wait_fd, true, pf_slice(deadline, LOOK));
        PF_POINT("wire.woken");
        if (rc == -EPIPE)
            return empty(h) ? -EPIPE : 0; /* all that it sent came before it was gone */
        if (rc == -ETIMEDOUT)
            return deadline <= pf_now() ? -ETIMEDOUT : -EINTR;
        if (rc < 0)
            return rc;
        /* The ring comes first, the message a moment after: the producer may need this very CPU for it. */
        for (int i = 0; i < 3 && empty(h) && pf_mutex_owner(&h->prod.lock); i++)
            sched_yield();
        if (pf__load(&h->rung) || !empty(h))
            return 0;
    }
    /* Rung for what is gone, or for what is about to come: then the producer has the lock. */
    rc = lock_side(r, &h->prod, deadline);
    if (rc < 0)
        return rc;
    bool noted = pf__peek(&h->rung), none = empty(h);
    if (none)
        silence_bell(r);
    pf_mutex_unlock(&h->prod.lock);
    if (noted || !none || pf_wire_wait(r->bell.wait_fd, true, PF_NOWAIT) != 1)
        return 0;
    /* What still lies there is the user's own, and would hide a ring. */
    rc = pf_wire_wait(r->bell.wait_fd, false, pf_slice(deadline, PF_SECOND / 200));
    if (rc == -EPIPE)
        return empty(h) ? -EPIPE : 0;
    return rc == -ETIMEDOUT ? deadline <= pf_now() ? -ETIMEDOUT : -EINTR : rc;
}

/* 0: there is a message, or something else happened: look again. */
static int await(struct pf_ring *r, int64_t deadline)
{
    struct header *h = r->h;
    uint32_t w = pf__load(&h->prod.word);
    if (!empty(h))
        return 0;
    if (deadline <= PF_NOWAIT || (deadline != PF_FOREVER && deadline <= pf_now())) {
        int rc = r->window ? pf_wire_look(r->bell.wait_fd) : 0;
        return rc == 0 ? -ETIMEDOUT : rc == -EPIPE && !empty(h) ? 0 : rc;
    }
    if (spin_on(r, 1, &h->prod, w, deadline))
        return 0;
    return r->window ? sleep_on_wire(r, deadline) : sleep_on(&h->prod.word, w, deadline, LOOK);
}

int pf_ring_wait(struct pf_ring *r, int64_t deadline)
{
    int rc;
    refresh(r);
    do
        rc = await(r, deadline);
    while (rc == 0 && empty(r->h));
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
        void *base = block_at(r, ref.block);
        if (!base)
            return -ENOMEM;
        if (ref.len > pf__peek(&r->map[ref.block].size))
            return -PF_ECORRUPT;
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
    if (kind == FIRST && (rc = take_turn(r, &box->reader)) < 0)
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
        commit(s, v, wake);
        return;
    }
    uint64_t from = old.extra, to = crossed ? crossed : v.pos;
    if (!crossed && !empty && to - from < PUNCH_STEP) {
        v.extra = from; /* gather more first */
        commit(s, v, wake);
        return;
    }
    struct view first = v;
    first.extra = from;
    commit(s, first, wake);
    PF_POINT("get.committed");
    punch(r, from, to);
    commit(s, v, 1);
}

/* Locks the consumers' side with a message there, and nobody else in the middle of one of several parts.
 * `part`: the box that the caller's own has come to so far, or NULL. */
static int enter_get(struct pf_ring *r, const struct pf_box *part, int64_t deadline, struct view *old)
{
    struct header *h = r->h;
    for (;;) {
        int rc = lock_side(r, &h->cons, deadline);
        if (rc < 0)
            return rc;
        PF_POINT("get.locked");
        refresh_side(r, 1);
        *old = view(&h->cons);
        uint64_t holder = r->window ? pf__load(&h->turn[1].holder) : 0, writer = pf__load(&h->turn[0].holder);
        /* Counts only grow: while the record seen last is ahead of us, there is something. */
        if ((int64_t)(r->seen.count - old->count) <= 0)
            r->seen = view(&h->prod);
        if (r->seen.count != old->count && (!holder || (part && holder == part->reader)))
            return 0;
        pf_mutex_unlock(&h->cons.lock);
        if (part && holder != part->reader)
            return -PF_ETORN; /* cannot be: nobody ends the turn of the living */
        if (holder && !part) {
            rc = wait_turn(r, &h->turn[1], holder, deadline);
        } else {
            if (part && writer != part->writer) /* it gave up: read before the ring was seen to be empty */
                return -PF_ETORN;
            rc = deadline == PF_TRY ? -EAGAIN : part ? await(r, deadline) : pf_ring_wait(r, deadline);
            if (part && (rc == -EINTR || rc == -ETIMEDOUT) && bury_turn(r, &h->turn[0], part->writer))
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
    refresh(r);
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
    refresh(r);
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

void pf_ring_leave(struct pf_ring *r, uint64_t turn)
{
    refresh(r);
    end_turn(&r->h->turn[1], turn);
}

int pf_ring_get(struct pf_ring *r, struct pf_box *box, int64_t deadline)
{
    bool settle;
    int rc = pf_ring_get_many(r, box, 1, deadline, &settle);
    return rc < 0 ? rc : settle;
}

/* ---- blocks ---------------------------------------------------------------------------------------- */

/* What a dead process filled or held is free, but for a message that is still in the ring (it died after
 * naming itself and before its commit): the next taker finds that as it was. Anybody may sweep, and be
 * killed or stopped at it: a state names its holder's tenancy, which never comes again. */
static void sweep(struct pf_ring *r, uint64_t mine)
{
    struct header *h = r->h;
    uint32_t n = pf__load(&h->nblocks), dead = NOBODY;
    for (uint32_t i = 0; i < n && i < BLOCKS; i++) {
        struct block *b = &h->blocks[i];
        uint64_t state = pf__load(&b->state);
        uint32_t holder = (uint32_t)(state >> 8);
        if (((state & 255) != FILL && (state & 255) != HELD) || holder == NOBODY)
            continue;
        if (holder != dead && pf_peer_alive(r->peer, holder) != 0)
            continue;
        dead = holder;
        uint64_t to = pf__load(&b->cap) ? mine : EMPTY;
        if ((state & 255) == HELD && pf__peek(&b->seq) >= view(&h->cons).count)
            to = FLIGHT;
        bool ours = atomic_compare_exchange_strong(&b->state, &state, to) && to == mine;
        PF_POINT("sweep.block");
        if (ours) /* ours for a moment, so that no more memory is kept than after any return */
            pf_ring_return(r, &(struct pf_loan){i, NULL, 0});
    }
}

static uint64_t class_of(uint64_t len)
{
    uint64_t cap = BLOCK_MIN;
    while (cap < len)
        cap *= 2;
    return cap;
}

/* A free block of this size, the warmest first: memory that was touched is worth more than any order. */
static int find_free(struct header *h, uint64_t len, uint64_t cap, uint64_t fill)
{
    for (;;) {
        int best = -1;
        uint64_t best_touched = 0;
        uint32_t n = pf__load(&h->nblocks);
        for (uint32_t i = 0; i < n && i < BLOCKS; i++) {
            struct block *b = &h->blocks[i];
            if (pf__peek(&b->state) != FREE || pf__load(&b->cap) != cap)
                continue;
            uint64_t touched = pf__peek(&b->touched);
            if (best < 0 || touched > best_touched) {
                best = (int)i;
                best_touched = touched;
            }
            if (touched >= len)
                break;
        }
        if (best < 0)
            return -1;
        uint64_t state = FREE;
        if (atomic_compare_exchange_strong(&h->blocks[best].state, &state, fill))
            return best;
    }
}

/* A fresh page costs 2 us and more (allocated, zeroed, mapped), a recycled one a tenth of it. So a writer that is
 * ahead of its readers does best to give them about as long as fresh memory would take, to give blocks
 * back; it loses at most as much again, and less and less often where readers do not come. */
#define PIPELINE (4 * MIB) /* so much in flight is no backlog */
#define PATIENCE_MIN INT64_C(4000)
#define PATIENCE_MAX INT64_C(8000000)

static bool ahead(struct header *h, uint64_t cap)
{
    return block_bytes(h, false) - block_bytes(h, true) >= (2 * cap > PIPELINE ? 2 * cap : PIPELINE);
}

static void let_readers_catch_up(struct pf_ring *r, uint64_t len, uint64_t cap)
{
    if (!ahead(r->h, cap))
        return;
    int64_t full = (int64_t)(len / 2) < PATIENCE_MAX ? (int64_t)(len / 2) : PATIENCE_MAX;
    int64_t budget = full >> pf__peek(&r->impatience);
    if (budget < PATIENCE_MIN) { /* has not been paying: try again now and then */
        if (atomic_fetch_add_explicit(&r->idle[2], 1, memory_order_relaxed) & 63)
            return;
        budget = full;
    }
    int64_t end = pf_now() + budget;
    do {
        sched_yield(); /* a reader may need this very CPU */
        if (!ahead(r->h, cap)) {
            pf__put(&r->impatience, 0);
            return;
        }
    } while (pf_now() < end);
    if (pf__peek(&r->impatience) < 16)
        atomic_fetch_add_explicit(&r->impatience, 1, memory_order_relaxed);
}

static int make_block(struct pf_ring *r, uint64_t cap, uint64_t fill)
{
    struct header *h = r->h;
    for (uint32_t i = 0; i < BLOCKS; i++) {
        struct block *b = &h->blocks[i];
        uint64_t state = EMPTY;
        if (pf__peek(&b->state) != EMPTY)
            continue;
        uint32_t n = pf__load(&h->nblocks); /* first: sweeps must see what is claimed */
        while (n < i + 1 && !atomic_compare_exchange_weak(&h->nblocks, &n, i + 1))
            ;
        if (!atomic_compare_exchange_strong(&b->state, &state, fill))
            continue;
        PF_POINT("block.claimed");
        uint64_t off = atomic_fetch_add(&h->blocks_end, cap); /* a kill here costs addresses, no memory */
        if (off > r->blocks_max - cap) {
            pf__store(&b->state, EMPTY);
            return -ENOSPC;
        }
        pf__put(&b->at, off);
        pf__put(&b->touched, 0);
        PF_POINT("block.placed");
        pf__store(&b->cap, cap);
        return (int)i;
    }
    return -ENOSPC;
}

int pf_ring_block(struct pf_ring *r, uint64_t len, struct pf_loan *loan)
{
    struct header *h = r->h;
    refresh(r);
    if (!r->blocks_max || len > r->blocks_max / BLOCKS)
        return -ENOSPC;
    bool first = pf__peek(&r->peer->slot) == PF_NO_SLOT;
    int slot = pf_peer_slot(r->peer);
    if (slot < 0)
        return slot;
    uint64_t cap = class_of(len), fill = FILL | (uint64_t)(uint32_t)slot << 8;
    if (first)
        sweep(r, fill);
    let_readers_catch_up(r, len, cap);
    int i = find_free(h, len, cap, fill);
    if (i < 0) {
        sweep(r, fill);
        i = find_free(h, len, cap, fill);
    }
    if (i < 0)
        i = make_block(r, cap, fill);
    if (i < 0)
        return i;
    PF_POINT("block.mine");
    struct block *b = &h->blocks[i];
    uint64_t have = pf__peek(&b->touched), want = (len + PAGE - 1) & ~(PAGE - 1);
    int rc = have < want ? check_ceiling(r, want - have) : 0;
    while (rc == 0 && have < want) {
        uint64_t piece = want - have > 32 * MIB ? 32 * MIB : want - have;
        rc = pf_shm_reserve(r->fd, r->base + BLOCKS_AT + pf__peek(&b->at) + have, piece);
        PF_POINT("block.reserved");
        if (rc == 0)
            pf__put(&b->touched, have += piece);
    }
    void *base = rc == 0 ? block_at(r, (uint32_t)i) : NULL;
    *loan = (struct pf_loan){(uint32_t)i, base, len};
    if (base)
        return 0;
    pf_ring_return(r, loan);
    return rc < 0 ? rc : -ENOMEM;
}

void pf_ring_return(struct pf_ring *r, const struct pf_loan *loan)
{
    struct header *h = r->h;
    struct block *b = &h->blocks[loan->block];
    uint64_t touched = pf__peek(&b->touched);
    if (touched && block_bytes(h, true) + touched > KEEP_BLOCKS) {
        pf__put(&b->touched, 0); /* first: a kill between must not leave it claiming memory */
        PF_POINT("return.untouched");
        pf_shm_punch(r->fd, r->base + BLOCKS_AT + pf__peek(&b->at), pf__peek(&b->cap));
    }
    PF_POINT("return.punched");
    pf__store(&b->state, FREE);
}

int pf_ring_privatize(struct pf_ring *r, const struct pf_loan *loan)
{
    struct block *b = &r->h->blocks[loan->block];
    size_t cap = pf__peek(&r->map[loan->block].size);
    size_t size = (loan->len + PAGE - 1) & ~(size_t)(PAGE - 1);
    /* A private mapping of the same pages takes the place of the shared one in one step, and each page is
     * copied by a store to it: a store by another thread goes into the page before or after, never lost. */
    if (mmap(loan->base, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, r->fd,
             (off_t)(r->base + BLOCKS_AT + pf__peek(&b->at))) == MAP_FAILED)
        return -errno;
    pf__store(&r->map[loan->block].addr, NULL);
    if (cap > size)
        munmap((char *)loan->base + size, cap - size);
    for (size_t page = 0; page < size; page += PAGE) {
        _Atomic unsigned char *byte = (_Atomic unsigned char *)loan->base + page;
        unsigned char as_it_is = pf__peek(byte);
        atomic_compare_exchange_strong(byte, &as_it_is, as_it_is); /* if it fails, somebody stored */
    }
    pf_ring_return(r, loan);
    return 0;
}

/* ---- the rest -------------------------------------------------------------------------------------- */

uint64_t pf_ring_size(struct pf_ring *r)
{
    /* Consumers first: a put between makes it one more than it was, never negative. */
    uint64_t got = view(&r->h->cons).count, put = view(&r->h->prod).count;
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
    refresh(r);
    if (pf__load(&h->armed))
        return 0;
    int rc = lock_side(r, &h->prod, pf_deadline(PF_SECOND)), rung = 0;
    /* Rung first: a kill between leaves it early. Without the lock (a stopped process has it) in any case, and
     * not noted: that process may be about to reset it. */
    if (r->window) { /* it is rung already, maybe for what is gone */
        pf__store(&h->exposed, 1);
        if (rc == 0 && empty(h))
            silence_bell(r);
    } else if (rc < 0 || !empty(h)) {
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
    refresh(r);
    if (!pf__load(&h->armed))
        return 0;
    int rc = lock_side(r, &h->prod, PF_NOWAIT);
    if (rc < 0)
        return rc;
    if (empty(h))
        rc = silence_bell(r);
    pf_mutex_unlock(&h->prod.lock);
    return rc;
}

int pf_ring_done(struct pf_ring *r)
{
    struct header *h = r->h;
    uint64_t done = pf__load(&h->done), put;
    do {
        put = view(&h->prod).count;
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
        if (pf__load(&h->done) == view(&h->prod).count)
            return 0;
        if (deadline <= PF_NOWAIT || (deadline != PF_FOREVER && deadline <= pf_now()))
            return -ETIMEDOUT;
        int rc = sleep_on(&h->done_word, w, deadline, LOOK);
        if (rc < 0)
            return rc;
    }
}

void pf_ring_stats(struct pf_ring *r, struct pf_ring_stats *s)
{
    struct header *h = r->h;
    s->got = view(&h->cons).count;
    s->put = view(&h->prod).count;
    s->done = pf__load(&h->done);
    s->ring_bytes = pf__peek(&h->alloc);
    s->block_bytes = block_bytes(h, false);
    s->lent_bytes = s->block_bytes - block_bytes(h, true);
    s->producer = pf_mutex_owner(&h->prod.lock);
    s->consumer = pf_mutex_owner(&h->cons.lock);
}

static int open_handle(struct pf_ring **out, int fd, uint64_t base, struct pf_bell bell)
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
static void close_handle(struct pf_ring *r)
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
static void settle_handle(struct pf_ring *r, struct pf_ring *first)
{
    r->zone = r->h->zone;
    r->blocks_max = r->h->blocks_max;
    r->maxsize = r->h->maxsize;
    r->window = r->h->window;
    if (first)
        r->peer = first->peer;
    else
        pf_peer_init(&r->own, &r->h->slots, r->fd, r->h->pid_namespace);
}

/* A segment for `rings` rings: how large their zones are, and where the second begins. */
static int create_segment(unsigned rings, uint64_t *zone, uint64_t *blocks_max, uint64_t *span)
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

static int format(struct pf_ring *r, uint64_t zone, uint64_t blocks_max)
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
static int check_header(const struct header *h, uint64_t base, uint64_t size)
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

static int64_t size_of(int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    if (size < 0)
        return -errno;
    return (uint64_t)size < ZONE + ZONE_MIN ? -PF_ECORRUPT : size;
}

int pf_ring_create(struct pf_ring **out, uint64_t maxsize, uint64_t max_bytes)
{
    uint64_t zone, blocks_max, span;
    int fd = create_segment(1, &zone, &blocks_max, &span);
    if (fd < 0)
        return fd;
    struct pf_bell bell;
    int rc = pf_bell_open(&bell);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    struct pf_ring *r;
    rc = open_handle(&r, fd, 0, bell);
    if (rc < 0) {
        pf_bell_close(&bell);
        close(fd);
        return rc;
    }
    rc = format(r, zone, blocks_max);
    if (rc < 0) {
        pf_ring_close(r);
        return rc;
    }
    r->h->maxsize = maxsize;
    atomic_init(&r->h->ceiling, max_bytes);
    settle_handle(r, NULL);
    *out = r;
    return 0;
}

int pf_ring_attach(struct pf_ring **out, int fd, struct pf_bell bell)
{
    struct pf_ring *r;
    int64_t size = size_of(fd);
    if (size < 0)
        return (int)size;
    int rc = open_handle(&r, fd, 0, bell);
    if (rc < 0)
        return rc;
    rc = check_header(r->h, 0, (uint64_t)size);
    if (rc == 0 && r->h->window)
        rc = -PF_ECORRUPT;
    if (rc < 0) {
        close_handle(r);
        return rc;
    }
    settle_handle(r, NULL);
    *out = r;
    return 0;
}

void pf_ring_close(struct pf_ring *r)
{
    int fd = r->fd;
    struct pf_bell bell = r->bell;
    close_handle(r);
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

/* ---- links ----------------------------------------------------------------------------------------- */

#define NO_WIRE ((struct pf_bell){-1, -1})

static uint64_t span_of(const struct header *h)
{
    return h->blocks_max ? BLOCKS_AT + BLOCKS_MAX : ZONE + h->zone;
}

int pf_link_create(struct pf_link *l, unsigned rings)
{
    uint64_t zone, blocks_max, span;
    *l = (struct pf_link){.fd = create_segment(rings, &zone, &blocks_max, &span), .rings = rings};
    if (l->fd < 0)
        return l->fd;
    for (unsigned i = 0; i < rings; i++) {
        int rc = open_handle(&l->ring[i], l->fd, i * span, NO_WIRE);
        if (rc == 0)
            rc = format(l->ring[i], zone, blocks_max);
        if (rc < 0) {
            pf_link_close(l);
            return rc;
        }
        l->ring[i]->h->window = PF_LINK_WINDOW;
        settle_handle(l->ring[i], i ? l->ring[0] : NULL);
    }
    return 0;
}

int pf_link_attach(struct pf_link *l, unsigned rings, int fd)
{
    *l = (struct pf_link){.fd = fd, .rings = rings};
    int64_t size = size_of(fd);
    if (size < 0)
        return (int)size;
    uint64_t base = 0;
    for (unsigned i = 0; i < rings; i++) {
        int rc = base + ZONE + ZONE_MIN <= (uint64_t)size ? open_handle(&l->ring[i], fd, base, NO_WIRE) : -PF_ECORRUPT;
        if (rc == 0)
            rc = check_header(l->ring[i]->h, base, (uint64_t)size);
        if (rc == 0 && l->ring[i]->h->window != PF_LINK_WINDOW)
            rc = -PF_ECORRUPT;
        if (rc < 0) {
            l->fd = -1; /* still the caller's */
            pf_link_close(l);
            return rc;
        }
        settle_handle(l->ring[i], i ? l->ring[0] : NULL);
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

void pf_link_expose(struct pf_link *l)
{
    for (unsigned i = 0; i < l->rings; i++)
        pf__store(&l->ring[i]->h->exposed, 1);
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
           !pf__load(&h->turn[1].holder) && pf__peek(&h->alloc) + block_bytes(h, false) <= PF_LINK_KEEP;
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
        if (refresh(l->ring[i])) /* a child: the segment may be its parent's too */
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
            close_handle(l->ring[i]);
        l->ring[i] = NULL;
    }
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
}
