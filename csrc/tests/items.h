/* Messages that prove themselves: who sent them, their number, and a pattern that depends on both.
 * Long ones travel in a block, as they should, unless it is refused. */
#ifndef PROCFAST_TESTS_ITEMS_H
#define PROCFAST_TESTS_ITEMS_H

#include "check.h"

struct item {
    uint32_t who, seq;
    uint64_t len; /* of the pattern, which follows or lies in the block */
};

static inline uint64_t item_word(const struct item *it, uint64_t i)
{
    return ((uint64_t)it->who << 40 ^ (uint64_t)it->seq << 8 ^ i) * UINT64_C(0x9e3779b97f4a7c15);
}

static inline void item_fill(char *to, const struct item *it)
{
    uint64_t i = 0, w;
    for (; i + 8 <= it->len; i += 8) {
        w = item_word(it, i);
        memcpy(to + i, &w, 8);
    }
    w = item_word(it, i);
    memcpy(to + i, &w, it->len - i);
}

static inline bool item_ok(const char *at, const struct item *it)
{
    uint64_t i = 0, w;
    for (; i + 8 <= it->len; i += 8) {
        w = item_word(it, i);
        if (memcmp(at + i, &w, 8) != 0)
            return false;
    }
    w = item_word(it, i);
    return memcmp(at + i, &w, it->len - i) == 0;
}

/* After -EINTR the same again: it need not mean a signal. */
static inline int put_again(struct pf_ring *r, const struct pf_iov *iov, unsigned n, const struct pf_loan *refs,
                            unsigned nrefs, int64_t deadline)
{
    int rc;
    do
        rc = pf_ring_put(r, iov, n, refs, nrefs, deadline);
    while (rc == -EINTR);
    return rc;
}

static inline int join_again(struct pf_ring *r, int64_t deadline)
{
    int rc;
    do
        rc = pf_ring_join(r, deadline);
    while (rc == -EINTR);
    return rc;
}

static inline int item_put(struct pf_ring *r, uint32_t who, uint32_t seq, uint64_t len, int64_t deadline)
{
    struct item it = {who, seq, len};
    struct pf_iov iov[2] = {{&it, sizeof it}, {NULL, 0}};
    if (len > PF_INLINE_MAX) {
        struct pf_loan loan;
        if (pf_ring_block(r, len, &loan) == 0) {
            item_fill(loan.base, &it);
            int rc = put_again(r, iov, 1, &loan, 1, deadline);
            if (rc < 0)
                pf_ring_return(r, &loan);
            return rc;
        }
    }
    char small[1024], *bytes = len <= sizeof small ? small : malloc(len);
    CHECK(bytes);
    item_fill(bytes, &it);
    iov[1] = (struct pf_iov){bytes, len};
    int rc = put_again(r, iov, 2, NULL, 0, deadline);
    if (bytes != small)
        free(bytes);
    return rc;
}

/* Checks a received message and gives back what it holds. */
static inline struct item item_open(struct pf_ring *r, struct pf_box *box)
{
    struct item it;
    CHECK(box->len >= sizeof it);
    memcpy(&it, box->data, sizeof it);
    if (box->nloans) {
        CHECK_EQ(box->nloans, 1);
        CHECK_EQ(box->len, sizeof it);
        CHECK_EQ(box->loans[0].len, it.len);
        CHECK(item_ok(box->loans[0].base, &it));
        pf_ring_return(r, &box->loans[0]);
    } else {
        CHECK_EQ(box->len, sizeof it + it.len);
        CHECK(item_ok(box->data + sizeof it, &it));
    }
    pf_box_clear(box);
    return it;
}

/* 0 or the error; a bell that may be quieted is. */
static inline int item_get(struct pf_ring *r, struct item *it, int64_t deadline)
{
    struct pf_box box = {0};
    int rc;
    do
        rc = pf_ring_get(r, &box, deadline);
    while (rc == -EINTR);
    if (rc < 0)
        return rc;
    *it = item_open(r, &box);
    if (rc == 1)
        pf_ring_settle(r);
    return 0;
}

#endif
