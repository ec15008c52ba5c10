/* Anonymous memory by shm_open(3) and shm_unlink(3), in src/shm.c. Nothing is reserved or given back. */
#include "../../os.h"

#ifdef PF__OS_POSIX

#include <unistd.h>

int pf__shm_create(uint64_t size)
{
    (void)size;
    return -ENOSYS;
}

int pf__shm_reserve(int fd, uint64_t offset, uint64_t size)
{
    (void)fd, (void)offset, (void)size;
    return -ENOSYS;
}

int pf__shm_punch(int fd, uint64_t offset, uint64_t size)
{
    (void)fd, (void)offset, (void)size;
    return -ENOSYS;
}

int pf__shm_remap(void **addr, size_t old_size, size_t new_size)
{
    (void)addr, (void)old_size, (void)new_size;
    return -ENOSYS;
}

uint64_t pf__memory_free(void)
{
#ifdef _SC_AVPHYS_PAGES
    long pages = sysconf(_SC_AVPHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    if (pages > 0 && size > 0)
        return (uint64_t)pages * (uint64_t)size;
#endif
    return 0;
}

#endif
