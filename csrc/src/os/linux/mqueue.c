/* A queue is a descriptor here, close-on-exec from the first moment. */
#include "../../os.h"

#ifdef PF__OS_LINUX

#include <fcntl.h>
#include <mqueue.h>
#include <sys/stat.h>

int pf__mqueue_open(const char *name, bool create, bool read, bool write, unsigned mode, long most, long size)
{
    struct mq_attr attr = {.mq_maxmsg = most, .mq_msgsize = size};
    int flags = O_CLOEXEC | (read && write ? O_RDWR : write ? O_WRONLY : O_RDONLY);
    mqd_t fd = create ? mq_open(name, flags | O_CREAT | O_EXCL, (mode_t)mode, &attr) : mq_open(name, flags);
    return fd == (mqd_t)-1 ? -errno : fd;
}

int pf__mqueue_unlink(const char *name)
{
    return mq_unlink(name) < 0 ? -errno : 0;
}

int pf__mqueue_attributes(int fd, long *most, long *size, long *count)
{
    struct mq_attr attr;
    if (mq_getattr(fd, &attr) < 0)
        return -errno;
    *most = attr.mq_maxmsg;
    *size = attr.mq_msgsize;
    *count = attr.mq_curmsgs;
    return 0;
}

static const struct timespec long_ago = {0, 0};

int pf__mqueue_send(int fd, const void *data, size_t size, unsigned priority)
{
    if (mq_timedsend(fd, data, size, priority, &long_ago) == 0)
        return 0;
    return errno == ETIMEDOUT ? -EAGAIN : -errno;
}

ssize_t pf__mqueue_receive(int fd, void *data, size_t size, unsigned *priority)
{
    ssize_t n = mq_timedreceive(fd, data, size, priority, &long_ago);
    return n >= 0 ? n : errno == ETIMEDOUT ? -EAGAIN : -errno;
}

#endif
