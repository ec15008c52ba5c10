"""What the tests run in other processes; a spawned child must be able to import it."""

import faulthandler
import itertools
import multiprocessing
import multiprocessing.connection
import multiprocessing.queues
import os
import pickle
import resource
import signal
import socket
import sys
import time
import zlib
from multiprocessing import reduction

import supervisor

if "conftest" not in sys.modules:  # a child of spawn or forkserver: fork hands the handler on
    faulthandler.register(supervisor.DUMP, all_threads=True)

STOP = "stop"


def context(cell: tuple[str, str]):
    """The context of a cell, made again in a child: (backend, start method)."""
    import procfast

    return procfast.get_context(cell[1], backend=cell[0])


def cell_of(ctx) -> tuple[str, str]:
    return ctx.backend, ctx.get_start_method()


# -- what a process can do ------------------------------------------------------------------------


def nothing() -> None:
    pass


def sleep_forever() -> None:
    while True:
        time.sleep(60)


def exit_with(code) -> None:
    sys.exit(code)


def hard_exit(code: int) -> None:
    os._exit(code)


def fail(kind: type[BaseException]) -> None:
    raise kind("on purpose")


def kill_self(signum: int) -> None:
    signal.signal(signum, signal.SIG_DFL) if signum != signal.SIGKILL else None
    os.kill(os.getpid(), signum)
    time.sleep(60)


def ignore_terminate(q) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    q.put("ready")
    sleep_forever()


def wait_for_interrupt(q) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        q.put("ready")
        sleep_forever()
    except KeyboardInterrupt:
        q.put("interrupted")


def blocked_get(q, out) -> None:
    """Ctrl-C ends a blocked get."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    out.put("ready")
    try:
        q.get()
    except KeyboardInterrupt:
        out.put("interrupted")


def report_self(q, *args, **kwargs) -> None:
    me = multiprocessing.current_process()
    parent = multiprocessing.parent_process()
    q.put(
        {
            "pid": os.getpid(),
            "ppid": os.getppid(),
            "name": me.name,
            "daemon": me.daemon,
            "authkey": bytes(me.authkey),
            "identity": me._identity,
            "parent": parent.pid if parent else None,
            "args": args,
            "kwargs": kwargs,
            "type": type(me).__module__,
        }
    )


def parent_dies(cell, q, go) -> None:
    """Leaves a child of its own that tells when it sees its parent gone."""
    context(cell).Process(target=watch_parent, args=(q, go)).start()
    go.get()  # the grandchild is there
    os._exit(0)


def watch_parent(q, go) -> None:
    parent = multiprocessing.parent_process()
    q.put(("alive", parent.is_alive()))
    go.put("go")
    parent.join(20)
    q.put(("alive", parent.is_alive()))


def daemon_has_children(cell, q) -> None:
    try:
        context(cell).Process(target=nothing).start()
    except AssertionError as error:
        q.put(str(error))
    else:
        q.put("started")


# -- queues ---------------------------------------------------------------------------------------


def echo(inbox, outbox) -> None:
    for item in iter(inbox.get, STOP):
        outbox.put(item)


def produce(q, who: int, count: int, many: bool = False) -> None:
    items = ((who, i) for i in range(count))
    if many:
        q.put_many(items)
    else:
        for item in items:
            q.put(item)


def consume(q, result, many: bool = False) -> None:
    """Gets until STOP (which it puts back for the others), sends what it got."""
    got = []
    while True:
        for item in q.get_many(50) if many else [q.get()]:
            if item == STOP:
                q.put(STOP)
                result.put(got)
                return
            got.append(item)


def put_bytes(q, count: int, size: int) -> None:
    for i in range(count):
        q.put(bytes([i % 256]) * size)


def put_and_cancel(q, size: int) -> None:
    q.put(b"x" * size)
    q.cancel_join_thread()


def put_from_grandchild(cell, q) -> None:
    child = context(cell).Process(target=q_put, args=(q, "from the grandchild"))
    child.start()
    child.join()
    q.put(("grandchild's exit code", child.exitcode))


def q_put(q, item) -> None:
    q.put(item)


def sizes(q, out) -> None:
    """Says what the child sees, and what it can take and give."""
    out.put((q.qsize(), q.empty(), q.full()))


def take_and_acknowledge(q, delay: float = 0.0) -> None:
    for _ in iter(q.get, STOP):
        time.sleep(delay)
        q.task_done()
    q.task_done()


def put_after(q, delay: float, item) -> None:
    time.sleep(delay)
    q.put(item)


def square(x):
    return x * x


def die(code: int = 1):
    os._exit(code)


def sealed(seq: int, size: int = 20_000) -> bytes:
    """An item that shows when it was torn: number, filling of that number, checksum."""
    body = seq.to_bytes(8, "little") + bytes([seq % 251]) * (size - 12)
    return body + zlib.crc32(body).to_bytes(4, "little")


def unseal(item: bytes) -> int:
    """The number of an item, or -1 if it is torn."""
    body, crc = item[:-4], item[-4:]
    seq = int.from_bytes(body[:8], "little")
    whole = zlib.crc32(body).to_bytes(4, "little") == crc and item == sealed(seq, len(item))
    return seq if whole else -1


# -- classes whose instances travel ---------------------------------------------------------------


class Int(int):
    pass


class Str(str):
    pass


class Tuple(tuple):
    pass


class Bytes(bytes):
    pass


class Float(float):
    pass


class Dict(dict):
    pass


class Plain:
    def __init__(self, **fields) -> None:
        self.__dict__.update(fields)

    def __eq__(self, other) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    __hash__ = None


class Unpicklable:
    def __reduce__(self):
        raise pickle.PicklingError("on purpose: cannot be pickled")


def refuse(*args):
    raise ValueError("on purpose: cannot be unpickled")


class Unloadable:
    def __reduce__(self):
        return refuse, ()


class Late:
    """Pickled only by a reducer that is registered after the queue was made."""

    def __init__(self, value) -> None:
        self.value = value

    def __reduce__(self):
        raise pickle.PicklingError("the registered reducer was not asked")


def reduce_late(late: Late):
    return Late, (late.value,)


class Reentrant:
    """Puts into a queue while it is pickled."""

    def __init__(self, q) -> None:
        self.q = q

    def __reduce__(self):
        self.q.put("from __reduce__")
        return str, ("reentrant",)


class Feeding(multiprocessing.queues.Queue):
    """What concurrent.futures and loky do: the standard hooks, overridden."""

    def __init__(self, *args, **kwargs) -> None:
        self.errors: list[BaseException] = []
        super().__init__(*args, **kwargs)

    def _on_queue_feeder_error(self, e, obj) -> None:
        self.errors.append(e)


class Wrapped:
    """A connection that counts, as torch wraps those of its queue."""

    def __init__(self, conn) -> None:
        self.conn = conn
        self.count = 0

    def send(self, obj) -> None:
        self.count += 1
        self.conn.send(obj)

    def recv(self):
        self.count += 1
        return self.conn.recv()

    def __getattr__(self, name):
        return getattr(self.conn, name)


class TorchLike(multiprocessing.queues.Queue):
    """torch.multiprocessing.queue.Queue in small."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._reader = Wrapped(self._reader)
        self._writer = Wrapped(self._writer)
        self._send = self._writer.send
        self._recv = self._reader.recv


# -- connections ----------------------------------------------------------------------------------


def echo_connection(conn, *close) -> None:
    """Sends back what comes, until the other end is gone."""
    for end in close:
        end.close()
    while True:
        try:
            conn.send(conn.recv())
        except EOFError:
            return


def send_items(conn, who: int, count: int, sizes) -> None:
    """Numbered, sealed messages; the sizes in turn."""
    for i in range(count):
        conn.send_bytes(sealed(who * 1_000_000 + i, sizes[i % len(sizes)]))
    conn.close()


def receive_items(conn, result, *close) -> None:
    """The numbers of all that came (-1: torn), in one item."""
    for end in close:
        end.close()
    got = []
    while True:
        try:
            got.append(unseal(conn.recv_bytes()))
        except EOFError:
            result.put(got)
            return


def hold_connection(q, conn, *close) -> None:
    """Says that it has it, and keeps it until it is killed."""
    for end in close:
        end.close()
    q.put("ready")
    sleep_forever()


def send_one_large(q, conn, size: int, *close) -> None:
    for end in close:
        end.close()
    q.put("ready")
    conn.send_bytes(bytes(size))


def pass_on(inbox, outbox, *close) -> None:
    """Receives connections and sends through each of them."""
    for end in close:
        end.close()
    while True:
        try:
            conn = inbox.recv()
        except EOFError:
            return
        conn.send(("through", os.getpid()))
        outbox.send(conn)
        conn.close()


def select_all(conn, result, *close) -> None:
    """Receives by select alone."""
    for end in close:
        end.close()
    got = []
    while True:
        if not multiprocessing.connection.wait([conn], 20):
            result.put("never readable")
            return
        try:
            got.append(conn.recv())
        except EOFError:
            result.put(got)
            return


def interrupted_call(q, conn, call: str, size: int) -> None:
    """Blocks in a call of a connection; says how Ctrl-C ended it."""
    q.put("ready")
    try:
        if call.startswith("send"):
            while True:
                getattr(conn, call)(bytes(size))
        elif call == "recv_bytes_into":
            conn.recv_bytes_into(bytearray(10))
        elif call == "poll":
            conn.poll(None)
        else:
            getattr(conn, call)()
    except KeyboardInterrupt:
        q.put("interrupted")


def few_descriptors(out, pipe) -> None:
    """Pipes until there are no more descriptors; what was made must be of use, and so again after."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    for _ in range(3):
        pipes = []
        while True:
            try:
                pipes.append(pipe())
            except OSError as error:
                code = error.errno
                break
        for i, (r, w) in enumerate(pipes):
            w.send(i)
            assert r.recv() == i
        count = len(pipes)
        for pair in pipes:
            for end in pair:
                end.close()
    out.put((code, count))


def pass_with_few_descriptors(out, cell) -> None:
    """Receives connections and handles without room for them: OSError, and then again with room."""
    ctx = context(cell)
    carrier_r, carrier_w = ctx.Pipe()
    a, b = ctx.Pipe()
    carrier_w.send(b)
    payload_r, payload_w = os.pipe()
    # send_handle without its wait for the receiver, from Python 3.14 on
    with socket.fromfd(carrier_w.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        socket.send_fds(sock, [b"\1"], [payload_w])
    a.send("before")  # the sharing thread's own descriptors are open from here on
    fds = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        while True:
            fds.append(os.dup(payload_r))
    except OSError:
        pass
    errors = []
    try:
        carrier_r.recv()
    except OSError as error:
        errors.append(error.errno)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for fd in fds:
        os.close(fd)
    fd = reduction.recv_handle(carrier_r)
    os.write(fd, b"x")
    assert os.read(payload_r, 1) == b"x"
    carrier_w.send(b)
    c = carrier_r.recv()
    a.send("after")
    assert c.recv() == "before"
    assert c.recv() == "after"
    out.put(errors)


# -- the raw POSIX layer --------------------------------------------------------------------------


def posix_of(backend: str):
    from procfast import _backend

    return _backend.load(backend, "posix")


class Descriptor:
    """A descriptor that goes to a child of any start method."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __reduce__(self):
        return _descriptor, (reduction.DupFd(self.fd),)

    def fileno(self) -> int:
        return self.fd


def _descriptor(passed) -> Descriptor:
    return Descriptor(passed.detach())


def posix_echo(backend: str, r: Descriptor, w: Descriptor) -> None:
    posix = posix_of(backend)
    posix.write_all(w, b"x" * 50_000, 30)


def take_and_give(take, give, ready=None) -> None:
    """Takes a permit of one semaphore, gives one to the other."""
    if ready is not None:
        ready.put("ready")
    assert take.acquire(timeout=30)
    give.release()


def take_and_stay(semaphore, ready) -> None:
    assert semaphore.acquire(timeout=30)
    ready.put("ready")
    sleep_forever()


def wait_for_permit(semaphore, ready) -> None:
    ready.put("ready")
    semaphore.acquire()


def count_up(semaphore, file: str, times: int) -> None:
    """A counter in a file, guarded by nothing else."""
    for _ in range(times):
        with semaphore, open(file, "r+") as f:
            number = int(f.read())
            f.seek(0)
            f.write(str(number + 1))


def answer_messages(questions, answers) -> None:
    while (message := questions.receive(30)).data:
        answers.send(message.data.upper(), message.priority, 30)


def send_numbered(queue, tag: int, ready=None) -> None:
    for number in itertools.count():
        queue.send(b"%d %d" % (tag, number), timeout=30)
        if number == 20 and ready is not None:
            ready.put("ready")


# -- shared memory --------------------------------------------------------------------------------


def _context(backend: str):
    import procfast

    return procfast.get_context("fork", backend=backend)


def write_segment(what, data: bytes, backend: str) -> None:
    segment = _context(backend).SharedMemory(what) if isinstance(what, str) else what
    segment.buf[: len(data)] = data
    segment.close()


def make_segment(q, data: bytes, backend: str) -> None:
    segment = _context(backend).SharedMemory(create=True, size=100)
    segment.buf[: len(data)] = data
    q.put(segment.name)
    segment.close()


def change_list(values) -> None:
    values[1] = 99
    values.shm.close()


# -- for the fork server --------------------------------------------------------------------------


def echo_socket(sock, q) -> None:
    q.put(sock.recv(100))


def exit_with_length(value) -> None:
    sys.exit(len(value))


def wait_until(what, within: float = 20.0) -> None:
    end = time.monotonic() + within
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def is_gone(pid: int) -> bool:
    """Ended; a zombie counts, it waits for somebody else."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
