#include "procfast/clock.h"

#include <time.h>

#ifdef CLOCK_MONOTONIC_COARSE
#define COARSE CLOCK_MONOTONIC_COARSE
#else
#define COARSE CLOCK_MONOTONIC
#endif

static int64_t now(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (int64_t)ts.tv_sec * PF_SECOND + ts.tv_nsec;
}

int64_t pf_now(void)
{
    return now(CLOCK_MONOTONIC);
}

int64_t pf_now_coarse(void)
{
    return now(COARSE);
}

int64_t pf_deadline(int64_t timeout_ns)
{
    if (timeout_ns <= 0)
        return PF_NOWAIT;
    int64_t now = pf_now();
    return timeout_ns >= PF_FOREVER - now ? PF_FOREVER : now + timeout_ns;
}

int64_t pf_slice(int64_t deadline, int64_t slice_ns)
{
    int64_t end = pf_now() + slice_ns;
    return deadline < end ? deadline : end;
}
