/* A link: what a pipe is made of. One ring or two in one segment, for one direction or both, and a wire (wire.h)
 * between its two ends.
 *
 * Ring 0 goes from end 0 to end 1, ring 1 back. Data goes through the rings; the wire says what only the kernel
 * knows: that the other end is gone, and, to a sleeper and to select, that there is a message.
 *
 * What rings of a link do otherwise (ring.h):
 * - put waits while more than PF_LINK_WINDOW bytes are unread (one message always goes in where nothing is),
 *   and returns -EPIPE where no reader is left: at once after a reader closed, 50 ms or 256 KiB after it died.
 * - get and wait return -EPIPE where the ring is empty and no writer is left.
 * - the wire is readable whenever there is a message: a moment early, never late. A producer rings before its
 *   commit, if it is silent; a reader silences it when it finds the ring empty and wants to sleep or to select.
 *
 * Fork: rings stay usable in the child. Owner death: ring.h; all that a wire knows the kernel ends itself. */
#ifndef PROCFAST_LINK_H
#define PROCFAST_LINK_H

#include "base.h"
#include "ring.h"
#include "wire.h"

#define PF_LINK_WINDOW (UINT64_C(1) << 20)
#define PF_LINK_KEEP (UINT64_C(4) << 20) /* memory of one that may be renewed */

struct pf_link { /* process-local */
    struct pf_ring *ring[2];
    unsigned rings;
    int fd; /* of the segment */
    uint64_t device, inode; /* of the same */
};

/* A new link of one ring or two, not wired yet. */
PF_API int pf_link_create(struct pf_link *l, unsigned rings);

/* One whose descriptor came from another process; it becomes the link's on success.
 * -PF_EVERSION, -PF_ECORRUPT: not ours. */
PF_API int pf_link_attach(struct pf_link *l, unsigned rings, int fd);

/* This process has that end (0 or 1), by this descriptor of the wire, which stays the caller's. Both ends may be
 * one process's. */
PF_API void pf_link_wire(struct pf_link *l, unsigned end, int fd);

/* Closes that end's descriptor: this process is no reader and writer there any more, and waiting writers look. */
PF_API void pf_link_unwire(struct pf_link *l, unsigned end, int fd);

/* The user gets that end's descriptor in his hands, and may pass others through it: to be told each time, first. What
 * he sends comes between the messages before and after it, as it would in a socket: there the next message rings
 * again, and before he receives, the rings in front of his bytes are gone. Waits for a lock, a second at most. */
PF_API int pf_link_expose(struct pf_link *l, unsigned end);

/* Makes it as new, for another wire, where that is certain to be safe: only for one that no other process ever had
 * in its hands, and whose ends are both unwired. False: close it. */
PF_API bool pf_link_renew(struct pf_link *l);

/* Is the descriptor still the segment's? Not where somebody closed all that he did not know, and opened others. */
PF_API bool pf_link_intact(const struct pf_link *l);

/* Closes the descriptor only if it is intact. */
PF_API void pf_link_close(struct pf_link *l);

#endif
