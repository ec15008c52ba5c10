/* No pipe2(2) and no preadv2(2): src/pipe.c goes on without. */
#include "../../os.h"

#ifdef PF__OS_POSIX

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
