#include "../../os.h"

#ifdef PF__OS_DARWIN

#include <fcntl.h>
#include <sys/event.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

int pf__child_open(int pid)
{
    int kq = kqueue();
    if (kq < 0)
        return -errno;
    (void)fcntl(kq, F_SETFD, FD_CLOEXEC);
    struct kevent event;
    EV_SET(&event, pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, NULL);
    if (kevent(kq, &event, 1, NULL, 0, NULL) == 0)
        return kq;
    int rc = -errno;
    if (rc == -ESRCH) {
        /* also said of a child that has ended but was not reaped: then make it readable ourselves */
        siginfo_t info = {0};
        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | WNOHANG) == 0 && info.si_pid != 0) {
            EV_SET(&event, 0, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, NULL);
            if (kevent(kq, &event, 1, NULL, 0, NULL) == 0)
                return kq;
            rc = -errno;
        }
    }
    close(kq);
    return rc;
}

/* Both by pid: it can't be used again before it is reaped. */
int pf__child_signal(int fd, int pid, int signum)
{
    (void)fd, (void)pid, (void)signum;
    return -ENOSYS;
}

int pf__child_reap(int fd, int *status)
{
    (void)fd, (void)status;
    return -ENOSYS;
}

/* a kqueue is not inherited by fork(2) */
int pf__parent_open(void)
{
    return -ENOSYS;
}

/* O_ASYNC sends SIGIO here, and nothing else */
int pf__kill_at_hangup(int fd)
{
    (void)fd;
    return -ENOSYS;
}

#endif
