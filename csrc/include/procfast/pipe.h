/* Raw pipes, and whole reads and writes on any descriptor with a deadline.
 *
 * The descriptor's flags are never changed: others may share it. What keeps a call on a blocking descriptor from
 * staying longer than its deadline: send and recv can be told not to block (sockets), so can preadv2 and pwritev2
 * (pipes, Linux 6.4); an older Linux opens the pipe once more, non-blocking, for the time of the call. Elsewhere it is
 * poll(2) and then at most PIPE_BUF bytes, which block only if another that uses the same end comes in between.
 *
 * Fork: descriptors are as the kernel has them, nothing else is kept. Owner death: the kernel tells. */
#ifndef PROCFAST_PIPE_H
#define PROCFAST_PIPE_H

#include "base.h"

/* pipe(2), both ends close-on-exec: fds[0] to read, fds[1] to write. 0, -EMFILE, -ENFILE, ... */
PF_API int pf_pipe_open(int fds[2]);

/* Reads until *done (which the caller sets to 0 first) is size. 0; -EPIPE: end of file before that; -ETIMEDOUT;
 * -EINTR: call again with the same *done; -EBADF, -EISDIR, -ECONNRESET, ... In each case *done bytes were read. */
PF_API int pf_read_all(int fd, void *data, size_t size, size_t *done, int64_t deadline);

/* Writes until *done is size; as above, and -EPIPE: nobody can read it any more (SIGPIPE comes first, where it is not
 * ignored and fd is no socket). At most PIPE_BUF bytes into a pipe come out in one piece among those of others. */
PF_API int pf_write_all(int fd, const void *data, size_t size, size_t *done, int64_t deadline);

#endif
