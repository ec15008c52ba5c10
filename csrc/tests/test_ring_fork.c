#include <sched.h>

#include "items.h"

#define WHO 8
#define MOST 20000

struct books { /* shared by all processes of a test */
    _Atomic uint8_t got[WHO][MOST];
    _Atomic uint32_t begun[WHO], sent[WHO]; /* numbers below are under way, are in the ring */
    _Atomic int left;                       /* not yet got */
    _Atomic int flag[8];
};

static struct books *books;
static struct pf_ring *r;

static void open_books(uint64_t maxsize)
{
    books = check_shared(sizeof *books);
    CHECK_EQ(pf_ring_create(&r, maxsize, 0), 0);
}

static void close_books(void)
{
    struct pf_ring_stats s;
    pf_ring_stats(r, &s);
    CHECK_EQ(pf_ring_size(r), 0);
    CHECK_EQ(s.lent_bytes, 0);
    CHECK_EQ(s.producer, 0);
    CHECK_EQ(s.consumer, 0);
    pf_ring_close(r);
    munmap(books, sizeof *books);
}

/* gcc 12's sanitizers do not make their allocators safe in a child of a threaded process, as libc does. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CHILD_MAY_ALLOCATE 0
#else
#define CHILD_MAY_ALLOCATE 1
#endif

static uint64_t size_of(uint32_t who, uint32_t seq)
{
    if (who == 1 && !CHILD_MAY_ALLOCATE)
        return seq % 100;
    uint32_t x = seq * 7 + who;
    return x % 500 == 0 ? 200000 : x % 60 == 0 ? 20000 : x % 100;
}

static void produce(uint32_t who, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        atomic_store(&books->begun[who], i + 1);
        CHECK_EQ(item_put(r, who, i, size_of(who, i), pf_now() + 30 * PF_SECOND), 0);
        atomic_store(&books->sent[who], i + 1);
    }
}

static void note(const struct item *it)
{
    CHECK(it->who < WHO && it->seq < MOST && it->len == size_of(it->who, it->seq));
    CHECK_EQ(atomic_fetch_add(&books->got[it->who][it->seq], 1), 0); /* nothing twice */
}

static void consume(void)
{
    int64_t last[WHO], quiet = pf_now();
    memset(last, -1, sizeof last);
    while (atomic_load(&books->left) > 0) {
        struct item it;
        int rc = item_get(r, &it, pf_now() + 50 * MS);
        if (rc == -ETIMEDOUT) {
            CHECK(pf_now() < quiet + 20 * PF_SECOND);
            continue;
        }
        CHECK_EQ(rc, 0);
        quiet = pf_now();
        CHECK((int64_t)it.seq > last[it.who]);
        last[it.who] = it.seq;
        note(&it);
        atomic_fetch_sub(&books->left, 1);
    }
}

static void run(uint32_t producers, int consumers, uint32_t each, uint64_t maxsize)
{
    open_books(maxsize);
    books->left = (int)(producers * each);
    pid_t pid[16];
    int n = 0;
    for (uint32_t i = 0; i < producers; i++) {
        if ((pid[n++] = check_fork()) == 0) {
            produce(i, each);
            _exit(0);
        }
    }
    for (int i = 0; i < consumers; i++) {
        if ((pid[n++] = check_fork()) == 0) {
            consume();
            _exit(0);
        }
    }
    while (n > 0)
        check_reap(pid[--n]);
    for (uint32_t i = 0; i < producers; i++) {
        for (uint32_t k = 0; k < each; k++)
            CHECK_EQ(books->got[i][k], 1);
    }
    close_books();
}

static void one_to_one(void)
{
    run(1, 1, MOST, 0);
}

static void many_to_one(void)
{
    run(4, 1, 6000, 0);
}

static void one_to_many(void)
{
    run(1, 4, MOST, 0);
}

static void many_to_many(void)
{
    run(3, 3, 6000, 0);
}

static void bounded(void)
{
    run(1, 1, 4000, 1);
    run(3, 3, 1500, 2);
    run(2, 2, 4000, 16);
}

static void *put_until_told(void *arg)
{
    uint32_t i = 0;
    while (!atomic_load((_Atomic int *)arg) && i < MOST) {
        CHECK_EQ(item_put(r, 0, i, size_of(0, i), PF_FOREVER), 0);
        atomic_store(&books->sent[0], ++i);
        if (i % 8 == 0)
            check_sleep(MS / 10);
    }
    return NULL;
}

static void *drain_until_told(void *arg)
{
    while (!atomic_load((_Atomic int *)arg)) {
        struct item it;
        int rc = item_get(r, &it, pf_now() + 5 * MS);
        CHECK(rc == 0 || rc == -ETIMEDOUT);
        if (rc == 0)
            note(&it);
    }
    return NULL;
}

/* fork while other threads are inside put and get: the child's handle works, the parent's goes on. */
static void fork_in_threads(void)
{
    open_books(0);
    _Atomic int stop = 0;
    pthread_t t, u;
    CHECK_EQ(pthread_create(&t, NULL, put_until_told, &stop), 0);
    CHECK_EQ(pthread_create(&u, NULL, drain_until_told, &stop), 0);
    const uint32_t each = 3;
    for (uint32_t i = 0; i < 300; i++) {
        pid_t pid = check_fork();
        if (pid == 0) {
            for (uint32_t k = 0; k < each; k++) {
                uint32_t seq = i * each + k;
                CHECK_EQ(item_put(r, 1, seq, size_of(1, seq), pf_now() + 5 * PF_SECOND), 0);
            }
            struct item it;
            if (CHILD_MAY_ALLOCATE && i % 3 == 0 && item_get(r, &it, pf_now() + 50 * MS) == 0)
                note(&it);
            _exit(0);
        }
        check_reap(pid);
    }
    atomic_store(&stop, 1);
    pthread_join(t, NULL);
    pthread_join(u, NULL);
    struct item it;
    while (item_get(r, &it, PF_TRY) == 0)
        note(&it);
    for (uint32_t k = 0; k < books->sent[0]; k++)
        CHECK_EQ(books->got[0][k], 1);
    for (uint32_t k = 0; k < 300 * each; k++)
        CHECK_EQ(books->got[1][k], 1);
    close_books();
}

static void grandchildren(void)
{
    open_books(0);
    for (int i = 0; i < 3; i++) {
        pid_t pid = check_fork();
        if (pid == 0) {
            struct item it;
            CHECK_EQ(item_put(r, 0, 0, 100, PF_NOWAIT), 0);
            pid_t inner = check_fork();
            if (inner == 0) {
                CHECK_EQ(item_put(r, 0, 1, 100000, PF_NOWAIT), 0);
                CHECK_EQ(item_get(r, &it, PF_NOWAIT), 0);
                CHECK_EQ(it.seq, 0);
                _exit(0);
            }
            check_reap(inner);
            CHECK_EQ(item_get(r, &it, PF_NOWAIT), 0);
            CHECK_EQ(it.seq, 1);
            _exit(0);
        }
        check_reap(pid);
    }
    close_books();
}

/* Consumers killed at random instants: the others get everything but what was in the dead's hands. */
static void consumers_killed(void)
{
    open_books(0);
    books->left = INT_MAX;
    uint64_t seed = 6;
    pid_t producer = check_fork();
    if (producer == 0) {
        for (uint32_t i = 0; i < MOST; i++) {
            CHECK_EQ(item_put(r, 0, i, size_of(0, i), PF_FOREVER), 0);
            if (i % 8 == 0)
                check_sleep(MS / 20);
        }
        _exit(0);
    }
    int kills = 0, status;
    while (waitpid(producer, &status, WNOHANG) == 0) {
        pid_t pid = check_fork();
        if (pid == 0) {
            consume();
            _exit(0);
        }
        check_sleep((int64_t)(check_random(&seed) % 3000000));
        check_kill(pid);
        kills++;
    }
    CHECK_EQ(status, 0);
    for (struct item it; pf_ring_size(r) > 0;) {
        CHECK_EQ(item_get(r, &it, pf_now() + 3 * PF_SECOND), 0);
        note(&it);
    }
    int lost = 0;
    for (uint32_t i = 0; i < MOST; i++)
        lost += books->got[0][i] == 0;
    CHECK(lost <= kills);
    pid_t sweeper = check_fork(); /* a new tenant gives back what the dead held */
    if (sweeper == 0) {
        struct pf_loan loan;
        CHECK_EQ(pf_ring_block(r, 100, &loan), 0);
        pf_ring_return(r, &loan);
        _exit(0);
    }
    check_reap(sweeper);
    close_books();
}

/* Producers killed at random instants: each item is there in whole, or not at all. */
static void producers_killed(void)
{
    open_books(0);
    books->left = INT_MAX;
    uint64_t seed = 7;
    pid_t consumer = check_fork();
    if (consumer == 0) {
        for (;;) {
            struct item it;
            int rc = item_get(r, &it, pf_now() + 50 * MS);
            if (rc == -ETIMEDOUT && atomic_load(&books->flag[0]))
                _exit(0);
            CHECK(rc == 0 || rc == -ETIMEDOUT);
            if (rc == 0)
                CHECK_EQ(atomic_fetch_add(&books->got[it.who][it.seq], 1), 0);
        }
    }
    uint32_t base = 0;
    for (int i = 0; i < 400; i++) {
        pid_t pid = check_fork();
        if (pid == 0) {
            for (uint32_t k = base;; k++) {
                if (k == MOST) /* whoever is to kill it was not let for long */
                    pause();
                atomic_store(&books->begun[0], k + 1);
                CHECK_EQ(item_put(r, 0, k, k % 7 ? 20000 : 100000, pf_now() + 5 * PF_SECOND), 0);
                atomic_store(&books->sent[0], k + 1);
                sched_yield();
            }
        }
        check_sleep((int64_t)(check_random(&seed) % 600000));
        check_kill(pid);
        for (uint32_t k = base; k < books->sent[0]; k++)
            atomic_store(&books->got[1][k], 1); /* these must come */
        base = books->begun[0];
    }
    atomic_store(&books->flag[0], 1);
    check_reap(consumer);
    for (uint32_t k = 0; k < base; k++)
        CHECK(books->got[0][k] >= books->got[1][k]);
    pid_t sweeper = check_fork();
    if (sweeper == 0) {
        struct pf_loan loan;
        CHECK_EQ(pf_ring_block(r, 100, &loan), 0);
        pf_ring_return(r, &loan);
        _exit(0);
    }
    check_reap(sweeper);
    CHECK_EQ(item_put(r, 0, 0, 30, pf_now() + 3 * PF_SECOND), 0);
    struct item it;
    CHECK_EQ(item_get(r, &it, pf_now() + 3 * PF_SECOND), 0);
    close_books();
}

/* Blocks in the hands of the dead, filled or lent, come back; those of the living do not. */
static void loans_of_the_dead(void)
{
    open_books(0);
    for (uint32_t i = 0; i < 6; i++)
        CHECK_EQ(item_put(r, 0, i, 100000, PF_TRY), 0);
    pid_t pid[2];
    for (int i = 0; i < 2; i++) {
        pid[i] = check_fork();
        if (pid[i] == 0) {
            struct pf_box box = {0};
            struct pf_loan loan;
            CHECK_EQ(pf_ring_get(r, &box, PF_NOWAIT), 0);
            CHECK_EQ(pf_ring_block(r, 100000, &loan), 0);
            memset(box.loans[0].base, 'a' + i, box.loans[0].len);
            atomic_store(&books->flag[i], 1);
            check_until(&books->flag[i], 2);
            for (uint64_t k = 0; k < box.loans[0].len; k++)
                CHECK_EQ(((char *)box.loans[0].base)[k], 'a' + i);
            pf_ring_return(r, &box.loans[0]);
            pf_ring_return(r, &loan);
            _exit(0);
        }
        check_until(&books->flag[i], 1);
    }
    check_kill(pid[0]);
    struct item it;
    for (int i = 0; i < 4; i++)
        CHECK_EQ(item_get(r, &it, PF_TRY), 0);
    struct pf_ring_stats s;
    pf_ring_stats(r, &s);
    CHECK(s.lent_bytes >= 4 * 100000);
    struct pf_loan mine[40];
    for (int i = 0; i < 40; i++) { /* takes all that is free, the dead's too */
        CHECK_EQ(pf_ring_block(r, 100000, &mine[i]), 0);
        memset(mine[i].base, 'z', mine[i].len);
    }
    atomic_store(&books->flag[1], 2);
    check_reap(pid[1]); /* its own were left alone */
    for (int i = 0; i < 40; i++)
        pf_ring_return(r, &mine[i]);
    close_books();
}

/* Selecting on the bell alone: every item is announced, and silence is silence. */
static void bell(void)
{
    open_books(0);
    CHECK_EQ(pf_ring_arm(r), 0);
    const uint32_t each = 4000;
    pid_t pid[2];
    for (uint32_t i = 0; i < 2; i++) {
        if ((pid[i] = check_fork()) == 0) {
            uint64_t seed = 8 + i;
            for (uint32_t k = 0; k < each; k++) {
                CHECK_EQ(item_put(r, i, k, size_of(i, k), PF_FOREVER), 0);
                if (check_random(&seed) % 16 == 0)
                    check_sleep((int64_t)(check_random(&seed) % 200000));
            }
            _exit(0);
        }
    }
    int early = 0;
    for (uint32_t n = 0; n < 2 * each;) {
        struct pollfd p = {pf_ring_bell(r).wait_fd, POLLIN, 0};
        CHECK_EQ(poll(&p, 1, 5000), 1);
        struct item it;
        int rc = item_get(r, &it, PF_TRY);
        if (rc == -EAGAIN) {
            early++;
            CHECK_EQ(pf_ring_settle(r), 0);
            continue;
        }
        CHECK_EQ(rc, 0);
        note(&it);
        n++;
    }
    check_reap(pid[0]);
    check_reap(pid[1]);
    struct pollfd p = {pf_ring_bell(r).wait_fd, POLLIN, 0};
    CHECK_EQ(pf_ring_settle(r), 0);
    CHECK_EQ(poll(&p, 1, 0), 0);
    close_books();
    (void)early;
}

static void join(void)
{
    open_books(0);
    books->left = 3000;
    pid_t pid[2];
    for (int i = 0; i < 2; i++) {
        if ((pid[i] = check_fork()) == 0) {
            struct item it;
            while (atomic_fetch_sub(&books->left, 1) > 0) {
                CHECK_EQ(item_get(r, &it, pf_now() + 20 * PF_SECOND), 0);
                note(&it);
                atomic_fetch_add(&books->flag[0], 1);
                CHECK_EQ(pf_ring_done(r), 0);
            }
            _exit(0);
        }
    }
    for (uint32_t k = 0; k < 30; k++) {
        for (uint32_t i = 0; i < 100; i++)
            CHECK_EQ(item_put(r, 0, k * 100 + i, size_of(0, k * 100 + i), PF_FOREVER), 0);
        int64_t start = pf_now();
        CHECK_EQ(join_again(r, start + 20 * PF_SECOND), 0);
        CHECK(pf_now() - start < PF_SECOND); /* woken, not found out at a look */
        CHECK_EQ(books->flag[0], (k + 1) * 100);
    }
    check_reap(pid[0]);
    check_reap(pid[1]);
    close_books();
}

/* A sleeper is woken at once, getters and putters alike. */
static void woken_at_once(void)
{
    open_books(1);
    pid_t pid = check_fork();
    if (pid == 0) {
        struct item it;
        for (uint32_t i = 0; i < 20; i++) {
            CHECK_EQ(item_get(r, &it, pf_now() + 20 * PF_SECOND), 0);
            atomic_store(&books->flag[0], (int)i + 1);
        }
        for (uint32_t i = 0; i < 20; i++) {
            check_until(&books->flag[1], (int)i + 1);
            CHECK_EQ(item_put(r, 1, 2 * i, 0, PF_FOREVER), 0);
            CHECK_EQ(item_put(r, 1, 2 * i + 1, 0, pf_now() + 20 * PF_SECOND), 0);
            atomic_store(&books->flag[2], (int)i + 1);
        }
        _exit(0);
    }
    struct item it;
    for (uint32_t i = 0; i < 20; i++) {
        check_sleep(10 * MS);
        int64_t start = pf_now();
        CHECK_EQ(item_put(r, 0, i, 0, PF_FOREVER), 0);
        check_until(&books->flag[0], (int)i + 1);
        CHECK(pf_now() - start < 500 * MS);
    }
    for (uint32_t i = 0; i < 20; i++) {
        atomic_store(&books->flag[1], (int)i + 1);
        check_sleep(10 * MS);
        int64_t start = pf_now();
        CHECK_EQ(item_get(r, &it, PF_FOREVER), 0);
        check_until(&books->flag[2], (int)i + 1);
        CHECK(pf_now() - start < 500 * MS);
        CHECK_EQ(item_get(r, &it, PF_FOREVER), 0);
    }
    check_reap(pid);
    close_books();
}

static const struct check_case cases[] = {
    CASE(one_to_one),      CASE(many_to_one),      CASE(one_to_many),      CASE(many_to_many),      CASE(bounded),
    CASE(fork_in_threads), CASE(grandchildren),    CASE(consumers_killed), CASE(producers_killed),
    CASE(loans_of_the_dead), CASE(bell),           CASE(join),             CASE(woken_at_once)};
CHECK_MAIN(cases)
