/* One child process: wait for its end, reap it, signal it.
 *
 * A descriptor stands for the process where the platform has such a thing: a pidfd (pidfd_open(2)), a
 * kqueue (kqueue(2), EVFILT_PROC). It turns readable when the process ends, so it can be selected on, and
 * no later process with the same pid is mistaken for it. Elsewhere the caller may lend the read end of a
 * pipe whose write end only the child keeps; what is weaker then: a grandchild that inherits the write end
 * delays the end, and the pid is all there is to name the child by.
 *
 * Blocking: pf_child_wait only. Fork: a pidfd stays valid in a child, a kqueue is not inherited.
 * Threads: any number may wait for the same child; one of them reaps it. */
#ifndef PROCFAST_CHILD_H
#define PROCFAST_CHILD_H

#include "base.h"

struct pf_child {
    int pid;
    int fd;     /* readable once the process has ended; -1: none */
    bool exact; /* fd is the process itself, not the end of a pipe */
};

/* Fills in *c for a child that has not been reaped. 0, -ENOSYS: no such descriptor here, *c works without
 * one and c->fd may be set to a pipe; -ESRCH: reaped already; -EMFILE, ... */
PF_API int pf_child_open(struct pf_child *c, int pid);

/* Closes the descriptor, if any. Neither waits nor reaps. */
PF_API void pf_child_close(struct pf_child *c);

/* Waits until the process has ended, without reaping it: 0, -ETIMEDOUT, -EINTR.
 * Also 0 for a process that is not there for the caller to wait for: pf_child_reap tells. */
PF_API int pf_child_wait(const struct pf_child *c, int64_t deadline);

/* Reaps the process if it has ended; never blocks, and never touches another child. *exitcode is what it
 * passed to exit(3), or the negated number of the signal that killed it.
 * 0; -EAGAIN: it runs; -ECHILD: somebody else has reaped it (or it never was the caller's child), and the
 * kernel does not tell how it ended. (Linux 6.15 does: PIDFD_GET_INFO. The result is 0 then.) */
PF_API int pf_child_reap(const struct pf_child *c, int *exitcode);

/* Sends a signal to this very process: 0, -ESRCH (it has ended), -EPERM, -EINVAL. */
PF_API int pf_child_signal(const struct pf_child *c, int signum);

/* A descriptor by which children of fork(2) see the calling process end (a pidfd of it): they inherit it,
 * and it turns readable. -ENOSYS: use a pipe. */
PF_API int pf_parent_open(void);

/* Ends the calling process, by SIGKILL, once nobody has the write end of a pipe open any more: how a child ends
 * with its parent, however that one ends, and nobody needs to look. `fd` is the pipe's read end, in the child; many
 * children may have the same one. Answers a descriptor that does it as long as it is open (close-on-exec; a fork's
 * copies do not concern the fork), or -ENOSYS, or why the pipe can't be opened again (there is no /proc). fcntl(2):
 * F_SETSIG and O_ASYNC are of the open file description, so that each child needs its own. */
PF_API int pf_end_with(int fd);

#endif
