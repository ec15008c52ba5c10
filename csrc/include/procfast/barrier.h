/* A barrier for a fixed number of parties, by threading.Barrier's rules. It must lie in the arena that the calls name.
 *
 * Each arrived thread has a record in the arena's table; a process that dies when it had arrived, and the phase is not
 * over, breaks the barrier: noticed by the last to arrive, and by the others at their looks, twice a second.
 *
 *     int i = pf_barrier_arrive(b, a, deadline, &record);     again after -EINTR
 *     if (i == parties - 1)     the last one: all wait for it
 *         { the action; pf_barrier_pass(b, a, record); or pf_barrier_leave, if it failed: that breaks it }
 *     else if (i >= 0)
 *         pf_barrier_wait(b, a, record, deadline), again after -EINTR; pf_barrier_leave to give up waiting
 *
 * Blocking: arrive (briefly, but for an action under way) and wait. Fork: as cond.h. */
#ifndef PROCFAST_BARRIER_H
#define PROCFAST_BARRIER_H

#include "arena.h"
#include "base.h"
#include "clock.h"
#include "mutex.h"

struct pf_barrier {
    _Atomic uint64_t id;     /* as a condition's */
    struct pf_mutex m;       /* guards arrivals, passing and reset */
    _Atomic uint32_t word;   /* futex: phase, full (an action is under way), broken */
    _Atomic uint64_t count;  /* phase << 32 | arrived in it */
    uint32_t parties;
    _Atomic uint32_t reset;  /* guarded by m: the phase that is being reset, plus 1 */
    _Atomic uint32_t spin;   /* a guess how long spinning pays, ns */
    _Atomic uint32_t cpus[2]; /* on which they arrived in this phase and in the last: a bit each, modulo 32 */
};

/* Before anybody else has it. */
PF_API void pf_barrier_init(struct pf_barrier *b, uint32_t parties);

/* >= 0: arrived, as so-manyth (0 to parties - 1). Not arrived: -PF_EBROKEN; -ETIMEDOUT (which breaks the barrier) and
 * -EINTR while an action is under way; -ENOSPC, -EMFILE, ... as pf_cond_enter. */
PF_API int pf_barrier_arrive(struct pf_barrier *b, struct pf_arena *a, int64_t deadline, uint32_t *record);

/* By the last one, after the action: releases all. 0, or -PF_EBROKEN: it was broken meanwhile. Ends the record. */
PF_API int pf_barrier_pass(struct pf_barrier *b, struct pf_arena *a, uint32_t record);

/* 0 passed; -PF_EBROKEN; -ETIMEDOUT: this call broke it. In these cases the record is ended.
 * -EINTR after a signal handler and after each fruitless look: call again. */
PF_API int pf_barrier_wait(struct pf_barrier *b, struct pf_arena *a, uint32_t record, int64_t deadline);

/* Ends an arrival without waiting on (an exception in a signal handler): it does not count any more. By the last one:
 * breaks it. */
PF_API void pf_barrier_leave(struct pf_barrier *b, struct pf_arena *a, uint32_t record);

/* Breaks it, until reset: all who wait and all who come get -PF_EBROKEN. */
PF_API void pf_barrier_abort(struct pf_barrier *b);

/* As new; those who wait get -PF_EBROKEN. 0 or why the internal lock could not be had. */
PF_API int pf_barrier_reset(struct pf_barrier *b, struct pf_arena *a);

PF_API bool pf_barrier_broken(const struct pf_barrier *b);

/* How many have arrived in this phase; 0 while an action is under way, or when it is broken. */
PF_API uint32_t pf_barrier_waiting(const struct pf_barrier *b);

#endif
