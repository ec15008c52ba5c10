# Ring: a handle on a shared ring. Loan: memory of a ring in the hands of this process.

from cpython.buffer cimport PyBuffer_FillInfo
from libc.string cimport memcpy

cdef extern from "<sys/mman.h>" nogil:
    int munmap(void *addr, size_t size)


cdef inline uint64_t this_thread() noexcept:
    """Of this process image: the ids of its parent's threads come again."""
    cdef pf_thread *me = pf_thread_self()
    return me.epoch << 32 | me.tid


@cython.no_gc  # its link refers to nothing
cdef class Ring:
    """A handle on a ring of messages in anonymous shared memory (csrc/include/procfast/ring.h).

    Ring.create(maxsize, max_bytes) makes one; Ring.attach(fd, wait_fd, ring_fd) opens another process's,
    whose descriptors become the handle's. It is closed when nobody refers to it any more.
    """

    cdef pf_ring *r
    cdef Link link  # whose ring it is, or None
    cdef uint64_t busy  # the thread in the middle of a message of several parts, or 0

    @staticmethod
    def create(uint64_t maxsize=0, uint64_t max_bytes=0):
        cdef Ring self = Ring.__new__(Ring)
        check(pf_ring_create(&self.r, maxsize, max_bytes))
        return self

    @staticmethod
    def attach(int fd, int wait_fd, int ring_fd):
        cdef Ring self = Ring.__new__(Ring)
        cdef pf_bell bell
        bell.wait_fd = wait_fd
        bell.ring_fd = ring_fd
        check(pf_ring_attach(&self.r, fd, bell))
        return self

    def __dealloc__(self):
        if self.r and self.link is None:
            pf_ring_close(self.r)

    cdef void enter(self) noexcept:
        pf_poke_word(&self.busy, this_thread())

    cdef void exit(self) noexcept:
        """To be called before another thread can enter."""
        pf_poke_word(&self.busy, 0)

    cdef bint inside(self) noexcept:
        return pf_peek_word(&self.busy) == this_thread()

    def fds(self):
        """(memory, bell to wait on, bell to ring): the last two may be one descriptor."""
        cdef pf_bell bell = pf_ring_bell(self.r)
        return pf_ring_fd(self.r), bell.wait_fd, bell.ring_fd

    def size(self):
        """Messages inside, exact at the instant of the call."""
        return pf_ring_size(self.r)

    def arm(self):
        """From now on the bell's descriptor is readable whenever a message can be got; the descriptor."""
        cdef int rc
        while True:
            with nogil:
                rc = pf_ring_arm(self.r)
            if rc != -EINTR:
                break
            PyErr_CheckSignals()
        check(rc)
        return pf_ring_bell(self.r).wait_fd

    cdef int settle(self) noexcept:
        """Quiets the bell if nothing is left. The caller has an item in its hands that must not be lost to
        a signal handler's exception, so no signals are looked at; it takes a second at most."""
        cdef int rc = -EINTR
        while rc == -EINTR:
            with nogil:
                rc = pf_ring_settle(self.r)
        return 0

    def wait(self, block, timeout):
        """Is there a message, waiting at most `timeout` seconds for one?"""
        cdef int64_t deadline = deadline_of(block, timeout)
        cdef int rc = pf_ring_wait(self.r, PF_NOWAIT)
        while rc != 0:
            if rc == -ETIMEDOUT and deadline <= pf_now():
                self.settle()
                return False
            if rc != -ETIMEDOUT and rc != -EINTR:
                check(rc)
            with nogil:
                rc = pf_ring_wait(self.r, deadline)
            if rc == -EINTR:
                PyErr_CheckSignals()
        return True

    def done(self):
        """Counts one item as done; False where more would be done than were put."""
        cdef int rc = pf_ring_done(self.r)
        if rc == -EINVAL:
            return False
        check(rc)
        return True

    def join(self, timeout=None):
        """Waits until every item is done; False where the timeout (seconds) came first."""
        cdef int64_t deadline = deadline_of(True, timeout)
        cdef int rc
        while True:
            with nogil:
                rc = pf_ring_join(self.r, deadline)
            if rc == -EINTR:
                PyErr_CheckSignals()
            elif rc == -ETIMEDOUT:
                return False
            else:
                check(rc)
                return True

    def stats(self):
        """Counts and bytes, as a dict: put, got, done, ring_bytes, block_bytes, lent_bytes and the owners of
        the two locks (0: free)."""
        cdef pf_ring_stats s
        pf_ring_stats_read(self.r, &s)
        return s


# All loans of this process, linked by borrowed pointers: the list must not keep them alive. Some may be about to go, and
# wait for the latch: nobody may count references to what is found there.
cdef latch loans_latch
cdef void *first_loan = NULL
cdef uint64_t lent_bytes = 0


@cython.no_gc  # its ring refers to nothing; and a cleared loan could not give its block back
cdef class Loan:
    """A block of a ring's memory that an object received by get() lives on, writable.

    The block goes back when nobody refers to the loan any more, or when the process dies. Before a fork
    its bytes become private memory at the same address, so parent and child own a copy each.
    """

    cdef Ring ring
    cdef pf_loan loan
    cdef uint64_t epoch
    cdef bint private
    cdef void *before
    cdef void *after

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.loan.base, <Py_ssize_t>self.loan.len, 0, flags)

    def __len__(self):
        return self.loan.len

    def __dealloc__(self):
        global first_loan, lent_bytes
        if self.ring is None:
            return
        latch_close(&loans_latch)
        if self.before:
            (<Loan>self.before).after = self.after
        else:
            first_loan = self.after
        if self.after:
            (<Loan>self.after).before = self.before
        if not self.private:
            lent_bytes -= self.loan.len
        latch_open(&loans_latch)
        if self.private:
            munmap(self.loan.base, (self.loan.len + 4095) & ~<uint64_t>4095)
        elif self.epoch == pf_epoch():
            pf_ring_return(self.ring.r, &self.loan)


cdef Loan lend(Ring ring, pf_loan *loan):
    """The Python owner of a block that was just received; None where so much is lent that it is to be copied."""
    global first_loan, lent_bytes
    cdef Loan self = Loan.__new__(Loan)
    hook_forks()
    latch_close(&loans_latch)
    if lent_bytes + loan.len <= LEND_MOST:
        self.loan = loan[0]
        self.epoch = pf_epoch()
        self.ring = ring
        self.after = first_loan
        if first_loan:
            (<Loan>first_loan).before = <void *>self
        first_loan = <void *>self
        lent_bytes += loan.len
    latch_open(&loans_latch)
    return None if self.ring is None else self


cdef void make_loans_private() noexcept:
    """Makes every loan's bytes private, in place. One that can't be (no memory) stays the parent's: the
    child then sees it change, and never gives it back."""
    global lent_bytes
    cdef void *at
    latch_close(&loans_latch)
    at = first_loan
    while at:
        if not (<Loan>at).private and (<Loan>at).epoch == pf_epoch():
            if pf_ring_privatize((<Loan>at).ring.r, &(<Loan>at).loan) == 0:
                (<Loan>at).private = True
                lent_bytes -= (<Loan>at).loan.len
        at = (<Loan>at).after
    latch_open(&loans_latch)
