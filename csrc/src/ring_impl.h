/* What the files of the ring share: the layout of the segment, the handle, and the functions that one has of
 * another. ring.c puts and gets, side.c commits and waits, block.c has the memory for what is big, link.c what pipes
 * add. */
#ifndef PF_RING_IMPL_H
#define PF_RING_IMPL_H

#include "atomic.h"
#include "os.h"
#include "point.h"
#include "procfast/clock.h"
#include "procfast/error.h"
#include "procfast/mutex.h"
#include "procfast/ring.h"

#define MAGIC UINT64_C(0x31676e6972666670) /* "pffring1" */
#define LAYOUT 3
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
#define SPIN_MAX INT64_C(50000) /* ns: the longest spin before a sleep */
#define GRACE (PF_SECOND / 20) /* at least so long for the lock itself: its holder may just be off its CPU */

#define BLOCKS 512
#define SLOTS 512
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

#define AGAIN 2

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
    _Atomic uint32_t rung;               /* the bell was rung and not reset since: 1, or AGAIN: the next put rings too */
    _Alignas(64) _Atomic uint32_t armed; /* somebody selects on the bell: sticky */
    _Alignas(64) _Atomic uint64_t done;  /* pf_ring_done calls */
    _Atomic uint32_t done_word;          /* like a side's word */
    _Alignas(64) _Atomic uint64_t blocks_end;
    _Atomic uint32_t nblocks; /* in use: [0, nblocks) */
    struct block blocks[BLOCKS];
    struct pf_slot slots[SLOTS];
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
    struct { _Atomic uint32_t rest, misses; } yield[2]; /* calls to pass, and the same after the next miss */
    struct { _Atomic(void *) addr; _Atomic uint64_t size; } map[BLOCKS];
    struct pf_claim *claims, *claim; /* of a pool (pool.h): all workers', and this consumer's own; or NULL */
    uint32_t nclaims;
};

static inline struct view pf__view(struct side *s)
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

static inline bool pf__empty(struct header *h)
{
    return pf__view(&h->prod).count == pf__view(&h->cons).count;
}

/* First in every operation. In a child: what another thread of the parent may have been writing at the
 * fork can't be trusted; forgotten mappings cost addresses only. */
static inline bool pf__refresh(struct pf_ring *r)
{
    return pf_peer_refresh(r->peer);
}

/* ---- side.c: what producers and consumers have in common ---- */

/* Publishes the record v and wakes so many sleepers; with 0 they are left to a later commit. */
void pf__commit(struct side *s, struct view v, int wake);

/* Sleeps until the word moves on from w, which the caller found wanting. 0, -ETIMEDOUT or -EINTR. */
int pf__sleep_on(_Atomic uint32_t *word, uint32_t w, int64_t deadline, int64_t look);

/* The same without sleeping, as long as that pays: true where it moved. `side` waits for the other one, s. */
bool pf__spin_on(struct pf_ring *r, int side, struct side *s, uint32_t w, int64_t deadline);

/* pf__refresh for what a side's lock guards, once that is held. */
void pf__refresh_side(struct pf_ring *r, int side);

/* Locks, and clears up after an owner that died inside. -EAGAIN (PF_TRY), -ETIMEDOUT, -EINTR. */
int pf__lock_side(struct pf_ring *r, struct side *s, int64_t deadline);

/* ---- ring.c ---- */

/* Under the producers' lock: makes the bell readable, or takes that back. */
int pf__bell_on(struct pf_ring *r);
int pf__bell_off(struct pf_ring *r);

/* A segment for `rings` rings: its descriptor; how large their zones are, and where the second begins. */
int pf__ring_segment(unsigned rings, uint64_t *zone, uint64_t *blocks_max, uint64_t *span);
int64_t pf__ring_file_size(int fd);

/* A handle on the ring at that offset of the file: open, then format or check, then settle. */
int pf__ring_open(struct pf_ring **out, int fd, uint64_t base, struct pf_bell bell);
int pf__ring_format(struct pf_ring *r, uint64_t zone, uint64_t blocks_max);
int pf__ring_check(const struct header *h, uint64_t base, uint64_t size);
void pf__ring_settle_in(struct pf_ring *r, struct pf_ring *first);
void pf__ring_release(struct pf_ring *r); /* all but the descriptors */

/* ---- block.c ---- */

void *pf__block_at(struct pf_ring *r, uint32_t i); /* NULL: it can't be mapped */
uint64_t pf__block_bytes(struct header *h, bool only_free);

/* Does this process fill or hold it? Not what its parent had when it was forked. */
static inline bool pf__block_ours(struct pf_ring *r, uint32_t i)
{
    uint64_t state = i < BLOCKS ? pf__load(&r->h->blocks[i].state) : EMPTY;
    uint32_t holder = (uint32_t)(state >> 8);
    return ((state & 255) == FILL || (state & 255) == HELD) && (holder == NOBODY || holder == pf__load(&r->peer->slot));
}


/* May the segment have `more` bytes? */
int pf__check_ceiling(struct pf_ring *r, uint64_t more);

/* Under the producers' lock, whose last owner died inside. */
void pf__recover_blocks(struct pf_ring *r);

/* ---- link.c: what only linked rings do ---- */

/* Before a put: -EPIPE where nobody is left to read. */
int pf__link_reader(struct pf_ring *r, uint64_t bytes);

/* May the ring take so many units more? A message always fits where nothing is unread. */
bool pf__link_fits(struct pf_ring *r, struct view v, uint64_t units);

/* Sleeps on the wire until it is rung: 0 look again, -EPIPE no writer is left and the ring is empty, -ETIMEDOUT,
 * -EINTR. */
int pf__link_sleep(struct pf_ring *r, int64_t deadline);

/* The wire's end is full, or readable, for what the user sent over it, and can't be waited on: a moment of sleep.
 * -EINTR look again; -EPIPE, -ETIMEDOUT. */
int pf__link_nap(int fd, int64_t deadline);

/* pf_ring_arm of a linked ring. */
int pf__link_arm(struct pf_ring *r);

int pf__turn_take(struct pf_ring *r, uint64_t *turn);
void pf__turn_end(struct turn *t, uint64_t turn);

/* Not in a child of the process that took it, which has it in its memory too. */
static inline bool pf__turn_ours(struct pf_ring *r, uint64_t turn)
{
    return (uint32_t)turn - 1 == pf__load(&r->peer->slot);
}

bool pf__turn_bury(struct pf_ring *r, struct turn *t, uint64_t turn); /* true: its holder is dead, it is over */
int pf__turn_wait(struct pf_ring *r, struct turn *t, uint64_t turn, int64_t deadline);

#endif
