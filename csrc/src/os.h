/* The seam: what a port provides. Each function has one definition per directory of os/, and may
 * answer -ENOSYS; the portable file beside it then owns the fallback. Exactly one provider is compiled in. */
#ifndef PROCFAST_SRC_OS_H
#define PROCFAST_SRC_OS_H

#include <sys/types.h>

#include "procfast/bell.h"
#include "procfast/named_shm.h"
#include "procfast/peer.h"
#include "procfast/self.h"

#if defined(PF_OS_POSIX)
#define PF__OS_POSIX 1
#elif defined(__linux__)
#define PF__OS_LINUX 1
#elif defined(__APPLE__)
#define PF__OS_DARWIN 1
#else
#define PF__OS_POSIX 1
#endif

/* futex.c */
int pf__futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline);
int pf__futex_wake(_Atomic uint32_t *word, int n);
int pf__futex_add_wake(_Atomic uint32_t *word, unsigned shift, int n);
int pf__futex_or_wake(_Atomic uint32_t *word, unsigned shift, int n);

/* self.c */
uint32_t pf__tid(void);
bool pf__tid_alive(uint32_t tid); /* asked only where there are robust lists */
int pf__robust_list(struct pf_thread *t); /* fills robust, pending, futex_offset */
uint64_t pf__pid_namespace(void);
int pf__wipe_on_fork(void *page, size_t size);
int pf__cpu(void); /* the CPU this thread runs on; -ENOSYS */

/* peer.c: a new tenancy of the slot, or -EBUSY: it belongs to a live process. From one instant to the next the
 * old tenancy is over and the new one goes on: a process that is stopped in between is in nobody's way. */
int pf__token_take(struct pf_peer *p, uint32_t slot, void **token);
int pf__token_alive(struct pf_peer *p, uint32_t tenancy);
void pf__token_drop(struct pf_peer *p, uint32_t tenancy, void *token);
uint32_t pf__token_pid(uint64_t ident); /* that the slot's ident names */

/* arena.c: puts a new description of the peer's file behind its descriptor, which keeps the epoch held as long as
 * anybody refers to it, and a page of it at *hold; is one of [from, to] held, but by the peer's own? 1: *held is. */
int pf__epoch_begin(struct pf_peer *p, uint32_t epoch, void **hold);
int pf__epoch_held(struct pf_peer *p, uint32_t from, uint32_t to, uint32_t *held);

/* shm.c */
int pf__shm_create(uint64_t size);
int pf__shm_reserve(int fd, uint64_t offset, uint64_t size);
int pf__shm_punch(int fd, uint64_t offset, uint64_t size);
int pf__shm_remap(void **addr, size_t old_size, size_t new_size);
uint64_t pf__memory_free(void); /* bytes that the machine and the cgroup leave; 0 unknown */

/* named_shm.c: names come checked, without slashes */
int pf__owner_refresh(struct pf_shm_owner *self, bool check);
void pf__owner_forget(struct pf_shm_owner *self); /* closes what it inherited, if it is there still */
uint64_t pf__owner_of_pid(int pid);
int pf__named_file(void);                      /* a descriptor of a file that has no name yet */
int pf__named_link(int fd, const char *name);
int pf__named_room(int fd, uint64_t size);     /* -ENOSPC: there is less */
int pf__named_record(int fd, const char *name, uint64_t owner); /* 0 takes the record off */
int pf__named_open(const char *name);
int pf__named_owner(const char *name, uint64_t *owner);
int pf__named_fend(const struct pf_shm_owner *self, const char *name); /* no sweep is about to remove the name */
int pf__named_give(const char *name, uint64_t from, uint64_t to);
int pf__named_sweep(const struct pf_shm_owner *self, const char *name, uint64_t dead);

/* bell.c */
int pf__bell_open(struct pf_bell *b);
int pf__bell_ring(struct pf_bell *b);
int pf__bell_reset(struct pf_bell *b);

/* child.c */
int pf__child_open(int pid);                          /* a descriptor readable at exit (pidfd, kqueue) */
int pf__child_signal(int fd, int pid, int signum);
int pf__child_reap(int fd, int *status);              /* a wait status; -EAGAIN, -ECHILD */
int pf__parent_open(void);                            /* one of the caller that its children inherit */
int pf__kill_at_hangup(int fd);                       /* the caller; fd has a description of its own */

/* family.c: processes by descriptor; what follows the end of a parent */
int pf__pidfd_open(int pid);
int pf__pidfd_signal(int fd, int signum);
int pf__pidfd_status(int fd, int *status);            /* of one that was reaped; -EAGAIN: not yet; -ENOSYS */
int pf__parent_death_signal(int signum);
int pf__subreaper(bool on);

/* inherit.c */
ssize_t pf__inherited(char *buf, size_t size);

/* pipe.c */
int pf__pipe_open(int fds[2]);                        /* close-on-exec from the first moment */
ssize_t pf__pipe_now(int fd, bool out, void *data, size_t size); /* read or write what does not block; -EAGAIN */
int pf__pipe_again(int fd, bool out);                 /* the same pipe, non-blocking, on a description of its own */

/* named_sem.c: named semaphores; sem is a sem_t */
int64_t pf__sem_owner(const char *name);              /* a user id */
int pf__sem_mode(const char *name, unsigned mode);
int pf__sem_wait(void *sem, int64_t deadline);        /* 0, -ETIMEDOUT, -EINTR */
int pf__sem_value(void *sem);

/* mqueue.c: a descriptor; nothing blocks: -EAGAIN */
int pf__mqueue_open(const char *name, bool create, bool read, bool write, unsigned mode, long most, long size);
int pf__mqueue_unlink(const char *name);
int pf__mqueue_attributes(int fd, long *most, long *size, long *count);
int pf__mqueue_send(int fd, const void *data, size_t size, unsigned priority);
ssize_t pf__mqueue_receive(int fd, void *data, size_t size, unsigned *priority);

#endif
