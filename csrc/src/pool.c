#include "procfast/pool.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pool_impl.h"
#include "procfast/futex.h"
#include "procfast/shm.h"

#define POOL_MAGIC UINT64_C(0x316c6f6f706670) /* "pfpool1" */
#define NEVER UINT64_MAX

enum { IDLE, RUNNING, CONDEMNED, ENDED }; /* of a claim's state, below its serial */
#define SERIAL 4

struct pool_header {
    uint64_t magic;
    uint32_t layout, workers;
    _Atomic uint32_t stop;
    _Alignas(64) _Atomic uint32_t word; /* the owner's waiter sleeps on it */
    _Atomic uint64_t want;              /* results put in all at which to wake it */
    _Atomic uint64_t call;              /* ... to ring the bell */
    _Alignas(64) _Atomic uint64_t jobs[PF_POOL_JOBS / 32]; /* two bits each: called off, begun */
    struct pf_claim claims[];
};

struct pf_pool {
    struct pool_header *h;
    struct pf_ring *tasks;
    uint32_t workers; /* checked once; the header's could be overwritten */
    size_t size;
    int fd;
};

#define OFF UINT64_C(1)
#define BEGUN UINT64_C(2)

static size_t size_of(unsigned workers)
{
    return sizeof(struct pool_header) + workers * sizeof(struct pf_claim);
}

static int open_pool(struct pf_pool **out, int fd, size_t size)
{
    struct pf_pool *p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    void *addr;
    int rc = pf_shm_map(fd, 0, size, &addr);
    if (rc < 0) {
        free(p);
        return rc;
    }
    p->h = addr;
    p->fd = fd;
    p->size = size;
    *out = p;
    return 0;
}

int pf_pool_create(struct pf_pool **out, unsigned workers)
{
    if (workers < 1 || workers > PF_POOL_MOST)
        return -EINVAL;
    size_t size = size_of(workers), claims = offsetof(struct pool_header, claims);
    int fd = pf_shm_create(size);
    if (fd < 0)
        return fd;
    /* The bits of higher numbers get their memory when those are used. */
    int rc = pf_shm_reserve(fd, 0, offsetof(struct pool_header, jobs) + PF_POOL_FEW / 4);
    if (rc == 0)
        rc = pf_shm_reserve(fd, claims & ~(PAGE - 1), size - (claims & ~(PAGE - 1)));
    struct pf_pool *p;
    if (rc == 0)
        rc = open_pool(&p, fd, size);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    p->h->layout = 1;
    p->h->workers = p->workers = workers;
    pf__put(&p->h->want, NEVER);
    pf__put(&p->h->call, NEVER);
    p->h->magic = POOL_MAGIC;
    *out = p;
    return 0;
}

int pf_pool_attach(struct pf_pool **out, int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    if (size < 0)
        return -errno;
    if ((uint64_t)size < size_of(1))
        return -PF_ECORRUPT;
    struct pf_pool *p;
    int rc = open_pool(&p, fd, (size_t)size);
    if (rc < 0)
        return rc;
    uint32_t workers = p->h->workers;
    if (p->h->magic != POOL_MAGIC || workers < 1 || workers > PF_POOL_MOST || (uint64_t)size < size_of(workers))
        rc = -PF_ECORRUPT;
    else if (p->h->layout != 1)
        rc = -PF_EVERSION;
    if (rc < 0) {
        pf_shm_unmap(p->h, p->size);
        free(p);
        return rc;
    }
    p->workers = workers;
    *out = p;
    return 0;
}

void pf_pool_close(struct pf_pool *p)
{
    pf_shm_unmap(p->h, p->size);
    close(p->fd);
    free(p);
}

int pf_pool_fd(const struct pf_pool *p)
{
    return p->fd;
}

void pf_pool_tasks(struct pf_pool *p, struct pf_ring *tasks)
{
    p->tasks = tasks;
    tasks->claims = p->h->claims;
    tasks->nclaims = p->workers;
}

void pf__forget_claims(struct pf_ring *r)
{
    uint64_t taken = pf__view(&r->h->cons).count;
    for (uint32_t i = 0; i < r->nclaims; i++) {
        if (pf__load(&r->claims[i].number) > taken)
            pf__store(&r->claims[i].number, 0);
        PF_POINT("pool.forgotten");
    }
}

/* ---- the owner ---- */

void pf_pool_reset(struct pf_pool *p, unsigned worker)
{
    struct pf_claim *c = &p->h->claims[worker];
    uint32_t serial = pf__load(&c->state) / SERIAL;
    pf__put(&c->ready, 0);
    pf__store(&c->number, 0);
    pf__store(&c->state, (serial + 1) * SERIAL + IDLE);
}

int pf_pool_held(struct pf_pool *p, unsigned worker, int64_t deadline, uint64_t *ticket)
{
    struct pf_claim *c = &p->h->claims[worker];
    *ticket = 0;
    if (pf__load(&c->number) == 0)
        return 0;
    pf__refresh(p->tasks);
    int rc = pf__lock_side(p->tasks, &p->tasks->h->cons, deadline); /* clears up, if it died inside */
    if (rc < 0)
        return rc;
    if (pf__load(&c->number) != 0)
        *ticket = pf__load(&c->ticket);
    pf_mutex_unlock(&p->tasks->h->cons.lock);
    return 0;
}

bool pf_pool_condemn(struct pf_pool *p, unsigned worker, uint64_t ticket)
{
    struct pf_claim *c = &p->h->claims[worker];
    uint32_t state = pf__load(&c->state);
    if (state % SERIAL == CONDEMNED)
        return false;
    if (state % SERIAL != RUNNING || pf__load(&c->number) == 0 || pf__load(&c->ticket) != ticket)
        return false;
    return atomic_compare_exchange_strong(&c->state, &state, state - RUNNING + CONDEMNED);
}

/* The word with a job's bits, and how far they are shifted in it. */
static _Atomic uint64_t *bits_of(struct pf_pool *p, uint32_t job, unsigned *shift)
{
    job &= PF_POOL_JOBS - 1;
    *shift = job % 32 * 2;
    return &p->h->jobs[job / 32];
}

void pf_pool_call_off(struct pf_pool *p, uint32_t job, bool off)
{
    unsigned shift;
    _Atomic uint64_t *word = bits_of(p, job, &shift);
    if (off)
        atomic_fetch_or(word, OFF << shift);
    else if (pf__load(word) >> shift & (OFF | BEGUN))
        atomic_fetch_and(word, ~((OFF | BEGUN) << shift));
    atomic_thread_fence(memory_order_seq_cst); /* then the claims are looked at: who began before is seen there */
}

bool pf_pool_forestall(struct pf_pool *p, uint32_t job)
{
    unsigned shift;
    _Atomic uint64_t *word = bits_of(p, job, &shift);
    uint64_t bits = atomic_load(word);
    do {
        if (bits >> shift & BEGUN)
            return false;
    } while (!atomic_compare_exchange_weak(word, &bits, bits | OFF << shift));
    return true;
}

bool pf_pool_begun(struct pf_pool *p, uint32_t job)
{
    unsigned shift;
    uint64_t bits = atomic_load(bits_of(p, job, &shift));
    return bits >> shift & BEGUN;
}

void pf_pool_look(struct pf_pool *p, unsigned worker, struct pf_pool_worker *w)
{
    struct pf_claim *c = &p->h->claims[worker];
    uint32_t state;
    do {
        state = pf__load(&c->state);
        w->ticket = state % SERIAL == RUNNING ? pf__load(&c->ticket) : 0;
        w->since = pf__load(&c->since);
        atomic_thread_fence(memory_order_acquire);
    } while (pf__peek(&c->state) != state);
    w->busy = pf__load(&c->busy);
    w->done = pf__load(&c->done);
    w->ready = pf__load(&c->ready);
}

void pf_pool_stop(struct pf_pool *p, unsigned how)
{
    pf__store(&p->h->stop, how);
}

uint32_t pf_pool_seen(struct pf_pool *p)
{
    return pf__load(&p->h->word);
}

int pf_pool_wait(struct pf_pool *p, struct pf_ring *results, uint64_t n, uint32_t seen, int64_t deadline)
{
    struct pool_header *h = p->h;
    struct side *s = &results->h->prod;
    pf__refresh(results);
    uint32_t w = pf__load(&s->word);
    uint64_t goal = pf__view(&results->h->cons).count + n; /* nobody else reads */
    if (pf__view(s).count >= goal || (n == 1 && pf__spin_on(results, 1, s, w, deadline)))
        return 0;
    atomic_store(&h->want, goal);
    atomic_thread_fence(memory_order_seq_cst); /* either who puts sees this, or we see what he put */
    int rc = 0;
    if (pf__view(s).count < goal) {
        rc = pf_futex_wait(&h->word, seen, pf_slice(deadline, LOOK));
        if (rc == -ETIMEDOUT && deadline > pf_now())
            rc = -EINTR;
    }
    pf__store(&h->want, NEVER);
    return rc == -EAGAIN ? 0 : rc;
}

void pf_pool_kick(struct pf_pool *p)
{
    atomic_fetch_add(&p->h->word, 1);
    pf_futex_wake(&p->h->word, INT_MAX);
}

void pf_pool_call(struct pf_pool *p, struct pf_ring *results, uint64_t n)
{
    uint64_t goal = n ? pf__view(&results->h->cons).count + n : NEVER;
    if (n == 0 && pf__peek(&p->h->call) == NEVER)
        return;
    atomic_store(&p->h->call, goal);
    atomic_thread_fence(memory_order_seq_cst); /* as in pf_pool_wait */
    if (n && pf__view(&results->h->prod).count >= goal && atomic_compare_exchange_strong(&p->h->call, &goal, NEVER))
        pf_bell_ring(&results->bell);
}

/* ---- a worker ---- */

void pf_pool_ready(struct pf_pool *p, unsigned worker)
{
    pf__store(&p->h->claims[worker].ready, 1);
}

int pf_pool_take(struct pf_pool *p, unsigned worker, struct pf_box *box, int64_t deadline)
{
    p->tasks->claim = &p->h->claims[worker];
    return pf_ring_get(p->tasks, box, deadline);
}

bool pf_pool_begin(struct pf_pool *p, unsigned worker)
{
    struct pf_claim *c = &p->h->claims[worker];
    uint32_t serial = pf__peek(&c->state) / SERIAL + 1;
    unsigned shift;
    _Atomic uint64_t *word = bits_of(p, PF_POOL_JOB(pf__peek(&c->ticket)), &shift);
    pf__put(&c->since, pf_now());
    atomic_store(&c->state, serial * SERIAL + RUNNING);
    PF_POINT("pool.running");
    uint64_t bits = atomic_load(word);
    if (!(bits >> shift & (OFF | BEGUN)))
        bits = atomic_fetch_or(word, BEGUN << shift);
    return !(bits >> shift & OFF);
}

bool pf_pool_end(struct pf_pool *p, unsigned worker, int64_t *ns)
{
    struct pf_claim *c = &p->h->claims[worker];
    uint32_t state = pf__load(&c->state);
    if (state % SERIAL != RUNNING || !atomic_compare_exchange_strong(&c->state, &state, state - RUNNING + ENDED))
        return false;
    PF_POINT("pool.ended");
    *ns = pf_now() - pf__peek(&c->since);
    pf__put(&c->busy, pf__peek(&c->busy) + *ns);
    pf__put(&c->done, pf__peek(&c->done) + 1);
    return true;
}

int pf_pool_answer(struct pf_pool *p, struct pf_ring *results, const struct pf_iov *iov, unsigned n,
                   const struct pf_loan *refs, unsigned nrefs, int64_t deadline)
{
    struct pool_header *h = p->h;
    int rc = pf_ring_put(results, iov, n, refs, nrefs, deadline);
    if (rc < 0)
        return rc;
    PF_POINT("pool.answered");
    atomic_thread_fence(memory_order_seq_cst); /* either we see that somebody waits, or he sees the result */
    uint64_t count = pf__view(&results->h->prod).count;
    uint64_t want = pf__load(&h->want), call = pf__load(&h->call);
    if (count >= want && atomic_compare_exchange_strong(&h->want, &want, NEVER)) {
        PF_POINT("pool.waking");
        pf_pool_kick(p);
        PF_POINT("pool.woken");
    }
    if (count >= call && atomic_compare_exchange_strong(&h->call, &call, NEVER)) {
        PF_POINT("pool.calling");
        pf_bell_ring(&results->bell);
    }
    return rc;
}

void pf_pool_rest(struct pf_pool *p, unsigned worker)
{
    struct pf_claim *c = &p->h->claims[worker];
    pf__store(&c->number, 0);
    PF_POINT("pool.rest");
}

unsigned pf_pool_stopped(struct pf_pool *p)
{
    return pf__load(&p->h->stop);
}
