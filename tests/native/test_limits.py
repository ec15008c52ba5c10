"""Space: ceilings, refusals by the kernel, what is given back, what a massacre leaves."""

import errno
import os
import queue
import resource
import signal
import subprocess
import sys
import time

import pytest
import workers

MB = 1 << 20


@pytest.fixture
def native():
    import procfast

    return procfast.get_context("fork", backend="native")


def resident() -> int:
    """Bytes of this process that are in memory, shared ones included."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def in_files() -> int:
    """Bytes that the anonymous files of this process hold."""
    files = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            if "memfd:" in os.readlink(f"/proc/self/fd/{fd}"):
                stat = os.stat(f"/proc/self/fd/{fd}")
                files[stat.st_ino] = stat.st_blocks * 512
        except FileNotFoundError:
            continue  # the listing's own
    return sum(files.values())


def test_max_bytes(native):
    """Beyond the ceiling put raises MemoryError; nothing is lost, and room comes back."""
    q = native.Queue(max_bytes=4 * MB)
    item = os.urandom(100_000)
    for _ in range(3):
        count = 0
        with pytest.raises(MemoryError):
            while True:
                q.put((count, item))
                count += 1
        assert 20 < count < 42
        assert q.qsize() == count
        assert [q.get() for _ in range(count)] == [(i, item) for i in range(count)]
        assert q.empty()
    q.close()


def test_max_bytes_of_one_item(native):
    q = native.Queue(max_bytes=MB)
    with pytest.raises(MemoryError):
        q.put(bytes(2 * MB))
    with pytest.raises(MemoryError):
        q.put([bytearray(2 * MB), 1])
    q.put("next")
    assert q.get() == "next"
    q.close()


@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-1, ValueError), ("1", TypeError), (1.5, TypeError)]
)
def test_wrong_max_bytes(native, value, error):
    with pytest.raises(error):
        native.Queue(max_bytes=value)


def test_room_after_a_refusal(native):
    """A refused large item leaves room for small ones, which other processes get."""
    q = native.Queue(max_bytes=MB)
    p = native.Process(target=workers.q_put, args=(q, "small"))
    with pytest.raises(MemoryError):
        q.put(bytes(2 * MB))
    p.start()
    assert q.get(timeout=20) == "small"
    p.join()
    q.close()


FILE_LIMIT = """
import resource, procfast, sys
def limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, 8 << 20))
if sys.argv[1] == "before":
    limit()
q = procfast.get_context("fork", backend="native").Queue()
q.put("early")
if sys.argv[1] == "after":
    limit()
item, count = bytes(range(256)) * 1000, 0
try:
    while count < 400:
        q.put((count, item))
        count += 1
except (OSError, MemoryError) as error:
    print(type(error).__name__)
assert count > 5, count
assert q.qsize() == count + 1
assert q.get() == "early"
for i in range(count):
    assert q.get() == (i, item)
assert q.empty()
q.put((1, item)); assert q.get() == (1, item)
print("kept")
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_file_size_limit(python, when):
    """RLIMIT_FSIZE: an exception, never the end by SIGXFSZ or SIGBUS; nothing lost.

    The kernel asks for the limit where a file grows: one that had its size before is not bound.
    """
    *refused, kept = python("-c", FILE_LIMIT, when).stdout.split()
    assert kept == "kept"
    assert refused or when == "after"


def test_no_descriptors(native):
    """EMFILE at creation is an OSError, and leaves nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(fd) for fd in os.listdir("/proc/self/fd"))
    filler = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 3, hard))
    try:
        with pytest.raises(OSError) as caught:
            while True:
                filler.append(os.dup(0))
        for free in range(4):
            for fd in filler[:free]:
                os.close(fd)
            del filler[:free]
            try:
                q = native.Queue()
            except OSError as error:
                assert error.errno == errno.EMFILE
            else:
                q.put(1)
                assert q.get() == 1
                q.close()
                del q
            while True:
                try:
                    filler.append(os.dup(0))
                except OSError:
                    break
    finally:
        for fd in filler:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.errno == errno.EMFILE


@pytest.mark.parametrize("size", [100, 20_000, MB], ids=["100 B", "20 kB", "1 MB"])
def test_memory_after_a_backlog(native, size):
    """A backlog of 256 MB, drained: all but 64 MB is given back (of 1 GB: by stress)."""
    backlog(native, 256 * MB, size)


@pytest.mark.stress
@pytest.mark.limit(300)
def test_memory_after_a_backlog_of_1_gb(native):
    backlog(native, 1024 * MB, MB)


def backlog(native, total, size):
    q = native.Queue()
    q.put(b"")
    q.get()
    before, held = resident(), in_files()
    item = os.urandom(size)
    # small items carry a head each: fewer of them make the same backlog
    count = min(total // size, 400_000)
    for _ in range(count):
        q.put(item)
    assert in_files() - held >= count * size
    for _ in range(count):
        assert len(q.get()) == size
    assert q.empty()
    assert in_files() - held < 64 * MB
    assert resident() - before < 64 * MB
    q.put(item)
    assert q.get() == item
    q.close()


@pytest.mark.stress
@pytest.mark.limit(900)
def test_item_of_4_gib(native):
    """The largest item; needs 16 GB of memory. Its last result is in docs/performance.md."""
    q = native.Queue(max_bytes=9 << 30)
    data = bytearray(4 << 30)
    data[-1], data[1 << 31] = 7, 5
    q.put(data)
    del data
    got = q.get()
    assert (len(got), got[-1], got[1 << 31], got[0]) == (4 << 30, 7, 5, 0)
    q.close()


def receive_4_gib(r, answer):
    before = in_files()
    got = r.recv_bytes()
    answer.send((len(got), got.count(0), got[1 << 31], got[-1], in_files() - before, resident()))


@pytest.mark.stress
@pytest.mark.limit(900)
def test_message_of_4_gib(native):
    """Through a Pipe it streams: each side has its own 4 GiB, and little is shared. Needs 9 GB of memory."""
    r, w = native.Pipe(False)
    answer, answers = native.Pipe(False)
    p = native.Process(target=receive_4_gib, args=(r, answers))
    p.start()
    r.close()
    answers.close()
    data = bytearray(4 << 30)
    data[1 << 31], data[-1] = 5, 7
    w.send_bytes(data)
    assert in_files() < 16 * MB
    del data
    *content, shared, memory = answer.recv()
    assert content == [4 << 30, (4 << 30) - 2, 5, 7]
    assert shared < 16 * MB
    assert memory < (4 << 30) + 256 * MB
    p.join()
    answer.close()
    w.close()


@pytest.mark.parametrize("what", ["put", "get"])
def test_blocked_process_costs_no_cpu(native, what):
    """Seen from outside: a blocked process runs for less than 10 ms in 10 s (here 3)."""
    q = native.Queue(1)
    if what == "put":
        q.put(0)
    p = native.Process(target=q.put if what == "put" else q.get, args=(1,) if what == "put" else ())
    p.start()
    time.sleep(0.3)
    before = cpu(p.pid)
    time.sleep(3)
    used = cpu(p.pid) - before
    p.kill()
    p.join()
    q.close()
    assert used < 10_000_000, f"{used} ns"


def cpu(pid: int) -> int:
    """CPU time of a process in ns, as its scheduler counts it."""
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0])


GROUP = """
import os, procfast, time
ctx = procfast.get_context("fork", backend="native")
queues = [ctx.Queue(), ctx.SimpleQueue(), ctx.JoinableQueue()]
procs = [ctx.Process(target=q.get) for q in queues] + [ctx.Process(target=time.sleep, args=(600,))]
for p in procs: p.start()
for q in queues: q._reader.fileno()
print(*[p.pid for p in procs], flush=True)
while True:
    for q in queues: q.put(os.urandom(20000))
    time.sleep(0.001)
"""


def test_nothing_is_left_when_all_are_killed(tmp_path):
    """SIGKILL of the whole group: no process, no name, no file. (The guard looks at the rest.)"""
    before = set(os.listdir("/dev/shm"))
    leader = subprocess.Popen(
        [sys.executable, "-c", GROUP], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        process_group=0,
    )  # fmt: skip
    pids = [int(pid) for pid in leader.stdout.readline().split()]
    assert len(pids) == 4
    time.sleep(0.1)
    os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()
    leader.stdout.close()
    end = time.monotonic() + 5
    while alive := [pid for pid in pids if os.path.exists(f"/proc/{pid}")]:
        assert time.monotonic() < end, alive
        time.sleep(0.01)
    assert {n for n in os.listdir("/dev/shm") if "procfast" in n} <= before


def test_queue_of_a_dead_creator(native):
    """The creator is gone: the others use the queue on."""
    q, out = native.Queue(), native.Queue()
    procs = [native.Process(target=workers.echo, args=(q, out)) for _ in range(2)]
    for p in procs:
        p.start()
    procs[0].kill()
    procs[0].join()
    q.put("x")
    assert out.get(timeout=10) == "x"
    q.put(workers.STOP)
    procs[1].join()
    with pytest.raises(queue.Empty):
        out.get(timeout=0)
    for each in (q, out):
        each.close()
