#include "../../os.h"

#ifdef PF__OS_LINUX

#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008
#endif

int pf__pipe_open(int fds[2])
{
    return pipe2(fds, O_CLOEXEC) < 0 ? -errno : 0;
}

/* By number: musl has had the functions for a short time only. Position -1: the descriptor's own. */
ssize_t pf__pipe_now(int fd, bool out, void *data, size_t size)
{
    struct iovec iov = {data, size};
    long n = syscall(out ? SYS_pwritev2 : SYS_preadv2, fd, &iov, 1, -1L, -1L, RWF_NOWAIT);
    if (n >= 0)
        return n;
    return errno == EOPNOTSUPP || errno == EPERM ? -ENOSYS : -errno; /* an older kernel; a seccomp filter */
}

int pf__pipe_again(int fd, bool out)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, (out ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_CLOEXEC);
    return own < 0 ? -errno : own;
}

#endif
