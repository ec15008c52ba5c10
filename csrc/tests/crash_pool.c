/* The kill matrix of pools. A worker is killed, or stopped and continued, at every point that it passes on the way of a
 * few tasks, alone or beside another; then whoever clears up after it is killed at *his* points.
 *
 * Asserted in each cell: every task is run at most once; its result is received exactly once, or it is what the dead
 * one's claim names, and then it is not received; a death loses at most one; all this within LIMIT, and the survivors'
 * results do not wait for a look of a second. Over all cells: every point "pool.*" was reached by a victim.
 *
 *   crash_pool [-v] [text]     text: only cells whose name has it, e.g. "pair/pool.noted#1/kill" */
#include <poll.h>

#include "crash.h"
#include "procfast/pool.h"

#define LIMIT (5 * PF_SECOND)
#define TASKS 24
#define WORKERS 3 /* the victim, a survivor, and one that comes last */
#define TICKET(i) ((uint64_t)(i) << 24 | 1)

enum action { NOTHING, KILL, STOP };
static const char *const action_name[] = {"nothing", "kill", "stop"};

struct gate {
    int point, nth;
    enum action action;
    _Atomic int visits;
};

static struct control {
    struct gate gate[WORKERS];
    _Atomic uint32_t passed[WORKERS][POINTS]; /* how often, by each */
    _Atomic uint32_t ran[TASKS];
} *ctl;

static int me = -1; /* which worker */
static struct pf_pool *pool;
static struct pf_ring *tasks, *results;

void pf__point(const char *name);
void pf__point(const char *name)
{
    int x = me < 0 ? -1 : point_index(name);
    if (x < 0)
        return;
    struct gate *g = &ctl->gate[me];
    atomic_fetch_add(&ctl->passed[me][x], 1);
    if (g->action == NOTHING || g->point != x || atomic_fetch_add(&g->visits, 1) + 1 != g->nth)
        return;
    raise(g->action == KILL ? SIGKILL : SIGSTOP);
}

static int put(struct pf_ring *r, const void *data, size_t n)
{
    struct pf_iov iov = {data, n};
    return pf_ring_put(r, &iov, 1, NULL, 0, PF_FOREVER);
}

static pid_t start_worker(int number)
{
    pid_t pid = check_fork();
    if (pid)
        return pid;
    me = number;
    pf_pool_ready(pool, (unsigned)number);
    for (;;) {
        struct pf_box box = {0};
        int rc = pf_pool_take(pool, (unsigned)number, &box, PF_FOREVER);
        if (rc == -EINTR) {
            if (pf_pool_stopped(pool))
                _exit(0);
            continue;
        }
        CHECK(rc >= 0);
        if (pf_pool_stopped(pool))
            _exit(0);
        CHECK_EQ(box.len, 8);
        uint64_t ticket;
        memcpy(&ticket, box.data, 8);
        CHECK(ticket >> 24 < TASKS);
        pf_box_clear(&box);
        int64_t ns;
        CHECK(pf_pool_begin(pool, (unsigned)number));
        atomic_fetch_add(&ctl->ran[ticket >> 24], 1);
        CHECK(pf_pool_end(pool, (unsigned)number, &ns));
        struct pf_iov iov = {&ticket, 8};
        while ((rc = pf_pool_answer(pool, results, &iov, 1, NULL, 0, PF_FOREVER)) == -EINTR)
            ;
        CHECK_EQ(rc, 0);
        pf_pool_rest(pool, (unsigned)number);
    }
}

struct cell {
    const char *name;
    int survivors; /* beside the victim from the start; the last comes when it must */
    struct gate victim, survivor;
};

/* Runs in a process of its own: the owner. */
static _Noreturn void run_cell(const struct cell *c)
{
    CHECK_EQ(pf_ring_create(&tasks, 0, 0), 0);
    CHECK_EQ(pf_ring_create(&results, 0, 0), 0);
    CHECK_EQ(pf_pool_create(&pool, WORKERS), 0);
    pf_pool_tasks(pool, tasks);
    memset(ctl, 0, sizeof *ctl);
    ctl->gate[0] = c->victim;
    ctl->gate[1] = c->survivor;
    pid_t pid[WORKERS] = {0};
    bool ended[WORKERS] = {false}, buried[WORKERS] = {false};
    int received[TASKS] = {0}, lost[TASKS] = {0}, settled = 0, deaths = 0;
    pid[0] = start_worker(0);
    int64_t began = pf_now();
    for (int i = 0; i < TASKS; i++) {
        uint64_t ticket = TICKET(i);
        CHECK_EQ(put(tasks, &ticket, 8), 0);
        if (i == TASKS / 2 && c->survivors)
            pid[1] = start_worker(1);
    }
    while (settled < TASKS) {
        CHECK(pf_now() - began < LIMIT);
        uint32_t seen = pf_pool_seen(pool);
        pid_t stopped = 0;
        for (int k = 0; k < WORKERS; k++) { /* before the results are read: then all of the dead's are */
            int status;
            if (!pid[k] || ended[k] || waitpid(pid[k], &status, WNOHANG | WUNTRACED) != pid[k])
                continue;
            if (WIFSTOPPED(status)) {
                stopped = pid[k];
                continue;
            }
            CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
            ended[k] = true;
            deaths++;
        }
        struct pf_box box = {0};
        while (pf_ring_get(results, &box, PF_TRY) >= 0) {
            uint64_t ticket;
            memcpy(&ticket, box.data, 8);
            received[ticket >> 24]++;
            settled++;
            pf_box_clear(&box);
        }
        for (int k = 0; k < WORKERS; k++) {
            uint64_t ticket;
            if (!ended[k] || buried[k])
                continue;
            int rc = pf_pool_held(pool, (unsigned)k, pf_deadline(20 * MS), &ticket);
            if (rc == -ETIMEDOUT) /* a stopped one holds the lock */
                continue;
            CHECK_EQ(rc, 0);
            if (ticket && !received[ticket >> 24]) {
                lost[ticket >> 24]++;
                settled++;
            }
            buried[k] = true;
            if (!pid[2])
                pid[2] = start_worker(2);
        }
        if (stopped) { /* what it does not hold goes on meanwhile */
            check_sleep(30 * MS);
            kill(stopped, SIGCONT);
        }
        if (settled == TASKS)
            break;
        pf_pool_call(pool, results, 1);
        int rc = pf_pool_wait(pool, results, 2, seen, pf_deadline(20 * MS));
        CHECK(rc == 0 || rc == -ETIMEDOUT || rc == -EINTR);
    }
    for (int i = 0; i < TASKS; i++) {
        CHECK(atomic_load(&ctl->ran[i]) <= 1);
        CHECK_EQ(received[i] + lost[i], 1);
        if (received[i])
            CHECK_EQ(atomic_load(&ctl->ran[i]), 1);
    }
    for (int i = 0, n = 0; i < TASKS; i++)
        CHECK((n += lost[i]) <= deaths);
    pf_pool_stop(pool, 2);
    for (int k = 0; k < WORKERS; k++)
        CHECK_EQ(put(tasks, "", 1), 0);
    for (int k = 0; k < WORKERS; k++) {
        int status;
        while (pid[k] && !buried[k]) { /* it may come to its gate only now */
            CHECK(waitpid(pid[k], &status, WUNTRACED) == pid[k]);
            buried[k] = !WIFSTOPPED(status);
            kill(pid[k], SIGCONT);
        }
    }
    _exit(0);
}

static const char *only;
static bool verbose;
static int passed, failed, missed;
static bool reached[POINTS][3];

static void run(struct cell c)
{
    char name[200];
    const struct gate *g = &c.victim, *s = &c.survivor;
    int n = snprintf(name, sizeof name, "%s", c.name);
    if (g->action)
        n += snprintf(name + n, sizeof name - (size_t)n, "/%s#%d/%s", point_name[g->point], g->nth, action_name[g->action]);
    if (s->action)
        snprintf(name + n, sizeof name - (size_t)n, "/then %s#%d", point_name[s->point], s->nth);
    if (only && !strstr(name, only))
        return;
    int64_t start = pf_now();
    pid_t pid = check_fork();
    if (pid == 0)
        run_cell(&c);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    const struct gate *last = s->action ? s : g;
    if (last->action && atomic_load(&ctl->gate[s->action ? 1 : 0].visits) >= last->nth)
        reached[last->point][last->action] = true;
    else if (last->action)
        missed++;
    good ? passed++ : failed++;
    if (!good || verbose)
        printf("%s %s (%.0f ms)\n", good ? "ok    " : "FAILED", name, (double)(pf_now() - start) / 1e6);
}

int main(int argc, char **argv)
{
    int64_t began = pf_now();
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-v") == 0)
            verbose = true;
        else
            only = argv[i];
    }
    collect_points();
    ctl = check_shared(sizeof *ctl);
    const char *wanted = only;
    for (int survivors = 0; survivors < 2; survivors++) {
        struct cell plain = {.name = survivors ? "pair" : "alone", .survivors = survivors};
        only = NULL;
        run(plain);
        only = wanted;
        uint32_t visits[POINTS];
        for (int x = 0; x < npoints; x++)
            visits[x] = atomic_load(&ctl->passed[0][x]);
        for (int x = 0; x < npoints; x++) {
            for (uint32_t nth = 1; nth <= visits[x] && nth <= 2; nth++) {
                for (enum action action = KILL; action <= STOP; action++) {
                    struct cell c = plain;
                    c.victim = (struct gate){.point = x, .nth = (int)nth, .action = action};
                    run(c);
                }
            }
        }
    }
    /* The dead left a note of a message that he did not take: whoever clears that up may be killed at it, or stopped. */
    int noted = point_index("pool.noted"), forgotten = point_index("pool.forgotten"), dead = point_index("side.dead");
    for (int nth = 1; nth <= WORKERS; nth++) {
        for (enum action action = KILL; action <= STOP; action++) {
            struct cell c = {.name = "clearing up", .survivors = 1};
            c.victim = (struct gate){.point = noted, .nth = 2, .action = KILL};
            c.survivor = (struct gate){.point = nth == WORKERS ? dead : forgotten, .nth = nth == WORKERS ? 1 : nth, .action = action};
            run(c);
        }
    }
    for (int x = 0; x < npoints && !only; x++) {
        for (enum action action = KILL; action <= STOP; action++) {
            if (reached[x][action] || strncmp(point_name[x], "pool.", 5)) /* the others are crash_matrix's */
                continue;
            printf("FAILED no victim reached %s (%s)\n", point_name[x], action_name[action]);
            failed++;
        }
    }
    printf("crash_pool: %d points, %d cells missed their point, %.1f s\n", npoints, missed,
           (double)(pf_now() - began) / 1e9);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
