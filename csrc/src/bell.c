#include "procfast/bell.h"

#include <unistd.h>

#include "os.h"

int pf_bell_open(struct pf_bell *b)
{
    return pf__bell_open(b);
}

int pf_bell_ring(struct pf_bell *b)
{
    return pf__bell_ring(b);
}

int pf_bell_reset(struct pf_bell *b)
{
    return pf__bell_reset(b);
}

void pf_bell_close(struct pf_bell *b)
{
    if (b->ring_fd >= 0 && b->ring_fd != b->wait_fd)
        close(b->ring_fd);
    if (b->wait_fd >= 0)
        close(b->wait_fd);
    b->wait_fd = b->ring_fd = -1;
}
