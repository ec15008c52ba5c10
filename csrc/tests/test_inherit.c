/* What a started program would inherit: the same for the same, another after each change. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "check.h"
#include "procfast/inherit.h"

#define ROOM 65536

static char before[ROOM], now[ROOM];
static ssize_t length;

static bool supported(void)
{
    length = pf_inherited(before, ROOM);
    CHECK(length > 0 || length == -ENOSYS);
    return length > 0;
}

static bool same(void)
{
    ssize_t n = pf_inherited(now, ROOM);
    CHECK(n > 0 && n <= ROOM);
    return n == length && memcmp(now, before, (size_t)n) == 0;
}

static void test_same(void)
{
    if (!supported())
        return;
    CHECK(same());
    int fd = open("/dev/null", O_RDONLY); /* other descriptors do not count */
    CHECK(fd > 2 && same());
    close(fd);
}

static void test_room(void)
{
    if (!supported())
        return;
    memset(now, 'x', ROOM);
    CHECK_EQ(pf_inherited(NULL, 0), length);
    CHECK_EQ(pf_inherited(now, 100), length);
    CHECK_EQ(now[100], 'x');
}

static void test_changes(void)
{
    if (!supported())
        return;
    setenv("PF_TEST_INHERIT", "1", 1);
    CHECK(!same());
    unsetenv("PF_TEST_INHERIT");
    CHECK(same());
    mode_t mask = umask(0123);
    CHECK(!same());
    umask(mask);
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur--;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    CHECK(!same());
    limit.rlim_cur++;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int cwd = open(".", O_RDONLY);
    CHECK(cwd >= 0 && chdir("/dev") == 0);
    CHECK(!same());
    CHECK_EQ(fchdir(cwd), 0);
    close(cwd);
    CHECK(same());
}

static void test_standard_descriptors(void)
{
    if (!supported())
        return;
    int kept = dup(0), null = open("/dev/zero", O_RDONLY);
    dup2(null, 0);
    CHECK(!same());
    fcntl(0, F_SETFD, FD_CLOEXEC);
    CHECK_EQ(pf_inherited(now, ROOM), -EBADF);
    close(0);
    CHECK_EQ(pf_inherited(now, ROOM), -EBADF);
    dup2(kept, 0);
    close(kept);
    close(null);
    CHECK(same());
}

int main(int argc, char **argv)
{
    static const struct check_case cases[] = {CASE(test_same), CASE(test_room), CASE(test_changes),
                                              CASE(test_standard_descriptors)};
    return check_main(cases, 4, argc, argv);
}
