/* What C11 atomics lack. */
#ifndef PROCFAST_SRC_ATOMIC_H
#define PROCFAST_SRC_ATOMIC_H

#include <stdatomic.h>

#define pf__load(p) atomic_load_explicit((p), memory_order_acquire)
#define pf__peek(p) atomic_load_explicit((p), memory_order_relaxed)
#define pf__store(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define pf__put(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)

static inline void pf__relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ volatile("yield" ::: "memory");
#endif
}

#endif
