/* Named semaphores: sem_open(3), with deadlines on the monotonic clock.
 *
 * They are what other programs see by that name too, whatever they are written in. A name lasts until it is
 * unlinked, or the system restarts. Owner death: nobody owns a permit, so that of a dead process is gone.
 * Fork: open handles stay open in the child. Threads: any number; no call may overlap pf_named_sem_close. */
#ifndef PROCFAST_NAMED_SEM_H
#define PROCFAST_NAMED_SEM_H

#include "base.h"

enum pf_open {
    PF_OPEN,      /* what is there: -ENOENT */
    PF_CREATE,    /* what is there, or a new one */
    PF_EXCLUSIVE, /* a new one: -EEXIST */
};

struct pf_named_sem {
    void *sem; /* sem_t */
};

/* Names begin with their only slash. A new one has exactly that mode (permission bits), whatever the umask, but for
 * its first moment, when it has fewer of them. -EINVAL: value, or name; -EACCES, -ENAMETOOLONG, -ENOSPC;
 * -ENOSYS, -EPERM, and -ENOENT on creation: the system has none. */
PF_API int pf_named_sem_open(struct pf_named_sem *s, const char *name, enum pf_open how, unsigned mode, unsigned value);

PF_API void pf_named_sem_close(struct pf_named_sem *s);
PF_API int pf_named_sem_unlink(const char *name);

/* The user id that a name belongs to; -ENOSYS: the system does not tell. */
PF_API int64_t pf_named_sem_owner(const char *name);

/* Takes a permit: 0, -ETIMEDOUT, -EINTR (a signal, or a second went by). */
PF_API int pf_named_sem_wait(struct pf_named_sem *s, int64_t deadline);

/* Gives one: 0, -EOVERFLOW. */
PF_API int pf_named_sem_post(struct pf_named_sem *s);

/* Permits at this moment; -ENOSYS. */
PF_API int pf_named_sem_value(struct pf_named_sem *s);

#endif
