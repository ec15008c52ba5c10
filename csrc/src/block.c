#include <sched.h>
#include <sys/mman.h>

#include "procfast/shm.h"
#include "ring_impl.h"

void *pf__block_at(struct pf_ring *r, uint32_t i)
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

uint64_t pf__block_bytes(struct header *h, bool only_free)
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

int pf__check_ceiling(struct pf_ring *r, uint64_t more)
{
    struct header *h = r->h;
    uint64_t ceiling = pf__peek(&h->ceiling), used = pf__peek(&h->alloc) + pf__block_bytes(h, false);
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
    used = pf__peek(&h->alloc) + pf__block_bytes(h, false);
    return used + more <= ceiling ? 0 : -PF_ETOOBIG;
}

/* Blocks that the dead gave to a message which was never committed are free. */
void pf__recover_blocks(struct pf_ring *r)
{
    struct header *h = r->h;
    uint64_t count = pf__view(&h->prod).count;
    uint32_t n = pf__load(&h->nblocks);
    for (uint32_t i = 0; i < n && i < BLOCKS; i++) {
        uint64_t state = pf__load(&h->blocks[i].state);
        if (state == FLIGHT && pf__peek(&h->blocks[i].seq) >= count)
            atomic_compare_exchange_strong(&h->blocks[i].state, &state, FREE);
        PF_POINT("put.recover");
    }
}

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
        if ((state & 255) == HELD && pf__peek(&b->seq) >= pf__view(&h->cons).count)
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
    return pf__block_bytes(h, false) - pf__block_bytes(h, true) >= (2 * cap > PIPELINE ? 2 * cap : PIPELINE);
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
    pf__refresh(r);
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
    int rc = have < want ? pf__check_ceiling(r, want - have) : 0;
    while (rc == 0 && have < want) {
        uint64_t piece = want - have > 32 * MIB ? 32 * MIB : want - have;
        rc = pf_shm_reserve(r->fd, r->base + BLOCKS_AT + pf__peek(&b->at) + have, piece);
        PF_POINT("block.reserved");
        if (rc == 0)
            pf__put(&b->touched, have += piece);
    }
    void *base = rc == 0 ? pf__block_at(r, (uint32_t)i) : NULL;
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
    pf__refresh(r);
    if (!pf__block_ours(r, loan->block))
        return;
    uint64_t touched = pf__peek(&b->touched);
    if (touched && pf__block_bytes(h, true) + touched > KEEP_BLOCKS) {
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
