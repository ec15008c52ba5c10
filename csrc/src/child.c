#include "procfast/child.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "os.h"
#include "procfast/clock.h"

#define LOOK (PF_SECOND / 2)           /* where a descriptor may stay quiet after the end */
#define NAP_FIRST (PF_SECOND / 10000)  /* where there is no descriptor at all */
#define NAP_LAST (PF_SECOND / 20)

int pf_child_open(struct pf_child *c, int pid)
{
    int fd = pf__child_open(pid);
    *c = (struct pf_child){.pid = pid, .fd = fd < 0 ? -1 : fd, .exact = fd >= 0};
    return fd < 0 ? fd : 0;
}

void pf_child_close(struct pf_child *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->exact = false;
}

/* 0, -ETIMEDOUT, -EINTR */
static int readable(int fd, int64_t deadline)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (;;) {
        int64_t left = deadline == PF_NOWAIT ? 0 : deadline == PF_FOREVER ? -1 : deadline - pf_now();
        int ms = -1;
        if (deadline != PF_FOREVER)
            ms = left <= 0 ? 0 : left >= (int64_t)INT_MAX * 1000000 ? INT_MAX : (int)((left + 999999) / 1000000);
        int n = poll(&p, 1, ms);
        if (n > 0)
            return 0;
        if (n < 0)
            return -errno;
        if (ms == 0)
            return -ETIMEDOUT;
    }
}

/* Has it ended? Leaves it to be reaped. 0 also where it is not ours to wait for; -EAGAIN, -EINTR */
static int ended(int pid, int flags)
{
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | flags) < 0)
        return errno == EINTR ? -EINTR : 0;
    return info.si_pid == 0 ? -EAGAIN : 0;
}

static int doze(int64_t ns)
{
    struct timespec ts = {.tv_sec = (time_t)(ns / PF_SECOND), .tv_nsec = (long)(ns % PF_SECOND)};
    return nanosleep(&ts, NULL) < 0 ? -errno : 0;
}

int pf_child_wait(const struct pf_child *c, int64_t deadline)
{
    if (c->exact)
        return readable(c->fd, deadline);
    if (deadline == PF_FOREVER)
        return ended(c->pid, 0);
    bool quiet = c->fd >= 0; /* a pipe that has not told its end yet */
    for (int64_t nap = NAP_FIRST;;) {
        int rc = ended(c->pid, WNOHANG);
        if (rc != -EAGAIN)
            return rc;
        int64_t left = deadline == PF_NOWAIT ? 0 : deadline - pf_now();
        if (left <= 0)
            return -ETIMEDOUT;
        if (quiet) {
            rc = readable(c->fd, pf_slice(deadline, LOOK));
            quiet = rc == -ETIMEDOUT;
        } else {
            rc = doze(nap < left ? nap : left);
            nap = nap * 2 < NAP_LAST ? nap * 2 : NAP_LAST;
        }
        if (rc == -EINTR)
            return rc;
    }
}

int pf_child_reap(const struct pf_child *c, int *exitcode)
{
    int status;
    int rc = c->exact ? pf__child_reap(c->fd, &status) : -ENOSYS;
    if (rc == -ENOSYS) {
        int pid = (int)waitpid(c->pid, &status, WNOHANG);
        rc = pid > 0 ? 0 : pid == 0 ? -EAGAIN : -errno;
    }
    if (rc < 0)
        return rc;
    *exitcode = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
    return 0;
}

int pf_child_signal(const struct pf_child *c, int signum)
{
    int rc = c->exact ? pf__child_signal(c->fd, c->pid, signum) : -ENOSYS;
    if (rc == -ENOSYS)
        rc = kill(c->pid, signum) < 0 ? -errno : 0;
    return rc;
}

int pf_parent_open(void)
{
    return pf__parent_open();
}

int pf_end_with(int fd)
{
    int own = pf__pipe_again(fd, false);
    if (own < 0)
        return own;
    int rc = pf__kill_at_hangup(own);
    if (rc < 0) {
        close(own);
        return rc;
    }
    struct pollfd p = {.fd = own}; /* it may have hung up before */
    if (poll(&p, 1, 0) > 0 && (p.revents & POLLHUP))
        (void)kill(getpid(), SIGKILL);
    return own;
}
