#include "procfast/arena.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arena_impl.h"
#include "os.h"
#include "point.h"
#include "procfast/clock.h"
#include "procfast/error.h"
#include "procfast/shm.h"

#define SIZE (UINT64_C(1) << 30)     /* of an arena for many: addresses, not memory */
#define SIZE_MIN (UINT64_C(1) << 18) /* where a process may not have so many */
#define SMALL (UINT64_C(64) << 20)   /* below it there are fewer records */
#define CHUNK (UINT64_C(64) << 10)   /* memory is reserved in steps of this */
#define RESERVED (UINT64_C(1) << 20) /* a single block up to this size is reserved, a larger one only measured */
#define NEVER UINT32_MAX             /* no epoch */

/* ---- the allocator: memory of the creator alone --------------------------------------------------------- */

/* Sizes: multiples of a UNIT up to 64 of them, then four to each doubling. */
#define UNIT 64
#define CLASSES 96

struct freed { /* in limbo */
    uint32_t unit, born, died; /* where, and the epochs in which it was allocated and freed */
    uint16_t class;
};

struct pf__allocator {
    uint32_t epoch;
    bool epochs;          /* the platform has them */
    bool handed;          /* the descriptor was given to others in this epoch */
    bool single;          /* one block, and it was not given out yet */
    uint64_t forks;       /* pf__forks() before the epoch began */
    uint32_t rest;        /* allocations before a new epoch is tried again */
    uint64_t top;         /* where nothing was ever allocated, in bytes */
    struct {
        uint32_t *unit;
        size_t n, room;
    } free[CLASSES];
    struct freed *limbo;
    size_t nlimbo, limbo_room;
    uint32_t *born;       /* by unit: the epoch of the block that begins there; NEVER: none does */
    size_t born_room;
    uint32_t *held;       /* epochs that somebody holds, as of the last look, ascending */
    size_t nheld, held_room;
    uint64_t since, kept; /* allocations since the last look; blocks that it left in limbo */
    uint64_t live, nfree, looks, lost; /* lost: can never be reused */
};

static unsigned class_of(size_t size, uint32_t *units)
{
    uint32_t u = (uint32_t)((size + UNIT - 1) / UNIT);
    if (u <= 64) {
        *units = u;
        return u - 1;
    }
    unsigned top = 31 - (unsigned)__builtin_clz(u - 1), shift = top - 2;
    unsigned step = (u - 1) >> shift; /* 4 to 7 */
    *units = (step + 1) << shift;
    return 64 + (top - 6) * 4 + step - 4;
}

/* Room for one more of `size` bytes each. */
static bool widen(void **at, size_t n, size_t *room, size_t size)
{
    if (n < *room)
        return true;
    size_t more = *room ? 2 * *room : 64;
    void *p = realloc(*at, more * size);
    if (!p)
        return false;
    *at = p;
    *room = more;
    return true;
}

static void put_free(struct pf__allocator *al, unsigned class, uint32_t unit)
{
    void *at = al->free[class].unit;
    if (!widen(&at, al->free[class].n, &al->free[class].room, sizeof unit)) {
        al->lost++;
        return;
    }
    al->free[class].unit = at;
    al->free[class].unit[al->free[class].n++] = unit;
    al->nfree++;
}

static bool reached(struct pf__allocator *al) /* may anybody else have what was allocated in this epoch? */
{
    return al->handed || pf__forks() != al->forks;
}

/* The next epoch, with a description of its own behind the same number; the old one is left to those who have it. */
static int begin_epoch(struct pf_arena *a)
{
    struct pf__allocator *al = a->alloc;
    uint64_t forks = pf__forks();
    void *hold = NULL;
    int rc = al->epochs ? pf__epoch_begin(&a->peer, al->epoch + 1, &hold) : -ENOSYS;
    if (rc == -ENOSYS) /* what was reached is never looked at again */
        al->epochs = false;
    else if (rc < 0)
        return rc;
    if (a->hold)
        munmap(a->hold, 4096);
    a->hold = hold;
    PF_POINT("arena.epoch.left");
    al->epoch++;
    al->forks = forks;
    al->handed = false;
    return 0;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Which epochs of [from, to] does anybody hold? The kernel names any one of a range: ask on to both sides of it. */
static bool list_held(struct pf_arena *a, uint32_t from, uint32_t to)
{
    struct pf__allocator *al = a->alloc;
    struct range {
        uint32_t from, to;
    } *todo = NULL;
    size_t n = 0, room = 0;
    int rc = 0;
    void *at = NULL;
    al->nheld = 0;
    for (bool more = true; more && rc >= 0;) {
        uint32_t held;
        rc = pf__epoch_held(&a->peer, from, to, &held);
        if (rc == 1) {
            void *list = al->held;
            if (!widen(&list, al->nheld, &al->held_room, sizeof held) || !widen(&at, n, &room, sizeof *todo)) {
                rc = -ENOMEM;
                break;
            }
            al->held = list;
            al->held[al->nheld++] = held;
            todo = at;
            if (held < to)
                todo[n++] = (struct range){held + 1, to};
            if (held > from) {
                to = held - 1;
                continue;
            }
        }
        more = n > 0;
        if (more) {
            from = todo[--n].from;
            to = todo[n].to;
        }
    }
    free(at);
    if (rc < 0)
        return false;
    if (al->nheld)
        qsort(al->held, al->nheld, sizeof *al->held, by_value);
    return true;
}

static bool any_held(const struct pf__allocator *al, uint32_t from, uint32_t to)
{
    size_t lo = 0, hi = al->nheld; /* the first that is >= from */
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (al->held[mid] < from)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < al->nheld && al->held[lo] <= to;
}

/* Frees what nobody has any more. */
static void look(struct pf_arena *a)
{
    struct pf__allocator *al = a->alloc;
    al->since = 0;
    al->kept = al->nlimbo;
    al->looks++;
    if (reached(al) || al->nlimbo == 0) /* this epoch is held by ourselves */
        return;
    uint32_t from = NEVER, to = 0;
    for (size_t i = 0; i < al->nlimbo; i++) {
        from = al->limbo[i].born < from ? al->limbo[i].born : from;
        to = al->limbo[i].died > to ? al->limbo[i].died : to;
    }
    if (to >= al->epoch || !list_held(a, from, to))
        return;
    size_t kept = 0;
    for (size_t i = 0; i < al->nlimbo; i++) {
        struct freed f = al->limbo[i];
        if (any_held(al, f.born, f.died))
            al->limbo[kept++] = f;
        else
            put_free(al, f.class, f.unit);
    }
    al->nlimbo = al->kept = kept;
}

static int fresh_block(struct pf_arena *a, uint32_t units, uint32_t *unit)
{
    struct pf__allocator *al = a->alloc;
    uint64_t size = (uint64_t)units * UNIT, end = al->top + size, have = pf__peek(&a->h->top);
    if (end > a->size)
        return -ENOSPC;
    if (end > have) {
        uint64_t want = (end + CHUNK - 1) & ~(CHUNK - 1);
        int rc = pf_shm_reserve(a->fd, have, (want < a->size ? want : a->size) - have);
        PF_POINT("arena.reserved");
        if (rc < 0)
            return rc == -ENOSPC ? -ENOMEM : rc;
        pf__store(&a->h->top, want < a->size ? want : a->size);
    }
    size_t index = (size_t)(al->top / UNIT);
    while (al->born_room <= index) {
        void *at = al->born;
        if (!widen(&at, al->born_room, &al->born_room, sizeof *al->born))
            return -ENOMEM;
        al->born = at;
    }
    *unit = (uint32_t)index;
    al->top = end;
    return 0;
}

bool pf_arena_mine(const struct pf_arena *a)
{
    return a->creator && a->creator == pf__thread_self()->epoch;
}

int pf_arena_alloc(struct pf_arena *a, size_t size, void **addr)
{
    struct pf__allocator *al = a->alloc;
    if (!pf_arena_mine(a))
        return -EPERM;
    if (a->nrecords == 0) {
        if (!al->single || size > a->size - a->first)
            return -ENOSPC;
        al->single = false;
        *addr = (char *)a->h + a->first;
        return 0;
    }
    if (size == 0 || size > PF_ARENA_MOST)
        return -EINVAL;
    if (reached(al) && (al->rest == 0 || --al->rest == 0) && begin_epoch(a) < 0)
        al->rest = 256; /* out of descriptors: until it works, all is as if others had it */
    uint32_t units, unit;
    unsigned class = class_of(size, &units);
    al->since++;
    if (!al->free[class].n && al->nlimbo) {
        uint64_t many = al->kept > al->nheld ? al->kept : al->nheld; /* what a look costs, at least */
        if (al->since >= (many > 64 ? many : 64) || al->top + (uint64_t)units * UNIT > pf__peek(&a->h->top))
            look(a);
    }
    if (al->free[class].n) {
        unit = al->free[class].unit[--al->free[class].n];
        al->nfree--;
        memset((char *)a->h + (uint64_t)unit * UNIT, 0, (size_t)units * UNIT);
    } else {
        int rc = fresh_block(a, units, &unit);
        if (rc < 0)
            return rc;
    }
    al->born[unit] = al->epoch;
    al->live++;
    PF_POINT("arena.allocated");
    *addr = (char *)a->h + (uint64_t)unit * UNIT;
    return 0;
}

void pf_arena_free(struct pf_arena *a, void *addr, size_t size)
{
    struct pf__allocator *al = a->alloc;
    if (!pf_arena_mine(a) || a->nrecords == 0)
        return;
    uint64_t at = (uint64_t)((char *)addr - (char *)a->h);
    if (at < a->first || at >= al->top || at % UNIT || al->born[at / UNIT] == NEVER)
        return;
    uint32_t units, unit = (uint32_t)(at / UNIT), born = al->born[unit];
    unsigned class = class_of(size, &units);
    al->born[unit] = NEVER;
    al->live--;
    if (born == al->epoch && !reached(al)) {
        put_free(al, class, unit);
        return;
    }
    uint32_t died = reached(al) ? al->epoch : al->epoch - 1; /* the last epoch that may have reached others */
    void *list = al->limbo;
    if (!al->epochs || !widen(&list, al->nlimbo, &al->limbo_room, sizeof *al->limbo)) {
        al->lost++;
        return;
    }
    al->limbo = list;
    al->limbo[al->nlimbo++] = (struct freed){unit, born, died, (uint16_t)class};
}

/* ---- the segment --------------------------------------------------------------------------------------- */

static void name_it(uint8_t *id)
{
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, id, PF_ARENA_ID);
    if (fd >= 0)
        close(fd);
    if (n == PF_ARENA_ID)
        return;
    /* Names must differ, not be secret: who makes two at once in one process gets two addresses. */
    uint64_t word[2] = {(uint64_t)pf_now() ^ (uint64_t)(uintptr_t)id << 20, (uint64_t)getpid() << 32 ^ pf_epoch()};
    memcpy(id, word, PF_ARENA_ID);
}

static void free_allocator(struct pf__allocator *al)
{
    if (!al)
        return;
    for (int i = 0; i < CLASSES; i++)
        free(al->free[i].unit);
    free(al->limbo);
    free(al->born);
    free(al->held);
    free(al);
}

static void discard(struct pf_arena *a) /* what was made so far, but the descriptor */
{
    if (a->h)
        pf_shm_unmap(a->h, a->size);
    if (a->hold)
        munmap(a->hold, 4096);
    for (unsigned i = 0; i < a->nadopted; i++)
        munmap(a->adopted[i], 4096);
    free(a->adopted);
    free_allocator(a->alloc);
    free(a);
}

static int map_new(struct pf_arena *a, uint64_t size)
{
    int fd = pf_shm_create(size);
    if (fd < 0)
        return fd;
    void *addr;
    int rc = pf_shm_map(fd, 0, size, &addr);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    a->fd = fd;
    a->size = size;
    a->h = addr;
    return 0;
}

/* A large block is not reserved: that would take its memory, and the time to clear it. */
static int reserve(struct pf_arena *a, size_t block)
{
    uint64_t first = a->h->first;
    if (!block)
        return pf_shm_reserve(a->fd, 0, PF__RECORDS_AT + PF__RECORDS_RESERVED * sizeof(struct pf__record));
    if (block <= RESERVED)
        return pf_shm_reserve(a->fd, 0, first + block);
    uint64_t left = pf__memory_free();
    return left && block > left ? -ENOMEM : pf_shm_reserve(a->fd, 0, first);
}

int pf_arena_create(struct pf_arena **out, size_t block)
{
    struct pf_arena *a = calloc(1, sizeof *a);
    struct pf__allocator *al = calloc(1, sizeof *al);
    if (!a || !al) {
        free(a);
        free(al);
        return -ENOMEM;
    }
    a->alloc = al;
    a->fd = -1;
    uint64_t size = block ? PF__SINGLE_AT + ((block + 4095) & ~(uint64_t)4095) : SIZE;
    int rc = block > SIZE_MAX - 8192 ? -ENOMEM : map_new(a, size);
    while (!block && (rc == -EFBIG || rc == -EINVAL || rc == -ENOMEM) && size > SIZE_MIN)
        rc = map_new(a, size /= 4);
    if (rc < 0) {
        discard(a);
        return rc == -EFBIG || rc == -EINVAL ? -ENOMEM : rc;
    }
    /* The header's own page must be there before it is written. */
    rc = pf_shm_reserve(a->fd, 0, 4096);
    if (rc == 0) {
        struct pf__arena_header *h = a->h;
        h->layout = PF__ARENA_LAYOUT;
        h->nrecords = block ? 0 : size >= SMALL ? PF__RECORDS : PF__RECORDS_RESERVED;
        h->first = block ? PF__SINGLE_AT : PF__RECORDS_AT + h->nrecords * sizeof(struct pf__record);
        h->size = size;
        h->pid_namespace = pf_pid_namespace();
        name_it(h->id);
        rc = reserve(a, block);
        pf__store(&h->top, block ? size : h->first);
        h->magic = PF__ARENA_MAGIC;
    }
    if (rc < 0) {
        close(a->fd);
        discard(a);
        return rc == -ENOSPC ? -ENOMEM : rc;
    }
    a->first = a->h->first;
    a->nrecords = a->h->nrecords;
    pf_peer_init(&a->peer, a->h->slots, block ? 0 : PF_SLOTS_MOST, a->fd, a->h->pid_namespace);
    a->creator = pf_epoch();
    al->single = block != 0;
    al->top = a->first;
    al->epochs = !block; /* the kernel knows who has the only block */
    if (begin_epoch(a) < 0) /* out of descriptors: tried again */
        al->handed = true;
    *out = a;
    return 0;
}

static int check(struct pf_arena *a, const struct pf__arena_header *h, uint64_t size)
{
    if (h->magic != PF__ARENA_MAGIC)
        return -PF_ECORRUPT;
    if (h->layout != PF__ARENA_LAYOUT)
        return -PF_EVERSION;
    a->nrecords = h->nrecords;
    a->first = a->nrecords ? PF__RECORDS_AT + a->nrecords * sizeof(struct pf__record) : PF__SINGLE_AT;
    return a->nrecords > PF__RECORDS || a->first > size || h->first != a->first || h->size > size ? -PF_ECORRUPT : 0;
}

int pf_arena_attach(struct pf_arena **out, int fd)
{
    struct stat st;
    void *addr;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size < 2 * 4096 || (uint64_t)st.st_size > SIZE_MAX)
        return -PF_ECORRUPT;
    size_t size = (size_t)st.st_size;
    int rc = pf_shm_map(fd, 0, size, &addr);
    if (rc < 0)
        return rc;
    PF_POINT("arena.attach.mapped");
    struct pf_arena *a = calloc(1, sizeof *a);
    rc = a ? check(a, addr, size) : -ENOMEM;
    if (rc < 0) {
        free(a);
        pf_shm_unmap(addr, size);
        return rc;
    }
    a->h = addr;
    a->size = size;
    a->fd = fd;
    fcntl(fd, F_SETFD, FD_CLOEXEC); /* it came through an exec, perhaps */
    pf_peer_init(&a->peer, a->h->slots, a->nrecords ? PF_SLOTS_MOST : 0, fd, a->h->pid_namespace);
    PF_POINT("arena.attached");
    *out = a;
    return 0;
}

int pf_arena_adopt(struct pf_arena *a, int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if ((uint64_t)st.st_dev != a->peer.file[0] || (uint64_t)st.st_ino != a->peer.file[1])
        return -PF_ECORRUPT;
    void **list = realloc(a->adopted, (a->nadopted + 1) * sizeof *list);
    if (!list)
        return -ENOMEM;
    a->adopted = list;
    void *hold = mmap(NULL, 4096, PROT_NONE, MAP_SHARED, fd, 0);
    if (hold == MAP_FAILED)
        return -errno;
    a->adopted[a->nadopted++] = hold;
    close(fd);
    return 0;
}

int pf_arena_fd(struct pf_arena *a)
{
    if (pf_arena_mine(a))
        a->alloc->handed = true;
    return a->fd;
}

const uint8_t *pf_arena_id(const struct pf_arena *a)
{
    return a->h->id;
}

uint64_t pf_arena_offset(const struct pf_arena *a, const void *addr)
{
    return pf__offset(a, addr);
}

int pf_arena_at(const struct pf_arena *a, uint64_t offset, size_t size, void **addr)
{
    uint64_t top = pf__load(&a->h->top);
    if (top > a->size)
        top = a->size;
    if (offset < a->first || offset % UNIT || offset > top || size > top - offset)
        return -PF_ECORRUPT;
    *addr = (char *)a->h + offset;
    return 0;
}

/* Threads that come at once take turns. One that held the guard in the parent when it forked is not here: its
 * epoch is another. */
int pf__arena_tenancy(struct pf_arena *a)
{
    uint64_t epoch = pf_epoch(), holder = 0;
    if (pf__load(&a->epoch) == epoch)
        return (int)pf__peek(&a->tenancy);
    while (!atomic_compare_exchange_weak(&a->guard, &holder, epoch)) {
        if (holder == epoch) {
            sched_yield();
            holder = 0;
        }
    }
    int rc = (int)pf__peek(&a->tenancy);
    if (pf__load(&a->epoch) != epoch) {
        pf_peer_refresh(&a->peer);
        rc = pf_peer_slot(&a->peer);
        if (rc >= 0) {
            pf__put(&a->tenancy, (uint32_t)rc);
            pf__put(&a->who, (uint64_t)rc << 32 | (uint32_t)getpid());
            pf__store(&a->epoch, epoch);
        }
    }
    pf__store(&a->guard, 0);
    return rc;
}

void pf_arena_close(struct pf_arena *a)
{
    if (a->peer.nslots)
        pf_peer_drop(&a->peer);
    close(a->fd);
    discard(a);
}

void pf_arena_stats(const struct pf_arena *a, struct pf_arena_stats *s)
{
    const struct pf__allocator *al = a->alloc;
    *s = (struct pf_arena_stats){.size = a->size, .reserved = pf__load(&a->h->top)};
    if (!al || !pf_arena_mine(a))
        return;
    s->live = al->live;
    s->free = al->nfree;
    s->limbo = al->nlimbo + al->lost;
    s->epoch = al->epoch;
    s->looks = al->looks;
}
