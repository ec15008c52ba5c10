#include "../../os.h"

#ifdef PF__OS_LINUX

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../atomic.h"

#ifndef F_OFD_GETLK
#define F_OFD_GETLK 36
#define F_OFD_SETLK 37
#endif

static struct flock byte_lock(uint32_t slot)
{
    struct flock lock = {0}; /* l_pid must be 0 */
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = (off_t)slot;
    lock.l_len = 1;
    return lock;
}

/* A lock of an open file description ends when the last reference to the description does. A mapping is
 * one, close(2) of the descriptor leaves it, MADV_DONTFORK keeps it from children: what remains is the
 * address space itself. */
int pf__token_take(int fd, struct pf_slots *slots, uint32_t slot, void **token)
{
    struct flock lock = byte_lock(slot);
    if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
        return -errno;
    if (lock.l_type != F_UNLCK)
        return -EBUSY;
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, O_RDWR | O_CLOEXEC);
    if (own < 0)
        return -errno;
    lock = byte_lock(slot);
    int rc = fcntl(own, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
    if (rc == 0) {
        void *map = mmap(NULL, 4096, PROT_NONE, MAP_SHARED, own, 0);
        if (map == MAP_FAILED) {
            rc = -errno;
        } else if (madvise(map, 4096, MADV_DONTFORK) < 0) {
            rc = -errno;
            munmap(map, 4096);
        } else {
            *token = map;
            pf__put(&slots->ident[slot], (uint64_t)getpid());
        }
    }
    close(own);
    return rc == -EAGAIN || rc == -EACCES ? -EBUSY : rc;
}

int pf__token_alive(int fd, struct pf_slots *slots, uint32_t slot)
{
    (void)slots;
    struct flock lock = byte_lock(slot);
    if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
        return -errno;
    return lock.l_type != F_UNLCK;
}

void pf__token_drop(struct pf_slots *slots, uint32_t slot, void *token)
{
    pf__put(&slots->ident[slot], 0);
    munmap(token, 4096);
}

#endif
