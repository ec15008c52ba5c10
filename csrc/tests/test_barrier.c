#include "procfast/barrier.h"
#include "shared_arena.h"

static struct pf_barrier *barrier;

static void setup(uint32_t parties)
{
    arena_open();
    barrier = arena_new(sizeof *barrier);
    pf_barrier_init(barrier, parties);
}

static void (*action)(void);

/* threading.Barrier.wait(): the index, or the error. */
static int await(int64_t deadline)
{
    uint32_t record;
    int i, rc;
    AGAIN(i, pf_barrier_arrive(barrier, arena, deadline, &record));
    if (i < 0)
        return i;
    if (i == (int)barrier->parties - 1) {
        if (action)
            action();
        AGAIN(rc, pf_barrier_pass(barrier, arena, record));
    } else {
        AGAIN(rc, pf_barrier_wait(barrier, arena, record, deadline));
    }
    return rc < 0 ? rc : i;
}

static pid_t waiter(int64_t timeout, int expected)
{
    uint32_t before = pf_barrier_waiting(barrier);
    pid_t pid = check_fork();
    if (pid == 0) {
        int rc = await(timeout ? pf_now() + timeout : PF_FOREVER);
        if (expected == INT_MAX)
            CHECK(rc >= 0);
        else
            CHECK_EQ(rc, expected);
        _exit(0);
    }
    int64_t end = pf_now() + 10 * PF_SECOND;
    while (pf_barrier_waiting(barrier) == before && !pf_barrier_broken(barrier)) {
        CHECK(pf_now() < end);
        check_sleep(MS / 10);
    }
    return pid;
}

static void alone(void)
{
    setup(1);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(await(PF_NOWAIT), 0);
    CHECK_EQ(pf_barrier_waiting(barrier), 0);
    arena_shut();
}

/* Nobody is a round ahead; the indices of a round are all there. */
static void *runner(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3000; i++) {
        int n = atomic_fetch_add(&flag[0], 1);
        CHECK(n >= 3 * i && n < 3 * i + 3);
        int index = await(PF_FOREVER);
        CHECK(index >= 0 && index < 3);
        atomic_fetch_add(&flag[1 + index], 1);
        CHECK(atomic_load(&flag[0]) >= 3 * i + 3);
        CHECK(await(PF_FOREVER) >= 0);
    }
    return NULL;
}

static void rounds(void)
{
    for (int kind = 0; kind < 2; kind++) {
        setup(3);
        pthread_t t[3];
        pid_t pid[3];
        int64_t start = pf_now();
        for (int i = 0; i < 3; i++) {
            if (kind == 0)
                CHECK_EQ(pthread_create(&t[i], NULL, runner, NULL), 0);
            else if ((pid[i] = check_fork()) == 0)
                _exit(runner(NULL) != NULL);
        }
        for (int i = 0; i < 3; i++) {
            if (kind == 0)
                pthread_join(t[i], NULL);
            else
                check_reap(pid[i]);
        }
        if (getenv("VERBOSE"))
            printf("    %.2f us a round\n", (double)(pf_now() - start) / 6e6);
        for (int i = 0; i < 3; i++)
            CHECK_EQ(atomic_load(&flag[1 + i]), 3000);
        CHECK_EQ(pf_barrier_waiting(barrier), 0);
        arena_shut();
    }
}

/* More processes than parties: each round takes some of them, and pairs them all. */
static void more_than_parties(void)
{
    setup(2);
    pid_t pid[5];
    for (int i = 0; i < 5; i++) {
        pid[i] = check_fork();
        if (pid[i] == 0) {
            int rc;
            while ((rc = await(PF_FOREVER)) >= 0) {
                CHECK(rc < 2);
                atomic_fetch_add(&flag[rc], 1);
            }
            CHECK_EQ(rc, -PF_EBROKEN);
            _exit(0);
        }
    }
    check_until(&flag[0], 2000);
    pf_barrier_abort(barrier);
    for (int i = 0; i < 5; i++)
        check_reap(pid[i]);
    CHECK_EQ(atomic_load(&flag[0]), atomic_load(&flag[1]));
    arena_shut();
}

static void slow_action(void)
{
    CHECK_EQ(pf_barrier_waiting(barrier), 0); /* as threading has it: none waits any more */
    check_sleep(30 * MS);
    atomic_fetch_add(&flag[5], 1);
}

/* All wait for the action of the last one. */
static void an_action(void)
{
    setup(3);
    action = slow_action;
    pid_t pid[3];
    for (int i = 0; i < 3; i++) {
        pid[i] = check_fork();
        if (pid[i] == 0) {
            for (int k = 1; k <= 5; k++) {
                CHECK(await(PF_FOREVER) >= 0);
                CHECK_EQ(atomic_load(&flag[5]), k);
            }
            _exit(0);
        }
    }
    for (int i = 0; i < 3; i++)
        check_reap(pid[i]);
    action = NULL;
    arena_shut();
}

static void timeout_breaks(void)
{
    setup(3);
    pid_t pid = waiter(0, -PF_EBROKEN);
    CHECK_EQ(pf_barrier_waiting(barrier), 1);
    int64_t end = pf_now() + 60 * MS;
    CHECK_EQ(await(end), -ETIMEDOUT);
    CHECK(pf_now() >= end && pf_now() < end + 200 * MS);
    CHECK(pf_barrier_broken(barrier));
    CHECK_EQ(check_reap_within(pid, PF_SECOND), 0);
    CHECK_EQ(await(PF_FOREVER), -PF_EBROKEN);
    CHECK_EQ(pf_barrier_waiting(barrier), 0);
    CHECK_EQ(pf_barrier_reset(barrier, arena), 0);
    CHECK(!pf_barrier_broken(barrier));
    pid_t a = waiter(0, INT_MAX), b = waiter(0, INT_MAX);
    CHECK_EQ(await(PF_NOWAIT), 2);
    check_reap(a);
    check_reap(b);
    CHECK_EQ(await(PF_NOWAIT), -ETIMEDOUT);
    arena_shut();
}

static void aborted(void)
{
    setup(3);
    pid_t a = waiter(0, -PF_EBROKEN), b = waiter(0, -PF_EBROKEN);
    CHECK_EQ(pf_barrier_waiting(barrier), 2);
    pf_barrier_abort(barrier);
    CHECK_EQ(check_reap_within(a, PF_SECOND), 0);
    CHECK_EQ(check_reap_within(b, PF_SECOND), 0);
    CHECK_EQ(await(PF_FOREVER), -PF_EBROKEN);
    arena_shut();
}

/* Those who waited are told; who comes after begins anew: also when the one who waited wakes late. */
static void reset(void)
{
    setup(2);
    CHECK_EQ(pf_barrier_reset(barrier, arena), 0);
    for (int late = 0; late < 2; late++) {
        pid_t a = waiter(0, -PF_EBROKEN);
        if (late)
            kill(a, SIGSTOP);
        CHECK_EQ(pf_barrier_reset(barrier, arena), 0);
        CHECK(!pf_barrier_broken(barrier));
        CHECK_EQ(pf_barrier_waiting(barrier), 0);
        if (!late)
            CHECK_EQ(check_reap_within(a, PF_SECOND), 0);
        for (int i = 0; i < 3; i++) {
            pid_t b = waiter(0, 0);
            CHECK_EQ(await(PF_FOREVER), 1);
            check_reap(b);
        }
        if (late) {
            kill(a, SIGCONT);
            CHECK_EQ(check_reap_within(a, PF_SECOND), 0);
        }
    }
    arena_shut();
}

/* One that passed wakes late, after others have broken it. */
static void passed_all_the_same(void)
{
    setup(2);
    pid_t a = waiter(0, 0);
    check_asleep(a);
    kill(a, SIGSTOP);
    CHECK_EQ(await(PF_FOREVER), 1);
    CHECK_EQ(await(PF_NOWAIT), -ETIMEDOUT);
    CHECK(pf_barrier_broken(barrier));
    kill(a, SIGCONT);
    check_reap(a);
    arena_shut();
}

static void gives_up(void)
{
    setup(2);
    uint32_t record;
    CHECK_EQ(pf_barrier_arrive(barrier, arena, PF_FOREVER, &record), 0);
    CHECK_EQ(pf_barrier_wait(barrier, arena, record, PF_TRY), -EAGAIN);
    CHECK_EQ(pf_barrier_waiting(barrier), 1);
    pf_barrier_leave(barrier, arena, record);
    CHECK_EQ(pf_barrier_waiting(barrier), 0);
    CHECK(!pf_barrier_broken(barrier));
    pid_t pid = waiter(0, 0);
    CHECK_EQ(await(PF_FOREVER), 1);
    check_reap(pid);
    CHECK_EQ(pf_barrier_arrive(barrier, arena, PF_FOREVER, &record), 0);
    pid = check_fork(); /* the action raised */
    if (pid == 0) {
        uint32_t last;
        CHECK_EQ(pf_barrier_arrive(barrier, arena, PF_FOREVER, &last), 1);
        pf_barrier_leave(barrier, arena, last);
        _exit(0);
    }
    check_reap(pid);
    CHECK_EQ(pf_barrier_wait(barrier, arena, record, PF_FOREVER), -PF_EBROKEN);
    arena_shut();
}

static void on_alarm(int sig)
{
    (void)sig;
}

static void blocking(void)
{
    setup(2);
    struct sigaction sa = {.sa_handler = on_alarm}, old;
    sigaction(SIGALRM, &sa, &old);
    struct itimerval it = {{0, 50000}, {0, 50000}}, off = {{0, 0}, {0, 0}};
    uint32_t record;
    CHECK_EQ(pf_barrier_arrive(barrier, arena, PF_FOREVER, &record), 0);
    setitimer(ITIMER_REAL, &it, NULL);
    int64_t start = pf_now();
    CHECK_EQ(pf_barrier_wait(barrier, arena, record, start + 10 * PF_SECOND), -EINTR);
    CHECK(pf_now() - start < PF_SECOND / 2);
    setitimer(ITIMER_REAL, &off, NULL);
    sigaction(SIGALRM, &old, NULL);
    int64_t cpu = check_cpu();
    int rc;
    int64_t end = pf_now() + 2 * PF_SECOND;
    AGAIN(rc, pf_barrier_wait(barrier, arena, record, end));
    CHECK_EQ(rc, -ETIMEDOUT);
#ifdef PF_OS_POSIX
    CHECK(check_cpu() - cpu < 60 * MS); /* it polls */
#else
    CHECK(check_cpu() - cpu < 5 * MS);
#endif
    arena_shut();
}

/* ---- deaths -------------------------------------------------------------------------------------------- */

static void dead_party(void)
{
    for (int how = 0; how < 3; how++) {
        setup(3);
        pid_t a = waiter(0, 0), b = how < 2 ? waiter(0, -PF_EBROKEN) : 0;
        check_kill(a);
        if (how == 0) /* the last one finds it */
            CHECK_EQ(await(PF_FOREVER), -PF_EBROKEN);
        if (how == 2) { /* one who came later does, at a look */
            int64_t start = pf_now();
            CHECK_EQ(await(PF_FOREVER), -PF_EBROKEN);
            CHECK(pf_now() - start < PF_SECOND);
        }
        if (b)
            CHECK_EQ(check_reap_within(b, PF_SECOND), 0);
        CHECK(pf_barrier_broken(barrier));
        CHECK_EQ(pf_barrier_reset(barrier, arena), 0);
        b = waiter(0, INT_MAX);
        a = waiter(0, INT_MAX);
        CHECK_EQ(await(PF_FOREVER), 2);
        check_reap(a);
        check_reap(b);
        arena_shut();
    }
}

static void die(void)
{
    atomic_store(&flag[6], 1);
    pause();
}

/* It dies in the action: those who wait, and those who come to wait for the next round, are told. */
static void dies_in_the_action(void)
{
    setup(2);
    pid_t a = waiter(0, -PF_EBROKEN);
    action = die;
    pid_t b = check_fork();
    if (b == 0)
        _exit(await(PF_FOREVER) == 0);
    check_until(&flag[6], 1);
    action = NULL;
    pid_t c = check_fork();
    if (c == 0) {
        CHECK_EQ(await(PF_FOREVER), -PF_EBROKEN);
        _exit(0);
    }
    check_asleep(c);
    check_kill(b);
    CHECK_EQ(check_reap_within(a, PF_SECOND), 0);
    CHECK_EQ(check_reap_within(c, PF_SECOND), 0);
    arena_shut();
}

/* Who has passed may die as he likes. */
static void dies_after_it(void)
{
    setup(2);
    for (int i = 0; i < 20; i++) {
        pid_t pid = check_fork();
        if (pid == 0) {
            CHECK(await(PF_FOREVER) >= 0);
            raise(SIGKILL);
        }
        CHECK(await(PF_FOREVER) >= 0);
        waitpid(pid, NULL, 0);
    }
    CHECK(!pf_barrier_broken(barrier));
    arena_shut();
}

static void stopped_is_not_dead(void)
{
    setup(2);
    pid_t a = waiter(0, 0);
    kill(a, SIGSTOP);
    check_sleep(700 * MS);
    CHECK_EQ(await(PF_FOREVER), 1);
    kill(a, SIGCONT);
    check_reap(a);
    arena_shut();
}

static const struct check_case cases[] = {
    CASE(alone),         CASE(rounds),          CASE(more_than_parties),    CASE(an_action),
    CASE(timeout_breaks), CASE(aborted),        CASE(reset),                CASE(passed_all_the_same),
    CASE(gives_up),      CASE(blocking),        CASE(dead_party),           CASE(dies_in_the_action),
    CASE(dies_after_it), CASE(stopped_is_not_dead)};
CHECK_MAIN(cases)
