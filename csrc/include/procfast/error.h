/* Codes beyond errno. They lie above every errno value, so one int carries both. */
#ifndef PROCFAST_ERROR_H
#define PROCFAST_ERROR_H

#include "base.h"

#define PF_EOWNERDEAD 4001 /* the lock is held by the caller now; its last owner died inside */
#define PF_ECORRUPT 4002   /* a length or an offset read from shared memory is impossible */
#define PF_ETOOBIG 4003    /* the queue's own ceiling (max_bytes) would be passed */
#define PF_EVERSION 4004   /* the segment was laid out by another version */
#define PF_ETORN 4005      /* the writer of a message of several parts died in the middle of it, or gave up */
#define PF_EBROKEN 4006   /* the barrier is broken */

/* The text for a positive errno or PF_E* code. Never NULL. */
PF_API const char *pf_strerror(int code);

#endif
