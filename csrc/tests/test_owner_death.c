/* What the death of a lock's owner, waiter or recoverer does to the others; and what is no death.
 * Each case runs with locks owned by thread id (robust list) and by slot (token), where both exist. */
#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>

#include "segment.h"

#ifdef PF_OS_POSIX
#define WEAK true /* the token is a bare pid: posix/peer.c lists what is weaker */
#else
#define WEAK false
#endif

#define FINDS_OUT (3 * PF_SECOND)

enum { READY = 0, GO = 1, ACQUIRED = 2, PROGRESS = 3 };

static void hold(void)
{
    CHECK_EQ(segment_lock(PF_FOREVER), 0);
    seg->a++; /* half a change */
    atomic_store(&seg->flag[READY], 1);
}

static void repair(void)
{
    seg->b = seg->a;
}

/* The lock passes to us, with word of the death, and works afterwards. */
static void inherit(void)
{
    int64_t start = pf_now();
    CHECK_EQ(segment_lock(start + FINDS_OUT), -PF_EOWNERDEAD);
    CHECK(seg->a != seg->b);
    repair();
    pf_mutex_unlock(&seg->m);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(segment_lock(pf_now() + FINDS_OUT), 0);
        CHECK_EQ(seg->a, seg->b);
        pf_mutex_unlock(&seg->m);
    }
}

/* Alive: nobody may get the lock, however long it waits. */
static void not_robbed(int64_t patience)
{
    CHECK_EQ(segment_lock(pf_now() + patience), -ETIMEDOUT);
    CHECK(pf_mutex_owner(&seg->m) != 0);
    CHECK(seg->a != seg->b);
}

static void release(void)
{
    repair();
    pf_mutex_unlock(&seg->m);
    _exit(0);
}

static void killed(void)
{
    for (int i = 0; i < 20; i++) {
        atomic_store(&seg->flag[READY], 0);
        pid_t pid = segment_fork();
        if (pid == 0) {
            hold();
            pause();
        }
        check_until(&seg->flag[READY], 1);
        check_kill(pid);
        inherit();
    }
}
BOTH_OWNERS(killed)

/* Waiters are asleep when it happens: one of them is told. */
static void killed_before_waiters(void)
{
    pid_t holder = segment_fork();
    if (holder == 0) {
        hold();
        pause();
    }
    check_until(&seg->flag[READY], 1);
    pid_t pid[3];
    for (int i = 0; i < 3; i++) {
        pid[i] = segment_fork();
        if (pid[i] == 0) {
            int rc = segment_lock(pf_now() + 3 * FINDS_OUT);
            CHECK(rc == 0 || rc == -PF_EOWNERDEAD);
            if (rc == -PF_EOWNERDEAD)
                repair();
            CHECK_EQ(seg->a, seg->b);
            atomic_fetch_add(&seg->flag[rc ? ACQUIRED : PROGRESS], 1);
            pf_mutex_unlock(&seg->m);
            _exit(0);
        }
        check_asleep(pid[i]);
    }
    check_kill(holder);
    for (int i = 0; i < 3; i++)
        check_reap(pid[i]);
    CHECK_EQ(atomic_load(&seg->flag[ACQUIRED]), 1); /* exactly one */
    CHECK_EQ(atomic_load(&seg->flag[PROGRESS]), 2);
}
BOTH_OWNERS(killed_before_waiters)

static void exits(void)
{
    pid_t pid = segment_fork();
    if (pid == 0) {
        hold();
        _exit(0);
    }
    check_reap(pid);
    inherit();
}
BOTH_OWNERS(exits)

static void *hold_in_thread(void *arg)
{
    (void)arg;
    hold();
    pause();
    return NULL;
}

/* The owner is not the thread that is seen to die. */
static void threaded_process_dies(void)
{
    for (int how = 0; how < 2; how++) {
        atomic_store(&seg->flag[READY], 0);
        pid_t pid = segment_fork();
        if (pid == 0) {
            pthread_t t;
            CHECK_EQ(pthread_create(&t, NULL, hold_in_thread, NULL), 0);
            check_until(&seg->flag[READY], 1);
            if (how == 0)
                _exit(0);
            pause();
        }
        check_until(&seg->flag[READY], 1);
        if (how == 0)
            check_reap(pid);
        else
            check_kill(pid);
        inherit();
    }
}
BOTH_OWNERS(threaded_process_dies)

static void exec_sleep(void)
{
    execl("/bin/sleep", "sleep", "60", (char *)NULL);
    CHECK(!"exec");
}

static void *exec_in_thread(void *arg)
{
    hold_in_thread(NULL);
    return arg;
}

static void on_signal(int sig)
{
    (void)sig;
    exec_sleep();
}

/* exec is death, though the pid lives on. */
static void execs(void)
{
    pid_t pid = segment_fork();
    if (pid == 0) {
        hold();
        exec_sleep();
    }
    check_until(&seg->flag[READY], 1);
    if (WEAK) {
        not_robbed(PF_SECOND + PF_SECOND / 2);
        check_kill(pid);
    }
    inherit();
    if (!WEAK)
        check_kill(pid);
}
BOTH_OWNERS(execs)

/* ... also where a thread held the lock and the main thread calls exec. */
static void other_thread_execs(void)
{
    pid_t pid = segment_fork();
    if (pid == 0) {
        pthread_t t;
        CHECK_EQ(pthread_create(&t, NULL, exec_in_thread, NULL), 0);
        check_until(&seg->flag[READY], 1);
        exec_sleep();
    }
    check_until(&seg->flag[READY], 1);
    if (WEAK) {
        not_robbed(PF_SECOND + PF_SECOND / 2);
        check_kill(pid);
    }
    inherit();
    if (!WEAK)
        check_kill(pid);
}
BOTH_OWNERS(other_thread_execs)

/* ... and where the thread that holds the lock calls exec itself, in a signal handler: the kernel gives it
 * the process's id first, so its own is gone. */
static void holding_thread_execs(void)
{
    pid_t pid = segment_fork();
    if (pid == 0) {
        signal(SIGUSR1, on_signal);
        pthread_t t;
        CHECK_EQ(pthread_create(&t, NULL, hold_in_thread, NULL), 0);
        check_until(&seg->flag[READY], 1);
        for (;;) { /* ThreadSanitizer may hold a signal back */
            pthread_kill(t, SIGUSR1);
            check_sleep(10 * MS);
        }
    }
    check_until(&seg->flag[READY], 1);
    if (WEAK) {
        not_robbed(PF_SECOND + PF_SECOND / 2);
        check_kill(pid);
    }
    inherit();
    if (!WEAK)
        check_kill(pid);
}
BOTH_OWNERS(holding_thread_execs)

/* A daemoniser closes all descriptors: not dead. */
static void closes_everything(void)
{
    pid_t pid = segment_fork();
    if (pid == 0) {
        hold();
        for (int fd = 3; fd < 1024; fd++)
            close(fd);
        atomic_store(&seg->flag[GO], 1);
        check_until(&seg->flag[GO], 2);
        release();
    }
    check_until(&seg->flag[GO], 1);
    not_robbed(2 * PF_SECOND + PF_SECOND / 2);
    atomic_store(&seg->flag[GO], 2);
    check_reap(pid);
    CHECK_EQ(segment_lock(pf_now() + FINDS_OUT), 0);
    CHECK_EQ(seg->a, seg->b);
    pf_mutex_unlock(&seg->m);
}
BOTH_OWNERS(closes_everything)

static void stopped(void)
{
    pid_t pid = segment_fork();
    if (pid == 0) {
        hold();
        raise(SIGSTOP);
        release();
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    CHECK(WIFSTOPPED(status));
    not_robbed(2 * PF_SECOND + PF_SECOND / 2);
    kill(pid, SIGCONT);
    CHECK_EQ(segment_lock(pf_now() + FINDS_OUT), 0);
    CHECK_EQ(seg->a, seg->b);
    pf_mutex_unlock(&seg->m);
    check_reap(pid);
}
BOTH_OWNERS(stopped)

/* A thread that waits and is killed is nobody's loss. */
static void waiter_killed(void)
{
    pid_t holder = segment_fork();
    if (holder == 0) {
        hold();
        check_until(&seg->flag[GO], 1);
        release();
    }
    check_until(&seg->flag[READY], 1);
    pid_t dead[3], live;
    for (int i = 0; i < 3; i++) {
        dead[i] = segment_fork();
        if (dead[i] == 0) {
            segment_lock(PF_FOREVER);
            CHECK(!"a dead man's lock");
        }
        check_asleep(dead[i]);
    }
    live = segment_fork();
    if (live == 0) {
        CHECK_EQ(segment_lock(pf_now() + 3 * FINDS_OUT), 0);
        CHECK_EQ(seg->a, seg->b);
        pf_mutex_unlock(&seg->m);
        _exit(0);
    }
    check_asleep(live);
    for (int i = 0; i < 3; i++)
        check_kill(dead[i]);
    atomic_store(&seg->flag[GO], 1);
    check_reap(holder);
    check_reap(live);
}
BOTH_OWNERS(waiter_killed)

/* Killed just after it was woken, with the only wake-up in its hands. */
static void woken_waiter_killed(void)
{
    uint64_t seed = 1;
    int64_t slowest = 0;
    /* by slot the others learn of it at their next look only, a second later */
    for (int i = 0; i < (peer.foreign ? 5 : 100); i++) {
        for (int f = 0; f < 4; f++)
            atomic_store(&seg->flag[f], 0);
        CHECK_EQ(segment_lock(pf_now() + FINDS_OUT), 0);
        pid_t pid[2];
        for (int k = 0; k < 2; k++) {
            pid[k] = segment_fork();
            if (pid[k] == 0) {
                int rc = segment_lock(pf_now() + 2 * FINDS_OUT);
                CHECK(rc == 0 || (k == 1 && rc == -PF_EOWNERDEAD));
                if (k == 0)
                    pause();
                pf_mutex_unlock(&seg->m);
                _exit(0);
            }
            check_asleep(pid[k]);
        }
        pf_mutex_unlock(&seg->m);
        int64_t until = pf_now() + (int64_t)(check_random(&seed) % 60000);
        while (pf_now() < until)
            ;
        check_kill(pid[0]);
        int64_t start = pf_now();
        check_reap(pid[1]);
        int64_t took = pf_now() - start;
        slowest = took > slowest ? took : slowest;
    }
    CHECK(slowest < 2 * PF_SECOND);
}
BOTH_OWNERS(woken_waiter_killed)

/* Whoever repairs may die too, any number of times in a row. */
static void recoverers_killed(void)
{
    for (int i = 0; i < 20; i++) {
        atomic_store(&seg->flag[READY], 0);
        pid_t pid = segment_fork();
        if (pid == 0) {
            CHECK_EQ(segment_lock(pf_now() + FINDS_OUT), i ? -PF_EOWNERDEAD : 0);
            seg->a++;
            atomic_store(&seg->flag[READY], 1);
            pause();
        }
        check_until(&seg->flag[READY], 1);
        check_kill(pid);
    }
    CHECK_EQ(seg->a, 20);
    inherit();
}
BOTH_OWNERS(recoverers_killed)

/* A new process may get the slot's number of a dead owner before anybody noticed the death. */
static void slot_taken_over(void)
{
    segment_open();
    peer.foreign = true;
    for (int i = 0; i < 2; i++) {
        pid_t pid = segment_fork();
        if (pid == 0) {
            hold();
            pause();
        }
        check_until(&seg->flag[READY], 1);
        check_kill(pid);
        atomic_store(&seg->flag[READY], 0);
        if (i == 0)
            CHECK_EQ(pf_peer_slot(&peer) % PF_SLOTS_MOST, 0); /* its very number */
        else
            pf_peer_drop(&peer);
        inherit();
    }
    segment_close();
}

static void work(int rounds)
{
    for (int i = 0; i < rounds; i++) {
        int rc = segment_lock(pf_now() + 10 * PF_SECOND);
        CHECK(rc == 0 || rc == -PF_EOWNERDEAD);
        if (rc == -PF_EOWNERDEAD)
            repair();
        CHECK_EQ(seg->a, seg->b);
        seg->a++;
        if (i % 16 == 0)
            sched_yield();
        seg->b++;
        pf_mutex_unlock(&seg->m);
        atomic_fetch_add_explicit(&seg->flag[PROGRESS], 1, memory_order_relaxed);
    }
}

static void random_kills(void)
{
    pid_t pid[3];
    uint64_t seed = 2;
    for (int i = 0; i < 3; i++) {
        pid[i] = segment_fork();
        if (pid[i] == 0) {
            peer.foreign |= i == 2;
            work(INT_MAX);
        }
    }
    for (int i = 0; i < 500; i++) {
        struct timespec ts = {0, (long)(check_random(&seed) % 400000)};
        nanosleep(&ts, NULL);
        int k = (int)(check_random(&seed) % 3);
        check_kill(pid[k]);
        pid[k] = segment_fork();
        if (pid[k] == 0) {
            peer.foreign |= k == 2;
            work(INT_MAX);
        }
        if (i % 50 == 0) { /* and everybody goes on */
            int before = atomic_load(&seg->flag[PROGRESS]);
            check_until(&seg->flag[PROGRESS], before + 100);
        }
    }
    for (int i = 0; i < 3; i++)
        check_kill(pid[i]);
    work(100);
}
BOTH_OWNERS(random_kills)

#ifdef __linux__

/* A fork by C code, behind every hook. */
static pid_t raw_fork(void)
{
    return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static void raw_child_holds(void)
{
    pid_t pid = raw_fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        segment_forked();
        hold();
        pause();
    }
    check_until(&seg->flag[READY], 1);
    not_robbed(PF_SECOND + PF_SECOND / 2);
    check_kill(pid);
    inherit();
}
BOTH_OWNERS(raw_child_holds)

/* The parent of such a child dies: the child, which has a copy of everything, keeps nothing alive. */
static void raw_child_survives_owner(void)
{
    pid_t pid = segment_fork();
    if (pid == 0) {
        hold();
        pid_t child = raw_fork();
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, 0);
            atomic_store(&seg->flag[READY], 2);
            check_until(&seg->flag[GO], 1);
            _exit(0);
        }
        pause();
    }
    check_until(&seg->flag[READY], 2);
    check_kill(pid);
    inherit();
    atomic_store(&seg->flag[GO], 1);
}
BOTH_OWNERS(raw_child_survives_owner)

/* Runs f as process 1 of a pid namespace of its own; -1 where the system refuses one. */
static pid_t in_namespace(void (*f)(void))
{
    pid_t pid = check_fork();
    if (pid == 0) {
        if (unshare(CLONE_NEWPID) < 0)
            _exit(77);
        pid_t inner = fork();
        CHECK(inner >= 0);
        if (inner == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            CHECK(pf_peer_refresh(&peer));
            f();
            _exit(0);
        }
        atomic_store(&seg->flag[8], (int)inner);
        int status;
        CHECK_EQ(waitpid(inner, &status, 0), inner);
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
    }
    while (atomic_load(&seg->flag[8]) == 0) {
        int status;
        if (waitpid(pid, &status, WNOHANG) == pid) {
            CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 77);
            printf("test_owner_death: this system refuses pid namespaces (unshare: EPERM); not tested\n");
            return -1;
        }
        check_sleep(MS);
    }
    return pid;
}

static uint64_t outer_namespace;

static void inner_holds(void)
{
    if (!WEAK)
        CHECK(pf_pid_namespace() != outer_namespace);
    CHECK(peer.foreign);
    hold();
    pause();
}

static void inner_works(void)
{
    atomic_store(&seg->flag[READY], 1);
    work(20000);
}

static void other_pid_namespace(void)
{
    segment_open();
    outer_namespace = pf_pid_namespace();
    pid_t pid = WEAK ? -1 : in_namespace(inner_holds); /* a pid as token: namespaces must not be mixed */
    if (pid > 0) {
        check_until(&seg->flag[READY], 1);
        CHECK(pf_mutex_owner(&seg->m) >= PF_OWNER_SLOT);
        not_robbed(2 * PF_SECOND + PF_SECOND / 2); /* whatever its number means here */
        kill(atomic_load(&seg->flag[8]), SIGKILL);
        check_reap_within(pid, 5 * PF_SECOND);
        inherit();
        atomic_store(&seg->flag[8], 0);
        atomic_store(&seg->flag[READY], 0);
        pid = in_namespace(inner_works);
        check_until(&seg->flag[READY], 1);
        work(20000);
        check_reap(pid);
    }
    segment_close();
}

#define LINUX_CASES CASES(raw_child_holds), CASES(raw_child_survives_owner), CASE(other_pid_namespace),
#else
#define LINUX_CASES
#endif

static const struct check_case cases[] = {
    CASES(killed),
    CASES(killed_before_waiters),
    CASES(exits),
    CASES(threaded_process_dies),
    CASES(execs),
    CASES(other_thread_execs),
    CASES(holding_thread_execs),
    CASES(closes_everything),
    CASES(stopped),
    CASES(waiter_killed),
    CASES(woken_waiter_killed),
    CASES(recoverers_killed),
    CASE(slot_taken_over),
    CASES(random_kills),
    LINUX_CASES
};
CHECK_MAIN(cases)
