/* Named crash points. In normal builds nothing; with -DPF_CRASH_POINTS each step of each protocol calls
 * pf__point(), which the test driver provides: it kills or stops the process there (csrc/tests). All
 * names lie in one linker section, so the driver knows the points that no test reached. */
#ifndef PROCFAST_SRC_POINT_H
#define PROCFAST_SRC_POINT_H

#ifdef PF_CRASH_POINTS
void pf__point(const char *name);
#define PF_POINT(name)                                                                              \
    do {                                                                                            \
        static const char *const pf__name __attribute__((section("pf_points"), used)) = name;       \
        pf__point(pf__name);                                                                        \
    } while (0)
#else
#define PF_POINT(name) ((void)0)
#endif

#endif
