#include "../../os.h"

#ifdef PF__OS_DARWIN

int pf__pidfd_open(int pid)
{
    (void)pid;
    return -ENOSYS;
}

int pf__pidfd_signal(int fd, int signum)
{
    (void)fd, (void)signum;
    return -ENOSYS;
}

int pf__pidfd_status(int fd, int *status)
{
    (void)fd, (void)status;
    return -ENOSYS;
}

int pf__parent_death_signal(int signum)
{
    (void)signum;
    return -ENOSYS;
}

int pf__subreaper(bool on)
{
    (void)on;
    return -ENOSYS;
}

#endif
