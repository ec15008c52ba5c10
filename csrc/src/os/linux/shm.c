#include "../../os.h"

#ifdef PF__OS_LINUX

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

int pf__shm_create(uint64_t size)
{
    /* Kernels before 6.3 do not know MFD_NOEXEC_SEAL, later ones warn without it. */
    long fd = syscall(SYS_memfd_create, "procfast", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = syscall(SYS_memfd_create, "procfast", MFD_CLOEXEC);
    if (fd < 0)
        return errno == EPERM ? -ENOSYS : -errno;
    if (ftruncate((int)fd, (off_t)size) < 0) {
        int rc = -errno;
        close((int)fd);
        return rc;
    }
    return (int)fd;
}

int pf__shm_reserve(int fd, uint64_t offset, uint64_t size)
{
    while (fallocate(fd, 0, (off_t)offset, (off_t)size) < 0) {
        if (errno != EINTR) /* it undoes what it did: there is no half to report */
            return errno == EOPNOTSUPP ? -ENOSYS : -errno;
    }
    return 0;
}

int pf__shm_punch(int fd, uint64_t offset, uint64_t size)
{
    uint64_t from = (offset + 4095) & ~UINT64_C(4095), to = (offset + size) & ~UINT64_C(4095);
    if (from >= to)
        return 0;
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(to - from)) < 0)
        return errno == EOPNOTSUPP ? -ENOSYS : -errno;
    return 0;
}

int pf__shm_remap(void **addr, size_t old_size, size_t new_size)
{
    void *p = mremap(*addr, old_size, new_size, MREMAP_MAYMOVE);
    if (p == MAP_FAILED)
        return -errno;
    *addr = p;
    return 0;
}

/* The number after `key` in a small file ("" : at its start); UINT64_MAX if there is none. */
static uint64_t read_number(const char *path, const char *key)
{
    char text[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return UINT64_MAX;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return UINT64_MAX;
    text[n] = 0;
    char *at = strstr(text, key), *end;
    if (!at)
        return UINT64_MAX;
    at += strlen(key);
    uint64_t value = strtoull(at, &end, 10);
    return end == at ? UINT64_MAX : value; /* "max" is no number */
}

/* MemAvailable of proc(5), and what the cgroup leaves (memory.max of version 2, memory.limit_in_bytes of 1);
 * a container sees its own cgroup at the root of the mount. */
uint64_t pf__memory_free(void)
{
    static const char *const limits[][2] = {
        {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
        {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"},
    };
    uint64_t kib = read_number("/proc/meminfo", "MemAvailable:");
    uint64_t free = kib == UINT64_MAX ? 0 : kib * 1024;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t limit = read_number(limits[i][0], ""), used = read_number(limits[i][1], "");
        if (limit == UINT64_MAX || used == UINT64_MAX)
            continue;
        uint64_t left = limit > used ? limit - used : 1;
        if (!free || left < free)
            free = left;
    }
    return free;
}

#endif
