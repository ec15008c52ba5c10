/* Message queues: names and modes, order, the deadline, signals, the dead. Nothing where the system has none. */
#include <fcntl.h>

#include "check.h"
#include "procfast/mqueue.h"

static const char *name(void)
{
    static char text[40];
    snprintf(text, sizeof text, "/pf-test-%d", (int)getpid());
    return text;
}

static bool missing(void)
{
    struct pf_mqueue q;
    return pf_mqueue_open(&q, name(), PF_OPEN, true, true, 0, 0, 0) == -ENOSYS;
}

static struct pf_mqueue fresh(void)
{
    struct pf_mqueue q;
    CHECK_EQ(pf_mqueue_open(&q, name(), PF_EXCLUSIVE, true, true, 0600, 4, 100), 0);
    return q;
}

static void gone(struct pf_mqueue *q)
{
    pf_mqueue_close(q);
    CHECK_EQ(pf_mqueue_unlink(name()), 0);
}

static int send(const struct pf_mqueue *q, const char *text, unsigned priority, int64_t deadline)
{
    int rc;
    while ((rc = pf_mqueue_send(q, text, strlen(text), priority, deadline)) == -EINTR)
        ;
    return rc;
}

/* Its size; the text is in data, with a 0 behind. */
static int receive(const struct pf_mqueue *q, char data[101], int64_t deadline)
{
    unsigned priority;
    ssize_t n;
    while ((n = pf_mqueue_receive(q, data, 100, &priority, deadline)) == -EINTR)
        ;
    data[n < 0 ? 0 : n] = 0;
    return (int)n;
}

static void test_names(void)
{
    struct pf_mqueue a, b;
    if (missing())
        return;
    CHECK_EQ(pf_mqueue_open(&a, name(), PF_OPEN, true, true, 0, 0, 0), -ENOENT);
    CHECK_EQ(pf_mqueue_unlink(name()), -ENOENT);
    CHECK_EQ(pf_mqueue_open(&a, name(), PF_CREATE, true, true, 0600, 3, 50), 0);
    CHECK_EQ(a.max_messages, 3);
    CHECK_EQ(a.max_size, 50);
    CHECK(fcntl(a.fd, F_GETFD) & FD_CLOEXEC);
    CHECK_EQ(pf_mqueue_owner(&a), geteuid());
    CHECK_EQ(pf_mqueue_open(&b, name(), PF_EXCLUSIVE, true, true, 0600, 3, 50), -EEXIST);
    CHECK_EQ(pf_mqueue_open(&b, name(), PF_CREATE, true, false, 0600, 1, 1), 0);
    CHECK_EQ(b.max_size, 50);
    CHECK(fcntl(b.fd, F_GETFD) & FD_CLOEXEC);
    CHECK_EQ(send(&b, "x", 0, PF_FOREVER), -EBADF);
    CHECK_EQ(send(&a, "x", 0, PF_FOREVER), 0);
    CHECK_EQ(pf_mqueue_count(&b), 1);
    pf_mqueue_close(&b);
    gone(&a);
    CHECK_EQ(pf_mqueue_open(&a, name(), PF_CREATE, true, true, 0600, 0, 50), -EINVAL);
}

static void test_mode(void)
{
    mode_t was = umask(077);
    if (!missing()) {
        struct pf_mqueue q;
        struct stat st;
        CHECK_EQ(pf_mqueue_open(&q, name(), PF_EXCLUSIVE, true, true, 0622, 3, 50), 0);
        CHECK_EQ(fstat(q.fd, &st), 0);
        CHECK_EQ(st.st_mode & 0777, 0622);
        gone(&q);
    }
    umask(was);
}

static void test_order_and_sizes(void)
{
    char data[101];
    if (missing())
        return;
    struct pf_mqueue q = fresh();
    CHECK_EQ(send(&q, "low", 0, PF_FOREVER), 0);
    CHECK_EQ(send(&q, "high 1", 9, PF_FOREVER), 0);
    CHECK_EQ(send(&q, "high 2", 9, PF_FOREVER), 0);
    CHECK_EQ(send(&q, "", 1, PF_FOREVER), 0);
    static const char *const want[] = {"high 1", "high 2", "", "low"};
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(receive(&q, data, PF_FOREVER), strlen(want[i]));
        CHECK_EQ(strcmp(data, want[i]), 0);
    }
    memset(data, 'x', 101);
    CHECK_EQ(pf_mqueue_send(&q, data, 101, 0, PF_FOREVER), -EMSGSIZE);
    unsigned priority;
    CHECK_EQ(pf_mqueue_receive(&q, data, 99, &priority, PF_NOWAIT), -EMSGSIZE);
    gone(&q);
}

static void test_deadline(void)
{
    char data[101];
    if (missing())
        return;
    struct pf_mqueue q = fresh();
    CHECK_EQ(receive(&q, data, PF_NOWAIT), -ETIMEDOUT);
    int64_t begun = pf_now(), cpu = check_cpu();
    CHECK_EQ(receive(&q, data, begun + 100 * MS), -ETIMEDOUT);
    CHECK(pf_now() - begun >= 100 * MS && pf_now() - begun < 5 * PF_SECOND);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(send(&q, "x", 0, PF_NOWAIT), 0);
    CHECK_EQ(send(&q, "x", 0, PF_NOWAIT), -ETIMEDOUT);
    CHECK_EQ(send(&q, "x", 0, pf_now() + 100 * MS), -ETIMEDOUT);
    begun = pf_now();
    CHECK_EQ(pf_mqueue_send(&q, "x", 1, 0, PF_FOREVER), -EINTR); /* a look */
    CHECK(pf_now() - begun >= PF_SECOND - 20 * MS);
    CHECK(check_cpu() - cpu < 50 * MS);
    gone(&q);
}

static void nothing(int signum)
{
    (void)signum;
}

static void test_signal(void)
{
    unsigned priority;
    char data[100];
    if (missing())
        return;
    struct pf_mqueue q = fresh();
    struct sigaction sa = {.sa_handler = nothing, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &sa, NULL);
    struct itimerval soon = {.it_value = {0, 50000}};
    setitimer(ITIMER_REAL, &soon, NULL);
    int64_t begun = pf_now();
    CHECK_EQ(pf_mqueue_receive(&q, data, 100, &priority, PF_FOREVER), -EINTR);
    CHECK(pf_now() - begun < 900 * MS);
    signal(SIGALRM, SIG_DFL);
    gone(&q);
}

/* Two senders, one killed at random: each message whole and once, the survivor's all there. */
static void test_sender_killed(void)
{
    char data[101];
    if (missing())
        return;
    struct pf_mqueue q = fresh();
    uint64_t seed = 3;
    for (int round = 0; round < 20; round++) {
        pid_t pids[2];
        for (int w = 0; w < 2; w++) {
            pids[w] = check_fork();
            if (pids[w] == 0) {
                for (int i = 0; w == 0 || i < 300; i++) {
                    char text[30];
                    snprintf(text, sizeof text, "%d %d", w, i);
                    CHECK_EQ(send(&q, text, 0, pf_now() + 60 * PF_SECOND), 0);
                }
                _exit(0);
            }
        }
        int next[2] = {0, 0}, kill_at = (int)(check_random(&seed) % 200);
        bool living = true;
        while (next[1] < 300 || receive(&q, data, PF_NOWAIT) >= 0) {
            if (next[1] < 300)
                CHECK(receive(&q, data, pf_now() + 60 * PF_SECOND) > 0);
            int w, i;
            CHECK_EQ(sscanf(data, "%d %d", &w, &i), 2);
            CHECK_EQ(i, next[w]++);
            if (living && next[1] >= kill_at) {
                check_kill(pids[0]);
                living = false;
            }
        }
        check_reap(pids[1]);
    }
    gone(&q);
}

static const struct check_case cases[] = {
    CASE(test_names),    CASE(test_mode),   CASE(test_order_and_sizes),
    CASE(test_deadline), CASE(test_signal), CASE(test_sender_killed),
};
CHECK_MAIN(cases)
