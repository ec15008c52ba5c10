#include "procfast/named_shm.h"

#include <errno.h>
#include <fcntl.h>

#include "check.h"

static char name_buffer[64];

static const char *name_of(const char *tag)
{
    snprintf(name_buffer, sizeof name_buffer, "/pf-ctest-%d-%s", (int)getpid(), tag);
    return name_buffer;
}

static void create_open_unlink(void)
{
    struct pf_shm_owner self = {0};
    pf_shm_owner_refresh(&self, true);
    const char *name = name_of("a");
    int fd = pf_named_shm_create(name, 5000, self.id, false);
    CHECK(fd >= 0);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK_EQ(pf_named_shm_create(name, 1, 0, false), -EEXIST);
    uint64_t size, owner;
    int other = pf_named_shm_open(name + 1, &size); /* the slash does not count */
    CHECK(other >= 0);
    CHECK_EQ(size, 5000);
    CHECK_EQ(pf_named_shm_owner(name, &owner), 0);
    CHECK_EQ(owner, self.id);
    void *a, *b;
    CHECK_EQ(pf_shm_map(fd, 0, 5000, &a), 0);
    CHECK_EQ(pf_shm_map(other, 0, 5000, &b), 0);
    strcpy(a, "here");
    CHECK(strcmp(b, "here") == 0);
    CHECK_EQ(pf_named_shm_owner(name, &owner), 0);
    CHECK_EQ(owner, self.id); /* stores leave the record alone */
    CHECK_EQ(pf_named_shm_unlink(&self, name, true), 0);
    CHECK_EQ(pf_named_shm_unlink(&self, name, false), -ENOENT);
    CHECK_EQ(pf_named_shm_open(name, &size), -ENOENT);
    pf_shm_unmap(a, 5000);
    pf_shm_unmap(b, 5000);
    close(fd);
    close(other);
    pf_shm_owner_forget(&self);
}

static void bad_names(void)
{
    struct pf_shm_owner self = {0};
    uint64_t size;
    char longer[300];
    memset(longer, 'x', sizeof longer);
    longer[256] = 0;
    const char *const bad[] = {"", "/", "///", "a/b", "a/", longer};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        int rc = bad[i] == longer ? -ENAMETOOLONG : -EINVAL;
        CHECK_EQ(pf_named_shm_create(bad[i], 1, 0, false), rc);
        CHECK_EQ(pf_named_shm_open(bad[i], &size), rc);
        CHECK_EQ(pf_named_shm_unlink(&self, bad[i], false), rc);
        CHECK_EQ(pf_named_shm_sweep(&self, bad[i], 0), rc);
    }
}

static void failures_leave_nothing(void)
{
    struct pf_shm_owner self = {0};
    const char *name = name_of("b");
    uint64_t size;
    CHECK(pf_named_shm_create(name, UINT64_C(1) << 63, 0, false) < 0);
    CHECK_EQ(pf_named_shm_open(name, &size), -ENOENT);
    CHECK_EQ(pf_named_shm_sweep(&self, name, 0), 0);
}

static void reserved(void)
{
    struct pf_shm_owner self = {0};
    struct stat st;
    const char *name = name_of("c");
    int fd = pf_named_shm_create(name, 3 << 20, 0, true);
    CHECK(fd >= 0);
    CHECK_EQ(fstat(fd, &st), 0);
    CHECK_EQ(st.st_size, 3 << 20);
#ifndef PF_OS_POSIX
    CHECK(st.st_blocks * 512 >= 3 << 20);
#endif
    CHECK_EQ(pf_named_shm_unlink(&self, name, true), 0);
    close(fd);
}

/* The rest is about records, which the portable provider has none of. */

static void swept_when_dead(void)
{
    struct pf_shm_owner self = {0};
    if (pf_shm_owner_refresh(&self, true) == -ENOSYS)
        return;
    const char *name = name_of("d");
    int ready[2];
    uint64_t owner;
    CHECK_EQ(pipe(ready), 0);
    pid_t pid = check_fork();
    if (pid == 0) {
        struct pf_shm_owner child = self;
        CHECK_EQ(pf_shm_owner_refresh(&child, false), 0);
        CHECK(child.id != self.id);
        close(pf_named_shm_create(name, 100, child.id, false));
        CHECK_EQ(write(ready[1], "", 1), 1);
        pause();
    }
    char byte;
    CHECK_EQ(read(ready[0], &byte, 1), 1);
    CHECK_EQ(pf_named_shm_owner(name, &owner), 0);
    CHECK_EQ(owner, pf_shm_owner_of_pid(pid));
    CHECK_EQ(pf_named_shm_sweep(&self, name, 0), 0);
    kill(pid, SIGKILL);
    siginfo_t info;
    CHECK_EQ(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0); /* a zombie is dead */
    CHECK_EQ(pf_shm_owner_of_pid(pid), 0);

    uint64_t size;
    int user = pf_named_shm_open(name, &size); /* spared while somebody has it */
    CHECK_EQ(pf_named_shm_sweep(&self, name, 0), 0);
    close(user);
    CHECK_EQ(pf_named_shm_sweep(&self, name, 0), 1);
    CHECK_EQ(pf_named_shm_sweep(&self, name, 0), 0);
    waitpid(pid, NULL, 0);
    close(ready[0]);
    close(ready[1]);
    pf_shm_owner_forget(&self);
}

static void given(void)
{
    struct pf_shm_owner self = {0};
    if (pf_shm_owner_refresh(&self, true) == -ENOSYS)
        return;
    const char *name = name_of("e");
    uint64_t owner;
    close(pf_named_shm_create(name, 100, self.id, false));
    CHECK_EQ(pf_named_shm_give(name, self.id ^ 1, 0), 0); /* it is not his */
    CHECK_EQ(pf_named_shm_give(name, self.id, 0), 1);
    CHECK_EQ(pf_named_shm_owner(name, &owner), 0);
    CHECK_EQ(owner, 0);
    CHECK_EQ(pf_named_shm_sweep(&self, name, self.id), 0); /* nobody's: never */
    CHECK_EQ(pf_named_shm_give(name, 0, self.id), 1);
    CHECK_EQ(pf_named_shm_sweep(&self, name, 0), 0);
    CHECK_EQ(pf_named_shm_sweep(&self, name, self.id), 1);
    pf_shm_owner_forget(&self);
}

static void lock_lost_and_made_again(void)
{
    struct pf_shm_owner self = {0};
    if (pf_shm_owner_refresh(&self, true) == -ENOSYS)
        return;
    uint64_t id = self.id;
    close(self.fd); /* a daemoniser's work; the number may be another's now */
    int other = open("/dev/null", O_RDONLY);
    CHECK_EQ(pf_shm_owner_refresh(&self, true), 0);
    CHECK_EQ(self.id, id);
    CHECK(self.fd != other);
    CHECK(fcntl(other, F_GETFD) >= 0);
    pf_shm_owner_forget(&self);
    close(other);
}

static const struct check_case cases[] = {
    CASE(create_open_unlink), CASE(bad_names), CASE(failures_leave_nothing),   CASE(reserved),
    CASE(swept_when_dead),    CASE(given),     CASE(lock_lost_and_made_again),
};
CHECK_MAIN(cases)
