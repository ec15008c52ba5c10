"""Signal handlers that use the very connection whose call they interrupted, and those that fork."""

import os
import signal
import threading
import time

import pytest

MB = 1 << 20


@pytest.fixture
def native():
    import procfast

    return procfast.get_context("fork", backend="native")


@pytest.fixture
def on_alarm():
    """on_alarm(seconds, handler): once, as soon as possible after so many seconds."""
    before = signal.getsignal(signal.SIGALRM)

    def on_alarm(seconds, handler):
        signal.signal(signal.SIGALRM, lambda *_: handler())
        signal.setitimer(signal.ITIMER_REAL, seconds)

    yield on_alarm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_handler_sends_in_the_middle_of_a_message(native, on_alarm):
    """It would wait for the message that it holds up: RuntimeError; the message goes on."""
    r, w = native.Pipe(False)
    begin = threading.Event()
    received, raised = [], []

    def receive():
        begin.wait()
        received.append(r.recv_bytes())

    def handler():
        for send in (w.send, w.send_bytes):
            with pytest.raises(RuntimeError, match="signal handler") as info:
                send(b"x")
            raised.append(info.value)
        begin.set()

    reader = threading.Thread(target=receive)
    reader.start()
    on_alarm(0.1, handler)
    message = os.urandom(8 * MB)  # nobody reads before the handler ran
    w.send_bytes(message)
    reader.join()
    assert len(raised) == 2
    assert received == [message]
    w.send("next")
    assert r.recv() == "next"
    r.close()
    w.close()


def send_long(w):
    w.send_bytes(b"a" * (64 * MB))


def test_handler_receives_in_the_middle_of_a_message(native, on_alarm):
    r, w = native.Pipe(False)
    p = native.Process(target=send_long, args=(w,))
    p.start()
    assert r.poll(30)
    os.kill(p.pid, signal.SIGSTOP)  # it can't have sent all: 1 MiB may be unread
    os.waitid(os.P_PID, p.pid, os.WSTOPPED | os.WNOWAIT)
    raised = []

    def handler():
        for receive in (r.recv, r.recv_bytes, r.poll):
            with pytest.raises(RuntimeError, match="signal handler") as info:
                receive()
            raised.append(info.value)
        os.kill(p.pid, signal.SIGCONT)

    on_alarm(0.1, handler)
    assert r.recv_bytes() == b"a" * (64 * MB)
    assert len(raised) == 3
    p.join()
    r.close()
    w.close()


def test_handler_raises_in_the_middle_of_a_receipt(native, on_alarm):
    """What has come stays with the connection: the next call goes on, and gets the message whole."""
    r, w = native.Pipe(False)
    p = native.Process(target=send_long, args=(w,))
    p.start()
    assert r.poll(30)
    os.kill(p.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, p.pid, os.WSTOPPED | os.WNOWAIT)

    def handler():
        raise ZeroDivisionError

    for receive in (r.recv, r.recv_bytes, lambda: r.recv_bytes_into(bytearray(10))):
        on_alarm(0.1, handler)
        with pytest.raises(ZeroDivisionError):
            receive()
    os.kill(p.pid, signal.SIGCONT)
    assert r.recv_bytes() == b"a" * (64 * MB)
    p.join()
    r.close()
    w.close()


@pytest.mark.parametrize("size", [200_000, 8 * MB], ids=["in a block", "in parts"])
def test_handler_forks_in_the_middle_of_a_send(native, on_alarm, size):
    """The message is the parent's: the child's send fails, the parent's arrives whole, once."""
    r, w = native.Pipe(False)
    filler = 0
    while (filler + 1) * 200_000 <= MB and size < MB:  # until it is full: the next send waits
        w.send_bytes(bytes(200_000))
        filler += 1
    parent, children = os.getpid(), []
    on_alarm(0.1, lambda: children.append(os.fork()))
    message = os.urandom(size)
    received = []

    def receive():
        while not children:
            time.sleep(0.001)
        os.waitpid(children[0], 0)  # it ends in its send, while the parent's waits
        received.extend(r.recv_bytes() for _ in range(filler + 1))

    reader = threading.Thread(target=receive)
    reader.start()
    status = 1
    try:
        w.send_bytes(message)
    except OSError:
        status = 0
    finally:
        if os.getpid() != parent:
            os._exit(status)
    reader.join()
    assert received[-1] == message
    assert not r.poll()
    w.send("next")
    assert r.recv() == "next"
    r.close()
    w.close()
