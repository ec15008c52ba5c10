#include "../../os.h"

#ifdef PF__OS_LINUX

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OWN "/proc/thread-self/"

struct out {
    char *buf;
    size_t size;
    ssize_t length;
};

static void put(struct out *o, const void *data, size_t n)
{
    if ((size_t)o->length + n <= o->size)
        memcpy(o->buf + o->length, data, n);
    o->length += (ssize_t)n;
}

static void put_number(struct out *o, long n)
{
    put(o, &n, sizeof n);
}

/* what a call answered: its result, or why there is none */
static void put_result(struct out *o, long rc)
{
    put_number(o, rc < 0 ? -(long)errno : rc);
}

static void put_identity(struct out *o, int rc, const struct stat *st)
{
    put_result(o, rc);
    if (rc < 0)
        return;
    put_number(o, (long)st->st_dev);
    put_number(o, (long)st->st_ino);
    put_number(o, (long)st->st_rdev);
    put_number(o, (long)st->st_mode);
}

static void put_file(struct out *o, const char *path)
{
    char part[1024];
    ssize_t n = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        while ((n = read(fd, part, sizeof part)) > 0)
            put(o, part, (size_t)n);
        close(fd);
    }
    put_result(o, n);
}

/* The lines of status(5) that a child would have too. Seccomp filters must be counted, or adding one is not seen. */
static int put_status(struct out *o)
{
    static const char *const wanted[] = {
        "Umask:",      "Uid:",    "Gid:",        "Groups:",       "NSpgid:",       "NSsid:",  "SigIgn:",    "Cap",
        "NoNewPrivs:", "Seccomp", "Speculation", "Cpus_allowed:", "Mems_allowed:", "x86_Thread_features"};
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    bool filters = false, counted = false;
    FILE *f = fopen(OWN "status", "re");
    if (!f)
        return -ENOSYS;
    while ((n = getline(&line, &room, f)) > 0) {
        filters |= strcmp(line, "Seccomp:\t2\n") == 0;
        counted |= strncmp(line, "Seccomp_filters:", 16) == 0;
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
            if (strncmp(line, wanted[i], strlen(wanted[i])) == 0) {
                put(o, line, (size_t)n);
                break;
            }
        }
    }
    free(line);
    fclose(f);
    return filters && !counted ? -ENOSYS : 0;
}

/* State, parent, group, session and terminal are the first after the name, which may have any character. */
static void put_terminal(struct out *o)
{
    char text[512] = "";
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC), group = 0, session = 0, terminal = 0;
    if (fd >= 0) {
        ssize_t n = read(fd, text, sizeof text - 1);
        text[n < 0 ? 0 : n] = '\0';
        close(fd);
    }
    const char *rest = strrchr(text, ')');
    put_number(o, rest ? sscanf(rest, ") %*c %*d %d %d %d", &group, &session, &terminal) : -1);
    put_number(o, group);
    put_number(o, session);
    put_number(o, terminal);
}

static void put_namespaces(struct out *o)
{
    static const char *const names[] = {"cgroup", "ipc",  "mnt",  "net", "pid", "pid_for_children",
                                        "time",   "time_for_children", "user", "uts"};
    int dir = open(OWN "ns", O_PATH | O_DIRECTORY | O_CLOEXEC);
    put_result(o, dir < 0 ? -1 : 0);
    for (size_t i = 0; dir >= 0 && i < sizeof names / sizeof *names; i++) {
        struct stat st;
        put_identity(o, fstatat(dir, names[i], &st, 0), &st);
    }
    if (dir >= 0)
        close(dir);
}

/* By number, as headers may be older than the kernel: time stamp counter, securebits, timer slack, what the kernel does
 * about broken memory, huge pages, I/O flusher, memory that is never both writable and executable, merging of pages. */
static void put_attributes(struct out *o)
{
    static const int asked[] = {27, 30, 34, 42, 58, 66, 68};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        put_result(o, prctl(asked[i], 0, 0, 0, 0));
    int tsc = 0;
    put_result(o, prctl(PR_GET_TSC, &tsc, 0, 0, 0));
    put_number(o, tsc);
    unsigned long cookie = 0;
    put_result(o, prctl(62 /* PR_SCHED_CORE */, 0 /* GET */, 0, 0, &cookie));
    put_number(o, (long)cookie);
}

static void put_scheduling(struct out *o)
{
    uint32_t attributes[16] = {0}; /* struct sched_attr: nice, policy and the rest */
    put_result(o, syscall(SYS_sched_getattr, 0, attributes, sizeof attributes, 0));
    put(o, attributes, sizeof attributes);
    put_result(o, syscall(SYS_ioprio_get, 1 /* IOPRIO_WHO_PROCESS */, 0));
    unsigned long nodes[32] = {0};
    int policy = 0;
    put_result(o, syscall(SYS_get_mempolicy, &policy, nodes, sizeof nodes * 8, NULL, 0));
    put_number(o, policy);
    put(o, nodes, sizeof nodes);
}

ssize_t pf__inherited(char *buf, size_t size)
{
    struct out o = {.buf = buf, .size = size};
    struct stat st;
    for (int fd = 0; fd < 3; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (flags < 0 || flags & FD_CLOEXEC || fstat(fd, &st) < 0)
            return -EBADF;
        put_identity(&o, 0, &st);
    }
    int rc = put_status(&o);
    if (rc < 0)
        return rc;
    put_identity(&o, stat("/", &st), &st);
    put_identity(&o, stat(".", &st), &st);
    put_terminal(&o);
    put_namespaces(&o);
    put_attributes(&o);
    put_scheduling(&o);
    for (int what = 0; what < RLIM_NLIMITS; what++) {
        struct rlimit limit = {0};
        put_result(&o, getrlimit(what, &limit));
        put(&o, &limit, sizeof limit);
    }
    put_result(&o, syscall(SYS_personality, 0xffffffffUL));
    put_result(&o, syscall(SYS_keyctl, 0 /* KEYCTL_GET_KEYRING_ID */, -3 /* of the session */, 0));
    put_file(&o, OWN "cgroup");
    put_file(&o, OWN "attr/current");
    put_file(&o, OWN "attr/exec");
    put_file(&o, "/proc/self/oom_score_adj");
    put_file(&o, "/proc/self/coredump_filter");
    put_file(&o, "/proc/self/loginuid");
    for (char **e = environ; e && *e; e++)
        put(&o, *e, strlen(*e) + 1);
    return o.length;
}

#endif
