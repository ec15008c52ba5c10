#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "arena_impl.h"
#include "procfast/lock.h"
#include "shared_arena.h"

#if defined(__linux__) && !defined(PF_OS_POSIX)
#define EPOCHS 1
#else
#define EPOCHS 0 /* what others could reach is never reused */
#endif

static struct pf_arena_stats stats(void)
{
    struct pf_arena_stats s;
    pf_arena_stats(arena, &s);
    return s;
}

static int descriptors(void)
{
    int n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static bool zeros(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (((const char *)p)[i])
            return false;
    }
    return true;
}

/* Any sizes, in any order: blocks are aligned, zeroed, apart, and used again. */
static void sizes(void)
{
    arena_open();
    enum { N = 400 };
    static struct {
        unsigned char *at;
        size_t size;
    } block[N];
    uint64_t seed = 7, used = 0;
    for (int round = 0; round < 60000; round++) {
        int i = (int)(check_random(&seed) % N);
        if (block[i].at) {
            for (size_t k = 0; k < block[i].size; k += 1 + block[i].size / 50)
                CHECK_EQ(block[i].at[k], i & 255);
            pf_arena_free(arena, block[i].at, block[i].size);
            block[i].at = NULL;
            continue;
        }
        uint64_t r = check_random(&seed);
        block[i].size = 1 + (r >> 8) % (r & 7 ? 300 : r & 8 ? 5000 : 200000);
        void *p;
        CHECK_EQ(pf_arena_alloc(arena, block[i].size, &p), 0);
        CHECK_EQ((uintptr_t)p % 64, 0);
        CHECK(zeros(p, block[i].size));
        memset(p, i, block[i].size);
        block[i].at = p;
        void *again;
        CHECK_EQ(pf_arena_at(arena, pf_arena_offset(arena, p), block[i].size, &again), 0);
        CHECK(p == again);
        if (round >= 20000 && !used)
            used = stats().reserved;
    }
    uint64_t live = 0;
    for (int i = 0; i < N; i++)
        live += block[i].at != NULL;
    CHECK_EQ(stats().live, live);
    CHECK(stats().reserved < 2 * used);
    arena_shut();
}

static void bad_sizes_and_offsets(void)
{
    arena_open();
    void *p, *q;
    CHECK_EQ(pf_arena_alloc(arena, 0, &p), -EINVAL);
    CHECK_EQ(pf_arena_alloc(arena, PF_ARENA_MOST + 1, &p), -EINVAL);
    CHECK_EQ(pf_arena_alloc(arena, PF_ARENA_MOST, &p), 0);
    memset(p, 1, PF_ARENA_MOST);
    pf_arena_free(arena, p, PF_ARENA_MOST);
    p = arena_new(64);
    uint64_t at = pf_arena_offset(arena, p), end = stats().reserved;
    CHECK_EQ(pf_arena_at(arena, at, 64, &q), 0);
    CHECK_EQ(pf_arena_at(arena, at + 1, 8, &q), -PF_ECORRUPT);
    CHECK_EQ(pf_arena_at(arena, 0, 64, &q), -PF_ECORRUPT);
    CHECK_EQ(pf_arena_at(arena, 4096, 64, &q), -PF_ECORRUPT); /* the header's */
    CHECK_EQ(pf_arena_at(arena, end, 1, &q), -PF_ECORRUPT);
    CHECK_EQ(pf_arena_at(arena, end - 64, 64, &q), 0);
    CHECK_EQ(pf_arena_at(arena, end - 64, 65, &q), -PF_ECORRUPT);
    CHECK_EQ(pf_arena_at(arena, at, SIZE_MAX, &q), -PF_ECORRUPT);
    CHECK_EQ(pf_arena_at(arena, UINT64_MAX - 63, 64, &q), -PF_ECORRUPT);
    pf_arena_free(arena, (char *)p + 8, 64); /* not a block */
    pf_arena_free(arena, (char *)arena->h + 64, 64);
    CHECK_EQ(stats().live, 1);
    pf_arena_free(arena, p, 64);
    pf_arena_free(arena, p, 64); /* twice: once */
    CHECK_EQ(stats().live, 0);
    q = arena_new(64);
    CHECK(q == p && arena_new(64) != p);
    arena_shut();
}

/* A single block, in a segment of its own. */
static void one_block(void)
{
    int before = descriptors();
    size_t sizes[] = {1, 4096, 1 << 20, (1 << 20) + 1, 50 << 20};
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(pf_arena_create(&arena, sizes[i]), 0);
        void *p, *q;
        CHECK_EQ(pf_arena_alloc(arena, sizes[i] + 8192, &p), -ENOSPC);
        CHECK_EQ(pf_arena_alloc(arena, sizes[i], &p), 0);
        CHECK_EQ(pf_arena_alloc(arena, sizes[i], &q), -ENOSPC);
        CHECK_EQ((uintptr_t)p % 4096, 0);
        CHECK(zeros(p, sizes[i] < 100000 ? sizes[i] : 100000));
        ((char *)p)[sizes[i] - 1] = 5;
        struct pf_arena *other;
        CHECK_EQ(pf_arena_attach(&other, dup(pf_arena_fd(arena))), 0);
        CHECK_EQ(pf_arena_at(other, pf_arena_offset(arena, p), sizes[i], &q), 0);
        CHECK_EQ(((char *)q)[sizes[i] - 1], 5);
        CHECK_EQ(pf__arena_tenancy(other), -ENOSPC); /* no slots in there */
        pf_arena_close(other);
        pf_arena_free(arena, p, sizes[i]);
        pf_arena_close(arena);
    }
    CHECK_EQ(pf_arena_create(&arena, SIZE_MAX), -ENOMEM);
    CHECK_EQ(pf_arena_create(&arena, SIZE_MAX / 2), -ENOMEM);
    CHECK_EQ(descriptors(), before);
}

/* As many as anybody wants: one descriptor, and what is freed comes back at once. */
static void a_hundred_thousand(void)
{
    int before = descriptors();
    arena_open();
    enum { N = 100000 };
    static void *block[N];
    int64_t start = pf_now();
    for (int i = 0; i < N; i++)
        block[i] = arena_new(i % 3 ? 64 : 100);
    int64_t took = pf_now() - start;
    if (getenv("VERBOSE"))
        printf("    %.0f ns each\n", (double)took / N);
    CHECK_EQ(descriptors(), before + 1);
    CHECK_EQ(stats().live, N);
    for (int i = 0; i < N; i++)
        pf_arena_free(arena, block[i], i % 3 ? 64 : 100);
    CHECK_EQ(stats().live, 0);
    CHECK_EQ(stats().free, N);
    uint64_t reserved = stats().reserved;
    for (int i = 0; i < N; i++)
        block[i] = arena_new(i % 3 ? 64 : 100);
    CHECK_EQ(stats().reserved, reserved);
    arena_shut();
    CHECK_EQ(descriptors(), before);
}

static void does_not_grow(void)
{
    arena_open();
    uint64_t reserved = 0;
    int64_t start = pf_now();
    for (int i = 0; i < 1000000; i++) {
        void *p = arena_new(64);
        *(int *)p = i;
        pf_arena_free(arena, p, 64);
        if (i == 0)
            reserved = stats().reserved;
    }
    if (getenv("VERBOSE"))
        printf("    %.0f ns for both\n", (double)(pf_now() - start) / 1e6);
    CHECK_EQ(stats().reserved, reserved);
    CHECK_EQ(stats().free, 1);
    arena_shut();
}

/* A child has it in its hands, the parent frees it: nobody else gets it as long as the child lives. */
static void not_while_a_child_lives(void)
{
    for (int generation = 0; generation < 2; generation++) {
        arena_open();
        struct pf_lock *lock = arena_new(sizeof *lock);
        pid_t pid = check_fork();
        if (pid == 0) {
            if (generation && fork()) { /* the grandchild has it */
                _exit(0);
            }
            CHECK_EQ(pf_lock_acquire(lock, arena, PF_FOREVER, 0, NULL), 0);
            atomic_store(&flag[0], getpid());
            check_until(&flag[1], 1);
            CHECK(pf_lock_mine(lock, arena));
            atomic_store(&flag[2], 1);
            check_until(&flag[3], 1);
            _exit(0);
        }
        check_until(&flag[0], 1);
        if (generation)
            check_reap(pid);
        pf_arena_free(arena, lock, sizeof *lock);
        enum { N = 1000 };
        void *p[N];
        for (int i = 0; i < 1000000 / N; i++) {
            for (int k = 0; k < N; k++) {
                p[k] = arena_new(sizeof *lock);
                CHECK(p[k] != lock);
                memset(p[k], 0xff, sizeof *lock);
            }
            for (int k = 0; k < N; k++)
                pf_arena_free(arena, p[k], sizeof *lock);
        }
        CHECK_EQ(stats().limbo, 1);
        atomic_store(&flag[1], 1);
        check_until(&flag[2], 1);
        pid_t grandchild = atomic_load(&flag[0]);
        atomic_store(&flag[3], 1);
        if (!generation)
            check_reap(pid);
        while (generation && kill(grandchild, 0) == 0)
            check_sleep(MS);
        bool again = false;
        for (int i = 0; i < 1100 && !again; i++)
            again = arena_new(sizeof *lock) == lock;
        CHECK_EQ(again, EPOCHS);
        CHECK_EQ(stats().limbo, !EPOCHS);
        arena_shut();
    }
}

/* A lock for each child, given up at once, as Process(target=f, args=(Lock(),)).start() does. */
static void a_thousand_forks(void)
{
    arena_open();
    int before = descriptors();
    uint64_t reserved = 0;
    pid_t pid[8] = {0};
    for (int i = 0; i < 1000; i++) {
        struct pf_lock *lock = arena_new(sizeof *lock);
        CHECK(zeros(lock, sizeof *lock));
        atomic_store(&lock->since, i + 1);
        reserved = reserved ? reserved : stats().reserved;
        if (pid[i % 8])
            check_reap(pid[i % 8]);
        pid[i % 8] = check_fork();
        if (pid[i % 8] == 0) {
            if (i % 50 == 0)
                check_sleep(30 * MS);
            CHECK_EQ(atomic_load(&lock->since), i + 1);
            _exit(0);
        }
        pf_arena_free(arena, lock, sizeof *lock);
    }
    for (int i = 0; i < 8; i++)
        check_reap(pid[i]);
    struct pf_arena_stats s = stats();
    CHECK_EQ(descriptors(), before);
    CHECK_EQ(s.live, 0);
    CHECK(s.epoch > 990);
    if (EPOCHS) {
        CHECK(s.free + s.limbo < 200);
        CHECK_EQ(s.reserved, reserved);
        CHECK(s.looks < 100);
    }
    arena_shut();
}

/* What was allocated after the last fork is nobody's business. */
static void reuse_beside_children(void)
{
    arena_open();
    void *old = arena_new(64);
    pid_t pid = check_fork();
    if (pid == 0) {
        check_until(&flag[0], 1);
        _exit(0);
    }
    void *young = arena_new(64);
    for (int i = 0; i < 1000; i++) {
        pf_arena_free(arena, young, 64);
        CHECK(arena_new(64) == young);
    }
    CHECK_EQ(stats().limbo, 0);
    pf_arena_free(arena, old, 64);
    CHECK_EQ(stats().limbo, 1);
    atomic_store(&flag[0], 1);
    check_reap(pid);
    arena_shut();
}

/* Freed now, and forked only then: the child can't have it; but an older one can. */
static void epochs_are_told_apart(void)
{
    if (!EPOCHS)
        return;
    arena_open();
    void *block[5];
    pid_t pid[5];
    for (int i = 0; i < 5; i++) {
        block[i] = arena_new(100 + 64 * (size_t)i);
        pid[i] = check_fork();
        if (pid[i] == 0) {
            check_until(&flag[i], 1);
            _exit(0);
        }
    }
    for (int i = 0; i < 5; i++) /* child i has blocks 0 to i */
        pf_arena_free(arena, block[i], 100 + 64 * (size_t)i);
    int order[] = {2, 4, 3, 0, 1}, limbo[] = {5, 4, 2, 2, 0};
    for (int i = 0; i < 5; i++) {
        atomic_store(&flag[order[i]], 1);
        check_reap(pid[order[i]]);
        for (int k = 0; k < 70; k++)
            arena_new(900);
        CHECK_EQ(stats().limbo, limbo[i]);
    }
    arena_shut();
}

static void child_may_not_allocate(void)
{
    arena_open();
    void *p = arena_new(64), *q;
    *(int *)p = 7;
    CHECK(pf_arena_mine(arena));
    pid_t pid = check_fork();
    if (pid == 0) {
        CHECK(!pf_arena_mine(arena));
        CHECK_EQ(pf_arena_alloc(arena, 64, &q), -EPERM);
        pf_arena_free(arena, p, 64);
        CHECK_EQ(*(int *)p, 7);
        *(int *)p = 8;
        CHECK_EQ(stats().live, 0);
        struct pf_arena *own;
        CHECK_EQ(pf_arena_create(&own, 0), 0);
        CHECK(memcmp(pf_arena_id(own), pf_arena_id(arena), PF_ARENA_ID) != 0);
        CHECK_EQ(pf_arena_alloc(own, 64, &q), 0);
        pf_arena_close(own);
        pf_arena_close(arena);
        _exit(0);
    }
    check_reap(pid);
    CHECK_EQ(*(int *)p, 8);
    CHECK_EQ(stats().live, 1);
    arena_shut();
}

/* ---- handed over by descriptor ------------------------------------------------------------------------- */

static void send_fd(int to, int fd)
{
    char byte = 1, space[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec iov = {&byte, 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    CHECK_EQ(sendmsg(to, &m, 0), 1);
}

static int receive_fd(int from)
{
    char byte, space[CMSG_SPACE(sizeof(int))];
    int fd = -1;
    struct iovec iov = {&byte, 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    CHECK_EQ(recvmsg(from, &m, 0), 1);
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
    CHECK(fd >= 0);
    return fd;
}

/* A process that was there before the arena is handed it, twice, with a block each time. */
static void handed_to_another(void)
{
    int wire[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, wire), 0);
    flag = check_shared(4096);
    pid_t pid = check_fork();
    if (pid == 0) {
        struct pf_arena *theirs;
        close(wire[0]);
        void *first, *second;
        int fd = receive_fd(wire[1]);
        CHECK_EQ(pf_arena_attach(&theirs, fd), 0);
        CHECK_EQ(pf_arena_at(theirs, (uint64_t)atomic_load(&flag[1]), 64, &first), 0);
        CHECK_EQ(*(int *)first, 11);
        CHECK_EQ(pf_arena_alloc(theirs, 64, &second), -EPERM);
        CHECK(pf__arena_tenancy(theirs) >= 0);
        atomic_store(&flag[2], 1);
        int before = descriptors();
        fd = receive_fd(wire[1]);
        struct pf_arena *wrong;
        CHECK_EQ(pf_arena_create(&wrong, 0), 0);
        CHECK_EQ(pf_arena_adopt(theirs, dup(pf_arena_fd(wrong))), -PF_ECORRUPT);
        CHECK_EQ(pf_arena_adopt(theirs, fd), 0);
        pf_arena_close(wrong);
        CHECK_EQ(descriptors(), before + 1); /* the one that was refused */
        CHECK_EQ(pf_arena_at(theirs, (uint64_t)atomic_load(&flag[3]), 64, &second), 0);
        CHECK_EQ(*(int *)second, 22);
        atomic_store(&flag[4], 1);
        check_until(&flag[5], 1);
        CHECK(*(int *)first == 11 && *(int *)second == 22);
        _exit(0);
    }
    close(wire[1]);
    CHECK_EQ(pf_arena_create(&arena, 0), 0);
    int *first = arena_new(64);
    *first = 11;
    atomic_store(&flag[1], (int)pf_arena_offset(arena, first));
    send_fd(wire[0], pf_arena_fd(arena));
    check_until(&flag[2], 1);
    int *second = arena_new(64);
    *second = 22;
    atomic_store(&flag[3], (int)pf_arena_offset(arena, second));
    send_fd(wire[0], pf_arena_fd(arena));
    check_until(&flag[4], 1);
    pf_arena_free(arena, first, 64);
    pf_arena_free(arena, second, 64);
    for (int i = 0; i < 1000; i++) {
        void *p = arena_new(64);
        CHECK(p != first && p != second);
        memset(p, 1, 64);
    }
    CHECK_EQ(stats().limbo, 2);
    atomic_store(&flag[5], 1);
    check_reap(pid);
    for (int i = 0; i < 2000; i++)
        arena_new(64);
    CHECK_EQ(stats().limbo, EPOCHS ? 0 : 2);
    close(wire[0]);
    arena_shut();
}

/* A process made by exec, and one that is in the mail still, keep what they were handed. */
static void in_the_mail(void)
{
    int wire[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, wire), 0);
    arena_open();
    void *block = arena_new(64);
    send_fd(wire[0], pf_arena_fd(arena));
    pf_arena_free(arena, block, 64);
    for (int i = 0; i < 1000; i++)
        CHECK(arena_new(64) != block);
    close(wire[0]);
    close(wire[1]);
    bool again = false;
    for (int i = 0; i < 1100 && !again; i++)
        again = arena_new(64) == block;
    CHECK_EQ(again, EPOCHS);
    arena_shut();
}

static void executed(void)
{
    const char *fd = getenv("ARENA_FD"), *at = getenv("ARENA_AT");
    if (!fd)
        return;
    struct pf_arena *a;
    void *p;
    CHECK_EQ(pf_arena_attach(&a, atoi(fd)), 0);
    CHECK_EQ(pf_arena_at(a, strtoull(at, NULL, 10), sizeof(struct pf_lock), &p), 0);
    CHECK_EQ(pf_lock_acquire(p, a, PF_FOREVER, 0, NULL), 0);
    CHECK_EQ(write(atoi(getenv("ARENA_OUT")), "x", 1), 1);
    char byte;
    CHECK_EQ(read(atoi(getenv("ARENA_IN")), &byte, 1), 1);
    CHECK(pf_lock_mine(p, a));
    _exit(0);
}

static void attached_after_exec(void)
{
    arena_open();
    int in[2], out[2];
    CHECK(pipe(in) == 0 && pipe(out) == 0);
    struct pf_lock *lock = arena_new(sizeof *lock);
    int fd = dup(pf_arena_fd(arena)); /* without close-on-exec */
    pid_t pid = fork();
    if (pid == 0) {
        char text[5][40], path[300] = "/proc/self/exe";
        snprintf(text[0], 40, "%d", fd);
        snprintf(text[1], 40, "%llu", (unsigned long long)pf_arena_offset(arena, lock));
        snprintf(text[2], 40, "%d", in[1]);
        snprintf(text[3], 40, "%d", out[0]);
        setenv("ARENA_FD", text[0], 1);
        setenv("ARENA_AT", text[1], 1);
        setenv("ARENA_OUT", text[2], 1);
        setenv("ARENA_IN", text[3], 1);
        execl(path, "test_arena", "attached_after_exec", (char *)NULL);
        _exit(1);
    }
    close(fd);
    char byte;
    CHECK_EQ(read(in[0], &byte, 1), 1);
    struct pf_owner o;
    CHECK_EQ(pf_lock_owner(lock, arena, &o), 1);
    CHECK(o.pid == pid && o.alive);
    pf_arena_free(arena, lock, sizeof *lock);
    for (int i = 0; i < 1000; i++) {
        void *p = arena_new(sizeof *lock);
        CHECK(p != lock);
        memset(p, 1, sizeof *lock);
    }
    CHECK_EQ(write(out[1], "x", 1), 1);
    check_reap(pid);
    bool again = false;
    for (int i = 0; i < 1100 && !again; i++)
        again = arena_new(sizeof *lock) == lock;
    CHECK_EQ(again, EPOCHS);
    for (int i = 0; i < 2; i++) {
        close(in[i]);
        close(out[i]);
    }
    arena_shut();
}

static void impostors(void)
{
    struct pf_arena *a;
    int fd = pf_shm_create(1 << 20);
    CHECK_EQ(pf_arena_attach(&a, fd), -PF_ECORRUPT);
    close(fd);
    fd = pf_shm_create(0);
    CHECK_EQ(pf_arena_attach(&a, fd), -PF_ECORRUPT);
    close(fd);
    int pipes[2];
    CHECK_EQ(pipe(pipes), 0);
    CHECK(pf_arena_attach(&a, pipes[0]) < 0);
    CHECK(pf_arena_attach(&a, -1) == -EBADF);
    close(pipes[0]);
    close(pipes[1]);
    arena_open();
    struct pf__arena_header *h = arena->h, was = *h;
    h->layout++;
    CHECK_EQ(pf_arena_attach(&a, arena->fd), -PF_EVERSION);
    h->layout--;
    uint64_t seed = 99;
    for (int i = 0; i < 2000; i++) { /* any damage of its header: refused, or harmless */
        uint64_t r = check_random(&seed);
        ((unsigned char *)h)[r % 64] = (unsigned char)(r >> 20);
        if (pf_arena_attach(&a, dup(arena->fd)) == 0) {
            void *p;
            if (pf_arena_at(a, r >> 30, 64, &p) == 0)
                CHECK((char *)p >= (char *)a->h + a->first && (char *)p + 64 <= (char *)a->h + a->size);
            pf_arena_close(a);
        }
        memcpy((void *)h, &was, 64);
    }
    arena_shut();
}

/* Addresses, sizes of files and descriptors may be scarce. */
static void little_room(void)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    pid_t pid = check_fork();
    if (pid == 0) {
        struct rlimit few = {UINT64_C(200) << 20, UINT64_C(200) << 20};
        CHECK_EQ(setrlimit(RLIMIT_AS, &few), 0);
        arena_open();
        CHECK(stats().size < UINT64_C(200) << 20);
        void *p;
        int rc, n = 0;
        while ((rc = pf_arena_alloc(arena, 1 << 16, &p)) == 0)
            n++;
        CHECK_EQ(rc, -ENOSPC);
        CHECK(n > 100);
        _exit(0);
    }
    check_reap(pid);
#endif
    pid_t child = check_fork();
    if (child == 0) {
        signal(SIGXFSZ, SIG_IGN);
        struct rlimit small = {1 << 20, 1 << 20};
        CHECK_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
        arena_open();
        CHECK(stats().size <= 1 << 20);
        void *p;
        int rc, n = 0;
        while ((rc = pf_arena_alloc(arena, 64, &p)) == 0)
            n++;
        CHECK_EQ(rc, -ENOSPC);
        CHECK(n > 1000);
        _exit(0);
    }
    check_reap(child);
}

static void no_descriptors(void)
{
    arena_open();
    void *old = arena_new(64);
    pid_t pid = check_fork();
    if (pid == 0) {
        check_until(&flag[0], 1);
        _exit(0);
    }
    struct rlimit was, none;
    getrlimit(RLIMIT_NOFILE, &was);
    none = was;
    none.rlim_cur = 0;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct pf_arena *a;
    CHECK_EQ(pf_arena_create(&a, 0), -EMFILE);
    pf_arena_free(arena, old, 64);
    for (int i = 0; i < 1000; i++) { /* no new epoch: all may have been seen, nothing is reused */
        void *p = arena_new(64);
        CHECK(p != old);
        pf_arena_free(arena, p, 64);
    }
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &was), 0);
    atomic_store(&flag[0], 1);
    check_reap(pid);
    for (int i = 0; i < 2000; i++)
        arena_new(64);
    CHECK_EQ(stats().limbo, EPOCHS ? 0 : stats().limbo);
    arena_shut();
}

/* Others fork while this thread allocates: what a child has seen stays its own. */
static _Atomic bool enough;

static void *forker(void *arg)
{
    _Atomic int *forks = arg;
    while (!atomic_load(&enough)) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
            _exit(0);
        CHECK_EQ(check_reap_within(pid, 20 * PF_SECOND), 0);
        atomic_fetch_add(forks, 1);
    }
    return NULL;
}

static void forks_of_another_thread(void)
{
    arena_open();
    atomic_store(&enough, false);
    pthread_t t;
    CHECK_EQ(pthread_create(&t, NULL, forker, (void *)&flag[0]), 0);
    int64_t end = pf_now() + PF_SECOND;
    uint64_t seed = 5;
    enum { N = 200 };
    static uint64_t *block[N];
    uint64_t rounds = 0;
    for (; pf_now() < end || atomic_load(&flag[0]) < 20; rounds++) {
        int i = (int)(check_random(&seed) % N);
        if (block[i]) {
            CHECK_EQ(block[i][0], (uint64_t)i);
            pf_arena_free(arena, block[i], 64);
            block[i] = NULL;
        } else {
            block[i] = arena_new(64);
            CHECK(zeros(block[i], 64));
            block[i][0] = (uint64_t)i;
        }
    }
    atomic_store(&enough, true);
    pthread_join(t, NULL);
    CHECK(stats().free + stats().limbo + stats().live < (EPOCHS ? 5000 : rounds + 1));
    arena_shut();
}

/* The creator is killed: its arena goes on for those who have it. */
static void creator_dies(void)
{
    int wire[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, wire), 0);
    flag = check_shared(4096);
    pid_t pid = check_fork();
    if (pid == 0) {
        CHECK_EQ(pf_arena_create(&arena, 0), 0);
        struct pf_lock *lock = arena_new(sizeof *lock);
        CHECK_EQ(pf_lock_acquire(lock, arena, PF_FOREVER, PF_LOCK_ROBUST, NULL), 0);
        atomic_store(&flag[1], (int)pf_arena_offset(arena, lock));
        send_fd(wire[0], pf_arena_fd(arena));
        for (;;) {
            void *p = arena_new(64);
            pf_arena_free(arena, p, 64);
        }
    }
    CHECK_EQ(pf_arena_attach(&arena, receive_fd(wire[1])), 0);
    void *lock;
    CHECK_EQ(pf_arena_at(arena, (uint64_t)atomic_load(&flag[1]), sizeof(struct pf_lock), &lock), 0);
    CHECK_EQ(pf_lock_acquire(lock, arena, PF_TRY, PF_LOCK_ROBUST, NULL), -EAGAIN);
    check_kill(pid);
    int rc;
    AGAIN(rc, pf_lock_acquire(lock, arena, PF_FOREVER, PF_LOCK_ROBUST, NULL));
    CHECK_EQ(rc, -PF_EOWNERDEAD);
    close(wire[0]);
    close(wire[1]);
    arena_shut();
}

/* More processes than a ring has slots for; the pids of the dead are remembered for a while. */
static void many_processes(void)
{
    arena_open();
    enum { N = 600 };
    static struct pf_peer many[N];
    for (int i = 0; i < N; i++) {
        pf_peer_init(&many[i], arena->h->slots, PF_SLOTS_MOST, arena->fd, pf_pid_namespace());
        CHECK_EQ(pf_peer_slot(&many[i]) % PF_SLOTS_MOST, i);
    }
    int mine = pf__arena_tenancy(arena);
    CHECK_EQ(mine % PF_SLOTS_MOST, N);
    for (int i = 0; i < N; i++)
        pf_peer_drop(&many[i]);
    CHECK_EQ(pf__arena_tenancy(arena), mine);
    for (int i = 0; i < 3; i++) {
        pid_t pid = check_fork();
        if (pid == 0) {
            atomic_store(&flag[i], pf__arena_tenancy(arena));
            _exit(0);
        }
        check_reap(pid);
        CHECK_EQ(atomic_load(&flag[i]) % PF_SLOTS_MOST, 0);
#if EPOCHS
        CHECK_EQ(pf_peer_pid(&arena->peer, (uint32_t)atomic_load(&flag[i])), pid);
        CHECK(i == 0 || pf_peer_pid(&arena->peer, (uint32_t)atomic_load(&flag[i - 1])) > 0);
        CHECK(i < 2 || pf_peer_pid(&arena->peer, (uint32_t)atomic_load(&flag[0])) == 0);
#endif
    }
    arena_shut();
}

static const struct check_case cases[] = {
    CASE(sizes),
    CASE(bad_sizes_and_offsets),
    CASE(one_block),
    CASE(a_hundred_thousand),
    CASE(does_not_grow),
    CASE(not_while_a_child_lives),
    CASE(a_thousand_forks),
    CASE(reuse_beside_children),
    CASE(epochs_are_told_apart),
    CASE(child_may_not_allocate),
    CASE(handed_to_another),
    CASE(in_the_mail),
    CASE(attached_after_exec),
    CASE(impostors),
    CASE(little_room),
    CASE(no_descriptors),
    CASE(forks_of_another_thread),
    CASE(creator_dies),
    CASE(many_processes),
};

int main(int argc, char **argv)
{
    executed();
    return check_main(cases, (int)(sizeof cases / sizeof *cases), argc, argv);
}
