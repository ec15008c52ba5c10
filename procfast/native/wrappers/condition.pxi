# SharedCondition, SharedBarrier: threads of any processes that wait for each other, of whom any may die.

from libc.limits cimport INT_MAX
from threading import BrokenBarrierError as _BrokenBarrierError


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
        return self.wait_until(deadline_of(True, timeout))

    def wait_for(self, predicate, timeout=None):
        """Wait, as wait() does, until predicate() is true, asking it first and after each notification: its last answer,
        which is false after `timeout` seconds (None: for ever) in all.
        """
        result = predicate()
        if result:
            return result
        cdef int64_t deadline = deadline_of(True, timeout)
        while not result and (deadline == PF_FOREVER or deadline > pf_now()):
            self.wait_until(deadline)
            result = predicate()
        return result

    cdef bint wait_until(self, int64_t deadline) except -1:
        cdef uint32_t record
        cdef int rc = 0
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
        rc = self.direct.wait(PF_FOREVER, &dead)
        if isinstance(self.direct, SharedRLock) and (rc == 0 or rc == -PF_EOWNERDEAD):
            pf_rlock_restore(self.direct.lock(), depth)
        if rc == -PF_EOWNERDEAD:
            raise owner_died(self.direct, &dead)
        return check(rc)

    def notify(self, n=1):
        """Wake at most n of those that wait, those first that came first. AssertionError without the lock.

        A notification that reached a process which dies before it acts on it is passed on to another waiter.
        """
        cdef int most = INT_MAX if n > INT_MAX else PyNumber_Index(n)
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
