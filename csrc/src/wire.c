#include "procfast/wire.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "procfast/clock.h"

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* SO_NOSIGPIPE below */
#endif

#ifdef SOCK_CLOEXEC
static int connect_pair(int fds[2])
{
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0 ? -errno : 0;
}
#else
/* Between the calls another thread's fork and exec may inherit them. */
static int connect_pair(int fds[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        int rc = fcntl(fds[i], F_SETFD, FD_CLOEXEC);
#ifdef SO_NOSIGPIPE
        int on = 1;
        if (rc == 0)
            rc = setsockopt(fds[i], SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
        if (rc < 0) {
            rc = -errno;
            close(fds[0]);
            close(fds[1]);
            return rc;
        }
    }
    return 0;
}
#endif

int pf_wire_open(int fds[2])
{
    return connect_pair(fds);
}

int pf_wire_ring(int fd)
{
    unsigned char ring = PF_RING;
    while (send(fd, &ring, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        if (errno == EAGAIN || errno == ENOBUFS)
            return 0;
        if (errno != EINTR)
            return errno == ECONNRESET ? -EPIPE : -errno;
    }
    return 0;
}

int pf_wire_reset(int fd, bool careful)
{
    unsigned char first;
    for (int flags = MSG_DONTWAIT | (careful ? MSG_PEEK : 0);;) {
        ssize_t n = recv(fd, &first, 1, flags);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN || errno == ECONNRESET ? 0 : -errno;
        if (n == 0 || !(flags & MSG_PEEK) || first != PF_RING)
            return 0;
        flags &= ~MSG_PEEK;
    }
}

int pf_wire_look(int fd)
{
    int rc = pf_wire_wait(fd, false, PF_NOWAIT);
    return rc == -ETIMEDOUT || rc == -EINTR ? 0 : rc;
}

int pf_wire_wait(int fd, bool readable, int64_t deadline)
{
    struct pollfd p = {fd, (short)(readable ? POLLIN : 0), 0};
    int ms = 0;
    if (fd < 0)
        return -EBADF; /* poll(2) would ignore it */
    if (deadline != PF_NOWAIT) {
        int64_t left = deadline - pf_now();
        ms = left <= 0 ? 0 : left > 1000 * PF_SECOND ? 1000000 : (int)((left + 999999) / 1000000);
    }
    int n = poll(&p, 1, ms);
    if (n < 0)
        return -errno;
    if (n == 0)
        return -ETIMEDOUT;
    if (p.revents & POLLNVAL)
        return -EBADF;
    return p.revents & (POLLHUP | POLLERR) ? -EPIPE : 1;
}
