/* A child's end: waited for, timed out on, signalled, reaped once, taken by somebody else. */
#include "check.h"
#include "procfast/child.h"

static pid_t start(int code, int ms)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        usleep((useconds_t)ms * 1000);
        _exit(code);
    }
    return pid;
}

/* Where there is no descriptor for processes the child is watched by its number. */
static void watch(struct pf_child *c, pid_t pid)
{
    int rc = pf_child_open(c, pid);
    CHECK(rc == 0 || rc == -ENOSYS);
    CHECK_EQ(c->pid, pid);
}

static void test_exit_code(void)
{
    static const int codes[] = {0, 1, 77, 255};
    for (int i = 0; i < 4; i++) {
        struct pf_child c;
        int code = -1;
        watch(&c, start(codes[i], 20));
        CHECK_EQ(pf_child_reap(&c, &code), -EAGAIN);
        CHECK_EQ(pf_child_wait(&c, pf_now() + 10 * PF_SECOND), 0);
        CHECK_EQ(pf_child_reap(&c, &code), 0);
        CHECK_EQ(code, codes[i]);
        pf_child_close(&c);
        CHECK_EQ(c.fd, -1);
    }
}

static void test_timeout_and_signal(void)
{
    struct pf_child c;
    int code = 0;
    watch(&c, start(0, 20000));
    int64_t begun = pf_now();
    CHECK_EQ(pf_child_wait(&c, begun + 50 * MS), -ETIMEDOUT);
    CHECK(pf_now() - begun >= 50 * MS && pf_now() - begun < 2 * PF_SECOND);
    CHECK_EQ(pf_child_signal(&c, SIGTERM), 0);
    CHECK_EQ(pf_child_wait(&c, pf_now() + 10 * PF_SECOND), 0);
    CHECK_EQ(pf_child_reap(&c, &code), 0);
    CHECK_EQ(code, -SIGTERM);
    CHECK_EQ(pf_child_signal(&c, SIGTERM), -ESRCH); /* reaped: nobody else is hit */
    pf_child_close(&c);
}

/* A stopped child has not ended. */
static void test_stopped_is_not_ended(void)
{
    struct pf_child c;
    int code;
    watch(&c, start(0, 20000));
    CHECK_EQ(pf_child_signal(&c, SIGSTOP), 0);
    CHECK_EQ(pf_child_wait(&c, pf_now() + 100 * MS), -ETIMEDOUT);
    CHECK_EQ(pf_child_signal(&c, SIGKILL), 0);
    CHECK_EQ(pf_child_wait(&c, pf_now() + 10 * PF_SECOND), 0);
    CHECK_EQ(pf_child_reap(&c, &code), 0);
    CHECK_EQ(code, -SIGKILL);
    pf_child_close(&c);
}

/* Somebody else has reaped it: the wait ends, and the code is the right one or not told. */
static void test_taken_by_another(void)
{
    struct pf_child c;
    int code = -1, status;
    pid_t pid = start(9, 20);
    watch(&c, pid);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(pf_child_wait(&c, pf_now() + 10 * PF_SECOND), 0);
    int rc = pf_child_reap(&c, &code);
    CHECK(rc == -ECHILD || (rc == 0 && code == 9));
    pf_child_close(&c);
}

int main(int argc, char **argv)
{
    static const struct check_case cases[] = {CASE(test_exit_code), CASE(test_timeout_and_signal),
                                              CASE(test_stopped_is_not_ended), CASE(test_taken_by_another)};
    return check_main(cases, 4, argc, argv);
}
