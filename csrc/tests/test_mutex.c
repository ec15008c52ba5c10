#include "segment.h"

static void free_lock(void)
{
    for (int i = 0; i < 1000; i++) {
        CHECK_EQ(pf_mutex_owner(&seg->m), 0);
        CHECK_EQ(i & 1 ? segment_lock(PF_FOREVER) : pf_mutex_trylock(&seg->m, &peer), 0);
        uint32_t owner = pf_mutex_owner(&seg->m);
        if (peer.foreign)
            CHECK_EQ(owner, PF_OWNER_SLOT + atomic_load(&peer.slot));
        else
            CHECK_EQ(owner, pf_thread_self()->tid);
        CHECK_EQ(pf_mutex_trylock(&seg->m, &peer), -EBUSY);
        pf_mutex_unlock(&seg->m);
        CHECK_EQ(atomic_load(&seg->m.word), 0);
    }
    CHECK_EQ(segment_lock(PF_NOWAIT), 0); /* a free lock needs no time */
    pf_mutex_unlock(&seg->m);
}
BOTH_OWNERS(free_lock)

static pid_t holder(void) /* holds the lock until flag[1] */
{
    atomic_store(&seg->flag[0], 0);
    atomic_store(&seg->flag[1], 0);
    pid_t pid = segment_fork();
    if (pid == 0) {
        CHECK_EQ(segment_lock(PF_FOREVER), 0);
        atomic_store(&seg->flag[0], 1);
        check_until(&seg->flag[1], 1);
        pf_mutex_unlock(&seg->m);
        _exit(0);
    }
    check_until(&seg->flag[0], 1);
    return pid;
}

static void deadline(void)
{
    pid_t pid = holder();
    for (int ms = 0; ms < 1400; ms = ms * 2 + 20) {
        int64_t end = pf_now() + ms * MS;
        CHECK_EQ(segment_lock(end), -ETIMEDOUT);
        CHECK(pf_now() >= end && pf_now() < end + 200 * MS);
    }
    CHECK_EQ(segment_lock(PF_NOWAIT), -ETIMEDOUT);
    CHECK_EQ(pf_mutex_trylock(&seg->m, &peer), -EBUSY);
    atomic_store(&seg->flag[1], 1);
    check_reap(pid);
    CHECK_EQ(segment_lock(PF_NOWAIT), 0);
    pf_mutex_unlock(&seg->m);
    CHECK_EQ(atomic_load(&seg->m.word), 0);
}
BOTH_OWNERS(deadline)

static void on_alarm(int sig)
{
    (void)sig;
}

static void interrupted(void)
{
    struct sigaction sa = {.sa_handler = on_alarm}, old;
    sigaction(SIGALRM, &sa, &old);
    pid_t pid = holder();
    struct itimerval it = {{0, 50000}, {0, 50000}}, off = {{0, 0}, {0, 0}}; /* again: one may come just before the sleep */
    setitimer(ITIMER_REAL, &it, NULL);
    int64_t start = pf_now();
    CHECK_EQ(pf_mutex_lock(&seg->m, &peer, start + 10 * PF_SECOND), -EINTR);
    CHECK(pf_now() - start < PF_SECOND);
    setitimer(ITIMER_REAL, &off, NULL);
    atomic_store(&seg->flag[1], 1);
    CHECK_EQ(segment_lock(start + 10 * PF_SECOND), 0);
    pf_mutex_unlock(&seg->m);
    check_reap(pid);
    sigaction(SIGALRM, &old, NULL);
}
BOTH_OWNERS(interrupted)

static void blocked_without_cpu(void)
{
    pid_t pid = holder();
    int64_t cpu = check_cpu();
    CHECK_EQ(segment_lock(pf_now() + 2 * PF_SECOND), -ETIMEDOUT);
#ifdef PF_OS_POSIX
    CHECK(check_cpu() - cpu < 40 * MS); /* it polls */
#else
    CHECK(check_cpu() - cpu < 10 * MS);
#endif
    atomic_store(&seg->flag[1], 1);
    check_reap(pid);
}
BOTH_OWNERS(blocked_without_cpu)

#define ROUNDS 20000

static void contend(int rounds)
{
    for (int i = 0; i < rounds; i++) {
        if (i % 7 == 0) {
            int rc = pf_mutex_trylock(&seg->m, &peer);
            if (rc == -EBUSY)
                rc = segment_lock(PF_FOREVER);
            CHECK_EQ(rc, 0);
        } else {
            CHECK_EQ(segment_lock(PF_FOREVER), 0);
        }
        seg->a++;
        seg->b++;
        CHECK_EQ(seg->a, seg->b);
        pf_mutex_unlock(&seg->m);
    }
}

static void *contender(void *arg)
{
    contend(*(int *)arg);
    return NULL;
}

/* One mapping, so that ThreadSanitizer sees what the lock orders. */
static void between_threads(void)
{
    pthread_t t[4];
    int rounds = ROUNDS;
    CHECK(pf_peer_slot(&peer) >= 0); /* its owner serialises this */
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, contender, &rounds), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(seg->a, 4 * ROUNDS);
    CHECK_EQ(pf_mutex_owner(&seg->m), 0);
}
BOTH_OWNERS(between_threads)

static void between_processes(void)
{
    pid_t pid[4];
    for (int i = 0; i < 4; i++) {
        pid[i] = segment_fork();
        if (pid[i] == 0) {
            contend(ROUNDS);
            _exit(0);
        }
    }
    for (int i = 0; i < 4; i++)
        check_reap(pid[i]);
    CHECK_EQ(seg->a, 4 * ROUNDS);
    CHECK_EQ(pf_mutex_owner(&seg->m), 0);
}
BOTH_OWNERS(between_processes)

/* Owned by thread id and by slot at once: one lock still. */
static void mixed_owners(void)
{
    segment_open();
    pid_t pid[4];
    for (int i = 0; i < 4; i++) {
        pid[i] = segment_fork();
        if (pid[i] == 0) {
            peer.foreign |= i & 1;
            contend(ROUNDS);
            _exit(0);
        }
    }
    for (int i = 0; i < 4; i++)
        check_reap(pid[i]);
    CHECK_EQ(seg->a, 4 * ROUNDS);
    segment_close();
}

/* A passed lock wakes its waiter at once, not at the next look. */
static void handed_over(void)
{
    pid_t pid = segment_fork();
    if (pid == 0) {
        for (int i = 0; i < 20; i++) {
            check_until(&seg->flag[2], i + 1);
            CHECK_EQ(segment_lock(PF_FOREVER), 0);
            atomic_store(&seg->flag[3], i + 1);
            pf_mutex_unlock(&seg->m);
        }
        _exit(0);
    }
    int64_t slowest = 0;
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(segment_lock(PF_FOREVER), 0);
        atomic_store(&seg->flag[2], i + 1);
        check_sleep(20 * MS);
        int64_t start = pf_now();
        pf_mutex_unlock(&seg->m);
        check_until(&seg->flag[3], i + 1);
        int64_t took = pf_now() - start;
        slowest = took > slowest ? took : slowest;
    }
    CHECK(slowest < 500 * MS);
    check_reap(pid);
}
BOTH_OWNERS(handed_over)

static const struct check_case cases[] = {
    CASES(free_lock),       CASES(deadline),          CASES(interrupted),   CASES(blocked_without_cpu),
    CASES(between_threads), CASES(between_processes), CASE(mixed_owners),   CASES(handed_over)};
CHECK_MAIN(cases)
