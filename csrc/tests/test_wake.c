/* The sleepers' byte of a side's word: a wake-up must never be saved where somebody sleeps. */
#include "items.h"

static struct pf_ring *r;

static void put(void)
{
    struct pf_iov v = {"x", 1};
    CHECK_EQ(pf_ring_put(r, &v, 1, NULL, 0, PF_FOREVER), 0);
}

/* Two sleepers, two messages, after `before` announcements of sleep that nobody answered: both must be woken,
 * not found at their next look a second later. */
static void two_sleepers(int before)
{
    _Atomic int *got = check_shared(sizeof *got);
    CHECK_EQ(pf_ring_create(&r, 0, 0), 0);
    for (int i = 0; i < before; i++)
        CHECK_EQ(pf_ring_wait(r, pf_now() + MS / 5), -ETIMEDOUT);
    pid_t child[2];
    for (int i = 0; i < 2; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            struct pf_box box = {0};
            CHECK(pf_ring_get(r, &box, pf_now() + 20 * PF_SECOND) >= 0);
            atomic_fetch_add(got, 1);
            _exit(0);
        }
        usleep(100000);
    }
    for (int i = 0; i < 2; i++) {
        int64_t start = pf_now();
        put();
        while (atomic_load(got) < i + 1)
            usleep(500);
        CHECK(pf_now() - start < PF_SECOND * 6 / 10);
    }
    for (int i = 0; i < 2; i++)
        CHECK_EQ(waitpid(child[i], NULL, 0), child[i]);
    pf_ring_close(r);
}

static void test_every_sleeper_is_woken(void)
{
    for (int before = 250; before < 258; before++)
        two_sleepers(before);
    two_sleepers(0);
    two_sleepers(1);
}

int main(int argc, char **argv)
{
    static const struct check_case cases[] = {CASE(test_every_sleeper_is_woken)};
    return check_main(cases, 1, argc, argv);
}
