#include "procfast/named_shm.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os.h"

/* 0 for a name that may be used, without its slashes then. */
static int check(const char **name)
{
    while (**name == '/')
        ++*name;
    return !**name || strchr(*name, '/') ? -EINVAL : strlen(*name) > NAME_MAX ? -ENAMETOOLONG : 0;
}

static int by_name(const char *name, int flags)
{
    char path[NAME_MAX + 2];
    snprintf(path, sizeof path, "/%s", name);
    int fd = shm_open(path, O_RDWR | flags, 0600); /* close-on-exec, says POSIX */
    return fd < 0 ? -errno : fd;
}

static int remove_name(const char *name)
{
    char path[NAME_MAX + 2];
    snprintf(path, sizeof path, "/%s", name);
    return shm_unlink(path) < 0 ? -errno : 0;
}

static int fill(int fd, uint64_t size, bool reserve)
{
    int rc = pf__named_room(fd, size);
    if (rc == -ENOSYS)
        rc = 0;
    if (rc == 0 && (reserve || size <= PF_NAMED_RESERVED)) {
        /* in parts, as a signal makes the kernel begin a part again; it makes the file longer, too */
        uint64_t at = 0;
        for (; rc == 0 && at < size; at += PF_NAMED_RESERVED)
            rc = pf__shm_reserve(fd, at, size - at < PF_NAMED_RESERVED ? size - at : PF_NAMED_RESERVED);
        if (rc != -ENOSYS)
            return rc;
        rc = 0; /* a store will allocate: docs/platforms.md */
    }
    return rc == 0 && ftruncate(fd, (off_t)size) < 0 ? -errno : rc;
}

int pf_shm_owner_refresh(struct pf_shm_owner *self, bool check)
{
    int rc = pf__owner_refresh(self, check);
    if (rc < 0)
        self->id = 0;
    return rc;
}

void pf_shm_owner_forget(struct pf_shm_owner *self)
{
    pf__owner_forget(self);
    memset(self, 0, sizeof *self);
}

uint64_t pf_shm_owner_of_pid(int pid)
{
    return pf__owner_of_pid(pid);
}

int pf_named_shm_create(const char *name, uint64_t size, uint64_t owner, bool reserve)
{
    int rc = check(&name);
    if (rc < 0)
        return rc;
    int fd = pf__named_file();
    bool named = fd == -ENOSYS;
    if (named)
        fd = by_name(name, O_CREAT | O_EXCL);
    if (fd < 0)
        return fd;
    rc = owner ? pf__named_record(fd, name, owner) : 0;
    if (rc == -ENOSYS)
        rc = 0;
    if (rc == 0)
        rc = fill(fd, size, reserve);
    if (rc == 0 && !named) {
        rc = pf__named_link(fd, name);
        if (rc == -ENOSYS) { /* no way to name it: begin again with the name */
            close(fd);
            if ((fd = by_name(name, O_CREAT | O_EXCL)) < 0)
                return fd;
            named = true;
            rc = owner ? pf__named_record(fd, name, owner) : 0;
            if (rc == 0 || rc == -ENOSYS)
                rc = fill(fd, size, reserve);
        }
    }
    if (rc < 0) {
        if (named)
            remove_name(name);
        close(fd);
        return rc;
    }
    return fd;
}

int pf_named_shm_open(const char *name, uint64_t *size)
{
    int rc = check(&name);
    if (rc < 0)
        return rc;
    for (;;) {
        int fd = pf__named_open(name);
        if (fd == -ENOSYS)
            fd = by_name(name, 0);
        if (fd < 0)
            return fd;
        struct stat st;
        if (fstat(fd, &st) < 0) {
            rc = -errno;
            close(fd);
            return rc;
        }
        *size = (uint64_t)st.st_size;
        if (st.st_nlink) /* it has not been swept between its name and us */
            return fd;
        close(fd);
    }
}

int pf_named_shm_unlink(const struct pf_shm_owner *self, const char *name, bool open_here)
{
    int rc = check(&name);
    if (rc < 0)
        return rc;
    rc = open_here ? 0 : pf__named_fend(self, name);
    return rc == 0 || rc == -ENOSYS ? remove_name(name) : rc;
}

int pf_named_shm_owner(const char *name, uint64_t *owner)
{
    *owner = 0;
    int rc = check(&name);
    if (rc < 0)
        return rc;
    rc = pf__named_owner(name, owner);
    return rc == -ENOSYS ? 0 : rc;
}

int pf_named_shm_give(const char *name, uint64_t from, uint64_t to)
{
    int rc = check(&name);
    if (rc < 0)
        return rc;
    rc = pf__named_give(name, from, to);
    return rc == -ENOSYS ? 0 : rc;
}

int pf_named_shm_sweep(const struct pf_shm_owner *self, const char *name, uint64_t dead)
{
    int rc = check(&name);
    if (rc < 0)
        return rc;
    rc = pf__named_sweep(self, name, dead);
    return rc == -ENOSYS ? 0 : rc;
}
