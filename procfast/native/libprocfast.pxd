# What the wrappers use of csrc/include (and of src/lock_fast.h), in the order of its headers. All of it may run without the GIL.

from libc.stddef cimport wchar_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t

cdef extern from "<stdbool.h>" nogil:
    ctypedef bint cbool "bool"

cdef extern from "procfast/error.h" nogil:
    enum: PF_EOWNERDEAD
    enum: PF_ECORRUPT
    enum: PF_ETOOBIG
    enum: PF_EVERSION
    enum: PF_ETORN
    enum: PF_EBROKEN
    const char *pf_strerror(int code)

cdef extern from "procfast/clock.h" nogil:
    const int64_t PF_FOREVER
    const int64_t PF_NOWAIT
    int64_t pf_now()
    int64_t pf_deadline(int64_t timeout_ns)

cdef extern from "procfast/self.h" nogil:
    cdef struct pf_thread:
        uint64_t epoch
        uint32_t tid
        bint robust
    uint64_t pf_epoch()
    pf_thread *pf_thread_self()
    uint64_t pf_pid_namespace()
    int pf_alone(int fd)

cdef extern from "procfast/shm.h" nogil:
    int pf_shm_map(int fd, uint64_t offset, size_t size, void **addr)
    int pf_shm_unmap(void *addr, size_t size)

cdef extern from "procfast/named_shm.h" nogil:
    cdef struct pf_shm_owner:
        uint64_t id
        uint64_t epoch
    int pf_shm_owner_refresh(pf_shm_owner *self, cbool check)
    void pf_shm_owner_forget(pf_shm_owner *self)
    uint64_t pf_shm_owner_of_pid(int pid)
    int pf_named_shm_create(const char *name, uint64_t size, uint64_t owner, cbool reserve)
    int pf_named_shm_open(const char *name, uint64_t *size)
    int pf_named_shm_unlink(const pf_shm_owner *self, const char *name, cbool open_here)
    int pf_named_shm_owner(const char *name, uint64_t *owner)
    int pf_named_shm_give(const char *name, uint64_t was, uint64_t to)
    int pf_named_shm_sweep(const pf_shm_owner *self, const char *name, uint64_t dead)

cdef extern from "procfast/bell.h" nogil:
    cdef struct pf_bell:
        int wait_fd
        int ring_fd
    int pf_bell_ring(pf_bell *b)
    int pf_bell_reset(pf_bell *b)

cdef extern from "procfast/ring.h" nogil:
    enum: PF_MAX_REFS
    enum: PF_INLINE_MAX
    const int64_t PF_TRY
    cdef struct pf_ring:
        pass
    cdef struct pf_iov:
        const void *base
        size_t len
    cdef struct pf_loan:
        uint32_t block
        void *base
        uint64_t len
    cdef struct pf_box:
        char *data
        uint64_t len
        pf_loan *loans
        uint32_t nloans
        uint64_t writer
        uint64_t reader
        char small[208]
    cdef struct pf_ring_stats:
        uint64_t put
        uint64_t got
        uint64_t done
        uint64_t ring_bytes
        uint64_t block_bytes
        uint64_t lent_bytes
        uint32_t producer
        uint32_t consumer
    int pf_ring_create(pf_ring **r, uint64_t maxsize, uint64_t max_bytes)
    int pf_ring_attach(pf_ring **r, int fd, pf_bell bell)
    void pf_ring_close(pf_ring *r)
    int pf_ring_fd(const pf_ring *r)
    pf_bell pf_ring_bell(const pf_ring *r)
    int pf_ring_put(pf_ring *r, const pf_iov *iov, unsigned n, const pf_loan *refs, unsigned nrefs,
                    int64_t deadline)
    int pf_ring_put_many(pf_ring *r, const char *data, const uint64_t *off, unsigned n, int64_t deadline)
    int pf_ring_get(pf_ring *r, pf_box *box, int64_t deadline)
    int pf_ring_get_many(pf_ring *r, pf_box *boxes, unsigned max, int64_t deadline, cbool *settle)
    void pf_box_clear(pf_box *box)
    int pf_ring_begin(pf_ring *r, uint64_t *turn)
    int pf_ring_put_first(pf_ring *r, uint64_t turn, const pf_iov *iov, unsigned n, const pf_loan *refs,
                          unsigned nrefs, int64_t deadline)
    int pf_ring_put_part(pf_ring *r, uint64_t turn, const pf_iov *iov, unsigned n, const pf_loan *refs,
                         unsigned nrefs, int64_t deadline)
    void pf_ring_end(pf_ring *r, uint64_t turn, cbool whole)
    int pf_ring_get_part(pf_ring *r, const pf_box *first, pf_box *box, int64_t deadline)
    void pf_ring_leave(pf_ring *r, uint64_t turn)
    int pf_ring_wait(pf_ring *r, int64_t deadline)
    int pf_ring_block(pf_ring *r, uint64_t len, pf_loan *loan)
    void pf_ring_return(pf_ring *r, const pf_loan *loan)
    int pf_ring_privatize(pf_ring *r, const pf_loan *loan)
    uint64_t pf_ring_size(pf_ring *r)
    uint64_t pf_ring_maxsize(const pf_ring *r)
    int pf_ring_arm(pf_ring *r)
    int pf_ring_settle(pf_ring *r)
    int pf_ring_done(pf_ring *r)
    int pf_ring_join(pf_ring *r, int64_t deadline)
    void pf_ring_stats_read "pf_ring_stats"(pf_ring *r, pf_ring_stats *s)

cdef extern from "procfast/pool.h" nogil:
    enum: PF_POOL_MOST
    enum: PF_POOL_JOBS
    enum: PF_POOL_FEW
    cdef struct pf_pool:
        pass
    cdef struct pf_pool_worker:
        uint64_t ticket
        int64_t since
        int64_t busy
        uint64_t done
        cbool ready
    int pf_pool_create(pf_pool **p, unsigned workers)
    int pf_pool_attach(pf_pool **p, int fd)
    void pf_pool_close(pf_pool *p)
    int pf_pool_fd(const pf_pool *p)
    void pf_pool_tasks(pf_pool *p, pf_ring *tasks)
    void pf_pool_reset(pf_pool *p, unsigned worker)
    int pf_pool_held(pf_pool *p, unsigned worker, int64_t deadline, uint64_t *ticket)
    cbool pf_pool_condemn(pf_pool *p, unsigned worker, uint64_t ticket)
    void pf_pool_call_off(pf_pool *p, uint32_t job, cbool off)
    cbool pf_pool_forestall(pf_pool *p, uint32_t job)
    cbool pf_pool_begun(pf_pool *p, uint32_t job)
    void pf_pool_look(pf_pool *p, unsigned worker, pf_pool_worker *w)
    void pf_pool_stop(pf_pool *p, unsigned how)
    uint32_t pf_pool_seen(pf_pool *p)
    int pf_pool_wait(pf_pool *p, pf_ring *results, uint64_t n, uint32_t seen, int64_t deadline)
    void pf_pool_kick(pf_pool *p)
    void pf_pool_call(pf_pool *p, pf_ring *results, uint64_t n)
    void pf_pool_ready(pf_pool *p, unsigned worker)
    int pf_pool_take(pf_pool *p, unsigned worker, pf_box *box, int64_t deadline)
    cbool pf_pool_begin(pf_pool *p, unsigned worker)
    cbool pf_pool_end(pf_pool *p, unsigned worker, int64_t *ns)
    int pf_pool_answer(pf_pool *p, pf_ring *results, const pf_iov *iov, unsigned n, const pf_loan *refs,
                       unsigned nrefs, int64_t deadline)
    void pf_pool_rest(pf_pool *p, unsigned worker)
    unsigned pf_pool_stopped(pf_pool *p)

cdef extern from "procfast/wire.h" nogil:
    int pf_wire_open(int *fds)

cdef extern from "procfast/link.h" nogil:
    cdef struct pf_link:
        pf_ring *ring[2]
        unsigned rings
        int fd
    int pf_link_create(pf_link *l, unsigned rings)
    int pf_link_attach(pf_link *l, unsigned rings, int fd)
    void pf_link_wire(pf_link *l, unsigned end, int fd)
    void pf_link_unwire(pf_link *l, unsigned end, int fd)
    int pf_link_expose(pf_link *l, unsigned end)
    cbool pf_link_renew(pf_link *l)
    cbool pf_link_intact(const pf_link *l)
    void pf_link_close(pf_link *l)

# --- locks (wrappers/arena.pxi, wrappers/synchronize.pxi)

cdef extern from "procfast/arena.h" nogil:
    enum: PF_ARENA_ID
    enum: PF_ARENA_MOST
    cdef struct pf_arena:
        pass
    cdef struct pf_arena_stats:
        uint64_t size
        uint64_t reserved
        uint64_t live
        uint64_t free
        uint64_t limbo
        uint64_t epoch
        uint64_t looks
    int pf_arena_create(pf_arena **a, size_t size)
    int pf_arena_attach(pf_arena **a, int fd)
    int pf_arena_adopt(pf_arena *a, int fd)
    int pf_arena_alloc(pf_arena *a, size_t size, void **addr)
    void pf_arena_free(pf_arena *a, void *addr, size_t size)
    cbool pf_arena_mine(const pf_arena *a)
    int pf_arena_fd(pf_arena *a)
    const uint8_t *pf_arena_id(const pf_arena *a)
    uint64_t pf_arena_offset(const pf_arena *a, const void *addr)
    int pf_arena_at(const pf_arena *a, uint64_t offset, size_t size, void **addr)
    void pf_arena_close(pf_arena *a)
    void pf_arena_stats_read "pf_arena_stats"(const pf_arena *a, pf_arena_stats *s)

cdef extern from "procfast/lock.h" nogil:
    enum: PF_LOCK_ROBUST
    enum: PF_LOCK_STAMP
    enum: PF_LOCK_BRIEF
    cdef struct pf_lock:
        pass
    cdef struct pf_owner:
        int pid
        uint32_t tid
        int64_t since
        cbool alive
    int pf_lock_acquire(pf_lock *l, pf_arena *a, int64_t deadline, unsigned flags, pf_owner *dead)
    int pf_lock_release(pf_lock *l)
    cbool pf_lock_locked(const pf_lock *l)
    cbool pf_lock_mine(const pf_lock *l, pf_arena *a)
    int pf_lock_owner(const pf_lock *l, pf_arena *a, pf_owner *o)
    int pf_rlock_acquire(pf_lock *l, pf_arena *a, int64_t deadline, unsigned flags, pf_owner *dead)
    int pf_rlock_release(pf_lock *l, pf_arena *a)
    uint32_t pf_rlock_count(const pf_lock *l, pf_arena *a)
    int pf_rlock_release_all(pf_lock *l, pf_arena *a)
    void pf_rlock_restore(pf_lock *l, int count)

cdef extern from "procfast/sem.h" nogil:
    enum: PF_SEM_MAX
    cdef struct pf_sem:
        pass
    void pf_sem_init(pf_sem *s, uint32_t value)
    int pf_sem_acquire(pf_sem *s, int64_t deadline)
    int pf_sem_release(pf_sem *s, uint32_t n, uint32_t max)
    uint32_t pf_sem_value(const pf_sem *s)

cdef extern from "lock_fast.h" nogil:
    cbool pf_lock_take(pf_lock *l, pf_arena *a)
    int pf_lock_drop(pf_lock *l)
    cbool pf_rlock_take(pf_lock *l, pf_arena *a)
    int pf_rlock_drop(pf_lock *l, pf_arena *a)
    int pf_rlock_enter(pf_lock *l, pf_arena *a)
    cbool pf_sem_take(pf_sem *s)
    int pf_sem_give(pf_sem *s, uint32_t max)

cdef extern from "procfast/event.h" nogil:
    cdef struct pf_event:
        pass
    cbool pf_event_is_set(const pf_event *e)
    void pf_event_set(pf_event *e)
    void pf_event_clear(pf_event *e)
    uint32_t pf_event_seen(const pf_event *e)
    int pf_event_wait(pf_event *e, uint32_t seen, int64_t deadline)

cdef extern from "procfast/cond.h" nogil:
    cdef struct pf_cond:
        pass
    int pf_cond_enter(pf_cond *c, pf_arena *a, uint32_t *record)
    int pf_cond_wait(pf_cond *c, pf_arena *a, uint32_t record, int64_t deadline)
    cbool pf_cond_leave(pf_cond *c, pf_arena *a, uint32_t record)
    int pf_cond_notify(pf_cond *c, pf_arena *a, int n)
    int pf_cond_waiters(const pf_cond *c, pf_arena *a)

cdef extern from "procfast/barrier.h" nogil:
    cdef struct pf_barrier:
        uint32_t parties
    void pf_barrier_init(pf_barrier *b, uint32_t parties)
    int pf_barrier_arrive(pf_barrier *b, pf_arena *a, int64_t deadline, uint32_t *record)
    int pf_barrier_pass(pf_barrier *b, pf_arena *a, uint32_t record)
    int pf_barrier_wait(pf_barrier *b, pf_arena *a, uint32_t record, int64_t deadline)
    void pf_barrier_leave(pf_barrier *b, pf_arena *a, uint32_t record)
    void pf_barrier_abort(pf_barrier *b)
    int pf_barrier_reset(pf_barrier *b, pf_arena *a)
    cbool pf_barrier_broken(const pf_barrier *b)
    uint32_t pf_barrier_waiting(const pf_barrier *b)

# --- values (wrappers/sharedctypes.pxi)

cdef union datum:
    char c
    wchar_t u
    signed char b
    unsigned char B
    short h
    unsigned short H
    int i
    unsigned int I
    long l
    unsigned long L
    long long q
    unsigned long long Q
    float f
    double d

cdef extern from "datum.h" nogil:
    cdef struct pf_guard:
        pf_lock lock
    void pf_datum_load(const void *at, datum *to, unsigned size)
    void pf_datum_store(void *at, const datum *source, unsigned size)
    void pf_datum_exchange(void *at, const datum *new, datum *was, unsigned size)
    cbool pf_datum_replace(void *at, datum *seen, const datum *new, unsigned size)
    void pf_guard_change(pf_guard *g)
    void pf_guard_expose(pf_guard *g)
    cbool pf_guard_read(pf_guard *g, pf_arena *a, const void *at, datum *to, unsigned size)

# --- processes (wrappers/process.pxi, wrappers/features.pxi)

cdef extern from "procfast/child.h" nogil:
    cdef struct pf_child:
        int pid
        int fd
        bint exact
    int pf_child_open(pf_child *c, int pid)
    void pf_child_close(pf_child *c)
    int pf_child_wait(const pf_child *c, int64_t deadline)
    int pf_child_reap(const pf_child *c, int *exitcode)
    int pf_child_signal(const pf_child *c, int signum)
    int pf_parent_open()
    int pf_end_with(int fd)

cdef extern from "procfast/inherit.h" nogil:
    Py_ssize_t pf_inherited(void *buf, size_t size)

cdef extern from "procfast/futex.h" nogil:
    int pf_futex_add_wake(void *word, unsigned shift, int n)

# --- the raw POSIX layer (wrappers/posix.pxi)

cdef extern from "procfast/family.h" nogil:
    cdef struct pf_child_event:
        int pid
        uint32_t uid
        int signo, status, code
    int pf_waitpid(int pid, int options, int *status)
    int pf_waitid(int idtype, unsigned id, int options, pf_child_event *event)
    int pf_pidfd_open(int pid)
    int pf_pidfd_signal(int fd, int signum)
    int pf_pidfd_wait(int fd, int64_t deadline)
    int pf_pidfd_status(int fd, int *status)
    int pf_parent_death_signal(int signum)
    int pf_subreaper(bint on)

cdef extern from "procfast/pipe.h" nogil:
    int pf_pipe_open(int *fds)
    int pf_read_all(int fd, void *data, size_t size, size_t *done, int64_t deadline)
    int pf_write_all(int fd, const void *data, size_t size, size_t *done, int64_t deadline)

cdef extern from "procfast/named_sem.h" nogil:
    ctypedef enum pf_open "enum pf_open":
        PF_OPEN
    cdef struct pf_named_sem:
        pass
    int pf_named_sem_open(pf_named_sem *s, const char *name, pf_open how, unsigned mode, unsigned value)
    void pf_named_sem_close(pf_named_sem *s)
    int pf_named_sem_unlink(const char *name)
    int64_t pf_named_sem_owner(const char *name)
    int pf_named_sem_wait(pf_named_sem *s, int64_t deadline)
    int pf_named_sem_post(pf_named_sem *s)
    int pf_named_sem_value(pf_named_sem *s)

cdef extern from "procfast/mqueue.h" nogil:
    cdef struct pf_mqueue:
        int fd
        long max_messages
        long max_size
    int pf_mqueue_open(pf_mqueue *q, const char *name, pf_open how, cbool read, cbool write, unsigned mode,
                       long max_messages, long max_size)
    void pf_mqueue_close(pf_mqueue *q)
    int pf_mqueue_unlink(const char *name)
    int64_t pf_mqueue_owner(const pf_mqueue *q)
    int pf_mqueue_send(const pf_mqueue *q, const void *data, size_t size, unsigned priority, int64_t deadline)
    ssize_t pf_mqueue_receive(const pf_mqueue *q, void *data, size_t size, unsigned *priority, int64_t deadline)
    long pf_mqueue_count(const pf_mqueue *q)
