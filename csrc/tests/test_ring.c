#include <fcntl.h>

#include "items.h"

#ifdef PF_OS_POSIX
#define POLLS true /* no futex, nothing given back */
#else
#define POLLS false
#endif

#define SOON (pf_now() + 10 * PF_SECOND)

static struct pf_ring *ring(uint64_t maxsize, uint64_t max_bytes)
{
    struct pf_ring *r;
    CHECK_EQ(pf_ring_create(&r, maxsize, max_bytes), 0);
    CHECK_EQ(pf_ring_size(r), 0);
    CHECK_EQ(pf_ring_maxsize(r), maxsize);
    return r;
}

static int64_t kept(struct pf_ring *r)
{
    struct stat st;
    CHECK_EQ(fstat(pf_ring_fd(r), &st), 0);
    return (int64_t)st.st_blocks * 512;
}

static struct pf_ring_stats stats(struct pf_ring *r)
{
    struct pf_ring_stats s;
    pf_ring_stats(r, &s);
    return s;
}

/* Empty ring, nothing lent, locks free, books balanced. */
static void close_clean(struct pf_ring *r)
{
    struct pf_ring_stats s = stats(r);
    CHECK_EQ(pf_ring_size(r), 0);
    CHECK_EQ(s.put, s.got);
    CHECK_EQ(s.lent_bytes, 0);
    CHECK_EQ(s.producer, 0);
    CHECK_EQ(s.consumer, 0);
    pf_ring_close(r);
}

static void put_raw(struct pf_ring *r, const void *p, size_t len)
{
    struct pf_iov iov = {p, len};
    CHECK_EQ(pf_ring_put(r, &iov, 1, NULL, 0, PF_FOREVER), 0);
}

static void sizes(void)
{
    struct pf_ring *r = ring(0, 0);
    static char bytes[3 << 20];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 31 + (i >> 8));
    int n = 0;
    size_t all[400];
    for (size_t s = 0; s < 300; s++)
        all[n++] = s;
    for (size_t s = 512; s <= 2 << 20; s *= 2) {
        all[n++] = s - 1;
        all[n++] = s;
        all[n++] = s + 1;
    }
    all[n++] = PF_INLINE_MAX + 1;
    for (int backlog = 0; backlog < 2; backlog++) {
        for (int i = 0; i < n; i++) {
            put_raw(r, bytes, all[i]);
            CHECK_EQ(pf_ring_size(r), backlog ? i + 1 : 1);
            for (int k = backlog ? 0 : i; k <= i && (!backlog || i == n - 1); k++) {
                struct pf_box box = {0};
                CHECK_EQ(pf_ring_get(r, &box, PF_TRY), 0);
                CHECK_EQ(box.len, all[k]);
                CHECK(memcmp(box.data, bytes, all[k]) == 0);
                CHECK_EQ(box.nloans, 0);
                pf_box_clear(&box);
            }
        }
    }
    close_clean(r);
}

static void gathered(void)
{
    struct pf_ring *r = ring(0, 0);
    struct pf_iov iov[40];
    char bytes[40] = "abcdefghijklmnopqrstuvwxyz0123456789.,-";
    for (int i = 0; i < 40; i++)
        iov[i] = (struct pf_iov){bytes + i, i % 3 == 0 ? 0 : 1};
    CHECK_EQ(pf_ring_put(r, iov, 40, NULL, 0, PF_TRY), 0);
    CHECK_EQ(pf_ring_put(r, NULL, 0, NULL, 0, PF_TRY), 0);
    struct pf_box box = {0};
    CHECK_EQ(pf_ring_get(r, &box, PF_TRY), 0);
    CHECK_EQ(box.len, 26);
    CHECK(memcmp(box.data, "bcefhiklnoqrtuwxz0235689,-", 26) == 0);
    pf_box_clear(&box);
    CHECK_EQ(pf_ring_get(r, &box, PF_TRY), 0);
    CHECK_EQ(box.len, 0);
    pf_box_clear(&box);
    close_clean(r);
}

/* Random puts and gets against a counter: waves of backlog that wrap, jump, grow and shrink. */
static void waves(void)
{
    struct pf_ring *r = ring(0, 0);
    uint64_t seed = 3;
    uint32_t in = 0, out = 0;
    for (int wave = 0; wave < 60; wave++) {
        uint64_t top = UINT64_C(1) << (check_random(&seed) % 11), big = check_random(&seed) % 5;
        uint64_t max = big == 0 ? 200000 : big == 1 ? 30000 : 600;
        for (int step = 0; step < 800; step++) {
            uint64_t d = check_random(&seed);
            if (in - out < top && d % 3) {
                CHECK_EQ(item_put(r, 1, in++, (d >> 8) % max, SOON), 0);
            } else if (in != out) {
                struct item it;
                CHECK_EQ(item_get(r, &it, PF_TRY), 0);
                CHECK_EQ(it.seq, out++);
            }
            CHECK_EQ(pf_ring_size(r), in - out);
        }
        for (struct item it; in - out > top; out++) {
            CHECK_EQ(item_get(r, &it, SOON), 0);
            CHECK_EQ(it.seq, out);
        }
    }
    for (struct item it; out != in; out++) {
        CHECK_EQ(item_get(r, &it, SOON), 0);
        CHECK_EQ(it.seq, out);
    }
    CHECK_EQ(stats(r).put, in);
    close_clean(r);
}

static void empty_and_full(void)
{
    struct item it;
    for (uint64_t max = 1; max < 5; max += 3) {
        struct pf_ring *r = ring(max, 0);
        for (int round = 0; round < 2; round++) {
            CHECK_EQ(item_get(r, &it, PF_TRY), -EAGAIN);
            CHECK_EQ(item_get(r, &it, PF_NOWAIT), -ETIMEDOUT);
            CHECK_EQ(pf_ring_wait(r, PF_NOWAIT), -ETIMEDOUT);
            int64_t end = pf_now() + 50 * MS;
            CHECK_EQ(item_get(r, &it, end), -ETIMEDOUT);
            CHECK(pf_now() >= end && pf_now() < end + 200 * MS);
            for (uint32_t i = 0; i < max; i++)
                CHECK_EQ(item_put(r, 0, i, 10, PF_NOWAIT), 0);
            CHECK_EQ(pf_ring_size(r), max);
            CHECK_EQ(pf_ring_wait(r, PF_NOWAIT), 0);
            CHECK_EQ(item_put(r, 0, 9, 10, PF_TRY), -EAGAIN);
            CHECK_EQ(item_put(r, 0, 9, 10, PF_NOWAIT), -ETIMEDOUT);
            end = pf_now() + 50 * MS;
            CHECK_EQ(item_put(r, 0, 9, 10, end), -ETIMEDOUT);
            CHECK(pf_now() >= end && pf_now() < end + 200 * MS);
            for (uint32_t i = 0; i < max; i++) {
                CHECK_EQ(item_get(r, &it, PF_NOWAIT), 0);
                CHECK_EQ(it.seq, i);
            }
        }
        close_clean(r);
    }
}

static void batches(void)
{
    uint64_t seed = 4;
    static char data[100 * 700];
    static uint64_t off[101];
    static struct pf_box boxes[100];
    for (uint64_t max = 0; max < 80; max += 37) {
        struct pf_ring *r = ring(max, 0);
        uint32_t in = 0, out = 0;
        CHECK_EQ(pf_ring_put_many(r, data, off, 0, PF_TRY), 0);
        for (int round = 0; round < 2000; round++) {
            unsigned n = 1 + (unsigned)(check_random(&seed) % 100);
            for (unsigned i = 0; i < n; i++) {
                struct item it = {5, in + i, check_random(&seed) % 600};
                memcpy(data + off[i], &it, sizeof it);
                item_fill(data + off[i] + sizeof it, &it);
                off[i + 1] = off[i] + sizeof it + it.len;
            }
            int64_t deadline = round & 1 ? PF_TRY : PF_NOWAIT;
            int rc = pf_ring_put_many(r, data, off, n, deadline);
            if (max && in - out == max)
                CHECK_EQ(rc, deadline == PF_TRY ? -EAGAIN : -ETIMEDOUT);
            else
                CHECK_EQ(rc, max && max - (in - out) < n ? max - (in - out) : n);
            in += rc > 0 ? (uint32_t)rc : 0;
            CHECK_EQ(pf_ring_size(r), in - out);
            while (in - out > (round % 50 ? 60 : 0)) { /* now and then to the last */
                unsigned want = 1 + (unsigned)(check_random(&seed) % 100);
                bool settle;
                rc = pf_ring_get_many(r, boxes, want, PF_TRY, &settle);
                CHECK(rc > 0 && (unsigned)rc <= want);
                for (int i = 0; i < rc; i++)
                    CHECK_EQ(item_open(r, &boxes[i]).seq, out++);
            }
        }
        while (out != in) {
            int rc = pf_ring_get_many(r, boxes, 100, PF_NOWAIT, NULL);
            CHECK(rc > 0);
            for (int i = 0; i < rc; i++)
                CHECK_EQ(item_open(r, &boxes[i]).seq, out++);
        }
        CHECK_EQ(pf_ring_get_many(r, boxes, 100, PF_TRY, NULL), -EAGAIN);
        close_clean(r);
    }
}

/* A backlog is taken whatever its size, and its memory given back, in order and in whole. */
static void backlog(void)
{
    struct pf_ring *r = ring(0, 0);
    const uint32_t n = 10000;
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < n; i++)
            CHECK_EQ(item_put(r, 0, i, 20000, SOON), 0);
        CHECK(kept(r) >= (int64_t)n * 20000);
        struct item it;
        for (uint32_t i = 0; i < n; i++) {
            CHECK_EQ(item_get(r, &it, PF_TRY), 0);
            CHECK_EQ(it.seq, i);
        }
        if (!POLLS)
            CHECK(kept(r) < 64 << 20);
        for (uint32_t i = 0; i < 100; i++) {
            CHECK_EQ(item_put(r, 0, i, 20000, SOON), 0);
            CHECK_EQ(item_get(r, &it, PF_TRY), 0);
            CHECK_EQ(it.seq, i);
        }
    }
    close_clean(r);
}

/* Always something left, so that the ring is never empty: memory stays bounded all the same. */
static void rolling_backlog(void)
{
    struct pf_ring *r = ring(0, 0);
    uint32_t in = 0, out = 0;
    int64_t most = 0;
    struct item it;
    while (in < 30000) {
        CHECK_EQ(item_put(r, 0, in++, 20000, SOON), 0);
        if (in - out > 1000) { /* 20 MB */
            CHECK_EQ(item_get(r, &it, PF_TRY), 0);
            CHECK_EQ(it.seq, out++);
        }
        if (in % 100 == 0 && kept(r) > most)
            most = kept(r);
    }
    if (!POLLS)
        CHECK(most < 128 << 20);
    while (out != in) {
        CHECK_EQ(item_get(r, &it, PF_TRY), 0);
        CHECK_EQ(it.seq, out++);
    }
    close_clean(r);
}

static void blocks(void)
{
    struct pf_ring *r = ring(0, 0);
    struct pf_loan loan, again;
    CHECK_EQ(pf_ring_block(r, 1 << 20, &loan), 0);
    CHECK(loan.len == 1 << 20 && loan.base);
    CHECK(stats(r).lent_bytes >= 1 << 20);
    pf_ring_return(r, &loan); /* never put */
    CHECK_EQ(stats(r).lent_bytes, 0);
    CHECK_EQ(pf_ring_block(r, 1 << 20, &again), 0);
    CHECK_EQ(again.block, loan.block); /* recycled, at the same address */
    CHECK(again.base == loan.base);
    pf_ring_return(r, &again);

    uint64_t before = stats(r).block_bytes;
    for (uint32_t i = 0; i < 500; i++) {
        struct item it;
        CHECK_EQ(item_put(r, 0, i, (1 << 20) - i, SOON), 0);
        CHECK_EQ(item_get(r, &it, PF_TRY), 0);
        CHECK_EQ(it.seq, i);
    }
    CHECK_EQ(stats(r).block_bytes, before); /* one block did it all */

    /* all sizes, held for a while */
    uint32_t in = 0, out = 0;
    uint64_t seed = 5;
    for (int i = 0; i < 300; i++) {
        uint64_t len = 1 + check_random(&seed) % (i % 10 ? 300000 : 9000000);
        CHECK_EQ(item_put(r, 0, in++, PF_INLINE_MAX + len, SOON), 0);
        if (in - out > 20) {
            struct item it;
            CHECK_EQ(item_get(r, &it, PF_TRY), 0);
            CHECK_EQ(it.seq, out++);
        }
    }
    while (out != in) {
        struct item it;
        CHECK_EQ(item_get(r, &it, PF_TRY), 0);
        CHECK_EQ(it.seq, out++);
    }
    if (!POLLS)
        CHECK(kept(r) < 64 << 20);
    close_clean(r);
}

static void many_blocks_in_one(void)
{
    struct pf_ring *r = ring(0, 0);
    struct pf_loan loans[PF_MAX_REFS + 1];
    struct pf_iov iov = {"payload", 7};
    for (unsigned i = 0; i <= PF_MAX_REFS; i++) {
        CHECK_EQ(pf_ring_block(r, 1000 + i, &loans[i]), 0);
        memset(loans[i].base, (int)i, loans[i].len);
    }
    CHECK_EQ(pf_ring_put(r, &iov, 1, loans, PF_MAX_REFS + 1, PF_TRY), -EMSGSIZE);
    pf_ring_return(r, &loans[PF_MAX_REFS]);
    CHECK_EQ(pf_ring_put(r, &iov, 1, loans, PF_MAX_REFS, PF_TRY), 0);
    struct pf_box box = {0};
    CHECK_EQ(pf_ring_get(r, &box, PF_TRY), 0);
    CHECK_EQ(box.nloans, PF_MAX_REFS);
    CHECK(box.len == 7 && memcmp(box.data, "payload", 7) == 0);
    for (unsigned i = 0; i < PF_MAX_REFS; i++) {
        CHECK_EQ(box.loans[i].len, 1000 + i);
        for (unsigned k = 0; k < 1000 + i; k++)
            CHECK_EQ(((char *)box.loans[i].base)[k], (char)i);
        pf_ring_return(r, &box.loans[i]);
    }
    pf_box_clear(&box);
    close_clean(r);
}

/* More blocks than there can be: refused, and everything works without. */
static void blocks_run_out(void)
{
    struct pf_ring *r = ring(0, 0);
    static struct pf_loan loans[2000];
    int n = 0, rc = 0;
    while (n < 2000 && (rc = pf_ring_block(r, 100, &loans[n])) == 0)
        n++;
    CHECK(n >= 100);
    CHECK(rc == -ENOSPC || rc == -ENOMEM);
    CHECK_EQ(item_put(r, 0, 1, 100000, SOON), 0); /* inline, then */
    struct item it;
    CHECK_EQ(item_get(r, &it, PF_TRY), 0);
    while (n > 0)
        pf_ring_return(r, &loans[--n]);
    CHECK_EQ(pf_ring_block(r, 100, &loans[0]), 0);
    pf_ring_return(r, &loans[0]);
    close_clean(r);
}

/* Before a fork a loan becomes memory of our own, in place. */
static void privatize(void)
{
    struct pf_ring *r = ring(0, 0);
    CHECK_EQ(item_put(r, 3, 4, 300000, SOON), 0);
    struct pf_box box = {0};
    CHECK_EQ(pf_ring_get(r, &box, PF_TRY), 0);
    struct item it;
    memcpy(&it, box.data, sizeof it);
    CHECK_EQ(box.nloans, 1);
    struct pf_loan loan = box.loans[0];
    CHECK_EQ(pf_ring_privatize(r, &loan), 0);
    CHECK_EQ(stats(r).lent_bytes, 0);
    CHECK(item_ok(loan.base, &it));
    pf_box_clear(&box);
    /* the block goes round again without disturbing the copy */
    for (uint32_t i = 0; i < 5; i++) {
        struct item other;
        CHECK_EQ(item_put(r, 9, i, 300000, SOON), 0);
        CHECK_EQ(item_get(r, &other, PF_TRY), 0);
        CHECK_EQ(other.seq, i);
    }
    CHECK(item_ok(loan.base, &it));
    pid_t pid = check_fork();
    if (pid == 0) {
        CHECK(item_ok(loan.base, &it));
        memset(loan.base, 0, loan.len);
        _exit(0);
    }
    check_reap(pid);
    CHECK(item_ok(loan.base, &it));
    CHECK_EQ(munmap(loan.base, (loan.len + 4095) & ~(size_t)4095), 0);
    close_clean(r);
}

/* The ceiling refuses, loses nothing, and lets go again. */
static void ceiling(void)
{
    for (uint64_t len = 100; len < 200000; len *= 40) {
        struct pf_ring *r = ring(0, 8 << 20);
        for (int round = 0; round < 3; round++) {
            uint32_t in = 0;
            int rc;
            while ((rc = item_put(r, 0, in, len, SOON)) == 0)
                CHECK(in++ < 200000);
            CHECK_EQ(rc, -PF_ETOOBIG);
            CHECK(in * len > 1 << 20);
            CHECK(kept(r) <= (8 << 20) + (64 << 10));
            CHECK_EQ(pf_ring_size(r), in);
            for (uint32_t i = 0; i < in; i++) {
                struct item it;
                CHECK_EQ(item_get(r, &it, PF_TRY), 0);
                CHECK_EQ(it.seq, i);
            }
        }
        close_clean(r);
    }
}

/* A limit on file sizes: the ring is made smaller, then says so. */
static void file_size_limit(void)
{
    pid_t pid = check_fork();
    if (pid == 0) {
        signal(SIGXFSZ, SIG_IGN);
        struct rlimit lim = {32 << 20, 32 << 20};
        CHECK_EQ(setrlimit(RLIMIT_FSIZE, &lim), 0);
        struct pf_ring *r;
        int rc = pf_ring_create(&r, 0, 0);
        CHECK_EQ(rc, 0);
        uint32_t in = 0;
        while ((rc = item_put(r, 0, in, 50000, SOON)) == 0)
            CHECK(in++ < 1000);
        CHECK(rc == -EFBIG || rc == -ENOSPC || rc == -PF_ETOOBIG);
        CHECK(in > 40);
        struct item it;
        for (uint32_t i = 0; i < in; i++) {
            CHECK_EQ(item_get(r, &it, PF_TRY), 0);
            CHECK_EQ(it.seq, i);
        }
        CHECK_EQ(item_put(r, 0, 7, 50000, SOON), 0);
        CHECK_EQ(item_get(r, &it, PF_TRY), 0);
        close_clean(r);
        _exit(0);
    }
    check_reap(pid);
}

static void done_and_join(void)
{
    struct pf_ring *r = ring(0, 0);
    CHECK_EQ(pf_ring_join(r, PF_NOWAIT), 0); /* nothing to do */
    CHECK_EQ(pf_ring_done(r), -EINVAL);
    struct item it;
    for (uint32_t i = 0; i < 3; i++)
        CHECK_EQ(item_put(r, 0, i, 10, PF_TRY), 0);
    for (int i = 0; i < 3; i++) {
        int64_t end = pf_now() + 20 * MS;
        CHECK_EQ(join_again(r, end), -ETIMEDOUT);
        CHECK(pf_now() >= end && pf_now() < end + 200 * MS);
        CHECK_EQ(item_get(r, &it, PF_TRY), 0);
        CHECK_EQ(pf_ring_done(r), 0);
    }
    CHECK_EQ(pf_ring_done(r), -EINVAL);
    CHECK_EQ(pf_ring_join(r, PF_FOREVER), 0);
    CHECK_EQ(stats(r).done, 3);
    close_clean(r);
}

static bool rung(struct pf_ring *r)
{
    struct pollfd p = {pf_ring_bell(r).wait_fd, POLLIN, 0};
    return poll(&p, 1, 0) == 1;
}

static void bell(void)
{
    struct pf_ring *r = ring(0, 0);
    struct item it;
    CHECK_EQ(item_put(r, 0, 1, 10, PF_TRY), 0);
    CHECK(!rung(r)); /* nobody asked: no system call */
    CHECK_EQ(pf_ring_arm(r), 0);
    CHECK(rung(r)); /* what was there before counts */
    CHECK_EQ(pf_ring_arm(r), 0);
    CHECK_EQ(item_get(r, &it, PF_TRY), 0);
    CHECK(!rung(r));
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(item_put(r, 0, 1, 10, PF_TRY), 0);
        CHECK_EQ(item_put(r, 0, 2, 40000, PF_TRY), 0);
        CHECK(rung(r));
        CHECK_EQ(item_get(r, &it, PF_TRY), 0);
        CHECK(rung(r)); /* one is left */
        CHECK_EQ(pf_ring_settle(r), 0);
        CHECK(rung(r));
        CHECK_EQ(item_get(r, &it, PF_TRY), 0);
        CHECK(!rung(r));
    }
    char data[32] = "many";
    uint64_t off[3] = {0, 16, 32};
    CHECK_EQ(pf_ring_put_many(r, data, off, 2, PF_TRY), 2);
    CHECK(rung(r));
    struct pf_box boxes[4];
    memset(boxes, 0, sizeof boxes);
    bool settle;
    CHECK_EQ(pf_ring_get_many(r, boxes, 4, PF_TRY, &settle), 2);
    CHECK(settle);
    pf_box_clear(&boxes[0]);
    pf_box_clear(&boxes[1]);
    CHECK_EQ(pf_ring_settle(r), 0);
    CHECK(!rung(r));
    close_clean(r);
}

#define PRODUCERS 3
#define CONSUMERS 3
#define EACH 20000

struct crowd {
    struct pf_ring *r;
    uint32_t who;
    _Atomic int *left; /* items nobody got yet */
    _Atomic uint8_t *got;
};

static uint64_t size_of(uint32_t seq)
{
    return seq % 997 == 0 ? 70000 : seq % 50 == 0 ? 3000 : seq % 40;
}

static void *produce(void *arg)
{
    struct crowd *c = arg;
    for (uint32_t i = 0; i < EACH; i++)
        CHECK_EQ(item_put(c->r, c->who, i, size_of(i), PF_FOREVER), 0);
    return NULL;
}

static void *consume(void *arg)
{
    struct crowd *c = arg;
    int64_t last[PRODUCERS] = {-1, -1, -1};
    struct pf_box boxes[7];
    memset(boxes, 0, sizeof boxes);
    while (atomic_load(c->left) > 0) {
        int rc = c->who & 1 ? pf_ring_get_many(c->r, boxes, 7, pf_now() + 20 * MS, NULL)
                            : pf_ring_get(c->r, boxes, pf_now() + 20 * MS);
        if (rc == -ETIMEDOUT || rc == -EINTR)
            continue;
        CHECK(rc >= 0);
        int n = c->who & 1 ? rc : 1;
        for (int i = 0; i < n; i++) {
            struct item it = item_open(c->r, &boxes[i]);
            CHECK(it.who < PRODUCERS && it.seq < EACH && it.len == size_of(it.seq));
            CHECK((int64_t)it.seq > last[it.who]); /* in order, as one consumer sees one producer */
            last[it.who] = it.seq;
            CHECK_EQ(atomic_fetch_add(&c->got[it.who * EACH + it.seq], 1), 0);
        }
        atomic_fetch_sub(c->left, n);
    }
    return NULL;
}

static void crowded(uint64_t maxsize)
{
    struct pf_ring *r = ring(maxsize, 0);
    _Atomic int left = PRODUCERS * EACH;
    _Atomic uint8_t *got = calloc(PRODUCERS * EACH, 1);
    struct crowd c[PRODUCERS + CONSUMERS];
    pthread_t t[PRODUCERS + CONSUMERS];
    for (uint32_t i = 0; i < PRODUCERS + CONSUMERS; i++) {
        c[i] = (struct crowd){r, i, &left, got};
        CHECK_EQ(pthread_create(&t[i], NULL, i < PRODUCERS ? produce : consume, &c[i]), 0);
    }
    for (int i = 0; i < PRODUCERS + CONSUMERS; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(left, 0);
    for (int i = 0; i < PRODUCERS * EACH; i++)
        CHECK_EQ(got[i], 1);
    free((void *)got);
    close_clean(r);
}

static void crowded_unbounded(void)
{
    crowded(0);
}

static void crowded_bounded(void)
{
    crowded(5);
}

static void on_alarm(int sig)
{
    (void)sig;
}

static void interrupted(void)
{
    struct sigaction sa = {.sa_handler = on_alarm}, old;
    sigaction(SIGALRM, &sa, &old);
    struct pf_ring *r = ring(1, 0);
    struct itimerval it = {{0, 50000}, {0, 50000}}, off = {{0, 0}, {0, 0}}; /* again: one may come just before the sleep */
    struct item item;
    struct pf_box box = {0};
    for (int i = 0; i < 3; i++) {
        if (i == 1)
            CHECK_EQ(item_put(r, 0, 0, 0, PF_TRY), 0);
        setitimer(ITIMER_REAL, &it, NULL);
        int64_t start = pf_now();
        CHECK_EQ(i == 0   ? pf_ring_get(r, &box, PF_FOREVER)
                 : i == 1 ? pf_ring_put(r, NULL, 0, NULL, 0, PF_FOREVER)
                          : pf_ring_join(r, PF_FOREVER),
                 -EINTR);
        CHECK(pf_now() - start < PF_SECOND);
        setitimer(ITIMER_REAL, &off, NULL);
    }
    CHECK_EQ(item_get(r, &item, PF_TRY), 0);
    CHECK_EQ(pf_ring_done(r), 0);
    close_clean(r);
    sigaction(SIGALRM, &old, NULL);
}

static void blocked_without_cpu(void)
{
    struct pf_ring *r = ring(0, 0);
    struct item it;
    int64_t cpu = check_cpu();
    CHECK_EQ(item_get(r, &it, pf_now() + 2 * PF_SECOND), -ETIMEDOUT);
    CHECK(check_cpu() - cpu < (POLLS ? 50 : 10) * MS);
    close_clean(r);
}

/* Two handles in one process, as after the descriptors travelled. */
static void attach(void)
{
    struct pf_ring *a = ring(0, 0), *b;
    struct pf_bell bell = pf_ring_bell(a), copy = {dup(bell.wait_fd), -1};
    copy.ring_fd = bell.ring_fd == bell.wait_fd ? copy.wait_fd : dup(bell.ring_fd);
    CHECK_EQ(pf_ring_attach(&b, dup(pf_ring_fd(a)), copy), 0);
    for (uint32_t i = 0; i < 3000; i++) {
        struct item it;
        CHECK_EQ(item_put(i & 1 ? a : b, 0, i, i * 37 % 90000, PF_TRY), 0);
        if (i >= 100) {
            CHECK_EQ(item_get(i & 2 ? a : b, &it, PF_TRY), 0);
            CHECK_EQ(it.seq, i - 100);
        }
    }
    CHECK_EQ(pf_ring_size(a), 100);
    CHECK_EQ(pf_ring_size(b), 100);
    pf_ring_close(a);
    for (uint32_t i = 2900; i < 3000; i++) {
        struct item it;
        CHECK_EQ(item_get(b, &it, PF_TRY), 0);
        CHECK_EQ(it.seq, i);
    }
    close_clean(b);
}

static void attach_refuses(void)
{
    struct pf_ring *r;
    struct pf_bell none = {-1, -1};
    CHECK(pf_ring_attach(&r, -1, none) < 0);
    int fd = pf_shm_create(4096);
    CHECK_EQ(pf_ring_attach(&r, fd, none), -PF_ECORRUPT);
    close(fd);
    fd = pf_shm_create(64 << 20);
    CHECK_EQ(pf_ring_attach(&r, fd, none), -PF_ECORRUPT);
    close(fd);
    struct pf_ring *good = ring(0, 0);
    void *p;
    CHECK_EQ(pf_shm_map(pf_ring_fd(good), 0, 4096, &p), 0);
    ((uint32_t *)p)[2]++; /* the layout's version */
    CHECK_EQ(pf_ring_attach(&r, pf_ring_fd(good), none), -PF_EVERSION);
    pf_shm_unmap(p, 4096);
    pf_ring_close(good);
}

/* Everything a program may do with a ring, on memory that lies. */
static void use_everything(struct pf_ring *r)
{
    struct pf_box boxes[8];
    memset(boxes, 0, sizeof boxes);
    char data[64] = "x";
    uint64_t off[4] = {0, 1, 1, 64};
    struct pf_loan loan;
    struct pf_iov iov = {data, 3};
    pf_ring_arm(r);
    for (int i = 0; i < 3; i++) {
        int rc = pf_ring_get_many(r, boxes, 8, PF_NOWAIT, NULL);
        for (int k = 0; k < rc; k++) {
            for (uint32_t l = 0; l < boxes[k].nloans; l++) {
                if (boxes[k].loans[l].len)
                    ((volatile char *)boxes[k].loans[l].base)[boxes[k].loans[l].len - 1]++;
                pf_ring_return(r, &boxes[k].loans[l]);
            }
            pf_box_clear(&boxes[k]);
        }
        rc = pf_ring_block(r, 100000, &loan);
        if (rc == 0) {
            memset(loan.base, 1, 100000);
            if (pf_ring_put(r, &iov, 1, &loan, 1, PF_NOWAIT) < 0)
                pf_ring_return(r, &loan);
        }
        pf_ring_put_many(r, data, off, 3, PF_NOWAIT);
        pf_ring_put(r, &iov, 1, NULL, 0, PF_NOWAIT);
        pf_ring_done(r);
        pf_ring_join(r, PF_NOWAIT);
        pf_ring_settle(r);
        stats(r);
        pf_ring_size(r);
    }
}

/* One block in two places of a message would have two owners. */
static void block_twice(void)
{
    struct pf_ring *r = ring(0, 0);
    struct pf_loan twice[2];
    struct pf_box box = {0};
    CHECK_EQ(pf_ring_block(r, 100000, &twice[0]), 0);
    twice[1] = twice[0];
    struct pf_iov iov = {"x", 1};
    CHECK_EQ(pf_ring_put(r, &iov, 1, twice, 2, PF_TRY), 0);
    CHECK_EQ(pf_ring_get(r, &box, PF_TRY), -PF_ECORRUPT);
    pf_ring_close(r);
}

static void corrupted(void)
{
    static const char *const where[] = {"header", "messages", "blocks", "anywhere"};
    int crashes = 0;
    int seeds = getenv("SEEDS") ? atoi(getenv("SEEDS")) : 400;
    pid_t running[8] = {0}; /* most of their time is spent waiting for owners that never were */
    for (int seed = 1; seed <= seeds + 8; seed++) {
        int kind = seed % 4;
        pid_t *pid = &running[seed % 8];
        if (*pid) {
            int status = check_reap_within(*pid, 40 * PF_SECOND);
            if (status != 0) {
                fprintf(stderr, "seed %d (%s): %s %d\n", seed - 8, where[kind], WIFSIGNALED(status) ? "signal" : "exit",
                        WIFSIGNALED(status) ? WTERMSIG(status) : status >> 8);
                crashes++;
            }
        }
        *pid = seed > seeds ? 0 : check_fork();
        if (seed <= seeds && *pid == 0) {
            uint64_t random = (uint64_t)seed;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
            struct rlimit lim = {UINT64_C(3) << 30, UINT64_C(3) << 30};
            setrlimit(RLIMIT_AS, &lim);
#endif
            alarm(30);
            struct pf_ring *r = ring(seed % 7 ? 0 : 50, 64 << 20);
            for (uint32_t i = 0; i < 20; i++)
                CHECK_EQ(item_put(r, 0, i, i * 11 % 300 + (i % 5 ? 0 : 40000), PF_TRY), 0);
            for (uint32_t i = 0; i < 5; i++) {
                struct item it;
                CHECK_EQ(item_get(r, &it, PF_TRY), 0);
            }
            void *p;
            CHECK_EQ(pf_shm_map(pf_ring_fd(r), 0, 256 << 10, &p), 0);
            size_t from = kind == 1 ? 64 << 10 : kind == 2 ? 1024 : 0;
            size_t size = kind == 0 ? 1024 : kind == 1 ? 2048 : kind == 2 ? 20 * 64 : 128 << 10;
            int n = 1 + (int)(check_random(&random) % 6);
            for (int i = 0; i < n; i++) {
                uint64_t x = check_random(&random);
                char *at = (char *)p + from + (x >> 20) % size;
                if (x & 1)
                    *at = (char)(x >> 8);
                else
                    *(uint64_t *)(void *)((uintptr_t)at & ~(uintptr_t)7) = check_random(&random) >> (x >> 8 & 63);
            }
            use_everything(r);
            struct pf_bell none = {-1, -1};
            struct pf_ring *other;
            if (pf_ring_attach(&other, dup(pf_ring_fd(r)), none) == 0) {
                use_everything(other);
                pf_ring_close(other);
            }
            pf_ring_close(r);
            _exit(0);
        }
    }
    CHECK_EQ(crashes, 0);
}

static const struct check_case cases[] = {CASE(sizes),
                                          CASE(gathered),
                                          CASE(waves),
                                          CASE(empty_and_full),
                                          CASE(batches),
                                          CASE(backlog),
                                          CASE(rolling_backlog),
                                          CASE(blocks),
                                          CASE(many_blocks_in_one),
                                          CASE(blocks_run_out),
                                          CASE(privatize),
                                          CASE(ceiling),
                                          CASE(file_size_limit),
                                          CASE(done_and_join),
                                          CASE(bell),
                                          CASE(crowded_unbounded),
                                          CASE(crowded_bounded),
                                          CASE(interrupted),
                                          CASE(blocked_without_cpu),
                                          CASE(attach),
                                          CASE(attach_refuses),
                                          CASE(block_twice),
                                          CASE(corrupted)};
CHECK_MAIN(cases)
