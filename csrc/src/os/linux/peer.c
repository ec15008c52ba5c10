#include "../../os.h"

#ifdef PF__OS_LINUX

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

/* A user may have closed the descriptor (daemons do), and its number may be another file's. */
static bool same_file(struct pf_peer *p, int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && (uint64_t)st.st_dev == p->file[0] && (uint64_t)st.st_ino == p->file[1];
}

/* A lock of an open file description ends when the last reference to the description does. A mapping is
 * one, close(2) of the descriptor leaves it, MADV_DONTFORK keeps it from children: what remains is the
 * address space itself. */
int pf__token_take(struct pf_peer *p, uint32_t slot, void **token)
{
    struct pf_slot *s = &p->slots[slot];
    uint32_t taken = pf__load(&s->taken), now = (taken + 1) % (PF_TENANCIES / PF_SLOTS_MOST);
    int rc = pf__token_alive(p, taken * PF_SLOTS_MOST + slot);
    if (rc != 0)
        return rc < 0 ? rc : -EBUSY;
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", p->fd);
    int own = open(path, O_RDWR | O_CLOEXEC);
    if (own < 0)
        return -errno;
    if (!same_file(p, own)) {
        close(own);
        return -EBADF;
    }
    struct flock lock = byte_lock(now * PF_SLOTS_MOST + slot);
    if (fcntl(own, F_OFD_SETLK, &lock) < 0) {
        rc = errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
        close(own);
        return rc;
    }
    void *map = mmap(NULL, 4096, PROT_NONE, MAP_SHARED, own, 0);
    rc = map == MAP_FAILED || madvise(map, 4096, MADV_DONTFORK) < 0 ? -errno : 0;
    close(own);
    PF_POINT("peer.slot.locked");
    uint64_t before = pf__peek(&s->ident);
    if (rc == 0 && !atomic_compare_exchange_strong(&s->taken, &taken, now))
        rc = -EBUSY; /* others came and went since we looked */
    if (rc < 0) {
        if (map != MAP_FAILED)
            munmap(map, 4096);
        return rc;
    }
    pf__put(&s->last, (uint32_t)before);
    pf__put(&s->ident, (uint64_t)getpid());
    *token = map;
    return (int)(now * PF_SLOTS_MOST + slot);
}

int pf__token_alive(struct pf_peer *p, uint32_t tenancy)
{
    if (pf__load(&p->slots[tenancy % PF_SLOTS_MOST].taken) != tenancy / PF_SLOTS_MOST)
        return 0; /* the slot had another tenant since */
    struct flock lock = byte_lock(tenancy);
    if (fcntl(p->fd, F_OFD_GETLK, &lock) < 0)
        return -errno;
    return lock.l_type != F_UNLCK ? 1 : same_file(p, p->fd) ? 0 : -EBADF;
}

void pf__token_drop(struct pf_peer *p, uint32_t tenancy, void *token)
{
    (void)p, (void)tenancy; /* the pid stays, for who asks after the dead */
    munmap(token, 4096);
}

uint32_t pf__token_pid(uint64_t ident)
{
    return (uint32_t)ident;
}

#endif
