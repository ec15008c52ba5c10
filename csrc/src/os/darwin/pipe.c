/* macOS has neither pipe2(2) nor preadv2(2), and /dev/fd gives the same description: src/pipe.c goes on without. */
#include "../../os.h"

#ifdef PF__OS_DARWIN

int pf__pipe_open(int fds[2])
{
    (void)fds;
    return -ENOSYS;
}

ssize_t pf__pipe_now(int fd, bool out, void *data, size_t size)
{
    (void)fd, (void)out, (void)data, (void)size;
    return -ENOSYS;
}

int pf__pipe_again(int fd, bool out)
{
    (void)fd, (void)out;
    return -ENOSYS;
}

#endif
