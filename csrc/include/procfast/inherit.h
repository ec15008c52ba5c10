/* What a program started by the calling thread would inherit, as bytes to be compared. */
#ifndef PROCFAST_INHERIT_H
#define PROCFAST_INHERIT_H

#include <sys/types.h>

#include "base.h"

/* Writes it to buf and answers its length, which may be more than `size`: what did not fit is left out. Two calls
 * give the same bytes if nothing that a child inherits over fork and exec has changed between them, as far as the
 * kernel tells: environment, directories, ids, groups, capabilities, limits, scheduling, ignored signals, session,
 * terminal, namespaces, control group, security, and which files are behind descriptors 0, 1 and 2. Not in it: other
 * descriptors, and the signal mask. Of what each thread has of its own, the calling thread's.
 *
 * Values are the kernel's; nothing in them means anything to another process.
 * -ENOSYS: not on this platform, or the kernel does not tell enough; -EBADF: one of 0, 1, 2 would not be inherited.
 * Never blocks. Threads: the environment must not be changed meanwhile, as for exec itself. */
PF_API ssize_t pf_inherited(void *buf, size_t size);

#endif
