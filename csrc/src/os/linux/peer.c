#include "../../os.h"

#ifdef PF__OS_LINUX

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../atomic.h"
#include "../../point.h"

#ifndef F_OFD_GETLK
#define F_OFD_GETLK 36
#define F_OFD_SETLK 37
#endif

/* Locks need no bytes behind them: each tenancy has an offset of its own. */
static struct flock byte_lock(uint32_t tenancy)
{
    struct flock lock = {0}; /* l_pid must be 0 */
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = (off_t)tenancy;
    lock.l_len = 1;
    return lock;
}

/* A lock of an open file description ends when the last reference to the description does. A mapping is
 * one, close(2) of the descriptor leaves it, MADV_DONTFORK keeps it from children: what remains is the
 * address space itself. */
int pf__token_take(int fd, struct pf_slots *slots, uint32_t slot, void **token)
{
    uint32_t taken = pf__load(&slots->taken[slot]), now = (taken + 1) % (PF_TENANCIES / PF_SLOTS);
    int rc = pf__token_alive(fd, slots, taken * PF_SLOTS + slot);
    if (rc != 0)
        return rc < 0 ? rc : -EBUSY;
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, O_RDWR | O_CLOEXEC);
    if (own < 0)
        return -errno;
    struct flock lock = byte_lock(now * PF_SLOTS + slot);
    if (fcntl(own, F_OFD_SETLK, &lock) < 0) {
        rc = errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
        close(own);
        return rc;
    }
    void *map = mmap(NULL, 4096, PROT_NONE, MAP_SHARED, own, 0);
    rc = map == MAP_FAILED || madvise(map, 4096, MADV_DONTFORK) < 0 ? -errno : 0;
    close(own);
    PF_POINT("peer.slot.locked");
    if (rc == 0 && !atomic_compare_exchange_strong(&slots->taken[slot], &taken, now))
        rc = -EBUSY; /* others came and went since we looked */
    if (rc < 0) {
        if (map != MAP_FAILED)
            munmap(map, 4096);
        return rc;
    }
    pf__put(&slots->ident[slot], (uint64_t)getpid());
    *token = map;
    return (int)(now * PF_SLOTS + slot);
}

int pf__token_alive(int fd, struct pf_slots *slots, uint32_t tenancy)
{
    if (pf__load(&slots->taken[tenancy % PF_SLOTS]) != tenancy / PF_SLOTS)
        return 0; /* the slot had another tenant since */
    struct flock lock = byte_lock(tenancy);
    if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
        return -errno;
    return lock.l_type != F_UNLCK;
}

void pf__token_drop(struct pf_slots *slots, uint32_t tenancy, void *token)
{
    pf__put(&slots->ident[tenancy % PF_SLOTS], 0);
    munmap(token, 4096);
}

#endif
