#include "lock_fast.h"
#include "shared_arena.h"

static struct pf_sem *sem;

static void setup(uint32_t value)
{
    arena_open();
    sem = arena_new(sizeof *sem);
    pf_sem_init(sem, value);
}

static int take(int64_t deadline)
{
    int rc;
    AGAIN(rc, pf_sem_acquire(sem, deadline));
    return rc;
}

static void counts(void)
{
    setup(3);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(pf_sem_value(sem), 3 - i);
        if (i == 1)
            CHECK(pf_sem_take(sem));
        else
            CHECK_EQ(take(i ? PF_NOWAIT : PF_TRY), 0);
    }
    CHECK_EQ(pf_sem_value(sem), 0);
    CHECK(!pf_sem_take(sem));
    CHECK_EQ(take(PF_TRY), -EAGAIN);
    CHECK_EQ(take(PF_NOWAIT), -ETIMEDOUT);
    CHECK_EQ(pf_sem_release(sem, 2, 3), 0);
    CHECK_EQ(pf_sem_release(sem, 2, 3), -EOVERFLOW);
    CHECK_EQ(pf_sem_value(sem), 2);
    CHECK_EQ(pf_sem_give(sem, 3), 0);
    CHECK_EQ(pf_sem_give(sem, 3), -EOVERFLOW);
    CHECK_EQ(pf_sem_value(sem), 3);
    pf_sem_init(sem, PF_SEM_MAX - 1);
    CHECK_EQ(pf_sem_give(sem, PF_SEM_MAX), 0);
    CHECK_EQ(pf_sem_give(sem, PF_SEM_MAX), -EOVERFLOW);
    CHECK_EQ(pf_sem_release(sem, 1, PF_SEM_MAX), -EOVERFLOW);
    CHECK_EQ(pf_sem_release(sem, UINT32_MAX, PF_SEM_MAX), -EOVERFLOW);
    CHECK_EQ(pf_sem_value(sem), PF_SEM_MAX);
    CHECK(pf_sem_take(sem));
    CHECK_EQ(pf_sem_value(sem), PF_SEM_MAX - 1);
    arena_shut();
}

static void on_alarm(int sig)
{
    (void)sig;
}

static void blocking(void)
{
    setup(0);
    for (int ms = 0; ms < 1400; ms = ms * 2 + 20) {
        int64_t end = pf_now() + ms * MS;
        CHECK_EQ(take(end), -ETIMEDOUT);
        CHECK(pf_now() >= end && pf_now() < end + 200 * MS);
    }
    int64_t cpu = check_cpu();
    CHECK_EQ(take(pf_now() + 2 * PF_SECOND), -ETIMEDOUT);
#ifdef PF_OS_POSIX
    CHECK(check_cpu() - cpu < 60 * MS); /* it polls */
#else
    CHECK(check_cpu() - cpu < 5 * MS);
#endif
    struct sigaction sa = {.sa_handler = on_alarm}, old;
    sigaction(SIGALRM, &sa, &old);
    struct itimerval it = {{0, 50000}, {0, 50000}}, off = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &it, NULL);
    int64_t start = pf_now();
    CHECK_EQ(pf_sem_acquire(sem, start + 10 * PF_SECOND), -EINTR);
    CHECK(pf_now() - start < PF_SECOND / 2);
    setitimer(ITIMER_REAL, &off, NULL);
    sigaction(SIGALRM, &old, NULL);
    arena_shut();
}

/* One release of several permits wakes so many at once, and not at their looks. */
static void wakes(void)
{
    setup(0);
    for (int n = 1; n <= 4; n++) {
        pid_t pid[4];
        for (int i = 0; i < n; i++) {
            pid[i] = check_fork();
            if (pid[i] == 0) {
                CHECK_EQ(take(PF_FOREVER), 0);
                _exit(0);
            }
            check_asleep(pid[i]);
        }
        check_sleep(20 * MS);
        int64_t start = pf_now();
        if (n & 1)
            CHECK_EQ(pf_sem_release(sem, (uint32_t)n, PF_SEM_MAX), 0);
        for (int i = 0; i < n && !(n & 1); i++)
            CHECK_EQ(pf_sem_give(sem, PF_SEM_MAX), 0);
        for (int i = 0; i < n; i++)
            check_reap(pid[i]);
        CHECK(pf_now() - start < 300 * MS);
        CHECK_EQ(pf_sem_value(sem), 0);
    }
    CHECK_EQ(pf_sem_release(sem, 1, 1), 0);
    CHECK_EQ(pf_sem_release(sem, 1, 2), 0);
#ifndef PF_OS_POSIX
    CHECK_EQ(atomic_load(&sem->word), 2); /* nobody sleeps, and nobody is woken any more */
#endif
    arena_shut();
}

#define ROUNDS 20000

static void *contender(void *arg)
{
    _Atomic int *inside = arg;
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 2 == 0 || !pf_sem_take(sem))
            CHECK_EQ(take(PF_FOREVER), 0);
        CHECK(atomic_fetch_add(inside, 1) < 2);
        atomic_fetch_sub(inside, 1);
        CHECK_EQ(i % 3 ? pf_sem_give(sem, 2) : pf_sem_release(sem, 1, 2), 0);
    }
    return NULL;
}

static void two_at_a_time(void)
{
    setup(2);
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, contender, (void *)&flag[0]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(pf_sem_value(sem), 2);
    pid_t pid[4];
    for (int i = 0; i < 4; i++) {
        pid[i] = check_fork();
        if (pid[i] == 0) {
            contender((void *)&flag[0]);
            _exit(0);
        }
    }
    for (int i = 0; i < 4; i++)
        check_reap(pid[i]);
    CHECK_EQ(pf_sem_value(sem), 2);
    arena_shut();
}

/* As a lock: each of four gets its share. */
static void fair_enough(void)
{
    setup(1);
    int64_t *count = check_shared(4 * sizeof *count);
    pid_t pid[4];
    for (int i = 0; i < 4; i++) {
        pid[i] = check_fork();
        if (pid[i] == 0) {
            check_until(&flag[0], 1);
            int64_t end = pf_now() + 2 * PF_SECOND, last = pf_now(), now = last;
            for (; now < end; last = now, count[i]++) {
                CHECK_EQ(take(PF_FOREVER), 0);
                now = pf_now();
                CHECK(now - last < PF_SECOND);
                CHECK_EQ(pf_sem_give(sem, 1), 0);
            }
            _exit(0);
        }
    }
    atomic_store(&flag[0], 1);
    int64_t all = 0;
    for (int i = 0; i < 4; i++) {
        check_reap(pid[i]);
        all += count[i];
    }
    for (int i = 0; i < 4; i++)
        CHECK(count[i] * 20 >= all);
    munmap(count, 4096);
    arena_shut();
}

/* Sleepers are killed: the others wait no longer than a look for what they were to have. */
static void killed_sleepers(void)
{
    setup(0);
    for (int round = 0; round < 10; round++) {
        pid_t pid[4];
        for (int i = 0; i < 4; i++) {
            pid[i] = check_fork();
            if (pid[i] == 0) {
                CHECK_EQ(take(PF_FOREVER), 0);
                atomic_fetch_add(&flag[1], 1);
                _exit(0);
            }
            check_asleep(pid[i]);
        }
        uint32_t before = (uint32_t)atomic_load(&flag[1]);
        kill(pid[0], SIGSTOP); /* it may be the one that is woken */
        check_sleep(MS);
        CHECK_EQ(pf_sem_release(sem, 1, PF_SEM_MAX), 0);
        check_kill(pid[0]);
        int64_t end = pf_now() + PF_SECOND;
        while ((uint32_t)atomic_load(&flag[1]) == before) {
            CHECK(pf_now() < end);
            check_sleep(MS);
        }
        CHECK_EQ(pf_sem_release(sem, 2, PF_SEM_MAX), 0);
        for (int i = 1; i < 4; i++)
            check_reap(pid[i]);
        CHECK_EQ(pf_sem_value(sem), 0);
    }
    arena_shut();
}

/* One of two sleepers was woken, and the mark is gone: whoever takes the permit knows that others may sleep. */
static void mark_is_kept(void)
{
    setup(0);
    pid_t pid[2];
    for (int i = 0; i < 2; i++) {
        pid[i] = check_fork();
        if (pid[i] == 0) {
            CHECK_EQ(take(PF_FOREVER), 0);
            atomic_fetch_add(&flag[0], 1);
            _exit(0);
        }
        check_asleep(pid[i]);
    }
    check_sleep(5 * MS);
    atomic_store(&sem->word, 1);
    pf_futex_wake((_Atomic uint32_t *)&sem->word, 1);
    check_until(&flag[0], 1);
    int64_t start = pf_now();
    CHECK_EQ(pf_sem_give(sem, PF_SEM_MAX), 0);
    check_until(&flag[0], 2);
    CHECK(pf_now() - start < 300 * MS);
    for (int i = 0; i < 2; i++)
        check_reap(pid[i]);
    arena_shut();
}

static const struct check_case cases[] = {CASE(counts),      CASE(blocking),        CASE(wakes), CASE(two_at_a_time),
                                          CASE(fair_enough), CASE(killed_sleepers), CASE(mark_is_kept)};
CHECK_MAIN(cases)
