#include <sched.h>

#include "lock_fast.h"
#include "shared_arena.h"

#if defined(__linux__) && !defined(PF_OS_POSIX)
#define TOKENS 1
#else
#define TOKENS 0 /* processes are known by their pids: a zombie lives, exec changes nothing, descriptors don't matter */
#endif

static struct pf_lock *lock;
static long *guarded;

static void setup(void)
{
    arena_open();
    lock = arena_new(2 * sizeof *lock);
    guarded = arena_new(2 * sizeof *guarded);
}

static void teardown(void)
{
    arena_shut();
}

static int take(int64_t deadline, unsigned flags)
{
    int rc;
    AGAIN(rc, pf_lock_acquire(lock, arena, deadline, flags, NULL));
    return rc;
}

static int rtake(int64_t deadline)
{
    int rc;
    AGAIN(rc, pf_rlock_acquire(lock, arena, deadline, 0, NULL));
    return rc;
}

static void free_lock(unsigned flags)
{
    setup();
    struct pf_owner o;
    for (int i = 0; i < 1000; i++) {
        CHECK(!pf_lock_locked(lock) && !pf_lock_mine(lock, arena));
        CHECK_EQ(pf_lock_owner(lock, arena, &o), 0);
        CHECK_EQ(o.tid, 0);
        if (i % 3 == 0 && i)
            CHECK(pf_lock_take(lock, arena));
        else
            CHECK_EQ(take(i % 3 == 1 ? PF_TRY : PF_FOREVER, flags), 0);
        CHECK(pf_lock_locked(lock) && pf_lock_mine(lock, arena));
        CHECK_EQ(pf_lock_owner(lock, arena, &o), 1);
        CHECK(o.pid == getpid() && o.tid == pf_thread_self()->tid && o.alive && o.since == 0);
        CHECK_EQ(take(PF_TRY, flags), -EAGAIN);
        CHECK(!pf_lock_take(lock, arena));
        CHECK_EQ(i & 1 ? pf_lock_drop(lock) : pf_lock_release(lock), 0);
        CHECK_EQ(pf_lock_drop(lock), -EPERM);
        CHECK_EQ(pf_lock_release(lock), -EPERM);
        CHECK_EQ(atomic_load(&lock->word), 0);
    }
    CHECK_EQ(take(PF_NOWAIT, flags), 0); /* a free lock needs no time */
    CHECK_EQ(take(PF_NOWAIT, flags), -ETIMEDOUT);
    pf_lock_release(lock);
    teardown();
}

static void free_plain(void)
{
    free_lock(0);
}

static void free_robust(void)
{
    free_lock(PF_LOCK_ROBUST);
}

/* A child that holds the lock until flag[1]. */
static pid_t holder(unsigned flags)
{
    atomic_store(&flag[0], 0);
    atomic_store(&flag[1], 0);
    pid_t pid = check_fork();
    if (pid == 0) {
        CHECK_EQ(take(PF_FOREVER, flags), 0);
        atomic_store(&flag[0], 1);
        check_until(&flag[1], 1);
        CHECK_EQ(pf_lock_release(lock), 0);
        _exit(0);
    }
    check_until(&flag[0], 1);
    return pid;
}

static void deadlines(void)
{
    setup();
    for (unsigned flags = 0; flags <= PF_LOCK_ROBUST; flags++) {
        pid_t pid = holder(flags);
        for (int ms = 0; ms < 1400; ms = ms * 2 + 20) {
            int64_t end = pf_now() + ms * MS;
            CHECK_EQ(take(end, flags), -ETIMEDOUT);
            CHECK(pf_now() >= end && pf_now() < end + 200 * MS);
        }
        CHECK_EQ(take(PF_NOWAIT, flags), -ETIMEDOUT);
        CHECK_EQ(take(PF_TRY, flags), -EAGAIN);
        atomic_store(&flag[1], 1);
        check_reap(pid);
        CHECK_EQ(take(PF_NOWAIT, flags), 0);
        CHECK_EQ(pf_lock_release(lock), 0);
        CHECK_EQ(atomic_load(&lock->word), 0);
    }
    teardown();
}

static void on_alarm(int sig)
{
    (void)sig;
}

static void interrupted(void)
{
    setup();
    struct sigaction sa = {.sa_handler = on_alarm}, old;
    sigaction(SIGALRM, &sa, &old);
    pid_t pid = holder(0);
    struct itimerval it = {{0, 50000}, {0, 50000}}, off = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &it, NULL);
    int64_t start = pf_now();
    CHECK_EQ(pf_lock_acquire(lock, arena, start + 10 * PF_SECOND, 0, NULL), -EINTR);
    CHECK(pf_now() - start < PF_SECOND / 2);
    setitimer(ITIMER_REAL, &off, NULL);
    atomic_store(&flag[1], 1);
    CHECK_EQ(take(start + 10 * PF_SECOND, 0), 0);
    check_reap(pid);
    sigaction(SIGALRM, &old, NULL);
    teardown();
}

/* Signals come all the time: the deadline stays one. */
static void storm_of_signals(void)
{
    setup();
    struct sigaction sa = {.sa_handler = on_alarm}, old;
    sigaction(SIGALRM, &sa, &old);
    pid_t pid = holder(PF_LOCK_ROBUST);
    struct itimerval it = {{0, 200}, {0, 200}}, off = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &it, NULL);
    int64_t end = pf_now() + 700 * MS;
    CHECK_EQ(take(end, PF_LOCK_ROBUST), -ETIMEDOUT);
    CHECK(pf_now() >= end && pf_now() < end + 300 * MS);
    setitimer(ITIMER_REAL, &off, NULL);
    atomic_store(&flag[1], 1);
    check_reap(pid);
    sigaction(SIGALRM, &old, NULL);
    teardown();
}

static void blocked_without_cpu(void)
{
    setup();
    pid_t pid = holder(PF_LOCK_ROBUST);
    int64_t cpu = check_cpu();
    CHECK_EQ(take(pf_now() + 3 * PF_SECOND, PF_LOCK_ROBUST), -ETIMEDOUT);
#ifdef PF_OS_POSIX
    CHECK(check_cpu() - cpu < 60 * MS); /* it polls */
#else
    CHECK(check_cpu() - cpu < 5 * MS);
#endif
    atomic_store(&flag[1], 1);
    check_reap(pid);
    teardown();
}

static void anybody_releases_a_plain_one(void)
{
    setup();
    CHECK_EQ(take(PF_FOREVER, 0), 0);
    pid_t pid = check_fork();
    if (pid == 0) {
        struct pf_owner o;
        CHECK(!pf_lock_mine(lock, arena));
        CHECK_EQ(pf_lock_owner(lock, arena, &o), 1);
        CHECK(o.pid == getppid() && o.alive);
        CHECK_EQ(pf_lock_release(lock), 0);
        _exit(0);
    }
    check_reap(pid);
    CHECK(!pf_lock_locked(lock));
    teardown();
}

#define ROUNDS 20000

static void contend(int rounds, unsigned flags, bool recursive)
{
    for (int i = 0; i < rounds; i++) {
        int depth = recursive ? 1 + i % 3 : 1;
        for (int d = 0; d < depth; d++) {
            bool got = i % 2 ? recursive ? pf_rlock_take(lock, arena) : pf_lock_take(lock, arena) : false;
            if (!got)
                CHECK_EQ(recursive ? rtake(PF_FOREVER) : take(PF_FOREVER, flags), 0);
        }
        guarded[0]++;
        guarded[1]++;
        CHECK_EQ(guarded[0], guarded[1]);
        for (int d = 0; d < depth; d++) {
            CHECK(!recursive || pf_rlock_count(lock, arena) == (uint32_t)(depth - d));
            CHECK_EQ(recursive ? i & 1 ? pf_rlock_drop(lock, arena) : pf_rlock_release(lock, arena)
                               : i & 1 ? pf_lock_drop(lock) : pf_lock_release(lock), 0);
        }
    }
}

static unsigned thread_flags;
static bool thread_recursive;

static void *contender(void *arg)
{
    contend(*(int *)arg, thread_flags, thread_recursive);
    return NULL;
}

/* One mapping, so that ThreadSanitizer sees what the lock orders; nobody took a tenancy before. */
static void between_threads(void)
{
    for (unsigned kind = 0; kind < 3; kind++) {
        setup();
        pthread_t t[4];
        int rounds = ROUNDS;
        thread_flags = kind;
        thread_recursive = kind == 2;
        for (int i = 0; i < 4; i++)
            CHECK_EQ(pthread_create(&t[i], NULL, contender, &rounds), 0);
        for (int i = 0; i < 4; i++)
            pthread_join(t[i], NULL);
        CHECK_EQ(guarded[0], 4 * ROUNDS);
        CHECK(!pf_lock_locked(lock));
        teardown();
    }
}

static void between_processes(void)
{
    for (unsigned kind = 0; kind < 3; kind++) {
        setup();
        pid_t pid[4];
        for (int i = 0; i < 4; i++) {
            pid[i] = check_fork();
            if (pid[i] == 0) {
                contend(ROUNDS, kind & 1, kind == 2);
                _exit(0);
            }
        }
        for (int i = 0; i < 4; i++)
            check_reap(pid[i]);
        CHECK_EQ(guarded[0], 4 * ROUNDS);
        CHECK(!pf_lock_locked(lock));
        teardown();
    }
}

/* Threads of processes: who owns it is one of many. */
static void many_of_both(void)
{
    setup();
    pid_t pid[4];
    int rounds = 500;
    thread_recursive = true;
    for (int i = 0; i < 4; i++) {
        pid[i] = check_fork();
        if (pid[i] == 0) {
            pthread_t t[16];
            for (int k = 0; k < 16; k++)
                CHECK_EQ(pthread_create(&t[k], NULL, contender, &rounds), 0);
            for (int k = 0; k < 16; k++)
                pthread_join(t[k], NULL);
            _exit(0);
        }
    }
    for (int i = 0; i < 4; i++)
        check_reap(pid[i]);
    CHECK_EQ(guarded[0], 64 * rounds);
    thread_recursive = false;
    teardown();
}

/* A released lock wakes its waiter at once, not at the next look. */
static void handed_over(void)
{
    setup();
    pid_t pid = check_fork();
    if (pid == 0) {
        for (int i = 0; i < 20; i++) {
            check_until(&flag[2], i + 1);
            CHECK_EQ(take(PF_FOREVER, 0), 0);
            atomic_store(&flag[3], i + 1);
            pf_lock_release(lock);
        }
        _exit(0);
    }
    int64_t slowest = 0;
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(take(PF_FOREVER, 0), 0);
        atomic_store(&flag[2], i + 1);
        check_sleep(20 * MS);
        int64_t start = pf_now();
        pf_lock_release(lock);
        check_until(&flag[3], i + 1);
        int64_t took = pf_now() - start;
        slowest = took > slowest ? took : slowest;
    }
    CHECK(slowest < 300 * MS);
    check_reap(pid);
    teardown();
}

/* Four that do nothing but lock and unlock: each gets its share, and none waits for long. */
static void fair_enough(void)
{
    setup();
    int64_t *count = check_shared(4 * sizeof *count), *longest = check_shared(4 * sizeof *longest);
    pid_t pid[4];
    for (int i = 0; i < 4; i++) {
        pid[i] = check_fork();
        if (pid[i] == 0) {
            check_until(&flag[0], 1);
            int64_t end = pf_now() + 3 * PF_SECOND, last = pf_now();
            for (int64_t now = last; now < end; last = now) {
                CHECK_EQ(take(PF_FOREVER, 0), 0);
                now = pf_now();
                longest[i] = now - last > longest[i] ? now - last : longest[i];
                CHECK_EQ(pf_lock_drop(lock), 0);
                count[i]++;
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
    for (int i = 0; i < 4; i++) {
        if (getenv("VERBOSE"))
            printf("    %5.1f %%, longest wait %.1f ms\n", 100.0 * (double)count[i] / (double)all,
                   (double)longest[i] / 1e6);
        CHECK(count[i] * 20 >= all);
        CHECK(longest[i] < PF_SECOND);
    }
    munmap(count, 4096);
    munmap(longest, 4096);
    teardown();
}

/* A mark that a starving sleeper left when it died costs a newcomer milliseconds, and somebody who only tries none. */
static void mark_of_the_dead(void)
{
    setup();
    atomic_store(&lock->word, PF__STARVED);
    CHECK_EQ(take(PF_TRY, 0), 0);
    CHECK_EQ(pf_lock_release(lock), 0);
    CHECK_EQ(atomic_load(&lock->word), PF__STARVED); /* whoever left it may live */
    int64_t start = pf_now();
    CHECK_EQ(take(PF_FOREVER, 0), 0);
    CHECK(pf_now() - start < 100 * MS);
    CHECK_EQ(pf_lock_release(lock), 0);
    atomic_store(&lock->word, PF__STARVED);
    CHECK_EQ(take(pf_now() + MS / 10, 0), 0); /* it is free, after all */
    CHECK_EQ(pf_lock_release(lock), 0);
    CHECK_EQ(atomic_load(&lock->word), 0);
    teardown();
}

/* ---- owners that die ----------------------------------------------------------------------------------- */

static pid_t dead_holder(unsigned flags, bool wait)
{
    pid_t pid = holder(flags);
    kill(pid, SIGKILL);
    if (wait)
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
    return pid;
}

static void plain_stays_locked(void)
{
    setup();
    pid_t pid = dead_holder(0, true);
    struct pf_owner o;
    CHECK_EQ(take(pf_now() + 1200 * MS, 0), -ETIMEDOUT);
    CHECK_EQ(pf_lock_owner(lock, arena, &o), 1);
    CHECK(o.pid == pid && !o.alive);
    CHECK(o.since > 0 && o.since < pf_now());
    CHECK_EQ(pf_lock_release(lock), 0);
    CHECK_EQ(take(PF_TRY, 0), 0);
    CHECK_EQ(pf_lock_owner(lock, arena, &o), 1);
    CHECK(o.since == 0); /* that was about another */
    teardown();
}

static void told_once(void)
{
    setup();
    for (int i = 0; i < 6; i++) {
        bool reaped = i & 1 || !TOKENS; /* a zombie is as dead */
        pid_t pid = dead_holder(PF_LOCK_ROBUST, reaped);
        struct pf_owner dead = {0};
        int rc, try;
        if (i % 3 == 0) { /* without blocking */
            for (try = 0; try < 500; try++) {
                rc = pf_lock_acquire(lock, arena, PF_TRY, PF_LOCK_ROBUST, &dead);
                if (rc != -EAGAIN)
                    break;
                check_sleep(MS);
            }
        } else {
            AGAIN(rc, i % 3 == 1 ? pf_lock_acquire(lock, arena, PF_FOREVER, PF_LOCK_ROBUST, &dead)
                                 : pf_rlock_acquire(lock, arena, PF_FOREVER, 0, &dead));
        }
        CHECK_EQ(rc, -PF_EOWNERDEAD);
        CHECK_EQ(dead.pid, pid);
        CHECK(dead.tid != 0 && !dead.alive);
        CHECK(pf_lock_mine(lock, arena));
        CHECK(i % 3 != 2 || pf_rlock_count(lock, arena) == 1);
        CHECK_EQ(pf_lock_release(lock), 0);
        CHECK_EQ(take(PF_FOREVER, PF_LOCK_ROBUST), 0);
        CHECK_EQ(pf_lock_release(lock), 0);
        if (!reaped)
            waitpid(pid, NULL, 0);
    }
    teardown();
}

/* Several sleep when the owner dies: one is told, and soon. */
static void one_of_many_is_told(void)
{
    setup();
    pid_t owner = holder(PF_LOCK_ROBUST), pid[4];
    for (int i = 0; i < 4; i++) {
        pid[i] = check_fork();
        if (pid[i] == 0) {
            int rc = take(PF_FOREVER, PF_LOCK_ROBUST);
            CHECK(rc == 0 || rc == -PF_EOWNERDEAD);
            atomic_fetch_add(&flag[rc ? 2 : 3], 1);
            CHECK_EQ(pf_lock_release(lock), 0);
            _exit(0);
        }
        check_asleep(pid[i]);
    }
    int64_t start = pf_now();
    check_kill(owner);
    for (int i = 0; i < 4; i++)
        check_reap(pid[i]);
    CHECK(pf_now() - start < PF_SECOND);
    CHECK_EQ(atomic_load(&flag[2]), 1);
    CHECK_EQ(atomic_load(&flag[3]), 3);
    teardown();
}

/* Its slot had many tenants since: it is named all the same. */
static void named_after_long(void)
{
    setup();
    pid_t dead_pid = dead_holder(PF_LOCK_ROBUST, true);
    for (int i = 0; i < 5; i++) {
        pid_t pid = check_fork();
        if (pid == 0) {
            CHECK_EQ(pf_lock_acquire(lock + 1, arena, PF_FOREVER, PF_LOCK_ROBUST, NULL), 0);
            CHECK_EQ(pf_lock_release(lock + 1), 0);
            _exit(0);
        }
        check_reap(pid);
    }
    struct pf_owner o;
    CHECK_EQ(pf_lock_owner(lock, arena, &o), 1);
    CHECK(o.pid == dead_pid && !o.alive);
    CHECK_EQ(pf_lock_acquire(lock, arena, PF_FOREVER, PF_LOCK_ROBUST, &o), -PF_EOWNERDEAD);
    CHECK_EQ(o.pid, dead_pid);
    teardown();
}

static void recoverer_dies_too(void)
{
    setup();
    dead_holder(PF_LOCK_ROBUST, true);
    for (int i = 0; i < 5; i++) { /* each finds the one before it */
        pid_t pid = check_fork();
        if (pid == 0) {
            CHECK_EQ(take(PF_FOREVER, PF_LOCK_ROBUST), -PF_EOWNERDEAD);
            raise(SIGKILL);
        }
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
        struct pf_owner o;
        CHECK_EQ(pf_lock_owner(lock, arena, &o), 1);
        CHECK(o.pid == pid && !o.alive);
    }
    CHECK_EQ(take(PF_FOREVER, PF_LOCK_ROBUST), -PF_EOWNERDEAD);
    teardown();
}

static void stopped_is_not_dead(void)
{
    setup();
    pid_t pid = holder(PF_LOCK_ROBUST);
    kill(pid, SIGSTOP);
    struct pf_owner o;
    CHECK_EQ(take(pf_now() + 1300 * MS, PF_LOCK_ROBUST), -ETIMEDOUT);
    CHECK_EQ(pf_lock_owner(lock, arena, &o), 1);
    CHECK(o.pid == pid && o.alive);
    kill(pid, SIGCONT);
    atomic_store(&flag[1], 1);
    check_reap(pid);
    CHECK_EQ(take(PF_TRY, PF_LOCK_ROBUST), 0);
    teardown();
}

static void *take_and_end(void *arg)
{
    (void)arg;
    CHECK_EQ(rtake(PF_FOREVER), 0);
    return NULL;
}

static void end_of_a_thread_is_no_death(void)
{
    setup();
    pthread_t t;
    CHECK_EQ(pthread_create(&t, NULL, take_and_end, NULL), 0);
    pthread_join(t, NULL);
    CHECK_EQ(rtake(pf_now() + 700 * MS), -ETIMEDOUT);
    CHECK_EQ(pf_rlock_release(lock, arena), -EPERM);
    pid_t pid = check_fork();
    if (pid == 0) {
        CHECK_EQ(rtake(pf_now() + 700 * MS), -ETIMEDOUT);
        _exit(0);
    }
    check_reap(pid);
    teardown();
}

/* exec is the death of those who held locks. */
static void exec_is_a_death(void)
{
#if TOKENS
    setup();
    atomic_store(&flag[0], 0);
    pid_t pid = check_fork();
    if (pid == 0) {
        CHECK_EQ(take(PF_FOREVER, PF_LOCK_ROBUST), 0);
        atomic_store(&flag[0], 1);
        execlp("sleep", "sleep", "20", (char *)NULL);
        _exit(1);
    }
    check_until(&flag[0], 1);
    struct pf_owner dead;
    int rc;
    int64_t end = pf_now() + 5 * PF_SECOND;
    AGAIN(rc, pf_lock_acquire(lock, arena, end, PF_LOCK_ROBUST, &dead));
    CHECK_EQ(rc, -PF_EOWNERDEAD);
    CHECK_EQ(dead.pid, pid);
    check_kill(pid);
    teardown();
#endif
}

/* What the parent holds, its child neither has nor may release as its own. */
static void child_has_no_share(void)
{
    setup();
    CHECK_EQ(rtake(PF_FOREVER), 0);
    CHECK_EQ(rtake(PF_FOREVER), 0);
    pid_t pid = check_fork();
    if (pid == 0) {
        CHECK_EQ(pf_rlock_count(lock, arena), 0);
        CHECK(!pf_rlock_take(lock, arena));
        CHECK_EQ(rtake(PF_TRY), -EAGAIN);
        CHECK_EQ(pf_rlock_release(lock, arena), -EPERM);
        CHECK_EQ(pf_rlock_drop(lock, arena), -EPERM);
        atomic_store(&flag[5], 1);
        CHECK_EQ(rtake(PF_FOREVER), 0);
        CHECK_EQ(pf_rlock_count(lock, arena), 1);
        CHECK_EQ(pf_rlock_release(lock, arena), 0);
        _exit(0);
    }
    check_until(&flag[5], 1);
    CHECK_EQ(pf_rlock_release(lock, arena), 0);
    CHECK_EQ(pf_rlock_count(lock, arena), 1);
    CHECK_EQ(pf_rlock_release(lock, arena), 0);
    CHECK_EQ(pf_rlock_release(lock, arena), -EPERM);
    check_reap(pid);
    teardown();
}

/* The whole family is forked from one that holds it; its death is seen though the children live. */
static void children_do_not_keep_it(void)
{
    setup();
    pid_t pid = check_fork();
    if (pid == 0) {
        CHECK_EQ(take(PF_FOREVER, PF_LOCK_ROBUST), 0);
        pid_t child = fork();
        if (child == 0) {
            CHECK(!pf_lock_mine(lock, arena));
            atomic_store(&flag[0], getpid());
            check_until(&flag[1], 1);
            _exit(0);
        }
        pause();
    }
    check_until(&flag[0], 1);
    CHECK_EQ(take(PF_TRY, PF_LOCK_ROBUST), -EAGAIN);
    check_kill(pid);
    CHECK_EQ(take(PF_FOREVER, PF_LOCK_ROBUST), -PF_EOWNERDEAD);
    atomic_store(&flag[1], 1);
    teardown();
}

static void release_all_and_restore(void)
{
    setup();
    for (int i = 0; i < 5; i++)
        CHECK_EQ(rtake(PF_FOREVER), 0);
    CHECK_EQ(pf_rlock_release_all(lock, arena), 5);
    CHECK(!pf_lock_locked(lock));
    CHECK_EQ(pf_rlock_release_all(lock, arena), -EPERM);
    CHECK_EQ(rtake(PF_FOREVER), 0);
    pf_rlock_restore(lock, 5);
    CHECK_EQ(pf_rlock_count(lock, arena), 5);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(pf_rlock_release(lock, arena), 0);
    CHECK_EQ(pf_rlock_release(lock, arena), -EPERM);
    pf_rlock_restore(lock, INT32_MAX); /* nobody's: a lock taken anew begins at 1 */
    CHECK_EQ(rtake(PF_FOREVER), 0);
    CHECK_EQ(pf_rlock_count(lock, arena), 1);
    pf_rlock_restore(lock, INT32_MAX);
    CHECK(!pf_rlock_take(lock, arena));
    CHECK_EQ(pf_rlock_acquire(lock, arena, PF_FOREVER, 0, NULL), -EOVERFLOW);
    teardown();
}

/* Somebody had to wait: now it is known since when. */
static void since(void)
{
    setup();
    struct pf_owner o;
    int64_t before = pf_now();
    pid_t pid = holder(0);
    CHECK_EQ(pf_lock_owner(lock, arena, &o), 1);
    CHECK_EQ(o.since, 0);
    CHECK_EQ(take(pf_now() + 20 * MS, 0), -ETIMEDOUT);
    CHECK_EQ(pf_lock_owner(lock, arena, &o), 1);
    CHECK(o.since > before && o.since < pf_now());
    int64_t first = o.since;
    CHECK_EQ(take(pf_now() + 20 * MS, 0), -ETIMEDOUT);
    CHECK_EQ(pf_lock_owner(lock, arena, &o), 1);
    CHECK_EQ(o.since, first);
    atomic_store(&flag[1], 1);
    check_reap(pid);
    before = pf_now();
    CHECK_EQ(pf_lock_acquire(lock, arena, PF_FOREVER, PF_LOCK_STAMP, NULL), 0);
    CHECK_EQ(pf_lock_owner(lock, arena, &o), 1);
    CHECK(o.since >= before);
    teardown();
}

/* A process that can have no identity: plain locks work, robust ones say why not. */
static void no_identity(void)
{
#if TOKENS
    setup();
    pid_t pid = check_fork();
    if (pid == 0) {
        struct rlimit none = {0, 0};
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
        CHECK_EQ(take(PF_FOREVER, 0), 0);
        struct pf_owner o;
        CHECK_EQ(pf_lock_owner(lock, arena, &o), 1);
        CHECK(o.tid == pf_thread_self()->tid && o.pid == 0 && o.alive && pf_lock_mine(lock, arena));
        CHECK_EQ(pf_lock_release(lock), 0);
        CHECK_EQ(pf_lock_acquire(lock, arena, PF_FOREVER, PF_LOCK_ROBUST, NULL), -EMFILE);
        CHECK_EQ(rtake(PF_FOREVER), -EMFILE);
        CHECK(!pf_lock_locked(lock));
        _exit(0);
    }
    check_reap(pid);
    teardown();
#endif
}

/* A daemon closes all descriptors, and its numbers are given out anew: nobody is dead for that. */
static void closed_descriptors(void)
{
#if TOKENS
    setup();
    pid_t owner = holder(PF_LOCK_ROBUST), pid = check_fork();
    if (pid == 0) {
        CHECK_EQ(take(PF_TRY, PF_LOCK_ROBUST), -EAGAIN);
        for (int fd = 3; fd < 100; fd++)
            close(fd);
        CHECK_EQ(take(pf_now() + 700 * MS, PF_LOCK_ROBUST), -ETIMEDOUT);
        for (int i = 0; i < 90; i++)
            CHECK(pf_shm_create(4096) >= 0);
        CHECK_EQ(take(pf_now() + 700 * MS, PF_LOCK_ROBUST), -ETIMEDOUT);
        _exit(0);
    }
    check_reap(pid);
    pid = check_fork();
    if (pid == 0) { /* and who comes to it late has no identity, rather than one of another file */
        for (int fd = 3; fd < 100; fd++)
            close(fd);
        for (int i = 0; i < 90; i++)
            CHECK(pf_shm_create(4096) >= 0);
        CHECK_EQ(take(pf_now() + 700 * MS, PF_LOCK_ROBUST), -EBADF);
        _exit(0);
    }
    check_reap(pid);
    atomic_store(&flag[1], 1);
    check_reap(owner);
    teardown();
#endif
}

static const struct check_case cases[] = {
    CASE(free_plain),       CASE(free_robust),        CASE(deadlines),
    CASE(interrupted),      CASE(storm_of_signals),   CASE(blocked_without_cpu),
    CASE(anybody_releases_a_plain_one),               CASE(between_threads),
    CASE(between_processes), CASE(many_of_both),      CASE(handed_over),
    CASE(fair_enough),      CASE(mark_of_the_dead),   CASE(plain_stays_locked),
    CASE(told_once),        CASE(one_of_many_is_told), CASE(recoverer_dies_too),
    CASE(stopped_is_not_dead),                        CASE(end_of_a_thread_is_no_death),
    CASE(exec_is_a_death),  CASE(child_has_no_share), CASE(children_do_not_keep_it),
    CASE(release_all_and_restore),                    CASE(since),
    CASE(no_identity),      CASE(closed_descriptors), CASE(named_after_long)};
CHECK_MAIN(cases)
