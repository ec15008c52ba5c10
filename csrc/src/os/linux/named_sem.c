#include "../../os.h"

#ifdef PF__OS_LINUX

#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "procfast/clock.h"

/* glibc 2.30: older headers lack it, and musl does. */
extern int sem_clockwait(sem_t *, clockid_t, const struct timespec *) __attribute__((weak));
extern const char *gnu_get_libc_version(void) __attribute__((weak));

/* The file behind a name, to be looked at; never a link. */
static int file_of(const char *name)
{
    char path[300];
    const char *prefix = gnu_get_libc_version ? "sem." : ""; /* musl has none */
    if ((size_t)snprintf(path, sizeof path, "/dev/shm/%s%s", prefix, name + 1) >= sizeof path)
        return -ENAMETOOLONG;
    int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int64_t pf__sem_owner(const char *name)
{
    struct stat st;
    int fd = file_of(name);
    if (fd < 0)
        return fd;
    int64_t owner = fstat(fd, &st) < 0 ? -errno : (int64_t)st.st_uid;
    close(fd);
    return owner;
}

int pf__sem_mode(const char *name, unsigned mode)
{
    char path[32];
    struct stat st;
    int rc = 0, fd = file_of(name);
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0) {
        rc = -errno;
    } else if ((st.st_mode & 0777) != mode) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd); /* fchmod refuses O_PATH */
        rc = chmod(path, (mode_t)mode) < 0 ? -errno : 0;
    }
    close(fd);
    return rc;
}

int pf__sem_wait(void *sem, int64_t deadline)
{
    struct timespec ts;
    if (sem_clockwait) {
        ts = (struct timespec){(time_t)(deadline / PF_SECOND), (long)(deadline % PF_SECOND)};
        return sem_clockwait(sem, CLOCK_MONOTONIC, &ts) < 0 ? -errno : 0;
    }
    /* By the clock on the wall: where it is put back meanwhile, the wait is so much longer. */
    int64_t left = deadline - pf_now();
    clock_gettime(CLOCK_REALTIME, &ts);
    left = (left < 0 ? 0 : left) + ts.tv_nsec;
    ts.tv_sec += (time_t)(left / PF_SECOND);
    ts.tv_nsec = (long)(left % PF_SECOND);
    return sem_timedwait(sem, &ts) < 0 ? -errno : 0;
}

int pf__sem_value(void *sem)
{
    int value;
    return sem_getvalue(sem, &value) < 0 ? -errno : value;
}

#endif
