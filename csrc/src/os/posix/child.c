#include "../../os.h"

#ifdef PF__OS_POSIX

int pf__child_open(int pid)
{
    (void)pid;
    return -ENOSYS;
}

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

int pf__parent_open(void)
{
    return -ENOSYS;
}

int pf__kill_at_hangup(int fd)
{
    (void)fd;
    return -ENOSYS;
}

#endif
