/* Named semaphores: names and modes, permits, the deadline, signals, the dead. */
#include "check.h"
#include "procfast/named_sem.h"

static const char *name(void)
{
    static char text[40];
    snprintf(text, sizeof text, "/pf-test-%d", (int)getpid());
    return text;
}

static struct pf_named_sem fresh(unsigned value)
{
    struct pf_named_sem s;
    CHECK_EQ(pf_named_sem_open(&s, name(), PF_EXCLUSIVE, 0600, value), 0);
    return s;
}

static void gone(struct pf_named_sem *s)
{
    pf_named_sem_close(s);
    CHECK_EQ(pf_named_sem_unlink(name()), 0);
}

static int wait_for(struct pf_named_sem *s, int64_t deadline)
{
    int rc;
    while ((rc = pf_named_sem_wait(s, deadline)) == -EINTR)
        ;
    return rc;
}

static void test_names(void)
{
    struct pf_named_sem a, b;
    CHECK_EQ(pf_named_sem_open(&a, name(), PF_OPEN, 0, 0), -ENOENT);
    CHECK_EQ(pf_named_sem_unlink(name()), -ENOENT);
    CHECK_EQ(pf_named_sem_open(&a, name(), PF_CREATE, 0600, 3), 0);
    CHECK_EQ(pf_named_sem_open(&b, name(), PF_EXCLUSIVE, 0600, 5), -EEXIST);
    CHECK_EQ(pf_named_sem_open(&b, name(), PF_CREATE, 0600, 5), 0);
    CHECK_EQ(pf_named_sem_value(&b), 3);
    CHECK_EQ(pf_named_sem_post(&b), 0);
    CHECK_EQ(pf_named_sem_value(&a), 4);
    pf_named_sem_close(&b);
    pf_named_sem_close(&b); /* again: nothing */
    gone(&a);
    CHECK_EQ(pf_named_sem_open(&a, "/a/b", PF_EXCLUSIVE, 0600, 1), -EINVAL);
    CHECK_EQ(pf_named_sem_open(&a, name(), PF_EXCLUSIVE, 0600, UINT_MAX), -EINVAL);
}

/* Whatever the umask is. The file is glibc's. */
static void test_mode_and_owner(void)
{
    static const unsigned modes[] = {0600, 0666, 0640, 0};
    static const mode_t masks[] = {022, 0777, 0};
    mode_t was = umask(0);
    for (int i = 0; i < 12; i++) {
        char path[80];
        struct stat st;
        struct pf_named_sem s;
        umask(masks[i % 3]);
        CHECK_EQ(pf_named_sem_open(&s, name(), PF_CREATE, modes[i / 3], 1), 0);
        int64_t owner = pf_named_sem_owner(name());
        CHECK(owner == -ENOSYS || owner == (int64_t)geteuid());
        snprintf(path, sizeof path, "/dev/shm/sem.%s", name() + 1);
        if (owner >= 0 && stat(path, &st) == 0)
            CHECK_EQ(st.st_mode & 0777, modes[i / 3]);
        gone(&s);
    }
    umask(was);
    int64_t owner = pf_named_sem_owner(name());
    CHECK(owner == -ENOSYS || owner == -ENOENT);
}

static void test_deadline(void)
{
    struct pf_named_sem s = fresh(1);
    CHECK_EQ(wait_for(&s, PF_NOWAIT), 0);
    CHECK_EQ(wait_for(&s, PF_NOWAIT), -ETIMEDOUT);
    int64_t begun = pf_now(), cpu = check_cpu();
    CHECK_EQ(wait_for(&s, begun + 100 * MS), -ETIMEDOUT);
    CHECK(pf_now() - begun >= 100 * MS && pf_now() - begun < 5 * PF_SECOND);
    begun = pf_now();
    CHECK_EQ(pf_named_sem_wait(&s, PF_FOREVER), -EINTR); /* a look */
    CHECK(pf_now() - begun >= PF_SECOND - 20 * MS);
    CHECK(check_cpu() - cpu < 50 * MS);
    gone(&s);
}

static void test_most(void)
{
    struct pf_named_sem s = fresh(INT_MAX);
    CHECK_EQ(pf_named_sem_post(&s), -EOVERFLOW);
    CHECK_EQ(pf_named_sem_value(&s), INT_MAX);
    gone(&s);
}

/* Another process, by name: woken by a post, and its permit is gone with it. */
static void test_killed_holder(void)
{
    struct pf_named_sem s = fresh(0);
    _Atomic int *has = check_shared(sizeof *has);
    pid_t pid = check_fork();
    if (pid == 0) {
        CHECK_EQ(wait_for(&s, pf_now() + 60 * PF_SECOND), 0);
        atomic_store(has, 1);
        check_sleep(60 * PF_SECOND);
    }
    check_sleep(50 * MS);
    CHECK_EQ(pf_named_sem_post(&s), 0);
    check_until(has, 1);
    check_kill(pid);
    CHECK_EQ(wait_for(&s, pf_now() + 50 * MS), -ETIMEDOUT);
    CHECK_EQ(pf_named_sem_value(&s), 0);
    CHECK_EQ(pf_named_sem_post(&s), 0);
    CHECK_EQ(wait_for(&s, PF_FOREVER), 0);
    gone(&s);
}

static void nothing(int signum)
{
    (void)signum;
}

static void test_signal(void)
{
    struct pf_named_sem s = fresh(0);
    struct sigaction sa = {.sa_handler = nothing};
    sigaction(SIGUSR1, &sa, NULL); /* musl goes on after a signal until a handler without SA_RESTART was set */
    sa.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &sa, NULL);
    struct itimerval soon = {.it_value = {0, 50000}};
    setitimer(ITIMER_REAL, &soon, NULL);
    int64_t begun = pf_now();
    CHECK_EQ(pf_named_sem_wait(&s, PF_FOREVER), -EINTR);
    CHECK(pf_now() - begun < 900 * MS);
    signal(SIGALRM, SIG_DFL);
    gone(&s);
}

/* One counter, four processes, a binary semaphore. */
static void test_exclusion(void)
{
    struct pf_named_sem s = fresh(1);
    volatile int *count = check_shared(sizeof *count);
    pid_t pids[4];
    for (int w = 0; w < 4; w++) {
        pids[w] = check_fork();
        if (pids[w] == 0) {
            for (int i = 0; i < 2000; i++) {
                CHECK_EQ(wait_for(&s, pf_now() + 60 * PF_SECOND), 0);
                *count = *count + 1;
                CHECK_EQ(pf_named_sem_post(&s), 0);
            }
            _exit(0);
        }
    }
    for (int w = 0; w < 4; w++)
        check_reap(pids[w]);
    CHECK_EQ(*count, 8000);
    gone(&s);
}

static const struct check_case cases[] = {
    CASE(test_names),         CASE(test_mode_and_owner), CASE(test_deadline), CASE(test_most),
    CASE(test_killed_holder), CASE(test_signal),         CASE(test_exclusion),
};
CHECK_MAIN(cases)
