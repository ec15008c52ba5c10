# PoolWorker: the loop of a worker process.

cdef enum:
    JOBS_KEPT = 64  # functions that a worker remembers


cdef class PoolWorker:
    """What a worker does: PoolWorker(share, number).run(...)."""

    cdef PoolShare share
    cdef unsigned number
    cdef dict named            # pickle -> function
    cdef dict functions        # job -> function, where that has more to it
    cdef uint64_t image        # the process that is the worker
    cdef readonly bint opened  # what is to be called was unpickled
    cdef public object state  # first argument of what asks for it

    def __init__(self, PoolShare share not None, unsigned number):
        self.share = share
        self.number = number
        self.named, self.functions = {}, {}
        self.image = pf_epoch()

    def run(self, most, report, unsendable, alive):
        """Works until it is told to stop, `most` tasks were done (None: any number), or alive() is false.

        report(exception) and unsendable(exception, value or None) make reports of errors: (bytes, str, str). An interrupt
        while there is nothing to do is ignored.
        """
        cdef pf_pool *p = self.share.p
        cdef Ring tasks = self.share.tasks
        cdef pf_box box
        cdef int rc
        cdef unsigned stop
        cdef uint64_t done = 0, limit = 0 if most is None else most
        self.answer(0, 0, 0, STARTED, None)
        pf_pool_ready(p, self.number)
        while limit == 0 or done < limit:
            no_box(&box)
            rc = pf_pool_take(p, self.number, &box, PF_TRY)
            if rc == -EAGAIN:
                if pf_pool_stopped(p) and pf_ring_size(tasks.r) == 0:
                    break
                with nogil:
                    rc = pf_pool_take(p, self.number, &box, PF_FOREVER)
            if rc == -EINTR:
                try:
                    PyErr_CheckSignals()
                except KeyboardInterrupt:
                    pass  # Ctrl-C goes to all: what follows from it is the owner's business
                if not alive():
                    break
                if self.functions:
                    self.forget()
                continue
            check(rc)
            stop = pf_pool_stopped(p)
            if stop == 2 or (stop and box.len < sizeof(TaskHead)):  # one such call for each worker
                drop_box(tasks, &box)
                break
            if self.one(&box, report, unsendable, alive):
                done += 1
            pf_pool_rest(p, self.number)
        return done

    def failed_to_start(self, report):
        """Tells the owner why the initializer failed."""
        self.answer(0, 0, 0, NO_START, report)

    cdef bint one(self, pf_box *box, object report, object unsendable, object alive) except -1:
        """One message; False where it was no task, or one that had been called off."""
        cdef TaskHead head
        cdef int64_t ns = 0
        cdef uint32_t status = DONE
        cdef object value = None, error = None
        if box.len < sizeof(head):  # only a call to look whether the pool is stopped
            drop_box(self.share.tasks, box)
            return False
        memcpy(&head, box.data, sizeof(head))
        if not pf_pool_begin(self.share.p, self.number):
            status = SKIPPED
            drop_box(self.share.tasks, box)
        else:
            try:
                value = self.work(&head, box)
                if head.form >= EACH and len(<list>value) <= TUPLE_MAX:
                    value = tuple(value)  # which may have a code of its own
            except BaseException as raised:
                status = FAILED
                error = raised
            if self.image != pf_epoch():
                _os._exit(error is not None)  # a child that the task has forked: only its parent is the worker
        if not pf_pool_end(self.share.p, self.number, &ns):
            self.doomed(alive)
        if status == FAILED:
            value = persist(report, error, None)
            error = None
        try:
            self.answer(head.ticket, head.epoch, ns, status, value)
        except BaseException as raised:
            error = raised
        if error is not None:
            value = persist(unsendable, error, None if status == FAILED else value)
            error = None
            self.answer(head.ticket, head.epoch, ns, FAILED, value)
        return status != SKIPPED

    cdef object work(self, TaskHead *head, pf_box *box):
        cdef object function, arguments
        self.opened = False
        try:
            if box.len - sizeof(TaskHead) < head.nfunc:
                raise corrupted()
            function = self.function(head, box)
            arguments = open_behind(self.share.tasks, box, sizeof(TaskHead) + head.nfunc)
            self.opened = True
        finally:
            drop_box(self.share.tasks, box)
        if head.state:
            function = _partial(function, self.state)
        if head.form == CALL:
            return function(*arguments)
        if head.form == ONE:
            return function(arguments)
        if head.form == CALL_NAMED:
            return function(*arguments[0], **arguments[1])
        if head.form == EACH:
            return [function(item) for item in arguments]
        return [function(*item) for item in arguments]

    cdef object function(self, TaskHead *head, pf_box *box):
        """Unpickled once for each job; where it is no more than a name, once, and again when that means another."""
        cdef object key, function
        cdef bytes pickled = None
        cdef dict known = self.named if head.by_name else self.functions
        if head.by_name:
            key = pickled = PyBytes_FromStringAndSize(box.data + sizeof(TaskHead), head.nfunc)
        else:
            key = <uint64_t>head.epoch << 24 | head.ticket % PF_POOL_JOBS
        function = known.get(key)
        if self.functions and (head.by_name or function is None):
            self.forget()
        if function is None or (head.by_name and not is_named(function)):
            if pickled is None:
                pickled = PyBytes_FromStringAndSize(box.data + sizeof(TaskHead), head.nfunc)
            function = _loads(pickled)
            if head.by_name or head.form != CALL and head.form != CALL_NAMED:
                if len(known) >= JOBS_KEPT:
                    known.clear()
                known[key] = function
        return function

    cdef int forget(self) except -1:
        """Lets functions go of jobs that have ended."""
        for key in list(self.functions):
            if not pf_pool_begun(self.share.p, <uint32_t>(<uint64_t>key % PF_POOL_JOBS)):
                del self.functions[key]
        return 0

    cdef int answer(self, uint64_t ticket, uint32_t epoch, int64_t ns, uint32_t status, object value) except -1:
        cdef Ring results = self.share.results
        cdef Flat f
        cdef pf_loan refs[PF_MAX_REFS]
        cdef unsigned nrefs = 0
        cdef pf_iov iov[2]
        cdef ResultHead head
        cdef int rc
        head.ticket = ticket
        head.ns = ns
        head.epoch = epoch
        head.worker = self.number
        head.status = status
        head.unused = 0
        flat_init(&f)
        try:
            pack(results, value, &f, refs, &nrefs)
            iov[0].base = &head
            iov[0].len = sizeof(head)
            iov[1].base = f.data
            iov[1].len = f.len
            try:
                rc = -EAGAIN
                if f.len < NOGIL_COPY:
                    rc = pf_pool_answer(self.share.p, results.r, iov, 2, refs, nrefs, PF_TRY)
                while rc == -EAGAIN or rc == -EINTR:
                    with nogil:
                        rc = pf_pool_answer(self.share.p, results.r, iov, 2, refs, nrefs, PF_FOREVER)
                    if rc == -EINTR:
                        PyErr_CheckSignals()
                check(rc)
            except:
                unpack_refs(results, refs, nrefs)
                raise
        finally:
            flat_free(&f)
        return 0

    cdef int doomed(self, object alive) except -1:
        """The task was given up, and this process is about to be killed."""
        while True:
            with nogil:
                usleep(1000000)
            if not alive():
                raise SystemExit(1)


cdef bint is_named(object function) except -1:
    """Is it what its name means, now that a task may have reloaded its module?"""
    return getattr(_sys.modules.get(function.__module__), function.__qualname__, None) is function


cdef object persist(object make, object error, object value):
    """A report that a signal handler's exception does not prevent."""
    cdef object interrupt = None
    for _ in range(8):
        try:
            return make(error) if value is None else make(error, value)
        except KeyboardInterrupt as raised:
            interrupt = raised
    return make(interrupt)  # it was the error's own, when it is pickled


import os as _os
from functools import partial as _partial
