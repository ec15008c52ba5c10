/* What users hold, beside what they would hold otherwise. Prints Markdown tables.
 *
 * Uncontended: all ways are timed in turn in each of many rounds, so that ratios are of one run. Contended: so many
 * processes do nothing but lock, add, unlock. Between two: there and back. Medians are printed. */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lock_fast.h"
#include "procfast/barrier.h"
#include "procfast/clock.h"
#include "procfast/cond.h"
#include "procfast/event.h"

#define ROUNDS 31
#define LOOPS 200000
#define CONTENDED 7
#define TURNS 20000

struct shared {
    _Alignas(64) _Atomic uint32_t word;
    _Alignas(64) sem_t posix;
    _Alignas(64) pthread_mutex_t mutex;
    _Alignas(64) sem_t turn[2];
    _Alignas(64) _Atomic int go;
    _Alignas(64) _Atomic long count[8];
    volatile long guarded;
};

static struct shared *sh;
static struct pf_arena *arena;
static struct pf_lock *lock, *rlock;
static struct pf_sem *sem;
static struct pf_event *event[2];
static struct pf_barrier *barrier;

static void bare(void)
{
    uint32_t none = 0;
    atomic_compare_exchange_strong_explicit(&sh->word, &none, 1, memory_order_acquire, memory_order_relaxed);
    atomic_exchange_explicit(&sh->word, 0, memory_order_release);
}

static void posix(void)
{
    while (sem_wait(&sh->posix) < 0)
        ;
    sem_post(&sh->posix);
}

static void posix_try(void)
{
    if (sem_trywait(&sh->posix) == 0)
        sem_post(&sh->posix);
}

static void mutex(void)
{
    pthread_mutex_lock(&sh->mutex);
    pthread_mutex_unlock(&sh->mutex);
}

static void ours(void)
{
    if (!pf_lock_take(lock, arena))
        while (pf_lock_acquire(lock, arena, PF_FOREVER, 0, NULL) < 0)
            ;
    pf_lock_drop(lock);
}

static void called(void)
{
    while (pf_lock_acquire(lock, arena, PF_FOREVER, 0, NULL) < 0)
        ;
    pf_lock_release(lock);
}

static void recursive(void)
{
    if (!pf_rlock_take(rlock, arena))
        while (pf_rlock_acquire(rlock, arena, PF_FOREVER, 0, NULL) < 0)
            ;
    pf_rlock_drop(rlock, arena);
}

static void semaphore(void)
{
    if (!pf_sem_take(sem))
        while (pf_sem_acquire(sem, PF_FOREVER) < 0)
            ;
    pf_sem_give(sem, PF_SEM_MAX);
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

static const struct {
    const char *name;
    void (*pair)(void);
} ways[] = {
    {"bare compare-and-swap and exchange", bare},
    {"`sem_trywait`, `sem_post`", posix_try},
    {"`sem_wait`, `sem_post`", posix},
    {"robust process-shared pthread mutex", mutex},
    {"lock", ours},
    {"lock, not inline", called},
    {"recursive lock", recursive},
    {"semaphore", semaphore},
};
enum { WAYS = sizeof ways / sizeof *ways };

/* Pairs in a tenth of a second by so many processes, in millions a second. */
static double contended(void (*pair)(void), int n)
{
    atomic_store(&sh->go, 0);
    pid_t pid[8];
    for (int i = 0; i < n; i++) {
        pid[i] = fork();
        if (pid[i] == 0) {
            while (!atomic_load(&sh->go))
                sched_yield();
            long count = 0;
            while (atomic_load_explicit(&sh->go, memory_order_relaxed) == 1) {
                pair();
                count++;
            }
            atomic_store(&sh->count[i], count);
            _exit(0);
        }
    }
    usleep(10000);
    int64_t start = pf_now();
    atomic_store(&sh->go, 1);
    usleep(100000);
    atomic_store(&sh->go, 2);
    double ns = (double)(pf_now() - start);
    long all = 0;
    for (int i = 0; i < n; i++) {
        waitpid(pid[i], NULL, 0);
        all += atomic_load(&sh->count[i]);
    }
    return (double)all / ns * 1e3;
}

static void turn_posix(int me)
{
    if (me == 0)
        sem_post(&sh->turn[1]);
    while (sem_wait(&sh->turn[me]) < 0)
        ;
    if (me == 1)
        sem_post(&sh->turn[0]);
}

static void set_and_wait(struct pf_event *set, struct pf_event *wait)
{
    if (set)
        pf_event_set(set);
    uint32_t seen = pf_event_seen(wait);
    while (pf_event_wait(wait, seen, PF_FOREVER) < 0)
        ;
    pf_event_clear(wait);
}

static void turn_event(int me)
{
    if (me == 0) {
        set_and_wait(event[1], event[0]);
    } else {
        set_and_wait(NULL, event[1]);
        pf_event_set(event[0]);
    }
}

static void turn_barrier(int me)
{
    (void)me;
    uint32_t record;
    int i;
    while ((i = pf_barrier_arrive(barrier, arena, PF_FOREVER, &record)) < 0)
        ;
    if (i == 1)
        pf_barrier_pass(barrier, arena, record);
    else
        while (pf_barrier_wait(barrier, arena, record, PF_FOREVER) < 0)
            ;
}

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
}

/* Microseconds there and back, on two CPUs or one. */
static double between_two(void (*turn)(int), int other_cpu)
{
    pid_t pid = fork();
    if (pid == 0) {
        pin(other_cpu);
        for (int i = 0; i < TURNS; i++)
            turn(1);
        _exit(0);
    }
    pin(0);
    int64_t start = pf_now();
    for (int i = 0; i < TURNS; i++)
        turn(0);
    double us = (double)(pf_now() - start) / TURNS / 1e3;
    waitpid(pid, NULL, 0);
    return us;
}

static void *block(size_t size)
{
    void *p;
    if (pf_arena_alloc(arena, size, &p) < 0)
        exit(1);
    return p;
}

int main(void)
{
    sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (sh == MAP_FAILED || pf_arena_create(&arena, 0) < 0)
        return 1;
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&sh->mutex, &attr);
    sem_init(&sh->posix, 1, 1);
    sem_init(&sh->turn[0], 1, 0);
    sem_init(&sh->turn[1], 1, 0);
    lock = block(sizeof *lock);
    rlock = block(sizeof *rlock);
    sem = block(sizeof *sem);
    pf_sem_init(sem, 1);
    barrier = block(sizeof *barrier);
    pf_barrier_init(barrier, 2);
    for (int i = 0; i < 2; i++)
        event[i] = block(sizeof *event[i]);

    static double ns[WAYS][ROUNDS], ratio[WAYS][ROUNDS], many[WAYS][2][CONTENDED];
    for (int round = 0; round < ROUNDS; round++) {
        for (int w = 0; w < WAYS; w++)
            ns[w][round] = timed(ways[w].pair);
        for (int w = 0; w < WAYS; w++)
            ratio[w][round] = ns[w][round] / ns[1][round];
    }
    for (int round = 0; round < CONTENDED; round++)
        for (int w = 1; w < WAYS; w++)
            for (int k = 0; k < 2; k++)
                many[w][k][round] = contended(ways[w].pair, k ? 4 : 2);
    printf("| lock and unlock | ns | beside sem_t | by 2 processes, M/s | by 4, M/s |\n|---|---|---|---|---|\n");
    for (int w = 0; w < WAYS; w++)
        printf("| %s | %.1f | %.2f | %.2f | %.2f |\n", ways[w].name, median(ns[w], ROUNDS), median(ratio[w], ROUNDS),
               median(many[w][0], CONTENDED), median(many[w][1], CONTENDED));

    static const struct {
        const char *name;
        void (*turn)(int);
    } turns[] = {{"two `sem_t`", turn_posix}, {"two events", turn_event}, {"a barrier, one round", turn_barrier}};
    printf("\n| there and back between two processes | on two CPUs, us | on one, us |\n|---|---|---|\n");
    for (int t = 0; t < 3; t++) {
        double us[2][5];
        for (int round = 0; round < 5; round++)
            for (int cpu = 0; cpu < 2; cpu++)
                us[cpu][round] = between_two(turns[t].turn, cpu);
        printf("| %s | %.2f | %.2f |\n", turns[t].name, median(us[1], 5), median(us[0], 5));
    }
    int64_t start = pf_now();
    enum { BLOCKS = 100000 };
    static void *p[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        p[i] = block(64);
    double fresh = (double)(pf_now() - start) / BLOCKS;
    start = pf_now();
    for (int i = 0; i < BLOCKS; i++)
        pf_arena_free(arena, p[i], 64);
    double freed = (double)(pf_now() - start) / BLOCKS;
    start = pf_now();
    for (int i = 0; i < BLOCKS; i++)
        p[i] = block(64);
    double again = (double)(pf_now() - start) / BLOCKS;
    printf("\nA block of 64 bytes: %.0f ns, %.0f ns when reused, %.0f ns to give back.\n", fresh, again, freed);
    return 0;
}
