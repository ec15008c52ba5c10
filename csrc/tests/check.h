/* A test program is a list of functions run in order; the first failed check ends it.
 *
 * Children die with the program (where the system can arrange it), so a failure leaves nothing behind.
 * A hang is ended from outside: `make check` sends SIGABRT after TIMEOUT seconds. */
#ifndef PROCFAST_TESTS_CHECK_H
#define PROCFAST_TESTS_CHECK_H

#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "procfast/bell.h"
#include "procfast/clock.h"
#include "procfast/error.h"
#include "procfast/futex.h"
#include "procfast/mutex.h"
#include "procfast/peer.h"
#include "procfast/ring.h"
#include "procfast/self.h"
#include "procfast/shm.h"

#define MS ((int64_t)1000000)

#define CHECK(cond)                                                                                 \
    do {                                                                                            \
        if (!(cond)) {                                                                              \
            fprintf(stderr, "%s:%d: [%d] failed: %s\n", __FILE__, __LINE__, (int)getpid(), #cond);  \
            _exit(1);                                                                               \
        }                                                                                           \
    } while (0)

/* Both sides as integers, printed when they differ. */
#define CHECK_EQ(a, b)                                                                              \
    do {                                                                                            \
        long long check_a = (long long)(a), check_b = (long long)(b);                               \
        if (check_a != check_b) {                                                                   \
            fprintf(stderr, "%s:%d: [%d] failed: %s == %s (%lld, %lld)\n", __FILE__, __LINE__,      \
                    (int)getpid(), #a, #b, check_a, check_b);                                       \
            _exit(1);                                                                               \
        }                                                                                           \
    } while (0)

struct check_case {
    const char *name;
    void (*run)(void);
};

#define CASE(f) {#f, f}

/* Runs all cases, or those named on the command line. */
static inline int check_main(const struct check_case *cases, int n, int argc, char **argv)
{
    int64_t start = pf_now();
    int ran = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 0; i < n; i++) {
        bool wanted = argc < 2;
        for (int a = 1; a < argc; a++)
            wanted |= strcmp(argv[a], cases[i].name) == 0;
        if (!wanted)
            continue;
        int64_t t = pf_now();
        cases[i].run();
        ran++;
        if (getenv("VERBOSE") || argc > 1)
            printf("  %-40s %7.3f s\n", cases[i].name, (double)(pf_now() - t) / 1e9);
    }
    const char *base = strrchr(argv[0], '/');
    printf("%-20s %2d passed %7.3f s\n", base ? base + 1 : argv[0], ran, (double)(pf_now() - start) / 1e9);
    return ran ? 0 : 1;
}

#define CHECK_MAIN(cases)                                                                           \
    int main(int argc, char **argv)                                                                 \
    {                                                                                               \
        return check_main(cases, (int)(sizeof cases / sizeof *cases), argc, argv);                  \
    }

/* fork; the child dies with the forking thread. */
static inline pid_t check_fork(void)
{
    fflush(NULL);
    pid_t parent = getpid();
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
#ifdef __linux__
        prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
        if (getppid() != parent)
            _exit(1);
    }
    return pid;
}

static inline void check_sleep(int64_t ns)
{
    int64_t end = pf_now() + ns;
    for (int64_t left = ns; left > 0; left = end - pf_now()) {
        struct timespec ts = {(time_t)(left / PF_SECOND), (long)(left % PF_SECOND)};
        nanosleep(&ts, NULL);
    }
}

/* The child's wait status; kills it and fails when it takes longer. */
static inline int check_reap_within(pid_t pid, int64_t ns)
{
    int64_t end = pf_now() + ns;
    int status;
    for (;;) {
        pid_t rc = waitpid(pid, &status, WNOHANG);
        CHECK(rc >= 0 || errno == EINTR);
        if (rc == pid)
            return status;
        if (pf_now() > end) {
            kill(pid, SIGKILL);
            CHECK(!"child still running");
        }
        check_sleep(MS / 5);
    }
}

/* The child ends by itself with status 0. */
static inline void check_reap(pid_t pid)
{
    CHECK_EQ(check_reap_within(pid, 60 * PF_SECOND), 0);
}

static inline void check_kill(pid_t pid)
{
    int status;
    kill(pid, SIGKILL);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Zeroed memory shared with children forked later. */
static inline void *check_shared(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

/* Waits until *flag >= value. */
static inline void check_until(_Atomic int *flag, int value)
{
    int64_t end = pf_now() + 30 * PF_SECOND;
    while (atomic_load(flag) < value) {
        CHECK(pf_now() < end);
        check_sleep(MS / 10);
    }
}

/* CPU time of this process so far, ns. */
static inline int64_t check_cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return ((int64_t)u.ru_utime.tv_sec + u.ru_stime.tv_sec) * PF_SECOND +
           ((int64_t)u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000;
}

/* A process blocked in the kernel (state S of proc(5)); elsewhere after a nap. */
static inline void check_asleep(pid_t pid)
{
#ifdef __linux__
    char path[40], text[256];
    int64_t end = pf_now() + 10 * PF_SECOND;
    for (;;) {
        snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        FILE *f = fopen(path, "r");
        CHECK(f);
        size_t n = fread(text, 1, sizeof text - 1, f);
        fclose(f);
        text[n] = 0;
        char *state = strrchr(text, ')');
        CHECK(state);
        if (state[2] == 'S')
            return;
        CHECK(pf_now() < end);
        check_sleep(MS / 5);
    }
#else
    (void)pid;
    check_sleep(100 * MS);
#endif
}

/* xorshift64*: a seed makes a run repeatable. */
static inline uint64_t check_random(uint64_t *state)
{
    uint64_t x = *state ? *state : 88172645463325252u;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(2685821657736338717);
}

#endif
