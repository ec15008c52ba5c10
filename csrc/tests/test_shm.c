#include <fcntl.h>

#include "check.h"

static int64_t kept(int fd)
{
    struct stat st;
    CHECK_EQ(fstat(fd, &st), 0);
    return (int64_t)st.st_blocks * 512;
}

static void create(void)
{
    int fd = pf_shm_create(1 << 20);
    CHECK(fd >= 0);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    struct stat st;
    CHECK_EQ(fstat(fd, &st), 0);
    CHECK_EQ(st.st_size, 1 << 20);
    CHECK_EQ(st.st_nlink, 0); /* without a name */
    CHECK(kept(fd) == 0);     /* sparse */
    void *p;
    CHECK_EQ(pf_shm_map(fd, 0, 1 << 20, &p), 0);
    for (int i = 0; i < 1 << 20; i += 4096)
        CHECK_EQ(((char *)p)[i], 0);
    CHECK_EQ(pf_shm_unmap(p, 1 << 20), 0);
    close(fd);
}

static void shared_between_mappings(void)
{
    int fd = pf_shm_create(65536);
    CHECK(fd >= 0);
    void *a, *b;
    CHECK_EQ(pf_shm_map(fd, 0, 65536, &a), 0);
    CHECK_EQ(pf_shm_map(fd, 32768, 32768, &b), 0);
    strcpy((char *)a + 32768, "here");
    CHECK(strcmp(b, "here") == 0);
    pid_t pid = check_fork();
    if (pid == 0) {
        strcpy((char *)a + 100, "there");
        _exit(0);
    }
    check_reap(pid);
    CHECK(strcmp((char *)a + 100, "there") == 0);
    pf_shm_unmap(a, 65536);
    pf_shm_unmap(b, 32768);
    close(fd);
}

static void remap(void)
{
    int fd = pf_shm_create(1 << 22);
    CHECK(fd >= 0);
    void *p;
    CHECK_EQ(pf_shm_map(fd, 0, 4096, &p), 0);
    strcpy(p, "first");
    size_t size = 4096;
    for (size_t bigger = 8192; bigger <= 1 << 22; bigger *= 2) {
        CHECK_EQ(pf_shm_remap(fd, 0, &p, size, bigger), 0);
        size = bigger;
        CHECK(strcmp(p, "first") == 0);
        ((char *)p)[size - 1] = 'x';
    }
    CHECK_EQ(pf_shm_remap(fd, 0, &p, size, 4096), 0);
    CHECK(strcmp(p, "first") == 0);
    pf_shm_unmap(p, 4096);
    close(fd);
}

/* A provider that cannot reserve or punch says 0 and keeps the contents' rules: zeros are asked for only
 * where memory was given back. */
static void reserve_and_punch(void)
{
    int fd = pf_shm_create(1 << 22);
    CHECK(fd >= 0);
    void *p;
    CHECK_EQ(pf_shm_map(fd, 0, 1 << 22, &p), 0);
    CHECK_EQ(pf_shm_reserve(fd, 0, 1 << 21), 0);
    bool reserves = kept(fd) >= 1 << 21;
    memset(p, 'a', 1 << 21);
    CHECK(kept(fd) >= 1 << 21);
    CHECK_EQ(pf_shm_punch(fd, 100, (1 << 20) - 200), 0);
    /* partial pages at both ends stay */
    CHECK_EQ(((char *)p)[99], 'a');
    CHECK_EQ(((char *)p)[100], 'a');
    CHECK_EQ(((char *)p)[(1 << 20) - 101], 'a');
    bool punches = kept(fd) < 1 << 21;
    if (punches) {
        CHECK(kept(fd) <= (1 << 21) - (1 << 20) + 3 * 4096);
        for (int i = 4096; i < (1 << 20) - 4096; i += 512)
            CHECK_EQ(((char *)p)[i], 0);
    }
    CHECK_EQ(pf_shm_punch(fd, 10, 20), 0); /* less than a page: nothing */
    CHECK_EQ(((char *)p)[15], 'a');
#if defined(__linux__) && !defined(PF_OS_POSIX)
    CHECK(reserves && punches);
#else
    (void)reserves;
#endif
    pf_shm_unmap(p, 1 << 22);
    close(fd);
}

static void refusals(void)
{
    void *p;
    CHECK_EQ(pf_shm_map(-1, 0, 4096, &p), -EBADF);
    int fd = pf_shm_create(4096);
    CHECK(fd >= 0);
    CHECK(pf_shm_map(fd, 1, 4096, &p) == -EINVAL);
    struct rlimit old, none;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = (rlim_t)fd;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    CHECK_EQ(pf_shm_create(4096), -EMFILE);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
    close(fd);
}

static const struct check_case cases[] = {CASE(create), CASE(shared_between_mappings), CASE(remap),
                                          CASE(reserve_and_punch), CASE(refusals)};
CHECK_MAIN(cases)
