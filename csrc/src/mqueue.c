#include "procfast/mqueue.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os.h"
#include "procfast/clock.h"

static int open_new(const char *name, bool read, bool write, unsigned mode, long max_messages, long max_size)
{
    int fd = pf__mqueue_open(name, true, read, write, mode, max_messages, max_size);
    struct stat st;
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) == 0 && ((st.st_mode & 0777) == mode || fchmod(fd, (mode_t)mode) == 0))
        return fd;
    int rc = -errno;
    pf__mqueue_unlink(name);
    close(fd);
    return rc;
}

int pf_mqueue_open(struct pf_mqueue *q, const char *name, enum pf_open how, bool read, bool write, unsigned mode,
                   long max_messages, long max_size)
{
    q->fd = -1;
    for (;;) { /* somebody may create or unlink it in between */
        int fd = how == PF_OPEN ? -EEXIST : open_new(name, read, write, mode, max_messages, max_size);
        if (fd == -EEXIST && how != PF_EXCLUSIVE) {
            fd = pf__mqueue_open(name, false, read, write, 0, 0, 0);
            if (fd == -ENOENT && how == PF_CREATE)
                continue;
        }
        if (fd < 0)
            return fd;
        long count;
        int rc = pf__mqueue_attributes(fd, &q->max_messages, &q->max_size, &count);
        if (rc < 0)
            close(fd);
        else
            q->fd = fd;
        return rc;
    }
}

void pf_mqueue_close(struct pf_mqueue *q)
{
    if (q->fd >= 0)
        close(q->fd);
    q->fd = -1;
}

int pf_mqueue_unlink(const char *name)
{
    return pf__mqueue_unlink(name);
}

int64_t pf_mqueue_owner(const struct pf_mqueue *q)
{
    struct stat st;
    return fstat(q->fd, &st) < 0 ? -errno : (int64_t)st.st_uid;
}

/* The system's own deadlines go by the clock on the wall, so it is poll(2) that waits. */
static int ready(int fd, short events, int64_t deadline)
{
    struct pollfd p = {.fd = fd, .events = events};
    if (deadline == PF_NOWAIT)
        return -ETIMEDOUT;
    int64_t left = pf_slice(deadline, PF_SECOND) - pf_now();
    int n = poll(&p, 1, left <= 0 ? 0 : (int)((left + 999999) / 1000000));
    if (n < 0)
        return -errno;
    if (n == 0)
        return pf_now() < deadline ? -EINTR : -ETIMEDOUT;
    return p.revents & POLLNVAL ? -EBADF : 0;
}

int pf_mqueue_send(const struct pf_mqueue *q, const void *data, size_t size, unsigned priority, int64_t deadline)
{
    int rc;
    while ((rc = pf__mqueue_send(q->fd, data, size, priority)) == -EAGAIN)
        if ((rc = ready(q->fd, POLLOUT, deadline)) < 0)
            break;
    return rc;
}

ssize_t pf_mqueue_receive(const struct pf_mqueue *q, void *data, size_t size, unsigned *priority, int64_t deadline)
{
    ssize_t n;
    while ((n = pf__mqueue_receive(q->fd, data, size, priority)) == -EAGAIN)
        if ((n = ready(q->fd, POLLIN, deadline)) < 0)
            break;
    return n;
}

long pf_mqueue_count(const struct pf_mqueue *q)
{
    long most, size, count = 0;
    int rc = pf__mqueue_attributes(q->fd, &most, &size, &count);
    return rc < 0 ? rc : count;
}
