"""What only a pipe in shared memory can promise, or get wrong."""

import os
import signal
import sys
import threading
import time

import pytest

MB = 1 << 20


@pytest.fixture
def native():
    import procfast

    return procfast.get_context("fork", backend="native")


def test_child_of_a_thread_in_the_middle(native):
    """A child has its parent's thread ids, but not its threads: a busy one of those does not keep it from sending."""
    a, b = native.Pipe()
    message = os.urandom(8 * MB)
    children = []

    def fork(*_):
        children.append(os.fork())
        if children[0] == 0:
            status = 1
            try:
                b.send("child")  # after the parent's
                status = 0
            finally:
                os._exit(status)

    def receive():
        while not children:
            time.sleep(0.001)
        received.extend((a.recv_bytes(), a.recv()))

    received = []
    reader = threading.Thread(target=receive)
    reader.start()
    before = signal.signal(signal.SIGALRM, fork)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        b.send_bytes(message)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert os.waitpid(children[0], 0)[1] == 0
    reader.join(20)
    assert received == [message, "child"]
    a.close()
    b.close()


def test_close_in_the_middle_of_a_receipt(native):
    """By another thread: the same error as anywhere else, within a second or so."""
    r, w = native.Pipe(False)
    p = native.Process(target=w.send_bytes, args=(bytes(64 * MB),))
    p.start()
    assert r.poll(30)
    os.kill(p.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, p.pid, os.WSTOPPED | os.WNOWAIT)
    timer = threading.Timer(0.3, r.close)
    timer.start()
    with pytest.raises(OSError, match="handle is closed"):
        r.recv_bytes()
    timer.join()
    p.kill()
    p.join()
    w.close()


@pytest.mark.parametrize("what", ["memory", "wire"])
def test_interrupted_when_an_end_arrives(native, what):
    """An exception right after a descriptor found its owner: it is closed once, by the owner."""
    a, b = native.Pipe()
    r, w = native.Pipe(False)
    a.send(w)
    takers = ["memory", "wire"]

    def interrupt(frame, event, arg):
        if event == "return" and frame.f_code.co_name == "<lambda>" and takers.pop(0) == what:
            sys.setprofile(None)
            raise ZeroDivisionError

    sys.setprofile(interrupt)
    try:
        with pytest.raises(ZeroDivisionError):
            b.recv()
    finally:
        sys.setprofile(None)
    for end in (a, b, r, w):
        end.close()


FILE_LIMIT = """
import procfast, random, resource, sys, threading
limit, messages = int(sys.argv[1]), [b"m" * int(n) for n in sys.argv[2:]]
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
r, w = procfast.get_context("fork", backend="native").Pipe(False)
count = 1000
sender = threading.Thread(target=lambda: [w.send_bytes(random.choice(messages)) for _ in range(count)])
sender.start()
for _ in range(count):
    got = r.recv_bytes()
    assert got in messages, len(got)
sender.join()
w.send("last"); assert r.recv() == "last"
"""


@pytest.mark.parametrize("limit", [600_000, 1_200_000, 8_000_000])
def test_file_size_limit(python, limit):
    """RLIMIT_FSIZE: less may be unread, but everything goes through, however long that lasts."""
    python("-c", FILE_LIMIT, str(limit), "10", "5000", "32767", "32768", "300000")


TOO_LONG = """
import errno, procfast, resource
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
ctx = procfast.get_context("fork", backend="native")
r, w = ctx.Pipe(False)
q = ctx.Queue()
for send in (w.send_bytes, w.send, q.put, lambda message: q.put_many([(message[:9_000], message[9_000:])])):
    try: send(bytes(18_000))
    except OSError as error: assert error.errno == errno.EMSGSIZE, error
    else: raise AssertionError(send)
w.send("next"); assert r.recv() == "next"
q.put("next"); assert q.get() == "next"
"""


def test_message_too_long_for_the_file(python):
    """Refused by its sender. (What no receiver can accept would be in the way for ever.)"""
    python("-c", TOO_LONG)
