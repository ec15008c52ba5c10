/* The kill matrix of what users hold: locks, semaphores, events, conditions, barriers, and the arena they lie in.
 * Built with -DPF_CRASH_POINTS; crash_matrix.c does the same for rings.
 *
 * A cell is: scenario x point x SIGKILL or SIGSTOP (with SIGCONT after a while) x one or two survivors. Which points a
 * scenario's victim passes is learnt from a run in which nothing happens to it. In each cell the survivors finish
 * within LIMIT; what the scenario's judge asserts follows from the points that the victim passed: exactly one is told
 * of a dead owner, and nobody of a live one; a permit, a notification is neither lost nor doubled; a barrier that
 * somebody left by his death breaks; nothing is held by a corpse in the end.
 *
 *   crash_locks [-v] [-j workers] [text]        text: only cells whose name has it */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/socket.h>

#include "crash.h"
#include "lock_fast.h"
#include "procfast/barrier.h"
#include "procfast/cond.h"
#include "procfast/event.h"

#define LIMIT (5 * PF_SECOND)
#define BRIEF (40 * MS) /* of a call that meets a stopped owner */
#define TRIES 3         /* a visit may depend on timing */
#define A_LOOK (PF_SECOND * 4 / 10) /* sleepers look again after half a second; where nobody dies none needs to */

enum role { RUNNER, VICTIM,  SURVIVOR, SURVIVOR2, SURVIVOR3, HELPER,
            CORPSE, CORPSE2, FRESH,    FRESH2,    FRESH3,    FRESH4, ROLES };
static const char *const role_name[] = {"runner", "victim", "survivor", "survivor2", "survivor3", "helper",
                                        "corpse", "corpse2", "fresh",   "fresh2",    "fresh3",    "fresh4"};
#define MASK(role) (1u << (role))
#define SURVIVORS (MASK(SURVIVOR) | MASK(SURVIVOR2) | MASK(SURVIVOR3))

enum action { NOTHING, KILL, STOP, ACTIONS };
static const char *const action_name[] = {"nothing", "kill", "stop"};

struct gate {
    unsigned roles;
    int point, nth;
    enum action action;
    _Atomic int visits;
    _Atomic bool hit;
};

enum { FIRST, AUX, GATES };

static struct control { /* what a cell's processes share */
    struct gate gate[GATES];
    _Atomic uint32_t passed[POINTS]; /* by the victim */
    _Atomic int last[ROLES];
    _Atomic int failed;
    char why[300];
    _Atomic int inside;    /* who is in the critical section */
    _Atomic int told;      /* how often somebody was told of a dead owner, but the victim */
    _Atomic int got;       /* notifications, permits: by survivors */
    _Atomic int given;     /* ... by notifiers other than the victim */
    _Atomic int go, ready; /* signals between them */
    _Atomic int result[ROLES];
} *ctl;

static enum role role;
static int peers;
static bool died;    /* the victim; else it did all that it had to do */
static bool started; /* the survivors */
static struct pf_arena *arena;
static struct pf_lock *lock;
static struct pf_sem *sem;
static struct pf_event *event;
static struct pf_cond *cond;
static struct pf_barrier *barrier;

static _Noreturn __attribute__((format(printf, 1, 2))) void fail(const char *format, ...)
{
    if (atomic_fetch_add(&ctl->failed, 1) == 0) {
        va_list args;
        va_start(args, format);
        int n = snprintf(ctl->why, sizeof ctl->why, "%s: ", role_name[role]);
        vsnprintf(ctl->why + n, sizeof ctl->why - (size_t)n, format, args);
        va_end(args);
    }
    _exit(1);
}

#define MUST(cond, ...)                                                                             \
    do {                                                                                            \
        if (!(cond))                                                                                \
            fail(__VA_ARGS__);                                                                      \
    } while (0)

#define AGAIN(rc, call)                                                                             \
    do                                                                                              \
        rc = call;                                                                                  \
    while (rc == -EINTR)

void pf__point(const char *name);
void pf__point(const char *name)
{
    if (!ctl)
        return;
    int x = point_index(name);
    atomic_store(&ctl->last[role], x + 1);
    if (role == VICTIM)
        atomic_fetch_add(&ctl->passed[x], 1);
    for (int i = 0; i < GATES; i++) {
        struct gate *g = &ctl->gate[i];
        if (!(g->roles & MASK(role)) || g->point != x || atomic_fetch_add(&g->visits, 1) + 1 != g->nth)
            continue;
        atomic_store(&g->hit, true);
        kill(getpid(), g->action == KILL ? SIGKILL : SIGSTOP);
    }
}

static int did(const char *name) /* the victim */
{
    int x = point_index(name);
    CHECK(x >= 0);
    return (int)atomic_load(&ctl->passed[x]);
}

/* ---- the processes of a cell, seen from its runner ----------------------------------------------------- */

static struct proc {
    pid_t pid; /* 0: not running */
    bool stopped;
} procs[ROLES];

static void spawn(enum role as, void (*run)(void))
{
    MUST(!procs[as].pid, "%s runs already", role_name[as]);
    pid_t pid = check_fork();
    if (pid == 0) {
        role = as;
        run();
        _exit(0);
    }
    procs[as] = (struct proc){pid, false};
}

static void doom(enum role as, const char *point)
{
    ctl->gate[AUX] = (struct gate){.roles = MASK(as), .point = point_index(point), .nth = 1, .action = KILL};
}

static bool reap(void)
{
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG | WUNTRACED);
    if (pid <= 0)
        return false;
    int who = 0;
    while (who < ROLES && procs[who].pid != pid)
        who++;
    if (who == ROLES) /* an orphan's orphan */
        return true;
    if (WIFSTOPPED(status)) {
        procs[who].stopped = true;
        return true;
    }
    procs[who].pid = 0;
    bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (who == VICTIM && killed && atomic_load(&ctl->gate[FIRST].hit))
        died = true;
    else if (!(killed && (who == CORPSE || who == CORPSE2)))
        MUST(status == 0, "%s ended with status %#x", role_name[who], (unsigned)status);
    return true;
}

static bool running(unsigned roles)
{
    while (reap())
        ;
    for (int i = 0; i < ROLES; i++) {
        if ((roles & MASK(i)) && procs[i].pid && !procs[i].stopped)
            return true;
    }
    return false;
}

static _Noreturn void hang(const char *what)
{
    char text[200] = "";
    size_t n = 0;
    for (int i = 0; i < ROLES && n < sizeof text; i++) {
        int last = atomic_load(&ctl->last[i]);
        if (procs[i].pid)
            n += (size_t)snprintf(text + n, sizeof text - n, "; %s passed %s%s", role_name[i],
                                  last ? point_name[last - 1] : "-", procs[i].stopped ? ", stopped" : "");
    }
    fail("hang: %s%s", what, text);
}

/* Until none of these runs, but for those that are stopped. */
static void finish(unsigned roles, const char *what)
{
    int64_t limit = pf_now() + LIMIT;
    while (running(roles)) {
        if (pf_now() > limit)
            hang(what);
        check_sleep(MS / 10);
    }
}

/* Until it sleeps, or is gone, or stopped. */
static void settle(enum role who)
{
    int64_t limit = pf_now() + LIMIT;
    while (running(MASK(who)) && !(atomic_load(&ctl->last[who]) && asleep(procs[who].pid))) {
        if (pf_now() > limit)
            hang("it neither sleeps nor ends");
        check_sleep(MS / 10);
    }
}

/* One after the other, each when the one before sleeps. */
static void start_survivors(int n, void (*run)(void))
{
    started = true;
    for (int i = 0; i < n; i++) {
        spawn(SURVIVOR + (enum role)i, run);
        settle(SURVIVOR + (enum role)i);
    }
}

/* All at once, if none runs yet. */
static void late_survivors(void (*run)(void))
{
    for (int i = 0; i < peers && !started; i++)
        spawn(SURVIVOR + (enum role)i, run);
    started = true;
}

static void wait_for(_Atomic int *count, int n, const char *what)
{
    int64_t limit = pf_now() + LIMIT;
    while (atomic_load(count) != n) {
        while (reap())
            ;
        MUST(pf_now() < limit, "%s: %d, not %d", what, atomic_load(count), n);
        check_sleep(MS / 10);
    }
}

/* ---- locks --------------------------------------------------------------------------------------------- */

static unsigned kind; /* flags of the lock; RECURSIVE */
#define RECURSIVE 64u

static int take(int64_t deadline, bool fast)
{
    int rc;
    if (fast && (kind == RECURSIVE ? pf_rlock_take(lock, arena) : pf_lock_take(lock, arena)))
        return 0;
    AGAIN(rc, kind == RECURSIVE ? pf_rlock_acquire(lock, arena, deadline, 0, NULL)
                                : pf_lock_acquire(lock, arena, deadline, kind, NULL));
    return rc;
}

static void drop(bool fast)
{
    int rc = kind == RECURSIVE ? fast ? pf_rlock_drop(lock, arena) : pf_rlock_release(lock, arena)
             : fast            ? pf_lock_drop(lock)
                               : pf_lock_release(lock);
    MUST(rc == 0, "release: %s", pf_strerror(-rc));
}

static void enter(int rc)
{
    MUST(rc == 0 || rc == -PF_EOWNERDEAD, "acquire: %s", pf_strerror(-rc));
    int was = atomic_exchange(&ctl->inside, (int)role);
    MUST(rc || was == 0, "%s is inside too", role_name[was]);
    if (rc && role != VICTIM)
        atomic_fetch_add(&ctl->told, 1);
}

static void leave(void)
{
    MUST(atomic_exchange(&ctl->inside, 0) == (int)role, "somebody else came in");
}

static void use(bool fast)
{
    enter(take(PF_FOREVER, fast));
    if (kind == RECURSIVE) {
        MUST(take(PF_FOREVER, fast) == 0, "again");
        drop(fast);
    }
    leave();
    drop(fast);
}

static void use_twice(void)
{
    use(false); /* which makes it known in the arena: then there is a short way */
    use(true);
}

static void use_once(void)
{
    use(false);
}

static void use_five_times(void)
{
    for (int i = 0; i < 5; i++)
        use(i & 1);
}

static void hold_until_go(void)
{
    enter(take(PF_FOREVER, role == VICTIM));
    atomic_store(&ctl->ready, 1);
    check_until(&ctl->go, 1);
    leave();
    drop(role == VICTIM);
}

static void hold_and_die(void)
{
    enter(take(PF_FOREVER, false));
    kill(getpid(), SIGKILL);
}

static void helper_holds(void)
{
    spawn(HELPER, hold_until_go);
    check_until(&ctl->ready, 1);
}

static void helper_holds_and_survivors_wait(void)
{
    helper_holds();
    start_survivors(peers, use_five_times);
}

static void let_go(void)
{
    atomic_store(&ctl->go, 1);
}

static void survivors_wait_then_go(void)
{
    start_survivors(peers, use_five_times);
    atomic_store(&ctl->go, 1);
}

static void corpse_holds(void)
{
    spawn(CORPSE, hold_and_die);
    finish(MASK(CORPSE), "the corpse");
}

/* How often the victim took it more than it let go. */
static int victim_holds(void)
{
    return did("lock.taken") + did("rlock.taken") + did("rlock.entered") + did("lock.held") + did("lock.inherited") -
           did("lock.released");
}

static void try_briefly(void)
{
    bool held = victim_holds();
    int rc = take(pf_now() + (held ? BRIEF : LIMIT), false);
    if (held) {
        MUST(rc == -ETIMEDOUT, "a stopped owner's lock: %s", pf_strerror(-rc));
        return;
    }
    enter(rc);
    leave();
    drop(false);
}

static void judge_lock(void)
{
    finish(MASK(VICTIM), "the victim");
    int holds = victim_holds();
    late_survivors(use_five_times);
    if (kind == 0 && died && holds) { /* it stays locked: as the standard library's */
        check_sleep(BRIEF);
        struct pf_owner o;
        MUST(pf_lock_owner(lock, arena, &o) == 1 && !o.alive && o.pid, "the owner is not named");
        atomic_store(&ctl->inside, 0);
        MUST(pf_lock_release(lock) == 0, "release for the dead");
    }
    finish(SURVIVORS | MASK(HELPER), "survivors");
    spawn(FRESH, use_twice); /* the others may have had it all before it died */
    finish(MASK(FRESH), "a fresh process");
    int expected = kind && died && holds;
    MUST(atomic_load(&ctl->told) == expected, "%d were told, not %d", atomic_load(&ctl->told), expected);
    MUST(!pf_lock_locked(lock), "a corpse holds it");
}

/* A corpse had it first: somebody is told of that too, be it the victim. */
static void judge_inherited(void)
{
    finish(MASK(VICTIM), "the victim");
    late_survivors(use_five_times);
    finish(SURVIVORS, "survivors");
    int expected = !did("lock.inherited") + (died && victim_holds());
    MUST(atomic_load(&ctl->told) == expected, "%d were told, not %d", atomic_load(&ctl->told), expected);
    spawn(FRESH, use_twice);
    finish(MASK(FRESH), "a fresh process");
}

/* For one access at a time: nobody is told. */
static bool brief; /* the victim's are */

static void one_access(bool fast)
{
    int rc = fast ? pf_rlock_enter(lock, arena) : -1;
    if (rc < 0) {
        AGAIN(rc, pf_lock_acquire(lock, arena, PF_FOREVER, PF_LOCK_ROBUST | PF_LOCK_BRIEF, NULL));
        MUST(rc == 0, "access: %s", pf_strerror(-rc));
    }
    MUST(pf_lock_drop(lock) == 0, "release");
}

static void access_twice(void)
{
    one_access(false); /* as use_twice */
    one_access(true);
}

static void access_and_die(void)
{
    one_access(false);
    MUST(pf_rlock_enter(lock, arena) == 1, "access");
    kill(getpid(), SIGKILL);
}

static void corpse_accesses(void)
{
    spawn(CORPSE, access_and_die);
    finish(MASK(CORPSE), "the corpse");
}

static void judge_access(void)
{
    finish(MASK(VICTIM), "the victim");
    late_survivors(use_five_times);
    finish(SURVIVORS | MASK(HELPER), "survivors");
    spawn(FRESH, use_twice);
    finish(MASK(FRESH), "a fresh process");
    int expected = !brief && died && victim_holds();
    MUST(atomic_load(&ctl->told) == expected, "%d were told, not %d", atomic_load(&ctl->told), expected);
    MUST(!pf_lock_locked(lock), "a corpse holds it");
}

/* ---- semaphores ---------------------------------------------------------------------------------------- */

static void acquire(bool fast)
{
    int rc = 0;
    if (!fast || !pf_sem_take(sem))
        AGAIN(rc, pf_sem_acquire(sem, PF_FOREVER));
    MUST(rc == 0, "acquire: %s", pf_strerror(-rc));
}

static void acquire_once(void)
{
    acquire(false);
    atomic_fetch_add(&ctl->got, 1);
}

static void acquire_and_release(void)
{
    for (int i = 0; i < 2; i++) {
        acquire(i);
        MUST((i ? pf_sem_give(sem, PF_SEM_MAX) : pf_sem_release(sem, 1, PF_SEM_MAX)) == 0, "release");
    }
}

static void release_one(void)
{
    MUST(pf_sem_release(sem, 1, PF_SEM_MAX) == 0, "release");
}

static void permits(void) /* one for the victim, one for each survivor */
{
    MUST(pf_sem_release(sem, 1 + (uint32_t)peers, PF_SEM_MAX) == 0, "release");
}

static void survivors_acquire(void)
{
    start_survivors(peers, acquire_once);
}

static void judge_sem(void)
{
    finish(MASK(VICTIM), "the victim");
    int victims = did("sem.given") + did("sem.released") - did("sem.taken") - did("sem.held");
    late_survivors(acquire_once);
    finish(SURVIVORS, "survivors");
    MUST((int)pf_sem_value(sem) == 1 + victims, "%u permits are left, not %d", pf_sem_value(sem), 1 + victims);
}

static void judge_given(void) /* one by the victim, perhaps; the rest now */
{
    if (did("sem.released"))
        wait_for(&ctl->got, 1, "a permit");
    permits();
    judge_sem();
}

static void survivors_then_permits(void)
{
    start_survivors(peers, acquire_once);
    permits();
}

static void try_sem(void)
{
    int rc;
    MUST(pf_sem_release(sem, 1, PF_SEM_MAX) == 0, "release");
    int64_t end = pf_now() + LIMIT;
    AGAIN(rc, pf_sem_acquire(sem, end));
    MUST(rc == 0, "behind a stopped process: %s", pf_strerror(-rc));
}

/* ---- events -------------------------------------------------------------------------------------------- */

static void await(void)
{
    int rc;
    uint32_t seen = pf_event_seen(event);
    AGAIN(rc, pf_event_wait(event, seen, PF_FOREVER));
    MUST(rc == 0, "wait: %s", pf_strerror(-rc));
}

/* Sleeps for its look at least once before. */
static void await_after_point(void)
{
    PF_POINT("event.begin");
    await();
}

static void survivors_await(void)
{
    start_survivors(peers, await_after_point);
}

static void set_it(void)
{
    pf_event_set(event);
}

static void pulse(void)
{
    pf_event_set(event);
    pf_event_clear(event);
}

static bool event_was_set(void)
{
    return did("event.published") || did("event.published.plain") || did("event.woken");
}

static void survivors_then_set(void)
{
    survivors_await();
    pf_event_set(event);
}

static void judge_event(void)
{
    finish(MASK(VICTIM), "the victim");
    late_survivors(await);
    if (!event_was_set() && !did("event.marked"))
        pf_event_set(event); /* else it is for them to see it, by their looks at least */
    finish(SURVIVORS, "survivors");
    MUST(pf_event_is_set(event) == !did("event.cleared"), "set, and it should not be, or the other way");
    pf_event_clear(event);
    pf_event_set(event);
    spawn(FRESH, await);
    finish(MASK(FRESH), "a fresh process");
}

/* ---- conditions ---------------------------------------------------------------------------------------- */

static void hold(void)
{
    int rc;
    AGAIN(rc, pf_lock_acquire(lock, arena, PF_FOREVER, PF_LOCK_ROBUST, NULL));
    MUST(rc == 0 || rc == -PF_EOWNERDEAD, "acquire: %s", pf_strerror(-rc));
}

static void wait_once(void)
{
    uint32_t record;
    int rc;
    hold();
    rc = pf_cond_enter(cond, arena, &record);
    MUST(rc == 0, "enter: %s", pf_strerror(-rc));
    pf_lock_release(lock);
    AGAIN(rc, pf_cond_wait(cond, arena, record, PF_FOREVER));
    hold();
    MUST(pf_cond_leave(cond, arena, record), "woken without a notification");
    if (role != VICTIM)
        atomic_fetch_add(&ctl->got, 1);
    pf_lock_release(lock);
}

static void notify(int n)
{
    int rc;
    hold();
    AGAIN(rc, pf_cond_notify(cond, arena, n));
    MUST(rc >= 0, "notify: %s", pf_strerror(-rc));
    if (role != VICTIM)
        atomic_fetch_add(&ctl->given, rc);
    pf_lock_release(lock);
}

static void notify_one(void)
{
    notify(1);
}

static void notify_all(void)
{
    notify(INT_MAX);
}

/* One more than would do, for a notification too many. */
static void survivors_wait(void)
{
    start_survivors(peers + 1, wait_once);
}

static void survivors_wait_and_one_is_notified(void)
{
    survivors_wait();
    spawn(HELPER, notify_one); /* it may have to wait for what the victim holds */
}

static void enter_many(void)
{
    uint32_t record;
    for (int i = 0; i < 16; i++)
        MUST(pf_cond_enter(cond, arena, &record) == 0, "enter");
    kill(getpid(), SIGKILL);
}

static void dead_records(void)
{
    spawn(CORPSE, enter_many);
    finish(MASK(CORPSE), "the corpse");
}

static void dead_waiter_first(void)
{
    spawn(CORPSE, wait_once);
    settle(CORPSE);
    kill(procs[CORPSE].pid, SIGKILL);
    finish(MASK(CORPSE), "the corpse");
    survivors_wait();
}

/* A corpse has a notification, and others wait. */
static void dead_and_notified(void)
{
    spawn(CORPSE, wait_once);
    settle(CORPSE);
    survivors_wait();
    kill(procs[CORPSE].pid, SIGSTOP);
    spawn(HELPER, notify_one);
    finish(MASK(HELPER), "a notify");
    kill(procs[CORPSE].pid, SIGKILL);
    procs[CORPSE].stopped = false;
    finish(MASK(CORPSE), "the corpse");
}

/* ... and another one died passing it on. */
static void passer_died(const char *where)
{
    dead_and_notified();
    doom(CORPSE2, where);
    spawn(CORPSE2, notify_one);
    finish(MASK(CORPSE2), "the other corpse");
}

static void passer_died_before(void)
{
    passer_died("cond.passing");
}

static void passer_died_after(void)
{
    passer_died("cond.passed");
}

static void passer_died_last(void)
{
    passer_died("cond.forgotten");
}

/* As many were had as were given. */
static void balance(const char *when)
{
    int64_t limit = pf_now() + LIMIT;
    for (;;) {
        int given = atomic_load(&ctl->given) + did("cond.granted"), had = atomic_load(&ctl->got) + did("cond.left");
        if (given == had)
            return;
        while (reap())
            ;
        MUST(pf_now() < limit, "%s: %d given, %d had", when, given, had);
        check_sleep(MS / 10);
    }
}

/* Every notification was had by exactly one. */
static void judge_cond(void)
{
    finish(MASK(HELPER), "a notifier");
    balance("first");
    if (died || did("cond.settled") || did("cond.passed")) { /* not another one at the sleepers' looks */
        check_sleep(PF_SECOND * 6 / 10);
        balance("after a while");
    }
    for (int before = -1, now; running(SURVIVORS | MASK(VICTIM)); before = now) {
        now = atomic_load(&ctl->given);
        MUST(now > before, "nobody is notified, and somebody waits");
        spawn(FRESH, notify_one);
        finish(MASK(FRESH), "a fresh notifier");
        balance("one by one");
        check_sleep(MS); /* who had it ends */
    }
    spawn(FRESH, notify_one);
    finish(MASK(FRESH), "a fresh notifier");
    balance("in the end");
    MUST(pf_cond_waiters(cond, arena) == 0, "somebody waits still");
    int rc = pf_mutex_lock(&cond->m, &arena->peer, pf_now() + PF_SECOND);
    MUST(rc == 0 || rc == -PF_EOWNERDEAD, "the inner lock: %s", pf_strerror(-rc));
}

/* ---- barriers ------------------------------------------------------------------------------------------ */

static int meet(int64_t deadline)
{
    uint32_t record;
    int i, rc;
    AGAIN(i, pf_barrier_arrive(barrier, arena, deadline, &record));
    if (i < 0)
        return i;
    if (i == (int)barrier->parties - 1)
        AGAIN(rc, pf_barrier_pass(barrier, arena, record));
    else
        AGAIN(rc, pf_barrier_wait(barrier, arena, record, deadline));
    return rc;
}

static void meet_once(void)
{
    atomic_store(&ctl->result[role], meet(PF_FOREVER));
}

static void meet_briefly(void)
{
    atomic_store(&ctl->result[role], meet(pf_now() + 20 * MS));
}

static void arrive_and_leave(void)
{
    uint32_t record;
    int i;
    AGAIN(i, pf_barrier_arrive(barrier, arena, PF_FOREVER, &record));
    MUST(i >= 0, "arrive: %s", pf_strerror(-i));
    pf_barrier_leave(barrier, arena, record);
}

static void abort_it(void)
{
    pf_barrier_abort(barrier);
}

static void reset_it(void)
{
    int rc;
    AGAIN(rc, pf_barrier_reset(barrier, arena));
    MUST(rc == 0, "reset: %s", pf_strerror(-rc));
}

static void survivors_meet(void)
{
    start_survivors(peers, meet_once);
}

static void survivors_meet_and_one_is_missing(void)
{
    pf_barrier_init(barrier, 2 + (uint32_t)peers);
    survivors_meet();
}

static void one_died_arriving(void)
{
    doom(CORPSE, "barrier.arrived");
    spawn(CORPSE, meet_once);
    finish(MASK(CORPSE), "the corpse");
}

static void one_died_resetting(void)
{
    survivors_meet();
    doom(CORPSE, "barrier.reset.told");
    spawn(CORPSE, reset_it);
    finish(MASK(CORPSE), "the corpse");
}

/* All survivors have this result; -1: all the same. */
static void expect(int result)
{
    finish(SURVIVORS, "survivors");
    int first = atomic_load(&ctl->result[SURVIVOR]);
    for (int i = 0; i < peers; i++) {
        int rc = atomic_load(&ctl->result[SURVIVOR + i]);
        MUST(rc == (result == -1 ? first : result), "%s's wait: %s", role_name[SURVIVOR + i], pf_strerror(-rc));
    }
}

static void expect_fresh_round(void)
{
    if (pf_barrier_broken(barrier)) {
        spawn(FRESH, reset_it);
        finish(MASK(FRESH), "a fresh reset");
    }
    MUST(!pf_barrier_broken(barrier) && pf_barrier_waiting(barrier) == 0, "it is not as new");
    for (int i = 0; i < (int)barrier->parties; i++)
        spawn(FRESH + (enum role)i, meet_once);
    finish(MASK(FRESH) | MASK(FRESH2) | MASK(FRESH3) | MASK(FRESH4), "a fresh round");
    for (int i = 0; i < (int)barrier->parties; i++)
        MUST(atomic_load(&ctl->result[FRESH + i]) == 0, "a fresh round is broken");
    int rc = pf_mutex_lock(&barrier->m, &arena->peer, pf_now() + PF_SECOND);
    MUST(rc == 0 || rc == -PF_EOWNERDEAD, "the inner lock: %s", pf_strerror(-rc));
}

static void fill_up(void) /* the victim had not arrived, or left again */
{
    spawn(HELPER, meet_once);
    finish(MASK(HELPER), "another party");
    expect(0);
}

static void judge_barrier(void)
{
    finish(MASK(VICTIM), "the victim");
    if (died && !did("barrier.arrived"))
        fill_up();
    else if (!died || did("barrier.passed"))
        expect(0);
    else if (did("barrier.awake") || did("barrier.leave"))
        expect(-1); /* it may have died before the last of them came, or after */
    else
        expect(-PF_EBROKEN);
    expect_fresh_round();
}

static void judge_broken(void) /* by the victim, or in its stead */
{
    finish(MASK(VICTIM), "the victim");
    if (died && !did("barrier.aborted") && !did("barrier.reset.broken") && !did("barrier.arrived") &&
        !did("barrier.broken")) {
        for (int i = 0; i < peers; i++)
            MUST(!died || procs[SURVIVOR + i].pid, "it ended by itself");
        spawn(HELPER, abort_it);
        finish(MASK(HELPER), "another one's abort");
    }
    expect(-PF_EBROKEN);
    expect_fresh_round();
}

static void judge_recounted(void)
{
    finish(MASK(VICTIM), "the victim");
    late_survivors(meet_once);
    expect(-PF_EBROKEN);
    expect_fresh_round();
}

static void judge_left(void)
{
    finish(MASK(VICTIM), "the victim");
    if (died && did("barrier.arrived") && !did("barrier.left")) {
        expect(-PF_EBROKEN);
    } else if (did("barrier.fill")) { /* stopped so early that it was the last */
        expect(-PF_EBROKEN);
    } else {
        check_sleep(BRIEF);
        if (running(SURVIVORS)) /* else they met when it was one of them still */
            fill_up();
        expect(0);
    }
    expect_fresh_round();
}

/* ---- the arena ----------------------------------------------------------------------------------------- */

static int wire[2];

static void send_fd(int fd, uint64_t offset)
{
    char space[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec iov = {&offset, sizeof offset};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    MUST(sendmsg(wire[0], &m, 0) == sizeof offset, "send");
}

/* An arena of its own, whose lock others are handed; then it allocates on and forks. */
static void create_and_share(void)
{
    void *p;
    pid_t pid;
    close(wire[1]);
    MUST(pf_arena_create(&arena, 0) == 0, "create");
    MUST(pf_arena_alloc(arena, sizeof *lock, &p) == 0, "alloc");
    lock = p;
    enter(take(PF_FOREVER, false));
    for (int i = 0; i < peers; i++)
        send_fd(pf_arena_fd(arena), pf_arena_offset(arena, lock));
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 3000; k++)
            MUST(pf_arena_alloc(arena, 64, &p) == 0, "alloc");
        pf_arena_free(arena, p, 64);
        if ((pid = fork()) == 0)
            _exit(0);
        MUST(pid > 0 && waitpid(pid, NULL, 0) == pid, "fork");
    }
    leave();
    drop(false);
}

static void receive_and_use(void)
{
    uint64_t offset;
    char space[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {&offset, sizeof offset};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    close(wire[0]);
    PF_POINT("arena.begin");
    ssize_t n = recvmsg(wire[1], &m, 0);
    if (n == 0) /* it died before it sent */
        return;
    MUST(n == sizeof offset, "receive");
    int fd, rc;
    void *p;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
    rc = pf_arena_attach(&arena, fd);
    MUST(rc == 0, "attach: %s", pf_strerror(-rc));
    MUST(pf_arena_at(arena, offset, sizeof *lock, &p) == 0, "offset");
    lock = p;
    use_five_times();
    atomic_fetch_add(&ctl->got, 1);
}

static void survivors_receive(void)
{
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, wire) == 0, "socketpair");
    start_survivors(peers, receive_and_use);
}

static void forget_wire(void)
{
    close(wire[0]);
    close(wire[1]);
}

static void judge_creator(void)
{
    finish(MASK(VICTIM), "the victim");
    finish(SURVIVORS, "survivors");
    int expected = died && victim_holds() && atomic_load(&ctl->got) > 0;
    MUST(atomic_load(&ctl->told) == expected, "%d were told, not %d", atomic_load(&ctl->told), expected);
    MUST(died || atomic_load(&ctl->got) == peers, "not all used it");
}

static void attach_and_use(void)
{
    struct pf_arena *theirs;
    void *p;
    int rc = pf_arena_attach(&theirs, dup(arena->fd));
    MUST(rc == 0, "attach: %s", pf_strerror(-rc));
    MUST(pf_arena_at(theirs, pf_arena_offset(arena, lock), sizeof *lock, &p) == 0, "offset");
    lock = p;
    arena = theirs;
    use_twice();
}

static bool handed_out(void *block, int most)
{
    void *p = NULL;
    for (int i = 0; i < most && p != block; i++)
        MUST(pf_arena_alloc(arena, sizeof *lock, &p) == 0, "alloc");
    return p == block;
}

/* The runner is the creator: what the victim has is nobody else's, until it is dead. */
static void judge_attacher(void)
{
    finish(MASK(VICTIM), "the victim");
    void *block = lock;
    use_twice(); /* as the last who had it */
    int expected = died && victim_holds();
    MUST(atomic_load(&ctl->told) == expected, "%d were told, not %d", atomic_load(&ctl->told), expected);
    pf_arena_free(arena, block, sizeof *lock);
    MUST(handed_out(block, 2000), "nobody has it, and it is not reused");
}

static void free_while_stopped(void)
{
    pf_arena_free(arena, event, sizeof *event); /* which the victim was forked with */
    MUST(!handed_out(event, 300), "a stopped process's block was given to others");
}

/* ---- scenarios ----------------------------------------------------------------------------------------- */

struct scenario {
    const char *name;
    void (*before)(void);    /* by the runner: what comes first */
    void (*victim)(void);
    void (*meanwhile)(void); /* by the runner, when the victim sleeps, or is gone, or stopped */
    void (*probe)(void);     /* by a helper, while the victim is stopped; by the runner if `own` */
    void (*judge)(void);
    unsigned kind;
    bool plain; /* without FUTEX_WAKE_OP */
    bool own;
    bool looks; /* it takes a look though nothing happens to the victim */
};
#define LOCKS(prefix, k)                                                                            \
    {.name = prefix ".free", .victim = use_twice, .probe = try_briefly, .judge = judge_lock, .kind = k},            \
    {.name = prefix ".waits", .before = helper_holds, .victim = use_once, .meanwhile = let_go,                      \
     .judge = judge_lock, .kind = k},                                                               \
    {.name = prefix ".among", .before = helper_holds_and_survivors_wait, .victim = use_once, .meanwhile = let_go,   \
     .judge = judge_lock, .kind = k},                                                               \
    {.name = prefix ".passes", .victim = hold_until_go, .meanwhile = survivors_wait_then_go, .judge = judge_lock,   \
     .kind = k}

static const struct scenario scenarios[] = {
    LOCKS("lock", 0),
    LOCKS("robust", PF_LOCK_ROBUST),
    LOCKS("rlock", RECURSIVE),
    {.name = "robust.inherits", .before = corpse_holds, .victim = use_once, .probe = try_briefly,
     .judge = judge_inherited, .kind = PF_LOCK_ROBUST},
    {.name = "rlock.inherits", .before = corpse_holds, .victim = use_once, .judge = judge_inherited, .kind = RECURSIVE},
    {.name = "rlock.access", .victim = access_twice, .probe = try_briefly, .judge = judge_access, .kind = RECURSIVE},
    {.name = "rlock.access.waits", .before = helper_holds, .victim = access_twice, .meanwhile = let_go,
     .judge = judge_access, .kind = RECURSIVE},
    {.name = "rlock.access.inherits", .before = corpse_accesses, .victim = use_once, .judge = judge_access,
     .kind = RECURSIVE},
    {.name = "sem.free", .before = permits, .victim = acquire_and_release, .probe = try_sem, .judge = judge_sem},
    {.name = "sem.waits", .victim = acquire_once, .meanwhile = survivors_then_permits, .judge = judge_sem},
    {.name = "sem.gives", .before = survivors_acquire, .victim = release_one, .judge = judge_given},
    {.name = "event.sets", .before = survivors_await, .victim = set_it, .judge = judge_event},
    {.name = "event.sets.plain", .before = survivors_await, .victim = set_it, .judge = judge_event, .plain = true},
    {.name = "event.sets.early", .victim = set_it, .judge = judge_event},
    {.name = "event.pulses", .before = survivors_await, .victim = pulse, .judge = judge_event},
    {.name = "event.pulses.plain", .before = survivors_await, .victim = pulse, .judge = judge_event, .plain = true},
    {.name = "event.waits", .victim = await, .meanwhile = survivors_then_set, .judge = judge_event},
    {.name = "cond.waits", .victim = wait_once, .meanwhile = survivors_wait_and_one_is_notified, .judge = judge_cond},
    {.name = "cond.waits.sweeps", .before = dead_records, .victim = wait_once,
     .meanwhile = survivors_wait_and_one_is_notified, .judge = judge_cond},
    {.name = "cond.notifies", .before = survivors_wait, .victim = notify_one, .judge = judge_cond},
    {.name = "cond.notifies.all", .before = survivors_wait, .victim = notify_all, .judge = judge_cond},
    {.name = "cond.sweeps", .before = dead_waiter_first, .victim = notify_one, .judge = judge_cond},
    {.name = "cond.passes", .before = dead_and_notified, .victim = notify_one, .judge = judge_cond,
     .looks = true},
    {.name = "cond.settles.before", .before = passer_died_before, .victim = notify_one, .judge = judge_cond,
     .looks = true},
    {.name = "cond.settles.after", .before = passer_died_after, .victim = notify_one, .judge = judge_cond,
     .looks = true},
    {.name = "cond.settles.last", .before = passer_died_last, .victim = notify_one, .judge = judge_cond,
     .looks = true},
    {.name = "barrier.waits", .victim = meet_once, .meanwhile = survivors_meet, .judge = judge_barrier},
    {.name = "barrier.last", .before = survivors_meet, .victim = meet_once, .judge = judge_barrier},
    {.name = "barrier.aborts", .before = survivors_meet, .victim = abort_it, .judge = judge_broken},
    {.name = "barrier.resets", .before = survivors_meet, .victim = reset_it, .judge = judge_broken},
    {.name = "barrier.resets.again", .before = one_died_resetting, .victim = reset_it, .judge = judge_recounted},
    {.name = "barrier.timeout", .before = survivors_meet_and_one_is_missing, .victim = meet_briefly,
     .judge = judge_broken},
    {.name = "barrier.leaves", .victim = arrive_and_leave, .meanwhile = survivors_meet, .judge = judge_left},
    {.name = "barrier.recounts", .before = one_died_arriving, .victim = meet_once, .judge = judge_recounted},
    {.name = "arena.creator", .before = survivors_receive, .victim = create_and_share, .meanwhile = forget_wire,
     .judge = judge_creator, .kind = PF_LOCK_ROBUST},
    {.name = "arena.attacher", .victim = attach_and_use, .probe = free_while_stopped, .judge = judge_attacher,
     .kind = PF_LOCK_ROBUST, .own = true},
};
#define SCENARIOS ((int)(sizeof scenarios / sizeof *scenarios))

static void *block(size_t size)
{
    void *p;
    MUST(pf_arena_alloc(arena, size, &p) == 0, "alloc");
    return p;
}

static void run_cell(const struct scenario *s)
{
    MUST(!s->plain || deny_wake_op(), "seccomp: %s", strerror(errno));
    MUST(pf_arena_create(&arena, 0) == 0, "create");
    lock = block(sizeof *lock);
    sem = block(sizeof *sem);
    event = block(sizeof *event);
    cond = block(sizeof *cond);
    barrier = block(sizeof *barrier);
    pf_barrier_init(barrier, 1 + (uint32_t)peers);
    kind = s->kind;
    brief = s->victim == access_twice;
    if (s->before)
        s->before();
    spawn(VICTIM, s->victim);
    if (s->meanwhile) {
        settle(VICTIM);
        s->meanwhile();
    }
    finish(MASK(VICTIM), "the victim");
    if (procs[VICTIM].stopped) {
        if (s->own)
            s->probe();
        else if (s->probe) {
            spawn(FRESH, s->probe);
            finish(MASK(FRESH), "a prober");
        }
        check_sleep(2 * MS);
        kill(procs[VICTIM].pid, SIGCONT);
        procs[VICTIM].stopped = false;
        settle(VICTIM); /* it may wait for what the judge does */
    }
    s->judge();
    finish(~0u, "the end");
}

/* ---- the driver ---------------------------------------------------------------------------------------- */

struct cell {
    int scenario, peers, point, nth, tries;
    enum action action;
};

static struct cell *cells;
static int ncells, next_cell, passed, failures, missed;
static bool reached[POINTS][ACTIONS];
static const char *only;
static bool verbose;
static FILE *out;

static const char *cell_name(const struct cell *c)
{
    static char text[200];
    int n = snprintf(text, sizeof text, "%s", scenarios[c->scenario].name);
    if (c->action)
        n += snprintf(text + n, sizeof text - (size_t)n, "/%s#%d/%s", point_name[c->point], c->nth,
                      action_name[c->action]);
    snprintf(text + n, sizeof text - (size_t)n, "/%d", c->peers);
    return text;
}

static void add_cell(struct cell c)
{
    static int room;
    if (only && (c.action ? !strstr(cell_name(&c), only)
                          : strncmp(scenarios[c.scenario].name, only, strcspn(only, "/")) != 0 && strlen(only) > 5))
        return;
    if (ncells == room) {
        room = room ? 2 * room : 1024;
        cells = realloc(cells, (size_t)room * sizeof *cells);
        CHECK(cells);
    }
    cells[ncells++] = c;
}

static void judge(struct cell c, struct control *control, int status, int64_t took)
{
    if (status != 0 || atomic_load(&control->failed)) {
        failures++;
        if (!control->why[0])
            snprintf(control->why, sizeof control->why, "the runner ended with status %#x", (unsigned)status);
        fprintf(out, "FAILED %s: %s\n", cell_name(&c), control->why);
        return;
    }
    bool hit = !c.action || control->gate[FIRST].hit;
    if (!hit && ++c.tries < TRIES) {
        add_cell(c);
        return;
    }
    if (!c.action && took > A_LOOK && !scenarios[c.scenario].looks) {
        if (++c.tries < TRIES) {
            add_cell(c);
            return;
        }
        failures++;
        fprintf(out, "FAILED %s: took %.3f s, a wake-up is missing\n", cell_name(&c), (double)took / 1e9);
    }
    missed += !hit;
    passed++;
    if (verbose || took > 3 * PF_SECOND)
        fprintf(out, "%s %s %.3f s\n", hit ? "passed" : "missed", cell_name(&c), (double)took / 1e9);
    if (c.action) {
        reached[c.point][c.action] |= hit;
        return;
    }
    for (int x = 0; x < npoints; x++) {
        int n = (int)control->passed[x];
        for (int k = 0; k < 2 && k < n; k++)
            for (int action = KILL; action <= STOP; action++)
                add_cell((struct cell){c.scenario, c.peers, x, k ? n : 1, 0, (enum action)action});
    }
}

static pid_t start(const struct cell *c, struct control *control)
{
    memset(control, 0, sizeof *control);
    if (c->action)
        control->gate[FIRST] =
            (struct gate){.roles = MASK(VICTIM), .point = c->point, .nth = c->nth, .action = c->action};
    pid_t pid = check_fork();
    if (pid == 0) {
        ctl = control;
        peers = c->peers;
        run_cell(&scenarios[c->scenario]);
        _exit(0);
    }
    return pid;
}

int main(int argc, char **argv)
{
    int64_t began = pf_now();
    int workers = 6; /* more than there may be CPUs: most of the time they sleep */
    out = stdout;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-v") == 0)
            verbose = true;
        else if (strcmp(argv[i], "-j") == 0 && i + 1 < argc)
            workers = atoi(argv[++i]);
        else
            only = argv[i];
    }
    CHECK(workers >= 1 && workers <= MAX_WORKERS);
    collect_points();
    struct {
        pid_t pid;
        struct cell cell;
        struct control *control;
        int64_t start;
    } worker[MAX_WORKERS] = {0};
    for (int i = 0; i < workers; i++)
        worker[i].control = check_shared(sizeof(struct control));
    for (int i = 0; i < SCENARIOS; i++) {
        for (int n = 1; n <= 2; n++)
            add_cell((struct cell){.scenario = i, .peers = n});
    }
    for (int active = 0; active || next_cell < ncells;) {
        for (int i = 0; i < workers && next_cell < ncells; i++) {
            if (worker[i].pid)
                continue;
            worker[i].cell = cells[next_cell++];
            worker[i].start = pf_now();
            worker[i].pid = start(&worker[i].cell, worker[i].control);
            active++;
        }
        int status;
        pid_t pid = waitpid(-1, &status, 0);
        CHECK(pid > 0);
        for (int i = 0; i < workers; i++) {
            if (worker[i].pid != pid)
                continue;
            worker[i].pid = 0;
            active--;
            judge(worker[i].cell, worker[i].control, status, pf_now() - worker[i].start);
        }
    }
    for (int x = 0; x < npoints && !only; x++) {
        /* those two are the rings' business; a scenario's own are none of the library */
        bool others = !strncmp(point_name[x], "mutex.", 6) || !strncmp(point_name[x], "peer.", 5) ||
                      strstr(point_name[x], ".begin");
        for (int action = KILL; action <= STOP && !others; action++) {
            if (reached[x][action])
                continue;
            printf("FAILED no victim reached %s (%s)\n", point_name[x], action_name[action]);
            failures++;
        }
    }
    printf("crash_locks: %d points, %d scenarios, %d cells missed their point, %.1f s\n", npoints, SCENARIOS, missed,
           (double)(pf_now() - began) / 1e9);
    printf("%d passed, %d failed\n", passed, failures);
    return failures != 0;
}
