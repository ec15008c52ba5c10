#include "../../os.h"

#ifdef PF__OS_LINUX

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* By number, so that headers older than the kernel do: both are the same on every architecture. */
#define NR_PIDFD_SEND_SIGNAL 424
#define NR_PIDFD_OPEN 434
#define ID_PIDFD 3 /* P_PIDFD, waitid(2) */

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
    return pf__pidfd_status(fd, status) == 0 ? 0 : -ECHILD; /* reaped, or never ours */
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
