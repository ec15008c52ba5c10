/* Waiting for children, processes by descriptor, orphans. */
#include "check.h"

#include <fcntl.h>

#include "procfast/family.h"

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

static void test_wait(void)
{
    int status = -1;
    struct pf_child_event event;
    pid_t pid = start(7, 50);
    CHECK_EQ(pf_waitpid(pid, WNOHANG, &status), 0);
    CHECK_EQ(pf_waitid(P_PID, (unsigned)pid, WEXITED | WNOHANG, &event), 0);
    CHECK_EQ(event.pid, 0);
    CHECK_EQ(pf_waitid(P_PID, (unsigned)pid, WEXITED | WNOWAIT, &event), 0);
    CHECK_EQ(event.pid, pid);
    CHECK_EQ(event.code, CLD_EXITED);
    CHECK_EQ(event.status, 7);
    CHECK_EQ(pf_waitpid(pid, 0, &status), pid);
    CHECK_EQ(status, 7 << 8);
    CHECK_EQ(pf_waitpid(pid, 0, &status), -ECHILD);
    CHECK_EQ(pf_waitid(P_PID, (unsigned)pid, WEXITED, &event), -ECHILD);
    CHECK_EQ(pf_waitid(P_ALL, 0, 0, &event), -EINVAL);
}

static void handle(int signum)
{
    (void)signum;
}

/* A signal ends a wait: whoever called runs its handlers and calls again. */
static void test_interrupted(void)
{
    struct sigaction action = {.sa_handler = handle};
    CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
    int status;
    struct pf_child_event event;
    pid_t pid = start(0, 20000);
    struct itimerval often = {.it_interval = {.tv_usec = 20000}, .it_value = {.tv_usec = 20000}};
    CHECK_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
    CHECK_EQ(pf_waitpid(pid, 0, &status), -EINTR);
    CHECK_EQ(pf_waitid(P_PID, (unsigned)pid, WEXITED, &event), -EINTR);
    int fd = pf_pidfd_open(pid);
    CHECK(fd >= 0 || fd == -ENOSYS);
    if (fd >= 0) {
        CHECK_EQ(pf_pidfd_wait(fd, PF_FOREVER), -EINTR);
        close(fd);
    }
    struct itimerval never = {0};
    CHECK_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
    CHECK_EQ(kill(pid, SIGKILL), 0);
    CHECK_EQ(pf_waitpid(pid, 0, &status), pid);
    CHECK_EQ(status, SIGKILL);
}

static void test_pidfd(void)
{
    pid_t pid = start(0, 20000);
    int fd = pf_pidfd_open(pid), status = -1;
    if (fd == -ENOSYS) {
        CHECK_EQ(pf_pidfd_signal(0, 0), -ENOSYS);
        CHECK_EQ(pf_pidfd_status(0, &status), -ENOSYS);
        CHECK_EQ(kill(pid, SIGKILL), 0);
        CHECK_EQ(pf_waitpid(pid, 0, &status), pid);
        return;
    }
    CHECK(fd >= 0);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    int64_t begun = pf_now();
    CHECK_EQ(pf_pidfd_wait(fd, begun + 30 * MS), -ETIMEDOUT);
    CHECK(pf_now() - begun >= 30 * MS);
    CHECK_EQ(pf_pidfd_signal(fd, 0), 0);
    CHECK_EQ(pf_pidfd_signal(fd, 999), -EINVAL);
    int rc = pf_pidfd_status(fd, &status);
    CHECK(rc == -EAGAIN || rc == -ENOSYS); /* it runs */
    CHECK_EQ(pf_pidfd_signal(fd, SIGTERM), 0);
    CHECK_EQ(pf_pidfd_wait(fd, pf_now() + 10 * PF_SECOND), 0);
    CHECK_EQ(pf_waitpid(pid, 0, &status), pid);
    CHECK_EQ(status, SIGTERM);
    status = -1;
    rc = pf_pidfd_status(fd, &status); /* reaped by somebody else */
    CHECK(rc == -ENOSYS || (rc == 0 && status == SIGTERM));
    CHECK_EQ(pf_pidfd_signal(fd, SIGTERM), -ESRCH);
    close(fd);
    CHECK_EQ(pf_pidfd_open(pid), -ESRCH);
}

/* The orphan of a subreaper is its child; a process that asked for it is told of its parent's end. */
static void test_orphan(void)
{
    int rc = pf_subreaper(true), status = -1, fds[2];
    CHECK(rc == 0 || rc == -ENOSYS);
    if (rc == -ENOSYS) {
        rc = pf_parent_death_signal(0);
        CHECK(rc == 0 || rc == -ENOSYS);
        return;
    }
    CHECK_EQ(pipe(fds), 0);
    pid_t middle = fork();
    CHECK(middle >= 0);
    if (middle == 0) {
        pid_t orphan = fork();
        CHECK(orphan >= 0);
        if (orphan == 0) {
            CHECK_EQ(pf_parent_death_signal(SIGTERM), 0);
            orphan = getpid();
            CHECK_EQ(write(fds[1], &orphan, sizeof orphan), sizeof orphan);
            sleep(20);
            _exit(0);
        }
        sleep(20);
        _exit(0);
    }
    pid_t orphan;
    CHECK_EQ(read(fds[0], &orphan, sizeof orphan), sizeof orphan);
    CHECK_EQ(kill(middle, SIGKILL), 0);
    CHECK_EQ(pf_waitpid(middle, 0, &status), middle);
    CHECK_EQ(pf_waitpid(orphan, 0, &status), orphan);
    CHECK_EQ(status, SIGTERM);
    CHECK_EQ(pf_parent_death_signal(999), -EINVAL);
    CHECK_EQ(pf_subreaper(false), 0);
}

int main(int argc, char **argv)
{
    static const struct check_case cases[] = {CASE(test_wait), CASE(test_interrupted), CASE(test_pidfd),
                                              CASE(test_orphan)};
    return check_main(cases, 4, argc, argv);
}
