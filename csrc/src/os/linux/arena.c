/* The epochs of an arena: read locks of open file descriptions (fcntl(2)), on bytes above those of peer.c. */
#include "../../os.h"

#ifdef PF__OS_LINUX

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../point.h"

#ifndef F_OFD_GETLK
#define F_OFD_GETLK 36
#define F_OFD_SETLK 37
#endif

#define BASE (UINT64_C(1) << 40)

static struct flock bytes(short type, uint32_t from, uint32_t to)
{
    struct flock lock = {0}; /* l_pid must be 0 */
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = (off_t)(BASE + from);
    lock.l_len = (off_t)(to - from) + 1;
    return lock;
}

/* As in peer.c: the user may have closed it, and its number be another file's. */
static bool same_file(struct pf_peer *p, int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && (uint64_t)st.st_dev == p->file[0] && (uint64_t)st.st_ino == p->file[1];
}

int pf__epoch_begin(struct pf_peer *p, uint32_t epoch, void **hold)
{
    char path[40];
    if (sizeof(off_t) < 8)
        return -ENOSYS;
    snprintf(path, sizeof path, "/proc/self/fd/%d", p->fd);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct flock lock = bytes(F_RDLCK, epoch, epoch);
    void *map = MAP_FAILED;
    int rc = same_file(p, fd) ? 0 : -EBADF;
    if (rc == 0 && fcntl(fd, F_OFD_SETLK, &lock) < 0)
        rc = errno == EINVAL || errno == EPERM ? -ENOSYS : -errno;
    PF_POINT("arena.epoch.locked");
    if (rc == 0 && (map = mmap(NULL, 4096, PROT_NONE, MAP_SHARED, fd, 0)) == MAP_FAILED)
        rc = -errno;
    if (rc == 0) {
        while ((rc = dup3(fd, p->fd, O_CLOEXEC)) < 0 && (errno == EINTR || errno == EBUSY))
            ;
        rc = rc < 0 ? -errno : 0;
    }
    PF_POINT("arena.epoch.begun");
    close(fd);
    if (rc < 0 && map != MAP_FAILED)
        munmap(map, 4096);
    *hold = map;
    return rc;
}

int pf__epoch_held(struct pf_peer *p, uint32_t from, uint32_t to, uint32_t *held)
{
    struct flock lock = bytes(F_WRLCK, from, to);
    if (fcntl(p->fd, F_OFD_GETLK, &lock) < 0)
        return -errno;
    if (lock.l_type == F_UNLCK)
        return same_file(p, p->fd) ? 0 : -EBADF;
    uint64_t at = (uint64_t)lock.l_start - BASE;
    if (at < from || at > to) /* not one of ours: hold everything */
        return -EBUSY;
    *held = (uint32_t)at;
    return 1;
}

#endif
