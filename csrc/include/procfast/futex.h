/* Wait and wake on a 32-bit word of memory shared between processes.
 *
 * Blocking: until woken, the word differs, the deadline passes or a signal handler ran.
 * Fork: the word is found by its page, not its address; every process may map it elsewhere.
 * Owner death: none here; a sleeper that is killed leaves nothing behind. */
#ifndef PROCFAST_FUTEX_H
#define PROCFAST_FUTEX_H

#include "base.h"

/* 0 woken (maybe spuriously), -EAGAIN the word is not `expected`, -ETIMEDOUT, -EINTR. */
PF_API int pf_futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline);

/* Wakes at most n sleepers. How many were woken; the portable provider cannot tell and says n. */
PF_API int pf_futex_wake(_Atomic uint32_t *word, int n);

/* Adds 1 << shift to the word and wakes at most n of its sleepers, in one kernel call, so that a kill
 * can't come between (FUTEX_WAKE_OP, futex(2)). -ENOSYS where the platform has none. */
PF_API int pf_futex_add_wake(_Atomic uint32_t *word, unsigned shift, int n);

/* The same, setting that bit. */
PF_API int pf_futex_or_wake(_Atomic uint32_t *word, unsigned shift, int n);

#endif
