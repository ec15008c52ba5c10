/* macOS has no message queues. */
#include "../../os.h"

#ifdef PF__OS_DARWIN

int pf__mqueue_open(const char *name, bool create, bool read, bool write, unsigned mode, long most, long size)
{
    (void)name, (void)create, (void)read, (void)write, (void)mode, (void)most, (void)size;
    return -ENOSYS;
}

int pf__mqueue_unlink(const char *name)
{
    (void)name;
    return -ENOSYS;
}

int pf__mqueue_attributes(int fd, long *most, long *size, long *count)
{
    (void)fd, (void)most, (void)size, (void)count;
    return -ENOSYS;
}

int pf__mqueue_send(int fd, const void *data, size_t size, unsigned priority)
{
    (void)fd, (void)data, (void)size, (void)priority;
    return -ENOSYS;
}

ssize_t pf__mqueue_receive(int fd, void *data, size_t size, unsigned *priority)
{
    (void)fd, (void)data, (void)size, (void)priority;
    return -ENOSYS;
}

#endif
