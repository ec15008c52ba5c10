/* What the ring does by itself, a queue's and a link's: the floor that Python's queues and pipes are compared with.
 * Prints a Markdown table.
 *
 * Median of ROUNDS interleaved rounds; "copied" counts the bytes once, though they are written and read. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "procfast/clock.h"
#include "procfast/link.h"
#include "procfast/ring.h"

#define ROUNDS 9
#define BATCH 64

static struct pf_ring *r, *back;
static struct pf_link chain;
static char *bytes;

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "bench_ring: %s failed\n", what);
        exit(1);
    }
}

static void put_message(struct pf_ring *to, struct pf_iov iov, const struct pf_loan *loan)
{
    int rc;
    do
        rc = pf_ring_put(to, &iov, 1, loan, loan != NULL, PF_FOREVER);
    while (rc == -EINTR);
    must(rc == 0, "put");
}

/* Big ones travel in a block, as Python's buffers do, while there are any. */
static void put(struct pf_ring *to, size_t len)
{
    struct pf_loan loan;
    if (len > PF_INLINE_MAX && pf_ring_block(to, len, &loan) == 0) {
        memcpy(loan.base, bytes, len);
        put_message(to, (struct pf_iov){NULL, 0}, &loan);
    } else {
        put_message(to, (struct pf_iov){bytes, len}, NULL);
    }
}

static void get(struct pf_ring *from)
{
    struct pf_box box = {0};
    int rc;
    do
        rc = pf_ring_get(from, &box, PF_FOREVER);
    while (rc == -EINTR);
    must(rc >= 0, "get");
    for (uint32_t i = 0; i < box.nloans; i++) {
        memcpy(bytes, box.loans[i].base, box.loans[i].len);
        pf_ring_return(from, &box.loans[i]);
    }
    pf_box_clear(&box);
}

static void alone(size_t len, int n)
{
    for (int i = 0; i < n; i++) {
        put(r, len);
        get(r);
    }
}

static void alone_batched(size_t len, int n)
{
    uint64_t off[BATCH + 1];
    static struct pf_box boxes[BATCH];
    for (int i = 0; i <= BATCH; i++)
        off[i] = (uint64_t)i * len;
    for (int done = 0; done < n; done += BATCH) {
        must(pf_ring_put_many(r, bytes, off, BATCH, PF_FOREVER) == BATCH, "put_many");
        for (int got = 0; got < BATCH;) {
            int k = pf_ring_get_many(r, boxes, BATCH, PF_FOREVER, NULL);
            must(k > 0, "get_many");
            got += k;
            while (k > 0)
                pf_box_clear(&boxes[--k]);
        }
    }
}

static void across(size_t len, int n, int producers)
{
    pid_t pid[4];
    for (int p = 0; p < producers; p++) {
        pid[p] = fork();
        if (pid[p] == 0) {
            alarm(120);
            for (int i = 0; i < n / producers; i++)
                put(r, len);
            _exit(0);
        }
    }
    for (int i = 0; i < n / producers * producers; i++)
        get(r);
    for (int p = 0; p < producers; p++)
        waitpid(pid[p], NULL, 0);
}

static void one_to_one(size_t len, int n)
{
    across(len, n, 1);
}

static void four_to_one(size_t len, int n)
{
    across(len, n, 4);
}

static void there_and_back(size_t len, int n)
{
    pid_t pid = fork();
    if (pid == 0) {
        alarm(120);
        for (int i = 0; i < n; i++) {
            get(r);
            put(back, len);
        }
        _exit(0);
    }
    for (int i = 0; i < n; i++) {
        put(r, len);
        get(back);
    }
    waitpid(pid, NULL, 0);
}

static void swap_rings(void)
{
    struct pf_ring *queue[2] = {r, back};
    r = chain.ring[0];
    back = chain.ring[1];
    chain.ring[0] = queue[0];
    chain.ring[1] = queue[1];
}

static void link_one_to_one(size_t len, int n)
{
    swap_rings();
    across(len, n, 1);
    swap_rings();
}

static void link_there_and_back(size_t len, int n)
{
    swap_rings();
    there_and_back(len, n);
    swap_rings();
}

static void send_all(int fd, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t k = write(fd, bytes + done, len - done);
        must(k > 0, "write");
        done += (size_t)k;
    }
}

static void receive_all(int fd, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t k = read(fd, bytes + done, len - done);
        must(k > 0, "read");
        done += (size_t)k;
    }
}

/* What a pipe is without a ring: a call for each message, on either side. */
static void sockets(size_t len, int n, bool answer)
{
    int fd[2];
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0, "socketpair");
    pid_t pid = fork();
    if (pid == 0) {
        alarm(120);
        for (int i = 0; i < n; i++) {
            if (answer)
                receive_all(fd[1], len);
            send_all(fd[1], len);
        }
        _exit(0);
    }
    for (int i = 0; i < n; i++) {
        if (answer)
            send_all(fd[0], len);
        receive_all(fd[0], len);
    }
    waitpid(pid, NULL, 0);
    close(fd[0]);
    close(fd[1]);
}

static void sockets_one_to_one(size_t len, int n)
{
    sockets(len, n, false);
}

static void sockets_there_and_back(size_t len, int n)
{
    sockets(len, n, true);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

int main(void)
{
    static const struct {
        const char *name;
        void (*run)(size_t len, int n);
        size_t len;
        int n;
    } rows[] = {
        {"put and get, one process, 8 bytes", alone, 8, 300000},
        {"the same in batches of 64", alone_batched, 8, 1 << 19},
        {"put and get, one process, 4 KiB", alone, 4096, 100000},
        {"one producer to one consumer, 8 bytes", one_to_one, 8, 300000},
        {"four producers to one consumer, 8 bytes", four_to_one, 8, 300000},
        {"one to one, 16 KiB", one_to_one, 16384, 30000},
        {"one to one, 64 KiB", one_to_one, 65536, 10000},
        {"one to one, 1 MiB", one_to_one, 1 << 20, 600},
        {"there and back, 8 bytes", there_and_back, 8, 20000},
        {"link: one to one, 8 bytes", link_one_to_one, 8, 300000},
        {"link: one to one, 16 KiB", link_one_to_one, 16384, 30000},
        {"link: one to one, 1 MiB", link_one_to_one, 1 << 20, 600},
        {"link: there and back, 8 bytes", link_there_and_back, 8, 20000},
        {"socketpair: one to one, 8 bytes", sockets_one_to_one, 8, 100000},
        {"socketpair: one to one, 16 KiB", sockets_one_to_one, 16384, 30000},
        {"socketpair: one to one, 1 MiB", sockets_one_to_one, 1 << 20, 600},
        {"socketpair: there and back, 8 bytes", sockets_there_and_back, 8, 20000},
    };
    enum { ROWS = sizeof rows / sizeof *rows };
    static double ns[ROWS][ROUNDS];
    alarm(120); /* in children too: none waits for ever for another that failed */
    bytes = malloc(1 << 20);
    must(bytes != NULL, "malloc");
    memset(bytes, 'x', 1 << 20);
    must(pf_ring_create(&r, 0, 0) == 0 && pf_ring_create(&back, 0, 0) == 0, "create");
    int wire[2];
    must(pf_link_create(&chain, 2) == 0 && pf_wire_open(wire) == 0, "create a link");
    pf_link_wire(&chain, 0, wire[0]);
    pf_link_wire(&chain, 1, wire[1]);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < ROWS; i++) {
            int64_t start = pf_now();
            rows[i].run(rows[i].len, rows[i].n);
            ns[i][round] = (double)(pf_now() - start) / rows[i].n;
        }
    }
    printf("| ring | ns a message | messages/s | copied, MB/s |\n|---|---|---|---|\n");
    for (int i = 0; i < ROWS; i++) {
        qsort(ns[i], ROUNDS, sizeof **ns, by_value);
        double m = ns[i][ROUNDS / 2];
        printf("| %s | %.0f | %.0f | %.0f |\n", rows[i].name, m, 1e9 / m, (double)rows[i].len * 1e3 / m);
    }
    pf_ring_close(r);
    pf_ring_close(back);
    pf_link_unwire(&chain, 0, wire[0]);
    pf_link_unwire(&chain, 1, wire[1]);
    pf_link_close(&chain);
    return 0;
}
