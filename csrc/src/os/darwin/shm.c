/* Anonymous memory by shm_open(3) and shm_unlink(3), in src/shm.c: macOS has no memfd, and F_PREALLOCATE
 * and F_PUNCHHOLE refuse shared memory objects. */
#include "../../os.h"

#ifdef PF__OS_DARWIN

#include <mach/mach.h>

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
    vm_statistics64_data_t vm;
    mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
    mach_port_t host = mach_host_self();
    kern_return_t rc = host_statistics64(host, HOST_VM_INFO64, (host_info64_t)&vm, &count);
    mach_port_deallocate(mach_task_self(), host);
    if (rc != KERN_SUCCESS)
        return 0;
    return ((uint64_t)vm.free_count + vm.inactive_count + vm.purgeable_count) * vm_kernel_page_size;
}

#endif
