/* Plain POSIX has no futex: src/futex.c polls. */
#include "../../os.h"

#ifdef PF__OS_POSIX

int pf__futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
    (void)word, (void)expected, (void)deadline;
    return -ENOSYS;
}

int pf__futex_wake(_Atomic uint32_t *word, int n)
{
    (void)word, (void)n;
    return -ENOSYS;
}

int pf__futex_add_wake(_Atomic uint32_t *word, unsigned shift, int n)
{
    (void)word, (void)shift, (void)n;
    return -ENOSYS;
}

int pf__futex_or_wake(_Atomic uint32_t *word, unsigned shift, int n)
{
    (void)word, (void)shift, (void)n;
    return -ENOSYS;
}

#endif
