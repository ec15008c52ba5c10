#include <fcntl.h>
#include <sys/socket.h>

#include "check.h"
#include "procfast/wire.h"

static int a, b; /* the two sides */

static void open_wire(void)
{
    int fds[2];
    CHECK_EQ(pf_wire_open(fds), 0);
    a = fds[0];
    b = fds[1];
}

static void close_wire(void)
{
    close(a);
    close(b);
}

static bool readable(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, 0) == 1;
}

static void opened(void)
{
    open_wire();
    CHECK(fcntl(a, F_GETFD) & FD_CLOEXEC);
    CHECK(fcntl(b, F_GETFD) & FD_CLOEXEC);
    CHECK(!(fcntl(a, F_GETFL) & O_NONBLOCK)); /* the user's reads may block */
    CHECK(!(fcntl(b, F_GETFL) & O_NONBLOCK));
    CHECK(!readable(a) && !readable(b));
    CHECK_EQ(pf_wire_look(a), 0);
    CHECK_EQ(pf_wire_look(b), 0);
    close_wire();
}

static void no_descriptors_left(void)
{
    struct rlimit old, none = {3, 3};
    int fds[2];
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
    none.rlim_max = old.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    CHECK_EQ(pf_wire_open(fds), -EMFILE);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
}

static void rings(void)
{
    open_wire();
    for (int i = 0; i < 2; i++) { /* either way */
        int from = i ? b : a, to = i ? a : b;
        CHECK_EQ(pf_wire_wait(to, true, PF_NOWAIT), -ETIMEDOUT);
        CHECK_EQ(pf_wire_reset(to, false), 0); /* nothing there */
        CHECK_EQ(pf_wire_reset(to, true), 0);
        CHECK_EQ(pf_wire_ring(from), 0);
        CHECK(readable(to) && !readable(from));
        CHECK_EQ(pf_wire_wait(to, true, PF_FOREVER), 1);
        CHECK_EQ(pf_wire_wait(to, true, PF_NOWAIT), 1); /* to look at it takes nothing */
        CHECK_EQ(pf_wire_wait(to, false, PF_NOWAIT), -ETIMEDOUT); /* nobody asked for that */
        CHECK_EQ(pf_wire_look(to), 0);
        CHECK_EQ(pf_wire_reset(to, i), 0);
        CHECK(!readable(to));
        for (int n = 0; n < 200; n++) /* a reset takes all */
            CHECK_EQ(pf_wire_ring(from), 0);
        CHECK(readable(to));
        CHECK_EQ(pf_wire_reset(to, !i), 0);
        CHECK(!readable(to));
    }
    close_wire();
}

static void careful_reset(void)
{
    open_wire();
    char text[8] = "";
    CHECK_EQ(write(a, "hi", 2), 2);
    CHECK_EQ(pf_wire_ring(a), 0);
    CHECK_EQ(pf_wire_reset(b, true), 0);
    CHECK_EQ(pf_wire_reset(b, true), 0);
    CHECK_EQ(read(b, text, 2), 2);
    CHECK(strcmp(text, "hi") == 0);
    CHECK_EQ(pf_wire_reset(b, true), 0); /* now the ring is first */
    CHECK(!readable(b));
    CHECK_EQ(pf_wire_ring(a), 0);
    CHECK_EQ(write(a, "ho", 2), 2);
    CHECK_EQ(pf_wire_reset(b, true), 0); /* and what follows stays */
    CHECK_EQ(pf_wire_reset(b, true), 0);
    CHECK_EQ(read(b, text, sizeof text), 2);
    CHECK(strcmp(text, "ho") == 0);
    CHECK(!readable(b));
    close_wire();
}

/* Rings before the user's bytes go, but the socket stays readable. */
static void strip(void)
{
    open_wire();
    char text[8] = "";
    CHECK_EQ(pf_wire_strip(b), 0);
    for (int n = 1; n < 5; n++) {
        CHECK_EQ(pf_wire_ring(a), 0);
        CHECK_EQ(pf_wire_strip(b), 0);
        CHECK(readable(b));
    }
    CHECK_EQ(write(a, "hi", 2), 2);
    CHECK_EQ(pf_wire_ring(a), 0);
    CHECK_EQ(pf_wire_strip(b), 1);
    CHECK_EQ(pf_wire_strip(b), 0);
    CHECK_EQ(read(b, text, 2), 2);
    CHECK(strcmp(text, "hi") == 0);
    CHECK(readable(b)); /* the ring behind is still there */
    CHECK_EQ(pf_wire_reset(b, true), 0);
    CHECK(!readable(b));
    close_wire();
}

/* Every copy must be gone, and it does not matter what still lies there. */
static void hangup(void)
{
    for (int unread = 0; unread < 2; unread++) {
        open_wire();
        int copy = dup(a);
        if (unread) {
            CHECK_EQ(pf_wire_ring(a), 0);
            CHECK_EQ(pf_wire_ring(b), 0); /* its close finds something unread: ECONNRESET to us (unix(7)) */
        }
        close(a);
        CHECK_EQ(pf_wire_look(b), 0);
        CHECK_EQ(pf_wire_wait(b, false, PF_NOWAIT), -ETIMEDOUT);
        close(copy);
        CHECK_EQ(pf_wire_look(b), -EPIPE);
        CHECK_EQ(pf_wire_look(b), -EPIPE);
        CHECK_EQ(pf_wire_wait(b, true, PF_FOREVER), -EPIPE);
        CHECK_EQ(pf_wire_wait(b, false, PF_FOREVER), -EPIPE);
        CHECK_EQ(pf_wire_ring(b), -EPIPE); /* and no SIGPIPE */
        CHECK_EQ(pf_wire_ring(b), -EPIPE);
        CHECK_EQ(pf_wire_reset(b, true), 0);
        CHECK_EQ(pf_wire_reset(b, false), 0);
        CHECK_EQ(pf_wire_reset(b, false), 0);
        CHECK_EQ(pf_wire_look(b), -EPIPE);
        close(b);
    }
}

static void death(void)
{
    for (int how = 0; how < 2; how++) {
        open_wire();
        pid_t pid = check_fork();
        if (pid == 0) {
            close(b);
            if (how)
                pause();
            _exit(0);
        }
        close(a);
        if (how) {
            CHECK_EQ(pf_wire_look(b), 0);
            kill(pid, SIGSTOP);
            CHECK_EQ(pf_wire_wait(b, true, pf_now() + 20 * MS), -ETIMEDOUT); /* stopped is not gone */
            kill(pid, SIGKILL);
        }
        CHECK_EQ(pf_wire_wait(b, how, pf_now() + 20 * PF_SECOND), -EPIPE);
        int status;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        close(b);
    }
}

static void bad_descriptors(void)
{
    open_wire();
    close_wire();
    int bad[] = {-1, a};
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(pf_wire_look(bad[i]), -EBADF);
        CHECK_EQ(pf_wire_wait(bad[i], true, PF_FOREVER), -EBADF);
        CHECK_EQ(pf_wire_wait(bad[i], false, PF_NOWAIT), -EBADF);
        CHECK_EQ(pf_wire_ring(bad[i]), -EBADF);
        CHECK_EQ(pf_wire_reset(bad[i], true), -EBADF);
    }
}

static void deadlines(void)
{
    open_wire();
    for (int i = 0; i < 2; i++) {
        int64_t end = pf_now() + 30 * MS + 1;
        CHECK_EQ(pf_wire_wait(b, i, end), -ETIMEDOUT);
        CHECK(pf_now() >= end && pf_now() < end + 500 * MS);
        CHECK_EQ(pf_wire_wait(b, i, pf_now() - PF_SECOND), -ETIMEDOUT);
    }
    CHECK_EQ(pf_wire_ring(a), 0);
    CHECK_EQ(pf_wire_wait(b, true, pf_now() - PF_SECOND), 1); /* a look at least */
    close_wire();
}

static void *ring_soon(void *arg)
{
    check_sleep(20 * MS);
    CHECK_EQ(pf_wire_ring(*(int *)arg), 0);
    return NULL;
}

static void woken(void)
{
    open_wire();
    pthread_t t;
    CHECK_EQ(pthread_create(&t, NULL, ring_soon, &a), 0);
    int64_t cpu = check_cpu();
    CHECK_EQ(pf_wire_wait(b, true, PF_FOREVER), 1);
    CHECK(check_cpu() - cpu < 15 * MS);
    pthread_join(t, NULL);
    close_wire();
}

static void on_alarm(int sig)
{
    (void)sig;
}

static void interrupted(void)
{
    struct sigaction sa = {.sa_handler = on_alarm}, old;
    sigaction(SIGALRM, &sa, &old);
    open_wire();
    struct itimerval it = {{0, 20000}, {0, 20000}}, off = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &it, NULL);
    CHECK_EQ(pf_wire_wait(b, true, PF_FOREVER), -EINTR);
    CHECK_EQ(pf_wire_wait(b, false, PF_FOREVER), -EINTR);
    setitimer(ITIMER_REAL, &off, NULL);
    close_wire();
    sigaction(SIGALRM, &old, NULL);
}

/* The user has filled it: that is readable, too, and nobody waits. */
static void full(void)
{
    open_wire();
    static char bytes[4096];
    memset(bytes, 'x', sizeof bytes);
    size_t n = 0;
    ssize_t k;
    while ((k = send(a, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
        n += (size_t)k;
    while (send(a, bytes, 1, MSG_DONTWAIT) == 1)
        n++;
    CHECK(errno == EAGAIN);
    int64_t start = pf_now();
    for (int i = 0; i < 100; i++)
        CHECK_EQ(pf_wire_ring(a), 1);
    CHECK(pf_now() - start < PF_SECOND);
    CHECK_EQ(pf_wire_wait(b, true, PF_NOWAIT), 1);
    CHECK_EQ(pf_wire_reset(b, true), 0);
    while (n > 0) {
        k = read(b, bytes, sizeof bytes);
        CHECK(k > 0 && (size_t)k <= n);
        for (ssize_t i = 0; i < k; i++)
            CHECK_EQ(bytes[i], 'x');
        n -= (size_t)k;
    }
    CHECK(!readable(b));
    close_wire();
}

static const struct check_case cases[] = {CASE(opened), CASE(no_descriptors_left), CASE(rings),
                                          CASE(careful_reset), CASE(strip), CASE(hangup),
                                          CASE(death), CASE(bad_descriptors), CASE(deadlines),
                                          CASE(woken), CASE(interrupted), CASE(full)};
CHECK_MAIN(cases)
