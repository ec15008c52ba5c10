#include "../../os.h"

#ifdef PF__OS_LINUX

#include <sys/eventfd.h>
#include <unistd.h>

int pf__bell_open(struct pf_bell *b)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    b->wait_fd = b->ring_fd = fd;
    return 0;
}

int pf__bell_ring(struct pf_bell *b)
{
    uint64_t one = 1;
    while (write(b->ring_fd, &one, sizeof one) < 0) {
        if (errno == EAGAIN) /* the counter is full: rung enough */
            return 0;
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

int pf__bell_reset(struct pf_bell *b)
{
    uint64_t count;
    while (read(b->wait_fd, &count, sizeof count) < 0) {
        if (errno == EAGAIN)
            return 0;
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

#endif
