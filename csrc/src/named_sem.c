#include "procfast/named_sem.h"

#include <fcntl.h>
#include <semaphore.h>
#include <sys/stat.h>
#include <time.h>

#include "os.h"
#include "procfast/clock.h"

#define NAP_FIRST (PF_SECOND / 20000)
#define NAP_LAST (PF_SECOND / 100)

static int open_old(struct pf_named_sem *s, const char *name)
{
    s->sem = sem_open(name, 0);
    return s->sem == SEM_FAILED ? -errno : 0;
}

static int open_new(struct pf_named_sem *s, const char *name, unsigned mode, unsigned value)
{
    s->sem = sem_open(name, O_CREAT | O_EXCL, (mode_t)mode, value);
    if (s->sem == SEM_FAILED)
        return -errno;
    int rc = pf__sem_mode(name, mode);
    if (rc < 0 && rc != -ENOSYS && rc != -ENOENT) { /* -ENOENT: somebody has unlinked it already */
        sem_unlink(name);
        sem_close(s->sem);
        return rc;
    }
    return 0;
}

int pf_named_sem_open(struct pf_named_sem *s, const char *name, enum pf_open how, unsigned mode, unsigned value)
{
    for (;;) { /* somebody may create or unlink it in between */
        int rc = how == PF_OPEN ? -EEXIST : open_new(s, name, mode, value);
        if (rc == -EEXIST && how != PF_EXCLUSIVE) {
            rc = open_old(s, name);
            if (rc == -ENOENT && how == PF_CREATE)
                continue;
        }
        if (rc < 0)
            s->sem = NULL;
        return rc;
    }
}

void pf_named_sem_close(struct pf_named_sem *s)
{
    if (s->sem)
        sem_close(s->sem);
    s->sem = NULL;
}

int pf_named_sem_unlink(const char *name)
{
    return sem_unlink(name) < 0 ? -errno : 0;
}

int64_t pf_named_sem_owner(const char *name)
{
    return pf__sem_owner(name);
}

/* Where no wait has a deadline. */
static int nap_until(sem_t *sem, int64_t end)
{
    for (int64_t nap = NAP_FIRST;; nap = nap * 2 < NAP_LAST ? nap * 2 : NAP_LAST) {
        int64_t left = end - pf_now();
        if (left <= 0)
            return -ETIMEDOUT;
        struct timespec ts = {.tv_nsec = (long)(nap < left ? nap : left)};
        if (nanosleep(&ts, NULL) < 0)
            return -errno;
        if (sem_trywait(sem) == 0)
            return 0;
        if (errno != EAGAIN)
            return -errno;
    }
}

int pf_named_sem_wait(struct pf_named_sem *s, int64_t deadline)
{
    if (sem_trywait(s->sem) == 0)
        return 0;
    if (errno != EAGAIN)
        return -errno;
    if (deadline == PF_NOWAIT)
        return -ETIMEDOUT;
    int64_t end = pf_slice(deadline, PF_SECOND);
    int rc = pf__sem_wait(s->sem, end);
    if (rc == -ENOSYS)
        rc = nap_until(s->sem, end);
    return rc == -ETIMEDOUT && pf_now() < deadline ? -EINTR : rc;
}

int pf_named_sem_post(struct pf_named_sem *s)
{
    return sem_post(s->sem) < 0 ? -errno : 0;
}

int pf_named_sem_value(struct pf_named_sem *s)
{
    return pf__sem_value(s->sem);
}
