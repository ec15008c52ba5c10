#include "lock_fast.h"
#include "procfast/cond.h"
#include "shared_arena.h"
#include "waiters.h"

static struct pf_cond *cond;
static struct pf_lock *lock;

static void setup(void)
{
    arena_open();
    cond = arena_new(sizeof *cond);
    lock = arena_new(sizeof *lock);
}

static void hold(void)
{
    int rc;
    AGAIN(rc, pf_lock_acquire(lock, arena, PF_FOREVER, PF_LOCK_ROBUST, NULL));
    CHECK(rc == 0 || rc == -PF_EOWNERDEAD);
}

static void let_go(void)
{
    CHECK_EQ(pf_lock_release(lock), 0);
}

/* As a caller does it; the lock is held before and after. Was it notified? */
static bool await(int64_t deadline)
{
    uint32_t record;
    CHECK_EQ(pf_cond_enter(cond, arena, &record), 0);
    let_go();
    int rc;
    AGAIN(rc, pf_cond_wait(cond, arena, record, deadline));
    CHECK(rc == 0 || rc == -ETIMEDOUT || rc == -EAGAIN);
    hold();
    bool notified = pf_cond_leave(cond, arena, record);
    CHECK(notified || rc < 0);
    return notified;
}

static int notify(int n)
{
    int rc;
    hold();
    AGAIN(rc, pf_cond_notify(cond, arena, n));
    let_go();
    return rc;
}

/* A child that waits, then counts itself in flag[0]. */
static pid_t waiter(int order)
{
    int before = pf_cond_waiters(cond, arena);
    pid_t pid = check_fork();
    if (pid == 0) {
        hold();
        CHECK(await(PF_FOREVER));
        let_go();
        atomic_store(&flag[8 + order], atomic_fetch_add(&flag[0], 1) + 1);
        _exit(0);
    }
    int64_t end = pf_now() + 10 * PF_SECOND;
    while (pf_cond_waiters(cond, arena) == before) {
        CHECK(pf_now() < end);
        check_sleep(MS / 10);
    }
    check_asleep(pid);
    return pid;
}

static void expect(int n) /* that so many come back, soon, and no more */
{
    int64_t end = pf_now() + PF_SECOND;
    while (atomic_load(&flag[0]) < n) {
        CHECK(pf_now() < end);
        check_sleep(MS / 10);
    }
    check_sleep(2 * MS);
    CHECK_EQ(atomic_load(&flag[0]), n);
}

static void nobody_waits(void)
{
    setup();
    CHECK_EQ(notify(1), 0);
    CHECK_EQ(notify(INT_MAX), 0);
    CHECK_EQ(atomic_load(&cond->id), 0);
    hold();
    CHECK(!await(PF_TRY));
    CHECK(!await(PF_NOWAIT));
    CHECK(!await(pf_now() + 30 * MS));
    CHECK_EQ(pf_cond_waiters(cond, arena), 0);
    CHECK_EQ(pf_cond_notify(cond, arena, 1), 0);
    CHECK_EQ(atomic_load(&cond->waiting), 0);
    let_go();
    arena_shut();
}

static void in_order(void)
{
    setup();
    pid_t pid[6];
    for (int i = 0; i < 6; i++)
        pid[i] = waiter(i);
    CHECK_EQ(pf_cond_waiters(cond, arena), 6);
    CHECK_EQ(notify(1), 1);
    expect(1);
    CHECK_EQ(notify(2), 2);
    expect(3);
    CHECK_EQ(notify(INT_MAX), 3);
    expect(6);
    for (int i = 0; i < 6; i++)
        check_reap(pid[i]);
    CHECK_EQ(atomic_load(&flag[8]), 1);
    CHECK(atomic_load(&flag[9]) <= 3 && atomic_load(&flag[10]) <= 3);
    CHECK_EQ(notify(5), 0);
    CHECK_EQ(atomic_load(&cond->waiting), 0);
    arena_shut();
}

/* Two conditions in one arena do not take each other's. */
static void apart(void)
{
    setup();
    struct pf_cond *first = cond, *second = arena_new(sizeof *cond);
    pid_t a = waiter(0);
    cond = second;
    pid_t b = waiter(1);
    CHECK_EQ(pf_cond_waiters(first, arena), 1);
    CHECK_EQ(pf_cond_waiters(second, arena), 1);
    CHECK_EQ(notify(5), 1);
    expect(1);
    CHECK_EQ(atomic_load(&flag[9]), 1);
    check_reap(b);
    cond = first;
    CHECK_EQ(notify(5), 1);
    check_reap(a);
    arena_shut();
}

/* A block's next condition is another one than its last, for records that were left behind too. */
static void another_life(void)
{
    setup();
    pid_t pid = waiter(0);
    uint64_t id = atomic_load(&cond->id);
    pf_arena_free(arena, cond, sizeof *cond);
    check_kill(pid);
    memset(cond, 0, sizeof *cond);
    pid = waiter(1);
    CHECK(atomic_load(&cond->id) != id);
    CHECK_EQ(notify(5), 1);
    check_reap(pid);
    arena_shut();
}

static void on_alarm(int sig)
{
    (void)sig;
}

static void blocking(void)
{
    setup();
    hold();
    for (int ms = 20; ms < 1400; ms *= 4) {
        int64_t end = pf_now() + ms * MS;
        CHECK(!await(end));
        CHECK(pf_now() >= end && pf_now() < end + 200 * MS);
    }
    int64_t cpu = check_cpu();
    CHECK(!await(pf_now() + 2 * PF_SECOND));
#ifdef PF_OS_POSIX
    CHECK(check_cpu() - cpu < 60 * MS); /* it polls */
#else
    CHECK(check_cpu() - cpu < 5 * MS);
#endif
    struct sigaction sa = {.sa_handler = on_alarm}, old;
    sigaction(SIGALRM, &sa, &old);
    struct itimerval it = {{0, 50000}, {0, 50000}}, off = {{0, 0}, {0, 0}};
    uint32_t record;
    CHECK_EQ(pf_cond_enter(cond, arena, &record), 0);
    setitimer(ITIMER_REAL, &it, NULL);
    int64_t start = pf_now();
    CHECK_EQ(pf_cond_wait(cond, arena, record, start + 10 * PF_SECOND), -EINTR);
    CHECK(pf_now() - start < PF_SECOND / 2);
    setitimer(ITIMER_REAL, &off, NULL);
    CHECK(!pf_cond_leave(cond, arena, record));
    sigaction(SIGALRM, &old, NULL);
    arena_shut();
}

/* ---- deaths -------------------------------------------------------------------------------------------- */

/* The dead get nothing, and are no part of n. */
static void dead_waiters(void)
{
    setup();
    pid_t pid[6];
    for (int i = 0; i < 6; i++)
        pid[i] = waiter(i);
    check_kill(pid[0]);
    check_kill(pid[2]);
    check_kill(pid[3]);
    CHECK_EQ(pf_cond_waiters(cond, arena), 3);
    CHECK_EQ(notify(2), 2);
    expect(2);
    check_reap(pid[1]);
    check_reap(pid[4]);
    CHECK_EQ(notify(2), 1);
    check_reap(pid[5]);
    CHECK_EQ(notify(2), 0);
    CHECK_EQ(atomic_load(&cond->waiting), 0);
    arena_shut();
}

/* Notified, and killed before it came back with the lock: another one that waited then gets it. */
static void passed_on(void)
{
    for (int how = 0; how < 3; how++) {
        setup();
        pid_t pid[4];
        for (int i = 0; i < 4; i++)
            pid[i] = waiter(i);
        kill(pid[0], SIGSTOP);
        CHECK_EQ(notify(1), 1);
        check_kill(pid[0]);
        if (how == 1) { /* the next notify finds it */
            CHECK_EQ(notify(1), 1);
            expect(2);
            check_reap(pid[1]);
            check_reap(pid[2]);
            CHECK_EQ(notify(1), 1);
        } else { /* a sleeper does */
            expect(1);
            check_sleep(how ? 1200 * MS : 0); /* it is passed on once */
            expect(1);
            check_reap(pid[1]);
            CHECK_EQ(notify(INT_MAX), 2);
            check_reap(pid[2]);
        }
        check_reap(pid[3]);
        CHECK_EQ(pf_cond_waiters(cond, arena), 0);
        arena_shut();
    }
}

/* Who came after the notify was not meant. */
static void not_to_latecomers(void)
{
    setup();
    pid_t a = waiter(0);
    kill(a, SIGSTOP);
    CHECK_EQ(notify(1), 1);
    pid_t b = waiter(1);
    check_kill(a);
    check_sleep(1200 * MS);
    CHECK_EQ(atomic_load(&flag[0]), 0);
    CHECK_EQ(notify(1), 1);
    check_reap(b);
    arena_shut();
}

/* All of a long chain die with it. */
static void chain_of_deaths(void)
{
    setup();
    pid_t pid[6];
    for (int i = 0; i < 6; i++) {
        pid[i] = waiter(i);
        if (i < 5)
            kill(pid[i], SIGSTOP);
    }
    CHECK_EQ(notify(1), 1);
    for (int i = 0; i < 5; i++)
        check_kill(pid[i]);
    CHECK_EQ(check_reap_within(pid[5], 2 * PF_SECOND), 0);
    CHECK_EQ(notify(1), 0);
    arena_shut();
}

/* The one who gave the notification on died in between, after having decided or after having given. */
static void passer_dies(void)
{
    for (int given = 0; given < 3; given++) {
        setup();
        uint32_t record[3];
        for (int i = 0; i < 3; i++)
            CHECK_EQ(pf_cond_enter(cond, arena, &record[i]), 0);
        struct pf__record *from = pf__record(arena, record[0]), *to = pf__record(arena, record[1]);
        pid_t dead = check_fork(); /* the first one's process */
        if (dead == 0) {
            int t = pf__arena_tenancy(arena);
            atomic_store(&from->word, (uint64_t)t << 32 | (uint32_t)PF__WITH(atomic_load(&from->word), PF__GRANTED));
            atomic_store(&from->until, 3);
            CHECK_EQ(pf_mutex_lock(&cond->m, &arena->peer, PF_FOREVER), 0);
            atomic_store(&cond->from, (atomic_load(&from->word) & UINT32_MAX) >> 2 << 32 | (record[0] + 1));
            atomic_store(&cond->to, (atomic_load(&to->word) & UINT32_MAX) >> 2 << 32 | (record[1] + 1));
            if (given)
                atomic_store(&to->word, PF__WITH(atomic_load(&to->word), PF__GRANTED));
            raise(SIGKILL);
        }
        CHECK_EQ(waitpid(dead, NULL, 0), dead);
        bool second = false, third;
        if (given == 2) /* it leaves before anybody looks */
            CHECK(pf_cond_leave(cond, arena, record[1]));
        int64_t end = pf_now() + 1200 * MS;
        int rc;
        AGAIN(rc, pf_cond_wait(cond, arena, record[2], end));
        third = pf_cond_leave(cond, arena, record[2]);
        CHECK_EQ(rc, third ? 0 : -ETIMEDOUT);
        if (given < 2)
            second = pf_cond_leave(cond, arena, record[1]);
        CHECK(second == (given < 2) && !third); /* exactly one has it */
        CHECK_EQ(PF__STATE(atomic_load(&from->word)), PF__FREE);
        CHECK_EQ(atomic_load(&cond->to), 0);
        arena_shut();
    }
}

/* Somebody times out while others notify: each notification is had by one, whoever. */
static void timeouts_and_notifications(void)
{
    setup();
    pid_t pid[4];
    for (int i = 0; i < 4; i++) {
        pid[i] = check_fork();
        if (pid[i] == 0) {
            uint64_t seed = (uint64_t)i + 1;
            hold();
            while (atomic_load(&flag[1]) == 0)
                atomic_fetch_add(&flag[0], await(pf_now() + (int64_t)(check_random(&seed) % 300000)));
            let_go();
            _exit(0);
        }
    }
    int given = 0;
    int64_t end = pf_now() + PF_SECOND;
    while (pf_now() < end)
        given += notify(1 + given % 3);
    atomic_store(&flag[1], 1);
    for (int i = 0; i < 4; i++)
        check_reap(pid[i]);
    CHECK_EQ(given, atomic_load(&flag[0]));
    CHECK(given > 100);
    arena_shut();
}

static void *consumer(void *arg)
{
    long *got = arg;
    for (;;) {
        hold();
        while (atomic_load(&flag[2]) == 0 && atomic_load(&flag[3]) == 0)
            CHECK(await(PF_FOREVER));
        bool end = atomic_load(&flag[2]) == 0;
        if (!end) {
            atomic_fetch_sub(&flag[2], 1);
            ++*got;
        }
        let_go();
        if (end)
            return NULL;
    }
}

static void threads(void)
{
    setup();
    pthread_t t[4];
    long got[4] = {0};
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, consumer, &got[i]), 0);
    for (int i = 0; i < 5000; i++) {
        hold();
        atomic_fetch_add(&flag[2], 1);
        CHECK(pf_cond_notify(cond, arena, 1) >= 0);
        let_go();
    }
    hold();
    atomic_store(&flag[3], 1);
    CHECK(pf_cond_notify(cond, arena, INT_MAX) >= 0);
    let_go();
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(got[0] + got[1] + got[2] + got[3], 5000);
    arena_shut();
}

/* Records of the killed are used again. */
static void table_does_not_fill(void)
{
    setup();
    for (int i = 0; i < 300; i++) {
        pid_t pid = check_fork();
        if (pid == 0) {
            uint32_t record;
            for (int k = 0; k < 20; k++)
                CHECK_EQ(pf_cond_enter(cond, arena, &record), 0);
            raise(SIGKILL);
        }
        waitpid(pid, NULL, 0);
    }
    CHECK(atomic_load(&arena->h->used) < 100);
    arena_shut();
    pid_t pid = check_fork(); /* and when it is full, that is said */
    if (pid == 0) {
        signal(SIGXFSZ, SIG_IGN);
        struct rlimit small = {1 << 20, 1 << 20};
        CHECK_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
        setup();
        static uint32_t record[2000];
        int n = 0, rc;
        while (n < 2000 && (rc = pf_cond_enter(cond, arena, &record[n])) == 0)
            n++;
        CHECK_EQ(rc, -ENOSPC);
        CHECK_EQ(n, (int)arena->nrecords);
        CHECK_EQ(notify(INT_MAX), n);
        while (n-- > 0)
            CHECK(pf_cond_leave(cond, arena, record[n]));
        _exit(0);
    }
    check_reap(pid);
}

static const struct check_case cases[] = {
    CASE(nobody_waits), CASE(in_order),          CASE(apart),           CASE(another_life),
    CASE(blocking),     CASE(dead_waiters),      CASE(passed_on),       CASE(not_to_latecomers),
    CASE(chain_of_deaths), CASE(passer_dies),    CASE(timeouts_and_notifications),
    CASE(threads),      CASE(table_does_not_fill)};
CHECK_MAIN(cases)
