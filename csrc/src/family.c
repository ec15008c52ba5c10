#include "procfast/family.h"

#include <signal.h>
#include <sys/wait.h>

#include "os.h"
#include "procfast/child.h"

int pf_waitpid(int pid, int options, int *status)
{
    int rc = (int)waitpid(pid, status, options);
    return rc < 0 ? -errno : rc;
}

int pf_waitid(int idtype, unsigned id, int options, struct pf_child_event *event)
{
    siginfo_t info = {0};
    if (waitid((idtype_t)idtype, (id_t)id, &info, options) < 0)
        return -errno;
    *event = (struct pf_child_event){
        .pid = (int)info.si_pid,
        .uid = (uint32_t)info.si_uid,
        .signo = info.si_signo,
        .status = info.si_status,
        .code = info.si_code,
    };
    return 0;
}

int pf_pidfd_open(int pid)
{
    return pf__pidfd_open(pid);
}

int pf_pidfd_signal(int fd, int signum)
{
    return pf__pidfd_signal(fd, signum);
}

int pf_pidfd_wait(int fd, int64_t deadline)
{
    struct pf_child c = {.pid = 0, .fd = fd, .exact = true};
    return pf_child_wait(&c, deadline);
}

int pf_pidfd_status(int fd, int *status)
{
    return pf__pidfd_status(fd, status);
}

int pf_parent_death_signal(int signum)
{
    return pf__parent_death_signal(signum);
}

int pf_subreaper(bool on)
{
    return pf__subreaper(on);
}
