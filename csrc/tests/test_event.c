#include "procfast/event.h"
#include "shared_arena.h"

static struct pf_event *event;

static void setup(void)
{
    arena_open();
    event = arena_new(sizeof *event);
}

static int wait_from(uint32_t seen, int64_t deadline)
{
    int rc;
    AGAIN(rc, pf_event_wait(event, seen, deadline));
    return rc;
}

static int await(int64_t deadline)
{
    return wait_from(pf_event_seen(event), deadline);
}

static void set_and_clear(void)
{
    setup();
    CHECK(!pf_event_is_set(event));
    CHECK_EQ(await(PF_TRY), -EAGAIN);
    CHECK_EQ(await(PF_NOWAIT), -ETIMEDOUT);
    for (int i = 0; i < 3; i++) {
        pf_event_set(event);
        pf_event_set(event);
        CHECK(pf_event_is_set(event));
        CHECK_EQ(await(PF_TRY), 0);
        CHECK_EQ(await(PF_FOREVER), 0);
        pf_event_clear(event);
        pf_event_clear(event);
        CHECK(!pf_event_is_set(event));
        CHECK_EQ(await(PF_TRY), -EAGAIN);
    }
    arena_shut();
}

/* What was set since the wait began releases it, whatever happened since. */
static void cleared_at_once(void)
{
    setup();
    uint32_t seen = pf_event_seen(event);
    pf_event_clear(event); /* it was not set: nothing */
    CHECK_EQ(wait_from(seen, PF_TRY), -EAGAIN);
    pf_event_set(event);
    pf_event_clear(event);
    CHECK_EQ(wait_from(seen, PF_TRY), 0);
    CHECK_EQ(wait_from(pf_event_seen(event), PF_TRY), -EAGAIN);
    pid_t pid[4];
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 4; i++) {
            pid[i] = check_fork();
            if (pid[i] == 0) {
                CHECK_EQ(await(pf_now() + 10 * PF_SECOND), 0);
                _exit(0);
            }
            check_asleep(pid[i]);
        }
        pf_event_set(event);
        pf_event_clear(event);
        for (int i = 0; i < 4; i++)
            CHECK_EQ(check_reap_within(pid[i], PF_SECOND), 0);
        CHECK(!pf_event_is_set(event));
    }
    arena_shut();
}

static void on_alarm(int sig)
{
    (void)sig;
}

static void blocking(void)
{
    setup();
    for (int ms = 0; ms < 1400; ms = ms * 2 + 20) {
        int64_t end = pf_now() + ms * MS;
        CHECK_EQ(await(end), -ETIMEDOUT);
        CHECK(pf_now() >= end && pf_now() < end + 200 * MS);
    }
    int64_t cpu = check_cpu();
    CHECK_EQ(await(pf_now() + 2 * PF_SECOND), -ETIMEDOUT);
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
    CHECK_EQ(pf_event_wait(event, pf_event_seen(event), start + 10 * PF_SECOND), -EINTR);
    CHECK(pf_now() - start < PF_SECOND / 2);
    setitimer(ITIMER_REAL, &off, NULL);
    sigaction(SIGALRM, &old, NULL);
    arena_shut();
}

/* Back and forth, between threads (what went before is seen) and between processes. */
static struct pf_event *ping, *pong;
static long told;

static void *answer(void *arg)
{
    for (int i = 1; i <= *(int *)arg; i++) {
        CHECK_EQ(await(PF_FOREVER), 0);
        pf_event_clear(ping);
        told++;
        pf_event_set(pong);
    }
    return NULL;
}

static void back_and_forth(void)
{
    setup();
    ping = event;
    pong = arena_new(sizeof *pong);
    int n = 20000;
    for (int kind = 0; kind < 2; kind++) {
        pthread_t t;
        pid_t pid = 0;
        if (kind == 0)
            CHECK_EQ(pthread_create(&t, NULL, answer, &n), 0);
        else if ((pid = check_fork()) == 0)
            _exit(answer(&n) != NULL);
        int64_t start = pf_now();
        for (int i = 0; i < n; i++) {
            long before = told;
            pf_event_set(ping);
            int rc;
            uint32_t seen = pf_event_seen(pong);
            AGAIN(rc, pf_event_wait(pong, seen, PF_FOREVER));
            CHECK_EQ(rc, 0);
            pf_event_clear(pong);
            CHECK(kind || told == before + 1);
        }
        if (getenv("VERBOSE"))
            printf("    %.2f us there and back\n", (double)(pf_now() - start) / n / 1e3);
        if (kind == 0)
            pthread_join(t, NULL);
        else
            check_reap(pid);
    }
    arena_shut();
}

static void *setter(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20000; i++) {
        pf_event_set(event);
        pf_event_clear(event);
    }
    atomic_fetch_add(&flag[0], 1);
    return NULL;
}

static void *waiter(void *arg)
{
    (void)arg;
    long n = 0;
    while (atomic_load(&flag[0]) < 2)
        n += await(pf_now() + MS) == 0;
    return NULL;
}

/* Many set, clear and wait at once: nobody hangs. */
static void all_at_once(void)
{
    setup();
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, i < 2 ? setter : waiter, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    CHECK(!pf_event_is_set(event));
    pf_event_set(event);
    CHECK_EQ(await(PF_TRY), 0);
    arena_shut();
}

static void killed_waiters(void)
{
    setup();
    pid_t pid[4];
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 4; i++) {
            pid[i] = check_fork();
            if (pid[i] == 0) {
                CHECK_EQ(await(PF_FOREVER), 0);
                _exit(0);
            }
            check_asleep(pid[i]);
        }
        check_kill(pid[1]);
        kill(pid[2], SIGKILL);
        pf_event_set(event);
        CHECK_EQ(check_reap_within(pid[0], PF_SECOND), 0);
        CHECK_EQ(check_reap_within(pid[3], PF_SECOND), 0);
        waitpid(pid[2], NULL, 0);
        pf_event_clear(event);
    }
    arena_shut();
}

static _Atomic int news, heard;

static void *hear(void *rounds)
{
    for (int i = 1; i <= *(int *)rounds; i++) {
        for (;;) { /* more than once where the set of the last news came after they were heard */
            pf_event_clear(event);
            if (atomic_load_explicit(&news, memory_order_relaxed) == i)
                break;
            CHECK_EQ(await(pf_now() + 10 * PF_SECOND), 0);
        }
        atomic_store_explicit(&heard, i, memory_order_release);
    }
    return NULL;
}

/* Who clears it and looks afterwards sees what went before any set, also before one of an event that was set. */
static void set_when_set(void)
{
    int rounds = 100000;
    pthread_t t;
    setup();
    atomic_store(&news, 0);
    atomic_store(&heard, 0);
    CHECK_EQ(pthread_create(&t, NULL, hear, &rounds), 0);
    for (int i = 1; i <= rounds; i++) {
        atomic_store_explicit(&news, i, memory_order_relaxed);
        pf_event_set(event);
        for (int spin = 0; atomic_load_explicit(&heard, memory_order_acquire) < i; spin++) {
            if (spin > 1000)
                sched_yield();
        }
    }
    pthread_join(t, NULL);
    arena_shut();
}

static const struct check_case cases[] = {CASE(set_and_clear),  CASE(cleared_at_once), CASE(blocking),
                                          CASE(back_and_forth), CASE(all_at_once),     CASE(killed_waiters),
                                          CASE(set_when_set)};
CHECK_MAIN(cases)
