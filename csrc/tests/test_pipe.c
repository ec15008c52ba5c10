/* Whole reads and writes: every kind of descriptor, the deadline, the end, signals, the dead. */
#include <fcntl.h>
#include <sys/socket.h>
#ifdef __linux__
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#endif

#include "check.h"
#include "procfast/pipe.h"

#define SIZE ((size_t)3 << 20)

static void make_pipe(int fds[2])
{
    CHECK_EQ(pf_pipe_open(fds), 0);
}

static void make_socket(int fds[2])
{
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    fds[0] = pair[0];
    fds[1] = pair[1];
}

static void make_nonblocking(int fds[2])
{
    make_pipe(fds);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(fcntl(fds[i], F_SETFL, fcntl(fds[i], F_GETFL) | O_NONBLOCK), 0);
}

static void (*const makers[])(int *) = {make_pipe, make_socket, make_nonblocking};
#define EACH(i) for (size_t i = 0; i < sizeof makers / sizeof *makers; i++)

static int read_all(int fd, void *data, size_t size, size_t *done, int64_t deadline)
{
    int rc;
    *done = 0;
    while ((rc = pf_read_all(fd, data, size, done, deadline)) == -EINTR)
        ;
    return rc;
}

static int write_all(int fd, const void *data, size_t size, size_t *done, int64_t deadline)
{
    int rc;
    *done = 0;
    while ((rc = pf_write_all(fd, data, size, done, deadline)) == -EINTR)
        ;
    return rc;
}

static void shut(int fds[2])
{
    close(fds[0]);
    close(fds[1]);
}

static void test_close_on_exec(void)
{
    int fds[2];
    make_pipe(fds);
    for (int i = 0; i < 2; i++) {
        CHECK(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
        CHECK(!(fcntl(fds[i], F_GETFL) & O_NONBLOCK));
    }
    shut(fds);
    struct rlimit was, none;
    getrlimit(RLIMIT_NOFILE, &was);
    none = was;
    none.rlim_cur = 3;
    setrlimit(RLIMIT_NOFILE, &none);
    CHECK_EQ(pf_pipe_open(fds), -EMFILE);
    setrlimit(RLIMIT_NOFILE, &was);
}

/* More than any pipe holds, in pieces and with pauses; flags stay as they were. */
static void test_whole(void)
{
    unsigned char *data = malloc(SIZE), *got = malloc(SIZE);
    uint64_t seed = 7;
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (unsigned char)check_random(&seed);
    EACH(kind) {
        int fds[2];
        size_t done;
        makers[kind](fds);
        int flags = fcntl(fds[0], F_GETFL);
        pid_t pid = check_fork();
        if (pid == 0) {
            close(fds[0]);
            for (size_t at = 0, n; at < SIZE; at += n) {
                n = SIZE - at < 700001 ? SIZE - at : 700001;
                CHECK_EQ(write_all(fds[1], data + at, n, &done, PF_FOREVER), 0);
                CHECK_EQ(done, n);
                check_sleep(MS);
            }
            _exit(0);
        }
        close(fds[1]);
        memset(got, 0, SIZE);
        CHECK_EQ(read_all(fds[0], got, SIZE, &done, pf_now() + 60 * PF_SECOND), 0);
        CHECK_EQ(done, SIZE);
        CHECK_EQ(memcmp(got, data, SIZE), 0);
        CHECK_EQ(fcntl(fds[0], F_GETFL), flags);
        CHECK_EQ(read_all(fds[0], got, 0, &done, PF_FOREVER), 0);
        CHECK_EQ(read_all(fds[0], got, 1, &done, PF_FOREVER), -EPIPE);
        check_reap(pid);
        close(fds[0]);
    }
    free(data);
    free(got);
}

/* What came before the deadline or the end is told. */
static void test_part_of_it(void)
{
    char data[100];
    EACH(kind) {
        int fds[2];
        size_t done;
        makers[kind](fds);
        CHECK_EQ(read_all(fds[0], data, 100, &done, PF_NOWAIT), -ETIMEDOUT);
        CHECK_EQ(write_all(fds[1], "abc", 3, &done, PF_NOWAIT), 0);
        int64_t begun = pf_now();
        CHECK_EQ(read_all(fds[0], data, 100, &done, begun + 50 * MS), -ETIMEDOUT);
        CHECK_EQ(done, 3);
        CHECK_EQ(memcmp(data, "abc", 3), 0);
        CHECK(pf_now() - begun >= 50 * MS && pf_now() - begun < 5 * PF_SECOND);
        CHECK_EQ(write_all(fds[1], "de", 2, &done, PF_FOREVER), 0);
        close(fds[1]);
        CHECK_EQ(read_all(fds[0], data, 100, &done, PF_FOREVER), -EPIPE);
        CHECK_EQ(done, 2);
        close(fds[0]);
    }
}

/* Nobody reads: a blocking descriptor as well keeps the deadline, and what went in is what comes out. */
static void test_full(void)
{
    char *data = calloc(1, SIZE);
    EACH(kind) {
        int fds[2];
        size_t done, more;
        makers[kind](fds);
        int64_t begun = pf_now(), cpu = check_cpu();
        CHECK_EQ(write_all(fds[1], data, SIZE, &done, begun + 200 * MS), -ETIMEDOUT);
        CHECK(done > 0 && done < SIZE);
        CHECK(pf_now() - begun >= 200 * MS && pf_now() - begun < 5 * PF_SECOND);
        CHECK(check_cpu() - cpu < 100 * MS);
        CHECK_EQ(write_all(fds[1], data, SIZE, &more, PF_NOWAIT), -ETIMEDOUT);
        CHECK_EQ(more, 0);
        close(fds[1]);
        CHECK_EQ(read_all(fds[0], data, SIZE, &more, PF_FOREVER), -EPIPE);
        CHECK_EQ(more, done);
        close(fds[0]);
    }
    free(data);
}

/* A flow that never pauses does not keep it beyond its deadline. */
static void test_deadline_in_the_flow(void)
{
    char *data = malloc((size_t)1 << 30);
    int fds[2];
    size_t done;
    make_pipe(fds);
    pid_t pid = check_fork();
    if (pid == 0)
        for (;;)
            write_all(fds[1], data, SIZE, &done, PF_FOREVER);
    int64_t begun = pf_now();
    CHECK_EQ(read_all(fds[0], data, (size_t)1 << 30, &done, begun + 30 * MS), -ETIMEDOUT);
    CHECK(done > 0 && pf_now() - begun < 5 * PF_SECOND);
    check_kill(pid);
    shut(fds);
    free(data);
}

static void test_nobody_reads_any_more(void)
{
    signal(SIGPIPE, SIG_IGN);
    EACH(kind) {
        int fds[2];
        size_t done;
        char *data = calloc(1, SIZE);
        makers[kind](fds);
        pid_t pid = check_fork();
        if (pid == 0) {
            close(fds[1]);
            read_all(fds[0], data, 1000, &done, PF_FOREVER);
            check_sleep(60 * PF_SECOND);
        }
        close(fds[0]);
        CHECK_EQ(write_all(fds[1], data, 1000, &done, PF_FOREVER), 0);
        CHECK_EQ(write_all(fds[1], data, SIZE, &done, pf_now() + 100 * MS), -ETIMEDOUT);
        check_kill(pid);
        int rc = write_all(fds[1], data, SIZE, &done, PF_FOREVER);
        CHECK(rc == -EPIPE || rc == -ECONNRESET);
        close(fds[1]);
        free(data);
    }
    signal(SIGPIPE, SIG_DFL);
}

static void test_writer_killed(void)
{
    char *data = malloc(SIZE);
    EACH(kind) {
        int fds[2];
        size_t done;
        makers[kind](fds);
        pid_t pid = check_fork();
        if (pid == 0) {
            close(fds[0]);
            write_all(fds[1], data, 5000, &done, PF_FOREVER);
            check_sleep(60 * PF_SECOND);
        }
        close(fds[1]);
        CHECK_EQ(read_all(fds[0], data, SIZE, &done, pf_now() + 100 * MS), -ETIMEDOUT);
        CHECK_EQ(done, 5000);
        check_kill(pid);
        CHECK_EQ(read_all(fds[0], data, SIZE, &done, PF_FOREVER), -EPIPE);
        CHECK_EQ(done, 0);
        close(fds[0]);
    }
    free(data);
}

static void nothing(int signum)
{
    (void)signum;
}

/* Asleep it costs nothing, but looks once a second, and wakes for a signal. */
static void test_signals_and_looks(void)
{
    char data[10];
    int fds[2];
    size_t done = 0;
    make_pipe(fds);
    int64_t begun = pf_now(), cpu = check_cpu();
    CHECK_EQ(pf_read_all(fds[0], data, 10, &done, PF_FOREVER), -EINTR);
    CHECK(pf_now() - begun >= PF_SECOND - 20 * MS);
    CHECK(check_cpu() - cpu < 20 * MS);
    struct sigaction sa = {.sa_handler = nothing, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &sa, NULL);
    struct itimerval soon = {.it_value = {0, 50000}};
    setitimer(ITIMER_REAL, &soon, NULL);
    begun = pf_now();
    CHECK_EQ(pf_read_all(fds[0], data, 10, &done, PF_FOREVER), -EINTR);
    CHECK(pf_now() - begun < 900 * MS);
    signal(SIGALRM, SIG_DFL);
    shut(fds);
}

/* Four writers, a reader and records of at most PIPE_BUF: none is torn. */
static void test_records_stay_whole(void)
{
    int fds[2];
    size_t done;
    make_pipe(fds);
    pid_t pids[4];
    for (int w = 0; w < 4; w++) {
        pids[w] = check_fork();
        if (pids[w] == 0) {
            char record[1000];
            memset(record, 'a' + w, sizeof record);
            for (int i = 0; i < 500; i++)
                CHECK_EQ(write_all(fds[1], record, sizeof record, &done, pf_now() + 60 * PF_SECOND), 0);
            _exit(0);
        }
    }
    close(fds[1]);
    for (int i = 0; i < 4 * 500; i++) {
        char record[1000];
        CHECK_EQ(read_all(fds[0], record, sizeof record, &done, pf_now() + 60 * PF_SECOND), 0);
        for (size_t k = 1; k < sizeof record; k++)
            CHECK(record[k] == record[0]);
    }
    for (int w = 0; w < 4; w++)
        check_reap(pids[w]);
    close(fds[0]);
}

static void test_files_and_bad_descriptors(void)
{
    char data[8];
    size_t done;
    int fds[2];
    FILE *file = tmpfile();
    CHECK(file);
    CHECK_EQ(write_all(fileno(file), "abcdef", 6, &done, PF_NOWAIT), 0);
    lseek(fileno(file), 2, SEEK_SET);
    CHECK_EQ(read_all(fileno(file), data, 8, &done, PF_NOWAIT), -EPIPE);
    CHECK_EQ(done, 4);
    fclose(file);
    make_pipe(fds);
    CHECK_EQ(read_all(fds[1], data, 1, &done, PF_FOREVER), -EBADF);
    CHECK_EQ(write_all(fds[0], data, 1, &done, PF_FOREVER), -EBADF);
    shut(fds);
    CHECK_EQ(read_all(fds[0], data, 0, &done, PF_FOREVER), -EBADF);
    CHECK_EQ(write_all(-1, data, 1, &done, PF_FOREVER), -EBADF);
    int folder = open("/", O_RDONLY);
    CHECK_EQ(read_all(folder, data, 1, &done, PF_FOREVER), -EISDIR);
    close(folder);
    int zero = open("/dev/zero", O_RDWR);
    CHECK_EQ(read_all(zero, data, 8, &done, PF_FOREVER), 0);
    CHECK_EQ(write_all(zero, data, 8, &done, PF_FOREVER), 0);
    close(zero);
}

/* As on Linux before 6.4, where preadv2 and pwritev2 know no pipes: a filter refuses them. */
static void test_older_kernel(void)
{
#ifdef __linux__
    struct sock_filter lines[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_preadv2, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pwritev2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {5, lines};
    pid_t pid = check_fork();
    if (pid == 0) {
        CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), 0);
        test_whole();
        test_part_of_it();
        test_full();
        test_nobody_reads_any_more();
        test_records_stay_whole();
        test_files_and_bad_descriptors();
        int fds[2]; /* nothing is left open */
        make_pipe(fds);
        CHECK(fds[1] < 10);
        _exit(0);
    }
    check_reap(pid);
#endif
}

static const struct check_case cases[] = {
    CASE(test_older_kernel),
    CASE(test_close_on_exec),        CASE(test_whole),
    CASE(test_part_of_it),           CASE(test_full),
    CASE(test_deadline_in_the_flow), CASE(test_nobody_reads_any_more),
    CASE(test_writer_killed),        CASE(test_signals_and_looks),
    CASE(test_records_stay_whole),   CASE(test_files_and_bad_descriptors),
};
CHECK_MAIN(cases)
