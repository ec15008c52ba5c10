#include "../../os.h"

#ifdef PF__OS_LINUX

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* By number, so that headers older than the kernel do: both are the same on every architecture. */
#define NR_PIDFD_SEND_SIGNAL 424
#define NR_PIDFD_OPEN 434
#define ID_PIDFD 3 /* P_PIDFD, waitid(2) */

/* PIDFD_GET_INFO, linux/pidfd.h; the first version of the structure is 64 bytes */
struct info {
    uint64_t mask, cgroup;
    uint32_t pid, tgid, ppid, ids[8];
    int32_t exit_code;
};
#define GET_INFO _IOWR(0xff, 11, struct info)
#define INFO_EXIT (UINT64_C(1) << 3)
#define REAPING_MS 20

int pf__child_open(int pid)
{
    int fd = (int)syscall(NR_PIDFD_OPEN, pid, 0);
    if (fd >= 0)
        return fd;
    return errno == EPERM ? -ENOSYS : -errno; /* a seccomp filter */
}

int pf__child_signal(int fd, int pid, int signum)
{
    (void)pid;
    if (syscall(NR_PIDFD_SEND_SIGNAL, fd, signum, NULL, 0) == 0)
        return 0;
    return errno == EPERM ? -ENOSYS : -errno; /* a seccomp filter, or kill(2) will say so too */
}

/* 0; -EAGAIN: it has not been reaped; or why the kernel does not tell */
static int exit_info(int fd, int *status)
{
    struct info info = {.mask = INFO_EXIT};
    if (ioctl(fd, GET_INFO, &info) < 0)
        return -errno;
    if (!(info.mask & INFO_EXIT))
        return -EAGAIN;
    *status = info.exit_code;
    return 0;
}

int pf__child_reap(int fd, int *status)
{
    siginfo_t si = {0};
    if (syscall(SYS_waitid, ID_PIDFD, fd, &si, WEXITED | WNOHANG, NULL) == 0) {
        if (si.si_pid == 0)
            return -EAGAIN;
        *status = si.si_code == CLD_EXITED ? (si.si_status & 0xff) << 8 : si.si_status & 0x7f;
        return 0;
    }
    if (errno == EINVAL)
        return -ENOSYS; /* Linux 5.3 has pidfd_open but not this */
    if (errno != ECHILD)
        return -errno;
    /* Reaped, or never ours. Where SIGCHLD is ignored the kernel reaps by itself, a moment after the
     * descriptor has turned readable; the hang-up says that it has done so. */
    int rc = exit_info(fd, status);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (rc != -EAGAIN || poll(&p, 1, 0) <= 0)
        return rc == 0 ? 0 : -ECHILD;
    p.events = 0;
    (void)poll(&p, 1, REAPING_MS);
    return exit_info(fd, status) == 0 ? 0 : -ECHILD;
}

int pf__parent_open(void)
{
    return pf__child_open((int)getpid());
}

int pf__kill_at_hangup(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETOWN, (int)getpid()) < 0 || fcntl(fd, F_SETSIG, SIGKILL) < 0 ||
        fcntl(fd, F_SETFL, flags | O_ASYNC) < 0)
        return -errno;
    return 0;
}

#endif
