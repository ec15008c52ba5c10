/* Waiting for a moment without sleeping, where that has been paying. */
#ifndef PF_SPIN_H
#define PF_SPIN_H

#include "atomic.h"
#include "procfast/base.h"

/* Spins until ((*word & mask) == value) is `equal`, for at most `most` ns and less where it has not been paying; did
 * it come to that? `hint` lies beside the word, and belongs to all who wait there. */
bool pf__spin(_Atomic uint32_t *hint, int64_t most, _Atomic uint32_t *word, uint32_t mask, uint32_t value, bool equal,
              int64_t deadline);

/* The futex of a word whose lower half it is. */
static inline _Atomic uint32_t *pf__low(_Atomic uint64_t *word)
{
    return (_Atomic uint32_t *)(void *)word + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

#endif
