/* Processes that share a segment, and the token by which the others learn that one is gone.
 *
 * A process that needs an identity of its own in a segment (it holds blocks, or the kernel can't tell of
 * its locks) takes a slot. On Linux the proof of life is a write lock on the tenancy's byte of the memfd
 * (F_OFD_SETLK, fcntl(2)) that belongs to an open file description of its own, kept alive by nothing but
 * a mapping that is not inherited by fork (MADV_DONTFORK). So the lock lives exactly as long as the
 * address space: it ends with SIGKILL, exit and exec, not with close(2) of every descriptor, not with
 * SIGSTOP, and no child keeps it. It needs no pid: reuse and pid namespaces do not matter.
 * Elsewhere the slot holds pid and start time, which is weaker (docs/platforms.md).
 *
 * What a process leaves in shared memory to say "mine" is its tenancy: the slot, and how often that slot
 * was taken. So a mark of the dead is never mistaken for one of the slot's next tenant, and may be cleared
 * by anybody, at any time, by a compare-and-swap.
 *
 * Fork: a child has no slot until it takes one. */
#ifndef PROCFAST_PEER_H
#define PROCFAST_PEER_H

#include "base.h"

#define PF_SLOTS_MOST 4096 /* of a segment's table */
#define PF_NO_SLOT UINT32_MAX
#define PF_TENANCIES (UINT32_C(1) << 28) /* slot + PF_SLOTS_MOST * how often it was taken, modulo this */

/* In the segment; zeroed memory is a valid empty table. */
struct pf_slot {
    _Atomic uint64_t ident; /* pid, for diagnosis; where the token is weak the proof itself */
    _Atomic uint32_t taken; /* how often, where ident has no room for it */
    _Atomic uint32_t last;  /* the pid of the tenancy before, for diagnosis */
};

/* Process-local. One per segment and process; its threads may share it. */
struct pf_peer {
    struct pf_slot *slots;
    uint32_t nslots;
    int fd;               /* of the segment; stays the caller's */
    uint64_t file[2];     /* which file that is: a descriptor that the user closed may name another one since */
    _Atomic uint64_t epoch; /* pf_epoch() when the rest was filled in */
    _Atomic uint64_t guard; /* pf_epoch() of the process one of whose threads fills it in, or did */
    _Atomic uint32_t slot; /* the tenancy; PF_NO_SLOT until one is taken */
    void *token;          /* the mapping that holds the lock */
    uint64_t pid_namespace; /* the segment's */
    bool foreign;         /* this process is in another one, or has no robust list: it owns locks by slot */
};

/* Fills in a peer for a mapped segment. Cheap: takes no slot. */
PF_API void pf_peer_init(struct pf_peer *p, struct pf_slot *slots, uint32_t nslots, int fd, uint64_t pid_namespace);

/* Forgets what a fork made wrong; true where something was. To be called before use by every operation. */
PF_API bool pf_peer_refresh(struct pf_peer *p);

/* This process's tenancy of a slot, taken now if there was none (threads may call it at once).
 * >= 0 the tenancy, -ENOSPC all slots are taken, or why the token could not be made. */
PF_API int pf_peer_slot(struct pf_peer *p);

/* Does this tenancy go on? 1 yes, 0 no (the kernel's word), -EINVAL impossible, -errno unknown. */
PF_API int pf_peer_alive(struct pf_peer *p, uint32_t tenancy);

/* The pid of a tenancy that goes on or is over, in its own pid namespace; 0: the table has forgotten it. */
PF_API int pf_peer_pid(struct pf_peer *p, uint32_t tenancy);

/* Gives the slot back, if one was taken. */
PF_API void pf_peer_drop(struct pf_peer *p);

#endif
