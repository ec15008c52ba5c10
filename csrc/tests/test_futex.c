#include "check.h"

static _Atomic uint32_t *word; /* shared with children */

static void not_equal(void)
{
    atomic_store(word, 7);
    CHECK_EQ(pf_futex_wait(word, 6, PF_FOREVER), -EAGAIN);
}

static void deadline_passed(void)
{
    atomic_store(word, 7);
    CHECK_EQ(pf_futex_wait(word, 7, PF_NOWAIT), -ETIMEDOUT);
    CHECK_EQ(pf_futex_wait(word, 7, pf_now() - PF_SECOND), -ETIMEDOUT);
}

static void deadline_kept(void)
{
    atomic_store(word, 7);
    for (int i = 0; i < 5; i++) {
        int64_t start = pf_now(), end = start + 30 * MS;
        int rc;
        while ((rc = pf_futex_wait(word, 7, end)) == 0)
            ;
        CHECK_EQ(rc, -ETIMEDOUT);
        CHECK(pf_now() >= end && pf_now() < end + 200 * MS);
    }
}

static void *thread_waiter(void *arg)
{
    _Atomic int *woken = arg;
    while (atomic_load(word) == 1)
        CHECK(pf_futex_wait(word, 1, pf_now() + 10 * PF_SECOND) != -ETIMEDOUT);
    atomic_fetch_add(woken, 1);
    return NULL;
}

static void wakes_threads(void)
{
    _Atomic int woken = 0;
    pthread_t t[4];
    atomic_store(word, 1);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, thread_waiter, &woken), 0);
    check_sleep(20 * MS);
    CHECK_EQ(atomic_load(&woken), 0);
    atomic_store(word, 2);
    CHECK(pf_futex_wake(word, INT_MAX) >= 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(atomic_load(&woken), 4);
}

/* Each process maps the segment at an address of its own. */
static void wakes_processes(void)
{
    int fd = pf_shm_create(4096);
    CHECK(fd >= 0);
    void *here;
    CHECK_EQ(pf_shm_map(fd, 0, 4096, &here), 0);
    _Atomic uint32_t *mine = here;
    atomic_store(mine, 1);
    pid_t pid = check_fork();
    if (pid == 0) {
        void *there;
        CHECK_EQ(pf_shm_map(fd, 0, 4096, &there), 0);
        CHECK(there != here);
        int64_t start = pf_now();
        while (atomic_load((_Atomic uint32_t *)there) == 1)
            CHECK(pf_futex_wait(there, 1, start + 10 * PF_SECOND) != -ETIMEDOUT);
        _exit(0);
    }
    check_asleep(pid);
    atomic_store(mine, 2);
    pf_futex_wake(mine, 1);
    int64_t start = pf_now();
    check_reap(pid);
    CHECK(pf_now() - start < PF_SECOND);
    pf_shm_unmap(here, 4096);
    close(fd);
}

/* Adding and waking in one call, at every shift a commit word uses. */
static void add_wake(void)
{
    if (pf_futex_add_wake(word, 0, 0) == -ENOSYS) {
        atomic_store(word, 5);
        CHECK_EQ(pf_futex_add_wake(word, 8, 1), -ENOSYS);
        CHECK_EQ(atomic_load(word), 5); /* refused means untouched */
        return;
    }
    for (unsigned shift = 0; shift < 31; shift++) {
        atomic_store(word, 3);
        CHECK_EQ(pf_futex_add_wake(word, shift, 1), 0);
        CHECK_EQ(atomic_load(word), 3 + (UINT32_C(1) << shift));
    }
    _Atomic int woken = 0;
    pthread_t t;
    atomic_store(word, 1);
    CHECK_EQ(pthread_create(&t, NULL, thread_waiter, &woken), 0);
    check_sleep(20 * MS);
    CHECK_EQ(pf_futex_add_wake(word, 8, 1), 1);
    pthread_join(t, NULL);
    CHECK_EQ(atomic_load(word), 257);
}

static void on_alarm(int sig)
{
    (void)sig;
}

static void interrupted(void)
{
    struct sigaction sa = {.sa_handler = on_alarm}, old;
    sigaction(SIGALRM, &sa, &old);
    atomic_store(word, 7);
    struct itimerval it = {{0, 30000}, {0, 30000}}, off = {{0, 0}, {0, 0}}; /* again: one may come just before the sleep */
    setitimer(ITIMER_REAL, &it, NULL);
    int64_t start = pf_now();
    int rc;
    while ((rc = pf_futex_wait(word, 7, start + 5 * PF_SECOND)) == 0)
        ;
    CHECK_EQ(rc, -EINTR);
    CHECK(pf_now() - start < PF_SECOND);
    setitimer(ITIMER_REAL, &off, NULL);
    sigaction(SIGALRM, &old, NULL);
}

static void sleeps_without_cpu(void)
{
    atomic_store(word, 7);
    int64_t cpu = check_cpu(), end = pf_now() + PF_SECOND;
    while (pf_futex_wait(word, 7, end) == 0)
        ;
    /* the polling fallback looks a hundred times a second */
    CHECK(check_cpu() - cpu < 20 * MS);
}

/* A sleeper that was killed takes nothing with it. */
static void sleeper_killed(void)
{
    atomic_store(word, 1);
    pid_t pid = check_fork();
    if (pid == 0) {
        pf_futex_wait(word, 1, PF_FOREVER);
        _exit(0);
    }
    check_asleep(pid);
    check_kill(pid);
    CHECK(pf_futex_wake(word, 1) <= 1);
    wakes_threads();
}

static const struct check_case cases[] = {CASE(not_equal),       CASE(deadline_passed), CASE(deadline_kept),
                                          CASE(wakes_threads),   CASE(wakes_processes), CASE(add_wake),
                                          CASE(interrupted),     CASE(sleeps_without_cpu),
                                          CASE(sleeper_killed)};

int main(int argc, char **argv)
{
    word = check_shared(4096);
    return check_main(cases, (int)(sizeof cases / sizeof *cases), argc, argv);
}
