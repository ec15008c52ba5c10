/* The kill matrix. Built with -DPF_CRASH_POINTS every step of every protocol calls pf__point() below, which
 * kills or stops the process there.
 *
 * A cell is: scenario x point x SIGKILL or SIGSTOP x one or two survivors. Which points a scenario's victim
 * passes is learnt from a run in which nothing happens to it. In cells of the second order the victim is
 * killed, and then the survivor too, at each point that it passed on its way; a third process must finish.
 *
 * Asserted in each cell: the survivors finish a fixed amount of work within LIMIT; every item that was
 * committed is received once, whole, in its producer's order, but for what a killed consumer had taken;
 * nothing that was not committed is received; a process that is stopped keeps its locks, and is in
 * nobody's way where it has none; an armed bell, and the wire of a link, is readable while something is there; in
 * the end a fresh process can use the ring, and no block is lent. Over all cells: every point was reached by a victim.
 *
 * A message of several parts counts from its last part on; one whose writer died before is received by nobody. Turns
 * are kept, and buried, like locks. Where the victim alone had its end of the link, the others are told: readers when
 * they have everything that was committed, and writers soon.
 *
 *   crash_matrix [-v] [-f] [-j workers] [text]
 *
 * -f: more visits of each point; text: only cells whose name has it, e.g. "put.gap/put.jump#1/stop". */
#include <stdarg.h>

#include "crash.h"
#include "procfast/link.h"
#include "procfast/mutex.h"

#define LIMIT (3 * PF_SECOND)
#define PATIENCE (10 * PF_SECOND) /* of a call that must not time out */
#define SHORT (60 * MS)           /* of a call that meets a stopped owner's lock */
#define TRIES 3                   /* a visit may depend on timing */
#define A_LOOK (PF_SECOND * 9 / 10) /* sleepers look again after a second, or a half; where nobody dies none needs to */
#define KEPT (UINT64_C(32) << 20)   /* free blocks that a ring keeps */
#define ITEMS 4096
#define BATCH 64

enum role { SETUP, VICTIM, SURVIVOR, SURVIVOR2, THIRD, RELIEVER, PROBER, FRESH, HOLDER, CORPSE, ROLES };
static const char *const role_name[] = {"setup",    "victim", "survivor", "survivor2", "third",
                                        "reliever", "prober", "fresh",    "holder",    "corpse"};
#define MASK(role) (1u << (role))
#define RECOVERERS (MASK(SURVIVOR) | MASK(RELIEVER) | MASK(PROBER))

enum op { NONE, PUT, GET, BLOCK, RETURN, ARM, SETTLE, DONE, JOIN, BEGIN, END, PART, LEAVE, OPS };
static const char *const op_name[] = {"nothing", "put",  "get",   "block", "return",   "arm",  "settle",
                                      "done",    "join", "begin", "end",   "get_part", "leave"};

enum action { NOTHING, KILL, STOP, HOLD };
static const char *const action_name[] = {"nothing", "kill", "stop", "hold"};

/* ---- what a cell's processes share with the driver -------------------------------------------------- */

struct part { /* one participant's account, written by itself */
    _Atomic int op, last; /* what it is in, the point passed last */
    _Atomic bool committed, dead;
    _Atomic unsigned turns; /* in its hands: WRITING | READING */
    _Atomic uint32_t batch, put; /* items of this call; items put so far */
    _Atomic uint32_t got;
    uint32_t item[ITEMS]; /* producer << 24 | seq, in the order received */
    uint32_t tid;
};

struct gate {
    unsigned roles;
    int point, nth;
    enum action action;
    _Atomic int visits;
    _Atomic bool hit;
};

enum { FIRST, SECOND, AUX, GATES };

struct control {
    struct gate gate[GATES];
    _Atomic bool release; /* HOLD ends */
    _Atomic bool dirty;   /* the victim died with a lock or a block in its hands */
    _Atomic int failed;
    char why[400];
    _Atomic uint32_t passed[POINTS]; /* by the victim */
    _Atomic uint32_t after[POINTS];  /* by recoverers, after the first gate */
    uint32_t lost_min;               /* what died in consumers' hands, */
    _Atomic uint32_t lost_max;       /* or was thrown away: so many at most */
    uint32_t corpse;                 /* the owner that the corpse left in a lock */
    struct part part[ROLES];
};

static void set_gate(struct control *c, int i, unsigned roles, int point, int nth, enum action action)
{
    c->gate[i] = (struct gate){.roles = roles, .point = point, .nth = nth, .action = action};
}

static struct control *ctl; /* of this cell; NULL in the driver */
static enum role role;
static struct part *me;
static struct pf_ring *ring;
static struct pf_link chain; /* the link that it is a ring of */
static bool streaming;       /* this process puts a message of several parts */
enum { WRITING = 1, READING = 2 };

static int published[4], put_turn, get_turn, turn_ended;

static void note_points(void)
{
    collect_points();
    const char *names[] = {"commit.published", "commit.published.plain", "commit.published.quietly", "commit.woken"};
    for (int i = 0; i < 4; i++)
        published[i] = point_index(names[i]);
    put_turn = point_index("put.turn");
    get_turn = point_index("get.turn");
    turn_ended = point_index("turn.ended");
}

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

/* A turn of its own; one that it buries for the dead it does in some other operation. */
static void note_turn(int x)
{
    if (x == put_turn && streaming)
        atomic_fetch_or(&me->turns, WRITING);
    else if (x == get_turn)
        atomic_fetch_or(&me->turns, READING);
    else if (x == turn_ended && atomic_load(&me->op) == END)
        atomic_fetch_and(&me->turns, ~(unsigned)WRITING);
    else if (x == turn_ended && atomic_load(&me->op) == LEAVE)
        atomic_fetch_and(&me->turns, ~(unsigned)READING);
}

void pf__point(const char *name);
void pf__point(const char *name)
{
    if (!ctl)
        return;
    int x = point_index(name);
    atomic_store(&me->last, x);
    if (role == VICTIM)
        atomic_fetch_add(&ctl->passed[x], 1);
    if ((RECOVERERS & MASK(role)) && atomic_load(&ctl->gate[FIRST].hit))
        atomic_fetch_add(&ctl->after[x], 1);
    for (int i = 0; i < 4; i++) {
        if (x == published[i])
            atomic_store(&me->committed, true);
    }
    note_turn(x);
    for (int i = 0; i < GATES; i++) {
        struct gate *g = &ctl->gate[i];
        if (!(g->roles & MASK(role)) || g->point != x || (i == SECOND && !atomic_load(&ctl->gate[FIRST].hit)))
            continue;
        if (atomic_fetch_add(&g->visits, 1) + 1 != g->nth)
            continue;
        struct pf_ring_stats s;
        pf_ring_stats(ring, &s);
        atomic_store(&ctl->dirty, s.producer || s.consumer || s.lent_bytes || atomic_load(&me->turns));
        if (g->action == KILL)
            atomic_store(&me->dead, true);
        atomic_store(&g->hit, true);
        if (g->action == KILL)
            kill(getpid(), SIGKILL);
        else if (g->action == STOP)
            kill(getpid(), SIGSTOP);
        else
            while (!atomic_load(&ctl->release))
                check_sleep(MS / 5);
    }
}

/* ---- items ------------------------------------------------------------------------------------------- */

enum kind { SMALL, INLINE, BLOCKS, PARTS, LONG };
#define SMALL_LEN 96
#define PARTS_LEN 18000 /* in three */
#define LONG_LEN 1600000 /* in four: the third waits for a reader */
#define INLINE_LEN 32000 /* 32 of them reach the soft end of the ring, 525 the memory that is kept */
#define BLOCK_LEN(k) ((k) ? UINT64_C(70000) : UINT64_C(5000))

struct item {
    uint32_t magic, producer, seq, nblocks;
    uint64_t len, sum; /* the payload's; of the header */
};
#define MAGIC UINT32_C(0x17e317e3)

static uint64_t item_sum(const struct item *it)
{
    uint64_t x = it->producer * UINT64_C(0x9e3779b97f4a7c15) ^ ((uint64_t)it->seq << 32 | it->nblocks) ^ it->len;
    return x * UINT64_C(0xd6e8feb86659fd93);
}

static void fill(void *to, uint64_t len, uint64_t seed)
{
    for (uint64_t i = 0; i < len / 8; i++)
        ((uint64_t *)to)[i] = seed + i;
}

static bool filled(const void *from, uint64_t len, uint64_t seed)
{
    for (uint64_t i = 0; i < len / 8; i++) {
        if (((const uint64_t *)from)[i] != seed + i)
            return false;
    }
    return true;
}

static void make_item(char *to, uint32_t seq, uint32_t nblocks, uint64_t len)
{
    struct item it = {MAGIC, role, seq, nblocks, len, 0};
    it.sum = item_sum(&it);
    memcpy(to, &it, sizeof it);
    fill(to + sizeof it, len - sizeof it, it.sum);
}

static uint32_t check_item(const struct pf_box *box)
{
    struct item it;
    MUST(box->len >= sizeof it, "torn: an item of %llu bytes", (unsigned long long)box->len);
    memcpy(&it, box->data, sizeof it);
    MUST(it.magic == MAGIC && it.sum == item_sum(&it) && it.len == box->len && it.producer < ROLES,
         "torn: header of an item of %llu bytes", (unsigned long long)box->len);
    MUST(filled(box->data + sizeof it, it.len - sizeof it, it.sum), "torn: %s's item %u", role_name[it.producer],
         it.seq);
    MUST(it.nblocks == box->nloans, "torn: %s's item %u has %u blocks, not %u", role_name[it.producer], it.seq,
         box->nloans, it.nblocks);
    for (uint32_t k = 0; k < it.nblocks; k++)
        MUST(box->loans[k].len == BLOCK_LEN(k) && filled(box->loans[k].base, BLOCK_LEN(k), it.sum + k),
             "torn: block %u of %s's item %u", k, role_name[it.producer], it.seq);
    return it.producer << 24 | it.seq;
}

static void begin(enum op op, unsigned batch)
{
    atomic_store(&me->committed, false);
    atomic_store(&me->batch, batch);
    atomic_store(&me->op, op);
}

static void end(void)
{
    atomic_store(&me->op, NONE);
}

static int64_t until(int64_t patience)
{
    return patience < 0 ? PF_TRY : pf_now() + patience;
}

static int put_parts(unsigned n, uint64_t len, int64_t patience);

static int put(enum kind kind, int64_t patience)
{
    if (kind >= PARTS)
        return put_parts(kind == PARTS ? 3 : 4, kind == PARTS ? PARTS_LEN : LONG_LEN, patience);
    static char buf[INLINE_LEN];
    uint64_t len = kind == INLINE ? INLINE_LEN : SMALL_LEN;
    unsigned nblocks = kind == BLOCKS ? 2 : 0;
    struct pf_loan loan[2];
    make_item(buf, atomic_load(&me->put), nblocks, len);
    for (unsigned k = 0; k < nblocks; k++) {
        begin(BLOCK, 0);
        int rc = pf_ring_block(ring, BLOCK_LEN(k), &loan[k]);
        MUST(rc == 0, "no block: %s", pf_strerror(-rc));
        fill(loan[k].base, BLOCK_LEN(k), ((struct item *)(void *)buf)->sum + k);
    }
    struct pf_iov iov = {buf, len};
    begin(PUT, 1);
    int64_t deadline = until(patience);
    int rc;
    do /* -EINTR comes with every look */
        rc = pf_ring_put(ring, &iov, 1, loan, nblocks, deadline);
    while (rc == -EINTR);
    if (rc == 0)
        atomic_fetch_add(&me->put, 1);
    end();
    if (rc < 0) {
        for (unsigned k = 0; k < nblocks; k++)
            pf_ring_return(ring, &loan[k]);
    }
    return rc;
}

/* One item in n parts, the second of them in a block. */
static int put_parts(unsigned n, uint64_t len, int64_t patience)
{
    static char buf[LONG_LEN];
    uint64_t piece = len / n, turn;
    make_item(buf, atomic_load(&me->put), 0, len);
    begin(BEGIN, 0);
    int64_t deadline = until(patience);
    int rc = pf_ring_begin(ring, &turn);
    MUST(rc == 0, "begin: %s", pf_strerror(-rc));
    streaming = true;
    unsigned i = 0;
    for (; i < n && rc == 0; i++) {
        struct pf_iov iov = {buf + i * piece, i == 1 ? 0 : piece};
        struct pf_loan loan;
        if (i == 1) {
            begin(BLOCK, 0);
            rc = pf_ring_block(ring, piece, &loan);
            MUST(rc == 0, "no block: %s", pf_strerror(-rc));
            memcpy(loan.base, buf + piece, piece);
        }
        begin(PUT, i == n - 1);
        do
            rc = i == 0 ? pf_ring_put_first(ring, turn, &iov, 1, NULL, 0, deadline)
                        : pf_ring_put_part(ring, turn, &iov, 1, &loan, i == 1, deadline);
        while (rc == -EINTR);
        if (rc < 0 && i == 1)
            pf_ring_return(ring, &loan);
    }
    if (rc == 0)
        atomic_fetch_add(&me->put, 1);
    if (rc == 0 || i > 1) {
        begin(END, 0);
        pf_ring_end(ring, turn, rc == 0);
    }
    streaming = false;
    end();
    return rc;
}

static void put_many(unsigned n, enum kind kind)
{
    static char buf[8 * INLINE_LEN];
    uint64_t off[9] = {0}, len = kind == INLINE ? INLINE_LEN : SMALL_LEN;
    for (unsigned k = 0; k < n; k++) {
        make_item(buf + off[k], atomic_load(&me->put) + k, 0, len);
        off[k + 1] = off[k] + len;
    }
    begin(PUT, n);
    int64_t deadline = until(PATIENCE);
    int rc;
    do
        rc = pf_ring_put_many(ring, buf, off, n, deadline);
    while (rc == -EINTR);
    MUST(rc == (int)n, "put_many of %u: %d", n, rc);
    atomic_fetch_add(&me->put, n);
    end();
}

static int settle(void)
{
    begin(SETTLE, 0);
    int rc = pf_ring_settle(ring);
    end();
    return rc;
}

static void note_item(const struct pf_box *box)
{
    uint32_t n = atomic_load(&me->got);
    MUST(n < ITEMS, "too many items");
    me->item[n] = check_item(box);
    atomic_store(&me->got, n + 1);
}

static void drop(struct pf_box *box)
{
    for (uint32_t k = 0; k < box->nloans; k++)
        pf_ring_return(ring, &box->loans[k]);
    pf_box_clear(box);
}

/* The rest of the item that began with `first`: 1, 0 it was torn, or an error. */
static int get_rest(const struct pf_box *first, int64_t deadline)
{
    static char bytes[LONG_LEN];
    struct item it;
    struct pf_box whole = {.data = bytes, .len = first->len};
    int rc = 0;
    MUST(first->len >= sizeof it, "torn: an item that begins with %llu bytes", (unsigned long long)first->len);
    memcpy(&it, first->data, sizeof it);
    MUST(it.magic == MAGIC && it.sum == item_sum(&it) && it.len <= LONG_LEN, "torn: header of an item in parts");
    memcpy(bytes, first->data, first->len);
    while (whole.len < it.len) {
        struct pf_box box = {0};
        begin(PART, 1);
        do
            rc = pf_ring_get_part(ring, first, &box, deadline);
        while (rc == -EINTR);
        if (rc < 0)
            break;
        uint64_t len = box.nloans ? box.loans[0].len : box.len;
        MUST(len <= it.len - whole.len, "torn: a part of %llu bytes too many", (unsigned long long)len);
        memcpy(bytes + whole.len, box.nloans ? box.loans[0].base : box.data, len);
        whole.len += len;
        drop(&box);
    }
    if (rc >= 0)
        note_item(&whole);
    else if (rc != -PF_ETORN && rc != -EPIPE)
        atomic_fetch_add(&ctl->lost_max, 1); /* given up: its writer may go on */
    begin(LEAVE, 0);
    pf_ring_leave(ring, first->reader);
    end();
    return rc >= 0 ? 1 : rc == -PF_ETORN || rc == -EPIPE ? 0 : rc;
}

/* At most max items; how many (0: it was torn), or an error. */
static int get_some(unsigned max, int64_t deadline)
{
    static struct pf_box box[BATCH];
    bool quiet = false;
    int rc, got = 0, failed = 0;
    begin(GET, max);
    do
        rc = max == 1 ? pf_ring_get(ring, box, deadline) : pf_ring_get_many(ring, box, max, deadline, &quiet);
    while (rc == -EINTR);
    if (max == 1 && rc >= 0) {
        quiet = rc;
        rc = 1;
    }
    for (int i = 0; i < rc; i++) {
        if (!box[i].writer) {
            note_item(&box[i]);
            got++;
            continue;
        }
        MUST(i == rc - 1, "the beginning of an item in parts, and more");
        failed = get_rest(&box[i], deadline);
        got += failed == 1;
    }
    begin(RETURN, 0);
    for (int i = 0; i < rc; i++)
        drop(&box[i]);
    if (quiet) {
        int settled = settle();
        MUST(settled == 0 || (role == PROBER && settled == -ETIMEDOUT), "settle: %s", pf_strerror(-settled));
    }
    end();
    return rc < 0 ? rc : got == 0 && failed < 0 ? failed : got;
}

/* At most max items, but for what is torn; how many, or an error. */
static int get(unsigned max, int64_t patience)
{
    int64_t deadline = until(patience);
    int rc;
    do
        rc = get_some(max, deadline);
    while (rc == 0);
    return rc;
}

static void put_n(unsigned n, enum kind kind)
{
    for (unsigned i = 0; i < n; i++) {
        int rc = put(kind, PATIENCE);
        MUST(rc == 0, "put: %s", pf_strerror(-rc));
    }
}

static void get_n(unsigned n, unsigned batch)
{
    while (n > 0) {
        int rc = get(batch < n ? batch : n, PATIENCE);
        MUST(rc > 0, "get: %s", pf_strerror(-rc));
        n -= (unsigned)rc;
    }
}

/* Never late: if a message is there, before and after the look, the bell is readable. */
static void check_bell(void)
{
    struct pf_ring_stats a, b;
    struct pollfd p = {.fd = pf_ring_bell(ring).wait_fd, .events = POLLIN};
    pf_ring_stats(ring, &a);
    int readable = poll(&p, 1, 0);
    pf_ring_stats(ring, &b);
    MUST(readable > 0 || a.put == a.got || a.put != b.put || a.got != b.got, "the bell is late: %llu items, silence",
         (unsigned long long)(a.put - a.got));
}

static void arm(void)
{
    begin(ARM, 0);
    int rc = pf_ring_arm(ring);
    end();
    MUST(rc == 0, "arm: %s", pf_strerror(-rc));
    check_bell();
}

static void done_all(void)
{
    int rc;
    do {
        begin(DONE, 0);
        rc = pf_ring_done(ring);
        end();
    } while (rc == 0);
    MUST(rc == -EINVAL, "done: %s", pf_strerror(-rc));
}

static void join(void)
{
    begin(JOIN, 0);
    int64_t deadline = until(PATIENCE);
    int rc;
    do
        rc = pf_ring_join(ring, deadline);
    while (rc == -EINTR);
    end();
    MUST(rc == 0, "join: %s", pf_strerror(-rc));
}

/* ---- scenarios --------------------------------------------------------------------------------------- */

/* FOREIGN: locks are owned by slot. PLAIN: there is no FUTEX_WAKE_OP. ARMED, JOINED: the bell, done and join are in
 * use. SLOW: a second death only at points that no other scenario has. LINK: the ring is a link's. ONLY_WRITER,
 * ONLY_READER: it is, and nobody else has the victim's end. FEW: fewer cells. LOOKS: somebody finds
 * out by himself who is dead, when he looks again after a second or a half. */
enum { FOREIGN = 1, PLAIN = 2, ARMED = 4, JOINED = 8, SLOW = 16, LINK = 32, ONLY_WRITER = 64, ONLY_READER = 128,
       FEW = 256, LOOKS = 512 };
#define ALONE (ONLY_WRITER | ONLY_READER)

struct scenario {
    const char *name;
    void (*setup)(void);
    void (*victim)(void);
    void (*early)(void);   /* survivors begin with this, asleep in it when the victim comes */
    void (*corpse)(void);  /* died before, ... */
    const char *corpse_at; /* ... there */
    void (*holder)(void);  /* is inside, ... */
    const char *holder_at; /* ... here, when the victim comes */
    void (*meanwhile)(void); /* others do this while the victim is stopped */
    unsigned maxsize, max_bytes, flags;
    unsigned full; /* linked rings: where so many are unread, writers may have to wait */
};

static const struct scenario *scenario;

static void put3(void) { put_n(3, SMALL); }
static void put3_inline(void) { put_n(3, INLINE); }
static void put3_blocks(void) { put_n(3, BLOCKS); }
static void put1(void) { put_n(1, SMALL); }
static void put1_blocks(void) { put_n(1, BLOCKS); }
static void put_many6(void) { put_many(6, SMALL); }
static void put_many6_inline(void) { put_many(6, INLINE); }
static void put8(void) { put_n(8, SMALL); }
static void get1(void) { get_n(1, 1); }
static void get3(void) { get_n(3, 1); }
static void get_many4(void) { get_n(4, 4); }
static void get_all(void) { get_n((unsigned)pf_ring_size(ring), BATCH); }

static void put_try(void)
{
    int rc = put(SMALL, -1);
    MUST(rc == 0 || rc == -EAGAIN, "put: %s", pf_strerror(-rc));
    rc = get(1, -1);
    MUST(rc == 1 || rc == -EAGAIN, "get: %s", pf_strerror(-rc));
}

/* Then the next put returns to the front. */
static void at_soft_end(void)
{
    put_n(32, INLINE);
    get_n(30, 10);
}

/* Then the next put leaves the gap before the reader and goes on behind everything. */
static void before_gap(void)
{
    put_n(32, INLINE);
    get_n(20, 10);
    put_n(19, INLINE);
}

static void over_jumps(void)
{
    before_gap();
    put_n(3, INLINE);
}

static void far(void) { put_n(545, INLINE); }

/* The reader will cross a jump from beyond what is kept, and punch what the writer is just coming to. */
static void far_wrapped(void)
{
    put_n(545, INLINE);
    get_n(290, BATCH);
    put_n(280, INLINE);
    get_n(250, 1);
    put_n(240, INLINE);
}

static void put20_inline(void) { put_n(20, INLINE); }

static void mixed6(void)
{
    put_n(2, SMALL);
    put_n(2, BLOCKS);
    put_n(2, SMALL);
}

static void return_blocks(unsigned n, uint64_t len)
{
    struct pf_loan loan[4];
    for (unsigned i = 0; i < n; i++) {
        begin(BLOCK, 0);
        int rc = pf_ring_block(ring, len, &loan[i]);
        MUST(rc == 0, "no block: %s", pf_strerror(-rc));
    }
    begin(RETURN, 0);
    for (unsigned i = 0; i < n; i++)
        pf_ring_return(ring, &loan[i]);
    end();
}

/* More free memory than is kept. */
static void return_far(void) { return_blocks(3, UINT64_C(12) << 20); }

/* Then the ring can only grow to its ceiling by giving free blocks back. */
static void below_ceiling(void)
{
    return_blocks(4, UINT64_C(250) << 10);
    put_n(8, INLINE);
}

static void armed2(void)
{
    put_n(2, SMALL);
    arm();
}

static void get2(void) { get_n(2, 1); }

static void two_to_do(void)
{
    put_n(2, SMALL);
    get_n(2, 1);
}

/* ---- of a link */

static void put1_inline(void) { put_n(1, INLINE); }
static void put1_parts(void) { put_n(1, PARTS); }
static void put2_parts(void) { put_n(2, PARTS); }
static void put1_long(void) { put_n(1, LONG); }
static void fill_window(void) { put_n(32, INLINE); }
static void get20(void) { get_n(20, 1); }

static _Noreturn void die(void)
{
    atomic_store(&me->dead, true);
    kill(getpid(), SIGKILL);
    abort();
}

static uint64_t put_first(void)
{
    static char buf[PARTS_LEN];
    struct pf_iov iov = {buf, PARTS_LEN / 3};
    uint64_t turn;
    make_item(buf, atomic_load(&me->put), 0, PARTS_LEN);
    begin(BEGIN, 0);
    int rc = pf_ring_begin(ring, &turn);
    MUST(rc == 0, "begin: %s", pf_strerror(-rc));
    streaming = true;
    begin(PUT, 0);
    do
        rc = pf_ring_put_first(ring, turn, &iov, 1, NULL, 0, until(PATIENCE));
    while (rc == -EINTR);
    MUST(rc == 0, "put_first: %s", pf_strerror(-rc));
    return turn;
}

static void end_torn(uint64_t turn)
{
    begin(END, 0);
    pf_ring_end(ring, turn, false);
    streaming = false;
    end();
}

static void put_first_only(void) { end_torn(put_first()); }

static void die_writing(void)
{
    put_first();
    die();
}

/* Has the turn, and no lock. */
static void hold_writing(void)
{
    uint64_t turn = put_first();
    atomic_fetch_add(&ctl->gate[AUX].visits, 1);
    while (!atomic_load(&ctl->release))
        check_sleep(MS / 5);
    end_torn(turn);
}

/* The turn that comes with a first part; 0 where it is a whole message. */
static uint64_t get_first(void)
{
    struct pf_box box = {0};
    begin(GET, 1);
    int64_t deadline = until(PATIENCE);
    int rc;
    do
        rc = pf_ring_get(ring, &box, deadline);
    while (rc == -EINTR);
    MUST(rc >= 0, "the first part: %s", pf_strerror(-rc));
    uint64_t turn = box.reader;
    if (turn)
        begin(PART, 0);
    else
        note_item(&box);
    drop(&box);
    return turn;
}

static void die_reading(void)
{
    get_first();
    die();
}

static void leave_one_get_one(void)
{
    uint64_t turn = get_first();
    if (turn) {
        atomic_fetch_add(&ctl->lost_max, 1);
        begin(LEAVE, 0);
        pf_ring_leave(ring, turn);
    }
    end();
    get_n(1, 1);
}

static void put_and_go(void)
{
    put_n(1, SMALL);
    put_n(1, PARTS);
    put_n(1, BLOCKS);
    pf_link_unwire(&chain, 0, pf_ring_bell(ring).ring_fd);
}

static void get_and_go(void)
{
    get_n(3, 1);
    pf_link_unwire(&chain, 1, pf_ring_bell(ring).wait_fd);
}

static void close_reader(void) { pf_link_unwire(&chain, 1, pf_ring_bell(ring).wait_fd); }

static void get_to_end(void)
{
    int rc;
    do
        rc = get(1, PATIENCE);
    while (rc > 0);
    MUST(rc == -EPIPE, "get at the end: %s", pf_strerror(-rc));
}

static void put_to_end(void)
{
    int rc;
    do
        rc = put(INLINE, PATIENCE);
    while (rc == 0);
    MUST(rc == -EPIPE, "put at the end: %s", pf_strerror(-rc));
}

static const struct scenario scenarios[] = {
    {.name = "put", .victim = put3},
    {.name = "put.foreign", .victim = put3, .flags = FOREIGN},
    {.name = "put.wakes", .victim = put3, .early = get1},
    {.name = "put.wakes.plain", .victim = put3, .early = get1, .flags = PLAIN},
    {.name = "put.wakes.foreign", .victim = put3, .early = get1, .flags = FOREIGN},
    {.name = "try", .setup = put1, .victim = put_try},
    {.name = "put.blocks", .victim = put3_blocks},
    {.name = "put.blocks.foreign", .victim = put3_blocks, .flags = FOREIGN},
    {.name = "put.grows", .victim = put3_inline},
    {.name = "put.wraps", .setup = at_soft_end, .victim = put3_inline},
    {.name = "put.gap", .setup = before_gap, .victim = put3_inline},
    {.name = "put.ceiling", .setup = below_ceiling, .victim = put3_inline, .max_bytes = 1500 << 10},
    {.name = "put_many", .victim = put_many6},
    {.name = "put_many.wakes", .victim = put_many6, .early = get1},
    {.name = "put_many.wraps", .setup = at_soft_end, .victim = put_many6_inline},
    {.name = "put_many.gap", .setup = before_gap, .victim = put_many6_inline},
    {.name = "put.full", .setup = put8, .victim = put1, .maxsize = 8},
    {.name = "put.contended", .victim = put1, .holder = put1, .holder_at = "put.locked"},
    {.name = "put.contended.foreign", .victim = put1, .holder = put1, .holder_at = "put.locked", .flags = FOREIGN},
    {.name = "put.recovers", .victim = put1_blocks, .corpse = put1_blocks, .corpse_at = "put.block"},
    {.name = "put.recovers.foreign", .victim = put1_blocks, .corpse = put1_blocks, .corpse_at = "put.block",
     .flags = FOREIGN},
    {.name = "get", .setup = put3, .victim = get3},
    {.name = "get.foreign", .setup = put3, .victim = get3, .flags = FOREIGN},
    {.name = "get.waits", .victim = get1},
    {.name = "get.wakes", .setup = put8, .victim = get3, .early = put1, .maxsize = 8},
    {.name = "get.wakes.plain", .setup = put8, .victim = get3, .early = put1, .maxsize = 8, .flags = PLAIN | SLOW},
    {.name = "get.blocks", .setup = put3_blocks, .victim = get3},
    {.name = "get_many", .setup = mixed6, .victim = get_many4},
    {.name = "get.jumps", .setup = over_jumps, .victim = get_all},
    {.name = "get.far", .setup = far, .victim = get_all, .flags = SLOW},
    {.name = "get.far.wrapped", .setup = far_wrapped, .victim = get_all, .meanwhile = put20_inline, .flags = SLOW},
    {.name = "get.contended", .setup = put3, .victim = get1, .holder = get1, .holder_at = "get.locked"},
    {.name = "get.recovers", .setup = mixed6, .victim = get_many4, .corpse = get_many4, .corpse_at = "get.block"},
    {.name = "get.recovers.foreign", .setup = mixed6, .victim = get_many4, .corpse = get_many4,
     .corpse_at = "get.block", .flags = FOREIGN},
    {.name = "return.far", .victim = return_far},
    {.name = "arm", .setup = put3, .victim = arm, .flags = ARMED},
    {.name = "arm.empty", .victim = arm, .flags = ARMED},
    {.name = "arm.recovers", .setup = put3, .victim = arm, .corpse = put1_blocks, .corpse_at = "put.block",
     .flags = ARMED},
    {.name = "bell.put", .setup = arm, .victim = put3, .flags = ARMED},
    {.name = "bell.put_many", .setup = arm, .victim = put_many6, .flags = ARMED},
    {.name = "bell.settle", .setup = armed2, .victim = get2, .flags = ARMED},
    {.name = "done", .setup = two_to_do, .victim = done_all, .early = join, .flags = JOINED},
    {.name = "join", .setup = two_to_do, .victim = join, .flags = JOINED},
    {.name = "link.put", .victim = put3, .flags = LINK | SLOW},
    {.name = "link.put.wakes", .victim = put3, .early = get1, .flags = LINK | SLOW},
    {.name = "link.put.full", .setup = fill_window, .victim = put1_inline, .flags = LINK | FEW, .full = 17},
    {.name = "link.put.parts", .victim = put1_parts, .flags = LINK | SLOW},
    {.name = "link.put.long", .victim = put1_long, .early = get1, .flags = LINK | SLOW, .full = 2},
    {.name = "link.put.gives.up", .victim = put_first_only, .flags = LINK | FEW},
    {.name = "link.put.torn", .victim = put1, .corpse = die_writing, .flags = LINK},
    {.name = "link.put.torn.foreign", .victim = put1, .corpse = die_writing, .flags = LINK | FOREIGN | FEW},
    {.name = "link.put.waits", .victim = put1, .holder = hold_writing, .flags = LINK | FEW},
    {.name = "link.get", .setup = put3, .victim = get3, .flags = LINK | SLOW},
    {.name = "link.get.waits", .setup = put1, .victim = get2, .flags = LINK},
    {.name = "link.get.waits.foreign", .setup = put1, .victim = get2, .flags = LINK | FOREIGN | FEW},
    {.name = "link.get.wakes", .setup = fill_window, .victim = get20, .early = put1_inline, .flags = LINK | SLOW,
     .full = 17},
    {.name = "link.get.parts", .setup = put1_parts, .victim = get1, .flags = LINK},
    {.name = "link.get.long", .victim = get1, .early = put1_long, .flags = LINK | FEW, .full = 2},
    {.name = "link.get.leaves", .setup = put2_parts, .victim = leave_one_get_one, .flags = LINK | FEW},
    {.name = "link.get.torn", .victim = get1, .corpse = die_writing, .flags = LINK | FEW | LOOKS},
    {.name = "link.get.left", .setup = put2_parts, .victim = get1, .corpse = die_reading, .flags = LINK},
    {.name = "link.get.left.foreign", .setup = put2_parts, .victim = get1, .corpse = die_reading,
     .flags = LINK | FOREIGN | FEW},
    {.name = "link.arm", .setup = put3, .victim = arm, .flags = LINK | ARMED | SLOW},
    {.name = "link.arm.empty", .setup = two_to_do, .victim = arm, .flags = LINK | ARMED | FEW},
    {.name = "link.armed.put", .setup = arm, .victim = put3, .flags = LINK | ARMED | SLOW},
    {.name = "link.settle", .setup = armed2, .victim = get2, .flags = LINK | ARMED | SLOW},
    {.name = "link.only.writer", .victim = put_and_go, .flags = LINK | ONLY_WRITER | FEW},
    {.name = "link.only.writer.awaited", .victim = put_and_go, .early = get_to_end, .flags = LINK | ONLY_WRITER | SLOW},
    {.name = "link.only.reader", .setup = put3, .victim = get_and_go, .flags = LINK | ONLY_READER | SLOW},
    {.name = "link.only.reader.closes", .setup = fill_window, .victim = close_reader, .holder = put_to_end,
     .holder_at = "mutex.unlocked", .flags = LINK | ONLY_READER | FEW},
    {.name = "link.only.reader.awaited", .victim = get_and_go, .early = put_to_end,
     .flags = LINK | ONLY_READER | FEW | LOOKS},
};
#define SCENARIOS ((int)(sizeof scenarios / sizeof *scenarios))

/* What every survivor does: as many gets as puts, so that nobody starves. */
static void work(void)
{
    unsigned bell = scenario->flags & (ARMED | LINK);
    if (scenario->flags & ONLY_WRITER)
        get_to_end();
    else if (scenario->flags & ONLY_READER)
        put_to_end();
    for (int step = 0; step < 4 && !(scenario->flags & ALONE); step++) {
        bool many = step == 2 && !scenario->maxsize && !(scenario->flags & LINK);
        if (scenario->maxsize)
            get1();
        if (many)
            put_many(3, SMALL);
        else
            put_n(1, step == 0 ? BLOCKS : step == 3 && (scenario->flags & LINK) ? PARTS : SMALL);
        if (bell)
            check_bell();
        if (!scenario->maxsize)
            get_n(many ? 3 : 1, many ? 3 : 1);
        if (bell)
            check_bell();
    }
}

static void early_work(void)
{
    scenario->early();
    work();
}

/* ---- the processes of a cell, seen from its runner --------------------------------------------------- */

static struct proc {
    pid_t pid; /* 0: not running */
    bool stopped;
} procs[ROLES];

/* Where the victim alone has an end, it has no other. The runner closed it when the victim had it. */
static void take_ends(void)
{
    struct pf_bell ends = pf_ring_bell(ring);
    bool writer = role == VICTIM ? !(scenario->flags & ONLY_READER) : !(scenario->flags & ONLY_WRITER);
    bool reader = role == VICTIM ? !(scenario->flags & ONLY_WRITER) : !(scenario->flags & ONLY_READER);
    if (!writer && ends.ring_fd >= 0)
        pf_link_unwire(&chain, 0, ends.ring_fd);
    if (!reader && ends.wait_fd >= 0)
        pf_link_unwire(&chain, 1, ends.wait_fd);
}

static void spawn(enum role as, void (*run)(void))
{
    MUST(!procs[as].pid, "%s runs already", role_name[as]);
    pid_t pid = check_fork();
    if (pid == 0) {
        role = as;
        me = &ctl->part[as];
        me->tid = (uint32_t)syscall(SYS_gettid);
        take_ends();
        run();
        _exit(0);
    }
    procs[as] = (struct proc){pid, false};
}

static _Noreturn void hang(const char *what)
{
    char text[300] = "";
    size_t n = 0;
    struct pf_ring_stats s;
    pf_ring_stats(ring, &s);
    for (int i = 0; i < ROLES && n < sizeof text; i++) {
        struct part *p = &ctl->part[i];
        if (procs[i].pid)
            n += (size_t)snprintf(text + n, sizeof text - n, "; %s is in %s, passed %s%s", role_name[i],
                                  op_name[atomic_load(&p->op)],
                                  atomic_load(&p->last) < 0 ? "-" : point_name[atomic_load(&p->last)],
                                  procs[i].stopped ? ", stopped" : "");
    }
    fail("hang: %s%s; put %llu got %llu locks %x %x", what, text, (unsigned long long)s.put,
         (unsigned long long)s.got, s.producer, s.consumer);
}

/* A death closes the account: what a killed producer committed is in the ring, what a killed consumer
 * committed is gone with it. */
static void bury(struct part *p)
{
    if (atomic_load(&p->committed) && atomic_load(&p->op) == PUT)
        atomic_fetch_add(&p->put, atomic_load(&p->batch));
    if (atomic_load(&p->committed) && atomic_load(&p->op) == GET) {
        if (!(atomic_load(&p->turns) & READING)) /* else its writer may not have made it whole */
            ctl->lost_min++;
        atomic_fetch_add(&ctl->lost_max, atomic_load(&p->batch));
    }
    if (atomic_load(&p->op) == PART)
        atomic_fetch_add(&ctl->lost_max, 1);
    atomic_store(&p->op, NONE);
    atomic_store(&p->turns, 0);
    atomic_store(&p->dead, false);
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
    MUST(who < ROLES, "an unknown child");
    if (WIFSTOPPED(status)) {
        procs[who].stopped = true;
        return true;
    }
    procs[who].pid = 0;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && atomic_load(&ctl->part[who].dead)) {
        bury(&ctl->part[who]);
        if (who == SURVIVOR)
            spawn(THIRD, work);
        return true;
    }
    MUST(status == 0, "%s ended with %s %d", role_name[who], WIFSIGNALED(status) ? "signal" : "status",
         WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return true;
}

static void get_half(void)
{
    uint64_t half = pf_ring_size(ring) / 2;
    while (pf_ring_size(ring) > half && get(1, 10 * MS) > 0)
        ;
}

/* Where all who run sleep, and rightly so, somebody does what they wait for. */
static void relieve(void)
{
    bool waiting[OPS] = {false};
    int n = 0;
    for (int i = 0; i < ROLES; i++) {
        if (!procs[i].pid || procs[i].stopped || (i == HOLDER && !atomic_load(&ctl->release)))
            continue;
        enum op op = (enum op)atomic_load(&ctl->part[i].op);
        if (i == RELIEVER || op == NONE || !asleep(procs[i].pid))
            return;
        waiting[op] = true;
        n++;
    }
    if (!n)
        return;
    struct pf_ring_stats s;
    pf_ring_stats(ring, &s);
    if (procs[HOLDER].pid && !atomic_load(&ctl->release))
        atomic_store(&ctl->release, true);
    else if (scenario->flags & ALONE)
        return;
    else if ((waiting[GET] || (waiting[PART] && !(scenario->flags & LOOKS))) && s.put == s.got)
        spawn(RELIEVER, put1);
    else if (waiting[PUT] && scenario->full && s.put - s.got >= scenario->full)
        spawn(RELIEVER, get_half);
    else if (waiting[PUT] && scenario->maxsize && s.put - s.got >= scenario->maxsize)
        spawn(RELIEVER, get1);
    else if (waiting[JOIN] && s.done < s.put)
        spawn(RELIEVER, done_all);
}

/* Until none of these runs, but for those that are stopped. */
static void finish(unsigned roles, const char *what)
{
    int64_t limit = pf_now() + LIMIT;
    for (;;) {
        while (reap())
            ;
        bool running = false;
        for (int i = 0; i < ROLES; i++)
            running |= (roles & MASK(i)) && procs[i].pid && !procs[i].stopped;
        if (!running)
            return;
        if (pf_now() > limit)
            hang(what);
        relieve();
        check_sleep(MS / 10);
    }
}

#define ALL (MASK(ROLES) - 1)
#define WORKERS (MASK(SURVIVOR) | MASK(SURVIVOR2) | MASK(THIRD) | MASK(RELIEVER))

/* Runs again where a cell of the second order has it killed. */
static void finish_one(enum role as, void (*run)(void))
{
    for (int i = 0; i < 2; i++) {
        bool doomed = !atomic_load(&ctl->gate[SECOND].hit);
        spawn(as, run);
        finish(MASK(as), role_name[as]);
        if (!doomed || !atomic_load(&ctl->gate[SECOND].hit))
            return;
    }
}

/* ---- a cell ------------------------------------------------------------------------------------------ */

/* Locks by slot, as in another pid namespace: the number in the header is changed before anybody attaches. */
static void make_foreign(int fd)
{
    uint64_t *header = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MUST(header != MAP_FAILED, "mmap");
    int at = 0;
    while (at < 64 && header[at] != pf_pid_namespace())
        at++;
    MUST(at < 64, "the header names no pid namespace");
    header[at]++;
    munmap(header, 4096);
}

static void open_link(void)
{
    int fds[2], rc = pf_link_create(&chain, 1);
    MUST(rc == 0, "create: %s", pf_strerror(-rc));
    if (scenario->flags & FOREIGN) {
        struct pf_link creator = chain;
        make_foreign(creator.fd);
        rc = pf_link_attach(&chain, 1, dup(creator.fd));
        MUST(rc == 0, "attach: %s", pf_strerror(-rc));
        pf_link_close(&creator);
    }
    rc = pf_wire_open(fds);
    MUST(rc == 0, "wire: %s", pf_strerror(-rc));
    pf_link_wire(&chain, 0, fds[0]);
    pf_link_wire(&chain, 1, fds[1]);
    ring = chain.ring[0];
}

static void open_ring(void)
{
    int rc = pf_ring_create(&ring, scenario->maxsize, scenario->max_bytes);
    MUST(rc == 0, "create: %s", pf_strerror(-rc));
    if (!(scenario->flags & FOREIGN))
        return;
    make_foreign(pf_ring_fd(ring));
    struct pf_ring *creator = ring;
    struct pf_bell bell = pf_ring_bell(ring);
    bell.wait_fd = bell.ring_fd = dup(bell.wait_fd);
    rc = pf_ring_attach(&ring, dup(pf_ring_fd(creator)), bell);
    MUST(rc == 0, "attach: %s", pf_strerror(-rc));
    pf_ring_close(creator);
}

/* Does the stopped victim own the producers' lock, the consumers'? Its thread id tells; where owners are slots,
 * it is who owns the lock all the while, and not the dead. */
static void victim_owns(bool *prod, bool *cons)
{
    struct pf_ring_stats s;
    pf_ring_stats(ring, &s);
    uint32_t producer = s.producer, consumer = s.consumer, tid = ctl->part[VICTIM].tid;
    bool foreign = scenario->flags & FOREIGN;
    *prod = foreign ? producer && producer != ctl->corpse : producer == tid;
    *cons = foreign ? consumer && consumer != ctl->corpse : consumer == tid;
    for (int i = 0; i < 20 && foreign && (*prod || *cons); i++) {
        check_sleep(MS / 2);
        pf_ring_stats(ring, &s);
        *prod &= s.producer == producer;
        *cons &= s.consumer == consumer;
    }
}

/* The victim is stopped: its locks and turns stay its own and the others' deadlines hold; else it is in nobody's
 * way. */
static void probe(void)
{
    bool prod, cons, prod_still, cons_still;
    victim_owns(&prod, &cons);
    unsigned turns = atomic_load(&ctl->part[VICTIM].turns);
    bool writing = turns & WRITING, reading = turns & READING;
    int rc = put(SMALL, prod || writing || scenario->maxsize || scenario->full ? SHORT : PATIENCE);
    if (prod || writing)
        MUST(rc == -ETIMEDOUT, "a stopped producer's lock or turn: put gave %d", rc);
    else
        MUST(rc == 0 || (scenario->maxsize && rc == -ETIMEDOUT && pf_ring_size(ring) == scenario->maxsize) ||
                 (scenario->full && rc == -ETIMEDOUT && pf_ring_size(ring) >= scenario->full),
             "behind a stopped process: put: %s", pf_strerror(-rc));
    if (pf_ring_size(ring) > 0) {
        rc = get(1, cons || reading || prod || writing ? SHORT : PATIENCE);
        if (cons || reading)
            MUST(rc == -ETIMEDOUT, "a stopped consumer's lock or turn: get gave %d", rc);
        else
            MUST(rc == 1 || (rc == -ETIMEDOUT && (writing || pf_ring_size(ring) == 0)),
                 "behind a stopped process: get: %s", pf_strerror(-rc));
    }
    if (scenario->meanwhile && !prod)
        scenario->meanwhile();
    victim_owns(&prod_still, &cons_still);
    MUST(prod_still == prod && cons_still == cons, "a stopped owner was robbed");
    if (scenario->flags & ARMED)
        arm();
    else if (scenario->flags & LINK)
        check_bell();
}

/* The victim is stopped, and has its end of the link: nobody is told that it was gone. */
static void probe_alone(void)
{
    int rc, n = 0;
    if (scenario->flags & ONLY_WRITER) {
        while ((rc = get(1, SHORT)) > 0)
            ;
    } else {
        while ((rc = put(INLINE, SHORT)) == 0 && n++ < 40)
            ;
    }
    MUST(rc == -ETIMEDOUT, "the other end is stopped: %s", pf_strerror(-rc));
}

static void fresh(void)
{
    int rc;
    while ((rc = get(BATCH, 0)) > 0)
        ;
    MUST(rc == -ETIMEDOUT, "drain: %s", pf_strerror(-rc));
    if (scenario->flags & ARMED) {
        struct pollfd p = {.fd = pf_ring_bell(ring).wait_fd, .events = POLLIN};
        arm();
        int most = scenario->flags & LINK ? 4 : 1; /* the dead may have left a ring each */
        do
            rc = settle();
        while (rc == 0 && poll(&p, 1, 0) == 1 && --most > 0);
        MUST(rc == 0 && poll(&p, 1, 0) == 0, "the bell rings for nothing");
        put1();
        check_bell();
        get1();
    }
    put1();
    get1();
    if (scenario->flags & JOINED) {
        done_all();
        join();
    }
}

/* A process of its own: it is the new slot's owner that sweeps. */
static void use_blocks(void)
{
    if (scenario->flags & ALONE) {
        return_blocks(1, 100);
        return;
    }
    put1_blocks();
    get1();
}

/* Every item that was put is received once, in its producer's order; nothing else is. */
static void verify(void)
{
    static uint8_t seen[ROLES][ITEMS];
    uint32_t missing = 0;
    for (int c = 0; c < ROLES; c++) {
        uint32_t next[ROLES] = {0};
        for (uint32_t i = 0; i < atomic_load(&ctl->part[c].got); i++) {
            uint32_t p = ctl->part[c].item[i] >> 24, seq = ctl->part[c].item[i] & 0xffffff;
            MUST(seq < atomic_load(&ctl->part[p].put), "%s received %s's item %u, which was never committed",
                 role_name[c], role_name[p], seq);
            MUST(!seen[p][seq]++, "duplicate: %s's item %u", role_name[p], seq);
            MUST(seq >= next[p], "order: %s received %s's item %u after %u", role_name[c], role_name[p], seq,
                 next[p] - 1);
            next[p] = seq + 1;
        }
    }
    for (int p = 0; p < ROLES; p++) {
        for (uint32_t seq = 0; seq < atomic_load(&ctl->part[p].put); seq++)
            missing += !seen[p][seq];
    }
    uint32_t most = atomic_load(&ctl->lost_max);
    MUST(missing >= ctl->lost_min && missing <= most, "%u items are lost, %u to %u may be", missing, ctl->lost_min,
         most);
    struct pf_ring_stats s;
    pf_ring_stats(ring, &s);
    MUST(s.put == s.got, "%llu items are left", (unsigned long long)(s.put - s.got));
    MUST(!s.producer && !s.consumer, "a lock is held: %x %x", s.producer, s.consumer);
    MUST(!s.lent_bytes, "%llu bytes of blocks leaked", (unsigned long long)s.lent_bytes);
    MUST(s.block_bytes <= KEPT, "%llu bytes of blocks kept", (unsigned long long)s.block_bytes);
}

static void run_cell(int peers)
{
    role = SETUP;
    me = &ctl->part[SETUP];
    if (scenario->flags & PLAIN)
        MUST(deny_wake_op(), "seccomp: %s", strerror(errno));
    if (scenario->flags & LINK)
        open_link();
    else
        open_ring();
    if (scenario->setup)
        scenario->setup();
    if (scenario->corpse) {
        if (scenario->corpse_at)
            set_gate(ctl, AUX, MASK(CORPSE), point_index(scenario->corpse_at), 1, KILL);
        spawn(CORPSE, scenario->corpse);
        finish(MASK(CORPSE), "the corpse lives");
        struct pf_ring_stats s;
        pf_ring_stats(ring, &s);
        ctl->corpse = s.producer | s.consumer; /* it died inside one of them */
    }
    if (scenario->holder) {
        if (scenario->holder_at)
            set_gate(ctl, AUX, MASK(HOLDER), point_index(scenario->holder_at), 1, HOLD);
        spawn(HOLDER, scenario->holder);
        check_until((_Atomic int *)&ctl->gate[AUX].visits, 1);
    }
    for (int i = 0; i < peers && scenario->early; i++) {
        spawn(SURVIVOR + (enum role)i, early_work);
        int64_t limit = pf_now() + LIMIT;
        while (atomic_load(&ctl->part[SURVIVOR + i].op) == NONE || !asleep(procs[SURVIVOR + i].pid)) {
            MUST(pf_now() < limit, "%s does not sleep", role_name[SURVIVOR + i]);
            check_sleep(MS / 10);
        }
    }
    spawn(VICTIM, scenario->victim);
    take_ends(); /* what the victim alone shall have */
    finish(MASK(VICTIM), "the victim");
    atomic_store(&ctl->release, true);
    finish(MASK(HOLDER), "the holder");
    bool inside = false;
    if (procs[VICTIM].stopped) {
        finish_one(PROBER, scenario->flags & ALONE ? probe_alone : probe);
        bool prod, cons;
        victim_owns(&prod, &cons);
        inside = prod || cons || atomic_load(&ctl->part[VICTIM].turns) || (scenario->flags & ALONE);
    } else if (scenario->flags & ARMED) {
        finish_one(PROBER, arm);
    } else if ((scenario->flags & (LINK | ALONE)) == LINK) {
        finish_one(PROBER, peers > 1 ? arm : check_bell); /* somebody's first select */
    }
    if (inside) {
        kill(procs[VICTIM].pid, SIGCONT);
        procs[VICTIM].stopped = false;
    }
    for (int i = 0; i < peers && !scenario->early; i++)
        spawn(SURVIVOR + (enum role)i, work);
    finish(WORKERS, "survivors");
    if (procs[VICTIM].stopped) {
        kill(procs[VICTIM].pid, SIGCONT);
        procs[VICTIM].stopped = false;
    }
    finish(ALL, "after SIGCONT");
    if (scenario->flags & ALONE) { /* an end is gone for ever; what is left nobody was to read */
        while (get(BATCH, 0) > 0)
            ;
    } else {
        spawn(FRESH, fresh);
        finish(ALL, "a fresh process");
    }
    spawn(FRESH, use_blocks);
    finish(ALL, "a fresh process");
    verify();
}

/* ---- the driver -------------------------------------------------------------------------------------- */

struct cell {
    int scenario, peers, point, nth, tries;
    enum action action;
    int second; /* the point where the survivor dies, or -1 */
};

static struct cell *cells;
static int ncells, next_cell, passed, failures, missed;
static bool reached[POINTS][HOLD]; /* by a victim, per action */
static bool common[POINTS];        /* in a scenario that is not slow */
static const char *only;
static bool verbose, full;
static FILE *out;

static const char *cell_name(const struct cell *c)
{
    static char text[200];
    int n = snprintf(text, sizeof text, "%s", scenarios[c->scenario].name);
    if (c->action)
        n += snprintf(text + n, sizeof text - (size_t)n, "/%s#%d/%s", point_name[c->point], c->nth,
                      action_name[c->action]);
    if (c->second >= 0)
        n += snprintf(text + n, sizeof text - (size_t)n, "+%s", point_name[c->second]);
    snprintf(text + n, sizeof text - (size_t)n, "/%d", c->peers);
    return text;
}

static void add_cell(struct cell c)
{
    static int room;
    if (only && c.action && !strstr(cell_name(&c), only))
        return;
    if (ncells == room) {
        room = room ? 2 * room : 4096;
        cells = realloc(cells, (size_t)room * sizeof *cells);
        CHECK(cells);
    }
    cells[ncells++] = c;
}

static void first_order(const struct cell *dry, const struct control *c)
{
    unsigned flags = scenarios[dry->scenario].flags;
    if (!full && (flags & FEW) && dry->peers > 1)
        return;
    for (int x = 0; x < npoints; x++) {
        int n = (int)c->passed[x];
        int nth[] = {1, n, 2, (n + 1) / 2};
        common[x] |= n && !(flags & (SLOW | FEW));
        for (int i = 0; i < (full ? 4 : flags & FEW ? 1 : 2) && i < n; i++) {
            bool again = false;
            for (int k = 0; k < i; k++)
                again |= nth[k] == nth[i];
            for (int action = KILL; action <= STOP && !again; action++)
                add_cell((struct cell){dry->scenario, dry->peers, x, nth[i], 0, (enum action)action, -1});
        }
    }
}

static void second_order(const struct cell *first, const struct control *c)
{
    if (!full && (first->nth > 1 || ((scenarios[first->scenario].flags & (SLOW | FEW)) && common[first->point])))
        return;
    for (int x = 0; x < npoints; x++) {
        if (c->after[x]) {
            struct cell next = *first;
            next.second = x;
            next.tries = 0;
            add_cell(next);
        }
    }
}

static void judge(struct cell c, struct control *control, int status, int64_t took)
{
    bool failed = status != 0 || atomic_load(&control->failed);
    if (failed) {
        failures++;
        if (!control->why[0])
            snprintf(control->why, sizeof control->why, "the runner ended with status %#x", (unsigned)status);
        fprintf(out, "FAILED %s: %s\n", cell_name(&c), control->why);
        return;
    }
    bool hit = (!c.action || control->gate[FIRST].hit) && (c.second < 0 || control->gate[SECOND].hit);
    if (!hit && ++c.tries < TRIES) {
        add_cell(c);
        return;
    }
    unsigned flags = scenarios[c.scenario].flags;
    if (!c.action && took > (flags & LINK ? A_LOOK / 2 : A_LOOK) && !(flags & LOOKS)) {
        if (++c.tries < TRIES) {
            add_cell(c);
            return;
        }
        failures++;
        fprintf(out, "FAILED %s: took %.3f s, a wake-up is missing\n", cell_name(&c), (double)took / 1e9);
    }
    missed += !hit;
    passed++;
    if (verbose || took > 2 * PF_SECOND)
        fprintf(out, "%s %s %.3f s\n", hit ? "passed" : "missed", cell_name(&c), (double)took / 1e9);
    if (!c.action) {
        first_order(&c, control);
    } else if (hit && c.second < 0) {
        reached[c.point][c.action] = true;
        if (c.action == KILL && c.peers == 1 && control->dirty)
            second_order(&c, control);
    }
}

static pid_t start(const struct cell *c, struct control *control)
{
    memset(control, 0, sizeof *control);
    for (int i = 0; i < ROLES; i++)
        control->part[i].last = -1;
    if (c->action)
        set_gate(control, FIRST, MASK(VICTIM), c->point, c->nth, c->action);
    if (c->second >= 0)
        set_gate(control, SECOND, RECOVERERS, c->second, 1, KILL);
    pid_t pid = check_fork();
    if (pid == 0) {
        ctl = control;
        scenario = &scenarios[c->scenario];
        run_cell(c->peers);
        _exit(0);
    }
    return pid;
}

int main(int argc, char **argv)
{
    int64_t began = pf_now();
    int workers = 4; /* more than there may be CPUs: most of the time they sleep */
    out = stdout;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-v") == 0)
            verbose = true;
        else if (strcmp(argv[i], "-f") == 0)
            full = true;
        else if (strcmp(argv[i], "-j") == 0 && i + 1 < argc)
            workers = atoi(argv[++i]);
        else
            only = argv[i];
    }
    CHECK(workers >= 1 && workers <= MAX_WORKERS);
    note_points();
    struct {
        pid_t pid;
        struct cell cell;
        struct control *control;
        int64_t start;
    } worker[MAX_WORKERS] = {0};
    for (int i = 0; i < workers; i++)
        worker[i].control = check_shared(sizeof(struct control));
    for (int i = 0; i < SCENARIOS; i++) {
        for (int peers = 1; peers <= 2; peers++)
            add_cell((struct cell){.scenario = i, .peers = peers, .second = -1});
    }
    for (int running = 0; running || next_cell < ncells;) {
        for (int i = 0; i < workers && next_cell < ncells; i++) {
            if (worker[i].pid)
                continue;
            worker[i].cell = cells[next_cell++];
            worker[i].start = pf_now();
            worker[i].pid = start(&worker[i].cell, worker[i].control);
            running++;
        }
        int status;
        pid_t pid = waitpid(-1, &status, 0);
        CHECK(pid > 0);
        for (int i = 0; i < workers; i++) {
            if (worker[i].pid != pid)
                continue;
            worker[i].pid = 0;
            running--;
            judge(worker[i].cell, worker[i].control, status, pf_now() - worker[i].start);
        }
    }
    for (int x = 0; x < npoints && !only; x++) {
        for (int action = KILL; action <= STOP; action++) {
            if (reached[x][action] || !strncmp(point_name[x], "pool.", 5)) /* those are crash_pool's */
                continue;
            printf("FAILED no victim reached %s (%s)\n", point_name[x], action_name[action]);
            failures++;
        }
    }
    printf("crash_matrix: %d points, %d scenarios, %d cells missed their point, %.1f s\n", npoints, SCENARIOS, missed,
           (double)(pf_now() - began) / 1e9);
    printf("%d passed, %d failed\n", passed, failures);
    return failures != 0;
}
