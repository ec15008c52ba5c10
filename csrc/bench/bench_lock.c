/* What knowing the owner costs, and how fast a death shows. Prints a Markdown table.
 *
 * All ways are timed in turn in each of many rounds, so that ratios are of one run; medians are printed. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "procfast/clock.h"
#include "procfast/error.h"
#include "procfast/mutex.h"
#include "procfast/self.h"
#include "procfast/shm.h"

#define ROUNDS 41
#define LOOPS 400000
#define KILLS 31

struct shared {
    _Alignas(64) _Atomic uint32_t word;
    _Alignas(64) struct pf_mutex robust;
    _Alignas(64) struct pf_mutex slot;
    _Alignas(64) pthread_mutex_t pthread;
    _Alignas(64) _Atomic int ready;
    struct pf_slot slots[512];
};

static struct shared *sh;
static struct pf_peer by_list, by_slot;

static void bare(void)
{
    uint32_t none = 0;
    atomic_compare_exchange_strong_explicit(&sh->word, &none, 1, memory_order_acquire, memory_order_relaxed);
    atomic_exchange_explicit(&sh->word, 0, memory_order_release);
}

static void ours(void)
{
    pf_mutex_trylock(&sh->robust, &by_list);
    pf_mutex_unlock(&sh->robust);
}

static void ours_by_slot(void)
{
    pf_mutex_trylock(&sh->slot, &by_slot);
    pf_mutex_unlock(&sh->slot);
}

static void robust_pthread(void)
{
    pthread_mutex_lock(&sh->pthread);
    pthread_mutex_unlock(&sh->pthread);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return v[n / 2];
}

static double timed(void (*pair)(void))
{
    int64_t start = pf_now();
    for (int i = 0; i < LOOPS; i++)
        pair();
    return (double)(pf_now() - start) / LOOPS;
}

/* From SIGKILL of the holder to the lock in the hands of a waiter that sleeps, microseconds. */
static double takeover(struct pf_mutex *m, struct pf_peer *peer)
{
    atomic_store(&sh->ready, 0);
    pid_t holder = fork();
    if (holder == 0) {
        pf_peer_refresh(peer);
        if (m == &sh->slot)
            peer->foreign = true;
        if (pf_mutex_lock(m, peer, PF_FOREVER) < 0)
            _exit(1);
        atomic_store(&sh->ready, 1);
        pause();
    }
    while (!atomic_load(&sh->ready))
        usleep(100);
    int64_t killed;
    pid_t killer = fork();
    if (killer == 0) {
        usleep(20000); /* until the waiter sleeps */
        sh->word = 0;
        *(volatile int64_t *)(void *)&sh->slots[511].ident = pf_now();
        kill(holder, SIGKILL);
        _exit(0);
    }
    int64_t deadline = pf_deadline(5 * PF_SECOND);
    int rc;
    do
        rc = pf_mutex_lock(m, peer, deadline);
    while (rc == -EINTR);
    int64_t got = pf_now();
    killed = *(volatile int64_t *)(void *)&sh->slots[511].ident;
    if (rc != -PF_EOWNERDEAD) {
        fprintf(stderr, "bench_lock: expected the owner's death, got %d\n", rc);
        exit(1);
    }
    pf_mutex_unlock(m);
    waitpid(holder, NULL, 0);
    waitpid(killer, NULL, 0);
    return (double)(got - killed) / 1000;
}

int main(void)
{
    int fd = pf_shm_create(sizeof *sh);
    void *addr;
    if (fd < 0 || pf_shm_map(fd, 0, sizeof *sh, &addr) < 0)
        return 1;
    sh = addr;
    pf_peer_init(&by_list, sh->slots, 512, fd, pf_pid_namespace());
    pf_peer_init(&by_slot, sh->slots, 512, fd, pf_pid_namespace());
    by_slot.foreign = true;
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&sh->pthread, &attr);

    static const struct { const char *name; void (*pair)(void); } ways[] = {
        {"bare compare-and-swap and exchange", bare},
        {"this library, by the robust list", ours},
        {"this library, by slot and token", ours_by_slot},
        {"robust process-shared pthread mutex", robust_pthread},
    };
    enum { WAYS = sizeof ways / sizeof *ways };
    static double ns[WAYS][ROUNDS], ratio[WAYS][ROUNDS], us[2][KILLS];
    int64_t start = pf_now();
    if (pf_peer_slot(&by_slot) < 0)
        return 1;
    double token = (double)(pf_now() - start) / 1000;
    for (int round = 0; round < ROUNDS; round++) {
        for (int w = 0; w < WAYS; w++)
            ns[w][round] = timed(ways[w].pair);
        for (int w = 0; w < WAYS; w++)
            ratio[w][round] = ns[w][round] / ns[0][round];
    }
    for (int k = 0; k < KILLS; k++)
        us[0][k] = takeover(&sh->robust, &by_list);
    for (int k = 0; k < 5; k++)
        us[1][k] = takeover(&sh->slot, &by_slot);
    start = pf_now();
    for (int i = 0; i < 100000; i++)
        pf_peer_alive(&by_list, (uint32_t)pf_peer_slot(&by_slot));
    double look = (double)(pf_now() - start) / 100000;

    printf("| lock and unlock, uncontended | ns | ratio | from SIGKILL of the holder to the sleeping waiter's lock |\n");
    printf("|---|---|---|---|\n");
    for (int w = 0; w < WAYS; w++) {
        char death[80] = "never by itself";
        if (w == 1)
            snprintf(death, sizeof death, "%.0f us (median of %d)", median(us[0], KILLS), KILLS);
        else if (w == 2)
            snprintf(death, sizeof death, "%.0f ms, its next look (median of 5)", median(us[1], 5) / 1000);
        else if (w == 3)
            snprintf(death, sizeof death, "the same kernel mechanism");
        printf("| %s | %.1f | %.2f | %s |\n", ways[w].name, median(ns[w], ROUNDS), median(ratio[w], ROUNDS), death);
    }
    printf("\nTaking a token, once per process: %.0f us. Asking whether its owner lives: %.0f ns.\n", token, look);
    return 0;
}
