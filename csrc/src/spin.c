#include "spin.h"

#include "procfast/clock.h"

/* The hint, so that zeroed memory is a good one: by how much less than `most` to spin, and above it how often nobody
 * spun at all. Racing threads may lose each other's changes: it is a guess. */
#define LESS UINT32_C(0x00ffffff)
#define SKIP UINT32_C(0x01000000)
#define LEAST INT64_C(300) /* ns: less is not worth the clock */

bool pf__spin(_Atomic uint32_t *hint, int64_t most, _Atomic uint32_t *word, uint32_t mask, uint32_t value, bool equal,
              int64_t deadline)
{
    uint32_t seen = pf__peek(hint);
    int64_t less = seen & LESS, budget = less < most ? most - less : 0;
    if (budget < LEAST) { /* has not been paying: try again now and then */
        pf__put(hint, seen + SKIP);
        if ((seen + SKIP) / SKIP % 16)
            return false;
        budget = most / 2;
    }
    int64_t end = pf_now() + budget;
    if (end > deadline)
        end = deadline;
    do {
        for (int i = 0; i < 16; i++) {
            if (((pf__load(word) & mask) == value) == equal) {
                pf__put(hint, (uint32_t)((most - budget) * 3 / 4));
                return true;
            }
            pf__relax();
        }
    } while (pf_now() < end);
    pf__put(hint, (uint32_t)(most - budget / 2));
    return false;
}
