/* macOS: os_sync_wait_on_address (14.4 on), before that the __ulock calls it is made of, which libc++
 * uses too. Both find the word by its page when told that it is shared. Neither adds and wakes in one
 * call, so a waker that dies in between costs a sleeper its slice of one second. */
#include "../../os.h"

#ifdef PF__OS_DARWIN

#include "procfast/clock.h"

/* Declared here, weak: the headers are missing from older SDKs, the functions from older systems. */
#define PF__WEAK __attribute__((weak_import))
extern int os_sync_wait_on_address_with_timeout(void *addr, uint64_t value, size_t size, uint32_t flags,
                                                uint32_t clock, uint64_t timeout_ns) PF__WEAK;
extern int os_sync_wait_on_address(void *addr, uint64_t value, size_t size, uint32_t flags) PF__WEAK;
extern int os_sync_wake_by_address_any(void *addr, size_t size, uint32_t flags) PF__WEAK;
extern int os_sync_wake_by_address_all(void *addr, size_t size, uint32_t flags) PF__WEAK;
extern int __ulock_wait(uint32_t operation, void *addr, uint64_t value, uint32_t timeout_us) PF__WEAK;
extern int __ulock_wake(uint32_t operation, void *addr, uint64_t value) PF__WEAK;

#define PF__SYNC_SHARED 1        /* OS_SYNC_WAIT_ON_ADDRESS_SHARED, OS_SYNC_WAKE_BY_ADDRESS_SHARED */
#define PF__SYNC_CLOCK 32        /* OS_CLOCK_MACH_ABSOLUTE_TIME */
#define PF__ULOCK_SHARED 3       /* UL_COMPARE_AND_WAIT_SHARED */
#define PF__ULOCK_ALL 0x100      /* ULF_WAKE_ALL */
#define PF__WAKE_ONE_BY_ONE 16   /* more than these are woken all at once: spurious wakes are allowed */

int pf__futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline)
{
    if (atomic_load_explicit(word, memory_order_acquire) != expected)
        return -EAGAIN;
    int64_t left = 0;
    if (deadline != PF_FOREVER && (left = deadline - pf_now()) <= 0)
        return -ETIMEDOUT;

    int rc;
    if (os_sync_wait_on_address != NULL && os_sync_wait_on_address_with_timeout != NULL) {
        if (deadline == PF_FOREVER)
            rc = os_sync_wait_on_address((void *)word, expected, 4, PF__SYNC_SHARED);
        else
            rc = os_sync_wait_on_address_with_timeout((void *)word, expected, 4, PF__SYNC_SHARED,
                                                      PF__SYNC_CLOCK, (uint64_t)left);
    } else if (__ulock_wait != NULL) {
        /* 0 would be for ever; what does not fit times out early, as a spurious wake */
        int64_t us = (left + 999) / 1000;
        bool cut = us > UINT32_MAX;
        rc = __ulock_wait(PF__ULOCK_SHARED, (void *)word, expected, cut ? UINT32_MAX : (uint32_t)us);
        if (rc < 0 && errno == ETIMEDOUT && cut)
            rc = 0;
    } else {
        return -ENOSYS;
    }
    if (rc >= 0)
        return 0;
    if (errno == EFAULT)
        return 0; /* the page was being paged in: look again */
    return -errno;
}

static int pf__wake(_Atomic uint32_t *word, bool all)
{
    if (os_sync_wake_by_address_any != NULL && os_sync_wake_by_address_all != NULL)
        return all ? os_sync_wake_by_address_all((void *)word, 4, PF__SYNC_SHARED)
                   : os_sync_wake_by_address_any((void *)word, 4, PF__SYNC_SHARED);
    return __ulock_wake(PF__ULOCK_SHARED | (all ? PF__ULOCK_ALL : 0), (void *)word, 0);
}

int pf__futex_wake(_Atomic uint32_t *word, int n)
{
    if (os_sync_wake_by_address_any == NULL && __ulock_wake == NULL)
        return -ENOSYS;
    bool all = n > PF__WAKE_ONE_BY_ONE;
    for (int woken = 0; woken < n; woken++) {
        int rc;
        do
            rc = pf__wake(word, all);
        while (rc < 0 && errno == EINTR);
        if (rc < 0)
            return errno == ENOENT ? woken : -errno;
        if (all)
            return n;
    }
    return n;
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
