"""What a child has of its parent, what it leaves, and in which order: each promise of Process.

Most tests are programs of their own: what is buffered, closed or registered at exit is a whole process's.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import time

import process_workers
import pytest
import workers

SLACK = 5.0  # seconds a loaded machine may add to what should be immediate


def ended(process, within: float = 20.0) -> int:
    process.join(within)
    assert not process.is_alive()
    return process.exitcode


def state(pid: int) -> str | None:
    """The letter of the process table; None where it is not there."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


# -- what is shared, and what is not --------------------------------------------------------------


def test_each_has_its_own_variables(ctx, monkeypatch):
    """The child has what there was at its start; what either changes then is its own."""
    monkeypatch.setattr(process_workers, "STATE", ["imported", "before"])
    given = {"list": [1]}
    go, seen = ctx.SimpleQueue(), ctx.SimpleQueue()
    p = ctx.Process(target=process_workers.change, args=(given, go, seen))
    p.start()
    process_workers.STATE.append("after")
    given["list"].append("after")
    go.put("go")
    forked = ctx.get_start_method() == "fork"
    assert seen.get() == (["imported", "before"] if forked else ["imported"], {"list": [1]})
    assert ended(p) == 0
    assert process_workers.STATE == ["imported", "before", "after"]
    assert given == {"list": [1, "after"]}


def test_buffers_are_written_once(program):
    """What stands in a buffer at the start is the parent's to write; the child writes its own."""
    done = program(
        """
        def child(path):
            print("child")
            with open(path, "a") as own:
                own.write("child\\n")
        """,
        """
        with open("once", "w") as kept:
            kept.write("parent\\n")  # in the buffer of a file that lives on
            sys.stdout.write("parent\\n")
            sys.stderr.write("no newline")
            assert run(child, "other") == 0
            assert os.path.getsize("once") == 0
        print(open("once").read(), open("other").read(), sep="", end="")
        """,
    )
    assert done.stdout.split() == ["parent", "child", "parent", "child"]
    assert done.stderr == "no newline"


def test_nothing_is_read_from_the_standard_input(program):
    """A child's is the null device, whatever it was; the parent's is left to the parent."""
    done = program(
        """
        def child():
            assert sys.stdin.read() == ""
            assert os.read(sys.stdin.fileno(), 10) == b""
            assert os.path.samestat(os.fstat(sys.stdin.fileno()), os.stat(os.devnull))
        """,
        """
        r, w = os.pipe()
        os.write(w, b"one\\ntwo\\n")
        os.dup2(r, 0)
        os.close(r)
        os.close(w)
        assert run(child) == 0
        assert sys.stdin.readline() == "one\\n"
        assert run(child) == 0
        assert sys.stdin.readline() == "two\\n"
        print("ok")
        """,
    )
    assert done.stdout == "ok\n"


NO_STREAMS = {
    "None": "sys.stdin = sys.stdout = sys.stderr = None",
    "closed": "sys.stdin.close(); sys.stdout.close(); sys.stderr.close()",
    # The standard library's servants would take a pipe of theirs for their stderr: they are started before.
    "descriptors closed": "run(len, b''); os.close(0); os.close(1); os.close(2)",
}


@pytest.mark.parametrize("how", NO_STREAMS)
def test_without_standard_streams(program, how, tmp_path):
    """Processes start, know their parent, say why they fail (to nobody), and end."""
    program(
        """
        def child(path, code):
            assert multiprocessing.parent_process().is_alive()
            with open(path, "w") as file:
                file.write("was here")
            sys.exit(code)
        """,
        f"""
        {NO_STREAMS[how]}
        codes = []
        for i, code in enumerate((0, 3, "text")):
            codes.append(run(child, f"child{{i}}", code))
        with open("codes", "w") as file:
            file.write(repr(codes))
        """,
        check=how == "None",  # else the interpreter fails to flush at its end
    )
    codes = (tmp_path / "codes").read_text()
    # 120 is an interpreter that could not write its last words at its end
    assert codes in ("[0, 3, 1]", "[0, 3, 120]" if how == "descriptors closed" else "")
    assert all((tmp_path / f"child{i}").read_text() == "was here" for i in range(3))


def test_started_without_standard_streams(program, tmp_path):
    """Descriptors 0 to 2 are free then, and any of them may become a sentinel."""
    path = program.write(
        """
        def child(path):
            parent = multiprocessing.parent_process()
            assert parent.is_alive()
            with open(path, "w") as file:
                file.write("was here")
            sys.exit(7)
        """,
        """
        assert sys.stdin is sys.stdout is sys.stderr is None
        codes = [run(child, "child0"), run(child, "child1")]
        with open("codes", "w") as file:
            file.write(repr(codes))
        """,
    )
    closed = 'exec "$0" "$1" <&- >&- 2>&-'
    done = subprocess.run(["sh", "-c", closed, sys.executable, path], cwd=tmp_path, timeout=50)
    assert done.returncode == 0
    assert (tmp_path / "codes").read_text() == "[7, 7]"
    assert all((tmp_path / f"child{i}").read_text() == "was here" for i in range(2))


def told_by_signals(ctx, number: int):
    q = ctx.SimpleQueue()
    p = ctx.Process(target=process_workers.signals, args=(q, number))
    p.start()
    told = q.get()
    assert ended(p) == 0
    return told


def handler_of_the_parent(*args):
    raise AssertionError("never called")


def test_signals_of_the_child(ctx):
    """fork: as in the parent. spawn: as exec leaves them, ignored ones ignored. forkserver: as in the server."""
    number = signal.SIGRTMIN + 3
    before = [
        (s, signal.signal(s, handler))
        for s, handler in (
            (signal.SIGUSR1, handler_of_the_parent),
            (signal.SIGUSR2, signal.SIG_IGN),
            (number, signal.SIG_DFL),
        )
    ]
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        chosen, blocked = told_by_signals(ctx, number)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        for signum, handler in before:
            signal.signal(signum, handler)
    method = ctx.get_start_method()
    assert chosen == {
        signal.SIGINT: "default_int_handler",
        signal.SIGTERM: "SIG_DFL",
        signal.SIGUSR1: "handler_of_the_parent" if method == "fork" else "SIG_DFL",
        signal.SIGUSR2: "SIG_DFL" if method == "forkserver" else "SIG_IGN",
        number: "SIG_DFL",
    }
    assert blocked == (method != "forkserver")
    # and it is not what was once so
    chosen, blocked = told_by_signals(ctx, number)
    assert chosen[signal.SIGUSR1] == chosen[signal.SIGUSR2] == "SIG_DFL"
    assert not blocked


# -- the end of a child ---------------------------------------------------------------------------


def test_last_words(program):
    """What sys.exit was given, and what was not caught, with the name of the process, on stderr."""
    done = program(
        """
        class Reason:
            def __str__(self):
                return "a reason"

        def leave(code):
            sys.exit(code)

        def fail():
            try:
                raise KeyError("first")
            except KeyError:
                raise ValueError("second")

        def interrupt():
            raise KeyboardInterrupt

        def group():
            raise ExceptionGroup("several", [ValueError(1), TypeError(2)])

        def mute():
            sys.stderr = None
            raise ValueError("unheard")
        """,
        """
        assert run(leave, "a text") == 1
        assert run(leave, Reason()) == 1
        assert run(leave, (1, 2)) == 1
        assert run(leave, None) == 0
        assert run(leave, False) == 0
        assert run(leave, -1) == 255
        assert run(fail, name="Frida") == 1
        assert run(interrupt, name="Carl") == 1
        assert run(group, name="Emma") == 1
        assert run(mute) == 1
        """,
    )
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[:4] == ["a text", "a reason", "(1, 2)", "Process Frida:"]
    first, _, rest = done.stderr.partition("Process Carl:\nTraceback (most recent call last):\n")
    assert "KeyError: 'first'" in first
    assert "During handling of the above exception, another exception occurred" in first
    assert first.endswith("ValueError: second\n")
    assert "KeyboardInterrupt\nProcess Emma:\n" in rest
    assert "ExceptionGroup: several (2 sub-exceptions)" in rest


@pytest.mark.parametrize("code", [1 << 40, (1 << 70) + 3, -1 << 65])
def test_exit_code_beyond_all_bounds(program, code):
    """The child ends, and does not come back as a second parent."""
    done = program(
        "",
        f"""
        me = os.getpid()
        p = ctx.Process(target=sys.exit, args=({code},))
        try:
            p.start()
        finally:
            if os.getpid() != me:
                os.write(1, b"a second parent")
                os._exit(0)
        p.join()
        assert 0 <= p.exitcode <= 255
        """,
    )
    assert done.stdout == ""


def test_order_of_the_end(program, ctx):
    """Finalizers by priority, threads, then what atexit has, as far as this Python runs it there."""
    done = program(
        """
        def say(text):
            os.write(1, text.encode() + b"\\n")

        def late():
            time.sleep(0.3)
            say("thread")

        class Object:
            pass

        def child():
            atexit.register(say, "atexit")
            kept.append(Object())
            util.Finalize(kept[-1], say, ("object",))  # no priority: not at exit
            util.Finalize(None, say, ("-5",), exitpriority=-5)
            util.Finalize(None, say, ("0",), exitpriority=0)
            util.Finalize(None, say, ("10",), exitpriority=10)
            grandchild = ctx.Process(target=say, args=("grandchild",))
            grandchild.start()
            threading.Thread(target=late).start()
            say("end of child")

        kept = []
        """,
        """
        atexit.register(say, "parent's atexit")
        util.Finalize(None, say, ("parent's finalizer",), exitpriority=5)
        assert run(child) == 0
        say("end of parent")
        """,
    )
    said = done.stdout.splitlines()
    mine = [line for line in said if line != "grandchild"]  # it runs beside the child's end
    finalizers = ["10", "0", "-5"]
    if sys.version_info >= (3, 13):
        child = ["thread", "atexit", *finalizers]
    elif ctx.get_start_method() == "spawn":
        child = [*finalizers, "thread", "atexit"]
    else:
        child = [*finalizers, "thread"]  # no exit function of atexit
    assert mine == [
        "end of child", *child, "end of parent", "parent's atexit", "parent's finalizer"
    ]  # fmt: skip
    assert said.index("grandchild") < said.index("-5")  # it is joined between 0 and -5


def test_hard_exit(program):
    """os._exit in a child: nothing of it is flushed, finalized or waited for. In a parent likewise."""
    done = program(
        """
        def say(text):
            os.write(1, text.encode() + b"\\n")

        def child():
            sys.stdout.write("buffered")
            atexit.register(say, "atexit")
            util.Finalize(None, say, ("finalizer",), exitpriority=0)
            threading.Thread(target=time.sleep, args=(60,)).start()
            os._exit(7)

        def parent(q):
            p = ctx.Process(target=orphan, args=(q,))
            p.start()
            assert q.get() == p.pid
            q.put(p.pid)
            os._exit(8)

        def orphan(q):
            q.put(os.getpid())
            multiprocessing.parent_process().join()
            q.put("goes on")
        """,
        """
        assert run(child) == 7
        q = ctx.SimpleQueue()
        assert run(parent, q) == 8
        assert [q.get(), q.get()][1] == "goes on"
        """,
    )
    assert done.stdout == ""


@pytest.mark.parametrize("how", ["start", "join", "active_children"])
def test_dropped_and_reaped(ctx, how):
    """One that nobody keeps nor joins is no zombie after the next start, join or active_children."""
    q = ctx.SimpleQueue()
    other = ctx.Process(target=process_workers.wait_for, args=(q,))
    other.start()
    dropped = ctx.Process(target=workers.nothing)
    dropped.start()
    pid, sentinel = dropped.pid, dropped.sentinel
    assert multiprocessing.connection.wait([sentinel], 20)
    end = time.monotonic() + SLACK
    while state(pid) not in ("Z", None):
        assert time.monotonic() < end
    del dropped
    if how == "start":
        ctx.Process(target=workers.nothing).start()
    elif how == "active_children":
        assert pid not in [p.pid for p in multiprocessing.active_children()]
    q.put("end")
    if how == "join":
        assert ended(other) == 0
    assert state(pid) is None
    assert ended(other) == 0


def test_dropped_and_reaped_at_exit(program):
    done = program(
        "",
        """
        sys.stdout.flush()
        for i in range(3):
            ctx.Process(target=time.sleep, args=(0.01 * i,)).start()
        pids = [p.pid for p in multiprocessing.active_children()]
        def look():
            print([pid for pid in pids if os.path.exists(f"/proc/{pid}")])
        util.Finalize(None, look, exitpriority=-100)
        """,
    )
    assert done.stdout == "[]\n"


# -- who is who -----------------------------------------------------------------------------------


def test_relations(ctx):
    """current_process, parent_process and active_children, three generations."""
    q = ctx.SimpleQueue()
    main = multiprocessing.current_process()
    assert main.is_alive()
    assert multiprocessing.parent_process() is None
    seen = ctx.Event()
    p = ctx.Process(
        target=process_workers.relations, args=(workers.cell_of(ctx), q, seen, 2), name="A"
    )
    p.start()
    assert p in multiprocessing.active_children()
    seen.set()
    told = sorted((q.get() for _ in range(3)), key=lambda one: len(one["me"][-1]))
    assert ended(p) == 0
    pids = [os.getpid(), p.pid]
    names, identity = [main.name, "A"], p._identity
    for one in told:
        assert one["me"] == (names[-1], pids[-1], pids[-1], True, identity)
        assert one["parent"] == (names[-2], pids[-2], pids[-2], True)
        # what the parent has started is none of the child's
        assert one["active"] == ([one["child"][0]] if one["child"] else [])
        if one["child"]:
            name, pid = one["child"]
            identity = (*identity, 1)
            assert name.endswith("-" + ":".join(map(str, identity)))
            names.append(name)
            pids.append(pid)
    assert told[2]["child"] is None


def test_logging(program):
    """One logger; a child's messages bear its name, and it has the level that the parent has set."""
    done = program(
        """
        def child():
            logger = ctx.get_logger()
            assert logger is multiprocessing.get_logger()
            logger.info("said by the child at %d", logger.level)
            logger.debug("not to be heard")
        """,
        """
        logger = ctx.get_logger()
        assert logger.level == logging.NOTSET and not logger.propagate
        assert run(child, name="Quiet") == 0
        assert ctx.log_to_stderr(logging.INFO) is logger
        logger.warning("said by the parent")
        assert run(child, name="Frida") == 0
        """,
    )
    lines = done.stderr.splitlines()
    assert not any("Quiet" in line for line in lines)
    assert "[WARNING/MainProcess] said by the parent" in lines
    frida = [line.split("] ", 1)[1] for line in lines if line.startswith("[INFO/Frida] ")]
    assert frida[:2] == ["child process calling self.run()", "said by the child at 20"]
    assert sorted(frida[-2:]) == ["process exiting with exitcode 0", "process shutting down"]
    assert "not to be heard" not in done.stderr


# -- settings -------------------------------------------------------------------------------------


def test_start_method_is_set_once(python, backend):
    code = """if True:
        import sys
        import procfast
        import multiprocessing
        assert procfast.get_start_method(allow_none=True) is None
        procfast.set_start_method("spawn")
        for again in ("fork", "spawn"):
            try:
                procfast.set_start_method(again)
            except RuntimeError as error:
                assert str(error) == "context has already been set"
            else:
                raise AssertionError(again)
        assert procfast.get_start_method() == "spawn" == multiprocessing.get_start_method()
        procfast.set_start_method("forkserver", force=True)
        assert procfast.get_start_method() == "forkserver"
        procfast.set_start_method(None, force=True)
        assert procfast.get_start_method(allow_none=True) is None
        try:
            procfast.set_start_method("thread", force=True)
        except ValueError as error:
            assert "cannot find context for 'thread'" in str(error)
        else:
            raise AssertionError
        default = "fork" if sys.version_info < (3, 14) else "forkserver"
        assert procfast.get_all_start_methods()[0] == procfast.get_start_method() == default
        procfast.freeze_support()  # nothing, where nothing is frozen
        for wrong in ([1], [b"os"], ["os", None]):
            try:
                procfast.set_forkserver_preload(wrong)
            except TypeError as error:
                assert "must be a list of strings" in str(error)
            else:
                raise AssertionError(wrong)
    """
    python("-c", code, env={"PROCFAST_BACKEND": backend.name})


def test_executable(program, ctx, tmp_path):
    """set_executable: what is run from then on for new interpreters; none is, under fork."""
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(f'#!/bin/sh\necho "$$" >>{tmp_path}/ran\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    (tmp_path / "ran").touch()
    done = program(
        "",
        f"""
        assert run(time.sleep, 0) == 0
        ctx.set_executable({str(wrapper)!r})
        for _ in range(2):
            p = ctx.Process(target=time.sleep, args=(0,))
            p.start()
            print(p.pid)
            p.join()
            assert p.exitcode == 0
        """,
    )
    ran = (tmp_path / "ran").read_text().split()
    if ctx.get_start_method() == "spawn":
        assert [pid for pid in done.stdout.split() if pid not in ran] == []
    else:
        assert not set(ran) & set(done.stdout.split())


def test_frozen_program(ctx, script, python, tmp_path):
    """A frozen program's children are it again, with arguments that freeze_support understands."""
    path = script(
        f"""
import multiprocessing.spawn, os, sys
sys.frozen = True
import procfast
def child(path):
    with open(path, "w") as file:
        file.write(" ".join(sys.argv))
if __name__ == "__main__":
    multiprocessing.spawn.freeze_support()
    ctx = procfast.get_context({ctx.get_start_method()!r}, backend={ctx.backend!r})
    ctx.set_executable(os.path.abspath("frozen"))
    for path in ("first", "second"):
        p = ctx.Process(target=child, args=(path,))
        p.start()
        p.join()
        assert p.exitcode == 0
"""
    )
    frozen = tmp_path / "frozen"
    frozen.write_text(  # it is Python, too, for the servants: as the makers of frozen programs arrange
        f'#!/bin/sh\n[ $1 = --multiprocessing-fork ] || exec {sys.executable} "$@"\n'
        f'echo $1 >>seen\nexec {sys.executable} {path} "$@"\n'
    )
    frozen.chmod(0o755)
    if ctx.get_start_method() == "forkserver":
        return  # the standard library's server can't be started by a frozen program
    python(path)
    for name in ("first", "second"):
        assert (tmp_path / name).read_text().startswith(path)
    if ctx.get_start_method() == "spawn":
        assert (tmp_path / "seen").read_text() == "--multiprocessing-fork\n" * 2


def test_preload(program, ctx, tmp_path):
    """What is preloaded is imported once, by the server, and by nobody where there is none."""
    (tmp_path / "heavy.py").write_text("import os\nimported_by = os.getpid()\n")
    done = program(
        """
        def child():
            loaded = "heavy" in sys.modules
            import heavy
            print(loaded, heavy.imported_by, os.getppid(), os.getpid())
        """,
        """
        sys.path.insert(0, os.getcwd())
        ctx.set_forkserver_preload(["heavy", "there_is_no_such_module"])
        assert run(child) == 0
        assert run(child) == 0
        """,
    )
    for line in done.stdout.splitlines():
        loaded, by, parent, me = line.split()
        if ctx.get_start_method() == "forkserver":
            assert (loaded, by) == ("True", parent)
        else:
            assert (loaded, by) == ("False", me)
    assert len(done.stdout.splitlines()) == 2


# -- many -----------------------------------------------------------------------------------------


@pytest.mark.limit(120)
def test_wait_for_many(program, ctx):
    """join and connection.wait sleep until something ends: no CPU, no looks, whatever the number."""
    count = {"fork": 1000, "forkserver": 40, "spawn": 12}[ctx.get_start_method()]
    done = program(
        """
        def child(r, code):
            os.read(r, 1)
            os._exit(code)

        def spawned(q, code):
            q.get()
            os._exit(code)

        def used():
            u = resource.getrusage(resource.RUSAGE_SELF)
            return u.ru_utime + u.ru_stime, u.ru_nvcsw
        """,
        f"""
        count = {count}
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        want = 3 * count + 100
        if soft < want:
            resource.setrlimit(resource.RLIMIT_NOFILE, (want if hard < 0 else min(want, hard), hard))
            count = min(count, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100) // 3)
        forked = ctx.get_start_method() == "fork"
        r, w = os.pipe()
        q = ctx.SimpleQueue()
        procs = [
            ctx.Process(target=child if forked else spawned, args=(r if forked else q, i % 100))
            for i in range(count)
        ]
        for p in procs:
            p.start()
        sentinels = {{p.sentinel: p for p in procs}}
        assert len(sentinels) == count
        time.sleep(0.3)
        cpu, looks = used()
        assert multiprocessing.connection.wait(list(sentinels), 0.5) == []
        procs[0].join(0.5)
        cpu, looks = used()[0] - cpu, used()[1] - looks
        assert cpu < 0.2 and looks < 20, (cpu, looks)
        assert all(p.exitcode is None for p in procs)
        if forked:
            os.write(w, b"x" * count)
        else:
            for _ in procs:
                q.put(0)
        left, rounds = dict(sentinels), 0
        while left:
            ready = multiprocessing.connection.wait(list(left), 30)
            assert ready
            rounds += 1
            for s in ready:
                p = left.pop(s)
                p.join(20)
                assert p.exitcode == procs.index(p) % 100, p
        assert ctx.active_children() == []
        print(count)
        """,
        timeout=110,
    )
    assert int(done.stdout) > count // 4


@pytest.mark.limit(200)
@pytest.mark.parametrize("cycles", [0, pytest.param(1, marks=pytest.mark.stress)])
def test_cycles_leave_nothing(program, ctx, cycles):
    """start and join, again and again: no descriptor, mapping, zombie, or megabyte of memory more."""
    method = ctx.get_start_method()
    few = {"fork": 2000 if ctx.backend == "native" else 300, "forkserver": 60, "spawn": 16}[method]
    done = program(
        """
        def child():
            pass

        def memory():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

        def belongings():
            with open("/proc/self/maps") as file:
                maps = [line.split()[-1] for line in file]
            children = []
            for pid in os.listdir("/proc"):
                try:
                    with open(f"/proc/{pid}/stat") as file:
                        fields = file.read().rpartition(")")[2].split()
                except OSError:
                    continue
                if pid.isdigit() and int(fields[1]) == os.getpid() and fields[0] == "Z":
                    children.append(pid)
            return len(os.listdir("/proc/self/fd")), len(maps), children
        """,
        f"""
        import gc
        cycles = {2000 if cycles else few}
        for _ in range(max(cycles // 10, 5)):
            assert run(child) == 0
        gc.collect()
        before, memory_before = belongings(), memory()
        for i in range(cycles):
            p = ctx.Process(target=child)
            p.start()
            p.join()
            assert p.exitcode == 0
            if i % 2:
                p.close()
        del p
        gc.collect()
        after, grown = belongings(), memory() - memory_before
        assert after[0] <= before[0] and after[1] <= before[1] + 1 and after[2] == [], (before, after)
        assert grown < 1 << 20, grown
        assert ctx.active_children() == [] and not multiprocessing.process._children
        print("ok")
        """,
        timeout=190,
    )
    assert done.stdout == "ok\n"
