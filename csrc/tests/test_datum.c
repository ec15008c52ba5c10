#include "datum.h"
#include "shared_arena.h"

static struct pf_guard *guard;
static unsigned char *at; /* 16 bytes, the datum in the middle of others */

static void setup(void)
{
    arena_open();
    guard = arena_new(64);
    at = (unsigned char *)guard + 40;
}

static void teardown(void)
{
    arena_shut();
}

static void each_size(void)
{
    setup();
    for (unsigned size = 1; size <= 8; size *= 2) {
        unsigned char one[8] = {1, 2, 3, 4, 5, 6, 7, 8}, two[8] = {9, 9, 9, 9, 9, 9, 9, 9}, was[8] = {0};
        memset(at, 0x55, 24);
        pf_datum_store(at + 8, one, size);
        pf_datum_load(at + 8, was, size);
        CHECK(memcmp(was, one, size) == 0);
        pf_datum_exchange(at + 8, two, was, size);
        CHECK(memcmp(was, one, size) == 0 && memcmp(at + 8, two, size) == 0);
        CHECK(!pf_datum_replace(at + 8, was, one, size)); /* it is not `one` */
        CHECK(memcmp(was, two, size) == 0 && memcmp(at + 8, two, size) == 0);
        CHECK(pf_datum_replace(at + 8, was, one, size));
        CHECK(memcmp(at + 8, one, size) == 0);
        for (unsigned i = 0; i < 24; i++)
            CHECK(i - 8 < size || at[i] == 0x55);
        for (unsigned i = size; i < 8; i++)
            CHECK(was[i] == 0);
    }
    teardown();
}

static void *count(void *size)
{
    for (int i = 0; i < 20000; i++) {
        uint64_t seen = 0, next;
        pf_datum_load(at, &seen, *(unsigned *)size);
        do
            next = seen + 1;
        while (!pf_datum_replace(at, &seen, &next, *(unsigned *)size));
    }
    return NULL;
}

static void every_replacement_counts(void)
{
    setup();
    for (unsigned size = 1; size <= 8; size *= 2) {
        pthread_t threads[3];
        uint64_t n = 0;
        memset(at, 0, 8);
        for (int i = 0; i < 3; i++)
            CHECK_EQ(pthread_create(&threads[i], NULL, count, &size), 0);
        for (int i = 0; i < 3; i++)
            pthread_join(threads[i], NULL);
        pf_datum_load(at, &n, size);
        CHECK_EQ(n, size < 8 ? UINT64_C(60000) & ((UINT64_C(1) << 8 * size) - 1) : 60000);
    }
    teardown();
}

/* ---- a datum with a lock */

static int enter(void)
{
    int how = pf_rlock_enter(&guard->lock, arena);
    if (how < 0) {
        int rc;
        AGAIN(rc, pf_lock_acquire(&guard->lock, arena, PF_FOREVER, PF_LOCK_ROBUST | PF_LOCK_BRIEF, NULL));
        CHECK_EQ(rc, 0);
        how = 1;
    }
    return how;
}

static uint32_t value(void)
{
    uint32_t n = 0;
    if (!pf_guard_read(guard, arena, at + 8, &n, 4)) {
        int how = enter();
        pf_datum_load(at + 8, &n, 4);
        if (how)
            pf_lock_drop(&guard->lock);
    }
    return n;
}

static void own_lock(void)
{
    setup();
    CHECK_EQ(value(), 0);
    CHECK_EQ(enter(), 1);
    CHECK_EQ(enter(), 0);
    CHECK_EQ(value(), 0);
    CHECK_EQ(pf_lock_drop(&guard->lock), 0);
    CHECK(pf_rlock_take(&guard->lock, arena));
    CHECK_EQ(enter(), 0);
    CHECK_EQ(pf_rlock_drop(&guard->lock, arena), 0);
    CHECK_EQ(atomic_load(&guard->lock.word), 0);
    uint32_t n = 0;
    CHECK(pf_guard_read(guard, arena, at + 8, &n, 4));
    pf_guard_expose(guard);
    CHECK(!pf_guard_read(guard, arena, at + 8, &n, 4));
    CHECK_EQ(value(), 0);
    teardown();
}

static bool counts; /* ... or is exposed */

static void *write_pairs(void *unused)
{
    (void)unused;
    for (uint32_t i = 0; !atomic_load(&flag[0]);) {
        if (!pf_rlock_take(&guard->lock, arena)) {
            int rc;
            AGAIN(rc, pf_rlock_acquire(&guard->lock, arena, PF_FOREVER, 0, NULL));
            CHECK_EQ(rc, 0);
        }
        for (int k = 0; k < 2; k++) {
            i++;
            if (counts)
                pf_guard_change(guard);
            pf_datum_store(at + 8, &i, 4);
        }
        CHECK_EQ(pf_rlock_drop(&guard->lock, arena), 0);
    }
    return NULL;
}

/* A reader never sees what a holder goes on to change, and time does not go back. */
static void nothing_in_between(void)
{
    setup();
    for (int round = 0; round < 2; round++) {
        pthread_t writer;
        counts = round == 0;
        if (!counts)
            pf_guard_expose(guard);
        atomic_store(&flag[0], 0);
        memset(at + 8, 0, 4);
        CHECK_EQ(pthread_create(&writer, NULL, write_pairs, NULL), 0);
        uint32_t last = 0;
        for (int64_t end = pf_now() + 500 * MS; pf_now() < end;) {
            for (int i = 0; i < 100; i++) {
                uint32_t n = value();
                CHECK(n % 2 == 0 && n >= last);
                last = n;
            }
        }
        CHECK(last > 0);
        atomic_store(&flag[0], 1);
        pthread_join(writer, NULL);
    }
    teardown();
}

/* Who dies in one access is not spoken of; who dies with the lock in his hands is. */
static void brief_death(void)
{
    enum { FAST, SLOW, WHOLE, KINDS };
    setup();
    for (int i = 0; i < 2 * KINDS; i++) {
        int kind = i % KINDS, rc;
        pid_t pid = check_fork();
        if (pid == 0) {
            if (kind == WHOLE)
                AGAIN(rc, pf_rlock_acquire(&guard->lock, arena, PF_FOREVER, 0, NULL));
            else
                AGAIN(rc, pf_lock_acquire(&guard->lock, arena, PF_FOREVER, PF_LOCK_ROBUST | PF_LOCK_BRIEF, NULL));
            CHECK_EQ(rc, 0);
            if (kind == FAST) {
                CHECK_EQ(pf_lock_drop(&guard->lock), 0);
                CHECK_EQ(pf_rlock_enter(&guard->lock, arena), 1);
            }
            _exit(0);
        }
        check_reap(pid);
        AGAIN(rc, i < KINDS ? pf_lock_acquire(&guard->lock, arena, PF_FOREVER, PF_LOCK_ROBUST, NULL)
                            : pf_rlock_acquire(&guard->lock, arena, PF_FOREVER, 0, NULL));
        CHECK_EQ(rc, kind == WHOLE ? -PF_EOWNERDEAD : 0);
        CHECK(pf_lock_mine(&guard->lock, arena));
        CHECK_EQ(pf_lock_release(&guard->lock), 0);
        CHECK_EQ(atomic_load(&guard->lock.word), 0);
    }
    teardown();
}

/* Who is told in an access of his own, and dies before he can act on it, leaves the news to the next. */
static void told_in_an_access(void)
{
    setup();
    for (int i = 0; i < 4; i++) {
        pid_t pid = check_fork();
        int rc;
        if (pid == 0) {
            AGAIN(rc, i ? pf_lock_acquire(&guard->lock, arena, PF_FOREVER, PF_LOCK_ROBUST | PF_LOCK_BRIEF, NULL)
                        : pf_rlock_acquire(&guard->lock, arena, PF_FOREVER, 0, NULL));
            CHECK_EQ(rc, i ? -PF_EOWNERDEAD : 0);
            _exit(0);
        }
        check_reap(pid);
    }
    teardown();
}

static const struct check_case cases[] = {CASE(each_size), CASE(every_replacement_counts), CASE(own_lock),
                                          CASE(nothing_in_between), CASE(brief_death),
                                          CASE(told_in_an_access)};
CHECK_MAIN(cases)
