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
            return 1;
        if (errno != EINTR)
            return errno == ECONNRESET ? -EPIPE : -errno;
    }
    return 0;
}

/* How many rings are first in the socket; *other: something else comes then. -errno. */
static ssize_t leading(int fd, bool *other)
{
    unsigned char first[64];
    ssize_t n, rings = 0;
    do
        n = recv(fd, first, sizeof first, MSG_DONTWAIT | MSG_PEEK);
    while (n < 0 && errno == EINTR);
    while (rings < n && first[rings] == PF_RING)
        rings++;
    *other = rings < n;
    return n >= 0 ? rings : errno == EAGAIN || errno == ECONNRESET ? 0 : -errno;
}

/* Takes so many bytes, at most 64; how many there were. */
static ssize_t take(int fd, size_t n)
{
    unsigned char bytes[64];
    ssize_t got;
    do
        got = recv(fd, bytes, n, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    return got >= 0 ? got : errno == EAGAIN || errno == ECONNRESET ? 0 : -errno;
}

int pf_wire_reset(int fd, bool careful)
{
    bool other;
    ssize_t n;
    do {
        n = careful ? leading(fd, &other) : 64;
        if (n > 0)
            n = take(fd, (size_t)n);
    } while (n == 64);
    return n < 0 ? (int)n : 0;
}

int pf_wire_strip(int fd)
{
    bool other;
    ssize_t n = leading(fd, &other);
    if (n > 0 && other)
        n = take(fd, (size_t)n);
    return n < 0 ? (int)n : n > 0 && other;
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
