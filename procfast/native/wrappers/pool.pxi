# PoolCore: the owner's side of a pool. PoolJob: one call of apply_async, map_async, imap, and its results.
#
# One thread of the owner at a time leads: it reads results and sleeps until there are more. That is whoever waits
# for a result, so nothing is handed over between threads on the way; others that wait follow, and one of them leads
# next. Where nobody waits, and only then, the pool's own thread leads.
#
# Pickled values are not opened by who leads but by who asks for them: unpickling runs any code, may raise, and may be
# interrupted, and is done again then.

from _thread import allocate_lock as _allocate_lock
from types import FunctionType as _FunctionType

from cpython.pythread cimport PyThread_get_thread_ident

# Of all pools and their jobs: what is done while the GIL is held is also done with this.
cdef object pool_guard = object()

cdef enum:
    BATCH = 64            # results read at once
    APPLY = 0
    MAP
    IMAP
    IMAP_UNORDERED

cdef enum:
    WINDOW_BYTES = 32 << 20 # of arguments that no worker has taken yet
    WINDOW_ITEMS = 4096     # the same of an imap
    FAST = 100000           # ns from result to result: then it does not pay to wake for each
    NAP = 500000            # ns
    TURN = 20000000         # ns that somebody leads, at most, where there is always something to read
    GATHERED = 128          # an executor's calls that are sent together, at most,
    GATHERED_BYTES = 16384  # ... and so many bytes,
    HASTE = 10000           # where they come within so many ns
    CHUNK_TIME = 2000000    # ns that a chunk should take


cdef class PoolValue:
    """A result that is not opened yet, or an error."""

    cdef object pickle   # or a report that needed none; None: an error of this side
    cdef list buffers
    cdef bint report     # of an error
    cdef object error
    cdef tuple lost      # what core.death makes one of

    cdef object open(self, PoolCore core):
        cdef object value
        if self.lost is not None:
            self.error = core.death(*self.lost)
            self.lost = None
        if self.pickle is not None:
            if type(self.pickle) is tuple:
                value = self.pickle
            else:
                value = _loads(self.pickle, buffers=self.buffers) if self.buffers else _loads(self.pickle)
            if not self.report:
                return value
            self.error = core.rebuild(value)
            self.pickle = None
        raise self.error


cdef PoolValue failure(object error):
    cdef PoolValue self = PoolValue.__new__(PoolValue)
    self.error = error
    return self


cdef PoolValue called_off():
    from concurrent.futures import CancelledError  # takes a while to import
    return failure(CancelledError())


cdef class PoolJob:
    """What was asked for in one call."""

    cdef PoolCore core
    cdef uint32_t number, epoch
    cdef int kind, form
    cdef bytes function
    cdef bint by_name, state
    cdef object source           # a list, or an iterator; of an apply the arguments, if it may be retried
    cdef bint listed
    cdef Py_ssize_t at           # MAP, IMAP of a list: how many items were sent
    cdef Py_ssize_t chunk        # items in a task; 0: as measured
    cdef Py_ssize_t window       # IMAP: tasks sent and not asked for; 0: any number
    cdef dict out                # tasks sent and not settled: index -> what they are
    cdef dict tries              # index -> how often it was tried
    cdef Py_ssize_t sent, left   # tasks, those not settled
    cdef Py_ssize_t items        # MAP: those in settled tasks
    cdef uint64_t bytes
    cdef bint all_sent, feeding, done, gone, opened, counted, off
    cdef object value            # APPLY: the result; MAP: the list
    cdef list pieces             # MAP: (start, n, PoolValue) to be opened
    cdef object error            # PoolValue
    cdef list waiters
    cdef object arrived, unsorted  # IMAP: results, in order
    cdef Py_ssize_t index, taken
    cdef object piece            # IMAP: the rest of a chunk
    cdef object room             # what the thread that feeds it sleeps on
    cdef double timeout
    cdef int retries
    cdef list hooks              # called with the job by the thread of callbacks, before it is done
    cdef public object _pool     # kept until it is done: a pool that nobody else refers to ends

    cdef bint served(self) noexcept:
        """Has a waiter what it waits for?"""
        return self.done or (self.arrived is not None and len(self.arrived) != 0)

    # ---- from outside

    def wait(self, timeout=None):
        """Wait until the result is there, at most `timeout` seconds."""
        with cython.critical_section(pool_guard):
            if not self.done:
                self.core.wait(self, deadline_of(True, timeout))

    def ready(self):
        """Whether the result is there."""
        with cython.critical_section(pool_guard):
            if not self.done:
                self.core.look_now()
            return self.done

    def successful(self):
        """Whether the call ended without an exception. ValueError where it has not ended."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        with cython.critical_section(pool_guard):
            try:
                self.open()
            except BaseException:
                if self.error is None:
                    raise
            return self.error is None

    def get(self, timeout=None):
        """The result, waiting for it at most `timeout` seconds (None: for ever): multiprocessing.TimeoutError.

        Raises what the call has raised, WorkerDied where its worker did not live to the end of it.
        """
        with cython.critical_section(pool_guard):
            if not self.done:
                if not self.core.wait(self, deadline_of(True, timeout)):
                    raise _TimeoutError
            return self.open()

    cdef object open(self):
        cdef PoolValue piece
        cdef Py_ssize_t start, n
        cdef object value, entry
        if not self.opened:
            if self.error is None:
                if self.kind == APPLY:
                    if type(self.value) is PoolValue:
                        self.value = self.open_one(<PoolValue>self.value)
                elif self.pieces is not None:
                    while self.pieces and self.error is None:
                        entry = self.pieces[len(self.pieces) - 1]
                        start, n, piece = entry
                        value = self.open_one(piece)
                        if n < 0:
                            (<list>self.value)[start] = value
                        else:
                            (<list>self.value)[start:start + n] = value
                        if self.pieces and self.pieces[len(self.pieces) - 1] is entry:  # no other thread's
                            self.pieces.pop()
            self.opened = True
        if self.error is not None:
            (<PoolValue>self.error).open(self.core)
        return self.value

    cdef object open_one(self, PoolValue value):
        """What is in it; an exception that opening it raises is the task's, unless it came from a signal handler."""
        try:
            return value.open(self.core)
        except Exception as error:
            self.error = value if value.pickle is None else failure(self.core.unopened(error))
            (<PoolValue>self.error).open(self.core)
        except BaseException as error:
            if value.pickle is None and value.error is error:
                self.error = value
            raise

    def cancel(self):
        """Call it off. True: no result will come, and get() raises concurrent.futures.CancelledError; tasks that had not
        begun will not, workers in the middle of one are killed and replaced. False: it has ended."""
        self.ready()
        with cython.critical_section(pool_guard):
            return self.core.cancel(self, called_off(), True) != 0

    def cancelled(self):
        """Whether cancel() had success."""
        return self.off

    def _open(self):
        """get(), of whose tasks all are settled."""
        with cython.critical_section(pool_guard):
            return self.open()

    def _abandon(self):
        """Nobody will ask for the result."""
        with cython.critical_section(pool_guard):
            if not self.done:
                self.core.cancel(self, called_off(), False)

    def _length(self):
        """How many items a map has."""
        return len(self.value)

    def _settled(self):
        """How many of them are in tasks that have ended."""
        return self.items

    def _hooks(self):
        with cython.critical_section(pool_guard):
            hooks, self.hooks = self.hooks, []
            return hooks or ()

    def _hook(self, hook):
        """hook(self) will be called by the thread of callbacks before the result is there, or False: it is there."""
        with cython.critical_section(pool_guard):
            if self.done:
                return False
            self.core.hook(self, hook)
            return True

    @property
    def _number(self):
        return self.number

    @property
    def _timeout(self):
        return self.timeout

    def __iter__(self):
        return self

    cdef object next_item(self, int64_t deadline):
        cdef object item
        cdef PoolCore core = self.core
        while True:
            if self.piece is not None:
                for item in self.piece:
                    return item
                self.piece = None
            if self.arrived:
                item = self.arrived.popleft()
                self.taken += 1
                if not self.all_sent:
                    core.refill(self)
                if type(item) is PoolValue:
                    try:
                        item = (<PoolValue>item).open(core)
                    except Exception as error:
                        if (<PoolValue>item).pickle is not None:
                            raise core.unopened(error)
                        raise
                    except KeyboardInterrupt:
                        if (<PoolValue>item).pickle is not None or (<PoolValue>item).lost is not None:
                            self.arrived.appendleft(item)
                            self.taken -= 1
                        raise
                if self.chunk == 1:
                    return item
                # of another thread's chunk some may be left
                self.piece = iter(item) if self.piece is None else _chain(self.piece, item)
                continue
            if self.done:
                if self.error is not None:
                    error, self.error = self.error, None
                    (<PoolValue>error).open(core)
                raise StopIteration
            if not core.wait(self, deadline):
                raise _TimeoutError


from multiprocessing import TimeoutError as _TimeoutError


KINDS = (MAP, IMAP, IMAP_UNORDERED)


cdef class PoolIterator(PoolJob):
    """The results of imap."""

    def __next__(self):
        with cython.critical_section(pool_guard):
            return self.next_item(PF_FOREVER)

    def next(self, timeout=None):
        """The next result, waiting for it at most `timeout` seconds: multiprocessing.TimeoutError; StopIteration at the end."""
        with cython.critical_section(pool_guard):
            return self.next_item(deadline_of(True, timeout))


cdef class PoolCore:
    """All that the threads of the owner share."""

    cdef PoolShare share
    cdef pf_pool *p
    cdef Ring tasks, results
    cdef readonly dict jobs      # number -> those that are not done, or whose tasks are still about
    cdef uint32_t last, epoch
    cdef uint32_t numbers        # of jobs, before they come again
    cdef char *held              # an executor's calls that are to be sent together
    cdef uint64_t held_at[GATHERED + 1]
    cdef unsigned nheld
    cdef int64_t hastened        # when the last ones were sent
    cdef unsigned long leader    # the thread that leads, or 0
    cdef list followers
    cdef list feeds              # jobs that are not all sent, and that any thread may send on
    cdef readonly object callbacks # a queue of jobs whose hooks are to be called
    cdef readonly Py_ssize_t calling # how many, or being called
    cdef readonly list dead      # (number of worker, death): ended, and what they held is to be settled
    cdef readonly list buried    # ... that was settled: their places may be taken
    cdef readonly list news      # (number of worker, report or None): failed to start, or has begun
    cdef readonly list doomed    # (number of worker, error): condemned, to be killed
    cdef dict reasons            # number of worker -> the error of the task that it is killed for
    cdef public bint stopped     # terminated: nothing is sent any more
    cdef public bint closed      # an executor's: it takes no more calls
    cdef public Py_ssize_t workers
    cdef Py_ssize_t needs        # jobs that need the pool's thread
    cdef public bint serving     # the pool is closed: its thread reads on to the end
    cdef public object rebuild, unopened, death, call_hooks
    cdef object last_function
    cdef bytes last_pickle
    cdef dict times              # function -> ns per item
    cdef int64_t before          # when results were last read
    cdef double pace
    cdef readonly uint64_t done, failed
    cdef uint64_t image          # the process that made it
    cdef Py_ssize_t timed        # jobs with a timeout
    cdef double least            # the shortest of theirs

    def __dealloc__(self):
        free(self.held)

    def __init__(self, PoolShare share not None, Py_ssize_t workers, rebuild, unopened, death):
        self.share = share
        self.p = share.p
        self.tasks = share.tasks
        self.results = share.results
        self.workers = workers
        self.rebuild, self.unopened, self.death = rebuild, unopened, death
        self.jobs = {}
        self.followers, self.feeds, self.dead, self.buried, self.news, self.doomed = [], [], [], [], [], []
        self.callbacks = _SimpleQueue()
        self.reasons = {}
        self.times = {}
        self.pace = 1e9
        self.image = pf_epoch()
        self.numbers = PF_POOL_FEW

    # ---- sending

    cdef int enlist(self, PoolJob job) except -1:
        """Gives it a number."""
        cdef object number
        self.ours()
        if self.stopped:
            raise ValueError("Pool not running")
        if len(self.jobs) >= PF_POOL_JOBS - 2:
            raise OverflowError("too many calls are waiting for their results")
        while True:
            self.last += 1
            if self.last >= self.numbers:
                if len(self.jobs) > self.numbers // 2 and self.numbers < PF_POOL_JOBS:
                    self.numbers *= 2
                else:
                    self.last = 0
                    self.epoch += 1
                continue
            job.epoch, number = self.epoch, self.last
            if self.jobs.setdefault(number, job) is job:
                break
        job.core = self
        job.number = number
        if job.timeout > 0:
            self.least = job.timeout if self.timed == 0 else min(self.least, job.timeout)
            self.timed += 1
            self.ring()
        return 0

    cdef void retire(self, PoolJob job) noexcept:
        """It is done."""
        job.done = True
        if job.timeout > 0:
            self.timed -= 1
        self.unneed(job)

    cdef int ours(self) except -1:
        """A child of fork has the object too, but the results go to its parent."""
        if self.image != pf_epoch():
            raise RuntimeError("this pool belongs to the process that made it, not to its children")
        return 0

    cdef bint mine(self) noexcept:
        return self.image == pf_epoch()

    cdef bint hold(self, PoolJob job, object arguments) except -1:
        """Of many small calls that come quickly some are sent together: whether this is one. They go as soon as there
        are enough, anybody waits or looks, or the pool's thread wakes up, which it is told to."""
        cdef int64_t now
        cdef size_t nfunc = PyBytes_GET_SIZE(job.function), used
        cdef TaskHead head
        cdef Flat f
        cdef char *to
        if nfunc > 512 or len(self.jobs) <= 8 * self.workers:
            return False
        if self.nheld == 0:
            now = pf_now()
            if now - self.hastened > HASTE:
                self.hastened = now
                return False
        flat_init(&f)
        try:
            if not encode_flat(arguments, &f) or f.len > 512:
                return False
            if self.held == NULL:
                self.held = <char *>malloc(GATHERED_BYTES + sizeof(TaskHead) + 1024)
                if self.held == NULL:
                    return False
            used = self.held_at[self.nheld] if self.nheld else 0  # now: encoding may let other threads come between
            to = self.held + used
            self.head_of(job, 0, &head)
            memcpy(to, &head, sizeof(head))
            memcpy(to + sizeof(head), PyBytes_AS_STRING(job.function), nfunc)
            memcpy(to + sizeof(head) + nfunc, f.data, f.len)
            if self.nheld == 0:
                self.held_at[0] = 0
                self.ring()
            self.nheld += 1
            self.held_at[self.nheld] = used + sizeof(head) + nfunc + f.len
        finally:
            flat_free(&f)
        if self.nheld == GATHERED or self.held_at[self.nheld] > GATHERED_BYTES:
            self.flush()
        return True

    cdef int flush(self) except -1:
        """Sends what is held."""
        cdef char *data = self.held
        cdef uint64_t at[GATHERED + 1]
        cdef unsigned n = self.nheld, sent = 0
        cdef int rc = 0
        cdef TaskHead head
        memcpy(at, self.held_at, sizeof(at))
        self.held = NULL  # other threads may hold more meanwhile
        self.nheld = 0
        self.hastened = pf_now()
        try:
            while sent < n:
                rc = pf_ring_put_many(self.tasks.r, data, at + sent, n - sent, PF_TRY)
                if rc == -EAGAIN:
                    with nogil:
                        rc = pf_ring_put_many(self.tasks.r, data, at + sent, n - sent, PF_FOREVER)
                if rc == -EINTR:
                    rc = 0  # signals are seen to when all is sent
                if rc < 0:
                    break
                sent += rc
            if sent < n:
                try:
                    check(rc)
                except Exception as error:
                    for k in range(sent, n):
                        memcpy(&head, data + at[k], sizeof(head))
                        job = self.jobs.get(head.ticket % PF_POOL_JOBS)
                        if job is not None:
                            self.settle(job, 0, failure(error), 0)
        finally:
            if self.held == NULL:
                self.held = data
            else:
                free(data)
        PyErr_CheckSignals()
        return 0

    cdef int take_function(self, PoolJob job, object function) except -1:
        """Pickled once for a job. A plain function is no more than its name."""
        if function is self.last_function:
            job.function = self.last_pickle
            job.by_name = True
            return 0
        cdef list pieces = []
        dump(function, pieces, None)
        job.function = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if type(function) is _FunctionType and len(job.function) < 512 and \
                _FunctionType not in <dict>_ForkingPickler._extra_reducers and \
                _FunctionType not in <dict>_copyreg.dispatch_table:
            job.by_name = True
            self.last_pickle = job.function
            self.last_function = function
        return 0

    cdef void head_of(self, PoolJob job, uint64_t index, TaskHead *head) noexcept:
        head.ticket = index << 24 | job.number
        head.epoch = job.epoch
        head.nfunc = <uint32_t>PyBytes_GET_SIZE(job.function)
        head.form = <uint16_t>job.form
        head.state = job.state
        head.by_name = job.by_name

    cdef int send(self, PoolJob job, uint64_t index, object arguments) except -1:
        """One task."""
        cdef Flat f
        cdef pf_loan refs[PF_MAX_REFS]
        cdef unsigned nrefs = 0
        cdef pf_iov iov[3]
        cdef TaskHead head
        cdef unsigned k
        flat_init(&f)
        try:
            pack(self.tasks, arguments, &f, refs, &nrefs)
            self.head_of(job, index, &head)
            iov[0].base = &head
            iov[0].len = sizeof(head)
            iov[1].base = PyBytes_AS_STRING(job.function)
            iov[1].len = head.nfunc
            iov[2].base = f.data
            iov[2].len = f.len
            job.bytes += f.len + head.nfunc
            for k in range(nrefs):
                job.bytes += refs[k].len
            try:
                push(self.tasks, iov, 3, refs, nrefs, True, None)
            except:
                unpack_refs(self.tasks, refs, nrefs)
                raise
        finally:
            flat_free(&f)
        return 0

    def apply(self, pool, type cls, function, arguments, named, hooks, double timeout=0, int retries=0, bint state=False):
        """A job of one task, sent."""
        cdef PoolJob job = cls.__new__(cls)
        cdef object both
        with cython.critical_section(pool_guard):
            job._pool = pool
            job.kind = APPLY
            job.timeout = timeout
            job.retries = retries
            job.state = state
            self.take_function(job, function)
            if named:
                job.form = CALL_NAMED
                both = (tuple(arguments), dict(named))
            else:
                job.form = CALL
                both = arguments if type(arguments) is tuple else tuple(arguments)
            if retries:
                job.source = both
            job.sent = job.left = 1
            job.all_sent = True
            self.enlist(job)
            if hooks is not None:
                job.hooks = hooks
                self.need(job)
            try:
                self.send(job, 0, both)
            except:
                self.forget(job)
                raise
            if len(self.jobs) & 1023 == 0:
                self.look_now()  # results nobody asks for yet must not pile up
            return job

    def start(self, pool, type cls, function, source, bint listed, bint star, int kind, Py_ssize_t chunk, Py_ssize_t window,
              hooks, double timeout=0, int retries=0, bint state=False):
        """A job of many tasks: of a list as many sent as there is room for; an iterator gets a thread that does it."""
        cdef PoolJob job = cls.__new__(cls)
        with cython.critical_section(pool_guard):
            job._pool = pool
            job.kind = kind
            job.timeout = timeout
            job.retries = retries
            job.state = state
            job.source = source
            job.listed = listed
            job.chunk = chunk
            job.window = window
            job.form = EACH_STAR if star else ONE if chunk == 1 else EACH
            job.out = {}
            self.take_function(job, function)
            if kind == MAP:
                job.value = [None] * len(source)
            else:
                job.arrived = _deque()
                job.unsorted = {}
            if listed and not source:
                job.core = self
                job.all_sent = job.done = True
                job._pool = None
                return job
            self.enlist(job)
            if hooks is not None:
                job.hooks = hooks
            try:
                if listed:
                    self.feeds.append(job)
                    self.feed(job, True)
                else:
                    start_thread(self, job)
            except:
                job.hooks = None
                self.cancel(job, called_off(), False)
                raise
            if hooks is not None or not job.all_sent:
                self.need(job)
            return job

    cdef bint room(self, PoolJob job) noexcept:
        cdef uint64_t unclaimed, mean
        if job.window and job.sent - job.taken >= job.window:
            return False
        unclaimed = pf_ring_size(self.tasks.r)
        if unclaimed < <uint64_t>(2 * self.workers):
            return True
        if job.chunk == 0 or (job.kind != MAP and unclaimed >= WINDOW_ITEMS):
            return False
        mean = job.bytes // <uint64_t>job.sent if job.sent else 0
        return unclaimed * (mean + 64) < WINDOW_BYTES

    cdef Py_ssize_t size_of_next(self, PoolJob job):
        """How many items the next task gets."""
        cdef Py_ssize_t total, rest, size
        cdef object each
        if job.chunk:
            return job.chunk
        total = len(<list>job.value)
        rest = total - job.at
        each = self.times.get(job.function)
        if each is None:  # to be measured: small ones first, unless the function goes with each and is large itself
            return max(1, total // ((4 if len(job.function) > BLOCK_LEAST else 32) * self.workers))
        size = <Py_ssize_t>(CHUNK_TIME / max(<double>each, 1.0))
        return max(1, min(size, (rest + 2 * self.workers - 1) // (2 * self.workers)))

    cdef int feed(self, PoolJob job, bint raising) except -1:
        """Sends of a list what there is room for. What can't be pickled raises, or is the error of its task."""
        cdef Py_ssize_t size, start
        cdef object entry, items
        if job.feeding or job.all_sent:
            return 0
        job.feeding = True
        try:
            while not job.gone and job.at < len(job.source) and self.room(job):  # another thread may cancel it
                if job.form == ONE and job.retries == 0 and job.window == 0:
                    if self.feed_many(job):
                        continue
                size = self.size_of_next(job)
                start = job.at
                if job.form == ONE:
                    items = job.source[start]
                    size = 1
                else:
                    items = job.source[start:start + size]
                    size = len(items)
                    items = tuple(items)
                self.dispatch(job, items, start, size, raising)
                job.at = start + size
            if not job.gone and job.at >= len(job.source):
                self.sent_all(job)
        finally:
            job.feeding = False
            if job.gone and job.left == 0:
                self.finish(job)
        return 0

    cdef int dispatch(self, PoolJob job, object items, Py_ssize_t start, Py_ssize_t size, bint raising) except -1:
        """The next task of a job."""
        cdef Py_ssize_t index = job.sent
        job.out[index] = (start, size, items if job.retries and not job.listed else None)
        job.sent += 1
        job.left += 1
        try:
            self.send(job, index, items)
        except BaseException as error:
            if raising or not isinstance(error, Exception):
                if job.out.pop(index, None) is not None:
                    job.sent -= 1
                    job.left -= 1
                raise
            self.settle(job, index, failure(error), 0)
        return 0

    cdef bint feed_many(self, PoolJob job) except -1:
        """A batch of small single items; False: the next one is not small, or is no item."""
        cdef Flat f
        cdef uint64_t offsets[257]
        cdef unsigned n = 0, sent = 0
        cdef int rc = 0
        cdef TaskHead head
        cdef Py_ssize_t at = job.at, nfunc = PyBytes_GET_SIZE(job.function), total = len(job.source)
        cdef size_t begin
        cdef char *to
        cdef object source = job.source
        cdef dict out = job.out
        flat_init(&f)
        try:
            while n < 256 and at + n < total and f.len < 65536:
                begin = f.len
                to = flat_more(&f, sizeof(head) + nfunc)
                self.head_of(job, job.sent + n, &head)
                memcpy(to, &head, sizeof(head))
                memcpy(to + sizeof(head), PyBytes_AS_STRING(job.function), nfunc)
                if not encode_flat(source[at + n], &f):
                    break
                offsets[n] = begin
                n += 1
                offsets[n] = f.len
            for k in range(n):
                out[job.sent + k] = at + k
            while sent < n:
                rc = pf_ring_put_many(self.tasks.r, f.data, offsets + sent, n - sent, PF_TRY)
                if rc == -EAGAIN:
                    with nogil:
                        rc = pf_ring_put_many(self.tasks.r, f.data, offsets + sent, n - sent, PF_FOREVER)
                if rc == -EINTR:
                    rc = 0  # signals are seen to by who called
                if rc < 0:
                    break
                sent += rc
            for k in range(sent, n):
                out.pop(job.sent + k, None)
            job.sent += sent
            job.left += sent
            job.at += sent
            job.bytes += f.len
            check(rc)
        finally:
            flat_free(&f)
        return sent != 0

    cdef int sent_all(self, PoolJob job) except -1:
        if not job.all_sent:
            job.all_sent = True
            if job in self.feeds:
                self.feeds.remove(job)
            if job.hooks is None:
                self.unneed(job)
            if job.left == 0:
                self.finish(job)
        return 0

    cdef int refill(self, PoolJob job) except -1:
        """There may be room again."""
        if job.listed:
            self.feed(job, False)
        elif job.room is not None and self.room(job):
            room, job.room = job.room, None
            room.release()
        return 0

    cdef int fail_next(self, PoolJob job, object error) except -1:
        """The next task of a job has failed before it was sent."""
        cdef Py_ssize_t index = job.sent
        if not job.gone:
            job.out[index] = True
            job.sent += 1
            job.left += 1
            self.settle(job, index, failure(error), 0)
        return 0

    def pump(self, PoolJob job not None):
        """A thread that sends what an iterator gives, to its end. Blocks for room, and as long as the iterator does."""
        cdef object items
        cdef bint wanted
        source = job.source
        while True:
            with cython.critical_section(pool_guard):
                wanted = self.await_room(job)
            if not wanted:
                break
            try:
                if job.form == ONE:
                    items = next(source)
                else:
                    items = tuple(_islice(source, job.chunk))
                    if not items:
                        break
            except StopIteration:
                break
            except BaseException as error:
                with cython.critical_section(pool_guard):
                    self.fail_next(job, error)
                break
            with cython.critical_section(pool_guard):
                self.send_next(job, items)
        with cython.critical_section(pool_guard):
            self.sent_all(job)
        pf_pool_kick(self.p)  # it may have been the last of it, and its reader asleep

    cdef bint await_room(self, PoolJob job) except -1:
        """False: it has been cancelled."""
        cdef object lock
        while not job.gone and not self.room(job):
            lock = _allocate_lock()
            lock.acquire()
            job.room = lock
            if not self.room(job):
                self.arm_bell()
                lock.acquire(True, 1.0)
            job.room = None
        return not job.gone

    cdef int send_next(self, PoolJob job, object items) except -1:
        if not job.gone:
            try:
                self.dispatch(job, items, 0, 0, False)
            except BaseException as error:  # of its pickling: this thread hears no signals
                self.fail_next(job, error)
        return 0

    # ---- reading

    cdef int collect(self) except -1:
        """Reads results that are there: how many. Only by who leads."""
        cdef cbool settle = False
        cdef int k, rc
        cdef pf_box boxes[BATCH]
        for k in range(BATCH):
            no_box(&boxes[k])
        rc = pf_ring_get_many(self.results.r, boxes, BATCH, PF_TRY, &settle)
        if rc == -EAGAIN:
            return 0
        check(rc)
        try:
            for k in range(rc):
                try:
                    self.receive(&boxes[k])
                except BaseException as error:
                    self.spoiled(&boxes[k], error)
        finally:
            for k in range(rc):
                drop_box(self.results, &boxes[k])
        return rc

    cdef int receive(self, pf_box *box) except -1:
        cdef ResultHead head
        cdef PoolJob job
        cdef object value
        if box.len < sizeof(head):
            raise corrupted()
        memcpy(&head, box.data, sizeof(head))
        if head.ticket == 0:
            self.news.append((head.worker, None if head.status == STARTED else self.value_of(box, True)))
            self.ring()
            return 0
        job = self.jobs.get(head.ticket % PF_POOL_JOBS)
        if job is None or job.epoch != head.epoch:
            return 0
        if head.status == SKIPPED:
            value = failure(None)
        else:
            value = self.value_of(box, head.status == FAILED)
        self.settle(job, head.ticket >> 24, value, head.ns)
        return 0

    cdef int spoiled(self, pf_box *box, object error) except -1:
        """A result that can't be read (out of memory): its task has failed."""
        cdef ResultHead head
        cdef PoolJob job
        if box.len < sizeof(head):
            raise error
        memcpy(&head, box.data, sizeof(head))
        job = self.jobs.get(head.ticket % PF_POOL_JOBS)
        if job is None or job.epoch != head.epoch:
            raise error
        self.settle(job, head.ticket >> 24, failure(error), 0)
        return 0

    cdef object value_of(self, pf_box *box, bint report):
        """What can be had without running any code at once, else a PoolValue."""
        cdef PoolValue value
        cdef object ready
        cdef char tag
        cdef size_t n = sizeof(ResultHead)
        if box.len <= n:
            raise corrupted()
        tag = box.data[n]
        if tag != b"P" and tag != b"K" and tag != b"Q":
            ready = open_behind(self.results, box, n)
            if not report:
                return ready
            value = PoolValue.__new__(PoolValue)
            value.pickle = ready
            value.report = True
            return value
        value = PoolValue.__new__(PoolValue)
        value.report = report
        if tag == b"P":
            value.pickle = PyBytes_FromStringAndSize(box.data + n + 1, <Py_ssize_t>(box.len - n - 1))
            return value
        value.buffers = []
        box.data += n
        box.len -= n
        try:
            value.pickle = take_buffers(self.results, box, tag, None, value.buffers, True)
        finally:
            box.data -= n
            box.len += n
        return value

    cdef int settle(self, PoolJob job, uint64_t index, object value, int64_t ns) except -1:
        """A task's result, or its error. The second one of a task counts for nothing."""
        cdef object entry
        cdef Py_ssize_t start, size, n
        cdef list values
        cdef bint bad = type(value) is PoolValue and ((<PoolValue>value).report or (<PoolValue>value).pickle is None)
        if job.kind == APPLY:
            if job.left == 0:
                return 0
            entry = None
        else:
            entry = job.out.pop(index, None)
            if entry is None:
                return 0
        job.left -= 1
        if bad:
            self.failed += 1
        else:
            self.done += 1
        if job.gone or job.done:
            pass
        elif job.kind == APPLY:
            if bad:
                job.error = value
            else:
                job.value = value
        elif job.kind == MAP:
            job.items += 1 if type(entry) is int else <Py_ssize_t>entry[1]
            if bad:
                if job.error is None:
                    job.error = value
            elif type(entry) is int:
                if type(value) is PoolValue:
                    if job.pieces is None:
                        job.pieces = []
                    job.pieces.append((entry, -1, value))
                else:
                    (<list>job.value)[entry] = value
            else:
                start, size, _ = entry
                if job.chunk == 0 and ns:
                    self.measure(job, ns, size)
                if type(value) is PoolValue:
                    if job.pieces is None:
                        job.pieces = []
                    job.pieces.append((start, -1 if job.form == ONE else size, value))
                elif job.form == ONE:
                    (<list>job.value)[start] = value
                else:
                    (<list>job.value)[start:start + size] = value
        else:
            if job.kind == IMAP_UNORDERED:
                job.arrived.append(value)
                job.index += 1
            elif index == <uint64_t>job.index:
                job.arrived.append(value)
                job.index += 1
                while job.unsorted and job.index in job.unsorted:
                    job.arrived.append(job.unsorted.pop(job.index))
                    job.index += 1
            else:
                job.unsorted[index] = value
            self.wake(job)
        if job.left == 0 and job.all_sent:
            self.finish(job)
        elif not job.all_sent and not job.listed:
            self.refill(job)
        return 0

    cdef int measure(self, PoolJob job, int64_t ns, Py_ssize_t size) except -1:
        cdef double each = <double>ns / size
        before = self.times.get(job.function)
        if before is None:
            if len(job.function) > 512:
                return 0
            if len(self.times) >= 256:
                self.times.clear()
        else:
            each = 0.5 * each + 0.5 * <double>before
        self.times[job.function] = each
        return 0

    cdef int finish(self, PoolJob job) except -1:
        """All of its tasks are settled."""
        if self.jobs.get(job.number) is not job:
            return 0
        del self.jobs[job.number]
        pf_pool_call_off(self.p, job.number, False)
        if job.done or job.gone:
            if self.serving:
                self.ring()
            return 0
        if job.hooks is not None:
            self.tell(job)
            return 0
        self.conclude(job)
        return 0

    cdef int tell(self, PoolJob job) except -1:
        self.calling += 1
        self.callbacks.put(job)
        return 0

    cdef int conclude(self, PoolJob job) except -1:
        if not job.done:
            self.retire(job)
        job.source = job._pool = None
        self.wake(job)
        if self.serving:
            self.ring()
        return 0

    cdef int wake(self, PoolJob job) except -1:
        cdef object lock
        if job.waiters is not None:
            for lock in job.waiters:
                if lock.locked():
                    lock.release()
            job.waiters = None
        if job.done and job.room is not None:
            room, job.room = job.room, None
            room.release()
        return 0

    cdef void forget(self, PoolJob job):
        """It was never sent."""
        self.jobs.pop(job.number, None)
        job._pool = None
        self.retire(job)

    cdef int cancel(self, PoolJob job, PoolValue error, bint kill) except -1:
        """Calls off what has not begun; with kill also what has."""
        cdef unsigned k
        cdef pf_pool_worker w
        if job.done or job.gone or job.core is None or job.number not in self.jobs:
            return False
        job.gone = True
        job.off = kill  # by the user
        job.error = error
        job.all_sent = True
        if job in self.feeds:
            self.feeds.remove(job)
        pf_pool_call_off(self.p, job.number, True)
        if kill:
            for k in range(<unsigned>self.workers):
                pf_pool_look(self.p, k, &w)
                if w.ticket and w.ticket % PF_POOL_JOBS == job.number and pf_pool_condemn(self.p, k, w.ticket):
                    self.doomed.append((k, error))
        if job.left == 0 and not job.feeding:
            self.finish(job)
        if job.hooks is None:
            self.conclude(job)
        elif not kill:
            self.tell(job)
        else:
            self.call_hooks(job)
            while job.hooks:  # that have come meanwhile
                self.call_hooks(job)
            self.conclude(job)
        self.ring()
        pf_pool_kick(self.p)
        return True

    # ---- waiting

    cdef bint wait(self, PoolJob job, int64_t deadline) except -1:
        """Until it is served. False: not until the deadline."""
        cdef unsigned long outer
        self.ours()
        if self.nheld:
            self.flush()
        while not job.served():
            if self.led():
                if not self.follow(job, deadline):
                    return job.served()
                continue
            outer = self.leader
            self.leader = PyThread_get_thread_ident()
            try:
                self.lead(job, deadline)
            finally:
                self.leader = outer
                self.pass_on()
            if job.served():
                break
            PyErr_CheckSignals()  # now, since a handler may take long, and use the pool
            if deadline != PF_FOREVER and deadline <= pf_now():
                return False
        return True

    cdef bint led(self) noexcept:
        """Does another thread lead? In this one it may be a signal handler that asks, or what pickles an item."""
        return self.leader != 0 and self.leader != PyThread_get_thread_ident()

    cdef int lead(self, PoolJob job, int64_t deadline) except -1:
        """Reads and sleeps until the job is served or the deadline has come, or signals are to be looked at."""
        cdef uint32_t seen
        cdef uint64_t n
        cdef int64_t until, turn = pf_deadline(TURN)
        cdef int rc
        pf_pool_call(self.p, self.results.r, 0)
        while True:
            seen = pf_pool_seen(self.p)
            if self.read():
                if job.served() or turn <= pf_now():
                    return 0
                continue
            if job.served() or deadline <= PF_NOWAIT:
                return 0
            until = deadline
            n = self.enough(job, &until)
            with nogil:
                rc = pf_pool_wait(self.p, self.results.r, n, seen, until)
            if rc == -EINTR:
                return 0
            if rc == -ETIMEDOUT:
                if until == deadline or deadline <= pf_now():
                    self.read()
                    return 0
            else:
                check(rc)

    cdef uint64_t enough(self, PoolJob job, int64_t *until) noexcept:
        """For how many results it pays to wake up."""
        cdef uint64_t unclaimed
        cdef int64_t nap
        if self.dead:
            nap = pf_deadline(20000000)
            if nap < until[0]:
                until[0] = nap
            return 1
        if self.followers or self.feeds:
            if not self.feeds or self.followers or (<PoolJob>self.feeds[0]).chunk == 0:
                return 1
            unclaimed = pf_ring_size(self.tasks.r) // 2
            return unclaimed if unclaimed > 1 else 1
        if self.needs and job.kind != MAP:
            return 1
        if job.kind == MAP and not self.needs:
            return 4096 if job.left > 4096 else job.left if job.left > 1 else 1
        if self.pace > FAST:
            return 1
        unclaimed = pf_ring_size(self.tasks.r)
        if unclaimed < 2:
            return 1
        nap = pf_deadline(NAP)
        if nap < until[0]:
            until[0] = nap
        return unclaimed if unclaimed < BATCH else BATCH

    cdef bint read(self) except -1:
        """Reads what is there, buries who is dead, sends what there is room for. True: something was read."""
        cdef int n = 0, got, rounds = 0
        cdef int64_t now
        cdef list dead = self.dead.copy()
        cdef bint dying = len(dead) != 0
        if dying:
            self.dead.clear()
        while True:
            got = self.collect()
            n += got
            rounds += 1
            if got == 0 or (rounds >= 16 and not dying):
                break
        if n:
            now = pf_now()
            self.pace = 0.75 * self.pace + 0.25 * <double>(now - self.before) / n
            self.before = now
        if dying:
            self.bury(dead)
        if self.feeds:
            for job in list(self.feeds):
                self.feed(job, False)
        return n != 0

    cdef int bury(self, list dead) except -1:
        """All results of the dead are read: what they still held is lost."""
        cdef uint64_t ticket = 0
        cdef unsigned worker
        cdef int rc
        cdef int64_t deadline = pf_deadline(20000000)
        for entry in dead:
            worker, death = entry
            with nogil:
                rc = pf_pool_held(self.p, worker, deadline, &ticket)
            if rc == -EINTR or rc == -ETIMEDOUT:
                self.dead.append(entry)
                continue
            check(rc)
            if ticket:
                self.lost(worker, ticket, death)
            self.reasons.pop(worker, None)
            self.buried.append(worker)
            self.ring()
        return 0

    cdef int lost(self, unsigned worker, uint64_t ticket, object death) except -1:
        """A task that a dead worker held: tried again, or failed."""
        cdef PoolJob job = self.jobs.get(ticket % PF_POOL_JOBS)
        cdef uint64_t index = ticket >> 24
        cdef object entry, items
        if job is None:
            return 0
        if not job.gone and not job.done and worker not in self.reasons and job.retries and not self.stopped and \
                (job.kind == APPLY or index in job.out):
            if job.tries is None:
                job.tries = {}
            tried = job.tries.get(index, 0) + 1
            if tried <= job.retries:
                job.tries[index] = tried
                if job.kind == APPLY:
                    items = job.source
                else:
                    entry = job.out[index]
                    items = entry[2]
                    if job.listed:
                        items = job.source[entry[0]] if job.form == ONE else \
                            tuple(job.source[entry[0]:entry[0] + entry[1]])
                try:
                    self.send(job, index, items)
                    return 0
                except Exception as error:
                    self.settle(job, index, failure(error), 0)
                    return 0
        error = self.reasons.get(worker)
        if error is None:
            error = PoolValue.__new__(PoolValue)
            (<PoolValue>error).lost = (job.number, index, death)
        self.settle(job, index, error, 0)
        return 0

    cdef bint follow(self, PoolJob job, int64_t deadline) except -1:
        """Somebody else leads: sleeps until the job is served or it is our turn. False: until the deadline."""
        cdef object lock
        cdef double left = -1
        cdef bint woken
        if deadline != PF_FOREVER:
            left = <double>(deadline - pf_now()) * 1e-9
            if deadline <= PF_NOWAIT or left <= 0:
                return False
            if left > 1e6:
                left = 1e6
        lock = _allocate_lock()
        lock.acquire()
        self.followers.append(lock)
        if job.waiters is None:
            job.waiters = []
        job.waiters.append(lock)
        try:
            pf_pool_kick(self.p)  # it may sleep for many results
            woken = lock.acquire(True, left)
        finally:
            if lock in self.followers:
                self.followers.remove(lock)
            if job.waiters is not None and lock in job.waiters:
                job.waiters.remove(lock)
            self.pass_on()
        return woken

    cdef int pass_on(self) except -1:
        """Somebody must lead, where somebody waits."""
        if self.leader:
            return 0
        if self.followers:
            lock = self.followers.pop(0)
            if lock.locked():
                lock.release()
        else:
            self.arm_bell()
        return 0

    def look(self):
        """Reads what is there, if nobody else does."""
        with cython.critical_section(pool_guard):
            self.look_now()

    cdef int look_now(self) except -1:
        cdef unsigned long outer
        self.ours()
        if self.nheld:
            self.flush()
        if self.led():
            return 0
        outer = self.leader
        self.leader = PyThread_get_thread_ident()
        try:
            self.read()
        finally:
            self.leader = outer
            self.pass_on()
        return 0

    # ---- the pool's thread

    cdef void need(self, PoolJob job) noexcept:
        if not job.counted and not job.done:
            job.counted = True
            self.needs += 1
            if self.leader:
                pf_pool_kick(self.p)  # who may sleep for many results
            else:
                self.arm_bell()

    cdef void unneed(self, PoolJob job) noexcept:
        if job.counted:
            job.counted = False
            self.needs -= 1

    def arm(self):
        """The bell shall ring at the next result, if somebody needs the pool's thread and nobody leads."""
        with cython.critical_section(pool_guard):
            self.arm_bell()

    cdef void arm_bell(self) noexcept:
        if not self.leader:
            pf_pool_call(self.p, self.results.r, 1 if self.needs or self.serving or self.dead else 0)

    cpdef ring(self):
        """Wakes the pool's thread."""
        cdef pf_bell bell = pf_ring_bell(self.results.r)
        pf_bell_ring(&bell)

    def quiet(self):
        """The pool's thread is awake."""
        cdef pf_bell bell = pf_ring_bell(self.results.r)
        pf_bell_reset(&bell)

    def bell(self):
        """The descriptor that the pool's thread selects on."""
        return pf_ring_bell(self.results.r).wait_fd

    def serve(self):
        """What the pool's thread does when it wakes up: reads as long as something comes quickly, if nobody leads."""
        with cython.critical_section(pool_guard):
            if self.dead:
                pf_pool_kick(self.p)
            if self.nheld:
                self.flush()
            self.look_now()

    cdef int hook(self, PoolJob job, object hook) except -1:
        if job.hooks is None:
            job.hooks = []
        job.hooks.append(hook)
        self.need(job)
        return 0

    def concluded(self, PoolJob job not None):
        """Its hooks were called; those that came meanwhile are to be called too."""
        with cython.critical_section(pool_guard):
            self.calling -= 1
            if job.hooks:
                self.tell(job)
            else:
                self.conclude(job)
                pf_pool_kick(self.p)

    def expired(self):
        """Condemns the tasks that have run too long: seconds until the next one has, or None."""
        cdef pf_pool_worker w
        cdef unsigned k
        cdef PoolJob job
        cdef int64_t now = pf_now(), left
        cdef double soonest, rest
        with cython.critical_section(pool_guard):
            if self.timed == 0:
                return None
            soonest = max(self.least, 0.005)  # a task that begins now
            for k in range(<unsigned>self.workers):
                pf_pool_look(self.p, k, &w)
                if not w.ticket:
                    continue
                job = self.jobs.get(w.ticket % PF_POOL_JOBS)
                if job is None or job.timeout <= 0:
                    continue
                rest = job.timeout - <double>(now - w.since) * 1e-9
                if rest > 0:
                    soonest = min(soonest, rest)
                elif pf_pool_condemn(self.p, k, w.ticket):
                    self.doomed.append((k, failure(_TimeoutError(f"the task ran for more than {job.timeout:g} s"))))
            return soonest

    def condemned(self):
        """Numbers of the workers to kill now."""
        cdef list found = []
        with cython.critical_section(pool_guard):
            while self.doomed:
                worker, error = self.doomed.pop()
                self.reasons[worker] = error
                found.append(worker)
            return found

    def reset(self, unsigned worker):
        """A new process will be this worker. Why its predecessor was to be killed is not its business."""
        with cython.critical_section(pool_guard):
            self.reasons.pop(worker, None)
            self.doomed[:] = [entry for entry in self.doomed if entry[0] != worker]
            pf_pool_reset(self.p, worker)

    def has_ready(self, unsigned worker):
        """Whether it has begun to take tasks."""
        cdef pf_pool_worker w
        pf_pool_look(self.p, worker, &w)
        return w.ready

    def died(self, unsigned worker, death):
        """Its process has ended: what it held is settled when all results are read, by who leads."""
        with cython.critical_section(pool_guard):
            self.dead.append((worker, death))

    def fail_all(self, error):
        """Every call that is not done gets this error; what has not begun is called off."""
        with cython.critical_section(pool_guard):
            for job in list(self.jobs.values()):
                self.cancel(job, failure(error), False)


    def stop(self, unsigned how):
        """1: workers end when no task is left; 2: at once."""
        cdef char nothing = 0
        cdef pf_iov iov
        cdef Py_ssize_t k
        with cython.critical_section(pool_guard):
            pf_pool_stop(self.p, how)
            if how == 2:
                self.stopped = True
            iov.base = &nothing
            iov.len = 1
            for k in range(self.workers):
                push(self.tasks, &iov, 1, NULL, 0, True, None)

    def error_of(self, PoolValue value not None):
        """The exception that a report tells of."""
        try:
            value.open(self)
        except BaseException as error:
            return error

    def backlog(self):
        """Tasks that no worker has taken yet, but for those that were called off."""
        cdef PoolJob job
        cdef pf_pool_worker w
        cdef unsigned k
        cdef Py_ssize_t off = 0
        with cython.critical_section(pool_guard):
            for job in list(self.jobs.values()):
                if job.gone:
                    off += job.left
            for k in range(<unsigned>self.workers if off else 0):
                pf_pool_look(self.p, k, &w)
                job = self.jobs.get(w.ticket % PF_POOL_JOBS) if w.ticket else None
                if job is not None and job.gone:
                    off -= 1
            return max(0, <Py_ssize_t>pf_ring_size(self.tasks.r) - off)

    def unread(self):
        """Results that nobody has read yet."""
        return pf_ring_size(self.results.r)

    def glance(self, unsigned worker):
        """(number of its job or 0, seconds in this task, seconds in all tasks before, how many those were)"""
        cdef pf_pool_worker w
        pf_pool_look(self.p, worker, &w)
        return (w.ticket % PF_POOL_JOBS, (pf_now() - w.since) * 1e-9 if w.ticket else 0.0, w.busy * 1e-9, w.done)


cdef int start_thread(PoolCore core, PoolJob job) except -1:
    _threading.Thread(None, core.pump, "procfast-imap", (job,), daemon=True).start()
    return 0


from collections import deque as _deque
from _queue import SimpleQueue as _SimpleQueue
from itertools import chain as _chain, islice as _islice
