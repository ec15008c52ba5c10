/* An arena: one segment for many small objects that processes share.
 *
 * The process that created an arena is the only one that allocates from it, and frees in it: what the allocator
 * knows is its private memory, so it needs no safety from crashes, and costs tens of nanoseconds. A child makes an
 * arena of its own; inherited and attached ones are memory to it.
 *
 * Reuse. A freed block is reused at once if no other process can ever have had it in its hands, else when every
 * process that could is dead. How that is known: time is divided in epochs. Each is an open file description of the
 * segment that holds a read lock on a byte of its own (F_OFD_SETLK, fcntl(2)). Forked children inherit a mapping of it,
 * attached ones are handed its descriptor, and the creator goes on to a new epoch at its next allocation after a fork
 * or a call of pf_arena_fd. So the lock on an epoch's byte lives as long as any process does that was forked or handed
 * the arena in it, or a forked descendant of one; a block allocated in epoch a and freed in epoch d is nobody's when
 * the bytes of [a, d] are free. Forks are counted by the library (pthread_atfork(3)): nobody need tell it; those
 * that bypass libc's fork() are not seen. Where there are no such locks (macOS, the portable provider), what others
 * could reach is never reused.
 *
 * Threads: the caller serialises alloc, free, fd, adopt, stats and close of one arena, and the forks of those who
 * would use it in the child with them (the GIL does, or a lock of the caller's). All else may be called by any
 * thread at any time.
 * Fork: an arena stays usable in the child; the child may close it, and may not allocate.
 * Owner death: the kernel keeps the segment while anybody has it; nothing of the allocator is shared. */
#ifndef PROCFAST_ARENA_H
#define PROCFAST_ARENA_H

#include "base.h"
#include "peer.h"

struct pf_arena; /* process-local */

#define PF_ARENA_ID 16            /* bytes */
#define PF_ARENA_MOST (1u << 20)  /* the largest block of an arena for many */

/* A new arena. size 0: the usual one, for many blocks; else for one block of that size, which pf_arena_alloc gives
 * out once. -ENOMEM: not so much is free; -EMFILE, ... */
PF_API int pf_arena_create(struct pf_arena **a, size_t size);

/* One whose descriptor (pf_arena_fd) came from another process; it becomes the arena's on success.
 * -PF_EVERSION, -PF_ECORRUPT: not ours. */
PF_API int pf_arena_attach(struct pf_arena **a, int fd);

/* The same where this process has the arena already (the ids are equal): blocks that it is handed with this descriptor
 * stay its own as long as it lives. The descriptor becomes the arena's on success. */
PF_API int pf_arena_adopt(struct pf_arena *a, int fd);

/* A block of zeros, aligned to 64 bytes. -EPERM: not the arena's creator (any more: a forked child); -ENOSPC: this
 * arena is full; -EINVAL: size 0, or above PF_ARENA_MOST in an arena for many; -ENOMEM. */
PF_API int pf_arena_alloc(struct pf_arena *a, size_t size, void **addr);

/* Gives a block back; the size as it was asked for. Anywhere else than in the creator: nothing. */
PF_API void pf_arena_free(struct pf_arena *a, void *addr, size_t size);

/* Is this the process that may allocate? */
PF_API bool pf_arena_mine(const struct pf_arena *a);

/* The descriptor to hand to another process, now: a later call may give it other powers, though the number is the same
 * for life. Counts as a fork. The arena's own: not to be closed. */
PF_API int pf_arena_fd(struct pf_arena *a);

/* Names the arena among all of the machine. */
PF_API const uint8_t *pf_arena_id(const struct pf_arena *a);

/* Where a block lies, to be told to another process; and the way back, checked: -PF_ECORRUPT impossible. */
PF_API uint64_t pf_arena_offset(const struct pf_arena *a, const void *addr);
PF_API int pf_arena_at(const struct pf_arena *a, uint64_t offset, size_t size, void **addr);

/* Unmaps it and closes its descriptor: its blocks are gone for this process. Not for one whose locks this process
 * may hold: it is not dead, but seems so. */
PF_API void pf_arena_close(struct pf_arena *a);

struct pf_arena_stats { /* of the creator's allocator; all but size and reserved 0 elsewhere */
    uint64_t size, reserved; /* bytes: of address space, with memory behind them */
    uint64_t live, free, limbo; /* blocks: in use; ready for reuse; freed, but perhaps in somebody's hands */
    uint64_t epoch, looks;
};
PF_API void pf_arena_stats(const struct pf_arena *a, struct pf_arena_stats *s);

#endif
