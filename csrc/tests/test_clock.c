#include "check.h"

static void monotonic(void)
{
    int64_t last = pf_now();
    for (int i = 0; i < 100000; i++) {
        int64_t now = pf_now();
        CHECK(now >= last);
        last = now;
    }
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    int64_t same = (int64_t)ts.tv_sec * PF_SECOND + ts.tv_nsec;
    CHECK(same >= last && same - last < PF_SECOND);
}

static void deadlines(void)
{
    CHECK_EQ(pf_deadline(0), PF_NOWAIT);
    CHECK_EQ(pf_deadline(-1), PF_NOWAIT);
    CHECK_EQ(pf_deadline(INT64_MIN), PF_NOWAIT);
    CHECK_EQ(pf_deadline(PF_FOREVER), PF_FOREVER);
    CHECK_EQ(pf_deadline(PF_FOREVER - 1), PF_FOREVER);
    int64_t before = pf_now(), d = pf_deadline(5 * PF_SECOND), after = pf_now();
    CHECK(d >= before + 5 * PF_SECOND && d <= after + 5 * PF_SECOND);
}

static void slices(void)
{
    int64_t before = pf_now(), s = pf_slice(PF_FOREVER, PF_SECOND), after = pf_now();
    CHECK(s >= before + PF_SECOND && s <= after + PF_SECOND);
    CHECK_EQ(pf_slice(PF_NOWAIT, PF_SECOND), PF_NOWAIT);
    int64_t soon = pf_now() + PF_SECOND / 2;
    CHECK_EQ(pf_slice(soon, PF_SECOND), soon);
}

static void messages(void)
{
    for (int code = 0; code < 5000; code++)
        CHECK(pf_strerror(code) && *pf_strerror(code));
    CHECK(strstr(pf_strerror(PF_ETOOBIG), "max_bytes"));
    CHECK(strcmp(pf_strerror(PF_EOWNERDEAD), pf_strerror(PF_ECORRUPT)) != 0);
    CHECK(strcmp(pf_strerror(ENOENT), strerror(ENOENT)) == 0);
}

static const struct check_case cases[] = {CASE(monotonic), CASE(deadlines), CASE(slices), CASE(messages)};
CHECK_MAIN(cases)
