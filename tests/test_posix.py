"""procfast.posix: pipes, whole reads and writes. Both backends pass the same tests."""

import array
import contextlib
import errno
import fcntl
import inspect
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import workers

MIB = 1 << 20
SLACK = 5.0  # seconds a loaded machine may add to what should be immediate


@pytest.fixture(params=["pipe", "nonblocking", "socket"])
def ends(request, posix):
    """(reader, writer), as descriptors."""
    sockets = socket.socketpair() if request.param == "socket" else ()
    pair = [s.detach() for s in sockets] or list(posix.pipe())
    if request.param == "nonblocking":
        for fd in pair:
            os.set_blocking(fd, False)
    yield pair
    for fd in pair:
        if fd >= 0:
            os.close(fd)


def shut(ends, which: int) -> None:
    os.close(ends[which])
    ends[which] = -1


class Later:
    """Runs it in a thread; `wait` gives its result."""

    def __init__(self, target, *args) -> None:
        self.result: list = []
        self.thread = threading.Thread(target=lambda: self.result.append(target(*args)))
        self.thread.start()

    def wait(self):
        self.thread.join(30)
        assert not self.thread.is_alive()
        return self.result[0]


@pytest.fixture
def child():
    """Forks children that run a function; they are killed at the end."""
    pids = []

    def start(body) -> int:
        pid = os.fork()
        if pid == 0:
            status = 9
            try:
                body()
                status = 0
            finally:
                os._exit(status)
        pids.append(pid)
        return pid

    def end(pid: int, signum: int = 0) -> int:
        if signum:
            os.kill(pid, signum)
        pids.remove(pid)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    start.end = end
    yield start
    for pid in list(pids):
        end(pid, signal.SIGKILL)


@pytest.fixture
def alarm():
    """alarm(seconds, handler, again=0): a signal while something waits."""
    before = signal.getsignal(signal.SIGALRM)

    def set_it(seconds: float, handler, again: float = 0) -> None:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, seconds, again)

    yield set_it
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


# -- pipe -----------------------------------------------------------------------------------------


def test_the_chosen_backend_answers():
    import procfast
    import procfast.posix

    where = procfast.posix.pipe.__self__.__class__.__module__
    assert where.startswith(f"procfast.{procfast.backend}.posix")
    for name in procfast.posix.__all__:
        assert getattr(procfast.posix, name).__doc__


def test_backends_have_the_same_names():
    """And signatures, and docstrings: those of classes too."""
    from procfast import _backend

    native, stdlib = (_backend.load(name, "posix") for name in _backend.BACKENDS)
    assert native.__all__ == stdlib.__all__
    for name in native.__all__:
        ours, theirs = getattr(native, name), getattr(stdlib, name)
        assert ours.__doc__ and ours.__doc__ == theirs.__doc__, name
        if isinstance(ours, int):
            assert ours == theirs
            continue
        assert inspect.signature(ours) == inspect.signature(theirs), name
        if isinstance(ours, type):
            public = [n for n in dir(ours) if not n.startswith("_")]
            assert public == [n for n in dir(theirs) if not n.startswith("_")], name


def test_pipe_is_close_on_exec(posix):
    r, w = posix.pipe()
    try:
        for fd in (r, w):
            assert type(fd) is int
            assert not os.get_inheritable(fd) and os.get_blocking(fd)
        code = f"import os; [os.fstat(fd) for fd in ({r}, {w})]"
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, close_fds=False)
        assert b"Bad file descriptor" in told.stderr
        assert os.write(w, b"abc") == 3 and os.read(r, 5) == b"abc"
    finally:
        os.close(r)
        os.close(w)


def test_too_many_descriptors(posix):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError) as caught:
            posix.pipe()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.errno == errno.EMFILE


# -- whole reads and writes ------------------------------------------------------------------------


def test_whole(ends, posix):
    """64 MiB, many times what it holds; the flags stay."""
    data = os.urandom(MIB) * 64
    flags = [fcntl.fcntl(fd, fcntl.F_GETFL) for fd in ends]
    writer = Later(posix.write_all, ends[1], data)
    assert posix.read_exactly(ends[0], 1) == data[:1]
    rest = bytearray(len(data) - 1)
    posix.read_into(ends[0], rest, timeout=60)
    assert rest == memoryview(data)[1:]
    assert writer.wait() is None
    assert [fcntl.fcntl(fd, fcntl.F_GETFL) for fd in ends] == flags


def test_exactly_so_many(ends, posix):
    posix.write_all(ends[1], b"abcdef")
    assert posix.read_exactly(ends[0], 2) == b"ab"
    assert posix.read_exactly(ends[0], 3, 10) == b"cde"
    assert posix.read_exactly(ends[0], 1, timeout=0) == b"f"


def test_pieces_that_come_slowly(ends, posix):
    def write():
        for i in range(20):
            os.write(ends[1], bytes([i]))
            time.sleep(0.005)

    writer = Later(write)
    assert posix.read_exactly(ends[0], 20, 30) == bytes(range(20))
    writer.wait()


def test_nothing(ends, posix):
    """0 bytes are there at once, whatever the other end does."""
    for timeout in (None, 0, 5):
        assert posix.read_exactly(ends[0], 0, timeout) == b""
        assert posix.read_into(ends[0], bytearray(), timeout) is None
        assert posix.write_all(ends[1], b"", timeout) is None
    shut(ends, 1)
    assert posix.read_exactly(ends[0], 0) == b""


def test_buffers(ends, posix):
    """What has a buffer can be written, and filled if it is writable: the bytes, whatever the items are."""
    numbers = array.array("d", [1.5, -2.0, 3.25])
    posix.write_all(ends[1], numbers)
    got = array.array("d", bytes(24))
    posix.read_into(ends[0], got)
    assert got == numbers
    posix.write_all(ends[1], memoryview(b"abcdef")[1:4])
    posix.write_all(ends[1], bytearray(b"xy"))
    part = bytearray(b".......")
    posix.read_into(ends[0], memoryview(part)[1:6])
    assert part == b".bcdxy."


def test_numpy(ends, posix):
    numpy = pytest.importorskip("numpy")
    table = numpy.arange(12.0).reshape(3, 4)
    got = numpy.zeros((3, 4))
    posix.write_all(ends[1], table)
    posix.read_into(ends[0], got, 10)
    assert (got == table).all()
    with pytest.raises(BufferError, match=r"data must be contiguous"):
        posix.write_all(ends[1], table[:, 1])
    with pytest.raises(BufferError, match=r"buffer must be contiguous"):
        posix.read_into(ends[0], got[:, 1])


def test_objects_with_a_fileno(posix):
    a, b = socket.socketpair()
    with a, b:
        posix.write_all(a, b"abc")
        assert posix.read_exactly(b, 3) == b"abc"


def test_files(posix, tmp_path):
    with open(tmp_path / "file", "w+b", buffering=0) as file:
        posix.write_all(file, b"abcdef", 0)
        file.seek(2)
        with pytest.raises(EOFError) as caught:
            posix.read_exactly(file, 100, 0)
    assert caught.value.partial == b"cdef"


# -- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, -1, 0.2])
def test_read_timeout(ends, posix, timeout):
    """The exception has what had come."""
    posix.write_all(ends[1], b"abc")
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=f"read 3 of 10 bytes within {timeout}") as caught:
        posix.read_exactly(ends[0], 10, timeout)
    assert timeout <= time.monotonic() - began < SLACK + 0.2
    assert caught.value.partial == b"abc" and caught.value.done == 3
    assert caught.value.errno == errno.ETIMEDOUT
    buffer = bytearray(4)
    posix.write_all(ends[1], b"de")
    with pytest.raises(TimeoutError) as caught:
        posix.read_into(ends[0], buffer, timeout)
    assert buffer == b"de\0\0" and caught.value.done == 2


@pytest.mark.parametrize("timeout", [0, -1, 0.2])
def test_write_timeout(ends, posix, timeout):
    """A blocking descriptor keeps it too. What is said to have gone out did, and no more."""
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"written \d+ of 67108864 bytes") as caught:
        posix.write_all(ends[1], bytes(64 * MIB), timeout)
    assert timeout <= time.monotonic() - began < SLACK + 0.2
    shut(ends, 1)
    assert 0 < caught.value.done < 64 * MIB
    assert posix.read_exactly(ends[0], caught.value.done) == bytes(caught.value.done)
    with pytest.raises(EOFError):
        posix.read_exactly(ends[0], 1)


def test_one_deadline_over_the_whole(ends, posix):
    """Bytes that trickle in do not prolong it."""
    stop = threading.Event()

    def trickle():
        while not stop.wait(0.02):
            os.write(ends[1], b"x")

    writer = Later(trickle)
    began = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        posix.read_exactly(ends[0], 1000, 0.3)
    assert 0.3 <= time.monotonic() - began < SLACK
    stop.set()
    writer.wait()
    assert caught.value.done > 0


def test_blocked_costs_no_cpu(ends, posix):
    began, cpu = time.monotonic(), time.process_time()
    with pytest.raises(TimeoutError):
        posix.read_exactly(ends[0], 1, 2)
    assert time.process_time() - cpu < 0.1
    assert time.monotonic() - began >= 2


def test_two_writers_to_a_full_pipe(posix, child):
    """Both wait for room in a blocking pipe, and one slot comes free now and then: each keeps its timeout."""
    r, w = posix.pipe()

    def write():
        os.close(r)
        for _ in range(20):
            began = time.monotonic()
            with contextlib.suppress(TimeoutError):
                posix.write_all(w, bytes(100_000), 0.05)
            assert time.monotonic() - began < SLACK

    pids = [child(write) for _ in range(2)]
    os.close(w)
    while os.read(r, 4096):
        time.sleep(0.01)
    os.close(r)
    assert [child.end(pid) for pid in pids] == [0, 0]


OLDER = """
import ctypes, errno, os, platform, struct, sys
from procfast import _backend

posix = _backend.load(sys.argv[1], "posix")
numbers = {"x86_64": (327, 328), "aarch64": (286, 287)}[platform.machine()]  # preadv2, pwritev2
program = [(0x20, 0, 0, 0), (0x15, 1, 0, numbers[0]), (0x15, 0, 1, numbers[1])]
program += [(0x06, 0, 0, 0x00050000 | errno.EOPNOTSUPP), (0x06, 0, 0, 0x7FFF0000)]
filters = b"".join(struct.pack("HBBI", *line) for line in program)
buffer = ctypes.create_string_buffer(filters)
fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, fprog, 0, 0) == 0, ctypes.get_errno()

before = sorted(os.listdir("/proc/self/fd"))
for _ in range(2):
    r, w = posix.pipe()
    try:
        posix.write_all(w, bytes(1 << 20), 0.1)
        sys.exit("no timeout")
    except TimeoutError as error:
        assert posix.read_exactly(r, error.done, 5) == bytes(error.done)
    try:
        posix.read_exactly(r, 1, 0.1)
        sys.exit("no timeout")
    except TimeoutError as error:
        assert error.done == 0
    assert os.get_blocking(r) and os.get_blocking(w)
    posix.write_all(w, b"abc")
    os.close(w)
    try:
        posix.read_exactly(r, 5)
    except EOFError as error:
        assert error.partial == b"abc"
    os.close(r)
assert sorted(os.listdir("/proc/self/fd")) == before
"""


def test_older_kernel(backend, python):
    """Where preadv2 and pwritev2 know no pipes (Linux before 6.4): a filter refuses them."""
    python("-c", OLDER, backend.name)


# -- the other end ---------------------------------------------------------------------------------


def test_end_of_file(ends, posix):
    posix.write_all(ends[1], b"abc")
    shut(ends, 1)
    with pytest.raises(EOFError, match="end of file after 3 of 10 bytes") as caught:
        posix.read_exactly(ends[0], 10)
    assert caught.value.partial == b"abc" and caught.value.done == 3
    with pytest.raises(EOFError) as caught:
        posix.read_exactly(ends[0], 1, 0)
    assert caught.value.partial == b"" and caught.value.done == 0
    with pytest.raises(EOFError) as caught:
        posix.read_into(ends[0], bytearray(1))
    assert caught.value.done == 0


def test_closed_while_it_waits(ends, posix):
    reader = threading.Timer(0.1, shut, (ends, 1))
    reader.start()
    with pytest.raises(EOFError):
        posix.read_exactly(ends[0], 1, 30)
    reader.join()


def test_nobody_reads(ends, posix):
    shut(ends, 0)
    with pytest.raises(BrokenPipeError, match="Broken pipe") as caught:
        posix.write_all(ends[1], b"abc")
    assert caught.value.done == 0


def test_writer_killed(ends, posix, child):
    """It sees the end at once, with all that had come."""

    def write():
        os.close(ends[0])
        posix.write_all(ends[1], b"abc")
        time.sleep(60)

    pid = child(write)
    shut(ends, 1)
    threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()
    with pytest.raises(EOFError) as caught:
        posix.read_exactly(ends[0], 10, 30)
    assert caught.value.partial == b"abc"
    assert child.end(pid) == -signal.SIGKILL


def test_reader_killed(ends, posix, child):
    def read():
        os.close(ends[1])
        posix.read_exactly(ends[0], 10)
        time.sleep(60)

    pid = child(read)
    shut(ends, 0)
    threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()
    with pytest.raises(OSError) as caught:
        posix.write_all(ends[1], bytes(64 * MIB), 30)
    assert caught.value.errno in (errno.EPIPE, errno.ECONNRESET)
    assert 0 < caught.value.done < 64 * MIB
    assert child.end(pid) == -signal.SIGKILL


def test_between_processes(ctx, posix):
    """Descriptors are ints: a child has them by fork, or by DupFd."""
    r, w = posix.pipe()
    p = ctx.Process(target=workers.posix_echo, args=(ctx.backend, *map(workers.Descriptor, (r, w))))
    p.start()
    p.join()
    assert p.exitcode == 0
    os.close(w)
    assert posix.read_exactly(r, 200_000 // 4, 30) == b"x" * 50_000
    os.close(r)


# -- signals --------------------------------------------------------------------------------------


def test_handlers_run_and_the_wait_goes_on(ends, posix, alarm):
    runs = []
    alarm(0.01, lambda *_: runs.append(1), 0.01)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        posix.read_exactly(ends[0], 1, 0.5)
    assert 0.5 <= time.monotonic() - began < SLACK
    assert len(runs) > 5
    with pytest.raises(TimeoutError):
        posix.write_all(ends[1], bytes(16 * MIB), 0.3)


def test_handler_that_writes_what_is_waited_for(ends, posix, alarm):
    alarm(0.1, lambda *_: os.write(ends[1], b"abc"))
    assert posix.read_exactly(ends[0], 3, 30) == b"abc"


@pytest.mark.parametrize(
    "kind", [KeyError, OSError, BlockingIOError, TimeoutError, KeyboardInterrupt]
)
def test_handler_that_raises(ends, posix, alarm, kind):
    """Its exception comes out at once, and has what was read."""
    told = kind("of the handler's")

    def handler(*_):
        raise told

    posix.write_all(ends[1], b"abc")
    alarm(0.1, handler)
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        posix.read_exactly(ends[0], 10, 30)
    assert caught.value is told
    assert caught.value.partial == b"abc" and caught.value.done == 3
    assert time.monotonic() - began < SLACK
    alarm(0.1, handler)
    with pytest.raises(kind) as caught:
        posix.write_all(ends[1], bytes(64 * MIB), 30)
    assert caught.value is told and 0 < caught.value.done < 64 * MIB


def test_interrupted_in_the_flow(ends, posix, child, alarm):
    """Where bytes never cease to come, handlers run all the same."""

    def flood():
        while True:
            posix.write_all(ends[1], bytes(MIB))

    def handler(*_):
        raise KeyError

    buffer = bytearray(256 * MIB)
    child(flood)
    alarm(0.05, handler)
    began = time.monotonic()
    with pytest.raises(KeyError) as caught:
        while True:
            posix.read_into(ends[0], buffer)
    assert time.monotonic() - began < SLACK
    assert 0 < caught.value.done < len(buffer)


def test_other_threads_run(ends, posix):
    reader = Later(posix.read_exactly, ends[0], 3)
    time.sleep(0.1)
    posix.write_all(ends[1], b"abc")
    assert reader.wait() == b"abc"


def test_records_of_many_threads(posix):
    """Up to PIPE_BUF bytes go in one piece."""
    r, w = posix.pipe()
    threads = [
        Later(lambda tag=tag: [posix.write_all(w, tag * 1000, 60) for _ in range(200)])
        for tag in (b"a", b"b", b"c", b"d")
    ]
    for _ in range(800):
        record = posix.read_exactly(r, 1000, 30)
        assert record == record[:1] * 1000
    for thread in threads:
        thread.wait()
    os.close(r)
    os.close(w)
    assert select.PIPE_BUF >= 1000


# -- bad arguments --------------------------------------------------------------------------------


def test_bad_descriptors(ends, posix):
    calls = [
        lambda fd: posix.read_exactly(fd, 1),
        lambda fd: posix.read_exactly(fd, 0),
        lambda fd: posix.read_into(fd, bytearray(1)),
        lambda fd: posix.write_all(fd, b"x"),
    ]
    for call in calls:
        for bad in ("1", 1.0, None, object()):
            with pytest.raises(TypeError, match=r"fd must be a descriptor .* not"):
                call(bad)
        for bad in (-1, 1 << 40):
            with pytest.raises(ValueError, match="fd must be a descriptor"):
                call(bad)
        with pytest.raises(OSError, match="fd 1000000 is not open") as caught:
            call(1_000_000)
        assert caught.value.errno == errno.EBADF
    r, w = posix.pipe()
    with pytest.raises(OSError, match=f"fd {w} is not open, or not for reading"):
        posix.read_exactly(w, 1, 1)
    with pytest.raises(OSError, match=f"fd {r} is not open, or not for writing"):
        posix.write_all(r, b"x", 1)
    os.close(r)
    os.close(w)
    folder = os.open("/", os.O_RDONLY)
    with pytest.raises(IsADirectoryError, match=f"fd {folder}"):
        posix.read_exactly(folder, 1)
    os.close(folder)


def test_bad_arguments(ends, posix):
    r, w = ends
    with pytest.raises(ValueError, match="size must be 0 or more, not -1"):
        posix.read_exactly(r, -1)
    with pytest.raises(TypeError, match="size must be an int, not str"):
        posix.read_exactly(r, "1")
    with pytest.raises(TypeError, match="size must be an int, not float"):
        posix.read_exactly(r, 1.0)
    with pytest.raises((MemoryError, OverflowError)):
        posix.read_exactly(r, 1 << 62)
    for bad in (b"abc", memoryview(b"abc")):
        with pytest.raises(TypeError, match="buffer must be a writable buffer, not"):
            posix.read_into(r, bad)
    with pytest.raises(TypeError, match="buffer must be bytes or another buffer, not str"):
        posix.read_into(r, "abc")
    for bad in ("abc", 3, None, [1]):
        with pytest.raises(TypeError, match="data must be bytes or another buffer, not"):
            posix.write_all(w, bad)
    for call in (lambda t: posix.read_exactly(r, 1, t), lambda t: posix.write_all(w, b"x", t)):
        for bad in ("1", b"1", [], object()):
            with pytest.raises(TypeError, match="timeout must be a number of seconds or None, not"):
                call(bad)
        with pytest.raises(ValueError, match="not nan"):
            call(float("nan"))
    with pytest.raises(TimeoutError):
        posix.read_exactly(r, 1, 0)  # none of them wrote anything


def test_long_timeouts(ends, posix):
    posix.write_all(ends[1], b"abc", float("inf"))
    assert posix.read_exactly(ends[0], 3, 1e300) == b"abc"


def test_nothing_is_left(posix):
    """10,000 pipes: the fixture looks for descriptors."""
    for _ in range(10_000):
        r, w = posix.pipe()
        posix.write_all(w, b"x", 1)
        assert posix.read_exactly(r, 1, 1) == b"x"
        os.close(r)
        os.close(w)
