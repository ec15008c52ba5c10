/* Conventions shared by every header of libprocfast.
 *
 * Results: 0 or a non-negative count on success, a negated errno (or a PF_E* code of error.h) on failure.
 * Deadlines: absolute nanoseconds of CLOCK_MONOTONIC (clock.h). Blocking calls never restart after a
 * signal: they return -EINTR, and the caller may call again with the same deadline (PEP 475).
 * Nothing here allocates on a hot path, prints, or keeps mutable globals (self.h has the one exception). */
#ifndef PROCFAST_BASE_H
#define PROCFAST_BASE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define PF_API __attribute__((visibility("hidden")))
#else
#define PF_API
#endif

#define PF_CACHE_LINE 64

#endif
