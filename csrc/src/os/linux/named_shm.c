/* Files of /dev/shm, where glibc and musl have them as well. */
#include "../../os.h"

#ifdef PF__OS_LINUX

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "procfast/clock.h"

#define DIRECTORY "/dev/shm"

#ifndef F_OFD_GETLK
#define F_OFD_GETLK 36
#define F_OFD_SETLK 37
#endif

/* An owner has 46 bits: pid and hash. A record holds them in an access time between 2^36 and 2^37 seconds, the ten lowest in
 * its nanoseconds, above a check sum. */
enum { HASH_BITS = 24, PID_BITS = 22, LOW_BITS = 10, SUM_BITS = 19, TIME_BIT = 36 };

static uint64_t mixed(uint64_t x) /* splitmix64 */
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t low(uint64_t x, unsigned bits)
{
    return x & ((UINT64_C(1) << bits) - 1);
}

static struct timespec record_of(uint64_t owner, const char *name)
{
    uint64_t sum = owner;
    while (*name)
        sum = mixed(sum ^ (unsigned char)*name++);
    sum = low(sum, SUM_BITS);
    return (struct timespec){
        .tv_sec = (time_t)(UINT64_C(1) << TIME_BIT | owner >> LOW_BITS),
        .tv_nsec = (long)(low(owner, LOW_BITS) << SUM_BITS | sum),
    };
}

/* The owner of a file that a sweep may be about: a plain file of ours, with a record. */
static uint64_t owner_in(const struct stat *st, const char *name)
{
    uint64_t seconds = (uint64_t)st->st_atim.tv_sec, rest = (uint64_t)st->st_atim.tv_nsec;
    if (!S_ISREG(st->st_mode) || st->st_uid != geteuid() || seconds >> TIME_BIT != 1)
        return 0;
    uint64_t owner = low(seconds, TIME_BIT) << LOW_BITS | rest >> SUM_BITS;
    return record_of(owner, name).tv_nsec == st->st_atim.tv_nsec ? owner : 0;
}

static void path_of(char *path, const char *name)
{
    snprintf(path, sizeof DIRECTORY + NAME_MAX + 1, DIRECTORY "/%s", name);
}

#define PATH(name) \
    char path[sizeof DIRECTORY + NAME_MAX + 1]; \
    path_of(path, name)

/* ---- owners */

/* The start time of a process in ticks since boot; 0: it has ended, 1: it can't be known. */
static uint64_t started(const char *stat)
{
    char text[1024], *at;
    int fd = open(stat, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT && access("/proc/self/stat", F_OK) == 0 ? 0 : 1;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return 0; /* it ended just now */
    text[n] = 0;
    if (!(at = strrchr(text, ')')) || strlen(at) < 3)
        return 1;
    if (at[2] == 'Z' || at[2] == 'X')
        return 0;
    for (unsigned field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    uint64_t ticks = at ? strtoull(at, NULL, 10) : 0;
    return ticks > 1 ? ticks : 1;
}

static uint64_t owner_number(uint64_t pid, uint64_t start)
{
    uint64_t hash = mixed(start ^ mixed(pf_pid_namespace()));
    return low(pid, PID_BITS) << HASH_BITS | low(hash, HASH_BITS);
}

uint64_t pf__owner_of_pid(int pid)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    uint64_t start = started(path);
    return start > 1 ? owner_number((uint64_t)pid, start) : 0;
}

static struct flock byte_lock(short type, uint64_t owner)
{
    struct flock lock = {0}; /* l_pid must be 0 */
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = (off_t)owner;
    lock.l_len = 1;
    return lock;
}

static bool in_place(const struct pf_shm_owner *self)
{
    struct stat st;
    return fstat(self->fd, &st) == 0 && st.st_dev == self->place[0] && st.st_ino == self->place[1];
}

void pf__owner_forget(struct pf_shm_owner *self)
{
    if (self->id && in_place(self))
        close(self->fd); /* the parent's lock stays with the parent's descriptor */
}

int pf__owner_refresh(struct pf_shm_owner *self, bool check)
{
    uint64_t epoch = pf_epoch();
    if (self->id && self->epoch == epoch && (!check || in_place(self)))
        return 0;
    if (self->epoch != epoch)
        pf_shm_owner_forget(self);
    uint64_t start = started("/proc/self/stat");
    self->epoch = epoch;
    self->id = owner_number((uint64_t)getpid(), start > 1 ? start : (uint64_t)pf_now());
    struct stat st;
    struct flock lock = byte_lock(F_RDLCK, self->id);
    int fd = open(DIRECTORY, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0 || fcntl(fd, F_OFD_SETLK, &lock) < 0) {
        rc = -errno;
        close(fd);
        return rc;
    }
    self->place[0] = st.st_dev;
    self->place[1] = st.st_ino;
    self->fd = fd;
    return 0;
}

/* Two proofs of life: the lock, which a process in another pid namespace has too, and pid with start time, which one that
 * closed all of its descriptors has too. Where the second can't be had, it lives. */
static bool alive(const struct pf_shm_owner *self, uint64_t owner)
{
    if (owner == self->id)
        return true;
    struct flock lock = byte_lock(F_WRLCK, owner);
    if (fcntl(self->fd, F_OFD_GETLK, &lock) < 0 || lock.l_type != F_UNLCK)
        return true;
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)(owner >> HASH_BITS));
    uint64_t start = started(path);
    return start == 1 || (start && owner_number(owner >> HASH_BITS, start) == owner);
}

/* ---- segments */

/* Tells sweeps not to bother. One that is looking just now is told by the open descriptor; so is one that finds the
 * creator dead, but a child that inherited the mapping alive. */
static void mark_used(int fd)
{
    struct flock lock = byte_lock(F_RDLCK, 0);
    fcntl(fd, F_OFD_SETLK, &lock);
}

int pf__named_file(void)
{
    int fd = open(DIRECTORY, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    return errno == EISDIR || errno == EOPNOTSUPP || errno == EINVAL || errno == EPERM ? -ENOSYS : -errno;
}

int pf__named_link(int fd, const char *name)
{
    PATH(name);
    char own[40];
    snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
    if (linkat(fd, "", AT_FDCWD, path, AT_EMPTY_PATH) == 0) /* with the capability, or from Linux 6.10 on */
        return 0;
    if (errno != EEXIST && linkat(AT_FDCWD, own, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
        return 0;
    return errno == ENOENT || errno == EPERM || errno == EACCES || errno == EXDEV ? -ENOSYS : -errno;
}

int pf__named_room(int fd, uint64_t size)
{
    struct statvfs fs;
    if (size <= PF_NAMED_RESERVED || fstatvfs(fd, &fs) < 0 || fs.f_blocks == 0) /* 0: without a limit */
        return 0;
    return fs.f_bavail < size / fs.f_frsize + (size % fs.f_frsize != 0) ? -ENOSPC : 0;
}

int pf__named_record(int fd, const char *name, uint64_t owner)
{
    struct timespec times[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
    if (owner)
        times[0] = record_of(owner, name);
    return futimens(fd, times) == 0 ? 0 : errno == EPERM ? -ENOSYS : -errno;
}

int pf__named_open(const char *name)
{
    PATH(name);
    int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC); /* waits for a sweep of it to end: its lease */
    if (fd < 0)
        return errno == EISDIR ? -EINVAL : -errno;
    mark_used(fd);
    return fd;
}

int pf__named_owner(const char *name, uint64_t *owner)
{
    PATH(name);
    struct stat st;
    if (lstat(path, &st) < 0)
        return -errno;
    *owner = owner_in(&st, name);
    return 0;
}

/* A sweep that found the segment dead must not remove the name when it is another's by then: opening waits for its end.
 * There is none of a segment without a record, nor of our own. */
int pf__named_fend(const struct pf_shm_owner *self, const char *name)
{
    uint64_t owner = 0;
    if (pf__named_owner(name, &owner) < 0 || owner == 0 || (owner == self->id && self->epoch == pf_epoch()))
        return 0;
    int fd = pf__named_open(name);
    if (fd < 0)
        return fd == -EINTR ? -EINTR : 0;
    close(fd);
    return 0;
}

int pf__named_give(const char *name, uint64_t from, uint64_t to)
{
    PATH(name);
    struct stat st;
    int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    int rc = fstat(fd, &st) < 0 ? -errno : owner_in(&st, name) == from;
    if (rc > 0 && pf__named_record(fd, name, to) < 0)
        rc = -errno;
    close(fd);
    return rc;
}

/* 1: nobody else has the file open or mapped. The lock says so of users of this library, and keeps two sweeps apart; the
 * lease of everybody. -EBUSY: of somebody else then, or of a sweep that found the lock taken and is about to leave. The
 * signal that tells of an opener is one that nobody minds; lock and lease end with the descriptor. */
static int alone(int fd)
{
    struct flock lock = byte_lock(F_WRLCK, 0);
    if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
        return errno == EAGAIN || errno == EACCES ? 0 : -errno;
    if (fcntl(fd, F_SETSIG, SIGURG) < 0 || fcntl(fd, F_SETLEASE, F_WRLCK) < 0)
        return errno == EAGAIN ? -EBUSY : -errno;
    return 1;
}

int pf__named_sweep(const struct pf_shm_owner *self, const char *name, uint64_t dead)
{
    PATH(name);
    struct stat st, now;
    uint64_t owner;
    if (!self->id || self->epoch != pf_epoch() || lstat(path, &st) < 0 || !(owner = owner_in(&st, name)))
        return 0;
    if (owner != dead && alive(self, owner))
        return 0;
    int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT || errno == EAGAIN ? 0 : -errno; /* another sweep was first */
    int rc = alone(fd);
    /* Nobody could open it since. Has the name been another's, or the owner? */
    if (rc == 1 && (fstat(fd, &now) < 0 || now.st_ino != st.st_ino || now.st_nlink != 1 || owner_in(&now, name) != owner ||
                    lstat(path, &now) < 0 || now.st_ino != st.st_ino))
        rc = 0;
    if (rc == 1 && unlink(path) < 0)
        rc = errno == ENOENT ? 0 : -errno;
    close(fd);
    return rc;
}

#endif
