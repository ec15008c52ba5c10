"""Connections between processes: handed over, shared, their holders killed, their calls interrupted."""

import contextlib
import errno
import functools
import multiprocessing.connection
import os
import resource
import signal
import socket
import sys
import threading
import time
from multiprocessing import reduction
from multiprocessing.connection import wait

import numpy
import pytest
import workers

KIB, MIB = 1 << 10, 1 << 20
SLACK = 5.0  # seconds a loaded machine may add to what should be immediate


@pytest.fixture
def spawn(ctx):
    """Starts processes, which must have ended well by the end of the test, or been killed by it."""
    started = []

    def start(target, *args):
        p = ctx.Process(target=target, args=args)
        started.append(p)
        p.start()
        return p

    yield start
    try:
        for p in started:
            p.join(30)
        assert {p.exitcode for p in started} <= {0, -signal.SIGKILL}
    finally:
        for p in started:
            if p.is_alive():
                p.kill()
                p.join()
            p.close()


def kill(p) -> None:
    p.kill()
    p.join()


def close(*ends) -> None:
    for end in ends:
        end.close()


# -- handed over ----------------------------------------------------------------------------------


def test_one_end(ctx, spawn):
    a, b = ctx.Pipe()
    spawn(workers.echo_connection, b, a)
    b.close()
    items = [None, 1, "x", {"a": [1, 2]}, bytes(100_000), bytes(5 * MIB), workers.Plain(a=1)]
    for item in items:
        a.send(item)
        assert a.recv() == item
    array = numpy.arange(1_000_000)
    a.send(array)
    assert (a.recv() == array).all()
    a.close()


def test_both_ends(ctx, spawn):
    """The child gets the other end too, closes it, and then sees the end."""
    a, b = ctx.Pipe()
    p = spawn(workers.echo_connection, b, a)
    b.close()
    a.send(1)
    assert a.recv() == 1
    a.close()
    p.join(30)
    assert p.exitcode == 0


def test_one_way(ctx, spawn):
    r, w = ctx.Pipe(False)
    result = ctx.SimpleQueue()
    spawn(workers.receive_items, r, result, w)
    spawn(workers.send_items, w, 0, 200, [20, 5000, 100_000, 5 * MIB])
    close(r, w)
    assert result.get() == list(range(200))
    close(result)


def test_messages_wait_for_the_process(ctx, spawn):
    """What was sent before it started is there."""
    a, b = ctx.Pipe()
    for i in range(10):
        a.send(i)
    spawn(workers.echo_connection, b, a)
    b.close()
    assert [a.recv() for _ in range(10)] == list(range(10))
    a.close()


def test_through_another_pipe(ctx, spawn):
    """There and back, and the copies that are left are of use."""
    inbox_r, inbox_w = ctx.Pipe(False)
    outbox_r, outbox_w = ctx.Pipe(False)
    spawn(workers.pass_on, inbox_r, outbox_w, inbox_w, outbox_r)
    close(inbox_r, outbox_w)
    for _ in range(3):
        a, b = ctx.Pipe()
        inbox_w.send(b)
        c = outbox_r.recv()
        b.close()
        text, pid = a.recv()
        assert text == "through"
        assert pid != os.getpid()
        a.send([1])
        assert c.recv() == [1]
        c.close()
        with pytest.raises(EOFError):
            a.recv()
        a.close()
    close(inbox_w, outbox_r)


@pytest.mark.parametrize("kind", ["Queue", "SimpleQueue"])
def test_through_a_queue(local, kind):
    q = getattr(local, kind)()
    r, w = local.Pipe(False)
    q.put((r, w))
    r2, w2 = q.get()
    for sender in (w, w2):
        for receiver in (r, r2):
            sender.send("x")
            assert receiver.recv() == "x"
    close(r, w)
    w2.send(1)
    w2.close()
    assert r2.recv() == 1
    with pytest.raises(EOFError):
        r2.recv()
    r2.close()
    q.close()
    if kind == "Queue":
        q.join_thread()


def test_pipe_in_a_pipe_in_a_pipe(local):
    a, b = local.Pipe()
    c, d = local.Pipe()
    e, f = local.Pipe()
    c.send(f)
    a.send(d)
    d2 = b.recv()
    f2 = d2.recv()
    e.send("deep")
    assert f2.recv() == "deep"
    close(a, b, c, d, e, f, d2, f2)


def test_through_itself(local):
    a, b = local.Pipe()
    a.send((a, b))
    a2, b2 = b.recv()
    a2.send(1)
    assert b.recv() == 1
    b2.send(2)
    assert a.recv() == 2
    close(a, b)
    a2.send(3)
    assert b2.recv() == 3
    close(a2, b2)


def test_listener_sends_connections(local):
    """A connection of Listener and Client, which are sockets, carries those of a Pipe."""
    with multiprocessing.connection.Listener(authkey=b"k") as listener:
        client = []
        thread = threading.Thread(
            target=lambda: client.append(
                multiprocessing.connection.Client(listener.address, authkey=b"k")
            )
        )
        thread.start()
        server = listener.accept()
        thread.join()
    r, w = local.Pipe(False)
    server.send(w)
    w2 = client[0].recv()
    w2.send("x")
    assert r.recv() == "x"
    close(r, w, w2, server, client[0])


# -- descriptors ----------------------------------------------------------------------------------


@contextlib.contextmanager
def sending(send):
    """send() is done, before or meanwhile: since Python 3.14 send_handle waits until its handle is received."""
    thread = threading.Thread(target=send)
    thread.start()
    if sys.version_info < (3, 14):
        thread.join()
    yield
    thread.join()


def test_handles_between_messages(local):
    """send_handle and recv_handle keep their place among the messages, however many wait."""
    a, b = local.Pipe()
    pipes = [os.pipe() for _ in range(4)]

    def send():
        for k, (_, w) in enumerate(pipes):
            a.send(k)
            reduction.send_handle(a, w, os.getpid())
            a.send_bytes(b"b" * k)
        a.send("last")

    with sending(send):
        receive_handles(b, pipes)
    assert wait([b], 0) == [b]
    assert b.recv() == "last"
    assert wait([b], 0) == []
    close(a, b)


def receive_handles(b, pipes):
    for k, (r, w) in enumerate(pipes):
        assert b.recv() == k
        fd = reduction.recv_handle(b)
        assert b.recv_bytes() == b"b" * k
        assert os.fstat(fd).st_ino == os.fstat(w).st_ino
        for each in (fd, r, w):
            os.close(each)


@pytest.mark.parametrize("count", [277, 278, 350])
def test_message_behind_many_handles(local, count):
    """Of which the system holds 278 at a time: the message is seen by select all the same."""
    a, b = local.Pipe()

    def send():
        for _ in range(count):
            reduction.send_handle(a, 0, os.getpid())
        a.send("last")

    sender = threading.Thread(target=send)
    sender.start()
    sender.join(0.2)
    for _ in range(count):
        os.close(reduction.recv_handle(b))
    assert wait([b], SLACK) == [b]
    assert b.recv() == "last"
    sender.join()
    assert wait([b], 0) == []
    close(a, b)


def test_descriptor_of_a_sender_that_nobody_hears(local):
    """Asking for it before each message takes no room from the messages."""
    r, w = local.Pipe(False)
    for i in range(1000):
        assert w.fileno() >= 0
        w.send(i)
    assert [r.recv() for _ in range(1000)] == list(range(1000))
    close(r, w)


def test_handles_both_ways_with_select(local):
    a, b = local.Pipe()
    r, w = os.pipe()

    def send(one):
        for k in range(3):
            one.send(k)
            reduction.send_handle(one, w, os.getpid())

    for one, two in ((a, b), (b, a)) * 3:
        with sending(functools.partial(send, one)):
            for k in range(3):
                assert wait([two], 5) == [two]
                assert two.recv() == k
                assert wait([two], 5) == [two]
                os.close(reduction.recv_handle(two))
        assert wait([two], 0) == []
    for fd in (r, w):
        os.close(fd)
    close(a, b)


def test_few_descriptors(ctx, spawn):
    """ulimit -n 64: EMFILE, and what was made is whole."""
    out = ctx.SimpleQueue()
    spawn(workers.few_descriptors, out, ctx.Pipe)
    code, count = out.get()
    assert code == errno.EMFILE
    assert count >= 10
    close(out)


def test_passing_with_few_descriptors(ctx, spawn):
    """A connection that finds no room raises OSError; the carrier stays usable, what follows comes."""
    out = ctx.SimpleQueue()
    spawn(workers.pass_with_few_descriptors, out, workers.cell_of(ctx))
    assert out.get() == [errno.EMFILE]
    close(out)


# -- shared by many -------------------------------------------------------------------------------

MIXED = [20, 1000, 300, 70_000, 100, 300_000, 9]


@pytest.mark.parametrize("sizes", [MIXED, [*MIXED, 5 * MIB]], ids=["mixed", "with parts"])
@pytest.mark.parametrize(("senders", "receivers"), [(3, 1), (1, 3), (2, 2)])
def test_many_processes(ctx, spawn, senders, receivers, sizes):
    """No message is torn, lost or doubled; those of one sender stay in order."""
    r, w = ctx.Pipe(False)
    result = ctx.SimpleQueue()
    count = 100
    for _ in range(receivers):
        spawn(workers.receive_items, r, result, w)
    for who in range(senders):
        spawn(workers.send_items, w, who, count, sizes)
    close(r, w)
    lists = [result.get() for _ in range(receivers)]
    everything = sorted(item for got in lists for item in got)
    assert everything == [who * 1_000_000 + i for who in range(senders) for i in range(count)]
    for got in lists:
        for who in range(senders):
            mine = [item for item in got if item // 1_000_000 == who]
            assert mine == sorted(mine)
    close(result)


def test_select_in_another_process(ctx, spawn):
    """Readable whenever a message can be got: a reader that only trusts select misses none."""
    r, w = ctx.Pipe(False)
    result = ctx.SimpleQueue()
    spawn(workers.select_all, r, result, w)
    r.close()
    for i in range(3000):
        w.send(i)
        if i % 500 == 0:
            time.sleep(0.01)  # it gets time to fall asleep
    w.close()
    assert result.get() == list(range(3000))
    close(result)


def test_wait_for_sentinels_and_connections(ctx, spawn):
    a, b = ctx.Pipe()
    p = spawn(workers.echo_connection, b, a)
    b.close()
    assert wait([a, p.sentinel], 0) == []
    a.send(1)
    assert wait([a, p.sentinel], 20) == [a]
    assert a.recv() == 1
    kill(p)
    # one may be a moment later than the other: a fork server first writes the exit status, then closes
    assert wait([p.sentinel], 20) == [p.sentinel]
    assert wait([a], 20) == [a]
    assert set(wait([a, p.sentinel], 20)) == {a, p.sentinel}
    with pytest.raises((EOFError, ConnectionResetError)):
        a.recv()
    a.close()


# -- the other end is gone ------------------------------------------------------------------------


def test_reader_of_the_killed(ctx, spawn):
    """The last message, then the end, at once."""
    r, w = ctx.Pipe(False)
    w.send("last")
    q = ctx.SimpleQueue()
    p = spawn(workers.hold_connection, q, w, r)
    w.close()
    assert q.get() == "ready"
    assert r.recv() == "last"
    assert r.poll(0.05) is False
    timer = threading.Timer(0.2, p.kill)
    timer.start()
    with pytest.raises(EOFError):
        r.recv()
    timer.join()
    p.join()
    began = time.monotonic()
    for call in (r.recv, r.recv_bytes):
        with pytest.raises(EOFError):
            call()
    assert r.poll(60) is True
    assert time.monotonic() - began < SLACK
    close(r, q)


@pytest.mark.parametrize("size", [1, 1000, 200_000, 5 * MIB])
def test_writer_to_the_killed(ctx, spawn, size):
    """Every send that starts 100 ms after the reader's death raises; at most 1 MiB was taken before."""
    r, w = ctx.Pipe(False)
    q = ctx.SimpleQueue()
    p = spawn(workers.hold_connection, q, r, w)
    r.close()
    assert q.get() == "ready"
    if size <= 1000:
        w.send_bytes(bytes(size))
    kill(p)
    died, taken = time.monotonic(), 0
    with pytest.raises(BrokenPipeError):
        while True:
            late = time.monotonic() - died > 0.1
            w.send_bytes(bytes(size))
            assert not late
            taken += size
            assert taken <= MIB
    for _ in range(3):
        with pytest.raises(BrokenPipeError):
            w.send(1)
    close(w, q)


def test_writer_that_waits_when_the_reader_is_killed(ctx, spawn):
    r, w = ctx.Pipe(False)
    q = ctx.SimpleQueue()
    p = spawn(workers.hold_connection, q, r, w)
    r.close()
    assert q.get() == "ready"
    timer = threading.Timer(0.3, p.kill)
    timer.start()
    with pytest.raises(BrokenPipeError):
        while True:
            w.send_bytes(bytes(10_000))
    timer.join()
    p.join()
    close(w, q)


def test_killed_in_the_middle_of_a_message(ctx, spawn):
    """An error, never a part of it."""
    r, w = ctx.Pipe(False)
    q = ctx.SimpleQueue()
    for i in range(3):
        w.send_bytes(b"%d" % i)
    p = spawn(workers.send_one_large, q, w, 64 * MIB, r)
    w.close()
    assert q.get() == "ready"
    for i in range(3):
        assert r.recv_bytes() == b"%d" % i
    assert r.poll(20)  # the message has begun; nobody reads it, so that it can't be whole
    kill(p)
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises((EOFError, OSError)):
            r.recv_bytes()
    assert time.monotonic() - began < SLACK
    close(r, q)


def test_copies_keep_it_open(ctx, spawn):
    r, w = ctx.Pipe(False)
    q = ctx.SimpleQueue()
    holders = [spawn(workers.hold_connection, q, w) for _ in range(2)]
    w.close()
    for _ in holders:
        assert q.get() == "ready"
    kill(holders[0])
    assert r.poll(0.2) is False
    kill(holders[1])
    assert r.poll(20) is True
    with pytest.raises(EOFError):
        r.recv()
    close(r, q)


def test_end_in_flight(local):
    """An end that lies in another pipe, unread, goes with that pipe."""
    r, w = local.Pipe(False)
    a, b = local.Pipe()
    w.send("x")
    a.send("first")
    close(a, b, w)
    assert r.recv() == "x"
    with pytest.raises(EOFError):
        r.recv()
    r.close()


# -- fork -----------------------------------------------------------------------------------------


def test_fork_while_a_message_is_sent(local):
    """The child has its copy of the end; the parent's message arrives whole, and only once."""
    r, w = local.Pipe(False)
    message = os.urandom(32 * MIB)
    sender = threading.Thread(target=w.send_bytes, args=(message,))
    sender.start()
    assert r.poll(20)
    pids = []
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        pids.append(pid)
    assert r.recv_bytes() == message
    sender.join()
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0
    w.send("next")
    assert r.recv() == "next"
    w.close()
    with pytest.raises(EOFError):
        r.recv()
    r.close()


def test_fork_while_threads_talk(local):
    """Children forked at any moment can use a pipe of their own and the shared one."""
    a, b = local.Pipe()
    stop = threading.Event()

    def talk():
        i = 0
        while not stop.is_set():
            a.send(i)
            assert b.recv() == i
            i += 1

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        for _ in range(30):
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    r, w = local.Pipe(False)
                    w.send("mine")
                    status = r.recv() != "mine"
                finally:
                    os._exit(status)
            assert os.waitpid(pid, 0)[1] == 0
    finally:
        stop.set()
        thread.join()
    close(a, b)


# -- signals --------------------------------------------------------------------------------------


@pytest.fixture
def alarm():
    """Sets a handler for SIGALRM and a timer; both are undone."""
    old = signal.getsignal(signal.SIGALRM)

    def start(handler, first, interval=0.0):
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, first, interval)

    yield start
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, old)


CALLS = [
    "recv",
    "recv_bytes",
    "recv_bytes_into",
    "poll",
    "send",
    "send_bytes",
    "send_bytes in parts",
]


def blocked(local, what):
    """(call, the rest): a call that waits, and what must go through afterwards."""
    r, w = local.Pipe(False)
    if not what.startswith("send"):
        call = {
            "recv": r.recv,
            "recv_bytes": r.recv_bytes,
            "recv_bytes_into": lambda: r.recv_bytes_into(bytearray(10)),
            "poll": lambda: r.poll(None),
        }[what]
        return r, w, call
    size = 8 * MIB if "parts" in what else 20_000

    def call():
        while True:
            (w.send if what == "send" else w.send_bytes)(bytes(size))

    return r, w, call


@pytest.mark.parametrize("what", CALLS)
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_exception_of_a_handler_ends_a_wait(local, alarm, what, error):
    r, w, call = blocked(local, what)

    def handler(*args):
        raise error

    alarm(handler, 0.1)
    began = time.monotonic()
    with pytest.raises(error):
        call()
    assert time.monotonic() - began < SLACK
    close(r, w)


@pytest.mark.parametrize("what", CALLS)
def test_usable_after_an_interrupt(local, alarm, what):
    """What was sent whole is there, the interrupted message is not, the next one comes."""
    r, w, call = blocked(local, what)

    def handler(*args):
        raise ZeroDivisionError

    alarm(handler, 0.1)
    with pytest.raises(ZeroDivisionError):
        call()
    sender = threading.Thread(target=w.send_bytes, args=(b"next",))
    sender.start()
    while True:
        got = r.recv_bytes()
        if got == b"next":
            break
        assert len(got) >= 20_000
    sender.join()
    assert not r.poll()
    close(r, w)


def test_signals_do_not_end_a_wait(local, alarm):
    """PEP 475: the handler runs at once, the deadline of poll stays."""
    r, w = local.Pipe(False)
    hits = []
    alarm(lambda *args: hits.append(1), 0.05, 0.05)
    began = time.monotonic()
    assert r.poll(0.6) is False
    assert 0.59 < time.monotonic() - began < 0.6 + SLACK
    assert len(hits) >= 4
    timer = threading.Timer(0.3, w.send, ("x",))
    timer.start()
    assert r.recv() == "x"
    timer.join()
    close(r, w)


@pytest.mark.parametrize("what", ["send", "recv"])
def test_signals_are_seen_during_a_long_message(local, alarm, what):
    """It is always about to go on, but handlers do not wait for its end."""
    r, w = local.Pipe(False)
    message = bytes(400 * MIB)
    call, other = (w.send_bytes, r.recv_bytes) if what == "send" else (r.recv_bytes, w.send_bytes)
    hits, began = [], time.monotonic()
    pid = os.fork()
    if pid == 0:
        other(*([message] if what == "recv" else []))
        os._exit(0)
    alarm(lambda *args: hits.append(time.monotonic()), 0.01, 0.01)
    call(*([message] if what == "send" else []))
    signal.setitimer(signal.ITIMER_REAL, 0)
    took = time.monotonic() - began
    assert os.waitpid(pid, 0)[1] == 0
    assert len(hits) > 3, f"{len(hits)} in {took:.2f} s"
    close(r, w)


def test_messages_among_many_signals(local, alarm):
    """Handlers that return, every millisecond, in the middle of everything."""
    a, b = local.Pipe()
    hits = []
    alarm(lambda *args: hits.append(1), 0.001, 0.001)
    message = os.urandom(20 * MIB)
    thread = threading.Thread(target=workers.echo_connection, args=(b,))
    thread.start()
    sender = threading.Thread(target=a.send, args=(message,))
    sender.start()
    assert a.recv() == message
    sender.join()
    for i in range(500):
        a.send(i)
        assert a.recv() == i
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert hits
    a.close()
    thread.join()
    b.close()


def test_nothing_is_torn_when_receipts_are_interrupted(local, alarm):
    """By handlers, at any moment: a message comes whole or, where its call was about to return it, not at all."""
    r, w = local.Pipe(False)
    count = 60
    sizes = (20, 300_000, 6 * MIB)
    sender = threading.Thread(target=workers.send_items, args=(w, 0, count, sizes))

    class Poke(Exception):
        pass

    def handler(*args):
        if armed:
            raise Poke

    got, armed, pokes, ended = [], False, 0, False
    sender.start()
    alarm(handler, 0.0005, 0.0007)
    while not ended:
        item = None
        try:
            armed = True
            try:
                item = r.recv_bytes()
            except EOFError:
                ended = True
            finally:
                armed = False
        except Poke:
            pokes += 1
        if item is not None:
            got.append(workers.unseal(item))
    sender.join()
    assert got == sorted(set(got))
    assert set(got) <= set(range(count))
    assert pokes > 0
    assert count - len(got) <= pokes
    r.close()


@pytest.mark.parametrize(
    "call", ["recv", "recv_bytes", "recv_bytes_into", "poll", "send", "send_bytes"]
)
def test_control_c_in_a_child(ctx, spawn, call):
    r, w = ctx.Pipe(False)
    q = ctx.SimpleQueue()
    p = spawn(workers.interrupted_call, q, w if call.startswith("send") else r, call, 30_000)
    assert q.get() == "ready"
    time.sleep(0.2)
    os.kill(p.pid, signal.SIGINT)
    assert q.get() == "interrupted"
    close(r, w, q)


# -- what it costs to wait ------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["recv", "poll", "send", "select"])
def test_blocked_costs_no_cpu(local, what):
    r, w = local.Pipe(False)
    if what == "select":
        r.fileno()
        call = lambda: wait([r])  # noqa: E731
    elif what == "send":

        def call():
            for _ in range(200):
                w.send_bytes(bytes(20_000))
    else:
        call = (lambda: r.poll(None)) if what == "poll" else r.recv
    pid = os.fork()
    if pid == 0:
        try:
            before = resource.getrusage(resource.RUSAGE_SELF)
            threading.Timer(2, os._exit, (0,)).start()
            call()
        finally:
            after = resource.getrusage(resource.RUSAGE_SELF)
            os._exit(1 if after.ru_utime - before.ru_utime > 1 else 2)
    _, status, usage = os.wait4(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert usage.ru_utime + usage.ru_stime < 0.5
    close(r, w)


def test_idle_pair_costs_nothing(local):
    a, b = local.Pipe()
    a.send(1)
    b.recv()
    before = time.process_time()
    time.sleep(1)
    assert time.process_time() - before < 0.1
    close(a, b)


# -- Listener and Client --------------------------------------------------------------------------

PLAIN = """
import sys
from multiprocessing.connection import {what}
assert not any(name.startswith("procfast") for name in sys.modules)
"""


@pytest.mark.parametrize("family", ["AF_INET", "AF_UNIX"])
def test_plain_client(python, script, backend, family):
    """A Client that knows only the standard library talks to our Listener."""
    program = (
        PLAIN.format(what="Client")
        + """
with Client(eval(sys.argv[1]), authkey=b"secret") as c:
    c.send({"hello": [1, 2, 3]})
    assert c.recv() == b"x" * 300_000
    c.send_bytes(c.recv_bytes())
"""
    )
    from multiprocessing import connection

    address = ("localhost", 0) if family == "AF_INET" else None
    with backend.module.connection.Listener(address, family, authkey=b"secret") as listener:
        assert type(listener) is connection.Listener
        failed = []

        def client():
            try:
                python(script(program), repr(listener.address))
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=client)
        thread.start()
        with listener.accept() as conn:
            assert conn.recv() == {"hello": [1, 2, 3]}
            conn.send(b"x" * 300_000)
            conn.send_bytes(b"bytes")
            assert conn.recv_bytes() == b"bytes"
        thread.join()
    assert not failed


def test_plain_listener(python, script, backend):
    program = (
        PLAIN.format(what="Listener, AuthenticationError")
        + """
with Listener(("localhost", 0), authkey=b"secret") as listener:
    print(listener.address[1], flush=True)
    with listener.accept() as conn:
        conn.send(conn.recv())
    try:
        listener.accept()
    except AuthenticationError:
        print("refused", flush=True)
"""
    )
    import subprocess
    import sys

    server = subprocess.Popen([sys.executable, script(program)], stdout=subprocess.PIPE, text=True)
    try:
        address = ("localhost", int(server.stdout.readline()))
        client = backend.module.connection.Client
        with client(address, authkey=b"secret") as conn:
            conn.send([1, "x"])
            assert conn.recv() == [1, "x"]
        with pytest.raises(backend.module.AuthenticationError):
            client(address, authkey=b"wrong")
        assert server.stdout.readline() == "refused\n"
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def test_wait_takes_what_it_took(local):
    """Numbers, sockets and connections, the same twice, and closed ones."""
    r, w = local.Pipe(False)
    one, two = socket.socketpair()
    w.send(1)
    two.send(b"x")
    assert wait([r, r.fileno(), one, one.fileno()][::2], 5) == [r, one]
    r.recv()
    r.close()
    with pytest.raises((ValueError, OSError)):
        wait([r], 0)
    close(w, one, two)
