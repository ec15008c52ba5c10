# PoolFuture: a call's concurrent.futures.Future. PoolSubmitter: what an executor does for each call.
#
# All that a Future costs beyond its call is made when somebody asks for it: its condition, callbacks and waiters. One
# that has none of them is done in the moment in which its result is read; the others the thread of callbacks tells.


# Nothing that a new Future refers to can refer to it, so the garbage collector need not look at it again and again: it
# is as an object without references until it is given something by somebody else.
cdef extern from "Python.h":
    void PyObject_GC_Track(object)
    void PyObject_GC_UnTrack(object)
    bint PyObject_GC_IsTracked(object)
    bint PyObject_IS_GC(object)


cdef class PoolFuture(PoolJob):
    """The base of a Future: its state, its result, and when it is told."""

    cdef object lock         # its condition
    cdef list watchers       # of futures.wait and as_completed
    cdef list wanted         # callbacks

    # ---- for its users

    def _is_done(self):
        """Whether it has ended or was cancelled."""
        cdef PoolCore core
        with cython.critical_section(pool_guard):
            core = self.core
            if not self.done and core.mine():
                core.look_now()
            return self.done

    def running(self):
        """Whether a worker has begun with it and has not ended."""
        return not self._is_done() and self._state == "RUNNING"

    def cancelled(self):
        """Whether it was cancelled."""
        return self.off

    def result(self, timeout=None):
        """What the call returned, waiting for it at most `timeout` seconds (None: for ever): TimeoutError.

        Raises what the call has raised; CancelledError; WorkerDied where its worker died.
        """
        cdef object error
        with cython.critical_section(pool_guard):
            self.until_done(timeout)
            error = self.failed()
            if error is not None:
                raise error
            return self.value

    def exception(self, timeout=None):
        """What the call has raised, or None; waiting for its end as `result` does."""
        with cython.critical_section(pool_guard):
            self.until_done(timeout)
            return self.failed()

    cdef int until_done(self, object timeout) except -1:
        cdef PoolCore core = self.core  # another thread may let it go meanwhile
        if not self.done and not core.wait(self, deadline_of(True, timeout)):
            raise TimeoutError()
        if self.off:
            called_off().open(None)
        return 0

    cdef object failed(self):
        """The exception of one that is done, or None. Here its result is unpickled."""
        cdef PoolValue value
        cdef PoolCore core = self.core  # another thread may open it too, and be done first
        if not self.opened:
            if self.error is not None:
                value = self.error
                try:
                    value.open(core)
                except BaseException as error:
                    if error is not value.error:  # a signal handler's
                        raise
                    error.__traceback__ = None
            elif type(self.value) is PoolValue:
                value = self.value
                try:
                    self.value = value.open(core)
                except Exception as error:
                    self.spoil(core.unopened(error))
                except SystemExit as left:
                    # of the result, or of a signal handler meanwhile: a thread hears no signals
                    error = elsewhere(value, core)
                    if error is None:
                        raise
                    self.spoil(core.unopened(error))
            self.opened = True
            if self.error is not None or PyObject_IS_GC(self.value):
                self.track()
            if self.done:
                self.core = None  # and with the last one what its executor had open
        return None if self.error is None else (<PoolValue>self.error).error

    cdef int spoil(self, object error) except -1:
        self.error = failure(error)
        self.value = None
        return 0

    # ---- for concurrent.futures

    @property
    def _state(self):
        with cython.critical_section(pool_guard):
            if self.done:
                return "CANCELLED_AND_NOTIFIED" if self.off else "FINISHED"
            if self.left == 0 or (not self.gone and self.core.mine() and pf_pool_begun(self.core.p, self.number)):
                return "RUNNING"
            return "PENDING"

    @property
    def _result(self):
        # asyncio of Python 3.15 asks for it before it asks for the exception
        with cython.critical_section(pool_guard):
            return self.value if self.done and not self.off and self.failed() is None else None

    @property
    def _exception(self):
        with cython.critical_section(pool_guard):
            return self.failed() if self.done and not self.off else None

    @property
    def _condition(self):
        with cython.critical_section(pool_guard):
            if self.lock is None:
                condition = _Condition()
                if self.lock is None:  # no other thread was quicker
                    self.watch()
                    self.lock = condition
            return self.lock

    @property
    def _waiters(self):
        with cython.critical_section(pool_guard):
            if self.watchers is None:
                self.watch()
                self.watchers = []
            return self.watchers

    @property
    def _done_callbacks(self):
        with cython.critical_section(pool_guard):
            return self.callbacks()

    cdef list callbacks(self):
        if self.wanted is None:
            self.watch()
            self.wanted = []
        return self.wanted

    def _track(self):
        """It may have become part of a cycle of references."""
        with cython.critical_section(pool_guard):
            self.track()

    cdef void track(self) noexcept:
        if not PyObject_GC_IsTracked(self):
            PyObject_GC_Track(self)

    cdef int watch(self) except -1:
        """From now on the pool's thread tells of its end."""
        self.track()
        if not self.done and self.hooks is None:
            self.hooks = []
            self.core.need(self)
        return 0

    def _later(self, callback):
        """callback(self) will be called at its end; False: it has ended."""
        with cython.critical_section(pool_guard):
            callbacks = self.callbacks()
            if self.done:
                return False
            callbacks.append(callback)
            return True

    def _forestall(self):
        """It is cancelled from now on, and nobody knows yet. False: it has begun, or ended."""
        with cython.critical_section(pool_guard):
            if self.done or self.gone or self.left == 0 or not self.core.mine():
                return False
            if not pf_pool_forestall(self.core.p, self.number):
                return False
            self.gone = self.off = True
            self.error = called_off()
            return True

    def _failed(self):
        with cython.critical_section(pool_guard):
            return self.failed()

    def _told(self):
        pf_pool_kick(self.core.p)

    def _end(self):
        """It is done."""
        with cython.critical_section(pool_guard):
            self.core.conclude(self)

    def _end_unseen(self):
        """It is done, if it has no condition; else False."""
        with cython.critical_section(pool_guard):
            if self.lock is not None:
                return False
            self.core.conclude(self)
            return True


cdef object elsewhere(PoolValue value, PoolCore core):
    """What opening it raises in another thread, or None."""
    cdef list raised = []

    def run():
        try:
            value.open(core)
        except BaseException as error:
            raised.append(error)

    thread = _threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None


cdef class PoolSubmitter:
    """The base of an executor, which has _prepare()."""

    cdef PoolCore core
    cdef type made           # of the futures
    cdef bint ready          # workers enough are there

    def _use(self, PoolCore core, type made not None):
        """What takes the calls from now on, or None."""
        with cython.critical_section(pool_guard):
            self.core = core
            self.ready = False
            self.made = made

    def _is_ready(self):
        with cython.critical_section(pool_guard):
            self.ready = True

    def submit(self, fn, /, *args, **kwargs):
        """Have fn(*args, **kwargs) called in a worker: its Future.

        What can't be pickled is the Future's error. RuntimeError after shutdown; BrokenProcessPool where workers can't start.
        """
        if kwargs:
            return self.send(fn, (args, kwargs), CALL_NAMED)
        return self.send(fn, args, CALL)

    def _submit_each(self, fn, tuple calls not None):
        """[fn(*args) for args in calls] as one call."""
        return self.send(fn, calls, EACH_STAR)

    cdef object send(self, object function, tuple arguments, int form):
        cdef bint ready
        with cython.critical_section(pool_guard):
            ready = self.ready and not self.core.closed
        if not ready:
            self._prepare()
        with cython.critical_section(pool_guard):
            if self.core is None:  # by another thread, meanwhile
                raise RuntimeError("cannot schedule new futures after shutdown")
            return self.send_to(self.core, function, arguments, form)

    cdef object send_to(self, PoolCore core, object function, tuple arguments, int form):
        cdef PoolFuture job = self.made.__new__(self.made)
        PyObject_GC_UnTrack(job)
        job.kind = APPLY
        job.form = form
        job.core = core
        job.sent = job.left = 1
        job.all_sent = True
        try:
            core.take_function(job, function)
            core.enlist(job)
            if not (job.by_name and form == CALL and core.hold(job, arguments)):
                if core.nheld:
                    core.flush()
                core.send(job, 0, arguments)
        except BaseException as error:
            if job.number:
                core.forget(job)
            elif core.closed:
                self._prepare()  # meanwhile: it says why
            if job.function is not None and not job.number or not isinstance(error, Exception):
                raise
            job.error = failure(error)
            job.track()
            job.left = 0
            job.opened = job.done = True
            return job
        if len(core.jobs) & 1023 == 0:
            core.look_now()  # results nobody asks for yet must not pile up
        return job


import threading as _threading
from threading import Condition as _Condition
