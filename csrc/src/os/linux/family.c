#include "../../os.h"

#ifdef PF__OS_LINUX

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NR_PIDFD_SEND_SIGNAL 424 /* by number: headers may be older than the kernel */

/* PIDFD_GET_INFO, linux/pidfd.h; the first version of the structure is 64 bytes */
struct info {
    uint64_t mask, cgroup;
    uint32_t pid, tgid, ppid, ids[8];
    int32_t exit_code;
};
#define GET_INFO ((int)_IOWR(0xff, 11, struct info)) /* musl's ioctl takes an int, and the kernel 32 bits */
#define INFO_EXIT (UINT64_C(1) << 3)
#define REAPING_MS 20

int pf__pidfd_open(int pid)
{
    return pf__child_open(pid);
}

int pf__pidfd_signal(int fd, int signum)
{
    return syscall(NR_PIDFD_SEND_SIGNAL, fd, signum, NULL, 0) < 0 ? -errno : 0;
}

static int exit_info(int fd, int *status)
{
    struct info info = {.mask = INFO_EXIT};
    if (ioctl(fd, GET_INFO, &info) < 0)
        return -ENOSYS;
    if (!(info.mask & INFO_EXIT))
        return -EAGAIN;
    *status = info.exit_code;
    return 0;
}

/* Whoever reaps it, or the kernel where SIGCHLD is ignored, does so a moment after the descriptor has turned
 * readable; the hang-up says that it is done. */
int pf__pidfd_status(int fd, int *status)
{
    int rc = exit_info(fd, status);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (rc != -EAGAIN || poll(&p, 1, 0) <= 0)
        return rc;
    p.events = 0;
    (void)poll(&p, 1, REAPING_MS);
    return exit_info(fd, status);
}

int pf__parent_death_signal(int signum)
{
    return prctl(PR_SET_PDEATHSIG, (unsigned long)signum, 0UL, 0UL, 0UL) < 0 ? -errno : 0;
}

int pf__subreaper(bool on)
{
    int rc = prctl(PR_SET_CHILD_SUBREAPER, (unsigned long)on, 0UL, 0UL, 0UL) < 0 ? -errno : 0;
    return rc == -EINVAL ? -ENOSYS : rc; /* a kernel, or an emulator, that does not know it */
}

#endif
