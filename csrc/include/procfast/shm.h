/* Anonymous segments: memory behind a descriptor, without a name.
 *
 * memfd_create(2) on Linux (not subject to the size of /dev/shm); elsewhere an unlinked shm_open(3)
 * object or file. Everything is close-on-exec. The kernel frees it with the last descriptor and mapping. */
#ifndef PROCFAST_SHM_H
#define PROCFAST_SHM_H

#include "base.h"

/* A descriptor of a new zeroed segment of `size` bytes (sparse), or -errno. */
PF_API int pf_shm_create(uint64_t size);

/* Maps [offset, offset + size) shared and writable; *addr. */
PF_API int pf_shm_map(int fd, uint64_t offset, size_t size, void **addr);
PF_API int pf_shm_unmap(void *addr, size_t size);

/* Makes a mapping longer or shorter, moving it if it must. */
PF_API int pf_shm_remap(int fd, uint64_t offset, void **addr, size_t old_size, size_t new_size);

/* Makes sure that memory is there, so that no later store can fail with SIGBUS. */
PF_API int pf_shm_reserve(int fd, uint64_t offset, uint64_t size);

/* Gives the memory of whole pages inside the range back; they read as zeros afterwards. */
PF_API int pf_shm_punch(int fd, uint64_t offset, uint64_t size);

#endif
