#include <dirent.h>
#include <fcntl.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif

#include "items.h"
#include "procfast/link.h"

#ifdef PF_OS_POSIX
#define POLLS true
#else
#define POLLS false
#endif

#define SOON (pf_now() + 20 * PF_SECOND)
#define MIB (1 << 20)

/* Both ends are this process's, and its children's. */
static struct pf_link l;
static int fds[2];
static struct pf_ring *r;

static void wire_both(void)
{
    CHECK_EQ(pf_wire_open(fds), 0);
    pf_link_wire(&l, 0, fds[0]);
    pf_link_wire(&l, 1, fds[1]);
    r = l.ring[0];
}

static void open_link(unsigned rings)
{
    CHECK_EQ(pf_link_create(&l, rings), 0);
    wire_both();
}

static void close_end(unsigned end)
{
    pf_link_unwire(&l, end, fds[end]);
    fds[end] = -1;
}

static struct pf_ring_stats stats(struct pf_ring *from)
{
    struct pf_ring_stats s;
    pf_ring_stats(from, &s);
    return s;
}

static void close_link(void)
{
    for (unsigned i = 0; i < 2; i++) {
        if (fds[i] >= 0)
            close_end(i);
    }
    pf_link_close(&l);
}

/* Rings empty, nothing lent, locks free, books balanced. */
static void close_clean(void)
{
    for (unsigned i = 0; i < l.rings; i++) {
        struct pf_ring_stats s = stats(l.ring[i]);
        CHECK_EQ(s.put, s.got);
        CHECK_EQ(s.lent_bytes, 0);
        CHECK_EQ(s.producer, 0);
        CHECK_EQ(s.consumer, 0);
    }
    close_link();
}

static bool readable(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, 0) == 1;
}

static int put_raw(const void *p, size_t len, int64_t deadline)
{
    struct pf_iov iov = {p, len};
    int rc;
    do
        rc = pf_ring_put(r, &iov, 1, NULL, 0, deadline);
    while (rc == -EINTR);
    return rc;
}

static int get_raw(struct pf_box *box, int64_t deadline)
{
    int rc;
    do
        rc = pf_ring_get(r, box, deadline);
    while (rc == -EINTR);
    return rc;
}

/* Takes one message, whatever it is. */
static int skip(int64_t deadline)
{
    struct pf_box box = {0};
    int rc = get_raw(&box, deadline);
    if (rc >= 0)
        pf_box_clear(&box);
    return rc;
}

static int wait_again(struct pf_ring *from, int64_t deadline)
{
    int rc;
    do
        rc = pf_ring_wait(from, deadline);
    while (rc == -EINTR);
    return rc;
}

/* ---- messages of several parts ---- */

static int put_piece(struct pf_ring *to, uint64_t turn, bool first, const char *bytes, uint64_t len, int64_t deadline)
{
    struct pf_iov iov = {bytes, len};
    struct pf_loan loan;
    bool block = len > PF_INLINE_MAX && pf_ring_block(to, len, &loan) == 0;
    if (block) {
        memcpy(loan.base, bytes, len);
        iov.len = 0;
    }
    int rc;
    do
        rc = (first ? pf_ring_put_first : pf_ring_put_part)(to, turn, &iov, 1, &loan, block, deadline);
    while (rc == -EINTR);
    if (rc < 0 && block)
        pf_ring_return(to, &loan);
    return rc;
}

/* An item in parts of at most `part` bytes. */
static int stream_put(struct pf_ring *to, uint32_t who, uint32_t seq, uint64_t len, uint64_t part, int64_t deadline)
{
    struct item it = {who, seq, len};
    uint64_t all = sizeof it + len, turn;
    char *bytes = malloc(all);
    CHECK(bytes);
    memcpy(bytes, &it, sizeof it);
    item_fill(bytes + sizeof it, &it);
    int rc = pf_ring_begin(to, &turn);
    CHECK_EQ(rc, 0);
    for (uint64_t at = 0; at < all && rc == 0; at += part)
        rc = put_piece(to, turn, at == 0, bytes + at, all - at < part ? all - at : part, deadline);
    pf_ring_end(to, turn, rc == 0);
    free(bytes);
    return rc;
}

/* Where a box's bytes are, in a part as put above. */
static const char *piece(const struct pf_box *box, uint64_t *len)
{
    CHECK(box->nloans == 0 || (box->nloans == 1 && box->len == 0));
    *len = box->nloans ? box->loans[0].len : box->len;
    return box->nloans ? box->loans[0].base : box->data;
}

static void free_piece(struct pf_ring *from, struct pf_box *box)
{
    for (uint32_t i = 0; i < box->nloans; i++)
        pf_ring_return(from, &box->loans[i]);
    pf_box_clear(box);
}

static int get_piece(struct pf_ring *from, const struct pf_box *first, struct pf_box *box, int64_t deadline)
{
    int rc;
    do
        rc = pf_ring_get_part(from, first, box, deadline);
    while (rc == -EINTR);
    return rc;
}

/* The rest of the item that began with `first`: 0, or an error. The turn is left in any case. */
static int stream_get(struct pf_ring *from, struct pf_box *first, struct item *it, int64_t deadline)
{
    uint64_t len, have = 0;
    const char *at = piece(first, &len);
    CHECK(first->writer && first->reader && len >= sizeof *it);
    memcpy(it, at, sizeof *it);
    char *bytes = malloc(sizeof *it + it->len);
    CHECK(bytes);
    CHECK(len <= sizeof *it + it->len);
    memcpy(bytes, at, have = len);
    int rc = 0;
    while (have < sizeof *it + it->len && rc >= 0) {
        struct pf_box box = {0};
        rc = get_piece(from, first, &box, deadline);
        if (rc < 0)
            break;
        at = piece(&box, &len);
        CHECK(len <= sizeof *it + it->len - have);
        memcpy(bytes + have, at, len);
        have += len;
        free_piece(from, &box);
    }
    pf_ring_leave(from, first->reader);
    if (rc >= 0)
        CHECK(item_ok(bytes + sizeof *it, it));
    free(bytes);
    free_piece(from, first);
    return rc < 0 ? rc : 0;
}

/* The next item, in one part or several: 0, or an error. The deadline is for its beginning. */
static int any_get(struct pf_ring *from, struct item *it, int64_t deadline)
{
    struct pf_box box = {0};
    int rc;
    do
        rc = pf_ring_get(from, &box, deadline);
    while (rc == -EINTR);
    if (rc < 0)
        return rc;
    if (box.writer)
        return stream_get(from, &box, it, SOON);
    CHECK_EQ(box.reader, 0);
    *it = item_open(from, &box);
    if (rc == 1)
        pf_ring_settle(from);
    return 0;
}

/* ---- both kinds ---- */

static void sizes(void)
{
    static const uint64_t lens[] = {0, 1, 7, 8, 9, 100, 207, 208, 209, 4096, PF_INLINE_MAX, PF_INLINE_MAX + 1, 100000,
                                    MIB - 1, MIB, MIB + 1, 5 * MIB + 3};
    for (unsigned rings = 1; rings <= 2; rings++) {
        open_link(rings);
        uint32_t seq = 0;
        for (unsigned i = 0; i < rings; i++) {
            struct pf_ring *to = l.ring[i];
            for (unsigned k = 0; k < sizeof lens / sizeof *lens; k++) {
                struct item it;
                CHECK_EQ(item_put(to, i, seq, lens[k], PF_TRY), 0); /* one fits, always */
                CHECK_EQ(any_get(to, &it, PF_TRY), 0);
                CHECK(it.who == i && it.seq == seq++ && it.len == lens[k]);
                char *raw = malloc(lens[k] + 1); /* all of it in the ring */
                CHECK(raw);
                memset(raw, (int)k, lens[k] + 1);
                struct pf_iov iov = {raw, lens[k]};
                struct pf_box box = {0};
                CHECK_EQ(pf_ring_put(to, &iov, 1, NULL, 0, PF_TRY), 0);
                CHECK_EQ(pf_ring_get(to, &box, PF_TRY), 0);
                CHECK(box.len == lens[k] && memcmp(box.data, raw, lens[k]) == 0);
                CHECK(!box.writer && !box.reader);
                pf_box_clear(&box);
                free(raw);
            }
        }
        close_clean();
    }
}

/* What goes one way is not seen the other way, on the wire either. */
static void both_ways(void)
{
    open_link(2);
    struct item it;
    CHECK_EQ(item_put(l.ring[0], 0, 1, 10, PF_TRY), 0);
    CHECK(readable(fds[1]) && !readable(fds[0]));
    CHECK_EQ(item_get(l.ring[1], &it, PF_TRY), -EAGAIN);
    CHECK_EQ(item_get(l.ring[1], &it, PF_NOWAIT), -ETIMEDOUT);
    CHECK_EQ(item_put(l.ring[1], 1, 2, 20, PF_TRY), 0);
    CHECK(readable(fds[1]) && readable(fds[0]));
    CHECK_EQ(item_get(l.ring[0], &it, PF_TRY), 0);
    CHECK(it.who == 0 && it.seq == 1);
    CHECK_EQ(item_get(l.ring[1], &it, PF_TRY), 0);
    CHECK(it.who == 1 && it.seq == 2);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(item_get(l.ring[i], &it, pf_now() + 5 * MS), -ETIMEDOUT); /* who sleeps, silences */
    CHECK(!readable(fds[1]) && !readable(fds[0]));
    close_clean();
}

static void empty(void)
{
    open_link(1);
    struct item it;
    for (int round = 0; round < 3; round++) {
        CHECK_EQ(item_get(r, &it, PF_TRY), -EAGAIN);
        CHECK_EQ(item_get(r, &it, PF_NOWAIT), -ETIMEDOUT);
        CHECK_EQ(pf_ring_wait(r, PF_NOWAIT), -ETIMEDOUT);
        int64_t end = pf_now() + 30 * MS;
        CHECK_EQ(item_get(r, &it, end), -ETIMEDOUT);
        CHECK(pf_now() >= end && pf_now() < end + 500 * MS);
        end = pf_now() + 30 * MS;
        CHECK_EQ(wait_again(r, end), -ETIMEDOUT);
        CHECK(pf_now() >= end && pf_now() < end + 500 * MS);
        CHECK_EQ(item_put(r, 0, 0, 10, PF_TRY), 0);
        CHECK_EQ(pf_ring_wait(r, PF_NOWAIT), 0);
        CHECK_EQ(pf_ring_wait(r, PF_FOREVER), 0);
        CHECK_EQ(item_get(r, &it, PF_NOWAIT), 0);
    }
    close_clean();
}

static void links_and_queues_differ(void)
{
    struct pf_ring *plain;
    uint64_t turn;
    CHECK_EQ(pf_ring_create(&plain, 0, 0), 0);
    CHECK_EQ(pf_ring_begin(plain, &turn), -ENOTSUP);
    pf_ring_close(plain);
    open_link(1); /* and only queues put many at once: nobody counts their bytes */
    uint64_t off[2] = {0, 1};
    CHECK_EQ(pf_ring_put_many(r, "x", off, 1, PF_TRY), -ENOTSUP);
    close_clean();
}

/* ---- the window ---- */

#define PAYLOAD 8000
static char payload[PAYLOAD];

/* How many messages went in. */
static int fill(void)
{
    int n = 0, rc;
    while ((rc = put_raw(payload, PAYLOAD, PF_TRY)) == 0)
        CHECK(n++ < 1000);
    CHECK_EQ(rc, -EAGAIN);
    return n;
}

static void window(void)
{
    open_link(1);
    for (int round = 0; round < 3; round++) {
        int n = fill();
        CHECK(n * PAYLOAD <= (int)PF_LINK_WINDOW && (n + 1) * (PAYLOAD + 128) > (int)PF_LINK_WINDOW);
        CHECK_EQ(put_raw(payload, PAYLOAD, PF_NOWAIT), -ETIMEDOUT);
        int64_t end = pf_now() + 30 * MS;
        CHECK_EQ(put_raw(payload, PAYLOAD, end), -ETIMEDOUT);
        CHECK(pf_now() >= end && pf_now() < end + 500 * MS);
        CHECK_EQ(skip(PF_TRY), 0); /* who does not sleep needs no half */
        CHECK_EQ(put_raw(payload, PAYLOAD, PF_TRY), 0);
        CHECK_EQ(put_raw(payload, PAYLOAD, PF_TRY), -EAGAIN);
        while (n-- > 0)
            CHECK_EQ(skip(PF_TRY), 0);
        CHECK_EQ(skip(PF_TRY), -EAGAIN);
    }
    /* blocks count */
    struct item it;
    for (uint32_t i = 0; i < 2; i++)
        CHECK_EQ(item_put(r, 0, i, 500000, PF_TRY), 0);
    CHECK_EQ(item_put(r, 0, 2, 500000, PF_TRY), -EAGAIN);
    CHECK_EQ(any_get(r, &it, PF_TRY), 0);
    CHECK_EQ(item_put(r, 0, 2, 500000, PF_TRY), 0);
    for (uint32_t i = 1; i < 3; i++) {
        CHECK_EQ(any_get(r, &it, PF_TRY), 0);
        CHECK_EQ(it.seq, i);
    }
    /* one larger than the window goes in where nothing is, and nothing beside it */
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(item_put(r, 0, 3, 3 * MIB, PF_TRY), 0);
        CHECK_EQ(put_raw("", 0, PF_TRY), -EAGAIN);
        CHECK_EQ(any_get(r, &it, PF_TRY), 0);
    }
    close_clean();
}

struct call { /* one blocking call in a thread of its own */
    pthread_t thread;
    int (*run)(void);
    _Atomic int tid, done;
    int rc;
    int64_t at; /* when it was done */
};

static int thread_id(void)
{
#ifdef __linux__
    return (int)syscall(SYS_gettid); /* which has a line in /proc */
#else
    return getpid();
#endif
}

static void *make_call(void *arg)
{
    struct call *c = arg;
    atomic_store(&c->tid, thread_id());
    c->rc = c->run();
    c->at = pf_now();
    atomic_store(&c->done, 1);
    return NULL;
}

/* Returns when the call sleeps, as far as that can be told. */
static void start_call(struct call *c, int (*run)(void))
{
    memset(c, 0, sizeof *c);
    c->run = run;
    CHECK_EQ(pthread_create(&c->thread, NULL, make_call, c), 0);
    check_until(&c->tid, 1);
    check_sleep(10 * MS);
    check_asleep(atomic_load(&c->tid));
    CHECK(!atomic_load(&c->done));
}

static int end_call(struct call *c)
{
    pthread_join(c->thread, NULL);
    return c->rc;
}

static int put_payload(void)
{
    return put_raw(payload, PAYLOAD, SOON);
}

/* Sleeping writers look twice a second; that they are woken shows in that none needs to. */
#define AT_ONCE (200 * MS)

static void woken_at_half(void)
{
    open_link(1);
    struct call c;
    int in_time = 0, rounds = 8;
    for (int round = 0; round < rounds; round++) {
        int n = fill(), left = n;
        start_call(&c, put_payload);
        int64_t start = pf_now();
        while ((uint64_t)left * (PAYLOAD + 64) > PF_LINK_WINDOW / 2) {
            CHECK_EQ(skip(SOON), 0);
            left--;
        }
        CHECK_EQ(end_call(&c), 0);
        in_time += c.at - start < AT_ONCE;
        for (left++; left > 0; left--)
            CHECK_EQ(skip(SOON), 0);
    }
    CHECK(POLLS || in_time >= rounds / 2);
    close_clean();
}

/* ---- the other end is gone ---- */

static void reader_closes(void)
{
    for (unsigned rings = 1; rings <= 2; rings++) {
        open_link(rings);
        CHECK_EQ(put_raw("x", 1, PF_TRY), 0);
        int copy = dup(fds[1]);
        close_end(1);
        CHECK_EQ(put_raw("x", 1, PF_TRY), 0); /* one is left */
        close(copy);
        int64_t start = pf_now();
        int rc;
        while ((rc = put_raw("x", 1, PF_TRY)) == 0 || rc == -EAGAIN)
            CHECK(pf_now() < start + PF_SECOND); /* nobody said so: within the bound */
        CHECK_EQ(rc, -EPIPE);
        close_link();

        open_link(rings);
        CHECK_EQ(put_raw("x", 1, PF_TRY), 0);
        close_end(1);
        CHECK_EQ(put_raw("x", 1, PF_TRY), -EPIPE); /* at once */
        CHECK_EQ(put_raw("x", 1, PF_FOREVER), -EPIPE);
        CHECK_EQ(put_raw(payload, PAYLOAD, PF_NOWAIT), -EPIPE);
        CHECK_EQ(stream_put(r, 0, 0, 100, 50, PF_TRY), -EPIPE);
        if (rings == 2) { /* and nothing comes from there any more */
            CHECK_EQ(pf_ring_wait(l.ring[1], PF_NOWAIT), -EPIPE);
            CHECK_EQ(pf_ring_wait(l.ring[1], PF_FOREVER), -EPIPE);
        }
        close_link();
    }
}

/* At any moment of the writer's way into its sleep. */
static void reader_closes_on_a_sleeper(void)
{
    uint64_t seed = 9;
    int late = 0;
    for (int round = 0; round < 60; round++) {
        struct call c;
        open_link(1);
        fill();
        if (round % 4 == 0) {
            start_call(&c, put_payload);
        } else {
            memset(&c, 0, sizeof c);
            c.run = put_payload;
            CHECK_EQ(pthread_create(&c.thread, NULL, make_call, &c), 0);
            check_until(&c.tid, 1);
            for (int64_t end = pf_now() + (int64_t)(check_random(&seed) % 120000); pf_now() < end;)
                ;
        }
        int64_t start = pf_now();
        close_end(1);
        CHECK_EQ(end_call(&c), -EPIPE);
        late += c.at - start > AT_ONCE;
        close_link();
    }
    CHECK(POLLS || late <= 2);
}

static pid_t child_at_end(unsigned end, void (*run)(void))
{
    pid_t pid = check_fork();
    if (pid == 0) {
        close_end(1 - end);
        run();
        _exit(0);
    }
    close_end(end);
    return pid;
}

static void sleep_for_ever(void)
{
    for (;;)
        pause();
}

static void reader_dies(void)
{
    for (int full = 0; full < 2; full++) {
        open_link(2);
        pid_t pid = child_at_end(1, sleep_for_ever);
        CHECK_EQ(put_raw("x", 1, PF_TRY), 0);
        struct call c;
        if (full) {
            fill();
            start_call(&c, put_payload);
        }
        check_kill(pid);
        int64_t start = pf_now();
        int rc, n = 0;
        if (full) {
            rc = end_call(&c);
        } else {
            while ((rc = put_raw(payload, PAYLOAD, SOON)) == 0)
                n++;
            CHECK(n * PAYLOAD <= 2 * 256 * 1024); /* the messages before count, too */
        }
        CHECK_EQ(rc, -EPIPE);
        CHECK(pf_now() - start < 3 * PF_SECOND);
        CHECK_EQ(wait_again(l.ring[1], PF_FOREVER), -EPIPE);
        close_link();
    }
}

/* With few bytes the time decides. */
static void reader_dies_slow_writer(void)
{
    open_link(1);
    pid_t pid = child_at_end(1, sleep_for_ever);
    CHECK_EQ(put_raw("x", 1, PF_TRY), 0);
    check_kill(pid);
    int rc, n = 0;
    while ((rc = put_raw("x", 1, PF_TRY)) == 0 && n++ < 100)
        check_sleep(20 * MS);
    CHECK_EQ(rc, -EPIPE);
    CHECK(n <= 10);
    close_link();
}

static int get_one(void)
{
    return skip(SOON);
}

static void writer_closes(void)
{
    for (unsigned rings = 1; rings <= 2; rings++) {
        open_link(rings);
        struct item it;
        for (uint32_t i = 0; i < 3; i++)
            CHECK_EQ(item_put(r, 0, i, i * 40000, PF_TRY), 0);
        close_end(0);
        for (uint32_t i = 0; i < 3; i++) {
            CHECK_EQ(pf_ring_wait(r, PF_NOWAIT), 0);
            CHECK_EQ(item_get(r, &it, i ? PF_FOREVER : PF_NOWAIT), 0);
            CHECK_EQ(it.seq, i);
        }
        CHECK_EQ(item_get(r, &it, PF_NOWAIT), -EPIPE);
        CHECK_EQ(item_get(r, &it, PF_FOREVER), -EPIPE);
        CHECK_EQ(pf_ring_wait(r, PF_NOWAIT), -EPIPE);
        CHECK_EQ(pf_ring_wait(r, PF_FOREVER), -EPIPE);
        CHECK(readable(fds[1]));
        close_link();

        open_link(rings);
        struct call c;
        start_call(&c, get_one);
        int64_t start = pf_now();
        close_end(0);
        CHECK_EQ(end_call(&c), -EPIPE);
        CHECK(c.at - start < PF_SECOND / 2);
        close_link();
    }
}

static void put_five_and_wait(void)
{
    for (uint32_t i = 0; i < 5; i++)
        CHECK_EQ(item_put(r, 0, i, i * 30000, SOON), 0);
    sleep_for_ever();
}

static void writer_dies(void)
{
    for (int asleep = 0; asleep < 2; asleep++) {
        open_link(1);
        pid_t pid = child_at_end(0, put_five_and_wait);
        struct item it;
        for (uint32_t i = 0; i < 5; i++) {
            CHECK_EQ(item_get(r, &it, SOON), 0);
            CHECK_EQ(it.seq, i);
        }
        CHECK_EQ(item_get(r, &it, pf_now() + 10 * MS), -ETIMEDOUT); /* it lives */
        struct call c;
        if (asleep)
            start_call(&c, get_one);
        check_kill(pid);
        int64_t start = pf_now();
        CHECK_EQ(asleep ? end_call(&c) : item_get(r, &it, PF_FOREVER), -EPIPE);
        CHECK(pf_now() - start < PF_SECOND / 2);
        close_link();
    }
}

static void get_the_last(void)
{
    struct item it;
    CHECK_EQ(item_get(r, &it, SOON), 0);
    CHECK_EQ(item_get(r, &it, SOON), -EPIPE);
}

/* A reader that slept through both, the message and the end, wakes up to the message first. */
static void sent_and_gone(void)
{
    for (int round = 0; round < 3; round++) {
        int status;
        open_link(1);
        pid_t pid = child_at_end(1, get_the_last);
        check_sleep(5 * MS);
        check_asleep(pid);
        kill(pid, SIGSTOP);
        CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
        CHECK(WIFSTOPPED(status));
        CHECK_EQ(item_put(r, 0, 0, 10, PF_TRY), 0);
        close_end(0);
        kill(pid, SIGCONT);
        check_reap(pid);
        close_clean();
    }
}

/* The last writer's death just after, or in, its put: the reader has all that was said to be sent, then the end. */
static void last_words(void)
{
    _Atomic int *said = check_shared(sizeof *said);
    uint64_t seed = 10;
    for (int round = 0; round < 60; round++) {
        open_link(1);
        atomic_store(said, 0);
        pid_t pid = check_fork();
        if (pid == 0) {
            close_end(1);
            for (uint32_t i = 0;; i++) {
                CHECK_EQ(item_put(r, 0, i, i % 7 * 9000, SOON), 0);
                atomic_store(said, (int)i + 1);
            }
        }
        close_end(0);
        struct item it;
        uint32_t n = 0;
        for (int64_t end = pf_now() + (int64_t)(check_random(&seed) % 1000000); pf_now() < end;) {
            if (item_get(r, &it, PF_TRY) == 0)
                CHECK_EQ(it.seq, n++);
        }
        check_kill(pid);
        int rc;
        while ((rc = item_get(r, &it, SOON)) == 0)
            CHECK_EQ(it.seq, n++);
        CHECK_EQ(rc, -EPIPE);
        CHECK((int)n >= atomic_load(said));
        CHECK((int)n <= atomic_load(said) + 1);
        close_link();
    }
    munmap(said, sizeof *said);
}

/* ---- messages of several parts ---- */

static void parts(void)
{
    static const uint64_t lens[] = {0, 1, 100, 4000, 40000, 300000}, cuts[] = {16, 17, 1000, 33000, 100000};
    open_link(1);
    struct item it;
    uint32_t seq = 0;
    for (unsigned i = 0; i < sizeof lens / sizeof *lens; i++) {
        for (unsigned k = 0; k < sizeof cuts / sizeof *cuts; k++) {
            if (lens[i] / cuts[k] > 500)
                continue;
            CHECK_EQ(stream_put(r, 0, seq, lens[i], cuts[k], PF_TRY), 0);
            CHECK_EQ(item_put(r, 1, seq, 10, PF_TRY), 0);
            CHECK_EQ(any_get(r, &it, PF_TRY), 0);
            CHECK(it.who == 0 && it.seq == seq && it.len == lens[i]);
            CHECK_EQ(any_get(r, &it, PF_TRY), 0);
            CHECK(it.who == 1 && it.seq == seq++);
        }
    }
    close_clean();
}

#define STREAM (20 * MIB)

static int stream_long(void)
{
    return stream_put(r, 3, 4, STREAM, 256 << 10, SOON);
}

/* Much longer than the window, through bounded memory. */
static void long_stream(void)
{
    open_link(1);
    for (int i = 0; i < 3; i++) {
        struct call c;
        struct item it;
        start_call(&c, stream_long);
        CHECK_EQ(any_get(r, &it, SOON), 0);
        CHECK(it.who == 3 && it.seq == 4 && it.len == STREAM);
        CHECK_EQ(end_call(&c), 0);
        struct pf_ring_stats s = stats(r);
        CHECK(s.ring_bytes + s.block_bytes <= 8 * MIB);
    }
    close_clean();
}

static const char first_words[] = "the first part";

static uint64_t begin_stream(void)
{
    uint64_t turn;
    CHECK_EQ(pf_ring_begin(r, &turn), 0);
    CHECK_EQ(put_piece(r, turn, true, first_words, sizeof first_words, SOON), 0);
    return turn;
}

static void get_first(struct pf_box *first)
{
    memset(first, 0, sizeof *first);
    CHECK(get_raw(first, SOON) >= 0);
    CHECK(first->writer && first->reader);
    CHECK(first->len == sizeof first_words && memcmp(first->data, first_words, sizeof first_words) == 0);
}

/* Others wait for both turns, and keep their deadlines. */
static void turns(void)
{
    open_link(1);
    for (int round = 0; round < 2; round++) {
        uint64_t turn = begin_stream(), other;
        CHECK_EQ(put_raw("x", 1, PF_TRY), -EAGAIN);
        CHECK_EQ(put_raw("x", 1, PF_NOWAIT), -ETIMEDOUT);
        int64_t end = pf_now() + 30 * MS;
        CHECK_EQ(put_raw("x", 1, end), -ETIMEDOUT);
        CHECK(pf_now() >= end && pf_now() < end + 500 * MS);
        CHECK_EQ(pf_ring_begin(r, &other), 0);
        CHECK_EQ(put_piece(r, other, true, "y", 1, PF_TRY), -EAGAIN);
        CHECK(other != turn);
        struct pf_box first, box = {0};
        get_first(&first);
        CHECK_EQ(get_piece(r, &first, &box, PF_TRY), -EAGAIN);
        CHECK_EQ(get_piece(r, &first, &box, PF_NOWAIT), -ETIMEDOUT);
        CHECK_EQ(get_piece(r, &first, &box, pf_now() + 20 * MS), -ETIMEDOUT); /* and can go on */
        CHECK_EQ(put_piece(r, turn, false, "2", 1, PF_TRY), 0);
        CHECK_EQ(skip(PF_TRY), -EAGAIN);
        CHECK_EQ(skip(PF_NOWAIT), -ETIMEDOUT);
        end = pf_now() + 30 * MS;
        CHECK_EQ(skip(end), -ETIMEDOUT);
        CHECK(pf_now() >= end && pf_now() < end + 500 * MS);
        CHECK_EQ(get_piece(r, &first, &box, PF_TRY), 0);
        CHECK(box.len == 1 && box.data[0] == '2');
        pf_box_clear(&box);
        pf_ring_end(r, turn, true);
        CHECK_EQ(put_raw("next", 4, PF_TRY), 0);
        pf_ring_leave(r, first.reader);
        pf_box_clear(&first);
        CHECK_EQ(get_raw(&box, PF_TRY), 0);
        CHECK(box.len == 4 && memcmp(box.data, "next", 4) == 0);
        pf_box_clear(&box);
    }
    close_clean();
}

static int put_x(void)
{
    return put_raw("x", 1, SOON);
}

/* Who waits for a turn is woken at its end. */
static void turns_are_passed_on(void)
{
    open_link(1);
    struct call c;
    for (int i = 0; i < 3; i++) {
        struct pf_box first;
        uint64_t turn = begin_stream();
        start_call(&c, put_x);
        int64_t start = pf_now();
        pf_ring_end(r, turn, true);
        CHECK_EQ(end_call(&c), 0);
        CHECK(POLLS || c.at - start < PF_SECOND / 2);
        get_first(&first);
        start_call(&c, get_one);
        start = pf_now();
        pf_ring_leave(r, first.reader);
        CHECK_EQ(end_call(&c), 0);
        CHECK(POLLS || c.at - start < PF_SECOND / 2);
        pf_box_clear(&first);
    }
    close_clean();
}

static struct pf_box torn_first;

static int get_torn(void)
{
    struct pf_box box = {0};
    return get_piece(r, &torn_first, &box, SOON);
}

static void torn_by_giving_up(void)
{
    open_link(1);
    for (int asleep = 0; asleep < 2; asleep++) {
        uint64_t turn = begin_stream();
        struct call c;
        get_first(&torn_first);
        if (asleep)
            start_call(&c, get_torn);
        else
            CHECK_EQ(put_piece(r, turn, false, payload, PAYLOAD, SOON), 0);
        int64_t start = pf_now();
        pf_ring_end(r, turn, false);
        if (asleep) {
            CHECK_EQ(end_call(&c), -PF_ETORN);
            CHECK(c.at - start < PF_SECOND / 2); /* rung, not found out at a look */
        } else {
            struct pf_box box = {0};
            CHECK_EQ(get_piece(r, &torn_first, &box, PF_TRY), 0); /* all that was sent */
            CHECK_EQ(box.len, PAYLOAD);
            pf_box_clear(&box);
            CHECK_EQ(get_torn(), -PF_ETORN);
        }
        CHECK_EQ(get_torn(), -PF_ETORN);
        CHECK_EQ(put_raw("x", 1, PF_TRY), 0);
        CHECK_EQ(get_torn(), -PF_ETORN); /* not the next one's */
        pf_ring_leave(r, torn_first.reader);
        pf_box_clear(&torn_first);
        CHECK_EQ(skip(PF_TRY), 0);
    }
    close_clean();
}

static _Atomic int *flag;

static void stream_and_wait(void)
{
    uint64_t turn = begin_stream();
    char big[40000] = "";
    CHECK_EQ(put_piece(r, turn, false, big, sizeof big, SOON), 0); /* in a block */
    atomic_store(flag, 1);
    sleep_for_ever();
}

/* Other writers go on at once, and what the dead sent is received by nobody as a message. */
static void torn_by_death(void)
{
    flag = check_shared(sizeof *flag);
    for (int how = 0; how < 4; how++) { /* next comes: nothing, a message, one in parts, nothing and all are gone */
        open_link(1);
        atomic_store(flag, 0);
        pid_t pid = check_fork();
        if (pid == 0)
            stream_and_wait();
        check_until(flag, 1);
        struct pf_box box = {0};
        struct item it;
        get_first(&torn_first);
        CHECK_EQ(put_raw("x", 1, pf_now() + 10 * MS), -ETIMEDOUT); /* it lives */
        check_kill(pid);
        int64_t start = pf_now();
        if (how == 1)
            CHECK_EQ(item_put(r, 1, 1, 10, SOON), 0);
        if (how == 2)
            CHECK_EQ(stream_put(r, 1, 1, 1000, 100, SOON), 0);
        if (how == 3)
            close_end(0);
        CHECK(pf_now() - start < PF_SECOND / 2);
        CHECK(get_piece(r, &torn_first, &box, SOON) >= 0);
        CHECK_EQ(box.loans[0].len, 40000);
        free_piece(r, &box);
        CHECK_EQ(get_torn(), how == 3 ? -EPIPE : -PF_ETORN);
        CHECK(pf_now() - start < 5 * PF_SECOND);
        pf_ring_leave(r, torn_first.reader);
        pf_box_clear(&torn_first);
        if (how == 1 || how == 2)
            CHECK_EQ(any_get(r, &it, SOON), 0);
        CHECK_EQ(skip(pf_now() + 10 * MS), how == 3 ? -EPIPE : -ETIMEDOUT);
        close_clean();
    }
    munmap((void *)flag, sizeof *flag);
}

static void get_first_and_wait(void)
{
    struct item it;
    struct pf_box first = {0};
    CHECK(get_raw(&first, SOON) >= 0);
    CHECK(first.reader);
    memcpy(&it, first.data, sizeof it);
    struct pf_box box = {0};
    CHECK(get_piece(r, &first, &box, SOON) >= 0); /* a block in its hands */
    atomic_store(flag, 1);
    sleep_for_ever();
}

/* The rest is thrown away, its blocks come back, and the next message is whole. */
static void reader_dies_in_its_turn(void)
{
    flag = check_shared(sizeof *flag);
    for (int streaming = 0; streaming < 2; streaming++) {
        open_link(1);
        atomic_store(flag, 0);
        struct call c;
        if (streaming)
            start_call(&c, stream_long);
        else
            CHECK_EQ(stream_put(r, 0, 0, 300000, 40000, SOON), 0);
        pid_t pid = check_fork();
        if (pid == 0)
            get_first_and_wait();
        check_until(flag, 1);
        CHECK_EQ(skip(pf_now() + 10 * MS), -ETIMEDOUT); /* its turn */
        check_kill(pid);
        struct item it;
        if (!streaming)
            CHECK_EQ(item_put(r, 1, 1, 10, SOON), 0);
        CHECK_EQ(any_get(r, &it, streaming ? pf_now() + 500 * MS : SOON), streaming ? -ETIMEDOUT : 0);
        if (streaming) {
            CHECK_EQ(end_call(&c), 0); /* nobody told the writer, who is not to know */
            CHECK_EQ(skip(pf_now() + 20 * MS), -ETIMEDOUT);
        } else {
            CHECK(it.who == 1 && it.seq == 1);
        }
        pid = check_fork(); /* a new tenant sweeps what the dead held */
        if (pid == 0) {
            struct pf_loan loan;
            CHECK_EQ(pf_ring_block(r, 100, &loan), 0);
            pf_ring_return(r, &loan);
            _exit(0);
        }
        check_reap(pid);
        close_clean();
    }
    munmap((void *)flag, sizeof *flag);
}

static void left_early(void)
{
    open_link(1);
    struct item it;
    for (uint32_t seq = 0; seq < 20; seq++) {
        struct pf_box first = {0}, box = {0};
        CHECK_EQ(stream_put(r, 0, seq, 300000, 40000, PF_TRY), 0);
        CHECK_EQ(stream_put(r, 1, seq, 3000, 400, PF_TRY), 0);
        CHECK_EQ(item_put(r, 2, seq, 30, PF_TRY), 0);
        CHECK_EQ(get_raw(&first, PF_TRY), 0);
        for (uint32_t i = 0; i < seq % 3; i++) {
            CHECK_EQ(get_piece(r, &first, &box, PF_TRY), 0);
            free_piece(r, &box);
        }
        pf_ring_leave(r, first.reader);
        free_piece(r, &first);
        for (uint32_t who = 1; who < 3; who++) {
            CHECK_EQ(any_get(r, &it, PF_TRY), 0);
            CHECK(it.who == who && it.seq == seq);
        }
    }
    close_clean();
}

/* get_many never goes past the beginning of a message in parts, and never returns a part alone. */
static void batches(void)
{
    open_link(1);
    struct pf_box boxes[16];
    struct item it;
    memset(boxes, 0, sizeof boxes);
    for (uint32_t i = 0; i < 3; i++)
        CHECK_EQ(item_put(r, 0, i, 10, PF_TRY), 0);
    CHECK_EQ(stream_put(r, 1, 0, 1000, 100, PF_TRY), 0);
    CHECK_EQ(stream_put(r, 1, 1, 1000, 100, PF_TRY), 0);
    for (uint32_t i = 3; i < 6; i++)
        CHECK_EQ(item_put(r, 0, i, 10, PF_TRY), 0);
    CHECK_EQ(pf_ring_get_many(r, boxes, 16, PF_TRY, NULL), 4);
    for (uint32_t i = 0; i < 3; i++)
        CHECK_EQ(item_open(r, &boxes[i]).seq, i);
    CHECK_EQ(stream_get(r, &boxes[3], &it, PF_TRY), 0);
    CHECK(it.who == 1 && it.seq == 0);
    CHECK_EQ(pf_ring_get_many(r, boxes, 16, PF_TRY, NULL), 1);
    pf_ring_leave(r, boxes[0].reader);
    pf_box_clear(&boxes[0]);
    uint32_t seq = 3; /* the rest of it counts for nothing */
    while (seq < 6) {
        int n = pf_ring_get_many(r, boxes, 16, PF_TRY, NULL);
        CHECK(n > 0);
        for (int i = 0; i < n; i++)
            CHECK_EQ(item_open(r, &boxes[i]).seq, seq++);
    }
    CHECK_EQ(pf_ring_get_many(r, boxes, 16, PF_TRY, NULL), -EAGAIN);
    close_clean();
}

/* ---- many at once ---- */

#define WRITERS 2
#define READERS 2
#define EACH 3000

static struct books {
    _Atomic uint8_t got[WRITERS][EACH];
    _Atomic int left;
} *books;

static uint64_t size_of(uint32_t who, uint32_t seq)
{
    uint32_t x = seq * 7 + who;
    return x % 100 == 0 ? 300000 : x % 11 == 0 ? 20000 : x % 200;
}

static void *write_all(void *arg)
{
    uint32_t who = (uint32_t)(uintptr_t)arg;
    for (uint32_t i = 0; i < EACH; i++) {
        uint64_t len = size_of(who, i);
        if (i % 5 == who || len > 200000)
            CHECK_EQ(stream_put(r, who, i, len, len / 4 + 16, SOON), 0);
        else
            CHECK_EQ(item_put(r, who, i, len, SOON), 0);
    }
    return NULL;
}

static void *read_all(void *arg)
{
    int64_t last[WRITERS] = {-1, -1};
    (void)arg;
    while (atomic_load(&books->left) > 0) {
        struct item it;
        int rc = any_get(r, &it, pf_now() + 50 * MS);
        if (rc == -ETIMEDOUT)
            continue;
        CHECK_EQ(rc, 0);
        CHECK(it.who < WRITERS && it.seq < EACH && it.len == size_of(it.who, it.seq));
        CHECK((int64_t)it.seq > last[it.who]);
        last[it.who] = it.seq;
        CHECK_EQ(atomic_fetch_add(&books->got[it.who][it.seq], 1), 0);
        atomic_fetch_sub(&books->left, 1);
    }
    return NULL;
}

static void crowd(bool processes)
{
    open_link(1);
    books = check_shared(sizeof *books);
    books->left = WRITERS * EACH;
    pid_t pid[WRITERS + READERS];
    pthread_t t[WRITERS + READERS];
    for (int i = 0; i < WRITERS + READERS; i++) {
        void *(*run)(void *) = i < WRITERS ? write_all : read_all;
        void *arg = (void *)(uintptr_t)i;
        if (!processes) {
            CHECK_EQ(pthread_create(&t[i], NULL, run, arg), 0);
        } else if ((pid[i] = check_fork()) == 0) {
            run(arg);
            _exit(0);
        }
    }
    for (int i = 0; i < WRITERS + READERS; i++) {
        if (processes)
            check_reap(pid[i]);
        else
            pthread_join(t[i], NULL);
    }
    for (int who = 0; who < WRITERS; who++) {
        for (int i = 0; i < EACH; i++)
            CHECK_EQ(books->got[who][i], 1);
    }
    munmap(books, sizeof *books);
    close_clean();
}

static void crowd_of_threads(void)
{
    crowd(false);
}

static void crowd_of_processes(void)
{
    crowd(true);
}

static void echo(void)
{
    struct item it;
    int rc;
    while ((rc = any_get(l.ring[0], &it, SOON)) == 0)
        CHECK_EQ(item_put(l.ring[1], 1, it.seq, it.len, SOON), 0);
    CHECK_EQ(rc, -EPIPE);
}

/* There and back, each end in a process of its own; the other one ends when we close. */
static void there_and_back(void)
{
    open_link(2);
    pid_t pid = child_at_end(1, echo);
    for (uint32_t i = 0; i < 3000; i++) {
        struct item it;
        uint64_t len = size_of(0, i);
        CHECK_EQ(item_put(l.ring[0], 0, i, len, SOON), 0);
        CHECK_EQ(any_get(l.ring[1], &it, SOON), 0);
        CHECK(it.who == 1 && it.seq == i && it.len == len);
    }
    close_end(0);
    check_reap(pid);
    close_clean();
}

/* ---- the wire and select ---- */

static void rings_are_told(void)
{
    open_link(1);
    struct item it;
    CHECK(!readable(fds[1]));
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 3; i++) {
            CHECK_EQ(item_put(r, 0, i, 10, PF_TRY), 0);
            CHECK(readable(fds[1]));
        }
        for (uint32_t i = 0; i < 3; i++) {
            CHECK(readable(fds[1]));
            CHECK_EQ(item_get(r, &it, PF_TRY), 0);
        }
        if (round == 0) {
            CHECK_EQ(pf_ring_settle(r), 0); /* nobody selects */
            CHECK_EQ(pf_ring_arm(r), 0);
            CHECK(!readable(fds[1])); /* it was rung for what is gone */
            CHECK_EQ(pf_ring_arm(r), 0);
        }
        CHECK(!readable(fds[1])); /* get said so, and item_get settled */
    }
    CHECK_EQ(item_put(r, 0, 0, 10, PF_TRY), 0);
    CHECK_EQ(pf_ring_settle(r), 0);
    CHECK(readable(fds[1]));
    CHECK_EQ(item_get(r, &it, PF_TRY), 0);
    /* of several parts: readable for each, and silent after the last */
    CHECK_EQ(stream_put(r, 0, 1, 1000, 500, PF_TRY), 0);
    CHECK(readable(fds[1]));
    CHECK_EQ(any_get(r, &it, PF_TRY), 0);
    CHECK_EQ(pf_ring_settle(r), 0);
    CHECK(!readable(fds[1]));
    close_clean();
}

/* The first who selects, with something there. */
static void armed_with_messages(void)
{
    open_link(1);
    struct item it;
    CHECK_EQ(item_put(r, 0, 0, 10, PF_TRY), 0);
    CHECK_EQ(pf_ring_arm(r), 0);
    CHECK(readable(fds[1]));
    CHECK_EQ(item_get(r, &it, PF_TRY), 0);
    CHECK(!readable(fds[1]));
    close_clean();
}

#define HAMMER 4000

static void *hammer(void *arg)
{
    uint32_t who = (uint32_t)(uintptr_t)arg;
    uint64_t seed = 11 + who;
    for (uint32_t i = 0; i < HAMMER; i++) {
        if (i % 50 == 7)
            CHECK_EQ(stream_put(r, who, i, 400, 100, SOON), 0);
        else
            CHECK_EQ(item_put(r, who, i, i % 90, SOON), 0);
        if (check_random(&seed) % 8 == 0)
            check_sleep((int64_t)(check_random(&seed) % 100000));
    }
    return NULL;
}

/* A reader that trusts select alone gets everything; one beside it sleeps in get. */
static void select_hammer(void)
{
    for (int beside = 0; beside < 2; beside++) {
        open_link(1);
        if (!beside)
            CHECK_EQ(pf_ring_arm(r), 0);
        pid_t pid[3];
        for (int i = 0; i < 2; i++) {
            if ((pid[i] = check_fork()) == 0) {
                hammer((void *)(uintptr_t)i);
                _exit(0);
            }
        }
        _Atomic int *got = check_shared(sizeof *got);
        if (beside && (pid[2] = check_fork()) == 0) {
            struct item it;
            while (atomic_load(got) < 2 * HAMMER) {
                int rc = any_get(r, &it, pf_now() + 20 * MS);
                CHECK(rc == 0 || rc == -ETIMEDOUT);
                atomic_fetch_add(got, rc == 0);
            }
            _exit(0);
        }
        for (int n = 0; atomic_load(got) < 2 * HAMMER; n++) {
            struct pollfd p = {fds[1], POLLIN, 0};
            if (beside && n == 500)
                CHECK_EQ(pf_ring_arm(r), 0);
            int rung = poll(&p, 1, beside ? 50 : 5000);
            struct item it;
            CHECK(rung == 1 || beside); /* another may have had the last */
            int rc = any_get(r, &it, PF_TRY);
            CHECK(rc == 0 || rc == -EAGAIN);
            if (rc == 0)
                atomic_fetch_add(got, 1);
            else
                CHECK_EQ(pf_ring_settle(r), 0);
        }
        for (int i = 0; i < 2 + beside; i++)
            check_reap(pid[i]);
        CHECK_EQ(pf_ring_arm(r), 0);
        CHECK_EQ(pf_ring_settle(r), 0);
        CHECK(!readable(fds[1]));
        munmap((void *)got, sizeof *got);
        close_clean();
    }
}

/* At every instant: if a message is there, before and after the look, the wire is readable. */
static void *watch(void *arg)
{
    _Atomic int *stop = arg;
    while (!atomic_load(stop)) {
        struct pf_ring_stats a = stats(r), b;
        bool rung = readable(fds[1]);
        b = stats(r);
        CHECK(rung || a.put == a.got || a.put != b.put || a.got != b.got);
    }
    return NULL;
}

static void never_late(void)
{
    open_link(1);
    _Atomic int stop = 0;
    pthread_t writer, watcher;
    CHECK_EQ(pthread_create(&watcher, NULL, watch, &stop), 0);
    CHECK_EQ(pthread_create(&writer, NULL, hammer, NULL), 0);
    for (uint32_t i = 0; i < HAMMER; i++) {
        struct item it;
        CHECK_EQ(any_get(r, &it, SOON), 0);
        CHECK_EQ(it.seq, i);
    }
    atomic_store(&stop, 1);
    pthread_join(writer, NULL);
    pthread_join(watcher, NULL);
    close_clean();
}

static int get_small(void)
{
    struct item it;
    return any_get(r, &it, SOON);
}

/* The user's own bytes in the socket: they stay, in order, and hide no message. */
static void exposed(void)
{
    open_link(1);
    struct item it;
    CHECK_EQ(pf_link_expose(&l, 1), 0);
    CHECK_EQ(write(fds[0], "abc", 3), 3);
    for (uint32_t i = 0; i < 20; i++) {
        CHECK_EQ(item_put(r, 0, i, 10, PF_TRY), 0);
        CHECK(readable(fds[1]));
        CHECK_EQ(item_get(r, &it, PF_NOWAIT), 0);
        CHECK_EQ(it.seq, i);
        CHECK_EQ(item_get(r, &it, pf_now() + 3 * MS), -ETIMEDOUT);
        if (i == 10)
            CHECK_EQ(write(fds[0], "def", 3), 3);
        struct call c;
        start_call(&c, get_small);
        CHECK_EQ(item_put(r, 0, i, 10, PF_TRY), 0);
        CHECK_EQ(end_call(&c), 0);
    }
    char bytes[200], text[200];
    ssize_t n = read(fds[1], bytes, sizeof bytes);
    int k = 0;
    for (ssize_t i = 0; i < n; i++) {
        if ((unsigned char)bytes[i] != PF_RING)
            text[k++] = bytes[i];
    }
    CHECK(k == 6 && memcmp(text, "abcdef", 6) == 0);
    CHECK_EQ(item_put(r, 0, 0, 10, PF_TRY), 0); /* our rings may be gone with them: it knows */
    CHECK_EQ(item_get(r, &it, PF_NOWAIT), 0);
    int64_t cpu = check_cpu();
    CHECK_EQ(write(fds[0], "x", 1), 1);
    CHECK_EQ(item_get(r, &it, pf_now() + 300 * MS), -ETIMEDOUT);
    CHECK(check_cpu() - cpu < 100 * MS); /* they make no busy loop */
    close_clean();
}

/* What the user sends himself comes between the messages before and after it, however many are unread. */
static void user_bytes_in_order(void)
{
    open_link(1);
    struct item it;
    char byte;
    for (int early = 0; early < 2; early++) { /* the reader asks for its descriptor before, or first when it needs it */
        if (early)
            CHECK_EQ(pf_link_expose(&l, 1), 0);
        for (uint32_t i = 0; i < 3; i++) {
            CHECK_EQ(item_put(r, 0, 2 * i, 10, PF_TRY), 0);
            CHECK_EQ(item_put(r, 0, 2 * i + 1, 10, PF_TRY), 0);
            CHECK_EQ(pf_link_expose(&l, 0), 0);
            byte = (char)('a' + i);
            CHECK_EQ(write(fds[0], &byte, 1), 1);
        }
        CHECK_EQ(item_put(r, 0, 6, 10, PF_TRY), 0);
        for (uint32_t i = 0; i < 3; i++) {
            for (uint32_t k = 0; k < 2; k++) {
                CHECK(readable(fds[1]));
                CHECK_EQ(item_get(r, &it, PF_NOWAIT), 0);
                CHECK_EQ(it.seq, 2 * i + k);
                CHECK_EQ(pf_ring_settle(r), 0);
            }
            CHECK_EQ(pf_link_expose(&l, 1), 0);
            CHECK_EQ(read(fds[1], &byte, 1), 1);
            CHECK_EQ(byte, (char)('a' + i));
        }
        CHECK(readable(fds[1]));
        CHECK_EQ(item_get(r, &it, PF_NOWAIT), 0);
        CHECK_EQ(it.seq, 6);
        CHECK_EQ(pf_ring_settle(r), 0);
        CHECK(!readable(fds[1]));
    }
    close_clean();
}

/* Who selects may be the user himself, and has the descriptors then. */
static void armed_is_exposed(void)
{
    open_link(1);
    struct item it;
    CHECK_EQ(pf_ring_arm(r), 0);
    CHECK_EQ(write(fds[0], "a", 1), 1);
    for (uint32_t i = 0; i < 3; i++) {
        CHECK_EQ(item_put(r, 0, i, 10, PF_TRY), 0);
        CHECK_EQ(item_get(r, &it, PF_TRY), 0);
        CHECK_EQ(pf_ring_settle(r), 0);
    }
    char byte;
    CHECK_EQ(read(fds[1], &byte, 1), 1);
    CHECK_EQ(byte, 'a');
    close_clean();
}

/* ---- renewed ---- */

static void renewed(void)
{
    for (unsigned rings = 1; rings <= 2; rings++) {
        CHECK_EQ(pf_link_create(&l, rings), 0);
        for (uint32_t round = 0; round < 50; round++) {
            wire_both();
            struct item it;
            for (unsigned i = 0; i < rings; i++) {
                struct pf_ring_stats s = stats(l.ring[i]);
                CHECK(s.put == 0 && s.got == 0 && s.lent_bytes == 0 && !s.producer && !s.consumer);
                CHECK(!readable(fds[1 - i]));
                if (round % 3 == 1)
                    CHECK_EQ(pf_ring_arm(l.ring[i]), 0);
                CHECK(!readable(fds[1 - i]));
                CHECK_EQ(any_get(l.ring[i], &it, PF_NOWAIT), -ETIMEDOUT);
                for (uint32_t k = 0; k < 5; k++)
                    CHECK_EQ(item_put(l.ring[i], round, k, k * 20000, PF_TRY), 0);
                CHECK(readable(fds[1 - i]));
                CHECK_EQ(stream_put(l.ring[i], round, 5, 50000, 10000, PF_TRY), 0);
                for (uint32_t k = 0; k < 6 - round % 4; k++) { /* some are never read */
                    CHECK_EQ(any_get(l.ring[i], &it, PF_TRY), 0);
                    CHECK(it.who == round && it.seq == k);
                }
            }
            close_end(1);
            CHECK_EQ(put_raw("x", 1, PF_TRY), -EPIPE);
            close_end(0);
            CHECK(pf_link_renew(&l));
        }
        wire_both();
        r = l.ring[rings - 1];
        int n = 0;
        for (int i = 0; i < 3; i++) { /* the whole window, and all of it */
            n = fill();
            CHECK((n + 1) * (PAYLOAD + 128) > (int)PF_LINK_WINDOW);
            for (; n > 0; n--)
                CHECK_EQ(skip(PF_TRY), 0);
        }
        close_clean();
    }
}

static void not_renewed(void)
{
    struct item it;
    for (int why = 0; why < 6; why++) {
        open_link(2);
        struct pf_box box = {0};
        struct pf_loan loan;
        pid_t pid = 0;
        uint64_t turn;
        r = l.ring[why % 2];
        CHECK_EQ(item_put(r, 0, 0, 100000, PF_TRY), 0);
        switch (why) {
        case 0: /* a loan is out */
            CHECK_EQ(pf_ring_get(r, &box, PF_TRY), 0);
            break;
        case 1: /* a block is being filled */
            CHECK_EQ(pf_ring_block(r, 1000, &loan), 0);
            break;
        case 2: /* somebody writes */
            begin_stream();
            break;
        case 3: /* somebody reads */
            CHECK_EQ(item_get(r, &it, PF_TRY), 0);
            turn = begin_stream();
            pf_ring_end(r, turn, true);
            get_first(&box);
            break;
        case 4: /* too much memory */
            CHECK_EQ(item_get(r, &it, PF_TRY), 0);
            CHECK_EQ(item_put(r, 0, 0, 5 * MIB, PF_TRY), 0);
            CHECK_EQ(item_get(r, &it, PF_TRY), 0);
            break;
        case 5: /* it came from a parent */
            pid = check_fork();
            break;
        }
        close_end(0);
        close_end(1);
        CHECK_EQ(pf_link_renew(&l), why == 5 && pid != 0);
        if (why == 5 && pid == 0)
            _exit(0);
        if (why == 5)
            check_reap(pid);
        if (why == 0)
            pf_ring_return(r, &box.loans[0]);
        if (why == 1)
            pf_ring_return(r, &loan);
        if (why < 2) {
            CHECK(pf_link_renew(&l)); /* now */
            CHECK_EQ(stats(r).lent_bytes, 0);
        }
        pf_box_clear(&box);
        close_link();
    }
}

/* ---- fork, attach, close ---- */

static void *put_until_told(void *arg)
{
    for (uint32_t i = 0; !atomic_load((_Atomic int *)arg); i++)
        CHECK_EQ(item_put(r, 0, i, i % 100, SOON), 0);
    return NULL;
}

/* Both ends in a child of a busy process. */
static void forked(void)
{
    open_link(2);
    _Atomic int stop = 0;
    pthread_t t;
    CHECK_EQ(pthread_create(&t, NULL, put_until_told, &stop), 0);
    for (uint32_t i = 0; i < 100; i++) {
        pid_t pid = check_fork();
        if (pid == 0) {
            struct pf_iov iov = {"child", 5};
            for (int k = 0; k < 10; k++) {
                int rc;
                do
                    rc = pf_ring_put(l.ring[1], &iov, 1, NULL, 0, SOON);
                while (rc == -EINTR);
                CHECK_EQ(rc, 0);
                struct pf_box box = {0};
                do
                    rc = pf_ring_get(l.ring[1], &box, SOON);
                while (rc == -EINTR);
                CHECK(rc >= 0 && box.len == 5);
            }
            _exit(0);
        }
        for (int k = 0; k < 30; k++) {
            struct item it;
            CHECK_EQ(item_get(r, &it, SOON), 0);
        }
        check_reap(pid);
    }
    atomic_store(&stop, 1);
    struct item it;
    while (item_get(r, &it, pf_now() + 50 * MS) == 0)
        ;
    pthread_join(t, NULL);
    while (item_get(r, &it, PF_TRY) == 0)
        ;
    close_clean();
}

/* As after the descriptors travelled; one handle's threads are the other's strangers. */
static void attached(void)
{
    for (unsigned rings = 1; rings <= 2; rings++) {
        open_link(rings);
        struct pf_link other;
        CHECK_EQ(pf_link_attach(&other, rings, dup(l.fd)), 0);
        CHECK(other.rings == rings);
        pf_link_wire(&other, 0, dup(fds[0]));
        int last = dup(fds[1]);
        pf_link_wire(&other, 1, last);
        struct item it;
        for (uint32_t i = 0; i < 2000; i++) {
            struct pf_ring *to = (i & 1 ? &l : &other)->ring[i % rings], *from = (i & 4 ? &l : &other)->ring[i % rings];
            CHECK_EQ(item_put(to, 0, i, i * 37 % 90000, PF_TRY), 0);
            CHECK_EQ(any_get(from, &it, PF_TRY), 0);
            CHECK_EQ(it.seq, i);
        }
        CHECK_EQ(stream_put(other.ring[0], 0, 0, 5000, 1000, PF_TRY), 0);
        CHECK_EQ(any_get(r, &it, PF_TRY), 0);
        close_end(1);
        CHECK_EQ(put_raw("x", 1, PF_TRY), 0); /* the other is there */
        pf_link_unwire(&other, 1, last);
        CHECK_EQ(put_raw("x", 1, PF_TRY), -EPIPE);
        pf_link_unwire(&other, 0, pf_ring_bell(other.ring[0]).ring_fd);
        pf_link_close(&other);
        close_link();
    }
}

static int attach_copy(unsigned rings, int fd)
{
    struct pf_link other;
    int copy = dup(fd), rc = pf_link_attach(&other, rings, copy);
    if (rc == 0)
        pf_link_close(&other);
    else
        CHECK_EQ(close(copy), 0); /* still ours */
    return rc;
}

static void attach_refuses(void)
{
    struct pf_link other;
    CHECK_EQ(pf_link_attach(&other, 1, -1), -EBADF);
    int pipes[2];
    CHECK_EQ(pipe(pipes), 0);
    CHECK(attach_copy(1, pipes[0]) < 0);
    close(pipes[0]);
    close(pipes[1]);
    for (int i = 0; i < 2; i++) { /* nothing in it */
        int fd = pf_shm_create(i ? 64 << 20 : 4096);
        CHECK_EQ(attach_copy(1, fd), -PF_ECORRUPT);
        CHECK_EQ(attach_copy(2, fd), -PF_ECORRUPT);
        close(fd);
    }
    struct pf_ring *plain; /* a queue's */
    CHECK_EQ(pf_ring_create(&plain, 0, 0), 0);
    CHECK_EQ(attach_copy(1, pf_ring_fd(plain)), -PF_ECORRUPT);
    pf_ring_close(plain);
    CHECK_EQ(pf_link_create(&l, 1), 0);
    CHECK_EQ(pf_ring_attach(&plain, l.fd, (struct pf_bell){-1, -1}), -PF_ECORRUPT); /* and the other way round */
    CHECK_EQ(attach_copy(2, l.fd), -PF_ECORRUPT); /* no second ring */
    CHECK_EQ(attach_copy(1, l.fd), 0);
    pf_link_close(&l);

    CHECK_EQ(pf_link_create(&l, 2), 0);
    off_t size = lseek(l.fd, 0, SEEK_END);
    uint64_t *h;
    void *p;
    CHECK_EQ(pf_shm_map(l.fd, 0, 4096, &p), 0);
    h = p; /* magic, layout, maxsize, zone, blocks, namespace, window */
    for (int at = 0; at < 7; at++) {
        for (int bit = 0; bit < 64; bit++) {
            if (at == 2 || at == 5)
                continue; /* anything goes */
            h[at] ^= UINT64_C(1) << bit;
            int rc = attach_copy(2, l.fd);
            if (at == 1)
                CHECK_EQ(rc, -PF_EVERSION);
            else if (at == 0 || at == 6)
                CHECK_EQ(rc, -PF_ECORRUPT);
            else
                CHECK(rc == 0 || rc == -PF_ECORRUPT); /* smaller may be true */
            h[at] ^= UINT64_C(1) << bit;
        }
    }
    uint64_t bad[] = {0, 1, 65535, UINT64_C(1) << 41, UINT64_MAX, UINT64_MAX - 65535};
    for (int at = 3; at <= 4; at++) {
        for (int i = at == 4; i < 6; i++) { /* no blocks is allowed */
            uint64_t good = h[at];
            if (at == 4 && bad[i] < UINT64_C(1) << 46)
                continue;
            h[at] = bad[i];
            CHECK_EQ(attach_copy(2, l.fd), -PF_ECORRUPT);
            h[at] = good;
        }
    }
    CHECK_EQ(attach_copy(2, l.fd), 0);
    pf_shm_unmap(p, 4096);
    if (size > 1 << 20) {
        CHECK_EQ(ftruncate(l.fd, size / 2), 0); /* the second is not all there */
        CHECK_EQ(attach_copy(2, l.fd), -PF_ECORRUPT);
        CHECK_EQ(ftruncate(l.fd, 100 << 10), 0);
        CHECK_EQ(attach_copy(1, l.fd), -PF_ECORRUPT);
    }
    pf_link_close(&l);
}

static int open_descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    if (!d)
        return 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void nothing_leaks(void)
{
    int before = open_descriptors();
    for (int i = 0; i < 1000; i++) {
        open_link(1 + i % 2);
        CHECK_EQ(put_raw("x", 1, PF_TRY), 0);
        if (i % 3 == 0)
            CHECK_EQ(item_put(r, 0, 0, 50000, PF_TRY), 0); /* a slot, and its token */
        close_link();
    }
    CHECK_EQ(open_descriptors(), before);
}

static void few_descriptors(void)
{
    struct rlimit old, none;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = 3;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    CHECK_EQ(pf_link_create(&l, 2), -EMFILE);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
}

static void file_size_limit(void)
{
    pid_t pid = check_fork();
    if (pid == 0) {
        signal(SIGXFSZ, SIG_IGN);
        struct rlimit lim = {32 << 20, 32 << 20};
        CHECK_EQ(setrlimit(RLIMIT_FSIZE, &lim), 0);
        open_link(2);
        for (uint32_t i = 0; i < 100; i++) {
            for (int k = 0; k < 2; k++) {
                struct item it;
                CHECK_EQ(item_put(l.ring[k], 0, i, 100000, SOON), 0); /* inline, then */
                CHECK_EQ(stream_put(l.ring[k], 0, i, 300000, 100000, SOON), 0);
                CHECK_EQ(any_get(l.ring[k], &it, PF_TRY), 0);
                CHECK_EQ(any_get(l.ring[k], &it, PF_TRY), 0);
            }
        }
        close_clean();
        _exit(0);
    }
    check_reap(pid);
}

static void on_alarm(int sig)
{
    (void)sig;
}

static void interrupted(void)
{
    struct sigaction sa = {.sa_handler = on_alarm}, old;
    sigaction(SIGALRM, &sa, &old);
    open_link(1);
    struct itimerval it = {{0, 50000}, {0, 50000}}, off = {{0, 0}, {0, 0}};
    struct pf_box box = {0};
    struct pf_iov iov = {payload, PAYLOAD};
    for (int i = 0; i < 4; i++) {
        uint64_t turn = 0;
        if (i == 2)
            fill();
        if (i == 3) {
            while (skip(PF_TRY) >= 0)
                ;
            turn = begin_stream();
        }
        setitimer(ITIMER_REAL, &it, NULL);
        int64_t start = pf_now();
        CHECK_EQ(i == 0   ? pf_ring_get(r, &box, PF_FOREVER)
                 : i == 1 ? pf_ring_wait(r, PF_FOREVER)
                          : pf_ring_put(r, &iov, 1, NULL, 0, PF_FOREVER),
                 -EINTR);
        CHECK(pf_now() - start < PF_SECOND / 2);
        setitimer(ITIMER_REAL, &off, NULL);
        if (i == 3)
            pf_ring_end(r, turn, false);
    }
    close_link();
    sigaction(SIGALRM, &old, NULL);
}

static void blocked_without_cpu(void)
{
    open_link(1);
    struct item it;
    CHECK_EQ(item_put(r, 0, 0, 10, PF_TRY), 0);
    CHECK_EQ(item_get(r, &it, PF_TRY), 0); /* rung, for what is gone */
    int64_t cpu = check_cpu();
    CHECK_EQ(item_get(r, &it, pf_now() + PF_SECOND), -ETIMEDOUT);
    CHECK(check_cpu() - cpu < 10 * MS);
    close_clean();
}

/* ---- memory that lies ---- */

#define RING_ZONE (64 << 10) /* where the first ring's begins in the file */

/* A writer that means harm: parts of nobody's message, in a circle. A get comes back. */
static void endless_parts(void)
{
    pid_t pid = check_fork();
    if (pid == 0) {
        alarm(30);
        open_link(1);
        uint64_t turn = begin_stream();
        CHECK_EQ(put_piece(r, turn, false, "x", 1, PF_TRY), 0);
        CHECK_EQ(put_piece(r, turn, false, "y", 1, PF_TRY), 0);
        pf_ring_end(r, turn, true);
        struct pf_box first;
        get_first(&first);
        pf_ring_leave(r, first.reader);
        pf_box_clear(&first);
        void *p;
        CHECK_EQ(pf_shm_map(l.fd, 0, 256 << 10, &p), 0);
        char *zone = (char *)p + RING_ZONE;
        size_t second = (8 + sizeof turn + sizeof first_words + 7) & ~(size_t)7, third = second + 24;
        CHECK_EQ(zone[second], 0x50);
        CHECK_EQ(zone[third], 0x50);
        uint64_t jump[2] = {8 << 16 | 0x4a, second};
        memcpy(zone + third, jump, sizeof jump);
        uint64_t *header = p;
        int counts = 0;
        for (int i = 0; i < 512; i++) { /* the count of messages put, in its record */
            if (header[i] == 3 && header[i + 1] == 0 && header[i - 1] >> 41 == 3) {
                header[i] = UINT64_C(1) << 40;
                counts++;
            }
        }
        CHECK_EQ(counts, 1);
        struct pf_box box = {0};
        int64_t start = pf_now();
        for (int i = 0; i < 3; i++)
            CHECK(pf_ring_get(r, &box, pf_now() + 10 * MS) < 0);
        CHECK(pf_now() - start < 5 * PF_SECOND);
        _exit(0);
    }
    check_reap(pid);
}

/* Everything a program may do with a link. */
static void use_everything(struct pf_link *k)
{
    char data[64] = "x";
    struct pf_iov iov = {data, 30};
    for (int i = 0; i < 3; i++) {
        for (unsigned n = 0; n < k->rings; n++) {
            struct pf_ring *g = k->ring[n];
            struct pf_box boxes[4], box;
            memset(boxes, 0, sizeof boxes);
            memset(&box, 0, sizeof box);
            struct pf_loan loan;
            uint64_t turn = 0;
            if (i == 1)
                pf_ring_arm(g);
            pf_ring_wait(g, PF_NOWAIT);
            int rc = pf_ring_get_many(g, boxes, 4, PF_NOWAIT, NULL);
            for (int b = 0; b < rc; b++) {
                for (int part = 0; boxes[b].writer && part < 5; part++) {
                    if (pf_ring_get_part(g, &boxes[b], &box, PF_NOWAIT) < 0)
                        break;
                    free_piece(g, &box);
                }
                if (boxes[b].writer)
                    pf_ring_leave(g, boxes[b].reader);
                for (uint32_t m = 0; m < boxes[b].nloans; m++) {
                    if (boxes[b].loans[m].len)
                        ((volatile char *)boxes[b].loans[m].base)[boxes[b].loans[m].len - 1]++;
                }
                free_piece(g, &boxes[b]);
            }
            if (pf_ring_block(g, 100000, &loan) == 0) {
                memset(loan.base, 1, 100000);
                if (pf_ring_put(g, &iov, 1, &loan, 1, PF_NOWAIT) < 0)
                    pf_ring_return(g, &loan);
            }
            pf_ring_put(g, &iov, 1, NULL, 0, PF_NOWAIT);
            if (pf_ring_begin(g, &turn) == 0 && pf_ring_put_first(g, turn, &iov, 1, NULL, 0, PF_NOWAIT) == 0) {
                rc = pf_ring_put_part(g, turn, &iov, 1, NULL, 0, PF_NOWAIT);
                pf_ring_end(g, turn, rc == 0);
            }
            pf_ring_settle(g);
            stats(g);
            pf_ring_size(g);
        }
    }
}

static void corrupted(void)
{
    static const char *const where[] = {"header", "messages", "blocks", "anywhere"};
    int crashes = 0;
    int seeds = getenv("SEEDS") ? atoi(getenv("SEEDS")) : 300;
    pid_t running[8] = {0}; /* most of their time is spent waiting for owners that never were */
    for (int seed = 1; seed <= seeds + 8; seed++) {
        int kind = seed % 4;
        pid_t *pid = &running[seed % 8];
        if (*pid) {
            int status = check_reap_within(*pid, 60 * PF_SECOND);
            if (status != 0) {
                fprintf(stderr, "seed %d (%s): %s %d\n", seed - 8, where[kind], WIFSIGNALED(status) ? "signal" : "exit",
                        WIFSIGNALED(status) ? WTERMSIG(status) : status >> 8);
                crashes++;
            }
        }
        *pid = seed > seeds ? 0 : check_fork();
        if (seed <= seeds && *pid == 0) {
            uint64_t random = (uint64_t)seed;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
            struct rlimit lim = {UINT64_C(3) << 30, UINT64_C(3) << 30};
            setrlimit(RLIMIT_AS, &lim);
#endif
            alarm(45);
            open_link(1 + (unsigned)seed % 3 / 2);
            struct pf_box first = {0};
            struct item it;
            CHECK_EQ(item_put(r, 0, 0, 100, PF_TRY), 0);
            CHECK_EQ(item_get(r, &it, PF_TRY), 0);
            if (seed % 5 == 0) { /* in the middle of one */
                CHECK_EQ(stream_put(r, 0, 0, 400, 100, PF_TRY), 0);
                CHECK_EQ(pf_ring_get(r, &first, PF_TRY), 0);
            }
            for (uint32_t i = 0; i < 10; i++)
                CHECK_EQ(item_put(r, 0, i, i * 11 % 300 + (i % 5 ? 0 : 40000), PF_TRY), 0);
            CHECK_EQ(stream_put(r, 0, 0, 400, 100, PF_TRY), 0);
            if (seed % 3 == 0)
                begin_stream();
            void *p;
            CHECK_EQ(pf_shm_map(l.fd, 0, 256 << 10, &p), 0);
            size_t from = kind == 1 ? RING_ZONE : kind == 2 ? 1024 : 0;
            size_t size = kind == 0 ? 1024 : kind == 1 ? 4096 : kind == 2 ? 20 * 64 : 128 << 10;
            int n = 1 + (int)(check_random(&random) % 6);
            for (int i = 0; i < n; i++) {
                uint64_t x = check_random(&random);
                char *at = (char *)p + from + (x >> 20) % size;
                if (x & 1)
                    *at = (char)(x >> 8);
                else
                    *(uint64_t *)(void *)((uintptr_t)at & ~(uintptr_t)7) = check_random(&random) >> (x >> 8 & 63);
            }
            if (first.writer) {
                struct pf_box box = {0};
                for (int i = 0; i < 5 && pf_ring_get_part(r, &first, &box, PF_NOWAIT) >= 0; i++)
                    free_piece(r, &box);
                pf_ring_leave(r, first.reader);
                pf_box_clear(&first);
            }
            use_everything(&l);
            struct pf_link other;
            int copy = dup(l.fd);
            if (pf_link_attach(&other, l.rings, copy) == 0) {
                pf_link_wire(&other, 0, fds[0]);
                pf_link_wire(&other, 1, fds[1]);
                use_everything(&other);
                pf_link_close(&other);
            }
            close_end(1);
            put_raw("x", 1, PF_NOWAIT);
            close_end(0);
            pf_link_renew(&l);
            pf_link_close(&l);
            _exit(0);
        }
    }
    CHECK_EQ(crashes, 0);
}

static const struct check_case cases[] = {CASE(sizes),
                                          CASE(both_ways),
                                          CASE(empty),
                                          CASE(links_and_queues_differ),
                                          CASE(window),
                                          CASE(woken_at_half),
                                          CASE(reader_closes),
                                          CASE(reader_closes_on_a_sleeper),
                                          CASE(reader_dies),
                                          CASE(reader_dies_slow_writer),
                                          CASE(writer_closes),
                                          CASE(writer_dies),
                                          CASE(sent_and_gone),
                                          CASE(last_words),
                                          CASE(parts),
                                          CASE(long_stream),
                                          CASE(turns),
                                          CASE(turns_are_passed_on),
                                          CASE(torn_by_giving_up),
                                          CASE(torn_by_death),
                                          CASE(reader_dies_in_its_turn),
                                          CASE(left_early),
                                          CASE(batches),
                                          CASE(crowd_of_threads),
                                          CASE(crowd_of_processes),
                                          CASE(there_and_back),
                                          CASE(rings_are_told),
                                          CASE(armed_with_messages),
                                          CASE(select_hammer),
                                          CASE(never_late),
                                          CASE(exposed),
                                          CASE(user_bytes_in_order),
                                          CASE(armed_is_exposed),
                                          CASE(renewed),
                                          CASE(not_renewed),
                                          CASE(forked),
                                          CASE(attached),
                                          CASE(attach_refuses),
                                          CASE(nothing_leaks),
                                          CASE(few_descriptors),
                                          CASE(file_size_limit),
                                          CASE(interrupted),
                                          CASE(blocked_without_cpu),
                                          CASE(endless_parts),
                                          CASE(corrupted)};
CHECK_MAIN(cases)
