#include "procfast/pipe.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os.h"
#include "procfast/clock.h"

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

#define MOST ((size_t)16 << 20)  /* in one call: signals and the deadline are looked at in between */
#define LOOK (PF_SECOND / 50)    /* where it flows without a pause */

enum way {
    PLAIN,  /* never blocks: O_NONBLOCK, a file */
    SOCKET, /* can be told not to block */
    NOWAIT, /* likewise, by pf__pipe_now */
    POLLED, /* only poll(2) tells */
};

int pf_pipe_open(int fds[2])
{
    int rc = pf__pipe_open(fds);
    if (rc != -ENOSYS)
        return rc;
    if (pipe(fds) < 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        if (fcntl(fds[i], F_SETFD, FD_CLOEXEC) < 0) {
            rc = -errno;
            close(fds[0]);
            close(fds[1]);
            return rc;
        }
    }
    return 0;
}

struct target {
    int fd;
    bool out;
    enum way way;
    int own; /* another description of the pipe, non-blocking; -1: none */
};

static int aim(struct target *t, int fd, bool out)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &st) < 0)
        return -errno;
    if ((flags & O_ACCMODE) == (out ? O_RDONLY : O_WRONLY))
        return -EBADF; /* poll(2) would wait for ever */
    enum way way = S_ISSOCK(st.st_mode)                          ? SOCKET
                   : (flags & O_NONBLOCK) || S_ISREG(st.st_mode) ? PLAIN
                   : S_ISFIFO(st.st_mode)                        ? NOWAIT
                                                                 : POLLED;
    *t = (struct target){fd, out, way, -1};
    return 0;
}

/* 0: ready, or poll(2) knows no more than read(2) and write(2) will tell; -ETIMEDOUT, -EINTR, -EBADF */
static int ready(int fd, bool out, int64_t deadline)
{
    struct pollfd p = {.fd = fd, .events = out ? POLLOUT : POLLIN};
    int64_t left = deadline == PF_NOWAIT ? 0 : pf_slice(deadline, PF_SECOND) - pf_now();
    int n = poll(&p, 1, left <= 0 ? 0 : (int)((left + 999999) / 1000000));
    if (n < 0)
        return -errno;
    if (n == 0)
        return deadline == PF_NOWAIT || pf_now() >= deadline ? -ETIMEDOUT : -EINTR; /* a look: base.h */
    return p.revents & POLLNVAL ? -EBADF : 0;
}

/* What can be moved now: a number of bytes, 0 at the end of file, -EAGAIN, ... */
static ssize_t move(struct target *t, char *data, size_t size)
{
    ssize_t n;
    if (size > MOST)
        size = MOST;
    if (t->way == NOWAIT) {
        n = pf__pipe_now(t->fd, t->out, data, size);
        if (n != -ENOSYS)
            return n;
        t->own = pf__pipe_again(t->fd, t->out);
        t->way = t->own < 0 ? POLLED : PLAIN;
    }
    int fd = t->own < 0 ? t->fd : t->own;
    if (t->way == POLLED) {
        int rc = ready(fd, t->out, PF_NOWAIT);
        if (rc < 0)
            return rc == -ETIMEDOUT ? -EAGAIN : rc;
        if (t->out && size > PIPE_BUF)
            size = PIPE_BUF;
    }
    if (t->way == SOCKET)
        n = t->out ? send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL) : recv(fd, data, size, MSG_DONTWAIT);
    else
        n = t->out ? write(fd, data, size) : read(fd, data, size);
    return n >= 0 ? n : errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

static int move_all(int fd, bool out, char *data, size_t size, size_t *done, int64_t deadline)
{
    struct target t = {.own = -1};
    int rc = aim(&t, fd, out);
    int64_t look = pf_slice(PF_FOREVER, LOOK);
    while (rc == 0 && *done < size) {
        ssize_t n = move(&t, data + *done, size - *done);
        if (n == -EAGAIN) {
            rc = ready(fd, out, deadline);
        } else if (n <= 0) {
            rc = n == 0 ? -EPIPE : (int)n;
        } else if ((*done += (size_t)n) < size) {
            int64_t now = pf_now();
            rc = deadline != PF_NOWAIT && now >= deadline ? -ETIMEDOUT : now >= look ? -EINTR : 0;
        }
    }
    if (t.own >= 0)
        close(t.own);
    return rc;
}

int pf_read_all(int fd, void *data, size_t size, size_t *done, int64_t deadline)
{
    return move_all(fd, false, data, size, done, deadline);
}

int pf_write_all(int fd, const void *data, size_t size, size_t *done, int64_t deadline)
{
    return move_all(fd, true, (char *)data, size, done, deadline);
}
