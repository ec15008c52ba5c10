/* No sem_timedwait(3): src/named_sem.c polls. sem_getvalue(3) is there and refuses; a name is no file. */
#include "../../os.h"

#ifdef PF__OS_DARWIN

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
    (void)sem;
    return -ENOSYS;
}

#endif
