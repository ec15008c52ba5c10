/* A child's end: waited for, timed out on, signalled, reaped once, taken by somebody else. */
#include "check.h"
#include "procfast/child.h"

#include <fcntl.h>

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

/* A child that is busy, one that sleeps with every signal blocked and one that comes too late end with their parent's
 * descriptor; its own fork, which has nothing to do with that parent, goes on. */
static void test_end_with(void)
{
    enum { BUSY, BLOCKED, LATE, KINDS };
    int pipe_of[2], told[2], forked[2];
    struct pf_child c[KINDS];
    CHECK(pipe(pipe_of) == 0 && pipe(told) == 0 && pipe(forked) == 0);
    for (int kind = 0; kind < KINDS; kind++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            char byte = 0;
            close(pipe_of[1]);
            if (kind == LATE)
                CHECK_EQ(read(pipe_of[0], &byte, 1), 0);
            int rc = pf_end_with(pipe_of[0]);
            if (rc == -ENOSYS)
                byte = 1;
            else
                CHECK(rc >= 0);
            if (kind == BUSY && fork() == 0) {
                close(told[1]);
                usleep(300 * 1000);
                CHECK_EQ(write(forked[1], "f", 1), 1);
                _exit(0);
            }
            close(forked[1]);
            CHECK_EQ(write(told[1], &byte, 1), 1);
            close(told[1]);
            sigset_t all;
            sigfillset(&all);
            if (kind == BLOCKED)
                sigprocmask(SIG_BLOCK, &all, NULL);
            for (int64_t end = pf_now() + 20 * PF_SECOND; pf_now() < end;)
                if (kind == BLOCKED)
                    pause();
            _exit(7);
        }
        watch(&c[kind], pid);
    }
    close(forked[1]);
    char missing;
    CHECK_EQ(read(told[0], &missing, 1), 1);
    CHECK_EQ(read(told[0], &missing, 1), 1);
    CHECK_EQ(pf_child_wait(&c[BUSY], pf_now() + 50 * MS), -ETIMEDOUT);
    close(pipe_of[1]);
    int64_t begun = pf_now();
    for (int kind = 0; kind < KINDS; kind++) {
        int code = 0;
        if (missing)
            CHECK_EQ(pf_child_signal(&c[kind], SIGKILL), 0);
        CHECK_EQ(pf_child_wait(&c[kind], pf_now() + 10 * PF_SECOND), 0);
        CHECK_EQ(pf_child_reap(&c[kind], &code), 0);
        CHECK_EQ(code, -SIGKILL);
        pf_child_close(&c[kind]);
    }
    CHECK(pf_now() - begun < 2 * PF_SECOND);
    char byte;
    CHECK_EQ(read(forked[0], &byte, 1), 1);
    close(pipe_of[0]);
    close(told[0]), close(told[1]), close(forked[0]);
}

static bool open_in_child(int fd)
{
    int status;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        _exit(fcntl(fd, F_GETFD) >= 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return status != 0;
}

/* A child finds it closed; but another file that has got its number open. */
static void test_alone(void)
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    CHECK(open_in_child(ends[1]));
    CHECK_EQ(pf_alone(ends[1]), 0);
    CHECK(!open_in_child(ends[1]) && open_in_child(ends[0]));
    int file = open("/dev/null", O_RDONLY), write = dup(ends[1]);
    CHECK_EQ(dup2(file, ends[1]), ends[1]);
    CHECK(open_in_child(ends[1]));
    CHECK_EQ(pf_alone(write), 0);
    CHECK(!open_in_child(write) && open_in_child(ends[1]));
    CHECK_EQ(pf_alone(-1), -EBADF);
    close(ends[0]), close(ends[1]), close(file), close(write);
}

int main(int argc, char **argv)
{
    static const struct check_case cases[] = {CASE(test_exit_code), CASE(test_timeout_and_signal),
                                              CASE(test_stopped_is_not_ended), CASE(test_taken_by_another),
                                              CASE(test_end_with),          CASE(test_alone)};
    return check_main(cases, 6, argc, argv);
}
