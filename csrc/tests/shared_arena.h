/* An arena and its objects, for tests of what lives in one. */
#ifndef PROCFAST_TESTS_SHARED_ARENA_H
#define PROCFAST_TESTS_SHARED_ARENA_H

#include "check.h"
#include "procfast/arena.h"

static struct pf_arena *arena;
static _Atomic int *flag; /* 64 of them */

static inline void arena_open(void)
{
    CHECK_EQ(pf_arena_create(&arena, 0), 0);
    flag = check_shared(64 * sizeof *flag);
}

static inline void arena_shut(void)
{
    pf_arena_close(arena);
    munmap((void *)flag, 64 * sizeof *flag);
}

static inline void *arena_new(size_t size)
{
    void *p;
    CHECK_EQ(pf_arena_alloc(arena, size, &p), 0);
    return p;
}

/* Calls again after each look: -EINTR need not mean a signal. */
#define AGAIN(rc, call)                                                                             \
    do                                                                                              \
        rc = call;                                                                                  \
    while (rc == -EINTR)

#endif
