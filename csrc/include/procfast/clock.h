/* Monotonic time and absolute deadlines. */
#ifndef PROCFAST_CLOCK_H
#define PROCFAST_CLOCK_H

#include "base.h"

#define PF_FOREVER INT64_MAX
#define PF_NOWAIT ((int64_t)0) /* a deadline that has always passed */
#define PF_TRY ((int64_t)-1)   /* ... and what is not to be had at once is -EAGAIN: no sleep, not even for a lock */
#define PF_SECOND ((int64_t)1000000000)

/* Nanoseconds of CLOCK_MONOTONIC (clock_gettime(2)); comparable between processes of one host. */
PF_API int64_t pf_now(void);

/* The same clock, some milliseconds behind, at a fraction of the cost where there is such a thing. */
PF_API int64_t pf_now_coarse(void);

/* now + timeout, saturating at PF_FOREVER; a timeout <= 0 gives PF_NOWAIT. */
PF_API int64_t pf_deadline(int64_t timeout_ns);

/* The earlier of the deadline and now + slice. */
PF_API int64_t pf_slice(int64_t deadline, int64_t slice_ns);

#endif
