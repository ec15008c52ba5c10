/* What a pool of worker processes shares beside its two rings: who has which task, and who wants to be woken.
 *
 * The owner puts tasks into one ring, from which idle workers take them, and reads results from another. A task is a
 * message that begins with its ticket (8 bytes, never 0), as the owner numbered it. Each worker has a claim, where it
 * notes the message that it is about to take, under the consumers' lock and before the commit that takes it. So
 * after a worker's death the owner knows exactly what it held:
 *
 *   noted, not committed    the message is still in the ring: the next who locks clears the note, and somebody takes it
 *   committed               the task was in the dead's hands: pf_pool_held tells its ticket
 *   result put              the same, but the result is in the ring: whoever reads all results first knows better
 *   pf_pool_rest            nothing
 *
 * A running task is ended by condemning its claim (by one compare-and-swap, which the worker's own "it has ended" must
 * win or lose against) and killing the worker: so no other task is hit. What has not begun is called off by its job.
 *
 * Waking: the owner's waiter says how many results it waits for. A worker that puts fewer wakes nobody, so that many
 * small results cost one sleep. `call` is the same for somebody who selects on the results' bell.
 *
 * Blocking: pf_pool_take as pf_ring_get, pf_pool_wait.
 * Fork: handles stay usable in the child. Threads: one thread of the owner waits at a time; one thread per claim.
 * Owner death: a worker killed between its result and the waking leaves the owner asleep until it sees the death, or
 * for a second. */
#ifndef PROCFAST_POOL_H
#define PROCFAST_POOL_H

#include "base.h"
#include "ring.h"

#define PF_POOL_MOST 4096                /* workers */
#define PF_POOL_JOBS (UINT32_C(1) << 24) /* tickets are job | index << 24; job 0 is nobody's */
#define PF_POOL_FEW (UINT32_C(1) << 16)  /* of lower numbers something can be noted without more memory */
#define PF_POOL_JOB(ticket) ((uint32_t)(ticket) & (PF_POOL_JOBS - 1))

struct pf_pool; /* process-local handle */

/* A new pool for so many workers. -EINVAL, -ENOMEM, ... */
PF_API int pf_pool_create(struct pf_pool **p, unsigned workers);

/* One whose descriptor came from another process; it becomes the pool's on success. -PF_ECORRUPT, -PF_EVERSION. */
PF_API int pf_pool_attach(struct pf_pool **p, int fd);
PF_API void pf_pool_close(struct pf_pool *p);
PF_API int pf_pool_fd(const struct pf_pool *p);

/* The ring of tasks, before any is put or taken by this process. It must live as long as the pool. */
PF_API void pf_pool_tasks(struct pf_pool *p, struct pf_ring *tasks);

/* ---- the owner ---- */

/* A claim as new, for a process that is about to be started; nobody may be using it. */
PF_API void pf_pool_reset(struct pf_pool *p, unsigned worker);

/* The ticket of the task in a dead worker's hands; 0 none. -ETIMEDOUT, -EINTR: the ring's lock was not to be had. */
PF_API int pf_pool_held(struct pf_pool *p, unsigned worker, int64_t deadline, uint64_t *ticket);

/* True: that task runs in that worker and its result will never come; kill the worker. */
PF_API bool pf_pool_condemn(struct pf_pool *p, unsigned worker, uint64_t ticket);

/* Calls off what has not begun of a job, or allows its number again: when all of its tasks are settled. */
PF_API void pf_pool_call_off(struct pf_pool *p, uint32_t job, bool off);

/* Calls off a job of which nothing has begun; false: something has, and nothing is changed. */
PF_API bool pf_pool_forestall(struct pf_pool *p, uint32_t job);

/* Has any task of a job begun? */
PF_API bool pf_pool_begun(struct pf_pool *p, uint32_t job);

struct pf_pool_worker {
    uint64_t ticket; /* the task that it runs; 0: none */
    int64_t since;   /* when that began (clock.h) */
    int64_t busy;    /* nanoseconds in tasks that have ended */
    uint64_t done;   /* how many those are */
    bool ready;      /* it has begun to take tasks */
};
PF_API void pf_pool_look(struct pf_pool *p, unsigned worker, struct pf_pool_worker *w);

/* 1: no more tasks will come, 2: nor shall those be done that are there. Workers see it when they next look. */
PF_API void pf_pool_stop(struct pf_pool *p, unsigned how);

/* To be read before the reasons to wait are looked at. */
PF_API uint32_t pf_pool_seen(struct pf_pool *p);

/* Waits until n results are in the ring, or pf_pool_kick since `seen`: 0, -ETIMEDOUT, -EINTR (also once a second). */
PF_API int pf_pool_wait(struct pf_pool *p, struct pf_ring *results, uint64_t n, uint32_t seen, int64_t deadline);
PF_API void pf_pool_kick(struct pf_pool *p);

/* The results' bell is rung once, when n results are there; 0: not at all. */
PF_API void pf_pool_call(struct pf_pool *p, struct pf_ring *results, uint64_t n);

/* ---- a worker ---- */

PF_API void pf_pool_ready(struct pf_pool *p, unsigned worker);

/* As pf_ring_get on the tasks, noted in the claim. -PF_ECORRUPT where it has no ticket. */
PF_API int pf_pool_take(struct pf_pool *p, unsigned worker, struct pf_box *box, int64_t deadline);

/* The task of this claim begins: true, or it was called off. */
PF_API bool pf_pool_begin(struct pf_pool *p, unsigned worker);

/* It has ended; false: it was condemned, and nothing may come of it. *ns: how long it took. */
PF_API bool pf_pool_end(struct pf_pool *p, unsigned worker, int64_t *ns);

/* As pf_ring_put on the results, and wakes whom that concerns. */
PF_API int pf_pool_answer(struct pf_pool *p, struct pf_ring *results, const struct pf_iov *iov, unsigned n,
                          const struct pf_loan *refs, unsigned nrefs, int64_t deadline);

/* Nothing is in this worker's hands any more. */
PF_API void pf_pool_rest(struct pf_pool *p, unsigned worker);

/* What pf_pool_stop said, or 0. */
PF_API unsigned pf_pool_stopped(struct pf_pool *p);

#endif
