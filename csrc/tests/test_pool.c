/* Claims, calling off, condemning, waking: what a pool has beside its rings. Deaths are crash_pool's. */
#include <poll.h>

#include "check.h"
#include "procfast/pool.h"

static struct pf_ring *tasks, *results;
static struct pf_pool *pool;

static void make(unsigned workers)
{
    CHECK_EQ(pf_ring_create(&tasks, 0, 0), 0);
    CHECK_EQ(pf_ring_create(&results, 0, 0), 0);
    CHECK_EQ(pf_pool_create(&pool, workers), 0);
    pf_pool_tasks(pool, tasks);
}

static void drop(void)
{
    pf_pool_close(pool);
    pf_ring_close(tasks);
    pf_ring_close(results);
}

static uint64_t ticket_of(uint32_t job, uint64_t index)
{
    return job | index << 24;
}

static void put(struct pf_ring *r, uint64_t ticket)
{
    struct pf_iov iov = {&ticket, sizeof ticket};
    CHECK_EQ(pf_ring_put(r, &iov, 1, NULL, 0, PF_FOREVER), 0);
}

static uint64_t take(unsigned worker)
{
    struct pf_box box = {0};
    uint64_t ticket = 0;
    CHECK_EQ(pf_pool_take(pool, worker, &box, PF_NOWAIT), 0);
    memcpy(&ticket, box.data, sizeof ticket);
    pf_box_clear(&box);
    return ticket;
}

static void answer(uint64_t ticket)
{
    struct pf_iov iov = {&ticket, sizeof ticket};
    CHECK_EQ(pf_pool_answer(pool, results, &iov, 1, NULL, 0, PF_FOREVER), 0);
}

static uint64_t held(unsigned worker)
{
    uint64_t ticket = 1;
    CHECK_EQ(pf_pool_held(pool, worker, pf_deadline(PF_SECOND), &ticket), 0);
    return ticket;
}

static void sizes(void)
{
    struct pf_pool *p;
    CHECK_EQ(pf_pool_create(&p, 0), -EINVAL);
    CHECK_EQ(pf_pool_create(&p, PF_POOL_MOST + 1), -EINVAL);
    CHECK_EQ(pf_pool_create(&p, PF_POOL_MOST), 0);
    struct stat st;
    CHECK_EQ(fstat(pf_pool_fd(p), &st), 0);
    CHECK(st.st_blocks * 512 <= PF_POOL_MOST * 64 + 65536); /* what may be called off costs nothing until it is */
    pf_pool_close(p);
}

static void attaching(void)
{
    make(3);
    struct pf_pool *other;
    CHECK_EQ(pf_pool_attach(&other, dup(pf_pool_fd(pool))), 0);
    pf_pool_stop(pool, 1);
    CHECK_EQ(pf_pool_stopped(other), 1);
    pf_pool_close(other);
    int fd = pf_shm_create(4096);
    CHECK_EQ(pf_pool_attach(&other, fd), -PF_ECORRUPT);
    close(fd);
    fd = pf_shm_create(4 << 20);
    CHECK_EQ(pf_pool_attach(&other, fd), -PF_ECORRUPT);
    close(fd);
    uint64_t *header;
    void *addr;
    CHECK_EQ(pf_shm_map(pf_pool_fd(pool), 0, 4096, &addr), 0);
    header = addr;
    uint32_t *layout = (uint32_t *)&header[1];
    layout[0]++;
    fd = dup(pf_pool_fd(pool));
    CHECK_EQ(pf_pool_attach(&other, fd), -PF_EVERSION);
    layout[0]--;
    layout[1] = 1 << 20; /* more workers than the file has room for */
    CHECK_EQ(pf_pool_attach(&other, fd), -PF_ECORRUPT);
    close(fd);
    pf_shm_unmap(addr, 4096);
    drop();
}

static void claims(void)
{
    make(2);
    put(tasks, ticket_of(5, 1));
    put(tasks, ticket_of(5, 2));
    CHECK_EQ(held(0), 0);
    CHECK_EQ(take(0), ticket_of(5, 1));
    CHECK_EQ(held(0), ticket_of(5, 1));
    CHECK_EQ(take(1), ticket_of(5, 2));
    CHECK_EQ(held(1), ticket_of(5, 2));
    CHECK(pf_pool_begin(pool, 0));
    struct pf_pool_worker w;
    pf_pool_look(pool, 0, &w);
    CHECK(w.ticket == ticket_of(5, 1) && w.done == 0 && !w.ready && w.since <= pf_now());
    pf_pool_ready(pool, 0);
    check_sleep(2 * MS);
    int64_t ns;
    CHECK(pf_pool_end(pool, 0, &ns));
    CHECK(ns >= 2 * MS);
    pf_pool_look(pool, 0, &w);
    CHECK(w.ticket == 0 && w.done == 1 && w.busy == ns && w.ready);
    CHECK_EQ(held(0), ticket_of(5, 1)); /* until it rests */
    pf_pool_rest(pool, 0);
    CHECK_EQ(held(0), 0);
    CHECK_EQ(held(1), ticket_of(5, 2));
    pf_pool_reset(pool, 1);
    CHECK_EQ(held(1), 0);
    struct pf_box box = {0};
    CHECK_EQ(pf_pool_take(pool, 0, &box, PF_TRY), -EAGAIN);
    CHECK_EQ(pf_pool_take(pool, 0, &box, pf_deadline(MS)), -ETIMEDOUT);
    drop();
}

static void condemning(void)
{
    make(1);
    int64_t ns;
    put(tasks, ticket_of(1, 1));
    put(tasks, ticket_of(1, 2));
    CHECK(!pf_pool_condemn(pool, 0, ticket_of(1, 1))); /* nobody has it */
    take(0);
    CHECK(!pf_pool_condemn(pool, 0, ticket_of(1, 1))); /* it has not begun */
    CHECK(pf_pool_begin(pool, 0));
    CHECK(!pf_pool_condemn(pool, 0, ticket_of(1, 2))); /* another */
    CHECK(pf_pool_condemn(pool, 0, ticket_of(1, 1)));
    CHECK(!pf_pool_condemn(pool, 0, ticket_of(1, 1)));
    CHECK(!pf_pool_end(pool, 0, &ns));
    pf_pool_reset(pool, 0);
    take(0);
    CHECK(pf_pool_begin(pool, 0));
    CHECK(pf_pool_end(pool, 0, &ns));
    CHECK(!pf_pool_condemn(pool, 0, ticket_of(1, 2))); /* it has ended */
    drop();
}

static void calling_off(void)
{
    make(1);
    const uint32_t jobs[] = {1, 63, 64, PF_POOL_JOBS - 1};
    for (unsigned i = 0; i < 4; i++) {
        put(tasks, ticket_of(jobs[i], 7));
        put(tasks, ticket_of(jobs[i], 8));
        pf_pool_call_off(pool, jobs[i], true);
        pf_pool_call_off(pool, jobs[i], true); /* twice is once */
        take(0);
        CHECK(!pf_pool_begin(pool, 0));
        pf_pool_call_off(pool, jobs[i], false);
        take(0);
        CHECK(pf_pool_begin(pool, 0));
    }
    pf_pool_call_off(pool, 9, false);
    put(tasks, ticket_of(10, 0));
    pf_pool_call_off(pool, 9, true);
    take(0);
    CHECK(pf_pool_begin(pool, 0)); /* only job 9 */
    drop();
}

static void *answers(void *arg)
{
    for (int i = 0; i < *(int *)arg; i++) {
        check_sleep(5 * MS);
        answer(ticket_of(1, (uint64_t)i));
    }
    return NULL;
}

static void waiting(void)
{
    make(1);
    CHECK_EQ(pf_pool_wait(pool, results, 1, pf_pool_seen(pool), pf_deadline(5 * MS)), -ETIMEDOUT);
    int n = 4;
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, answers, &n), 0);
    int64_t began = pf_now();
    while (pf_ring_size(results) < 4)
        pf_pool_wait(pool, results, 4, pf_pool_seen(pool), pf_deadline(10 * PF_SECOND));
    CHECK(pf_now() - began < PF_SECOND / 2); /* woken, and not by a look */
    pthread_join(thread, NULL);
    CHECK_EQ(pf_pool_wait(pool, results, 4, pf_pool_seen(pool), PF_FOREVER), 0); /* they are there */
    uint32_t seen = pf_pool_seen(pool);
    pf_pool_kick(pool);
    began = pf_now();
    CHECK_EQ(pf_pool_wait(pool, results, 9, seen, pf_deadline(10 * PF_SECOND)), 0); /* kicked since */
    CHECK_EQ(pf_pool_wait(pool, results, 9, pf_pool_seen(pool), PF_FOREVER), -EINTR); /* a look */
    CHECK(pf_now() - began < 5 * PF_SECOND);
    drop();
}

static bool rung(void)
{
    struct pollfd fd = {.fd = pf_ring_bell(results).wait_fd, .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

static void calling(void)
{
    make(1);
    struct pf_bell bell = pf_ring_bell(results);
    answer(1);
    CHECK(!rung());
    pf_pool_call(pool, results, 3);
    answer(2);
    CHECK(!rung());
    answer(3);
    CHECK(rung());
    pf_bell_reset(&bell);
    answer(4);
    CHECK(!rung()); /* once */
    pf_pool_call(pool, results, 2);
    CHECK(rung()); /* they are there already */
    pf_bell_reset(&bell);
    pf_pool_call(pool, results, 5);
    pf_pool_call(pool, results, 0);
    answer(5);
    CHECK(!rung());
    drop();
}

static const struct check_case cases[] = {
    CASE(sizes), CASE(attaching), CASE(claims), CASE(condemning), CASE(calling_off), CASE(waiting), CASE(calling),
};

CHECK_MAIN(cases)
