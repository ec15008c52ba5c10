/* What the drivers of the kill matrix share: the names of the points, and tools. */
#ifndef PROCFAST_TESTS_CRASH_H
#define PROCFAST_TESTS_CRASH_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

#include "check.h"

#define POINTS 96
#define MAX_WORKERS 8

/* All that were linked in. */
static const char *point_name[POINTS];
static int npoints;

extern const char *const __start_pf_points[], *const __stop_pf_points[];

static inline int point_index(const char *name)
{
    for (int i = 0; i < npoints; i++) {
        if (point_name[i] == name || strcmp(point_name[i], name) == 0)
            return i;
    }
    return -1;
}

static inline void collect_points(void)
{
    for (const char *const *p = __start_pf_points; p < __stop_pf_points; p++) {
        if (point_index(*p) < 0) {
            CHECK(npoints < POINTS);
            point_name[npoints++] = *p;
        }
    }
}

static inline bool asleep(pid_t pid)
{
    char path[40], text[256];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    char *state = strrchr(text, ')');
    return state && state[2] == 'S';
}

/* As on a kernel, or in a container, without FUTEX_WAKE_OP. */
static inline bool deny_wake_op(void)
{
    const unsigned low = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1]) + low),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 5, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {sizeof code / sizeof *code, code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0;
}

#endif
