# SharedLock, SharedRLock, SharedSemaphore, SharedCondition, SharedEvent, SharedBarrier: what locks do, on blocks.

from libc.limits cimport INT_MAX
from posix.unistd cimport getpid
from threading import BrokenBarrierError as _BrokenBarrierError


cdef int64_t lock_deadline(object block, object timeout) except? -2:
    """As the standard library's: a timeout is looked at even where there is no waiting."""
    cdef int64_t deadline = PF_FOREVER if timeout is None else deadline_of(True, timeout)
    return deadline if block else PF_TRY


cdef tuple owner_of(pf_owner *o):
    return o.pid, o.tid, o.since * 1e-9 if o.since else None, o.alive


cdef object owner_died(OwnedLock lock, pf_owner *dead):
    from procfast.exceptions import OwnerDied
    return OwnerDied(f"process {dead.pid or '(forgotten)'} died while it held this {type(lock).__name__}; what the lock "
                     "guards may be half changed", dead.pid)


cdef class LockBase(Block):
    """What the locks have in common: creation, and the face of a _multiprocessing.SemLock."""

    cdef readonly object _ctx  # whose start method says to which children it may go

    SEM_VALUE_MAX = PF_SEM_MAX
    kind = 1  # SEMAPHORE
    name = None  # nothing here has a name

    @property
    def _semlock(self):
        return self

    @property
    def handle(self):
        return <uintptr_t>self.addr

    def _after_fork(self):
        """Nothing is to be done."""

    cdef bint enter(self, int64_t deadline) except -1:
        raise NotImplementedError

    cdef int leave(self) except -1:
        raise NotImplementedError

    def acquire(self, block=True, timeout=None):
        """Take it: True. False where it was not to be had at once (block=False), or within `timeout` seconds.

        Other threads run meanwhile. A signal handler that raises ends the wait with its exception.
        """
        return self.enter(PF_FOREVER if block is True and timeout is None else lock_deadline(block, timeout))

    def __enter__(self):
        return self.enter(PF_FOREVER)

    def release(self):
        """Give it back."""
        self.leave()

    def __exit__(self, exc_type=None, exc_value=None, traceback=None):
        self.leave()


cdef class OwnedLock(LockBase):
    """A lock that knows its owner (csrc/include/procfast/lock.h)."""

    maxvalue = 1

    cdef inline pf_lock *lock(self) noexcept nogil:
        return <pf_lock *>self.addr

    cdef int attempt(self, int64_t deadline, pf_owner *dead) noexcept nogil:
        return -EINVAL

    cdef bint mine(self) noexcept:
        return False

    cdef int take(self, int64_t deadline, pf_owner *dead) except? -1:
        """0, -EAGAIN, -ETIMEDOUT, -PF_EOWNERDEAD (held too); Python's signal handlers run meanwhile."""
        cdef int rc = self.attempt(PF_TRY, dead)
        while (rc == -EAGAIN and deadline != PF_TRY) or rc == -EINTR:
            with nogil:
                rc = self.attempt(deadline, dead)
            if rc == -EINTR:
                PyErr_CheckSignals()
        return rc

    cdef bint enter(self, int64_t deadline) except -1:
        cdef pf_owner dead
        cdef int rc = self.take(deadline, &dead)
        if rc == 0:
            return True
        if rc == -PF_EOWNERDEAD:
            self.leave()
            raise owner_died(self, &dead)
        if rc == -EAGAIN or rc == -ETIMEDOUT:
            return False
        check(rc)

    def _recover(self, block, timeout):
        """True, False, or the dead owner's (pid, thread, since, alive); held but for False."""
        cdef pf_owner dead
        cdef int rc = self.take(lock_deadline(block, timeout), &dead)
        if rc == -PF_EOWNERDEAD:
            return owner_of(&dead)
        if rc == -EAGAIN or rc == -ETIMEDOUT:
            return False
        check(rc)
        return True

    def _owner(self):
        """(pid, thread, since, alive) or None."""
        cdef pf_owner o
        return owner_of(&o) if pf_lock_owner(self.lock(), self.arena.a, &o) else None

    cdef bint in_this_process(self) noexcept:
        cdef pf_owner o
        return pf_lock_owner(self.lock(), self.arena.a, &o) and o.alive and o.pid == getpid()

    def _is_mine(self):
        """Whether the calling thread has it."""
        return self.mine()

    def locked(self):
        """Whether somebody holds it, be it the caller."""
        return pf_lock_locked(self.lock())

    def _is_zero(self):
        return pf_lock_locked(self.lock())

    def _get_value(self):
        return 0 if pf_lock_locked(self.lock()) else 1


cdef class SharedLock(OwnedLock):
    """A lock that anybody may release."""

    cdef unsigned flags

    def __init__(self, *, ctx=None, robust=False):
        self._ctx = ctx
        if robust:
            self.flags = PF_LOCK_ROBUST
        self.allocate(sizeof(pf_lock))

    cdef int attempt(self, int64_t deadline, pf_owner *dead) noexcept nogil:
        return pf_lock_acquire(self.lock(), self.arena.a, deadline, self.flags, dead)

    cdef int leave(self) except -1:
        if pf_lock_release(self.lock()) != 0:
            raise ValueError("semaphore or lock released too many times")
        return 0

    @property
    def robust(self):
        """Whether acquire() raises OwnerDied where its owner was killed."""
        return self.flags & PF_LOCK_ROBUST != 0

    cdef bint mine(self) noexcept:
        return pf_lock_mine(self.lock(), self.arena.a)

    def _count(self):
        """How often this process has it."""
        return 1 if self.in_this_process() else 0

    def _parts(self):
        return (*self._place(), self.flags)

    def _attach(self, Arena arena, uint64_t offset, unsigned flags):
        self.flags = flags
        self._map(arena, offset, sizeof(pf_lock))


cdef class SharedRLock(OwnedLock):
    """A recursive lock; a robust one."""

    kind = 0  # RECURSIVE_MUTEX

    def __init__(self, *, ctx=None):
        self._ctx = ctx
        self.allocate(sizeof(pf_lock))

    cdef int attempt(self, int64_t deadline, pf_owner *dead) noexcept nogil:
        return pf_rlock_acquire(self.lock(), self.arena.a, deadline, 0, dead)

    cdef int leave(self) except -1:
        if pf_rlock_release(self.lock(), self.arena.a) != 0:
            raise AssertionError("attempt to release recursive lock not owned by thread")
        return 0

    cdef bint mine(self) noexcept:
        return pf_rlock_count(self.lock(), self.arena.a) != 0

    def _count(self):
        """How often this thread has it; 1 where it is another's of this process."""
        return pf_rlock_count(self.lock(), self.arena.a) or self.in_this_process()

    def _parts(self):
        return self._place()

    def _attach(self, Arena arena, uint64_t offset):
        self._map(arena, offset, sizeof(pf_lock))


cdef class SharedSemaphore(LockBase):
    """A semaphore (csrc/include/procfast/sem.h)."""

    cdef readonly int maxvalue
    # For a Condition over a semaphore, as in the standard library: how many permits this process has taken more
    # than given back, and the thread that took the last.
    cdef int taken
    cdef unsigned long taker
    cdef uint64_t epoch

    def __init__(self, value=1, *, ctx=None):
        self._begin(value, PF_SEM_MAX, ctx)

    def _begin(self, int value, int maxvalue, ctx):
        if value < 0:
            raise ValueError(f"a semaphore's value must be at least 0, not {value}")
        self._ctx = ctx
        self.maxvalue = maxvalue
        self.allocate(sizeof(pf_sem))
        pf_sem_init(self.sem(), value)

    cdef inline pf_sem *sem(self) noexcept nogil:
        return <pf_sem *>self.addr

    cdef bint enter(self, int64_t deadline) except -1:
        cdef int rc = pf_sem_acquire(self.sem(), PF_TRY)
        while (rc == -EAGAIN and deadline != PF_TRY) or rc == -EINTR:
            with nogil:
                rc = pf_sem_acquire(self.sem(), deadline)
            if rc == -EINTR:
                PyErr_CheckSignals()
        if rc == 0:
            if self.epoch != pf_epoch():
                self.epoch = pf_epoch()
                self.taken = 0
            self.taken += 1
            self.taker = PyThread_get_thread_ident()
            return True
        if rc == -EAGAIN or rc == -ETIMEDOUT:
            return False
        check(rc)

    cdef int leave(self) except -1:
        if pf_sem_release(self.sem(), 1, self.maxvalue) != 0:
            raise ValueError("semaphore or lock released too many times")
        self.taken -= 1
        return 0

    def get_value(self):
        """How many could be acquired at this moment."""
        return pf_sem_value(self.sem())

    def locked(self):
        """Whether acquire() would have to wait."""
        return pf_sem_value(self.sem()) == 0

    def _is_zero(self):
        return pf_sem_value(self.sem()) == 0

    def _get_value(self):
        return pf_sem_value(self.sem())

    def _count(self):
        return self.taken if self.epoch == pf_epoch() else 0

    def _is_mine(self):
        return self.epoch == pf_epoch() and self.taken > 0 and self.taker == PyThread_get_thread_ident()

    def _parts(self):
        return (*self._place(), self.maxvalue)

    def _attach(self, Arena arena, uint64_t offset, int maxvalue):
        self.maxvalue = maxvalue
        self._map(arena, offset, sizeof(pf_sem))


cdef class SharedCondition(Block):
    """A condition variable over any lock that has the face of a SemLock (csrc/include/procfast/cond.h)."""

    cdef readonly object _lock
    cdef OwnedLock direct  # the same, where nothing of a native lock was overridden

    def _begin(self, lock, bint direct):
        self.allocate(sizeof(pf_cond))
        self.over(lock, direct)

    cdef int over(self, lock, bint direct) except -1:
        self._lock = lock
        self.direct = lock if direct else None
        return 0

    cdef inline pf_cond *cond(self) noexcept nogil:
        return <pf_cond *>self.addr

    def __enter__(self):
        return self._lock.__enter__() if self.direct is None else self.direct.enter(PF_FOREVER)

    def __exit__(self, exc_type=None, exc_value=None, traceback=None):
        if self.direct is None:
            return self._lock.__exit__(exc_type, exc_value, traceback)
        self.direct.leave()

    def wait(self, timeout=None):
        """Release the lock, wait for a notification, acquire the lock: True; False after `timeout` seconds (None: for
        ever) without one. AssertionError where the caller does not hold the lock.

        Where the lock is an RLock or robust and its owner dies meanwhile, OwnerDied is raised, with the lock held, so that
        `with` ends as ever. A notification that reaches a wait which ends by an exception is passed on to another.
        """
        cdef int64_t deadline = deadline_of(True, timeout)
        cdef uint32_t record
        cdef int rc = 0
        cdef bint notified
        if not self.mine():
            raise AssertionError("must acquire() condition before using wait()")
        check(pf_cond_enter(self.cond(), self.arena.a, &record))
        try:
            depth = self.let_go()
            try:
                while True:
                    with nogil:
                        rc = pf_cond_wait(self.cond(), self.arena.a, record, deadline)
                    if rc != -EINTR:
                        break
                    PyErr_CheckSignals()
            finally:
                self.take_again(depth)
            if rc != -ETIMEDOUT:
                check(rc)
        except BaseException:
            if pf_cond_leave(self.cond(), self.arena.a, record):
                pf_cond_notify(self.cond(), self.arena.a, 1)
            raise
        return pf_cond_leave(self.cond(), self.arena.a, record)

    cdef bint mine(self) except -1:
        return self._lock._semlock._is_mine() if self.direct is None else self.direct.mine()

    cdef object let_go(self):
        """Releases the lock altogether; how often it was held."""
        if isinstance(self.direct, SharedRLock):
            return check(pf_rlock_release_all(self.direct.lock(), self.direct.arena.a))
        if self.direct is not None:
            self.direct.leave()
            return 1
        depth = self._lock._semlock._count()
        for _ in range(depth):
            self._lock.release()
        return depth

    cdef int take_again(self, object depth) except -1:
        cdef pf_owner dead
        cdef int rc
        if self.direct is None:
            for _ in range(depth):
                self._lock.acquire()
            return 0
        rc = self.direct.take(PF_FOREVER, &dead)
        if isinstance(self.direct, SharedRLock) and (rc == 0 or rc == -PF_EOWNERDEAD):
            pf_rlock_restore(self.direct.lock(), depth)
        if rc == -PF_EOWNERDEAD:
            raise owner_died(self.direct, &dead)
        return check(rc)

    def notify(self, n=1):
        """Wake at most n of those that wait, those first that came first. AssertionError without the lock.

        A notification that reached a process which dies before it acts on it is passed on to another waiter.
        """
        cdef int most = INT_MAX if n > INT_MAX else n
        cdef int rc
        if not self.mine():
            raise AssertionError("lock is not owned")
        if most <= 0:
            return
        while True:
            with nogil:
                rc = pf_cond_notify(self.cond(), self.arena.a, most)
            if rc != -EINTR:
                break
            PyErr_CheckSignals()
        check(rc)

    def notify_all(self):
        """Wake all that wait."""
        self.notify(INT_MAX)

    def _waiters(self):
        """How many wait and are not notified yet."""
        return pf_cond_waiters(self.cond(), self.arena.a)

    def _parts(self):
        return self._place()

    def _attach(self, lock, bint direct, Arena arena, uint64_t offset):
        self.over(lock, direct)
        self._map(arena, offset, sizeof(pf_cond))


cdef class SharedEvent(Block):
    """A flag to wait for (csrc/include/procfast/event.h)."""

    cdef readonly object _ctx

    def __init__(self, *, ctx=None):
        self._ctx = ctx
        self.allocate(sizeof(pf_event))

    cdef inline pf_event *event(self) noexcept nogil:
        return <pf_event *>self.addr

    def is_set(self):
        """Whether it is set."""
        return pf_event_is_set(self.event())

    def set(self):
        """Set it: all that wait go on, even if it is cleared at once."""
        pf_event_set(self.event())

    def clear(self):
        """Clear it."""
        pf_event_clear(self.event())

    def wait(self, timeout=None):
        """Wait until it is set: True; False after `timeout` seconds (None: for ever)."""
        cdef int64_t deadline
        cdef uint32_t seen
        cdef int rc
        if timeout is None:
            deadline = PF_FOREVER
        else:
            deadline = deadline_of(True, timeout)
        if pf_event_is_set(self.event()):
            return True
        seen = pf_event_seen(self.event())
        while True:
            with nogil:
                rc = pf_event_wait(self.event(), seen, deadline)
            if rc == 0:
                return True
            if rc == -ETIMEDOUT:
                return False
            if rc != -EINTR:
                check(rc)
            PyErr_CheckSignals()

    def _parts(self):
        return self._place()

    def _attach(self, Arena arena, uint64_t offset):
        self._map(arena, offset, sizeof(pf_event))


cdef class SharedBarrier(Block):
    """A barrier (csrc/include/procfast/barrier.h)."""

    cdef readonly object _ctx

    def _begin(self, uint32_t parties, ctx):
        self._ctx = ctx
        self.allocate(sizeof(pf_barrier))
        pf_barrier_init(self.barrier(), parties)

    cdef inline pf_barrier *barrier(self) noexcept nogil:
        return <pf_barrier *>self.addr

    def wait(self, timeout=None):
        """Wait until all parties have come: a number from 0 to parties - 1, another for each.

        The last to come runs the action first. threading.BrokenBarrierError where it is broken: by abort(), by a wait whose
        `timeout` (seconds; None: the barrier's own) was over, by an action that failed, by the death of a process that
        had come already. An exception of a signal handler ends this wait only: it does not count as come any more.
        """
        cdef int64_t deadline = deadline_of(True, self._timeout if timeout is None else timeout)
        cdef uint32_t record
        cdef int rc, index
        while True:
            with nogil:
                index = pf_barrier_arrive(self.barrier(), self.arena.a, deadline, &record)
            if index != -EINTR:
                break
            PyErr_CheckSignals()
        if index == -PF_EBROKEN or index == -ETIMEDOUT:
            raise _BrokenBarrierError
        check(index)
        if <uint32_t>index == self.barrier().parties - 1:
            try:
                if self._action:
                    self._action()
            except BaseException:
                pf_barrier_abort(self.barrier())
                pf_barrier_leave(self.barrier(), self.arena.a, record)
                raise
            rc = pf_barrier_pass(self.barrier(), self.arena.a, record)
        else:
            while True:
                with nogil:
                    rc = pf_barrier_wait(self.barrier(), self.arena.a, record, deadline)
                if rc != -EINTR:
                    break
                try:
                    PyErr_CheckSignals()
                except BaseException:
                    pf_barrier_leave(self.barrier(), self.arena.a, record)
                    raise
        if rc == -PF_EBROKEN or rc == -ETIMEDOUT:
            raise _BrokenBarrierError
        check(rc)
        return index

    def reset(self):
        """As new. Those that wait get BrokenBarrierError."""
        cdef int rc
        while True:
            with nogil:
                rc = pf_barrier_reset(self.barrier(), self.arena.a)
            if rc != -EINTR:
                break
            PyErr_CheckSignals()
        check(rc)

    def abort(self):
        """Break it, until reset(): BrokenBarrierError for all that wait, and all that come."""
        pf_barrier_abort(self.barrier())

    @property
    def n_waiting(self):
        """How many have come and wait."""
        return pf_barrier_waiting(self.barrier())

    @property
    def broken(self):
        """Whether it is broken."""
        return pf_barrier_broken(self.barrier())

    def _parts(self):
        return self._place()

    def _attach(self, Arena arena, uint64_t offset):
        self._map(arena, offset, sizeof(pf_barrier))
