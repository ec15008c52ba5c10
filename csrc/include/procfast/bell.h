/* The doorbell: a descriptor that others can select on, shared by all processes of a segment.
 *
 * eventfd(2) on Linux (one descriptor), a non-blocking pipe elsewhere (two). Ringing an already rung
 * bell and resetting a quiet one are harmless; neither blocks. */
#ifndef PROCFAST_BELL_H
#define PROCFAST_BELL_H

#include "base.h"

struct pf_bell {
    int wait_fd; /* readable while rung */
    int ring_fd; /* the same descriptor on Linux */
};

PF_API int pf_bell_open(struct pf_bell *b);
PF_API int pf_bell_ring(struct pf_bell *b);
PF_API int pf_bell_reset(struct pf_bell *b);
PF_API void pf_bell_close(struct pf_bell *b);

#endif
