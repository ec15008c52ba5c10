/* A growing ring of messages in one anonymous segment: many producers, many consumers, first in first out.
 *
 * File: [ header: locks, commit records, tables | ring zone, sparse, grows | block zone, sparse ]
 *
 * Each side (producers, consumers) has a robust lock and a commit word. A commit writes the side's new
 * position and count into the idle one of two records and then advances the generation in the word, by
 * one compare-and-swap, or, where the word's low byte says that somebody sleeps on it, by one
 * FUTEX_WAKE_OP, which publishes and wakes in one kernel call. A kill leaves the state before or after.
 *
 * A message is a payload in the ring zone, plus references to at most PF_MAX_REFS blocks. Blocks carry
 * big buffers: they are filled before any lock is taken, recycled, and may be lent to the consumer. A
 * block's state names who answers for it, so that the death of any holder gives it back.
 *
 * Growth: the writer goes back to the front at the soft end if the front is free, else it writes on and
 * the ring grows, each growth reserved first (fallocate(2)). A little touched memory is kept, the rest
 * punched out when it was read.
 *
 * Blocking: put waits for room only with a maxsize, get for a message; both for a lock held by a live
 * process that is stopped inside (never robbed), and never past the deadline.
 * -EINTR: a signal handler ran, or a second went by: so that a signal which came just before the sleep is
 * seen after. Call again with the same deadline.
 * Fork: handles stay usable in the child. Threads: a handle may be used by many threads.
 * Owner death: a producer killed before its commit leaves nothing; a consumer has either taken its
 * message or not. Recovery reads committed state and repairs nothing but the blocks of the dead. */
#ifndef PROCFAST_RING_H
#define PROCFAST_RING_H

#include "base.h"
#include "bell.h"
#include "clock.h"
#include "peer.h"

#define PF_MAX_REFS 64
#define PF_INLINE_MAX 32768  /* bigger payloads should travel in a block */

struct pf_ring; /* process-local handle */

struct pf_iov {
    const void *base;
    size_t len;
};

struct pf_ref { /* one block of a message, as stored in the ring */
    uint32_t block;
    uint32_t reserved;
    uint64_t len;
};

struct pf_loan { /* a block in the caller's hands */
    uint32_t block;
    void *base;
    uint64_t len;
};

struct pf_box { /* where a message is received: zeroed before its first use, pf_box_clear after each */
    char *data;            /* the payload: `small`, or from malloc(3) */
    uint64_t len;
    struct pf_loan *loans; /* the message's blocks, now the receiver's; from malloc(3) */
    uint32_t nloans;
    uint64_t writer, reader; /* turns, where it is the first part of several; else 0 */
    char small[208];
};

/* A new ring, or -errno. maxsize: items (0 unbounded). max_bytes: ceiling of the segment's memory
 * (0: half of what is free, asked for at the first growth beyond 64 MiB). */
PF_API int pf_ring_create(struct pf_ring **r, uint64_t maxsize, uint64_t max_bytes);

/* A handle on a ring whose descriptors came from another process; the descriptors become the handle's.
 * -PF_EVERSION, -PF_ECORRUPT: not ours. */
PF_API int pf_ring_attach(struct pf_ring **r, int fd, struct pf_bell bell);

/* Unmaps and closes. The last process's close frees the memory. */
PF_API void pf_ring_close(struct pf_ring *r);

PF_API int pf_ring_fd(const struct pf_ring *r);
PF_API struct pf_bell pf_ring_bell(const struct pf_ring *r);

/* Puts one message, made of iov[0..n) and the filled blocks refs[0..nrefs), which become the ring's; on
 * failure nothing changed and they are still the caller's. deadline PF_TRY: never sleeps.
 * -EAGAIN (PF_TRY only) the lock is busy or the ring full; -ETIMEDOUT full, or the lock's holder is
 * stopped; -EINTR; -PF_ETOOBIG, -ENOMEM, -ENOSPC, -EFBIG no room; -EMSGSIZE never; -EINVAL a block that was filled before a fork. */
PF_API int pf_ring_put(struct pf_ring *r, const struct pf_iov *iov, unsigned n, const struct pf_loan *refs,
                       unsigned nrefs, int64_t deadline);

/* Many messages without blocks under one lock and with one commit: message k is data[off[k]..off[k + 1]).
 * How many were put, as many as maxsize allows now: at least one, or an error as above. -ENOTSUP: a link's. */
PF_API int pf_ring_put_many(struct pf_ring *r, const char *data, const uint64_t *off, unsigned n,
                            int64_t deadline);

/* Takes the next message. -EAGAIN (PF_TRY only) nothing there or the lock is busy; -ETIMEDOUT, -EINTR;
 * -ENOMEM and why a block can't be mapped: the message stays; -PF_ECORRUPT.
 * 1 instead of 0: the bell may still be rung for what is gone, call pf_ring_settle. */
PF_API int pf_ring_get(struct pf_ring *r, struct pf_box *box, int64_t deadline);

/* At most max messages, waiting for the first only, with one commit; how many. *settle as above. */
PF_API int pf_ring_get_many(struct pf_ring *r, struct pf_box *boxes, unsigned max, int64_t deadline,
                            bool *settle);

/* Frees what a box holds; its loans must have been returned or moved away. */
PF_API void pf_box_clear(struct pf_box *box);

/* ---- messages of several parts: only rings of a link (link.h) ----
 *
 * A long message streams through bounded memory. Whoever sends one has the ring's turn to write until it is
 * whole, whoever receives it the turn to read: others wait meanwhile. A turn names a process, so the death of its
 * holder ends it: other readers throw the rest of the message away, its reader is told. A child is not that
 * process: there put_part and get_part give -PF_ETORN, end and leave do nothing.
 *
 * begin, put_first, put_part ..., end. The receiver gets the first part by pf_ring_get (box->writer is not 0),
 * then calls get_part until it has all, which the message itself must tell, and leave. */

/* A turn to write; taken by put_first. -ENOSPC and other reasons why this process can't have a tenancy. */
PF_API int pf_ring_begin(struct pf_ring *r, uint64_t *turn);
PF_API int pf_ring_put_first(struct pf_ring *r, uint64_t turn, const struct pf_iov *iov, unsigned n,
                             const struct pf_loan *refs, unsigned nrefs, int64_t deadline);
PF_API int pf_ring_put_part(struct pf_ring *r, uint64_t turn, const struct pf_iov *iov, unsigned n,
                            const struct pf_loan *refs, unsigned nrefs, int64_t deadline);

/* After the last part (whole), or to give up: then the receiver gets -PF_ETORN. */
PF_API void pf_ring_end(struct pf_ring *r, uint64_t turn, bool whole);

/* The next part of the message that began with `first`. As pf_ring_get, and -PF_ETORN: its writer died or gave up,
 * -EPIPE: no writer is left. */
PF_API int pf_ring_get_part(struct pf_ring *r, const struct pf_box *first, struct pf_box *box, int64_t deadline);

/* After the last part, or to give up: the rest is thrown away by the next get. `turn`: first->reader. */
PF_API void pf_ring_leave(struct pf_ring *r, uint64_t turn);

/* Waits until there is a message: 0, -ETIMEDOUT, -EINTR. Somebody else may take it first.
 * Rings of a link: -EPIPE there is none and no writer is left. */
PF_API int pf_ring_wait(struct pf_ring *r, int64_t deadline);

/* A block of at least len bytes to fill, reserved; -ENOMEM, -ENOSPC, ... where there is none: send inline. */
PF_API int pf_ring_block(struct pf_ring *r, uint64_t len, struct pf_loan *loan);

/* Gives a block back (lent, or filled but never put); nothing where that was before a fork. */
PF_API void pf_ring_return(struct pf_ring *r, const struct pf_loan *loan);

/* Before a fork: the loan's bytes become private memory at the same address (so the child gets a copy, as
 * of everything), and the block goes back. Afterwards pf_ring_return must not be called; munmap(2) base. */
PF_API int pf_ring_privatize(struct pf_ring *r, const struct pf_loan *loan);

/* Exact at the instant of the call. */
PF_API uint64_t pf_ring_size(struct pf_ring *r);
PF_API uint64_t pf_ring_maxsize(const struct pf_ring *r);

/* From now on the bell is readable whenever a message can be got: a moment early, never late. */
PF_API int pf_ring_arm(struct pf_ring *r);

/* Quiets the bell if nothing is there. Waits for the producers' lock, a second at most. */
PF_API int pf_ring_settle(struct pf_ring *r);

/* Counts one item as done (JoinableQueue): 0, -EINVAL more than were put. */
PF_API int pf_ring_done(struct pf_ring *r);

/* Waits until every item put so far and since is done: 0, -ETIMEDOUT, -EINTR. */
PF_API int pf_ring_join(struct pf_ring *r, int64_t deadline);

struct pf_ring_stats {
    uint64_t put, got, done; /* items since creation */
    uint64_t ring_bytes;     /* memory reserved for the ring zone */
    uint64_t block_bytes;    /* memory kept in blocks */
    uint64_t lent_bytes;     /* in blocks that somebody fills, holds or that travel */
    uint32_t producer, consumer; /* owner fields of the two locks, 0 free */
};
PF_API void pf_ring_stats(struct pf_ring *r, struct pf_ring_stats *s);

#endif
