#include <fcntl.h>

#include "check.h"

static bool rung(const struct pf_bell *b, int wait_ms)
{
    struct pollfd p = {b->wait_fd, POLLIN, 0};
    int rc = poll(&p, 1, wait_ms);
    CHECK(rc >= 0);
    return rc == 1 && (p.revents & POLLIN);
}

static void rings(void)
{
    struct pf_bell b;
    CHECK_EQ(pf_bell_open(&b), 0);
    CHECK(fcntl(b.wait_fd, F_GETFD) & FD_CLOEXEC);
    CHECK(fcntl(b.ring_fd, F_GETFD) & FD_CLOEXEC);
    CHECK(!rung(&b, 0));
    CHECK_EQ(pf_bell_reset(&b), 0); /* a quiet one */
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 5; i++)
            CHECK_EQ(pf_bell_ring(&b), 0);
        CHECK(rung(&b, 0) && rung(&b, 0));
        CHECK_EQ(pf_bell_reset(&b), 0);
        CHECK(!rung(&b, 0));
    }
    pf_bell_close(&b);
    CHECK(b.wait_fd == -1 && b.ring_fd == -1);
    pf_bell_close(&b); /* again: nothing */
}

/* More rings than any pipe holds: none blocks, one reset quiets them all. */
static void many_rings(void)
{
    struct pf_bell b;
    CHECK_EQ(pf_bell_open(&b), 0);
    for (int i = 0; i < 200000; i++)
        CHECK_EQ(pf_bell_ring(&b), 0);
    CHECK(rung(&b, 0));
    CHECK_EQ(pf_bell_reset(&b), 0);
    CHECK(!rung(&b, 0));
    pf_bell_close(&b);
}

static void across_processes(void)
{
    struct pf_bell b;
    CHECK_EQ(pf_bell_open(&b), 0);
    pid_t pid = check_fork();
    if (pid == 0) {
        check_sleep(20 * MS);
        CHECK_EQ(pf_bell_ring(&b), 0);
        _exit(0);
    }
    CHECK(rung(&b, 10000));
    check_reap(pid);
    CHECK(rung(&b, 0)); /* it outlives the ringer */
    pf_bell_close(&b);
}

static void no_descriptors(void)
{
    struct pf_bell b;
    int next = dup(0);
    CHECK(next >= 0);
    struct rlimit old, none;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = (rlim_t)next + 1;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    CHECK_EQ(pf_bell_open(&b), -EMFILE);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
    close(next);
}

static const struct check_case cases[] = {CASE(rings), CASE(many_rings), CASE(across_processes),
                                          CASE(no_descriptors)};
CHECK_MAIN(cases)
