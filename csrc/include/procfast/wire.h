/* A wire: a pair of connected sockets that tells each side what only the kernel knows of the other: whether it
 * is still there, however it went, and, by single bytes that are rung, that there is something to see.
 *
 * socketpair(2), AF_UNIX, SOCK_STREAM, close-on-exec, blocking: users may pass descriptors over it themselves
 * (SCM_RIGHTS, unix(7)). Nothing here blocks but pf_wire_wait. */
#ifndef PROCFAST_WIRE_H
#define PROCFAST_WIRE_H

#include "base.h"

#define PF_RING 0xb7 /* the byte */

PF_API int pf_wire_open(int fds[2]);

/* Makes the other side's descriptor readable: 0; 1 it is so because the socket is full, with no room for a ring.
 * -EPIPE: every copy of it is closed. */
PF_API int pf_wire_ring(int fd);

/* Takes all rings back. With `careful` only those before the first other byte, which is the user's. */
PF_API int pf_wire_reset(int fd, bool careful);

/* Takes back the rings before a byte of the user's, if there is one: readable it stays. 1 it did, 0. */
PF_API int pf_wire_strip(int fd);

/* 0: the other side is there; -EPIPE: every copy of it is closed or dead; -EBADF. */
PF_API int pf_wire_look(int fd);

/* Waits until something can be read (with `readable`) or the other side is gone: 1 readable, -EPIPE gone (there
 * may be something to read), -ETIMEDOUT, -EINTR, -EBADF. */
PF_API int pf_wire_wait(int fd, bool readable, int64_t deadline);

#endif
