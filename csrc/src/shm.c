#include "procfast/shm.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "os.h"
#include "procfast/clock.h"

/* A name that lives for two system calls: the fallback where nothing anonymous exists. */
static int unlinked(uint64_t size)
{
    char name[32];
    for (unsigned try = 0; try < 100; try++) {
        snprintf(name, sizeof name, "/pf%x-%x", (unsigned)getpid(), (unsigned)pf_now() + try);
        int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
        if (fd < 0 && errno == EEXIST)
            continue;
        if (fd < 0)
            return -errno;
        shm_unlink(name);
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || ftruncate(fd, (off_t)size) < 0) {
            int rc = -errno;
            close(fd);
            return rc;
        }
        return fd;
    }
    return -EEXIST;
}

int pf_shm_create(uint64_t size)
{
    int fd = pf__shm_create(size);
    return fd == -ENOSYS ? unlinked(size) : fd;
}

int pf_shm_map(int fd, uint64_t offset, size_t size, void **addr)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
    if (p == MAP_FAILED)
        return -errno;
    *addr = p;
    return 0;
}

int pf_shm_unmap(void *addr, size_t size)
{
    return munmap(addr, size) < 0 ? -errno : 0;
}

int pf_shm_remap(int fd, uint64_t offset, void **addr, size_t old_size, size_t new_size)
{
    int rc = pf__shm_remap(addr, old_size, new_size);
    if (rc != -ENOSYS)
        return rc;
    void *p = NULL;
    rc = pf_shm_map(fd, offset, new_size, &p);
    if (rc == 0) {
        munmap(*addr, old_size);
        *addr = p;
    }
    return rc;
}

int pf_shm_reserve(int fd, uint64_t offset, uint64_t size)
{
    int rc = pf__shm_reserve(fd, offset, size);
    return rc == -ENOSYS ? 0 : rc; /* the store itself will allocate: docs/platforms.md */
}

int pf_shm_punch(int fd, uint64_t offset, uint64_t size)
{
    int rc = pf__shm_punch(fd, offset, size);
    return rc == -ENOSYS ? 0 : rc; /* the memory stays until the segment goes */
}
