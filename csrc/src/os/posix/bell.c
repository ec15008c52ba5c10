/* The doorbell as a non-blocking pipe; macOS uses it too (a kqueue is not inherited by fork).
 * No pipe2(2): macOS lacks it. Between pipe and fcntl another thread's fork and exec may inherit it. */
#include "../../os.h"

#if defined(PF__OS_POSIX) || defined(PF__OS_DARWIN)

#include <fcntl.h>
#include <unistd.h>

static int pf__bell_set(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    return 0;
}

int pf__bell_open(struct pf_bell *b)
{
    int fd[2];
    if (pipe(fd) < 0)
        return -errno;
    int rc = pf__bell_set(fd[0]);
    if (rc == 0)
        rc = pf__bell_set(fd[1]);
    if (rc < 0) {
        close(fd[0]);
        close(fd[1]);
        return rc;
    }
    b->wait_fd = fd[0];
    b->ring_fd = fd[1];
    return 0;
}

int pf__bell_ring(struct pf_bell *b)
{
    for (;;) {
        if (write(b->ring_fd, "!", 1) == 1 || errno == EAGAIN)
            return 0; /* EAGAIN: full, so it is readable */
        if (errno != EINTR)
            return -errno;
    }
}

int pf__bell_reset(struct pf_bell *b)
{
    char rings[512];
    for (;;) {
        ssize_t n = read(b->wait_fd, rings, sizeof rings);
        if (n == 0 || (n < 0 && errno == EAGAIN))
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
    }
}

#endif
