#include "segment.h"

static void one_slot_each(void)
{
    segment_open();
    CHECK_EQ(atomic_load(&peer.slot), PF_NO_SLOT);
    int mine = pf_peer_slot(&peer);
    CHECK(mine >= 0);
    CHECK_EQ(pf_peer_slot(&peer), mine); /* kept */
    CHECK_EQ(pf_peer_alive(&peer, (uint32_t)mine), 1);
    CHECK_EQ(pf_peer_alive(&peer, (uint32_t)mine + 1), 0); /* never taken */
    CHECK(pf_peer_alive(&peer, PF_TENANCIES) < 0);
    CHECK(pf_peer_alive(&peer, PF_NO_SLOT) < 0);
#ifndef __APPLE__
    CHECK_EQ(atomic_load(&seg->slots[mine % PF_SLOTS_MOST].ident) & UINT32_MAX, getpid());
#endif

    pid_t pid[3];
    for (int i = 0; i < 3; i++) {
        pid[i] = segment_fork();
        if (pid[i] == 0) {
            int slot = pf_peer_slot(&peer);
            CHECK(slot >= 0 && slot != mine);
            atomic_store(&seg->flag[i], slot);
            atomic_fetch_add(&seg->flag[8], 1);
            check_until(&seg->flag[9], 1);
            _exit(0);
        }
    }
    check_until(&seg->flag[8], 3);
    int s[3];
    for (int i = 0; i < 3; i++) {
        s[i] = atomic_load(&seg->flag[i]);
        CHECK_EQ(pf_peer_alive(&peer, (uint32_t)s[i]), 1);
    }
    CHECK(s[0] != s[1] && s[1] != s[2] && s[0] != s[2]);
    atomic_store(&seg->flag[9], 1);
    for (int i = 0; i < 3; i++) {
        check_reap(pid[i]);
        CHECK_EQ(pf_peer_alive(&peer, (uint32_t)s[i]), 0);
    }
    segment_close();
}

/* A dead process's slot is used again, but what carries its mark is never taken for the next tenant's. */
static void tenancies_differ(void)
{
    segment_open();
    pid_t pid = segment_fork();
    if (pid == 0) {
        atomic_store(&seg->flag[0], pf_peer_slot(&peer));
        atomic_store(&seg->flag[1], 1);
        pause();
    }
    check_until(&seg->flag[1], 1);
    uint32_t dead = (uint32_t)atomic_load(&seg->flag[0]);
    CHECK_EQ(pf_peer_alive(&peer, dead), 1);
    check_kill(pid);
    CHECK_EQ(pf_peer_alive(&peer, dead), 0);
    int mine = pf_peer_slot(&peer);
    CHECK_EQ((uint32_t)mine % PF_SLOTS_MOST, dead % PF_SLOTS_MOST);
    CHECK((uint32_t)mine != dead);
    CHECK_EQ(pf_peer_alive(&peer, dead), 0);
    CHECK_EQ(pf_peer_alive(&peer, (uint32_t)mine), 1);
    segment_close();
}

static void drop_gives_back(void)
{
    segment_open();
    int slot = pf_peer_slot(&peer);
    CHECK(slot >= 0);
    pf_peer_drop(&peer);
    CHECK_EQ(pf_peer_alive(&peer, (uint32_t)slot), 0);
    pf_peer_drop(&peer);
    CHECK_EQ((uint32_t)pf_peer_slot(&peer) % PF_SLOTS_MOST, (uint32_t)slot % PF_SLOTS_MOST);
    segment_close();
}

/* A child neither owns its parent's slot, nor keeps it, nor can give it back. */
static void child_has_none(void)
{
    segment_open();
    CHECK(!pf_peer_refresh(&peer));
    pid_t parent = check_fork();
    if (parent == 0) { /* plays the parent: takes a slot, forks, dies before its child */
        pf_peer_refresh(&peer);
        int slot = pf_peer_slot(&peer);
        CHECK(slot >= 0);
        pid_t child = fork();
        if (child == 0) {
            pf_peer_drop(&peer); /* before refresh: must not touch the parent's */
            CHECK(pf_peer_refresh(&peer));
            CHECK(!pf_peer_refresh(&peer));
            CHECK_EQ(atomic_load(&peer.slot), PF_NO_SLOT);
            CHECK_EQ(pf_peer_alive(&peer, (uint32_t)slot), 1);
            CHECK((pf_peer_slot(&peer) - slot) % PF_SLOTS_MOST != 0);
            atomic_store(&seg->flag[0], slot + 1);
            atomic_store(&seg->flag[2], (int)getpid());
            check_until(&seg->flag[1], 1);
            _exit(0);
        }
        pause();
    }
    check_until(&seg->flag[2], 1);
    uint32_t slot = (uint32_t)atomic_load(&seg->flag[0]) - 1;
    CHECK_EQ(pf_peer_alive(&peer, slot), 1);
    check_kill(parent);
    CHECK_EQ(pf_peer_alive(&peer, slot), 0); /* though the child lives */
    atomic_store(&seg->flag[1], 1);
    segment_close();
}

static void all_taken(void)
{
    segment_open();
    static struct pf_peer many[SLOTS + 1];
    for (int i = 0; i <= SLOTS; i++) {
        pf_peer_init(&many[i], seg->slots, SLOTS, seg_fd, pf_pid_namespace());
        int slot = pf_peer_slot(&many[i]);
        CHECK_EQ(slot < 0 ? slot : slot % PF_SLOTS_MOST, i < SLOTS ? i : -ENOSPC);
    }
    pf_peer_drop(&many[7]);
    CHECK_EQ(pf_peer_slot(&many[SLOTS]) % PF_SLOTS_MOST, 7);
    for (int i = 0; i <= SLOTS; i++)
        pf_peer_drop(&many[i]);
    segment_close();
}

/* Thousands of processes come and go by SIGKILL: the table never fills. */
static void slots_never_leak(void)
{
    segment_open();
    for (int i = 0; i < 1200; i++) {
        pid_t pid = segment_fork();
        if (pid == 0) {
            CHECK_EQ(pf_peer_slot(&peer) % PF_SLOTS_MOST, 0);
            raise(SIGKILL);
        }
        int status = check_reap_within(pid, 10 * PF_SECOND);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
    segment_close();
}

/* Many at once: no two ever have the same slot. */
static void race_for_slots(void)
{
    segment_open();
    _Atomic int *owner = check_shared(SLOTS * sizeof *owner);
    pid_t pid[16];
    for (int i = 0; i < 16; i++) {
        pid[i] = segment_fork();
        if (pid[i] == 0) {
            check_until(&seg->flag[0], 1);
            for (int k = 0; k < 50; k++) {
                int slot = pf_peer_slot(&peer);
                CHECK(slot >= 0);
                CHECK_EQ(atomic_exchange(&owner[slot % PF_SLOTS_MOST], 1), 0);
                atomic_store(&owner[slot % PF_SLOTS_MOST], 0);
                pf_peer_drop(&peer);
            }
            _exit(0);
        }
    }
    atomic_store(&seg->flag[0], 1);
    for (int i = 0; i < 16; i++)
        check_reap(pid[i]);
    munmap((void *)owner, SLOTS * sizeof *owner);
    segment_close();
}

static void epochs(void)
{
    uint64_t mine = pf_epoch();
    CHECK(mine != 0 && pf_epoch() == mine);
    uint64_t *theirs = check_shared(4096);
    for (int i = 0; i < 100; i++) {
        pid_t pid = check_fork();
        if (pid == 0) {
            theirs[i] = pf_epoch();
            CHECK(theirs[i] == pf_epoch());
            _exit(0);
        }
        check_reap(pid);
        CHECK(theirs[i] != mine);
        for (int k = 0; k < i; k++)
            CHECK(theirs[k] != theirs[i]);
    }
    CHECK(pf_epoch() == mine);
    munmap(theirs, 4096);
}

static void *tell_tid(void *arg)
{
    struct pf_thread *t = pf_thread_self();
    *(uint32_t *)arg = t->tid;
    CHECK(t == pf_thread_self() && t->epoch == pf_epoch());
    return NULL;
}

static void threads(void)
{
    uint32_t a, b;
    pthread_t t;
    tell_tid(&a);
    CHECK(a != 0 && a < PF_OWNER_SLOT);
    CHECK_EQ(pthread_create(&t, NULL, tell_tid, &b), 0);
    pthread_join(t, NULL);
    CHECK(b != 0 && b < PF_OWNER_SLOT && b != a);
    pid_t pid = check_fork();
    if (pid == 0) {
        uint32_t c;
        tell_tid(&c);
#if defined(__linux__) && !defined(PF_OS_POSIX)
        CHECK_EQ(c, getpid());
        CHECK(pf_thread_self()->robust);
#else
        CHECK(!pf_thread_self()->robust);
#endif
        _exit(0);
    }
    check_reap(pid);
}

static pthread_barrier_t start;

static void *take_slot(void *slot)
{
    pthread_barrier_wait(&start);
    CHECK(!pf_peer_refresh(&peer) || peer.epoch == pf_epoch());
    *(int *)slot = pf_peer_slot(&peer);
    return NULL;
}

/* A child's first threads come at once: they find one slot, its own. */
static void threads_of_a_child(void)
{
    segment_open();
    int parents = pf_peer_slot(&peer);
    for (int round = 0; round < 100; round++) {
        pid_t pid = check_fork();
        if (pid == 0) {
            pthread_t t[3];
            int slot[3];
            pthread_barrier_init(&start, NULL, 3);
            for (int i = 0; i < 3; i++)
                CHECK_EQ(pthread_create(&t[i], NULL, take_slot, &slot[i]), 0);
            for (int i = 0; i < 3; i++)
                pthread_join(t[i], NULL);
            CHECK(slot[0] >= 0 && slot[0] != parents);
            CHECK(slot[1] == slot[0] && slot[2] == slot[0]);
            CHECK_EQ(pf_peer_slot(&peer), slot[0]);
            _exit(0);
        }
        check_reap(pid);
    }
    segment_close();
}

static const struct check_case cases[] = {CASE(one_slot_each),    CASE(tenancies_differ), CASE(drop_gives_back),
                                          CASE(child_has_none),   CASE(all_taken),          CASE(slots_never_leak),
                                          CASE(race_for_slots),   CASE(epochs),             CASE(threads),
                                          CASE(threads_of_a_child)};
CHECK_MAIN(cases)
