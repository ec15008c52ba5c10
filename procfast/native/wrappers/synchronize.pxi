# SharedLock, SharedRLock, SharedSemaphore, SharedEvent: what locks do, on blocks.

from posix.unistd cimport getpid


import os as _os

cdef bint stamps = _os.environ.get("PROCFAST_DEBUG_LOCKS", "0") not in ("", "0")  # each acquisition's time is noted


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


cdef class Face:
    """A lock as others look at it who know a _multiprocessing.SemLock: the standard Condition and Queue, executors, loky."""

    cdef LockBase lock

    SEM_VALUE_MAX = PF_SEM_MAX
    name = None  # nothing here has a name

    @property
    def kind(self):
        return self.lock._kind

    @property
    def maxvalue(self):
        return self.lock._maxvalue

    @property
    def handle(self):
        return self.lock._address()

    @property
    def acquire(self):
        return self.lock.acquire

    @property
    def release(self):
        return self.lock.release

    def __enter__(self):
        return self.lock.__enter__()

    def __exit__(self, *args):
        return self.lock.__exit__(*args)

    def _is_mine(self):
        return self.lock._is_mine()

    def _count(self):
        return self.lock._count()

    def _get_value(self):
        return self.lock._get_value()

    def _is_zero(self):
        return self.lock._get_value() == 0

    def _after_fork(self):
        """Nothing is to be done."""


cdef class LockBase(Block):
    """What the locks have in common."""

    cdef readonly object _ctx  # whose start method says to which children it may go

    _kind = 1  # SEMAPHORE

    @property
    def _semlock(self):
        cdef Face face = Face.__new__(Face)
        face.lock = self
        return face

    cdef bint enter(self, int64_t deadline) except -1:
        raise NotImplementedError

    cdef int leave(self) except -1:
        raise NotImplementedError

    def acquire(self, block=True, timeout=None):
        """Take it: True. False where it was not to be had at once (block=False), or within `timeout` seconds.

        Other threads run meanwhile. A signal handler that raises ends the wait with its exception.
        """
        return self.enter(PF_FOREVER if block is True and timeout is None else lock_deadline(block, timeout))

    def release(self):
        """Give it back."""
        self.leave()


cdef object enter_lock(LockBase lock):
    return lock.enter(PF_FOREVER)


cdef int leave_lock(LockBase lock) except -1:
    return lock.leave()


entry_install(<void *>LockBase, <void *>enter_lock, <void *>leave_lock)  # __enter__ and __exit__


cdef class OwnedLock(LockBase):
    """A lock that knows its owner (csrc/include/procfast/lock.h)."""

    _maxvalue = 1

    cdef unsigned flags
    cdef bint stamped

    cdef int begin(self, ctx, unsigned flags) except -1:
        self.allocate(sizeof(pf_lock))
        self._ctx = ctx
        self.set_flags(flags)
        return 0

    cdef void set_flags(self, unsigned flags) noexcept:
        self.stamped = stamps
        self.flags = flags | (PF_LOCK_STAMP if stamps else 0)

    cdef inline pf_lock *lock(self) noexcept nogil:
        return <pf_lock *>self.addr

    cdef int attempt(self, int64_t deadline, pf_owner *dead) noexcept nogil:
        return -EINVAL

    cdef bint mine(self) noexcept:
        return False

    cdef int wait(self, int64_t deadline, pf_owner *dead) except? -1:
        """0, -EAGAIN, -ETIMEDOUT, -PF_EOWNERDEAD (held too); Python's signal handlers run meanwhile."""
        cdef int rc = self.attempt(PF_TRY, dead)
        while (rc == -EAGAIN and deadline != PF_TRY) or rc == -EINTR:
            with nogil:
                rc = self.attempt(deadline, dead)
            if rc == -EINTR:
                PyErr_CheckSignals()
        return rc

    cdef bint enter_slowly(self, int64_t deadline) except -1:
        cdef pf_owner dead
        cdef int rc = self.wait(deadline, &dead)
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
        cdef int rc = self.wait(lock_deadline(block, timeout), &dead)
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

    def _get_value(self):
        return 0 if pf_lock_locked(self.lock()) else 1


cdef class SharedLock(OwnedLock):
    """A lock that anybody may release."""

    def __init__(self, *, ctx=None, robust=False):
        self.begin(ctx, PF_LOCK_ROBUST if robust else 0)

    cdef bint enter(self, int64_t deadline) except -1:
        return True if not self.stamped and pf_lock_take(self.lock(), self.arena.a) else self.enter_slowly(deadline)

    cdef int attempt(self, int64_t deadline, pf_owner *dead) noexcept nogil:
        return pf_lock_acquire(self.lock(), self.arena.a, deadline, self.flags, dead)

    cdef int leave(self) except -1:
        if pf_lock_drop(self.lock()) != 0:
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
        return (*self._place(), self.flags & PF_LOCK_ROBUST)

    def _attach(self, Arena arena, uint64_t offset, unsigned flags):
        self.set_flags(flags)
        self._map(arena, offset, sizeof(pf_lock))


cdef class SharedRLock(OwnedLock):
    """A recursive lock; a robust one."""

    _kind = 0  # RECURSIVE_MUTEX

    def __init__(self, *, ctx=None):
        self.begin(ctx, 0)

    cdef bint enter(self, int64_t deadline) except -1:
        return True if not self.stamped and pf_rlock_take(self.lock(), self.arena.a) else self.enter_slowly(deadline)

    cdef int attempt(self, int64_t deadline, pf_owner *dead) noexcept nogil:
        return pf_rlock_acquire(self.lock(), self.arena.a, deadline, self.flags, dead)

    cdef int leave(self) except -1:
        if pf_rlock_drop(self.lock(), self.arena.a) != 0:
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
        self.set_flags(0)
        self._map(arena, offset, sizeof(pf_lock))


cdef extern from *:
    """
    /* How many permits a process has taken more than given back, in the low half of a word; in the high one of which
     * process image that is told. */
    static inline int taking_change(uint64_t *word, uint64_t *was, uint64_t now)
    {
    #ifdef Py_GIL_DISABLED
        return __atomic_compare_exchange_n(word, was, now, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    #else
        (void)was;
        *word = now;
        return 1;
    #endif
    }

    static inline void taking_up(uint64_t *word, uint64_t epoch)
    {
        uint64_t was = pf_peek_word(word), high = epoch << 32;
        while (!taking_change(word, &was, high | (uint32_t)((was ^ high) >> 32 ? 1 : (uint32_t)was + 1)))
            ;
    }

    static inline void taking_down(uint64_t *word)
    {
        uint64_t was = pf_peek_word(word);
        while (!taking_change(word, &was, (was >> 32 << 32) | (uint32_t)((uint32_t)was - 1)))
            ;
    }

    static inline int taking_count(const uint64_t *word, uint64_t epoch)
    {
        uint64_t now = pf_peek_word(word);
        int count = (int)(uint32_t)now;
        return now >> 32 == (uint32_t)epoch && count > 0 ? count : 0;
    }
    """
    void taking_up(uint64_t *word, uint64_t epoch)
    void taking_down(uint64_t *word)
    int taking_count(const uint64_t *word, uint64_t epoch)


cdef class SharedSemaphore(LockBase):
    """A semaphore (csrc/include/procfast/sem.h)."""

    cdef readonly int _maxvalue
    # For a Condition over a semaphore, as in the standard library: how many permits this process has taken more
    # than given back, and the thread that took the last.
    cdef uint64_t taken, taker

    def __init__(self, value=1, *, ctx=None):
        self._begin(value, PF_SEM_MAX, ctx)

    def _begin(self, initial, most, ctx):
        cdef int value = PyNumber_Index(initial), maxvalue = PyNumber_Index(most)
        if value < 0:
            raise ValueError(f"a semaphore's value must be at least 0, not {value}")
        self._ctx = ctx
        self._maxvalue = maxvalue
        self.allocate(sizeof(pf_sem))
        pf_sem_init(self.sem(), value)

    cdef inline pf_sem *sem(self) noexcept nogil:
        return <pf_sem *>self.addr

    cdef bint enter(self, int64_t deadline) except -1:
        cdef pf_thread *me
        if not pf_sem_take(self.sem()) and not self.enter_slowly(deadline):
            return False
        me = pf_thread_self()
        taking_up(&self.taken, me.epoch)
        pf_poke_word(&self.taker, me.tid)
        return True

    cdef bint enter_slowly(self, int64_t deadline) except -1:
        cdef int rc = pf_sem_acquire(self.sem(), PF_TRY)
        while (rc == -EAGAIN and deadline != PF_TRY) or rc == -EINTR:
            with nogil:
                rc = pf_sem_acquire(self.sem(), deadline)
            if rc == -EINTR:
                PyErr_CheckSignals()
        if rc == -EAGAIN or rc == -ETIMEDOUT:
            return False
        check(rc)
        return True

    cdef int leave(self) except -1:
        if pf_sem_give(self.sem(), self._maxvalue) != 0:
            raise ValueError("semaphore or lock released too many times")
        taking_down(&self.taken)
        return 0

    def get_value(self):
        """How many could be acquired at this moment."""
        return pf_sem_value(self.sem())

    def locked(self):
        """Whether acquire() would have to wait."""
        return pf_sem_value(self.sem()) == 0

    def _get_value(self):
        return pf_sem_value(self.sem())

    def _count(self):
        return taking_count(&self.taken, pf_epoch())

    def _is_mine(self):
        cdef pf_thread *me = pf_thread_self()
        return taking_count(&self.taken, me.epoch) > 0 and pf_peek_word(&self.taker) == me.tid

    def _parts(self):
        return (*self._place(), self._maxvalue)

    def _attach(self, Arena arena, uint64_t offset, int maxvalue):
        self._maxvalue = maxvalue
        self._map(arena, offset, sizeof(pf_sem))


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


def new_lock(type cls, ctx, robust):
    """cls(ctx=ctx, robust=robust) for a subclass without an __init__ of its own, in half the time."""
    cdef SharedLock self = SharedLock.__new__(cls)
    self.begin(ctx, PF_LOCK_ROBUST if robust else 0)
    return self


cdef extern from *:
    """
    static PyObject *pf_own_method(PyObject *type, PyObject *method)
    {
        if (Py_IS_TYPE(method, &PyGetSetDescr_Type))
            return PyDescr_NewGetSet((PyTypeObject *)type, ((PyGetSetDescrObject *)method)->d_getset);
        return PyDescr_NewMethod((PyTypeObject *)type, ((PyMethodDescrObject *)method)->d_method);
    }
    """
    object pf_own_method(object type, object method)


def own_methods(type cls, *names):
    """Gives a class its C methods and properties as its very own: the interpreter calls one faster where the object's
    class is the one that has it, not a subclass."""
    for name in names:
        setattr(cls, name, pf_own_method(cls, getattr(cls, name)))
