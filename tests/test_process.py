"""Process: one life from start to close, and every way it can end."""

import errno
import gc
import multiprocessing
import multiprocessing.connection
import os
import pickle
import resource
import selectors
import signal
import subprocess
import sys
import threading
import time

import pytest
import workers

SLACK = 5.0  # seconds a loaded machine may add to what should be immediate


def ended(process, within: float = 20.0) -> int:
    process.join(within)
    assert not process.is_alive()
    return process.exitcode


# -- life -----------------------------------------------------------------------------------------


def test_start_join(ctx):
    p = ctx.Process(target=workers.nothing)
    assert (p.pid, p.ident, p.exitcode) == (None, None, None)
    assert not p.is_alive()
    p.start()
    assert p.pid == p.ident > 0
    p.join()
    assert p.exitcode == 0
    assert not p.is_alive()
    p.join()  # again does nothing
    p.close()


def test_child_knows_itself(ctx):
    q = ctx.SimpleQueue()
    p = ctx.Process(
        target=workers.report_self, args=(q, 1, "b"), kwargs={"c": [3]}, name="Frida", daemon=True
    )
    assert (p.name, p.daemon) == ("Frida", True)
    p.start()
    told = q.get()
    assert ended(p) == 0
    assert told["pid"] == p.pid
    assert told["name"] == "Frida"
    assert told["daemon"] is True
    assert told["authkey"] == p.authkey == multiprocessing.current_process().authkey
    assert told["identity"] == p._identity
    assert told["parent"] == os.getpid()
    assert (told["args"], told["kwargs"]) == ((1, "b"), {"c": [3]})


def test_names_count(ctx):
    first, second = ctx.Process(), ctx.Process()
    assert second._identity[-1] == first._identity[-1] + 1
    assert first.name == f"{type(first).__name__}-{first._identity[-1]}"
    first.name = "renamed"
    assert first.name == "renamed"
    with pytest.raises(AssertionError):
        first.name = 5


def test_run_of_a_subclass(ctx):
    class Here(ctx.Process):
        def run(self):
            self.ran = True

    p = Here()
    p.run()
    assert p.ran
    assert isinstance(p, multiprocessing.process.BaseProcess)


def test_isinstance(ctx):
    p = ctx.Process()
    assert isinstance(p, multiprocessing.process.BaseProcess)
    assert type(p)._start_method == ctx.get_start_method()


def test_group_is_refused(ctx):
    with pytest.raises(AssertionError):
        ctx.Process(group=1)


def test_repr_tells_the_state(ctx):
    p = ctx.Process(target=workers.exit_with, args=(3,), name="teller")
    assert "initial" in repr(p)
    p.start()
    assert f"pid={p.pid}" in repr(p)
    p.join()
    assert "stopped" in repr(p) and "exitcode=3" in repr(p)
    p.close()
    assert "closed" in repr(p)


def test_authkey(ctx):
    p = ctx.Process()
    assert p.authkey == multiprocessing.current_process().authkey
    p.authkey = b"other"
    assert p.authkey == b"other"


def test_daemon_flag(ctx):
    p = ctx.Process(target=workers.nothing)
    assert p.daemon is False
    p.daemon = True
    assert p.daemon is True
    p.start()
    with pytest.raises(AssertionError, match="already started"):
        p.daemon = False
    p.join()


def test_daemon_may_not_have_children(ctx):
    q = ctx.SimpleQueue()
    p = ctx.Process(target=workers.daemon_has_children, args=(workers.cell_of(ctx), q), daemon=True)
    p.start()
    assert "daemonic processes are not allowed to have children" in q.get()
    assert ended(p) == 0


def test_daemon_ends_with_its_parent(ctx, python, script):
    path = script(
        f"""
import procfast, time
if __name__ == "__main__":
    ctx = procfast.get_context({ctx.get_start_method()!r}, backend={ctx.backend!r})
    p = ctx.Process(target=time.sleep, args=(60,), daemon=True)
    p.start()
    print(p.pid)
"""
    )
    started = time.monotonic()
    pid = int(python(path).stdout)
    assert time.monotonic() - started < 30
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_parent_waits_for_what_is_no_daemon(ctx, python, script):
    path = script(
        f"""
import procfast, time
def late():
    time.sleep(0.3)
    print("child", flush=True)
if __name__ == "__main__":
    ctx = procfast.get_context({ctx.get_start_method()!r}, backend={ctx.backend!r})
    ctx.Process(target=late).start()
    print("parent", flush=True)
"""
    )
    assert python(path).stdout.split() == ["parent", "child"]


def test_active_children(ctx):
    p = ctx.Process(target=workers.sleep_forever)
    p.start()
    assert p in multiprocessing.active_children()
    p.kill()
    p.join()
    assert p not in multiprocessing.active_children()


def test_active_children_takes_off_the_dead(ctx):
    p = ctx.Process(target=workers.nothing)
    p.start()
    multiprocessing.connection.wait([p.sentinel], 20)
    end = time.monotonic() + SLACK  # the standard launchers' sentinel is a moment ahead of the end
    while p in multiprocessing.active_children():
        assert time.monotonic() < end
    assert p.exitcode == 0


def test_parent_process_is_seen_to_end(ctx):
    q, go = ctx.Queue(), ctx.SimpleQueue()
    p = ctx.Process(target=workers.parent_dies, args=(workers.cell_of(ctx), q, go))
    p.start()
    assert q.get(timeout=30) == ("alive", True)
    assert ended(p) == 0
    assert q.get(timeout=30) == ("alive", False)
    q.close()


def test_object_refused_by_another_process(ctx):
    if ctx.get_start_method() != "fork":
        ctx = ctx.get_context("fork")
    p = ctx.Process(target=workers.sleep_forever)
    p.start()
    readable, writable = os.pipe()
    if (pid := os.fork()) == 0:
        told = b"nothing"
        try:
            p.join()
        except AssertionError as error:
            told = str(error).encode()
        os.write(writable, told)
        os._exit(0)
    os.close(writable)
    os.waitpid(pid, 0)
    assert os.read(readable, 100) == b"can only join a child process"
    os.close(readable)
    p.kill()
    p.join()


# -- wrong use ------------------------------------------------------------------------------------


def test_start_twice(ctx):
    p = ctx.Process(target=workers.nothing)
    p.start()
    with pytest.raises(AssertionError, match="cannot start a process twice"):
        p.start()
    p.join()


def test_join_before_start(ctx):
    with pytest.raises(AssertionError, match="can only join a started process"):
        ctx.Process().join()


@pytest.mark.parametrize("method", ["terminate", "kill"])
def test_signal_before_start(ctx, method):
    with pytest.raises(AttributeError):
        getattr(ctx.Process(), method)()


def test_sentinel_before_start(ctx):
    with pytest.raises(ValueError, match="process not started"):
        _ = ctx.Process().sentinel


def test_close_of_a_running_process(ctx):
    p = ctx.Process(target=workers.sleep_forever)
    p.start()
    with pytest.raises(ValueError, match="Cannot close a process while it is still running"):
        p.close()
    p.kill()
    p.join()
    p.close()


def test_everything_after_close(ctx):
    p = ctx.Process(target=workers.nothing)
    p.start()
    p.join()
    p.close()
    p.close()  # again does nothing
    for use in (p.is_alive, p.join, p.terminate, p.kill, p.start):
        with pytest.raises(ValueError, match="process object is closed"):
            use()
    for name in ("exitcode", "sentinel", "pid", "ident"):
        with pytest.raises(ValueError, match="process object is closed"):
            getattr(p, name)


def test_close_gives_the_descriptor_back(ctx):
    p = ctx.Process(target=workers.nothing)
    p.start()
    p.join()
    sentinel = p.sentinel
    os.fstat(sentinel)
    p.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(sentinel)


def test_pickling_is_refused(ctx):
    p = ctx.Process(target=workers.sleep_forever)
    p.start()
    with pytest.raises(Exception):  # noqa: B017 - each method's own; none may succeed
        pickle.dumps(p)
    p.kill()
    p.join()


# -- exits ----------------------------------------------------------------------------------------

EXITS = {
    "return": (workers.nothing, (), 0),
    "sys.exit()": (workers.exit_with, (None,), 0),
    "sys.exit(7)": (workers.exit_with, (7,), 7),
    "sys.exit(text)": (workers.exit_with, ("why",), 1),
    "sys.exit(True)": (workers.exit_with, (True,), 1),
    "sys.exit(300)": (workers.exit_with, (300,), 300 % 256),
    "os._exit": (workers.hard_exit, (42,), 42),
    "exception": (workers.fail, (ValueError,), 1),
    "KeyboardInterrupt": (workers.fail, (KeyboardInterrupt,), 1),
    "SIGKILL": (workers.kill_self, (signal.SIGKILL,), -signal.SIGKILL),
    "SIGTERM": (workers.kill_self, (signal.SIGTERM,), -signal.SIGTERM),
    "SIGSEGV": (workers.kill_self, (signal.SIGSEGV,), -signal.SIGSEGV),
    "SIGRTMAX": (workers.kill_self, (signal.SIGRTMAX,), -signal.SIGRTMAX),
}


@pytest.mark.parametrize("kind", EXITS)
def test_exit_kind(ctx, kind, capfd):
    target, args, code = EXITS[kind]
    resource_limit = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource_limit[1]))
    try:
        p = ctx.Process(target=target, args=args)
        p.start()
        assert ended(p) == code
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, resource_limit)
    if ctx.get_start_method() == "forkserver":
        return  # its children write where the server did when it was started
    said = capfd.readouterr().err
    if kind == "sys.exit(text)":
        assert "why" in said
    if kind == "exception":
        assert "ValueError: on purpose" in said and f"Process {p.name}:" in said


def test_terminate(ctx):
    p = ctx.Process(target=workers.sleep_forever)
    p.start()
    p.terminate()
    assert ended(p) == -signal.SIGTERM
    p.terminate()  # the dead are left alone


def test_kill_beats_an_ignored_terminate(ctx):
    q = ctx.SimpleQueue()
    p = ctx.Process(target=workers.ignore_terminate, args=(q,))
    p.start()
    assert q.get() == "ready"
    p.terminate()
    p.join(0.3)
    assert p.is_alive()
    p.kill()
    assert ended(p) == -signal.SIGKILL
    p.kill()


def test_interrupt(ctx):
    """Process.interrupt is Python 3.14's; procfast has it everywhere."""
    q = ctx.SimpleQueue()
    p = ctx.Process(target=workers.wait_for_interrupt, args=(q,))
    p.start()
    assert q.get() == "ready"
    p.interrupt()
    assert q.get() == "interrupted"
    assert ended(p) == 0


def test_stopped_is_alive(ctx):
    p = ctx.Process(target=workers.sleep_forever)
    p.start()
    os.kill(p.pid, signal.SIGSTOP)
    p.join(0.2)
    assert p.is_alive() and p.exitcode is None
    assert multiprocessing.connection.wait([p.sentinel], 0) == []
    os.kill(p.pid, signal.SIGCONT)
    p.kill()
    assert ended(p) == -signal.SIGKILL


# -- waiting --------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, 0.0, -1, -0.5])
def test_join_without_patience(ctx, timeout):
    p = ctx.Process(target=workers.sleep_forever)
    p.start()
    began = time.monotonic()
    p.join(timeout)
    assert time.monotonic() - began < SLACK
    assert p.is_alive()
    p.kill()
    p.join()


def test_join_timeout(ctx):
    p = ctx.Process(target=workers.sleep_forever)
    p.start()
    began = time.monotonic()
    p.join(0.3)
    assert 0.29 < time.monotonic() - began < 0.3 + SLACK
    assert p.is_alive() and p.exitcode is None
    p.kill()
    p.join()


def test_join_by_many_threads(ctx):
    p = ctx.Process(target=workers.sleep_forever)
    p.start()
    threads = [threading.Thread(target=p.join) for _ in range(8)]
    for t in threads:
        t.start()
    p.kill()
    for t in threads:
        t.join(20)
        assert not t.is_alive()
    assert p.exitcode == -signal.SIGKILL


def test_join_goes_on_after_a_signal(ctx):
    """PEP 475: the handler runs, the wait keeps its deadline."""
    p = ctx.Process(target=workers.sleep_forever)
    p.start()
    hits = []
    old = signal.signal(signal.SIGALRM, lambda *args: hits.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        began = time.monotonic()
        p.join(0.5)
        took = time.monotonic() - began
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert len(hits) >= 3
    assert 0.49 < took < 0.5 + SLACK
    p.kill()
    p.join()


def test_join_ends_with_an_exception_of_a_handler(ctx):
    p = ctx.Process(target=workers.sleep_forever)
    p.start()

    def handler(*args):
        raise ZeroDivisionError

    old = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(ZeroDivisionError):
            p.join(20)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert p.is_alive()
    p.kill()
    p.join()


def test_sentinel_in_wait(ctx):
    procs = [ctx.Process(target=workers.sleep_forever) for _ in range(3)]
    for p in procs:
        p.start()
    sentinels = [p.sentinel for p in procs]
    assert all(isinstance(s, int) for s in sentinels)
    assert len(set(sentinels)) == 3
    assert multiprocessing.connection.wait(sentinels, 0.05) == []
    procs[1].kill()
    assert multiprocessing.connection.wait(sentinels, 20) == [sentinels[1]]
    for p in procs:
        p.kill()
        p.join()
    for (
        sentinel
    ) in sentinels:  # readable for good; the fork server may close its end a little later
        assert multiprocessing.connection.wait([sentinel], SLACK) == [sentinel]


def test_sentinel_beside_a_connection(ctx):
    a, b = ctx.Pipe()
    p = ctx.Process(target=workers.sleep_forever)
    p.start()
    b.send("hello")
    assert multiprocessing.connection.wait([p.sentinel, a], 20) == [a]
    a.recv()
    p.kill()
    assert multiprocessing.connection.wait([p.sentinel, a], 20) == [p.sentinel]
    p.join()
    a.close()
    b.close()


def test_sentinel_in_selectors(ctx):
    p = ctx.Process(target=workers.sleep_forever)
    p.start()
    with selectors.DefaultSelector() as selector:
        selector.register(p.sentinel, selectors.EVENT_READ)
        assert selector.select(0.05) == []
        p.kill()
        [(key, _)] = selector.select(20)
        assert key.fd == p.sentinel
        selector.unregister(p.sentinel)
    p.join()


# -- somebody else waits, or nobody ---------------------------------------------------------------


def test_sigchld_ignored(ctx):
    """The kernel keeps no exit status then: the process is seen to end all the same."""
    old = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        p = ctx.Process(target=workers.exit_with, args=(3,))
        p.start()
        p.join(20)
        assert not p.is_alive()
    finally:
        signal.signal(signal.SIGCHLD, old)


def test_sigchld_handler_of_the_user(ctx):
    hits = []
    old = signal.signal(signal.SIGCHLD, lambda *args: hits.append(1))
    try:
        p = ctx.Process(target=workers.exit_with, args=(3,))
        p.start()
        assert ended(p) == 3
    finally:
        signal.signal(signal.SIGCHLD, old)


def test_waited_for_by_another(ctx):
    """os.waitpid stole the exit status: the end is seen, no error, and nobody else is hit."""
    if ctx.get_start_method() == "forkserver":
        ctx = ctx.get_context("fork")  # the forkserver's children are not ours to wait for
    p = ctx.Process(target=workers.exit_with, args=(3,))
    p.start()
    os.waitpid(p.pid, 0)
    p.join(20)
    assert not p.is_alive()
    assert p not in multiprocessing.active_children()
    p.terminate()
    p.kill()
    p.close()


def test_no_other_child_is_stolen(ctx):
    """The exit status of what subprocess started stays with subprocess."""
    other = subprocess.Popen([sys.executable, "-c", "raise SystemExit(9)"])
    p = ctx.Process(target=workers.nothing)
    p.start()
    assert ended(p) == 0
    assert other.wait(20) == 9


def test_dead_pid_is_not_signalled(ctx, monkeypatch):
    """After the end no signal goes to a pid that may be somebody else's by then."""
    p = ctx.Process(target=workers.nothing)
    p.start()
    p.join()
    sent = []
    monkeypatch.setattr(os, "kill", lambda *args: sent.append(args))
    p.terminate()
    p.kill()
    p.interrupt()
    assert sent == []


def test_dropped_process_is_no_zombie(ctx):
    p = ctx.Process(target=workers.nothing)
    p.start()
    name = p.name
    del p
    gc.collect()
    end = time.monotonic() + 20
    while name in [child.name for child in multiprocessing.active_children()]:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_fork_in_a_thread(ctx):
    """The child outlives the thread that started it."""
    procs = []

    def starter():
        p = ctx.Process(target=workers.sleep_forever)
        p.start()
        procs.append(p)

    t = threading.Thread(target=starter)
    t.start()
    t.join()
    [p] = procs
    p.join(0.3)
    assert p.is_alive()
    p.kill()
    assert ended(p) == -signal.SIGKILL


# -- shortage -------------------------------------------------------------------------------------


def test_out_of_descriptors(ctx):
    """EMFILE is an OSError from start; nothing is left behind, and the next start works."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    p = ctx.Process(target=workers.nothing)
    used = max(int(fd) for fd in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 4, hard))
    filler = []
    try:
        while True:
            filler.append(os.dup(0))
    except OSError as error:
        assert error.errno == errno.EMFILE
    try:
        with pytest.raises(OSError) as caught:
            p.start()
        assert caught.value.errno == errno.EMFILE
    finally:
        for fd in filler:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    again = ctx.Process(target=workers.exit_with, args=(5,))
    again.start()
    assert ended(again) == 5


def test_hundred_at_once(ctx):
    count = 100 if ctx.get_start_method() == "fork" else 12
    procs = [ctx.Process(target=workers.exit_with, args=(i,)) for i in range(count)]
    for p in procs:
        p.start()
    assert [ended(p) for p in procs] == list(range(count))
