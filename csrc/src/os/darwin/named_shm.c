/* Named segments by shm_open(3), in src/named_shm.c. They carry no records, so nothing is swept. */
#include "../../os.h"

#ifdef PF__OS_DARWIN

int pf__owner_refresh(struct pf_shm_owner *self, bool check)
{
    (void)self, (void)check;
    return -ENOSYS;
}

void pf__owner_forget(struct pf_shm_owner *self)
{
    (void)self;
}

uint64_t pf__owner_of_pid(int pid)
{
    (void)pid;
    return 0;
}

int pf__named_file(void)
{
    return -ENOSYS;
}

int pf__named_link(int fd, const char *name)
{
    (void)fd, (void)name;
    return -ENOSYS;
}

int pf__named_room(int fd, uint64_t size)
{
    (void)fd, (void)size;
    return -ENOSYS;
}

int pf__named_record(int fd, const char *name, uint64_t owner)
{
    (void)fd, (void)name, (void)owner;
    return -ENOSYS;
}

int pf__named_open(const char *name)
{
    (void)name;
    return -ENOSYS;
}

int pf__named_owner(const char *name, uint64_t *owner)
{
    (void)name, (void)owner;
    return -ENOSYS;
}

int pf__named_fend(const struct pf_shm_owner *self, const char *name)
{
    (void)self, (void)name;
    return -ENOSYS;
}

int pf__named_give(const char *name, uint64_t from, uint64_t to)
{
    (void)name, (void)from, (void)to;
    return -ENOSYS;
}

int pf__named_sweep(const struct pf_shm_owner *self, const char *name, uint64_t dead)
{
    (void)self, (void)name, (void)dead;
    return -ENOSYS;
}

#endif
