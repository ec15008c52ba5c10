/* What every system has is sem_trywait(3): src/named_sem.c polls. Where a name's file is, only the system knows. */
#include "../../os.h"

#ifdef PF__OS_POSIX

#include <semaphore.h>

int64_t pf__sem_owner(const char *name)
{
    (void)name;
    return -ENOSYS;
}

int pf__sem_mode(const char *name, unsigned mode)
{
    (void)name, (void)mode;
    return -ENOSYS;
}

int pf__sem_wait(void *sem, int64_t deadline)
{
    (void)sem, (void)deadline;
    return -ENOSYS;
}

int pf__sem_value(void *sem)
{
    int value;
    return sem_getvalue(sem, &value) < 0 ? -errno : value;
}

#endif
