# Arena: shared memory for many small objects. Block: a piece of it, the base of locks and values.
#
# How to build a shared object on a block:
#
#     cdef class Thing(Block):
#         def __cinit__(self): ...
#         def __init__(self): self.allocate(sizeof(thing))      # zeroed, 64-byte aligned, at self.addr
#
# or new_block(size) for one that only keeps memory alive: _address(), _size. The memory goes back when nobody in
# this process refers to the block; it is reused when no other process can have it in its hands any more (arena.h).
# Forked children simply have it. To children of spawn and forkserver it goes as
#
#     arena, offset = block._place()         on the way out: pickle both; native/arena.py pickles the arena,
#                                            once for all blocks of it that go in one message
#     block._map(arena, offset, size)        on a new block, over there
#
# Allocation belongs to the process that made an arena: a child makes one of its own when it first needs memory.

cdef object arena_guard = object()  # of the allocators
cdef Arena current_arena = None     # where this process, or the one it was forked from, allocated last
cdef dict arenas = {}               # id -> those for many blocks: own, inherited, attached; for the process's life


cdef class Arena:
    """A memory file for small objects (csrc/include/procfast/arena.h)."""

    cdef pf_arena *a
    cdef bint single  # for one large block, and gone with it

    def __dealloc__(self):
        if self.a:
            pf_arena_close(self.a)

    @property
    def _id(self):
        """Names it among all of the machine."""
        return <bytes>(<const char *>pf_arena_id(self.a))[:PF_ARENA_ID]

    @property
    def _single(self):
        return self.single

    def _fd(self):
        """The descriptor to hand to another process at once: the arena's own, to be duplicated and not to be closed."""
        with cython.critical_section(arena_guard):
            fd = check(pf_arena_fd(self.a))
        return fd

    def _stats(self):
        """Bytes and blocks, as a dict (pf_arena_stats)."""
        cdef pf_arena_stats s
        with cython.critical_section(arena_guard):
            pf_arena_stats_read(self.a, &s)
        return s


cdef Arena new_arena(size_t size):
    cdef Arena arena = Arena.__new__(Arena)
    check(pf_arena_create(&arena.a, size))
    arena.single = size != 0
    return arena


def attach_arena(bytes id not None, bint single, int fd):
    """The arena of another process, by its descriptor, which is the arena's, or closed, afterwards."""
    cdef Arena arena
    cdef int rc = 0
    with cython.critical_section(arena_guard):
        arena = arenas.get(id)
        if arena is not None:
            rc = pf_arena_adopt(arena.a, fd)
    if arena is None:
        arena = Arena.__new__(Arena)
        rc = pf_arena_attach(&arena.a, fd)
        arena.single = single
    if rc < 0:
        close(fd)
    check(rc)
    if not single:
        arenas.setdefault(id, arena)
    return arena


def _arena():
    """The arena that this process allocates from, or None; for diagnosis and tests."""
    if current_arena is not None and pf_arena_mine(current_arena.a):
        return current_arena


cdef int other_arena(size_t size, void **addr) except -1:
    """Memory where the current arena is full or another process's."""
    global current_arena
    cdef Arena arena
    cdef int rc
    for arena in arenas.values():
        if pf_arena_mine(arena.a):
            rc = pf_arena_alloc(arena.a, size, addr)
            if rc != -ENOSPC:
                check(rc)
                current_arena = arena
                return 0
    arena = new_arena(0)
    check(pf_arena_alloc(arena.a, size, addr))
    arenas[arena._id] = current_arena = arena
    return 0


@cython.no_gc  # its arena refers to nothing; and a cleared block could not give its memory back
cdef class Block:
    """Zeroed memory that other processes can reach; it goes back when nobody refers to the block any more."""

    cdef void *addr  # NULL: none yet
    cdef size_t size
    cdef Arena arena
    cdef Block owner  # whose memory it lies in, or None

    cdef int allocate(self, size_t size) except -1:
        cdef int rc = -EPERM
        cdef void *addr = NULL
        cdef Arena arena
        if self.addr:
            raise RuntimeError(f"this {type(self).__name__} has its memory already")
        if size > PF_ARENA_MOST:
            arena = new_arena(size)
            check(pf_arena_alloc(arena.a, size, &addr))
        else:
            with cython.critical_section(arena_guard):
                if current_arena is not None:
                    rc = pf_arena_alloc(current_arena.a, size, &addr)
                if rc == -EPERM or rc == -ENOSPC:
                    rc = other_arena(size, &addr)
                arena = current_arena
            check(rc)
        self.addr = addr
        self.size = size
        self.arena = arena
        return 0

    cdef int lie_in(self, Block owner, size_t size) except -1:
        """Becomes the beginning of another block's memory."""
        if self.addr:
            raise RuntimeError(f"this {type(self).__name__} has its memory already")
        self.addr = owner.addr
        self.size = size
        self.arena = owner.arena
        self.owner = owner
        return 0

    def __dealloc__(self):
        if self.addr and self.owner is None:
            with cython.critical_section(arena_guard):
                pf_arena_free(self.arena.a, self.addr, self.size)

    @property
    def _size(self):
        return self.size

    def _address(self):
        """Where it is in this process. The memory is valid while the block lives."""
        return <uintptr_t>self.addr

    def _place(self):
        """(arena, offset): what another process needs to map it."""
        return self.arena, pf_arena_offset(self.arena.a, self.addr)

    def _map(self, Arena arena not None, uint64_t offset, size_t size):
        """Becomes what another process has put there. RingCorrupted where it cannot be."""
        if self.addr:
            raise RuntimeError(f"this {type(self).__name__} has its memory already")
        cdef void *addr
        check(pf_arena_at(arena.a, offset, size, &addr))
        self.addr = addr
        self.size = size
        self.arena = arena


def new_block(size_t size):
    """A block of its own: zeroed memory, at least one byte, at most what the system gives."""
    cdef Block block = Block.__new__(Block)
    block.allocate(size)
    return block
