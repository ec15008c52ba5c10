/* A segment with a lock, a table of slots and some room, and this process's peer of it. */
#ifndef PROCFAST_TESTS_SEGMENT_H
#define PROCFAST_TESTS_SEGMENT_H

#include "check.h"

#define SLOTS 512

struct segment {
    struct pf_slot slots[SLOTS];
    struct pf_mutex m;
    _Atomic int flag[16];
    long a, b; /* guarded by m: equal whenever it is free and its last owner lived */
};

static struct segment *seg;
static struct pf_peer peer;
static int seg_fd;

static inline void segment_open(void)
{
    void *p;
    seg_fd = pf_shm_create(sizeof *seg);
    CHECK(seg_fd >= 0);
    CHECK_EQ(pf_shm_map(seg_fd, 0, sizeof *seg, &p), 0);
    seg = p;
    pf_peer_init(&peer, seg->slots, SLOTS, seg_fd, pf_pid_namespace());
}

static inline void segment_close(void)
{
    pf_peer_drop(&peer);
    pf_shm_unmap(seg, sizeof *seg);
    close(seg_fd);
}

/* In a child: what a real one does before each operation; keeps the owner kind of the case. */
static inline void segment_forked(void)
{
    bool foreign = peer.foreign;
    CHECK(pf_peer_refresh(&peer));
    peer.foreign |= foreign;
}

static inline pid_t segment_fork(void)
{
    pid_t pid = check_fork();
    if (pid == 0)
        segment_forked();
    return pid;
}

/* Calls again after each look: -EINTR need not mean a signal. */
static inline int segment_lock(int64_t deadline)
{
    int rc;
    do
        rc = pf_mutex_lock(&seg->m, &peer, deadline);
    while (rc == -EINTR);
    return rc;
}

/* Runs a case with locks owned by thread id, where the platform can, and by slot. */
#define BOTH_OWNERS(f)                                                                              \
    static void f##_by_thread(void)                                                                 \
    {                                                                                               \
        segment_open();                                                                             \
        f();                                                                                        \
        segment_close();                                                                            \
    }                                                                                               \
    static void f##_by_slot(void)                                                                   \
    {                                                                                               \
        segment_open();                                                                             \
        peer.foreign = true;                                                                        \
        f();                                                                                        \
        segment_close();                                                                            \
    }

#define CASES(f) CASE(f##_by_thread), CASE(f##_by_slot)

#endif
