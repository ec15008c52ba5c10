"""SharedMemory and ShareableList: the standard library is the oracle, and its processes are met by name."""

import errno
import gc
import multiprocessing.shared_memory
import os
import pickle
import signal
import stat
import subprocess
import sys
import time

import numpy
import pytest
import workers

MIB = 1 << 20
WITHIN = 10.0  # seconds for what another process does by itself
Original = multiprocessing.shared_memory.SharedMemory


@pytest.fixture
def make(local):
    """Creates segments that are gone after the test."""
    made = []

    def create(size=4096, **options):
        segment = local.SharedMemory(create=True, size=size, **options)
        made.append(segment)
        return segment

    yield create
    for segment in made:
        segment.close()
        if there(segment):
            segment.unlink()


def there(segment) -> bool:
    return os.path.exists(f"/dev/shm/{segment if isinstance(segment, str) else segment.name}")


def remove(name: str) -> None:
    if there(name):
        os.unlink(f"/dev/shm/{name}")


def own_name(tag: str) -> str:
    return f"pf-test-{tag}-{os.getpid()}"


def eventually(condition) -> bool:
    end = time.monotonic() + WITHIN
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


# -- create, attach, close, unlink ----------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 10, 512, 4095, 4096, 4097, 100_000, 3 * MIB + 1])
def test_create_and_attach(local, make, size):
    ours = make(size)
    assert (ours.size, len(ours.buf), bytes(ours.buf[:9])) == (size, size, bytes(min(size, 9)))
    assert os.stat(f"/dev/shm/{ours.name}").st_size == size, "as any reader expects it"
    ours.buf[size - 1] = 77
    theirs = local.SharedMemory(ours.name)
    assert theirs.size == size and theirs.buf[size - 1] == 77
    theirs.buf[0] = 5
    assert ours.buf[0] == 5
    assert not theirs.buf.readonly
    theirs.close()


def test_attributes(local, make):
    name = own_name("attributes")
    ours = make(512, name=name)
    assert (ours.name, ours._name) == (name, f"/{name}")
    assert len(ours._mmap) == 512 and isinstance(ours.buf, memoryview)
    assert os.fstat(ours._fd).st_size == 512 and not os.get_inheritable(ours._fd)
    assert repr(ours) == f"SharedMemory({name!r}, size=512)"
    unnamed = make()
    assert unnamed.name.startswith("psm_") and unnamed._name == f"/{unnamed.name}"


def test_size_is_ignored_by_who_attaches(local, make):
    ours = make(512)
    other = local.SharedMemory(ours.name, size=4096)
    assert other.size == 512
    other.close()


def test_mode(make):
    before = os.umask(0)
    try:
        segment = make()
    finally:
        os.umask(before)
    status = os.stat(f"/dev/shm/{segment.name}")
    assert stat.S_IMODE(status.st_mode) == 0o600 and status.st_uid == os.geteuid()


def test_close(make):
    segment = make()
    fd = segment._fd
    segment.close()
    segment.close()
    assert segment.buf is None and segment._mmap is None and segment._fd == -1
    with pytest.raises(OSError):
        os.fstat(fd)
    assert there(segment) and segment.size == 4096


def test_close_with_views(make):
    segment = make()
    view = segment.buf[10:20]
    with pytest.raises(BufferError):
        segment.close()
    view[0] = 1
    view.release()
    segment.close()


def test_unlink_keeps_who_is_attached(local, make):
    ours = make()
    other = local.SharedMemory(ours.name)
    ours.unlink()
    other.buf[0] = 9
    assert ours.buf[0] == 9 and not there(ours)
    with pytest.raises(FileNotFoundError) as caught:
        local.SharedMemory(ours.name)
    assert caught.value.filename == ours._name
    other.close()


def test_unlink_twice(local, make):
    ours = make()
    other = local.SharedMemory(ours.name)
    other.unlink()
    for closed in (False, True):
        with pytest.raises(FileNotFoundError):
            ours.unlink()
        if not closed:
            ours.close()
    other.close()


def test_memory_goes_with_the_name(local, make):
    """Nothing keeps the pages of what was closed here and unlinked elsewhere."""
    free = os.statvfs("/dev/shm")
    segment = make(64 * MIB, reserve=True)
    segment.close()
    local.SharedMemory(segment.name).unlink()
    gc.collect()
    now = os.statvfs("/dev/shm")
    assert (free.f_bavail - now.f_bavail) * now.f_frsize < 48 * MIB


def test_name_in_use(local, make):
    segment = make(name=own_name("in-use"))
    for _ in range(2):
        with pytest.raises(FileExistsError) as caught:
            local.SharedMemory(segment.name, create=True, size=10)
        assert caught.value.filename == segment._name
        segment.close()  # in use all the same


def test_used_random_name_is_not_taken_again(local, make, monkeypatch):
    names = ["/psm_test1", "/psm_test1", "/psm_test2"]
    monkeypatch.setattr(multiprocessing.shared_memory, "_make_filename", lambda: names.pop(0))
    assert [make()._name, make()._name] == ["/psm_test1", "/psm_test2"]


BAD_NAMES = ["", "/", "a/b", "a/", ".", "..", "x" * 256, "\udc80", 3, b"x", 1.5]


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda n: repr(n)[:12])
@pytest.mark.parametrize("create", [True, False], ids=["create", "attach"])
def test_bad_names(local, name, create):
    """The same exceptions as the standard library's own class."""
    kinds = []
    for function in (Original, local.SharedMemory):
        with pytest.raises((OSError, TypeError, ValueError)) as caught:
            function(name, create=create, size=10)
        kinds.append((type(caught.value), getattr(caught.value, "errno", None)))
    if name in (".", "..") and create and kinds[0] == (OSError, errno.EINVAL):  # musl; not glibc
        kinds[0] = (FileExistsError, errno.EEXIST)
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("name", ["a", "x" * 255, "/two", "ü-ß", "with space", "-"])
def test_good_names(local, make, name):
    first = make(name=name)
    assert (first.name, first._name) == (name, "/" + name)
    again = local.SharedMemory(name)
    again.close()


def test_null_in_a_name(local):
    with pytest.raises(ValueError, match="null"):
        local.SharedMemory("a\0b", create=True, size=1)


SIZES = [0, -1, -(1 << 70), 1 << 63, 1 << 62, 1.5, float("nan"), "10", None]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_bad_sizes(local, size):
    name = own_name("bad-size")
    with pytest.raises((OSError, TypeError, ValueError, OverflowError)) as expected:
        Original(name, create=True, size=size)
    remove(name)
    with pytest.raises(type(expected.value)):
        local.SharedMemory(name, create=True, size=size)
    remove(name)


@pytest.mark.parametrize("size", [1 << 63, 1.5])
def test_bad_size_leaves_no_name(local, size):
    name = own_name("bad-size")
    try:
        with pytest.raises((TypeError, OverflowError)):
            local.SharedMemory(name, create=True, size=size)
        assert not there(name)
    finally:
        remove(name)


def test_neither_name_nor_create(local):
    with pytest.raises(ValueError):
        local.SharedMemory()
    with pytest.raises(ValueError):
        local.SharedMemory(create=True)
    with pytest.raises(FileNotFoundError):
        local.SharedMemory(own_name("never"))


def test_attach_to_what_is_no_segment(local, tmp_path):
    """A symbolic link is not followed; an empty file and a directory raise."""
    path = f"/dev/shm/{own_name('other')}"
    name = os.path.basename(path)
    os.symlink(tmp_path, path)
    try:
        with pytest.raises(OSError) as caught:
            local.SharedMemory(name)
        assert caught.value.errno == errno.ELOOP
        os.unlink(path)
        os.mkdir(path)
        with pytest.raises(OSError) as caught:
            local.SharedMemory(name)
        assert caught.value.errno == errno.EINVAL
        os.rmdir(path)
        with open(path, "w"), pytest.raises(ValueError):
            local.SharedMemory(name)
        assert os.path.exists(path)
    finally:
        if os.path.lexists(path):
            os.unlink(path)


def test_collected_without_close(local, make):
    segment = make()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        local.SharedMemory(segment.name)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.limit(180)
def test_many_cycles_leak_nothing(local):
    fds = os.listdir("/proc/self/fd")
    with open("/proc/self/maps") as file:
        mappings = sum("psm_" in line for line in file)
    for i in range(10_000):
        segment = local.SharedMemory(name=f"{own_name('cycle')}-{i}", create=True, size=4096)
        segment.close()
        segment.unlink()
    kept = local.SharedMemory(create=True, size=4096)
    for _ in range(5_000):
        local.SharedMemory(kept.name).close()
    kept.close()
    kept.unlink()
    assert os.listdir("/proc/self/fd") == fds
    assert not [n for n in os.listdir("/dev/shm") if n.startswith(own_name("cycle"))]
    with open("/proc/self/maps") as file:
        assert sum("psm_" in line for line in file) == mappings


# -- memory ---------------------------------------------------------------------------------------


def blocks(segment) -> int:
    return os.stat(f"/dev/shm/{segment.name}").st_blocks * 512


def test_reserve(make):
    assert blocks(make(16 * MIB + 5, reserve=True)) >= 16 * MIB + 5
    assert blocks(make(16 * MIB)) == 0
    untouched = make(100, reserve=True)
    assert bytes(untouched.buf) == bytes(100)


def test_small_ones_have_their_memory_at_once(make):
    assert blocks(make(MIB)) == MIB
    assert blocks(make(5000)) == 8192


def test_numpy(make):
    segment = make(8000)
    array = numpy.ndarray((1000,), "f8", segment.buf)
    array[:] = numpy.arange(1000)
    assert bytes(segment.buf[8:16]) == numpy.float64(1).tobytes()
    del array


# -- pickling, processes --------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(make, protocol):
    ours = make(512)
    ours.buf[:6] = b"pickle"
    data = pickle.dumps(ours, protocol)
    other = pickle.loads(data)
    assert type(other) is type(ours) and other.name == ours.name
    assert bytes(other.buf[:6]) == b"pickle"
    other.buf[:6] = b"change"
    assert bytes(ours.buf[:6]) == b"change"
    other.close()
    ours.unlink()
    with pytest.raises(FileNotFoundError):
        pickle.loads(data)


def write(segment, data: bytes) -> None:
    segment.buf[: len(data)] = data
    segment.close()


def test_attached_in_a_child(ctx):
    segment = ctx.SharedMemory(create=True, size=100)
    try:
        for what in (segment, segment.name):
            child = ctx.Process(target=workers.write_segment, args=(what, b"hello", ctx.backend))
            child.start()
            child.join()
            assert child.exitcode == 0
            assert bytes(segment.buf[:5]) == b"hello"
            segment.buf[:5] = bytes(5)
            assert there(segment)
    finally:
        segment.close()
        segment.unlink()


def test_made_by_a_child_that_ended(ctx):
    """Created, filled, closed; its process ends; others create, which makes them sweep; then it is attached to."""
    q = ctx.SimpleQueue()
    names = []
    for _ in range(2):
        child = ctx.Process(target=workers.make_segment, args=(q, b"left behind", ctx.backend))
        child.start()
        names.append(q.get())
        child.join()
        assert child.exitcode == 0
    for name in names:
        segment = ctx.SharedMemory(name)
        assert bytes(segment.buf[:11]) == b"left behind"
        segment.close()
        segment.unlink()
    q.close()


def test_fork_shares(local):
    segment = local.SharedMemory(create=True, size=10)
    pid = os.fork()
    if pid == 0:
        segment.buf[3] = 33
        segment.close()
        os._exit(0)
    os.waitpid(pid, 0)
    assert segment.buf[3] == 33 and there(segment)
    segment.close()
    segment.unlink()


# -- programs of their own ------------------------------------------------------------------------

PLAIN = "import sys; from multiprocessing.shared_memory import SharedMemory; "
OURS = "import sys; from procfast.shared_memory import SharedMemory; "


def test_unrelated_reader_does_not_destroy(python, backend, make):
    """Today's most famous bug: a reader that has its own tracker takes the segment with it."""
    segment = make(100)
    segment.buf[0] = 7
    code = OURS + "s = SharedMemory(sys.argv[1]); print(s.buf[0], flush=True); s.close()"
    done = python("-c", code, segment.name, env={"PROCFAST_BACKEND": backend.name})
    assert done.stdout == "7\n" and done.stderr == ""
    assert there(segment) and segment.buf[0] == 7


def test_untracked_reader_does_not_destroy(python, backend, make):
    segment = make(100)
    code = OURS + "SharedMemory(sys.argv[1], track=False).close()"
    done = python("-c", code, segment.name, env={"PROCFAST_BACKEND": backend.name})
    assert done.stderr == "" and there(segment)


def test_attached_by_the_standard_library(python, make):
    """It knows the name, the size and the bytes; so do we of its own."""
    segment = make(100)
    segment.buf[:3] = b"abc"
    code = PLAIN + (
        "from multiprocessing import resource_tracker as t\n"
        "s = SharedMemory(sys.argv[1]); t.unregister(s._name, 'shared_memory')\n"
        "print(s.size, bytes(s.buf[:3])); s.buf[0] = 120; s.close()"
    )
    assert python("-c", code, segment.name).stdout.split() == ["100", "b'abc'"]
    assert segment.buf[0] == 120 and there(segment)


def test_attach_to_one_of_the_standard_library(local):
    theirs = Original(create=True, size=100)
    theirs.buf[0] = 3
    ours = local.SharedMemory(theirs.name)
    assert ours.buf[0] == 3 and ours.size == 100
    ours.close()
    assert there(theirs)
    theirs.close()
    theirs.unlink()


def test_untracked_stays(python, backend, local):
    """track=False: nobody removes it, whoever ends and however, and however often it is swept."""
    code = (
        OURS
        + "s = SharedMemory(create=True, size=10, track=False); s.buf[0] = 8; print(s.name, flush=True); {}"
    )
    for end in ("s.close()", "import os; os.kill(os.getpid(), 9)"):
        done = python("-c", code.format(end), env={"PROCFAST_BACKEND": backend.name}, check=False)
        name = done.stdout.strip()
        assert done.stderr == ""
        python("-m", "procfast", "info", "--sweep")
        time.sleep(0.3)
        segment = local.SharedMemory(name, track=False)
        assert segment.buf[0] == 8
        segment.close()
        segment.unlink()


@pytest.mark.parametrize("how", ["open", "closed"])
def test_left_at_the_end_of_a_program(python, backend, how):
    """The last of a group removes at its exit what was never unlinked, and says so."""
    code = (
        OURS
        + "s = SharedMemory(create=True, size=10); print(s.name, flush=True); "
        + ("s.close()" if how == "closed" else "")
    )
    done = python("-c", code, env={"PROCFAST_BACKEND": backend.name})
    assert eventually(lambda: not there(done.stdout.strip()))
    assert "shared" in done.stderr and "UserWarning" in done.stderr


def test_left_but_in_use(python, script, backend, local, tmp_path):
    """The creator's exit does not take from a reader what it has attached."""
    path = script(
        OURS + "s = SharedMemory(create=True, size=10); s.buf[0] = 4\n"
        "print(s.name, flush=True); sys.stdin.read()"
    )
    env = os.environ | {"PROCFAST_BACKEND": backend.name}
    with subprocess.Popen(
        [sys.executable, path], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as creator:
        name = creator.stdout.readline().strip()
        reader = local.SharedMemory(name)
        creator.stdin.close()
    assert creator.returncode == 0
    time.sleep(0.3)
    assert there(name) and reader.buf[0] == 4
    reader.close()
    reader.unlink()


def test_created_by_signal_handlers(local):
    """A handler that creates and unlinks while the main program does."""
    made = []

    def handler(*_):
        segment = local.SharedMemory(create=True, size=10)
        segment.close()
        segment.unlink()
        made.append(1)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        for _ in range(2000):
            segment = local.SharedMemory(create=True, size=100_000)
            segment.close()
            segment.unlink()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert made


def test_interrupted_reservation_is_complete(make):
    """Signals restart the kernel's work on a part; it must come to an end all the same."""
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    try:
        assert blocks(make(128 * MIB, reserve=True)) == 128 * MIB
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


WORKAROUND = """
import sys, time
from multiprocessing import resource_tracker
from procfast.shared_memory import SharedMemory
s = SharedMemory(*sys.argv[1:]) if sys.argv[1:] else SharedMemory(create=True, size=10)
resource_tracker.unregister(s._name, "shared_memory")
print(s.name)
s.close()
"""


def test_unregister_of_the_tracker(python, script, backend, local):
    """How programs did track=False before there was one: by the name with its slash, as creator and as reader."""
    path = script(WORKAROUND)
    env = {"PROCFAST_BACKEND": backend.name}
    done = python(path, env=env)
    name = done.stdout.strip()
    assert done.stderr == ""
    done = python(path, name, env=env)
    assert done.stderr == "" and done.stdout.strip() == name
    time.sleep(0.3)
    segment = local.SharedMemory(name, track=False)
    segment.close()
    segment.unlink()


# -- classes --------------------------------------------------------------------------------------


def test_isinstance_both_ways(make):
    ours = make()
    assert isinstance(ours, Original) and issubclass(type(ours), Original)
    theirs = Original(ours.name)
    assert isinstance(theirs, type(ours)) and issubclass(Original, type(ours))
    assert not isinstance(5, type(ours)) and not issubclass(int, type(ours))
    theirs.close()


def test_subclass_has_its_hooks(make):
    """What others override is called: the classic path."""
    ours = make(100)
    calls = []

    class Attach(type(ours)):
        _flags = os.O_CREAT | os.O_RDWR

        def __init__(self, *args, **kwds):
            super().__init__(*args, **kwds)
            calls.append(self.name)

        def close(self):
            calls.append("close")
            super().close()

    other = Attach(ours.name)
    assert other.size == 100 and calls == [ours.name]
    assert isinstance(other, Original) and isinstance(other, type(ours))
    assert isinstance(other, Attach) and not isinstance(ours, Attach)
    other.close()
    assert calls[-1] == "close"

    class Named(type(ours)):
        def __init__(self, name):
            type(ours).__init__(self, name=name)

    by_class = Named(ours.name)
    by_class.close()
    del other, by_class


@pytest.mark.parametrize("first", ["procfast", "multiprocessing"])
def test_modules(python, backend, first):
    """procfast.shared_memory, before and after install(), whatever was imported first."""
    code = f"""
import {first}
import multiprocessing.shared_memory as theirs
original = theirs.SharedMemory
import procfast
ours = procfast.shared_memory
from procfast.shared_memory import SharedMemory, ShareableList
assert ours.SharedMemory is SharedMemory and ours._make_filename is theirs._make_filename
assert SharedMemory.__module__ == "procfast.{backend.name}.shared_memory"
assert theirs.SharedMemory is original and original.__module__ == "multiprocessing.shared_memory"
l = ShareableList([1, "two"])
assert type(l.shm) is SharedMemory if procfast.backend == "native" else type(l.shm) is original
l.shm.close(); l.shm.unlink()
procfast.install()
assert theirs.SharedMemory is SharedMemory
l = theirs.ShareableList([1, "two"])
assert type(l.shm) is SharedMemory and isinstance(l, ShareableList)
l.shm.close(); l.shm.unlink()
import multiprocessing.managers
with multiprocessing.managers.SharedMemoryManager() as manager:
    s, l = manager.SharedMemory(10), manager.ShareableList([5])
    assert type(s) is SharedMemory and type(l.shm) is SharedMemory and list(l) == [5]
    s.close(); l.shm.close()
for gone in (s, l.shm):
    try:
        SharedMemory(gone.name)
    except FileNotFoundError:
        pass
    else:
        raise AssertionError
procfast.uninstall()
assert theirs.SharedMemory is original
print("good")
"""
    done = python("-c", code, env={"PROCFAST_BACKEND": backend.name})
    assert done.stdout == "good\n" and done.stderr == ""


def test_installed_before_it_is_loaded(python, backend):
    code = f"""
import sys, procfast
procfast.install()
assert "multiprocessing.shared_memory" not in sys.modules
from multiprocessing.shared_memory import SharedMemory
assert SharedMemory.__module__ == "procfast.{backend.name}.shared_memory"
procfast.uninstall()
import multiprocessing.shared_memory
assert multiprocessing.shared_memory.SharedMemory.__module__ == "multiprocessing.shared_memory"
procfast.install(); procfast.uninstall()
print("good")
"""
    assert python("-c", code, env={"PROCFAST_BACKEND": backend.name}).stdout == "good\n"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_manager_across_processes(python, script, backend, method):
    path = script(
        """
import multiprocessing, sys, procfast
from multiprocessing import managers
def fill(segment, values):
    segment.buf[:3] = b"abc"
    values[1] = "done"
    segment.close(); values.shm.close()
if __name__ == "__main__":
    procfast.install()
    multiprocessing.set_start_method(sys.argv[1])
    with managers.SharedMemoryManager() as manager:
        segment, values = manager.SharedMemory(100), manager.ShareableList([1, "0123456"])
        child = multiprocessing.Process(target=fill, args=(segment, values))
        child.start(); child.join()
        print(child.exitcode, bytes(segment.buf[:3]), list(values))
        segment.close(); values.shm.close()
"""
    )
    done = python(path, method, env={"PROCFAST_BACKEND": backend.name})
    assert done.stdout == "0 b'abc' [1, 'done']\n" and done.stderr == ""


# -- lists ----------------------------------------------------------------------------------------

VALUES = ["howdy", b"HoWdY", -273.154, 100, None, True, 42]


@pytest.fixture
def values(local):
    made = local.ShareableList(VALUES)
    yield made
    made.shm.close()
    made.shm.unlink()


def test_list_reads(values):
    assert list(values) == VALUES and len(values) == 7 and values[-2] is True
    assert values.format == "8s8sdqxxxxxx?xxxxxxxx?q"
    assert values.count(42) == 1 and values.index(100) == 3
    with pytest.raises(ValueError):
        values.index("no")
    for bad in (7, 100):
        with pytest.raises(IndexError):
            values[bad]
        with pytest.raises(IndexError):
            values[bad] = 1
    assert repr(values) == f"ShareableList({VALUES}, name={values.shm.name!r})"


def test_list_writes(values):
    values[3] = 43
    values[4] = "some"
    values[5] = None
    values[0] = "encodés"
    assert list(values) == ["encodés", b"HoWdY", -273.154, 43, "some", None, 42]
    for bad in ("far too many", b"123456789"):
        with pytest.raises(ValueError, match="exceeds available storage"):
            values[1] = bad
    with pytest.raises(KeyError):
        values[2] = [1]
    assert values[1] == b"HoWdY"


def test_list_by_name(local, values):
    other = local.ShareableList(name=values.shm.name)
    other[-1] = 880
    assert values[-1] == 880
    other.shm.close()
    copy = local.ShareableList(values, name=own_name("list"))
    copy[0] = "copy"
    assert values[0] == "howdy" and copy.shm.name == own_name("list")
    copy.shm.close()
    copy.shm.unlink()


@pytest.mark.parametrize("sequence", [None, (), [], range(400), "abc", [True] * 9], ids=repr)
def test_list_of(local, sequence):
    made = local.ShareableList(sequence)
    assert list(made) == list(sequence or ())
    made.shm.close()
    made.shm.unlink()


def test_list_of_what_cannot_be(local):
    names = set(os.listdir("/dev/shm"))
    for bad in ([[1]], [object()], 5):
        with pytest.raises((KeyError, TypeError)):
            local.ShareableList(bad)
    assert not {n for n in set(os.listdir("/dev/shm")) - names if n.startswith("pf-test")}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_list_pickles(values, protocol):
    other = pickle.loads(pickle.dumps(values, protocol))
    assert type(other) is type(values) and other[-1] == 42
    other[0] = "changed"
    assert values[0] == "changed"
    other.shm.close()


def test_list_in_a_child(ctx):
    made = ctx.ShareableList([1, 2, "three"])
    child = ctx.Process(target=workers.change_list, args=(made,))
    child.start()
    child.join()
    assert child.exitcode == 0 and list(made) == [1, 99, "three"]
    made.shm.close()
    made.shm.unlink()


# -- where there is no room -----------------------------------------------------------------------


def in_a_small_one(python, code: str, backend: str, options: str = "size=4m") -> str:
    """Runs it where /dev/shm is another one."""
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    program = f"import os, sys; os.environ['PROCFAST_BACKEND'] = {backend!r}\n" + code
    shell = f'mount -t tmpfs -o {options} tmpfs /dev/shm && exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", "--mount", *rights, "sh", "-c", shell, sys.executable, program],
        cwd=python.cwd, text=True, capture_output=True, timeout=50, env=os.environ, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_too_little_room(python, backend):
    code = (
        OURS
        + """
import errno, os
def refused(size, **options):
    try:
        SharedMemory(create=True, size=size, **options)
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
        return True
held = SharedMemory(create=True, size=3 << 20, reserve=True)
assert refused(2 << 20, reserve=True) and refused(5 << 20) and refused(1 << 40)
small = []
while not refused(600_000):
    assert len(small) < 10
    small.append(1)
assert refused(600_000), "it was refused for good"
assert os.listdir("/dev/shm") == [held.name] or len(os.listdir("/dev/shm")) < 4
held.unlink(); held.close()
SharedMemory(create=True, size=2 << 20, reserve=True).unlink()
print("good")
"""
    )
    assert in_a_small_one(python, code, backend.name) == "good\n"


def test_no_such_place(python, backend):
    """/dev/shm as on a system without: as the standard library's, an OSError that names the segment."""
    code = (
        OURS
        + """

for create in (True, False):
    try:
        SharedMemory("x", create=create, size=10)
    except OSError as error:
        print(type(error).__name__, error.filename)
"""
    )
    done = in_a_small_one(python, code, backend.name, "ro")
    assert done.splitlines() == ["OSError /x", "FileNotFoundError /x"]
