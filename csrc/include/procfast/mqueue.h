/* POSIX message queues: mq_open(3), with deadlines on the monotonic clock. Linux only: elsewhere -ENOSYS.
 *
 * The kernel keeps the messages, the most urgent first, and whole: a process killed in a call has sent or received its
 * message or has not. A name lasts until it is unlinked, or the system restarts. The descriptor may be selected
 * on, and is close-on-exec. Fork: it stays open in the child. */
#ifndef PROCFAST_MQUEUE_H
#define PROCFAST_MQUEUE_H

#include <sys/types.h>

#include "named_sem.h"

struct pf_mqueue {
    int fd;
    long max_messages;
    long max_size;
};

/* As pf_named_sem_open; read, write: what for. The sizes are of a new one; those it has are in *q. -EINVAL: sizes beyond the
 * system's limits; -EMFILE, -ENFILE: descriptors, or the bytes of all queues (RLIMIT_MSGQUEUE); -ENOSPC: too many. */
PF_API int pf_mqueue_open(struct pf_mqueue *q, const char *name, enum pf_open how, bool read, bool write,
                          unsigned mode, long max_messages, long max_size);

PF_API void pf_mqueue_close(struct pf_mqueue *q);
PF_API int pf_mqueue_unlink(const char *name);

/* The user id that it belongs to. */
PF_API int64_t pf_mqueue_owner(const struct pf_mqueue *q);

/* 0, -ETIMEDOUT, -EINTR (a signal, or a second went by), -EMSGSIZE, -EBADF (not opened to write), -EINVAL (priority). */
PF_API int pf_mqueue_send(const struct pf_mqueue *q, const void *data, size_t size, unsigned priority,
                          int64_t deadline);

/* Its size; as above. `size` is at least max_size. */
PF_API ssize_t pf_mqueue_receive(const struct pf_mqueue *q, void *data, size_t size, unsigned *priority,
                                 int64_t deadline);

/* Messages in it at this moment. */
PF_API long pf_mqueue_count(const struct pf_mqueue *q);

#endif
