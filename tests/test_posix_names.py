"""procfast.posix: named semaphores and POSIX message queues. Both backends pass the same tests."""

import copy
import errno
import fcntl
import os
import pickle
import resource
import select
import signal
import stat
import sys
import threading
import time

import pytest
import workers

SLACK = 5.0  # seconds a loaded machine may add to what should be immediate
NOBODY = 65534
KINDS = ("NamedSemaphore", "MessageQueue")


@pytest.fixture(params=KINDS)
def kind(request, posix):
    return getattr(posix, request.param)


@pytest.fixture
def name(request, posix):
    """A name of this test's own, which is gone afterwards."""
    name = f"/pf-{os.getpid()}-{abs(hash(request.node.name)):x}"
    yield name
    for unlink in (posix.sem_unlink, posix.mq_unlink):
        try:
            unlink(name)
        except FileNotFoundError as error:
            assert error.filename == name


@pytest.fixture
def semaphore(posix, name):
    semaphore = posix.NamedSemaphore(name, create=True, exclusive=True, value=1)
    yield semaphore
    semaphore.close()


@pytest.fixture
def queue(posix, name):
    with posix.MessageQueue(name, True, True, max_messages=4, max_size=100) as queue:
        yield queue


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


def in_child(body, uid: int | None = None) -> None:
    """Runs it in a forked child, as another user if it may."""
    pid = os.fork()
    if pid == 0:
        status = 9
        try:
            if uid is not None and os.geteuid() == 0:
                os.setuid(uid)
            body()
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


# -- names, of both ---------------------------------------------------------------------------------


def test_create_open_unlink(kind, name):
    with pytest.raises(FileNotFoundError) as caught:
        kind(name)
    assert caught.value.filename == name and caught.value.errno == errno.ENOENT
    first = kind(name.removeprefix("/"), create=True)
    assert first.name == name and name in repr(first)
    with pytest.raises(FileExistsError) as caught:
        kind(name, create=True, exclusive=True)
    assert caught.value.filename == name
    second = kind(name, create=True)
    third = kind(name)
    first.unlink()
    with pytest.raises(FileNotFoundError) as caught:
        second.unlink()
    assert caught.value.filename == name
    with pytest.raises(FileNotFoundError):
        kind(name)
    new = kind(name, create=True, exclusive=True)
    for each in (first, second, third, new):
        assert not each.closed
        each.close()
        each.close()
        assert each.closed and "closed" in repr(each)


def test_unlink_by_name(posix, name):
    for kind, unlink in (
        (posix.NamedSemaphore, posix.sem_unlink),
        (posix.MessageQueue, posix.mq_unlink),
    ):
        kind(name, create=True).close()
        unlink(name)
        with pytest.raises(FileNotFoundError, match="of this name") as caught:
            unlink(name)
        assert caught.value.filename == name
        with pytest.raises(ValueError, match="bad name"):
            unlink("a/b")


@pytest.mark.parametrize("bad", ["", "/", "a/b", "//a", ".", "/..", "a\0b", "x" * 300, "ü" * 128])
def test_bad_names(kind, bad):
    with pytest.raises(ValueError, match=r"bad name of a (semaphore|message queue): .*"):
        kind(bad, create=True)


def test_long_and_foreign_names(kind, name):
    for good in (name + "x" * (250 - len(name)), f"{name} ü~\n", f"{name}\udcff"):
        kind(good, create=True).unlink()


def test_bad_arguments(kind, name):
    for bad in (b"bytes", 5, None):
        with pytest.raises(TypeError, match=r"name of a .* must be a str, not"):
            kind(bad)
    with pytest.raises(ValueError, match="exclusive is for create=True"):
        kind(name, exclusive=True)
    for bad in (0o1000, 1 << 40):
        with pytest.raises(ValueError, match="mode must be permission bits"):
            kind(name, create=True, mode=bad)
    with pytest.raises(ValueError, match="mode must be 0 or more"):
        kind(name, create=True, mode=-1)
    with pytest.raises(TypeError, match="mode must be an int, not str"):
        kind(name, create=True, mode="0600")
    with pytest.raises(FileNotFoundError):
        kind(name)


def mode_of(posix, opened) -> int:
    if isinstance(opened, posix.MessageQueue):
        return stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
    return stat.S_IMODE(os.stat(f"/dev/shm/sem.{opened.name[1:]}").st_mode)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o777, 0])
def test_mode_whatever_the_umask(posix, kind, name, umask):
    for mode in (None, 0o666, 0o640, 0o600):
        before = os.umask(umask)
        try:
            made = kind(name, create=True, **({} if mode is None else {"mode": mode}))
        finally:
            os.umask(before)
        assert mode_of(posix, made) == (0o600 if mode is None else mode)
        again = kind(name, create=True, mode=0o644)  # it is there: its mode stays
        assert mode_of(posix, made) == (0o600 if mode is None else mode)
        again.close()
        made.unlink()
        made.close()


def test_other_users_are_kept_out(kind, name):
    made = kind(name, create=True, mode=0o600 if os.geteuid() == 0 else 0)

    def try_it():
        with pytest.raises(PermissionError, match="keeps user") as caught:
            kind(name)
        assert caught.value.filename == name

    in_child(try_it, NOBODY)
    made.close()
    made.unlink()


def test_what_another_user_owns_is_refused(kind, name, monkeypatch):
    in_child(lambda: kind(name, create=True, mode=0o666), NOBODY)
    if os.geteuid() != 0:  # who cannot become another pretends to be
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY - 1)
    for create in (False, True):
        with pytest.raises(PermissionError, match=r"belongs to user .* any_owner=True") as caught:
            kind(name, create=create)
        assert caught.value.filename == name
    opened = kind(name, any_owner=True)
    copy.copy(opened).close()  # by name, with the same trust
    opened.close()
    opened.unlink()


def test_pickled_by_name(kind, name):
    made = kind(name, create=True)
    text = pickle.dumps(made)
    again = pickle.loads(text)
    assert again.name == name and type(again) is kind and again is not made
    made.unlink()
    with pytest.raises(FileNotFoundError):
        pickle.loads(text)
    made.close()
    again.close()


def test_use_after_close(semaphore, queue):
    semaphore.close()
    queue.close()
    calls = [
        semaphore.acquire, semaphore.release, lambda: semaphore.value, semaphore.__enter__,
        lambda: queue.send(b"x"), queue.receive, queue.fileno, lambda: queue.count,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match=r"(semaphore|message queue) /pf-.* is closed"):
            call()


def test_closed_while_another_thread_waits(semaphore, queue):
    semaphore.acquire()
    told = []

    def wait(call):
        with pytest.raises(ValueError, match="is closed"):
            call()
        told.append(time.monotonic())

    threads = [threading.Thread(target=wait, args=(c,)) for c in (semaphore.acquire, queue.receive)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    began = time.monotonic()
    semaphore.close()
    queue.close()
    for thread in threads:
        thread.join(30)
    assert len(told) == 2 and max(told) - began < 1 + SLACK


def test_nothing_is_left(kind, name):
    """The fixture looks for descriptors and names; memory for what it does not see."""
    with open("/proc/self/maps") as maps:
        before = maps.read().count("/dev/shm")
    for i in range(10_000):
        made = kind(name, create=True, exclusive=True)
        if i % 2:
            made.close()
        made.unlink()
    del made
    with open("/proc/self/maps") as maps:
        assert maps.read().count("/dev/shm") == before


REFUSED = """
import ctypes, errno, platform, struct, sys
from procfast import _backend, posix

posix = _backend.load(sys.argv[1], "posix")
posix.NamedSemaphore("pf-refused", create=True).unlink()  # what it needs is loaded
posix.MessageQueue("pf-refused", create=True).unlink()

# A filter by which link, linkat and mq_open fail.
numbers = {"x86_64": (86, 265, 240), "aarch64": (37, 37, 180)}[platform.machine()]
code = int(sys.argv[2])
program = [(0x20, 0, 0, 0)]
program += [(0x15, len(numbers) - i, 0, number) for i, number in enumerate(numbers)]
program += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050000 | code)]
filters = b"".join(struct.pack("HBBI", *line) for line in program)
buffer = ctypes.create_string_buffer(filters)
fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, fprog, 0, 0) == 0, ctypes.get_errno()

for kind in (posix.NamedSemaphore, posix.MessageQueue):
    try:
        kind("pf-refused", create=True)
    except OSError as error:
        assert error.errno == errno.ENOSYS and error.filename == "/pf-refused", error
        assert "this system has no" in str(error) and "seccomp" in str(error), error
    else:
        sys.exit("not refused")
"""


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS])
def test_refused_by_the_system(backend, python, code):
    python("-c", REFUSED, backend.name, str(code))


def test_no_dev_shm(posix, name, monkeypatch):
    monkeypatch.setattr(
        posix.NamedSemaphore, "kind", posix.NamedSemaphore.kind._replace(folder="/nowhere")
    )
    with pytest.raises(OSError, match="has no semaphores: there is no /nowhere") as caught:
        posix.NamedSemaphore(name)
    assert caught.value.errno == errno.ENOSYS and caught.value.filename == name


# -- semaphores -----------------------------------------------------------------------------------


def test_permits(posix, name):
    semaphore = posix.NamedSemaphore(name, create=True, value=2)
    other = posix.NamedSemaphore(name, create=True, value=7)  # it is there: its value stays
    assert semaphore.value == other.value == 2
    assert semaphore.acquire() and other.acquire(True, 5)
    assert not semaphore.acquire(False) and not other.acquire(timeout=0)
    assert semaphore.value == 0
    semaphore.release()
    other.release(2)
    assert semaphore.value == 3
    with semaphore as taken:
        assert taken is True and other.value == 2
    assert other.value == 3
    semaphore.release(0)
    assert other.value == 3
    semaphore.close()
    other.close()


def test_default_value_is_one(posix, name):
    semaphore = posix.NamedSemaphore(name, True)
    assert semaphore.value == 1
    semaphore.close()


def test_most_permits(posix, name):
    most = posix.NamedSemaphore.MAX_VALUE
    semaphore = posix.NamedSemaphore(name, create=True, value=most)
    assert semaphore.value == most
    with pytest.raises(OSError) as caught:
        semaphore.release()
    assert caught.value.errno == errno.EOVERFLOW and caught.value.filename == name
    semaphore.acquire()
    semaphore.release()
    semaphore.close()
    semaphore.unlink()
    with pytest.raises(ValueError, match=f"value must be at most {most}, not {most + 1}"):
        posix.NamedSemaphore(name, create=True, value=most + 1)
    for bad, kind in ((-1, ValueError), ("1", TypeError), (1.0, TypeError), (1 << 70, ValueError)):
        with pytest.raises(kind, match="value must be"):
            posix.NamedSemaphore(name, create=True, value=bad)


def test_bad_timeouts(semaphore, queue):
    for call in (semaphore.acquire, lambda **k: queue.send(b"x", **k), queue.receive):
        for bad in ("1", [], object()):
            with pytest.raises(TypeError, match="timeout must be a number of seconds or None, not"):
                call(timeout=bad)
        with pytest.raises(ValueError, match="not nan"):
            call(timeout=float("nan"))
    assert semaphore.value == 1 and queue.count == 0
    with pytest.raises(ValueError, match="n must be 0 or more"):
        semaphore.release(-1)
    with pytest.raises(TypeError, match="n must be an int"):
        semaphore.release("1")
    assert semaphore.acquire(timeout=float("inf"))


@pytest.mark.parametrize("timeout", [0, -1, 0.2])
def test_acquire_times_out(semaphore, timeout):
    semaphore.acquire()
    began = time.monotonic()
    assert semaphore.acquire(timeout=timeout) is False
    assert timeout <= time.monotonic() - began < SLACK + 0.2


def test_waiting_costs_no_cpu(semaphore, queue):
    semaphore.acquire()
    cpu = time.process_time()
    assert not semaphore.acquire(timeout=1.5)
    with pytest.raises(TimeoutError):
        queue.receive(1.5)
    assert time.process_time() - cpu < 0.1


def test_two_processes(ctx, posix, name):
    """By name, whatever the start method."""
    ping = posix.NamedSemaphore(name, create=True, value=0)
    pong = posix.NamedSemaphore(name + "-2", create=True, value=0)
    try:
        p = ctx.Process(target=workers.take_and_give, args=(ping, pong))
        p.start()
        assert not pong.acquire(timeout=0.1)
        ping.release()
        assert pong.acquire(timeout=30)
        p.join()
        assert p.exitcode == 0
    finally:
        ping.close()
        pong.close()
        pong.unlink()


def test_exclusion(ctx, semaphore, tmp_path):
    file = tmp_path / "counter"
    file.write_text("0")
    ps = [ctx.Process(target=workers.count_up, args=(semaphore, str(file), 100)) for _ in range(3)]
    for p in ps:
        p.start()
    for p in ps:
        p.join()
    assert [p.exitcode for p in ps] == [0] * 3
    assert file.read_text() == "300"


def test_killed_holder(ctx, semaphore):
    """Its permit is gone: nobody owns one."""
    ready = ctx.SimpleQueue()
    p = ctx.Process(target=workers.take_and_stay, args=(semaphore, ready))
    p.start()
    assert ready.get() == "ready"
    p.kill()
    p.join()
    assert semaphore.value == 0
    assert not semaphore.acquire(timeout=0.3)
    semaphore.release()  # who knows that it died may give it back
    assert semaphore.acquire(timeout=5)


def test_killed_waiter(ctx, semaphore):
    """Takes nothing with it that it had not been given."""
    semaphore.acquire()
    ready = ctx.SimpleQueue()
    p = ctx.Process(target=workers.wait_for_permit, args=(semaphore, ready))
    p.start()
    assert ready.get() == "ready"
    time.sleep(0.1)
    p.kill()
    p.join()
    semaphore.release()
    assert semaphore.acquire(timeout=5)


def test_threads(semaphore):
    semaphore.acquire()
    got = []
    threads = [threading.Thread(target=lambda: got.append(semaphore.acquire())) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    assert not got
    semaphore.release(4)
    for thread in threads:
        thread.join(30)
    assert got == [True] * 4


# -- signals --------------------------------------------------------------------------------------


def test_handlers_run_and_the_wait_goes_on(semaphore, queue, alarm):
    semaphore.acquire()
    runs = []
    alarm(0.01, lambda *_: runs.append(1), 0.01)
    began = time.monotonic()
    assert not semaphore.acquire(timeout=0.3)
    assert 0.3 <= time.monotonic() - began < SLACK and len(runs) > 3
    runs.clear()
    with pytest.raises(TimeoutError):
        queue.receive(0.3)
    assert len(runs) > 3


def test_handler_that_releases(semaphore, queue, alarm):
    semaphore.acquire()
    alarm(0.1, lambda *_: semaphore.release())
    assert semaphore.acquire(timeout=30)
    alarm(0.1, lambda *_: queue.send(b"x"))
    assert queue.receive(30).data == b"x"


@pytest.mark.parametrize("kind", [KeyError, KeyboardInterrupt, OSError, TimeoutError, ValueError])
def test_handler_that_raises(semaphore, queue, alarm, kind):
    told = kind(errno.ETIMEDOUT, "of the handler's")

    def handler(*_):
        raise told

    semaphore.acquire()
    while True:
        try:
            queue.send(b"x", timeout=0)
        except TimeoutError:
            break
    for call in (semaphore.acquire, lambda: queue.send(b"x")):
        alarm(0.1, handler)
        began = time.monotonic()
        with pytest.raises(kind) as caught:
            call()
        assert caught.value is told
        assert time.monotonic() - began < SLACK
    assert semaphore.value == 0 and queue.count == 4


# -- message queues ---------------------------------------------------------------------------------


def test_messages(posix, queue):
    assert (queue.max_messages, queue.max_size, queue.count) == (4, 100, 0)
    queue.send(b"low")
    queue.send(bytearray(b"high 1"), 9)
    queue.send(memoryview(b"high 2"), priority=9)
    queue.send(b"", 1)
    assert queue.count == 4
    got = [queue.receive() for _ in range(4)]
    assert got == [(b"high 1", 9), (b"high 2", 9), (b"", 1), (b"low", 0)]
    assert type(got[0]) is posix.Message and got[0].data == b"high 1" and got[0].priority == 9
    queue.send(b"x" * 100, queue.MAX_PRIORITY)
    assert queue.receive() == (b"x" * 100, 32767)


def test_full_and_empty(queue):
    for timeout in (0, -1, 0.2):
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="no message within") as caught:
            queue.receive(timeout)
        assert timeout <= time.monotonic() - began < SLACK + 0.2
        assert caught.value.filename == queue.name
    for i in range(4):
        queue.send(bytes([i]), timeout=0)
    for timeout in (0, -1, 0.2):
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="no room for a message within") as caught:
            queue.send(b"x", timeout=timeout)
        assert timeout <= time.monotonic() - began < SLACK + 0.2
        assert caught.value.filename == queue.name
    assert [queue.receive(0).data for _ in range(4)] == [bytes([i]) for i in range(4)]


def test_bad_messages(queue):
    with pytest.raises(OSError, match="longer than the queue takes") as caught:
        queue.send(b"x" * 101)
    assert caught.value.errno == errno.EMSGSIZE and caught.value.filename == queue.name
    for bad in ("text", 5, None):
        with pytest.raises(TypeError, match="data must be bytes or another buffer, not"):
            queue.send(bad)
    with pytest.raises(ValueError, match="priority must be at most 32767"):
        queue.send(b"x", 32768)
    with pytest.raises(ValueError, match="priority must be 0 or more"):
        queue.send(b"x", -1)
    with pytest.raises(TypeError, match="priority must be an int"):
        queue.send(b"x", "high")
    assert queue.count == 0


def test_bad_sizes(posix, name):
    for sizes in ({"max_messages": 0}, {"max_size": 0}, {"max_size": 1 << 31}):
        with pytest.raises(ValueError, match=r"max_\w+ must be at least 1"):
            posix.MessageQueue(name, create=True, **sizes)
    with pytest.raises(TypeError, match="max_size must be an int"):
        posix.MessageQueue(name, create=True, max_size=1.5)
    with pytest.raises(OSError, match="system's limits") as caught:
        posix.MessageQueue(name, create=True, max_messages=1 << 30)
    assert caught.value.filename == name and caught.value.errno == errno.EINVAL
    with pytest.raises(ValueError, match="one of them"):
        posix.MessageQueue(name, create=True, read=False, write=False)


def test_too_many_bytes_of_queues(posix, name):
    """RLIMIT_MSGQUEUE, which is all of a user's, is explained."""
    soft, hard = resource.getrlimit(resource.RLIMIT_MSGQUEUE)
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (1000, hard))
    try:
        with pytest.raises(OSError, match="RLIMIT_MSGQUEUE") as caught:
            posix.MessageQueue(name, create=True)
    finally:
        resource.setrlimit(resource.RLIMIT_MSGQUEUE, (soft, hard))
    assert caught.value.errno == errno.EMFILE and caught.value.filename == name
    posix.MessageQueue(name, create=True).close()


def test_read_or_write(posix, queue):
    with (
        posix.MessageQueue(queue.name, read=False) as writer,
        posix.MessageQueue(queue.name, write=False) as reader,
    ):
        assert fcntl.fcntl(writer.fileno(), fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
        assert fcntl.fcntl(reader.fileno(), fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        writer.send(b"x")
        assert pickle.loads(pickle.dumps(reader)).receive().data == b"x"
        with pytest.raises(OSError, match="read=False") as caught:
            writer.receive()
        assert caught.value.errno == errno.EBADF and caught.value.filename == queue.name
        with pytest.raises(OSError, match="write=False"):
            reader.send(b"x")


def test_close_on_exec_and_select(posix, queue):
    with posix.MessageQueue(queue.name) as opened:
        for each in (queue, opened):
            assert not os.get_inheritable(each.fileno())
    poll = select.poll()
    poll.register(queue, select.POLLIN | select.POLLOUT)
    assert poll.poll(0) == [(queue.fileno(), select.POLLOUT)]
    queue.send(b"x")
    assert poll.poll(0) == [(queue.fileno(), select.POLLIN | select.POLLOUT)]
    while queue.count < 4:
        queue.send(b"x")
    assert poll.poll(0) == [(queue.fileno(), select.POLLIN)]


def test_nonblocking_descriptor(queue):
    """Somebody's O_NONBLOCK changes nothing: timeouts are the caller's."""
    os.set_blocking(queue.fileno(), False)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        queue.receive(0.2)
    assert time.monotonic() - began >= 0.2
    queue.send(b"x")
    assert queue.receive().data == b"x"


def test_questions_and_answers(ctx, posix, queue):
    with posix.MessageQueue(queue.name + "-2", True) as answers:
        try:
            p = ctx.Process(target=workers.answer_messages, args=(queue, answers))
            p.start()
            for i in range(50):
                queue.send(b"question %d" % i, i)
                assert answers.receive(30) == (b"QUESTION %d" % i, i)
            queue.send(b"")
            p.join()
            assert p.exitcode == 0
        finally:
            answers.unlink()


def test_killed_sender(ctx, queue):
    """Each message is whole and comes once; the other sender's all come."""
    ready = ctx.SimpleQueue()
    ps = [
        ctx.Process(target=workers.send_numbered, args=(queue, tag, ready if tag == 0 else None))
        for tag in range(2)
    ]
    for p in ps:
        p.start()
    following = [0, 0]

    def receive_one():
        tag, number = map(int, queue.receive(30).data.split())
        assert number == following[tag]
        following[tag] += 1

    while following[0] < 20:
        receive_one()
    ps[0].kill()
    ps[0].join()
    reached = following[1]
    while following[1] < reached + 100:
        receive_one()
    ps[1].kill()
    ps[1].join()
    while queue.count:
        receive_one()


def test_many_threads(queue):
    got = []
    readers = [
        threading.Thread(target=lambda: got.extend(queue.receive(30).data for _ in range(100)))
        for _ in range(3)
    ]
    writers = [
        threading.Thread(
            target=lambda tag=tag: [queue.send(b"%d %d" % (tag, i), timeout=30) for i in range(100)]
        )
        for tag in range(3)
    ]
    for thread in readers + writers:
        thread.start()
    for thread in readers + writers:
        thread.join(30)
    assert sorted(got) == sorted(b"%d %d" % (tag, i) for tag in range(3) for i in range(100))
