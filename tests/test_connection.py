"""Pipe and Connection within one process: methods, sizes, errors, readiness. The standard library is the oracle."""

import array
import asyncio
import copy
import ctypes
import errno
import gc
import math
import multiprocessing
import multiprocessing.connection
import os
import pickle
import random
import resource
import select
import selectors
import socket
import threading
import time
import weakref
from multiprocessing.connection import wait

import numpy
import pytest
import workers

KIB, MIB = 1 << 10, 1 << 20
SLACK = 5.0  # seconds a loaded machine may add to what should be immediate


@pytest.fixture(params=[True, False], ids=["duplex", "one way"])
def pipe(request, local):
    """(reader, writer): of a duplex pipe end 0 reads, so that both kinds go the same way."""
    r, w = local.Pipe(request.param)
    yield r, w
    r.close()
    w.close()


@pytest.fixture
def duplex(local):
    a, b = local.Pipe()
    yield a, b
    a.close()
    b.close()


def in_thread(target, *args):
    """Runs it meanwhile; the returned function waits for the end and gives its result."""
    result = []
    thread = threading.Thread(target=lambda: result.append(target(*args)))
    thread.start()

    def finish():
        thread.join(30)
        assert not thread.is_alive()
        return result[0]

    return finish


def through(r, w, message: bytes) -> bytes:
    finish = in_thread(w.send_bytes, message)
    got = r.recv_bytes()
    finish()
    return got


# -- the methods ----------------------------------------------------------------------------------

OBJECTS = [
    None, True, False, 0, -1, 1 << 62, -(1 << 63), 1 << 64, 10**30, 0.0, -0.0, math.inf, 1e-300, 2j,
    "", "x", "ü" * 50, "\ud800", b"", b"abc", bytearray(b"abc"), (), (1, "a", b"b", None), (1, (2, [3])),
    [], [1, [2, [3]]], {}, {"k": {"l": 1}}, set(), frozenset({1, 2}), range(5), Ellipsis, int, len,
    ValueError("no", 3), workers.Int(5), workers.Str("s"), workers.Bytes(b"b"), workers.Tuple((1, 2)),
    workers.Plain(a=1, b=[2]), array.array("d", [1.5, 2.5]),
]  # fmt: skip


@pytest.mark.parametrize(
    "obj",
    OBJECTS,
    ids=lambda o: f"{type(o).__name__}-{str(o)[:12]}".encode("ascii", "replace").decode(),
)
def test_objects(duplex, obj):
    a, b = duplex
    for one, two in ((a, b), (b, a)):
        assert one.send(obj) is None
        got = two.recv()
        assert type(got) is type(obj)
        assert repr(got) == repr(obj) if isinstance(obj, (Exception, float)) else got == obj


def test_order(pipe):
    r, w = pipe
    sent = [i if i % 3 else (b"%d" % i) * (i % 200) for i in range(2000)]
    finish = in_thread(list, map(w.send, sent))
    assert [r.recv() for _ in sent] == sent
    finish()


def test_bytes_and_objects_are_one_stream(pipe):
    """recv_bytes gives the pickle of an object; recv takes bytes for a pickle."""
    r, w = pipe
    for obj in (None, 1, "text", [1, {"a": b"x" * 300}], workers.Plain(n=1)):
        w.send(obj)
        assert pickle.loads(r.recv_bytes()) == obj
        w.send_bytes(pickle.dumps(obj))
        assert r.recv() == obj
    w.send_bytes(b"not a pickle")
    with pytest.raises(pickle.UnpicklingError):
        r.recv()
    w.send("next")
    assert r.recv() == "next"


def test_large_object_as_bytes(pipe):
    r, w = pipe
    obj = [os.urandom(5 * MIB), numpy.arange(200_000)]
    finish = in_thread(w.send, obj)
    got = pickle.loads(r.recv_bytes())
    finish()
    assert got[0] == obj[0]
    assert (got[1] == obj[1]).all()
    finish = in_thread(w.send_bytes, pickle.dumps(obj))
    assert r.recv()[0] == obj[0]
    finish()


def test_unpicklable(pipe):
    """Nothing of it was sent."""
    r, w = pipe
    for bad in (workers.Unpicklable(), [bytes(100_000), workers.Unpicklable()], lambda: None):
        with pytest.raises((pickle.PicklingError, AttributeError)):
            w.send(bad)
        assert not r.poll()
    w.send("next")
    assert r.recv() == "next"


def test_unloadable(pipe):
    """It is consumed, and the next one comes."""
    r, w = pipe
    w.send(workers.Unloadable())
    w.send([workers.Unloadable(), bytes(40_000)])
    w.send("next")
    for _ in range(2):
        with pytest.raises(ValueError, match="on purpose"):
            r.recv()
    assert r.recv() == "next"


def test_what_was_sent_is_what_it_was(pipe):
    r, w = pipe
    for n in (10, 40_000):
        data = bytearray(n)
        w.send_bytes(data)
        data[0] = 1
        assert r.recv_bytes() == bytes(n)
        items = [bytes(n)]
        w.send(items)
        items.append(1)
        assert r.recv() == [bytes(n)]


SIZES = [
    0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 63, 64, 65, 199, 206, 207, 208, 209, 4095, 4096, 4097,
    *(edge + d for edge in (32 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB) for d in (-9, -8, -1, 0, 1, 8, 9)),
    5 * MIB, 33 * MIB,
]  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
def test_sizes(pipe, size):
    r, w = pipe
    data = random.Random(size).randbytes(size)
    assert through(r, w, data) == data
    finish = in_thread(w.send, (data, size))
    assert r.recv() == (data, size)
    finish()
    finish = in_thread(w.send, bytearray(data))
    assert r.recv() == bytearray(data)
    finish()
    assert not r.poll()


def test_every_small_size(pipe):
    r, w = pipe
    for n in range(400):
        w.send_bytes(b"s" * n)
        assert r.recv_bytes() == b"s" * n


@pytest.mark.parametrize(
    ("offset", "size", "expected"),
    [
        (0, None, b"0123456789"), (3, None, b"3456789"), (10, None, b""), (2, 4, b"2345"), (0, 0, b""),
        (10, 0, b""), (True, 2, b"12"), (numpy.int64(8), numpy.int64(2), b"89"),
    ],
)  # fmt: skip
def test_send_bytes_part(pipe, offset, size, expected):
    r, w = pipe
    for data in (b"0123456789", bytearray(b"0123456789"), memoryview(b"0123456789")):
        w.send_bytes(data, offset, size)
        assert r.recv_bytes() == expected
    w.send_bytes(b"0123456789", offset=offset, size=size)
    assert r.recv_bytes() == expected


@pytest.mark.parametrize(
    ("args", "error", "text"),
    [
        ((b"abc", -1), ValueError, "offset is negative"),
        ((b"abc", 4), ValueError, "buffer length < offset"),
        ((b"abc", 0, -1), ValueError, "size is negative"),
        ((b"abc", 2, 2), ValueError, r"buffer length < offset \+ size"),
        ((b"abc", 0, 1 << 70), ValueError, r"buffer length < offset \+ size"),
        ((b"abc", 1 << 70), ValueError, "buffer length < offset"),
        ((b"abc", -(1 << 70)), ValueError, "offset is negative"),
        (("abc",), TypeError, "bytes-like"),
        ((7,), TypeError, "bytes-like"),
        ((None,), TypeError, "bytes-like"),
        (([1, 2],), TypeError, "bytes-like"),
        ((b"abc", "1"), TypeError, None),
        ((b"abc", 1.0), TypeError, None),
        ((b"abc", None), TypeError, None),
        ((b"abc", 0, "1"), TypeError, None),
        ((), TypeError, "argument"),
    ],
)
def test_send_bytes_bad(pipe, args, error, text):
    r, w = pipe
    with pytest.raises(error, match=text):
        w.send_bytes(*args)
    assert not r.poll()
    assert through(r, w, b"next") == b"next"


def test_send_bytes_of_other_buffers(pipe):
    r, w = pipe
    numbers = array.array("i", [1, -2, 3])
    w.send_bytes(numbers)
    assert r.recv_bytes() == numbers.tobytes()
    w.send_bytes(numbers, 4, 4)  # in bytes, not items
    assert r.recv_bytes() == numbers.tobytes()[4:8]
    w.send_bytes((ctypes.c_short * 3)(1, 2, 3))
    assert r.recv_bytes() == bytes((ctypes.c_short * 3)(1, 2, 3))
    w.send_bytes(numpy.arange(6.0))
    assert r.recv_bytes() == numpy.arange(6.0).tobytes()
    with pytest.raises((TypeError, BufferError, ValueError)):
        w.send_bytes(memoryview(b"0123456789")[::2])
    assert not r.poll()


def test_recv_bytes_maxlength(local):
    for n in (0, 10, 300, 40_000):
        r, w = local.Pipe(False)
        for most in (n, n + 1, 1 << 40):
            w.send_bytes(bytes(n))
            assert r.recv_bytes(most) == bytes(n)
        with pytest.raises(ValueError, match="negative maxlength"):
            r.recv_bytes(-1)
        r.close()
        w.close()


@pytest.mark.parametrize("size", [11, 300, 100_000, 5 * MIB])
@pytest.mark.parametrize("kind", [True, False], ids=["duplex", "one way"])
def test_recv_bytes_too_long(local, kind, size):
    """OSError, and no more can be received; a duplex end still sends."""
    r, w = local.Pipe(kind)

    def send():
        try:
            w.send_bytes(bytes(size))
        except (BrokenPipeError, ConnectionResetError):
            return "broken"
        return "sent"

    finish = in_thread(send)
    with pytest.raises(OSError, match="bad message length"):
        r.recv_bytes(10)
    if kind:
        assert not r.readable
        assert r.writable
        with pytest.raises(OSError, match="connection is write-only"):
            r.recv_bytes()
        r.send("still")
        assert w.recv() == "still"
    else:
        assert r.closed
        with pytest.raises(OSError, match="handle is closed"):
            r.recv_bytes()
    r.close()
    assert finish() in (
        ["sent"] if size < 1000 else ["broken"] if size > MIB else ["sent", "broken"]
    )
    w.close()


def test_recv_bytes_into(pipe):
    r, w = pipe
    for target in (
        bytearray(10),
        array.array("B", bytes(10)),
        numpy.zeros(10, "u1"),
        (ctypes.c_char * 10)(),
    ):
        w.send_bytes(b"abc")
        assert r.recv_bytes_into(target) == 3
        assert bytes(target)[:4] == b"abc\0"
        w.send_bytes(b"xyz")
        assert r.recv_bytes_into(target, 7) == 3
        assert bytes(target) == b"abc\0\0\0\0xyz"
        w.send_bytes(b"")
        assert r.recv_bytes_into(target, 10) == 0
    words = array.array("i", [0] * 4)
    w.send_bytes(array.array("i", [5]))
    assert r.recv_bytes_into(words, 8) == 4  # the offset in bytes
    assert list(words) == [0, 0, 5, 0]


@pytest.mark.parametrize("size", [11, 300, 100_000, 5 * MIB])
def test_recv_bytes_into_too_small(pipe, size):
    """BufferTooShort has the message; the buffer is as it was, and the next message comes."""
    r, w = pipe
    data = os.urandom(size)
    target = bytearray(b"0123456789")
    finish = in_thread(w.send_bytes, data)
    with pytest.raises(multiprocessing.BufferTooShort) as info:
        r.recv_bytes_into(target)
    finish()
    assert info.value.args == (data,)
    assert target == b"0123456789"
    w.send_bytes(b"ab")
    with pytest.raises(multiprocessing.BufferTooShort):
        r.recv_bytes_into(target, 9)
    assert through(r, w, b"next") == b"next"


@pytest.mark.parametrize(
    ("args", "error", "text"),
    [
        ((bytearray(3), -1), ValueError, "negative offset"),
        ((bytearray(3), 4), ValueError, "offset too large"),
        ((bytearray(3), "1"), TypeError, None),
        (("abc",), TypeError, "bytes-like"),
        ((), TypeError, "argument"),
    ],
)
def test_recv_bytes_into_bad(pipe, args, error, text):
    r, w = pipe
    with pytest.raises(error, match=text):
        r.recv_bytes_into(*args)
    assert through(r, w, b"next") == b"next"


def test_recv_bytes_into_what_is_read_only(pipe):
    r, w = pipe
    w.send_bytes(b"ab")
    with pytest.raises(TypeError):
        r.recv_bytes_into(bytes(3))
    assert r.recv_bytes() == b"ab"


@pytest.mark.parametrize("size", [300_000, 3 * MIB, 20 * MIB])
def test_recv_bytes_into_large(pipe, size):
    r, w = pipe
    data, target = os.urandom(size), bytearray(size + 5)
    finish = in_thread(w.send_bytes, data)
    assert r.recv_bytes_into(target, 5) == size
    finish()
    assert target == bytes(5) + data


def test_poll(pipe):
    r, w = pipe
    assert r.poll() is False
    for timeout in (0, 0.0, -1, -0.5, 0.001):
        assert r.poll(timeout) is False
    began = time.monotonic()
    assert r.poll(0.3) is False
    assert 0.29 < time.monotonic() - began < 0.3 + SLACK
    w.send(1)
    for timeout in (0, -1, 0.5, 100, None):
        assert r.poll(timeout) is True
    assert r.recv() == 1
    assert r.poll() is False
    timer = threading.Timer(0.1, w.send, (2,))
    timer.start()
    began = time.monotonic()
    assert r.poll(None) is True
    assert time.monotonic() - began < SLACK
    timer.join()
    assert r.recv() == 2
    with pytest.raises(TypeError):
        r.poll("1")


def test_poll_at_the_end(pipe):
    r, w = pipe
    w.send(1)
    w.close()
    assert r.poll() is True
    assert r.recv() == 1
    for timeout in (0, 5, None):
        assert r.poll(timeout) is True
    with pytest.raises(EOFError):
        r.recv()


def test_attributes(local):
    a, b = local.Pipe()
    r, w = local.Pipe(duplex=False)
    assert (a.readable, a.writable, b.readable, b.writable) == (True,) * 4
    assert (r.readable, r.writable, w.readable, w.writable) == (True, False, False, True)
    for end in (a, b, r, w):
        assert isinstance(end, multiprocessing.connection.Connection)
        assert isinstance(end.fileno(), int)
        assert end.fileno() == end.fileno() >= 0
        assert not os.get_inheritable(end.fileno())
        assert end.closed is False
        assert repr(end).startswith("<") and "onnection" in repr(end)
        assert weakref.ref(end)() is end
        end.close()
        assert end.closed is True
        end.close()


def test_wrong_direction(local):
    r, w = local.Pipe(False)
    for call in (w.recv, w.recv_bytes, w.poll, lambda: w.recv_bytes_into(bytearray(1))):
        with pytest.raises(OSError, match="connection is write-only"):
            call()
    for call in (lambda: r.send(1), lambda: r.send_bytes(b"")):
        with pytest.raises(OSError, match="connection is read-only"):
            call()
    w.send(1)
    assert r.recv() == 1
    r.close()
    w.close()


def test_closed(pipe):
    r, w = pipe
    r.close()
    w.close()
    calls = (
        r.recv, r.recv_bytes, r.poll, r.fileno, lambda: r.recv_bytes_into(bytearray(1)), lambda: w.send(1),
        lambda: w.send_bytes(b""), w.fileno, r.__enter__().fileno,
    )  # fmt: skip
    for call in calls:
        with pytest.raises(OSError, match="handle is closed"):
            call()


def test_context_manager(local):
    with local.Pipe(False)[0] as r, pytest.raises(ZeroDivisionError), r as again:
        assert again is r
        raise ZeroDivisionError
    assert r.closed


def test_ends_that_are_dropped_are_closed(local):
    r, w = local.Pipe(False)
    del w
    gc.collect()
    with pytest.raises(EOFError):
        r.recv()
    r.close()


def test_pickled_only_for_other_processes(duplex):
    with pytest.raises(TypeError, match="Connection"):
        pickle.dumps(duplex[0])
    with pytest.raises(TypeError, match="Connection"):
        copy.copy(duplex[0])


def test_pickled_when_closed(duplex):
    a, b = duplex
    a.close()
    with pytest.raises(OSError, match="handle is closed"):
        b.send(a)


def test_send_returns_nothing(pipe):
    r, w = pipe
    for call in (w.send, w.send_bytes, lambda data: w.send_bytes(data, 0, 1)):
        for data in (b"x", bytes(50_000)):
            assert call(data) is None
            r.recv_bytes()


@pytest.mark.parametrize("size", [10, 32 * KIB, MIB, 5 * MIB])
def test_no_descriptors(pipe, size):
    """A pipe that is there needs no more of them, whatever goes through it."""
    r, w = pipe
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    filler = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 100), hard))
    try:
        with pytest.raises(OSError):
            while True:
                filler.append(os.dup(0))
        assert through(r, w, bytes(size)) == bytes(size)
        for obj in ([bytes(size)], numpy.zeros(size, "u1"), bytearray(size)):
            finish = in_thread(w.send, obj)
            got = r.recv()
            finish()
            assert type(got) is type(obj) and len(got) == len(obj)
    finally:
        for fd in filler:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- arrays and other buffers ---------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 10, 1000, 100_000, 3_000_000])
def test_numpy(pipe, size):
    r, w = pipe
    sent = numpy.random.default_rng(size).random(size)
    finish = in_thread(w.send, sent)
    got = r.recv()
    finish()
    assert got.dtype == sent.dtype
    assert (got == sent).all()
    got += 1
    sent_again = sent.copy()
    assert (sent == sent_again).all()


def test_numpy_outlives_the_connection(local):
    r, w = local.Pipe(False)
    sent = [numpy.full(100_000, i) for i in range(4)]
    finish = in_thread(list, map(w.send, sent))
    got = [r.recv() for _ in sent]
    finish()
    r.close()
    w.close()
    del r, w
    gc.collect()
    other = local.Pipe()
    other[0].send(numpy.zeros(5_000))
    other[1].recv()
    for a, b in zip(got, sent, strict=True):
        a[0] += 0
        assert (a == b).all()
    for end in other:
        end.close()


def test_many_buffers(pipe):
    r, w = pipe
    sent = {i: numpy.full(i * 997, i, "u1") for i in range(150)}
    sent["large"] = [numpy.full(9 * MIB, i, "u1") for i in range(5)]
    finish = in_thread(w.send, sent)
    got = r.recv()
    finish()
    assert all((got[i] == sent[i]).all() for i in range(150))
    assert all((a == b).all() for a, b in zip(got["large"], sent["large"], strict=True))


def test_buffers_keep_whether_they_are_writable(pipe):
    r, w = pipe
    frozen = numpy.arange(50_000)
    frozen.flags.writeable = False
    finish = in_thread(w.send, (frozen, numpy.arange(50_000)))
    got = r.recv()
    finish()
    assert (got[0] == frozen).all()
    got[1][0] = 7


# -- readiness ------------------------------------------------------------------------------------


def test_wait(local):
    pipes = [local.Pipe(False) for _ in range(20)]
    readers = [r for r, _ in pipes]
    assert wait(readers, 0) == []
    began = time.monotonic()
    assert wait(readers, 0.2) == []
    assert 0.19 < time.monotonic() - began < 0.2 + SLACK
    for k in (3, 17):
        pipes[k][1].send(k)
    assert sorted(r.recv() for r in wait(readers, 5)) == [3, 17]
    assert wait(readers, 0) == []
    pipes[5][1].close()
    assert wait(readers) == [pipes[5][0]]
    for r, w in pipes:
        r.close()
        w.close()


def test_wait_mixed(local):
    """With sockets, raw pipes and connections of the standard library."""
    r, w = local.Pipe(False)
    plain_r, plain_w = multiprocessing.connection.Pipe(False)
    one, two = socket.socketpair()
    raw_r, raw_w = os.pipe()
    everything = [r, plain_r, one, raw_r]
    try:
        assert wait(everything, 0) == []
        for act, ready in (
            (lambda: w.send(1), r),
            (lambda: plain_w.send(1), plain_r),
            (lambda: two.send(b"1"), one),
            (lambda: os.write(raw_w, b"1"), raw_r),
        ):
            act()
            assert wait(everything, 5) == [ready]
            everything.remove(ready)
            assert wait([*everything, r], 0) == [r]
        assert (r.recv(), plain_r.recv()) == (1, 1)
        assert wait([r], 0) == []
    finally:
        for end in (r, w, plain_r, plain_w, one, two):
            end.close()
        os.close(raw_r)
        os.close(raw_w)


def readable(fd: int, timeout: float = 0) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


@pytest.mark.parametrize("before", [0, 1, 5])
@pytest.mark.parametrize("size", [1, 100_000, 300_000])
def test_readable_when_first_asked(local, before, size):
    """Messages that came before anybody asked for the descriptor count too."""
    r, w = local.Pipe(False)
    sender = threading.Thread(target=lambda: [w.send_bytes(bytes(size)) for _ in range(before)])
    sender.start()
    for left in range(before, 0, -1):
        assert readable(r.fileno(), SLACK), left
        assert r.recv_bytes() == bytes(size)
    sender.join()
    assert not r.poll()
    assert not readable(r.fileno())
    w.send(1)
    assert readable(r.fileno())
    r.recv()
    r.close()
    w.close()


def test_select_stress(local):
    """A reader that trusts select alone gets everything, and finds nothing readable when all is read."""
    r, w = local.Pipe(False)
    count = 5000
    finish = in_thread(lambda: [w.send(i) for i in range(count)])
    for i in range(count):
        assert readable(r.fileno(), 20)
        assert r.recv() == i
    finish()
    assert r.poll() is False
    assert not readable(r.fileno())
    r.close()
    w.close()


def test_several_select(local):
    """Readers that share an end by select and poll get every message between them."""
    r, w = local.Pipe(False)
    count, got, lock = 3000, [], threading.Lock()

    def read():
        with selectors.DefaultSelector() as selector:
            selector.register(r, selectors.EVENT_READ)
            while True:
                selector.select(20)
                with lock:
                    if not r.poll():
                        continue
                    try:
                        got.append(r.recv())
                    except EOFError:
                        return

    readers = [in_thread(read) for _ in range(3)]
    for i in range(count):
        w.send(i)
    w.close()
    for finish in readers:
        finish()
    assert got == list(range(count))
    r.close()


def test_edge_triggered(local):
    r, w = local.Pipe(False)
    with select.epoll() as epoll:
        epoll.register(r.fileno(), select.EPOLLIN | select.EPOLLET)
        for round_ in range(20):
            sender = in_thread(lambda: [w.send(i) for i in range(10)])
            got = []
            while len(got) < 10:
                assert epoll.poll(20), (round_, got)
                while r.poll():
                    got.append(r.recv())
            sender()
            assert got == list(range(10))
    r.close()
    w.close()


def test_asyncio_reader(local):
    r, w = local.Pipe(False)
    count = 500
    w.send(0)  # before anybody asked

    async def main():
        loop = asyncio.get_running_loop()
        got, done = [], loop.create_future()

        def on_readable():
            while r.poll():
                try:
                    got.append(r.recv())
                except EOFError:
                    loop.remove_reader(r)
                    done.set_result(None)
                    return

        loop.add_reader(r, on_readable)

        def send():
            for i in range(1, count):
                w.send(i)
            w.close()

        sender = loop.run_in_executor(None, send)
        await asyncio.wait_for(done, 30)
        await sender
        return got

    assert asyncio.run(main()) == list(range(count))
    r.close()


def test_writable(pipe):
    """An end that sends may be asked for its descriptor too."""
    r, w = pipe
    poll = select.poll()
    poll.register(w.fileno(), select.POLLOUT)
    assert poll.poll(0)
    r.close()
    assert [event & (select.POLLHUP | select.POLLERR) != 0 for _, event in poll.poll(0)] == [True]


# -- the other end closed -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 100, 40_000])
def test_end_after_the_last_message(local, size):
    r, w = local.Pipe(False)
    w.send_bytes(bytes(size))
    w.close()
    assert r.recv_bytes() == bytes(size)
    for call in (r.recv, r.recv_bytes, lambda: r.recv_bytes_into(bytearray(1))):
        with pytest.raises(EOFError):
            call()
    r.close()


def test_messages_to_a_closed_end_do_not_hide_the_last_words(local):
    """One side sends, closes with messages unread: the other still gets what was sent, then the end."""
    a, b = local.Pipe()
    b.send("unread")
    a.send("last words")
    a.close()
    assert b.recv() == "last words"
    with pytest.raises(EOFError):
        b.recv()
    b.close()


@pytest.mark.parametrize("call", ["recv", "recv_bytes", "poll"])
def test_close_wakes_the_waiting_reader(pipe, call):
    r, w = pipe
    timer = threading.Timer(0.2, w.close)
    timer.start()
    began = time.monotonic()
    if call == "poll":
        assert r.poll(60)
    else:
        with pytest.raises(EOFError):
            getattr(r, call)()
    assert 0.1 < time.monotonic() - began < SLACK
    timer.join()


@pytest.mark.parametrize("size", [1, 1000, 100_000, 10 * MIB])
def test_send_after_close(pipe, size):
    r, w = pipe
    w.send(1)
    r.close()
    for _ in range(3):
        with pytest.raises(BrokenPipeError) as info:
            w.send_bytes(bytes(size))
        assert info.value.errno == errno.EPIPE
        with pytest.raises(BrokenPipeError):
            w.send(bytes(size))


@pytest.mark.parametrize("size", [10_000, 200_000, 64 * MIB])
def test_close_wakes_the_waiting_writer(pipe, size):
    r, w = pipe

    def send():
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while True:
                w.send_bytes(bytes(size))
        return time.monotonic()

    finish = in_thread(send)
    time.sleep(0.3)
    began = time.monotonic()
    r.close()
    assert finish() - began < SLACK


def test_half_closed(local):
    """Of a duplex pipe one process may close one end while both directions were in use."""
    a, b = local.Pipe()
    a.send(1)
    b.send(2)
    assert (a.recv(), b.recv()) == (2, 1)
    b.send(3)
    b.close()
    assert a.recv() == 3
    with pytest.raises(EOFError):
        a.recv()
    with pytest.raises(BrokenPipeError):
        a.send(4)
    a.close()


def test_close_by_another_thread(local):
    """A call that waits meanwhile ends, or goes on as if nothing were; the process survives."""
    for _ in range(50):
        r, w = local.Pipe(False)

        def receive(r=r):
            try:
                while True:
                    r.recv()
            except (OSError, EOFError, TypeError):  # the standard library's handle is None suddenly
                return True

        finish = in_thread(receive)
        for i in range(100):
            w.send(i)
        r.close()
        w.close()
        assert finish()


# -- many -----------------------------------------------------------------------------------------


def test_one_after_the_other(local):
    """A new pipe knows nothing of those before it: no message, no end."""
    ends = []
    for i in range(3000):
        r, w = local.Pipe(i % 2 == 0)
        assert not r.poll()
        w.send(i)
        if i % 3:
            assert r.recv() == i
        if i % 5 == 0:
            ends.append((r, w))
            continue
        (w if i % 7 else r).close()
        if i % 7 and i % 3:
            with pytest.raises(EOFError):
                r.recv()
        if len(ends) > 10:
            for end in ends.pop(0):
                end.close()
    for pair in ends:
        for end in pair:
            end.close()


CLOSES_ALL = """
import os, procfast, sys
ctx = procfast.get_context("fork", backend=sys.argv[1])
for kind in (True, False):
    for end in ctx.Pipe(kind):
        end.close()
    del end
os.closerange(3, 100)
files = [os.open(f"file{i}", os.O_RDWR | os.O_CREAT) for i in range(20)]
for fd in files:
    os.write(fd, b"precious")
for kind in (True, False, True, False):
    r, w = ctx.Pipe(kind)
    for _ in range(10):
        w.send_bytes(bytes(3_000))
    for size in (*[3_000] * 10, 30_000, 50_000):
        if size > 3_000:
            w.send_bytes(bytes(size))
        assert r.recv_bytes() == bytes(size)
    r.close(); w.close(); del r, w
for i, fd in enumerate(files):
    assert os.pread(fd, 100, 0) == b"precious"
    assert os.stat(f"file{i}").st_size == 8
    os.close(fd)
"""


def test_all_descriptors_were_closed(python, backend):
    """Between two pipes, as daemons do, and files opened in their place: a later pipe leaves those alone."""
    python("-c", CLOSES_ALL, backend.name)


MADE_AT_A_FORK = """
import os, sys
made, parent = [], os.getpid()
os.register_at_fork(before=lambda: made.append(ctx.Pipe()))  # hooks run in reverse order: this one last
import procfast
ctx = procfast.get_context("fork", backend=sys.argv[1])
go, gone = os.pipe()
pid = os.fork()
if pid == 0:
    os.read(go, 1)
    made[0][1].send("into its own copy")
    os._exit(0)
for end in made.pop():
    end.close()
a, b = ctx.Pipe()
os.write(gone, b"x")
assert os.waitpid(pid, 0)[1] == 0
assert not a.poll() and not b.poll()
a.send(1); assert b.recv() == 1
b.send(2); assert a.recv() == 2
"""


def test_pipe_made_while_a_fork_is_prepared(python, backend):
    """The child has it too: what it does there does not reach the parent's next pipe."""
    python("-c", MADE_AT_A_FORK, backend.name)


def test_many_at_once(local):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    many = 1000
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 5 * many)), hard))
    try:
        pipes = [local.Pipe(False) for _ in range(many)]
        for i, (_, w) in enumerate(pipes):
            w.send((i, b"x" * i))
        assert [r.recv() for r, _ in pipes] == [(i, b"x" * i) for i in range(many)]
        for _, w in pipes:
            w.close()
        for r, _ in pipes:
            with pytest.raises(EOFError):
                r.recv()
            r.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("what", ["sent", "received"])
def test_many_threads_on_one_end(local, what):
    """No message is torn or taken twice. Several threads may not share an end of the standard library's."""
    r, w = local.Pipe(False)
    rng = random.Random(3)
    sizes = [rng.choice((20, 1000, 70_000, 300_000)) for _ in range(400)] + [5 * MIB] * 4
    messages = [workers.sealed(i, size) for i, size in enumerate(sizes)]
    got, lock = [], threading.Lock()

    def send(part):
        for message in part:
            w.send_bytes(message)

    def receive(count):
        for _ in range(count):
            number = workers.unseal(r.recv_bytes())
            with lock:
                got.append(number)

    many = 4
    senders = many if what == "sent" else 1
    readers = many if what == "received" else 1
    finishes = [in_thread(send, messages[k::senders]) for k in range(senders)]
    finishes += [in_thread(receive, len(messages) // readers) for _ in range(readers)]
    for finish in finishes:
        finish()
    assert sorted(got) == list(range(len(messages)))
    r.close()
    w.close()
