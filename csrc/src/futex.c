#include "procfast/futex.h"

#include <time.h>

#include "atomic.h"
#include "os.h"
#include "procfast/clock.h"

/* Without a kernel wait: look again after 50 us, 100 us, ... 10 ms, until the word changed. */
static int poll_word(_Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
    int64_t nap = 50000;
    while (pf__load(word) == expected) {
        int64_t left = deadline - pf_now();
        if (left <= 0)
            return -ETIMEDOUT;
        int64_t ns = nap < left ? nap : left;
        struct timespec ts = {(time_t)(ns / PF_SECOND), (long)(ns % PF_SECOND)};
        if (nanosleep(&ts, NULL) < 0 && errno == EINTR)
            return -EINTR;
        if (nap < 10000000)
            nap *= 2;
    }
    return 0;
}

int pf_futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
    if (pf__load(word) != expected)
        return -EAGAIN;
    if (deadline != PF_FOREVER && deadline <= pf_now())
        return -ETIMEDOUT;
    int rc = pf__futex_wait(word, expected, deadline);
    return rc == -ENOSYS ? poll_word(word, expected, deadline) : rc;
}

int pf_futex_wake(_Atomic uint32_t *word, int n)
{
    int rc = pf__futex_wake(word, n);
    return rc == -ENOSYS ? n : rc; /* pollers wake themselves */
}

int pf_futex_add_wake(_Atomic uint32_t *word, unsigned shift, int n)
{
    return pf__futex_add_wake(word, shift, n);
}

int pf_futex_or_wake(_Atomic uint32_t *word, unsigned shift, int n)
{
    return pf__futex_or_wake(word, shift, n);
}
