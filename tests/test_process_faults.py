"""Process where things go wrong: killed at any stage, no more processes, signals of the user, busy threads.

Programs of their own where a whole process is the victim; `native/test_kill_process.py` kills at random.
"""

import asyncio
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
import warnings

import process_workers
import pytest
import workers

SLACK = 5.0  # seconds a loaded machine may add to what should be immediate


def ended(process, within: float = 20.0) -> int:
    process.join(within)
    assert not process.is_alive()
    return process.exitcode


def gone(pid: int, within: float) -> bool:
    """Has it ended, or does it within so many seconds? Also where nobody reaps it."""
    end = time.monotonic() + within
    while True:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] in "ZX":
                    return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.005)


# -- a child is killed ----------------------------------------------------------------------------


def seen_to_be_killed(ctx, p) -> None:
    """One that was started and has died by SIGKILL is as any other that has ended."""
    assert multiprocessing.connection.wait([p.sentinel], 20) == [p.sentinel]
    assert ended(p) == -signal.SIGKILL
    assert p not in multiprocessing.active_children()
    p.terminate()
    p.close()
    after = ctx.Process(target=workers.exit_with, args=(5,))
    after.start()
    assert ended(after) == 5


def test_killed_in_its_first_moment(ctx):
    """Under fork; a bomb cannot be laid earlier in the others than in their interpreter's arguments."""
    if ctx.get_start_method() == "fork":
        p = ctx.Process(target=workers.nothing)
        process_workers.FATAL.append(1)
        try:
            p.start()
        finally:
            process_workers.FATAL.clear()
    else:
        p = ctx.Process(target=workers.nothing, args=(process_workers.Bomb(),))
        p.start()
    seen_to_be_killed(ctx, p)


def test_killed_in_its_bootstrap(ctx):
    p = ctx.Process(target=workers.nothing, args=(process_workers.Bomb(),))
    p.start()
    seen_to_be_killed(ctx, p)


def test_killed_before_it_has_read_everything(ctx):
    """More than a pipe holds is still to be handed over: start() does not wait for the dead."""
    p = ctx.Process(target=workers.nothing, args=(process_workers.Bomb(), bytes(1 << 20)))
    p.start()
    seen_to_be_killed(ctx, p)


STAGES = ("run", "finalizer", "thread", "atexit")


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_its_end(ctx, stage):
    p = ctx.Process(target=process_workers.die_at, args=(stage,))
    p.start()
    if stage == "atexit" and ctx.get_start_method() != "spawn" and sys.version_info < (3, 13):
        assert ended(p) == 0  # not run in such a child
    else:
        seen_to_be_killed(ctx, p)


@pytest.mark.parametrize("size", [0, 1 << 20])
@pytest.mark.parametrize(("how", "code"), [("kill -9 $$", -9), ("exit 3", 3)])
def test_interpreter_ends_at_once(program, ctx, tmp_path, how, code, size):
    """What is executed is no Python, or dies: its exit code says so."""
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(f'#!/bin/sh\n[ "$1" != dead ] || exit\n{how}\n')
    wrapper.chmod(0o755)
    want = code if ctx.get_start_method() == "spawn" else 0  # the others execute nothing any more
    program(
        "",
        f"""
        assert run(len, b"") == 0
        ctx.set_executable({str(wrapper)!r})
        for _ in range(2):
            assert run(len, bytes({size})) == {want}
        assert not ctx.active_children()
        """,
    )


def test_many_threads_start(ctx):
    """Each gets the exit codes of its own processes."""
    each = 10 if ctx.get_start_method() == "fork" else 3
    wrong = []

    def starter(who: int) -> None:
        procs = [ctx.Process(target=workers.exit_with, args=(who * 10 + i,)) for i in range(each)]
        for p in procs:
            p.start()
        codes = [ended(p) for p in procs]
        if codes != [who * 10 + i for i in range(each)]:
            wrong.append(codes)

    threads = [threading.Thread(target=starter, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


# -- a child cannot be had ------------------------------------------------------------------------

BELONGINGS = """
import collections, re

def belongings():
    # Kinds of descriptors and finalizers, and children; not their numbers: a spare interpreter may have been changed.
    kinds = collections.Counter()
    for fd in os.listdir("/proc/self/fd"):
        try:
            kinds[re.sub("[0-9]+", "", os.readlink(f"/proc/self/fd/{fd}"))] += 1
        except OSError:
            pass  # the listing's own
    kinds.update(str(key[0]) for key in list(util._finalizer_registry))
    kinds.update(p.name for p in ctx.active_children())
    return kinds
"""

LIMITED = """
import ctypes, resource

def limit():
    # From now on RLIMIT_NPROC binds this process and what it executes, which it never does root.
    if os.getuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (21, 24):  # SYS_ADMIN, SYS_RESOURCE: not after an exec either
            assert libc.prctl(24, capability, 0, 0, 0) == 0
        os.setresuid(65534, 0, 0)  # the real user counts; files are the effective one's
        header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        assert libc.capget(header, data) == 0
        data[0] &= ~(1 << 21 | 1 << 24)
        assert libc.capset(header, data) == 0
        assert resource.getrlimit(resource.RLIMIT_NPROC)[1] != 0

def processes(count):
    resource.setrlimit(resource.RLIMIT_NPROC, (count, resource.getrlimit(resource.RLIMIT_NPROC)[1]))
"""


def test_no_more_processes(program, ctx, tmp_path):
    """EAGAIN is an OSError from start(), which leaves nothing half made and can be called again."""
    server = ctx.get_start_method() == "forkserver"
    if server:  # it forks: it is told by signals when it can't
        limiter = """
import resource, signal
soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
def handler(signum, frame):
    resource.setrlimit(resource.RLIMIT_NPROC, (0 if signum == signal.SIGUSR1 else hard, hard))
signal.signal(signal.SIGUSR1, handler)
signal.signal(signal.SIGUSR2, handler)
"""
        (tmp_path / "limiter.py").write_text(limiter)
    program(
        BELONGINGS
        + LIMITED
        + """
def parent(q):
    q.put(os.getppid())
""",
        f"""
        server = {server}
        limit()
        hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        if server:
            sys.path.insert(0, os.getcwd())
            ctx.set_forkserver_preload(["limiter"])
        q = ctx.SimpleQueue()
        assert run(parent, q) == 0
        pid = q.get()
        for daemon in (True, False):
            assert run(parent, q, daemon=daemon) == 0
            q.get()
        p = ctx.Process(target=parent, args=(q,))
        d = ctx.Process(target=parent, args=(q,), daemon=True)
        before = belongings()
        if server:
            os.kill(pid, signal.SIGUSR1)
            time.sleep(0.2)
        else:
            processes(0)
        for _ in range(3):
            for one in (p, d):
                try:
                    one.start()
                except BlockingIOError:
                    pass
                else:
                    raise AssertionError("started")
                assert one.pid is None and one.exitcode is None and not one.is_alive()
                assert "initial" in repr(one)
        assert not belongings() - before, (before, belongings())
        if server:
            os.kill(pid, signal.SIGUSR2)
            time.sleep(0.2)
        else:
            processes(hard)
        for one in (p, d):
            one.start()
            one.join()
            assert one.exitcode == 0
            assert q.get() == pid
        """,
    )


def test_any_descriptor_may_be_the_last(program, ctx):
    """With n descriptors left start() works, or raises OSError(EMFILE) and leaves nothing; for each n."""
    program(
        BELONGINGS + "import errno",
        """
        import gc
        for daemon in (False, True, False, True):
            assert run(len, b"", daemon=daemon) == 0
        gc.collect()
        before = belongings()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        failed = works = 0
        for n in range(18):
            p = ctx.Process(target=len, args=(b"",), daemon=bool(n % 2))
            filler = [os.open("/dev/null", os.O_RDONLY) for _ in range(40)]
            for fd in sorted(filler)[:n]:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(filler) + 1, hard))
            try:
                p.start()
            except OSError as error:
                assert error.errno == errno.EMFILE, error
                assert p.pid is None
                failed += 1
            else:
                works += 1
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for fd in sorted(filler)[n:]:
                    os.close(fd)
            if p.pid:
                p.join(20)
                assert p.exitcode in (0, 1), p  # a child may lack them as well
                p.close()
            gc.collect()
            assert not belongings() - before, (n, before, belongings())
        assert failed and works
        assert run(len, b"") == 0
        """,
    )


# -- SIGCHLD --------------------------------------------------------------------------------------


@contextlib.contextmanager
def handler(signum: int, function):
    old = signal.signal(signum, function)
    try:
        yield
    finally:
        signal.signal(signum, old)


def test_sigchld_handler_takes_everything(ctx):
    """os.waitpid(-1) in a loop, the classic: join returns; the exit code is the kernel's, or 255."""

    def thief(*args) -> None:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    with handler(signal.SIGCHLD, thief):
        procs = [ctx.Process(target=workers.exit_with, args=(i,)) for i in range(10)]
        for p in procs:
            p.start()
        for i, p in enumerate(procs):
            assert ended(p) in (i, 255)
        p = ctx.Process(target=workers.nothing)
        p.start()
        assert multiprocessing.connection.wait([p.sentinel], 20)
        assert ended(p) in (0, 255)
    assert not set(multiprocessing.active_children()) & set(procs)


def test_sigchld_handler_that_joins(ctx):
    """The very process that is being joined, and whatever else there is."""
    procs = []

    def joiner(*args) -> None:
        multiprocessing.active_children()
        for p in procs:
            p.join(0)

    with handler(signal.SIGCHLD, joiner):
        for i in range(8):
            p = ctx.Process(target=workers.exit_with, args=(i,))
            p.start()
            procs.append(p)
        assert [ended(p) for p in procs] == list(range(8))


def test_sigchld_ignored_for_many(ctx):
    """No zombie and no status: they are seen to end all the same."""
    with handler(signal.SIGCHLD, signal.SIG_IGN):
        procs = [ctx.Process(target=workers.exit_with, args=(i,)) for i in range(6)]
        for p in procs:
            p.start()
        waiting = {p.sentinel: p for p in procs}
        end = time.monotonic() + 20
        while waiting:
            assert time.monotonic() < end
            for s in multiprocessing.connection.wait(list(waiting), 20):
                del waiting[s]
        while set(procs) & set(multiprocessing.active_children()):
            assert time.monotonic() < end
        for i, p in enumerate(procs):
            assert ended(p) in (i, 255)


WATCHERS = (
    "default",
    "ThreadedChildWatcher",
    "SafeChildWatcher",
    "FastChildWatcher",
    "PidfdChildWatcher",
)


@pytest.mark.parametrize("name", [w for w in WATCHERS if w == "default" or hasattr(asyncio, w)])
def test_asyncio(ctx, name):
    """Its child watchers and Process, side by side: each gets its own."""

    async def of_asyncio(code: int) -> int:
        command = f"raise SystemExit({code})"
        p = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", command)
        return await asyncio.wait_for(p.wait(), 30)

    async def of_ours(code: int) -> int:
        p = ctx.Process(target=workers.exit_with, args=(code,))
        p.start()
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(p.sentinel, done.set)
        await asyncio.wait_for(done.wait(), 30)
        loop.remove_reader(p.sentinel)
        return ended(p)

    async def main() -> list[int]:
        if name != "default":
            watcher = getattr(asyncio, name)()
            watcher.attach_loop(asyncio.get_running_loop())
            asyncio.set_child_watcher(watcher)
        try:
            with watcher if name == "FastChildWatcher" else contextlib.nullcontext():
                return await asyncio.gather(
                    *(f(i) for i in range(1, 5) for f in (of_asyncio, of_ours))
                )
        finally:
            if name != "default":
                watcher.close()
                asyncio.set_child_watcher(None)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the watchers, from Python 3.12 on
        codes = asyncio.run(main())
    assert codes[::2] == [1, 2, 3, 4]
    if name == "FastChildWatcher" and ctx.get_start_method() != "forkserver":
        assert all(code in (i, 255) for i, code in enumerate(codes[1::2], 1))
    else:
        assert codes[1::2] == [1, 2, 3, 4]


# -- Ctrl-C ---------------------------------------------------------------------------------------

BLOCKED = """
def blocked(what, ready, q, lock, event, conn):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if what == "child":
        p = ctx.Process(target=blocked, args=("sleep", ready, q, lock, event, conn))
        p.start()
    ready.put(os.getpid())
    if what == "sleep":
        time.sleep(60)
    elif what == "busy":
        while True:
            pass
    elif what == "queue":
        q.get()
    elif what == "lock":
        lock.acquire()
    elif what == "event":
        event.wait()
    elif what == "connection":
        conn.recv()
    elif what == "child":
        p.join()
    elif what == "read":
        os.read(os.pipe()[0], 1)
"""


@pytest.mark.limit(90)
def test_interrupt_to_the_group(program):
    """Ctrl-C: eight children, each blocked elsewhere, and one of them has a child; all end, and say it."""
    p = program.start(
        BLOCKED,
        """
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ready, q, lock, event, (a, b) = ctx.SimpleQueue(), ctx.Queue(), ctx.Lock(), ctx.Event(), ctx.Pipe()
        lock.acquire()
        kinds = ("sleep", "busy", "queue", "lock", "event", "connection", "child", "read")
        procs = [
            ctx.Process(target=blocked, args=(kind, ready, q, lock, event, a), name="blocked-" + kind)
            for kind in kinds
        ]
        for p in procs:
            p.start()
        for _ in range(9):
            ready.get()
        time.sleep(0.2)
        try:
            print("ready", flush=True)
            procs[0].join()
            time.sleep(60)
        except KeyboardInterrupt:
            for p in procs:
                p.join(20)
                print(p.exitcode)
            raise
        """,
        stderr=-1,
    )
    assert p.stdout.readline() == "ready\n"
    os.killpg(p.pid, signal.SIGINT)
    out, err = p.communicate(timeout=40)
    assert out.split() == ["1"] * 8
    assert p.returncode == -signal.SIGINT
    for kind in ("sleep", "busy", "queue", "lock", "event", "connection", "child", "read"):
        assert f"Process blocked-{kind}:\n" in err
    assert err.count("KeyboardInterrupt") >= 10
    end = (
        time.monotonic() + SLACK
    )  # servants of the standard library end by themselves a moment later
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < end:
            os.killpg(p.pid, 0)
            time.sleep(0.05)


# -- the parent is killed -------------------------------------------------------------------------

ORPHANS = """
def child(q):
    parent = multiprocessing.parent_process()
    q.put((os.getpid(), parent.is_alive(), parent.pid))
    parent.join()
    q.put((os.getpid(), parent.is_alive(), parent.pid))
    time.sleep(60)

def busy(q):
    q.put(os.getpid())
    while True:
        pass

def c_fork():
    # Python's hooks know nothing of it
    import ctypes
    pid = ctypes.CDLL(None).fork()
    if pid == 0:
        ctypes.CDLL(None).pause()
    return pid

def middle(q):
    p = ctx.Process(target=busy, args=(q,), daemon=True)
    p.start()
    time.sleep(60)

def tell(q):
    while True:
        print(*q.get(), flush=True)
"""


def test_orphans_go_on(program):
    """Eight children whose parent is killed: they go on, and see that they are orphans."""
    p = program.start(
        ORPHANS,
        """
        q = ctx.SimpleQueue()
        reader = ctx.Process(target=tell, args=(q,))
        reader.start()
        for _ in range(8):
            ctx.Process(target=child, args=(q,)).start()
        print(reader.pid, flush=True)
        time.sleep(60)
        """,
    )
    pids = []
    try:
        lines = [p.stdout.readline().split() for _ in range(9)]
        [reader] = [int(line[0]) for line in lines if len(line) == 1]
        told = [line for line in lines if len(line) == 3]
        pids = [int(line[0]) for line in told]
        assert len(set(pids)) == 8
        assert all(line[1:] == ["True", str(p.pid)] for line in told)
        pids.append(reader)
        p.kill()
        p.wait()
        after = [p.stdout.readline().split() for _ in range(8)]
        assert sorted(after) == sorted([line[0], "False", line[2]] for line in told)
        assert not any(gone(pid, 0) for pid in pids)
    finally:
        p.kill()
        p.wait()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        p.stdout.close()


def test_daemons_end_with_a_killed_parent(program):
    """Within a second; whatever they do, and whatever the parent has forked besides."""
    p = program.start(
        ORPHANS,
        """
        print(c_fork(), flush=True)
        q = ctx.SimpleQueue()
        procs = [ctx.Process(target=busy if i % 2 else child, args=(q,), daemon=True) for i in range(8)]
        for p in procs:
            p.start()
        print(*[p.pid for p in procs], flush=True)
        for _ in procs:
            q.get()
        print(c_fork(), flush=True)
        if os.fork() == 0:
            time.sleep(60)
        time.sleep(60)
        """,
    )
    others = [int(p.stdout.readline())]
    pids = list(map(int, p.stdout.readline().split()))
    others.append(int(p.stdout.readline()))
    p.kill()
    p.wait()
    began = time.monotonic()
    try:
        assert all(gone(pid, 1 + SLACK) for pid in pids)
        assert time.monotonic() - began < 1 + SLACK
        assert not any(gone(pid, 0) for pid in others)
    finally:
        for pid in others + [pid for pid in pids if not gone(pid, 0)]:
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(p.pid, signal.SIGKILL)
        p.stdout.close()


def test_daemons_of_a_killed_child(program):
    """A daemon is its parent's, not its grandparent's."""
    done = program(
        ORPHANS,
        """
        q = ctx.SimpleQueue()
        mine = ctx.Process(target=busy, args=(q,), daemon=True)
        mine.start()
        q.get()
        p = ctx.Process(target=middle, args=(q,))
        p.start()
        pid = q.get()
        os.kill(pid, 0)
        p.kill()
        p.join()
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                with open(f"/proc/{pid}/stat") as file:
                    if file.read().rpartition(")")[2].split()[0] == "Z":
                        break
            except OSError:
                break
        else:
            os.kill(pid, signal.SIGKILL)
            raise AssertionError("lives on")
        assert mine.is_alive()
        """,
    )
    assert done.stdout == ""


def test_daemons_of_a_child_outlive_its_parent(program):
    """The grandparent is killed: the child goes on, and its daemon with it."""
    p = program.start(
        ORPHANS,
        """
        q = ctx.SimpleQueue()
        p = ctx.Process(target=middle, args=(q,))
        p.start()
        print(p.pid, q.get(), flush=True)
        time.sleep(60)
        """,
    )
    child, daemon = map(int, p.stdout.readline().split())
    p.kill()
    p.wait()
    p.stdout.close()
    assert not gone(daemon, 0.5)
    assert not gone(child, 0)
    os.kill(daemon, signal.SIGKILL)
    os.kill(child, signal.SIGKILL)


def test_thread_that_started_it_ends(ctx):
    """A daemon ends with the process, not with the thread that called start()."""
    q = ctx.SimpleQueue()
    p = ctx.Process(target=process_workers.wait_for, args=(q,), daemon=True)
    t = threading.Thread(target=p.start)
    t.start()
    t.join()
    p.join(0.4)
    assert p.is_alive()
    q.put("end")
    assert ended(p) == 0


# -- busy threads ---------------------------------------------------------------------------------

BUSY = """
import ctypes, faulthandler, queue, random, warnings

faulthandler.register(signal.SIGUSR1)

class Handler(logging.Handler):
    def emit(self, record):
        os.write(null, self.format(record).encode())  # an io object's own lock is nobody's after a fork

null = os.open(os.devnull, os.O_WRONLY)
logging.getLogger("busy").addHandler(Handler())

def work(q, lock, value, event, logger, libc):
    for size in (10, 1000, 100_000):
        libc.free(libc.malloc(size))
        bytes(size)
    with lock:
        value.value += 1
    q.put(b"x" * random.choice((1, 300, 20_000)))
    try:
        q.get(timeout=0.01)
    except queue.Empty:
        pass
    event.set()
    logger.warning("busy")

def busy(stop, *tools):
    while not stop:
        work(*tools)

def child(*tools):
    for _ in range(3):
        work(*tools, logging.getLogger("busy"), libc())

def libc():
    c = ctypes.CDLL(None)
    c.malloc.restype, c.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    return c
"""


@pytest.mark.limit(900)
@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.stress)])
def test_fork_with_busy_threads(program, count):
    """Twenty threads in locks, queues, logging and malloc: no child hangs, whenever it is forked."""
    done = program(
        BUSY,
        f"""
        warnings.simplefilter("ignore", DeprecationWarning)
        logger = logging.getLogger("busy")
        tools = ctx.Queue(), ctx.RLock(), ctx.Value("i", 0), ctx.Event()
        count = {count} if ctx.get_start_method() == "fork" else {count} // 10
        sys.setswitchinterval(1e-4)
        stop = []
        threads = [
            threading.Thread(target=busy, args=(stop, *tools, logger, libc())) for _ in range(20)
        ]
        for t in threads:
            t.start()
        hung = []
        for i in range(count):
            p = ctx.Process(target=child, args=tools)
            p.start()
            p.join(30)
            if p.exitcode != 0:
                hung.append((i, p.exitcode))
                os.kill(p.pid, signal.SIGUSR1)
                time.sleep(0.2)
                p.kill()
                p.join()
                if len(hung) > 2:
                    break
        stop.append(1)
        for t in threads:
            t.join(20)
        print(hung, sum(t.is_alive() for t in threads))
        sys.stdout.flush()
        os._exit(0)
        """,
        timeout=850,
    )
    assert done.stdout == "[] 0\n", done.stderr


def test_warning_of_a_threaded_parent(program, ctx):
    """Python 3.12 and later warn where os.fork is called beside threads; procfast does not hide it."""
    done = program(
        "import warnings",
        """
        stop = threading.Event()
        threading.Thread(target=stop.wait).start()
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            assert run(len, b"") == 0
            assert run(len, b"", daemon=True) == 0
        stop.set()
        print(len(seen))
        for warning in seen:
            assert warning.category is DeprecationWarning
            assert "multi-threaded, use of fork() may lead to deadlocks in the child" in str(warning.message)
        """,
    )
    warned = ctx.get_start_method() == "fork" and sys.version_info >= (3, 12)
    assert int(done.stdout) == (2 if warned else 0)
