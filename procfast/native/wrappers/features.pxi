# What this kernel and C library offer, for procfast.info().


def kernel_features():
    """{name: whether the mechanism of csrc that it names works in this process}."""
    cdef uint32_t word[2]
    word[0] = word[1] = 0
    return {
        "robust list": pf_thread_self().robust,
        "futex wake_op": pf_futex_add_wake(<void *>word, 0, 1) != -ENOSYS,
    }
