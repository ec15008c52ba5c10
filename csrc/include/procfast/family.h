/* A process and its relatives: waiting for children, processes by descriptor, what follows a parent's end.
 *
 * Blocking: pf_waitpid and pf_waitid without WNOHANG, pf_pidfd_wait. Threads, fork: no state. */
#ifndef PROCFAST_FAMILY_H
#define PROCFAST_FAMILY_H

#include "base.h"

/* waitpid(2): the pid, 0 (WNOHANG: none yet), -ECHILD, -EINTR, -EINVAL */
PF_API int pf_waitpid(int pid, int options, int *status);

struct pf_child_event {
    int pid; /* 0: none yet (WNOHANG) */
    uint32_t uid;
    int signo, status, code;
};

/* waitid(2): 0, -ECHILD, -EINTR, -EINVAL. idtype is one of P_ALL, P_PID, P_PGID, and P_PIDFD where there is such. */
PF_API int pf_waitid(int idtype, unsigned id, int options, struct pf_child_event *event);

/* A descriptor of any process, close-on-exec: readable once it has ended. -ESRCH; -EINVAL: the pid is a thread's;
 * -ENOSYS: this system has none, or a filter refuses */
PF_API int pf_pidfd_open(int pid);

/* Sends a signal to that very process: 0, -ESRCH (ended and reaped), -EPERM, -EINVAL */
PF_API int pf_pidfd_signal(int fd, int signum);

/* Waits for its end, reaps nothing: 0, -ETIMEDOUT, -EINTR */
PF_API int pf_pidfd_wait(int fd, int64_t deadline);

/* The wait status of one that was reaped, by whomever: 0; -EAGAIN: it was not; -ENOSYS: the kernel does not tell
 * (Linux 6.15 does) */
PF_API int pf_pidfd_status(int fd, int *status);

/* The signal that the kernel sends this process when the thread that forked it ends; 0: none. Children begin
 * without. 0, -EINVAL, -ENOSYS */
PF_API int pf_parent_death_signal(int signum);

/* Whether orphans below this process become its children. Its own children begin without. 0, -ENOSYS */
PF_API int pf_subreaper(bool on);

#endif
