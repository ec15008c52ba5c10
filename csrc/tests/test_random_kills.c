/* Processes that use what an arena offers are killed at random moments, and replaced. KILLS says how many. */
#include "lock_fast.h"
#include "procfast/barrier.h"
#include "procfast/cond.h"
#include "shared_arena.h"

#define WORKERS 6
#define STALLED (3 * PF_SECOND)

static struct pf_lock *lock;
static struct pf_cond *not_empty, *not_full;
static struct pf_barrier *barrier;
static struct shared {
    _Atomic int inside;
    long a, b;                   /* equal, but for what the dead left */
    int items;
    _Atomic long told, progress[WORKERS];
} *sh;

static void setup(void)
{
    arena_open();
    lock = arena_new(sizeof *lock);
    not_empty = arena_new(sizeof *not_empty);
    not_full = arena_new(sizeof *not_full);
    barrier = arena_new(sizeof *barrier);
    sh = arena_new(sizeof *sh);
}

static void hold(bool recursive)
{
    int rc;
    if (recursive ? pf_rlock_take(lock, arena) : pf_lock_take(lock, arena))
        rc = 0;
    else
        AGAIN(rc, recursive ? pf_rlock_acquire(lock, arena, PF_FOREVER, 0, NULL)
                            : pf_lock_acquire(lock, arena, PF_FOREVER, PF_LOCK_ROBUST, NULL));
    CHECK(rc == 0 || rc == -PF_EOWNERDEAD);
    int was = atomic_exchange(&sh->inside, getpid());
    CHECK(was == 0 || rc == -PF_EOWNERDEAD);
    if (rc == -PF_EOWNERDEAD) {
        atomic_fetch_add(&sh->told, 1);
        sh->b = sh->a;
        CHECK(pf_cond_notify(not_empty, arena, INT_MAX) >= 0); /* the dead may have been about to */
        CHECK(pf_cond_notify(not_full, arena, INT_MAX) >= 0);
    }
    CHECK_EQ(sh->a, sh->b);
}

static void let_go(void)
{
    CHECK_EQ(atomic_exchange(&sh->inside, 0), getpid());
    CHECK_EQ(pf_lock_drop(lock), 0);
}

static void use_lock(int me)
{
    hold(me & 1);
    CHECK(!(me & 1) || pf_rlock_count(lock, arena) == 1);
    sh->a++;
    sh->b++;
    let_go();
}

static void await(struct pf_cond *c)
{
    uint32_t record;
    int rc;
    CHECK_EQ(pf_cond_enter(c, arena, &record), 0);
    let_go();
    AGAIN(rc, pf_cond_wait(c, arena, record, PF_FOREVER));
    hold(false);
    CHECK(pf_cond_leave(c, arena, record));
}

/* Half of them put, half of them take, and few fit in: whoever misses a notification stands still. */
static void use_condition(int me)
{
    bool puts = me & 1;
    hold(false);
    while (puts ? sh->items >= 2 : sh->items == 0)
        await(puts ? not_full : not_empty);
    sh->items += puts ? 1 : -1;
    CHECK(pf_cond_notify(puts ? not_empty : not_full, arena, 1) >= 0);
    let_go();
}

static void use_barrier(int me)
{
    (void)me;
    uint32_t record;
    int i, rc;
    AGAIN(i, pf_barrier_arrive(barrier, arena, PF_FOREVER, &record));
    rc = i;
    if (i == WORKERS - 1)
        AGAIN(rc, pf_barrier_pass(barrier, arena, record));
    else if (i >= 0)
        AGAIN(rc, pf_barrier_wait(barrier, arena, record, PF_FOREVER));
    CHECK(rc >= 0 || rc == -PF_EBROKEN);
    if (rc < 0 && pf_barrier_broken(barrier))
        AGAIN(rc, pf_barrier_reset(barrier, arena));
}

static void work(void (*use)(int), int me)
{
    for (;;) {
        use(me);
        atomic_fetch_add(&sh->progress[me], 1);
    }
}

static pid_t start(void (*use)(int), int me)
{
    pid_t pid = check_fork();
    if (pid == 0)
        work(use, me);
    return pid;
}

/* Kills and replaces one after the other; everybody makes progress all the time, or at least when none is killed. */
static void kill_at_random(void (*use)(int), int kills, int64_t pause)
{
    pid_t pid[WORKERS];
    uint64_t seed = (uint64_t)pf_now();
    long at[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        pid[i] = start(use, i);
    for (int k = 0; k < kills; k++) {
        check_sleep((int64_t)(check_random(&seed) % (uint64_t)pause));
        int i = (int)(check_random(&seed) % WORKERS), status;
        if (k % 8 == 7)
            kill(pid[i], SIGSTOP); /* dies later, and is not dead before */
        if (k % 8 == 7)
            check_sleep(MS);
        kill(pid[i], SIGKILL);
        CHECK_EQ(waitpid(pid[i], &status, 0), pid[i]);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL); /* no check had failed */
        pid[i] = start(use, i);
        if (k % 100 != 99 && k != kills - 1)
            continue;
        int64_t end = pf_now() + STALLED;
        for (int w = 0; w < WORKERS; w++)
            at[w] = atomic_load(&sh->progress[w]);
        for (int w = 0; w < WORKERS; w++) {
            while (atomic_load(&sh->progress[w]) == at[w]) {
                CHECK(pf_now() < end);
                check_sleep(MS);
            }
        }
    }
    for (int i = 0; i < WORKERS; i++)
        check_kill(pid[i]);
    CHECK(atomic_load(&sh->told) <= kills + WORKERS);
    if (getenv("VERBOSE"))
        printf("    %d kills, %ld told\n", kills, atomic_load(&sh->told));
}

static int kills(void)
{
    const char *n = getenv("KILLS");
    return n ? atoi(n) : 500;
}

static void of_lock_users(void)
{
    setup();
    kill_at_random(use_lock, kills(), 2 * MS);
    hold(false); /* and one who comes after all that gets it */
    let_go();
    arena_shut();
}

static void of_condition_users(void)
{
    setup();
    kill_at_random(use_condition, kills(), 2 * MS);
    arena_shut();
}

static void of_barrier_users(void)
{
    setup();
    pf_barrier_init(barrier, WORKERS);
    kill_at_random(use_barrier, kills() / 2, 4 * MS);
    arena_shut();
}

static const struct check_case cases[] = {CASE(of_lock_users), CASE(of_condition_users), CASE(of_barrier_users)};
CHECK_MAIN(cases)
