/* Named segments: the files that shm_open(3) makes, and the removal of those whose creator died.
 *
 * A segment is a plain file of /dev/shm: any program may create, open and unlink one, and none has to know of this
 * header. What is added must show neither in the bytes nor in the size of the file:
 * - An owner is a process, named by its pid, its start time and its pid namespace, hashed into one number. While it
 *   lives it holds a lock (F_OFD_SETLK) on the byte of that number of the directory /dev/shm itself: the one inode that
 *   whoever sees the segment sees as well. The lock is not on the segment, because the descriptor or mapping that would
 *   hold it would keep the memory of a segment that another process has unlinked.
 * - The record of a segment names its owner. It is the file's access time, in a year beyond 4000: the kernel leaves a
 *   time in the future alone (relatime, noatime), and so do stores through mappings, which advance the modification
 *   time. A check sum over the name keeps a copy of the file from being taken for ours.
 * - Does anybody have it open or mapped? A lease (F_SETLEASE, F_WRLCK) is granted only where nobody does: by any program,
 *   of any user, in any namespace, descriptors closed or not.
 *
 * An owner is dead when its lock is free and no process of its pid and start time is there. A segment is removed when its
 * owner is dead and the lease is granted: what cannot be proved is spared. Elsewhere than on Linux there are no records,
 * and nothing is swept (docs/platforms.md).
 *
 * Names are those of shm_open(3): leading slashes do not count, others are -EINVAL. */
#ifndef PROCFAST_NAMED_SHM_H
#define PROCFAST_NAMED_SHM_H

#include "base.h"

#define PF_NAMED_RESERVED (UINT64_C(1) << 20) /* up to this size, memory is there from the beginning */

/* Process-local; zeroed memory is an owner that has yet to be made. One per process. */
struct pf_shm_owner {
    uint64_t id;    /* of this process; 0: none, because records or locks do not work here */
    uint64_t epoch; /* pf_epoch() when the rest was filled in */
    uint64_t place[2]; /* device and inode of what `fd` must be, should somebody else have closed it */
    int fd;         /* holds the lock */
};

/* Makes this process an owner, once, and again after a fork, and with `check` after somebody closed its descriptor. The
 * same owner is not to be used by two threads at once. 0, or why id is 0. */
PF_API int pf_shm_owner_refresh(struct pf_shm_owner *self, bool check);

/* What this child must do with the one it inherited: its parent's death is not to be hidden by it. */
PF_API void pf_shm_owner_forget(struct pf_shm_owner *self);

/* The number of a live process as an owner; 0 where there is none, or it can't be known. */
PF_API uint64_t pf_shm_owner_of_pid(int pid);

/* A descriptor of a new segment. `owner` goes into its record; 0: no record, it is never swept. The name appears at the
 * end, when all else is done (where O_TMPFILE or linkat(2) is missing: at the beginning). With `reserve` and up to
 * PF_NAMED_RESERVED all memory is allocated; above that it fails with -ENOSPC where less than `size` is free, and a later
 * store may still find none (SIGBUS). -EEXIST, -EINVAL, -ENOSPC, -errno. */
PF_API int pf_named_shm_create(const char *name, uint64_t size, uint64_t owner, bool reserve);

/* A descriptor of an existing one, and its size. -EINTR after a signal: call again. */
PF_API int pf_named_shm_open(const char *name, uint64_t *size);

/* Removes a name. `open_here`: the caller has the segment open. -EINTR after a signal: call again. */
PF_API int pf_named_shm_unlink(const struct pf_shm_owner *self, const char *name, bool open_here);

/* The owner in the record of a segment; 0 none. */
PF_API int pf_named_shm_owner(const char *name, uint64_t *owner);

/* Writes another owner into the record, or none (0), if the owner is `from`: 1 done, 0 it was not. */
PF_API int pf_named_shm_give(const char *name, uint64_t from, uint64_t to);

/* Removes a segment if its owner is dead, or is `dead`, and nobody has it open or mapped: 1 done, 0 spared; -EBUSY spared,
 * but perhaps only because another process is looking at it for a moment. */
PF_API int pf_named_shm_sweep(const struct pf_shm_owner *self, const char *name, uint64_t dead);

#endif
