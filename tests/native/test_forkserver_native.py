"""The fork server of the native backend: what it imports, and every way in which it or its processes can die."""

import os
import textwrap

import pytest
from victims import KILLS, SEED

PRELUDE = """
import contextlib, os, signal, sys, threading, time
from workers import wait_until, is_gone
def nothing(): pass
def start(ctx, target=nothing, args=(), **kwds):
    p = ctx.Process(target=target, args=args, **kwds)
    p.start()
    return p
def run(ctx, *args):
    p = start(ctx, *args)
    p.join(30)
    return p.exitcode
def server():
    from procfast.native import forkserver
    return forkserver._server.pid
def descriptors(pid):
    found = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            # some builds of libffi keep their own file open
            found += "libffi" not in os.readlink(f"/proc/{pid}/fd/{name}")
    return found
"""


@pytest.fixture
def run(tmp_path, python):
    """Runs a program of which `ctx` is the context; answers what it printed, line by line.

    It begins with `head`; its main part is what comes after the line `main:`. `modules` are there to be imported.
    """

    def run(text: str, head: str = "", check: bool = True, env=None, **modules: str):
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        text, _, main = textwrap.dedent(text).partition("main:\n")
        (tmp_path / "program.py").write_text(
            f"{head}\n{PRELUDE}\n{text}\n"
            "if __name__ == '__main__':\n"
            "    import procfast\n"
            "    ctx = procfast.get_context('forkserver', backend='native')\n"
            + textwrap.indent(main, "    ")
        )
        env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])} | (
            env or {}
        )
        done = python("program.py", env=env, check=check)
        return done.stdout.splitlines() if check else done

    return run


# -- imports --------------------------------------------------------------------------------------

# In each process: was the module imported by it, or by its server?
TELL = """
def tell():
    import {0} as module
    print(module.PID == os.getpid(), module.PID, flush=True)
main:
print(run(ctx, tell), run(ctx, tell))
"""
PID = "import os\nPID = os.getpid()\n"


def imported_once(lines) -> bool:
    first, second, codes = lines
    assert codes == "0 0"
    if first.startswith("False"):
        assert first == second
        return True
    assert first.startswith("True") and second.startswith("True") and first != second
    return False


@pytest.mark.parametrize(
    "head",
    [
        "import helper",
        "import json, os, sys, helper",
        "'''doc'''\nfrom __future__ import annotations\n__version__ = '1.0'\nimport helper as h",
        "from helper import *",
        "try:\n    import helper\nexcept ImportError:\n    helper = None",
        "import typing\nif typing.TYPE_CHECKING:\n    import nothing\nimport helper",
        "import sys\nsys.path.insert(0, 'somewhere')\nimport helper",
        "import os\nos.environ['OMP_NUM_THREADS'] = '1'\nimport helper",
        "import os\nos.environ.setdefault('OMP_NUM_THREADS', '1')\nimport helper",
        "import procfast\nprocfast.install()\nimport helper",
    ],
)
def test_imports_of_main_are_made_once(run, head):
    assert imported_once(run(TELL.format("helper"), head, helper=PID))


@pytest.mark.parametrize(
    "head",
    [
        "print(end='')\nimport helper",
        "import os\nos.environ['A'] = str(os.getpid())\nimport helper",
        "import os\nos.environ['A'] = '1'\nimport helper\nif __name__ == '__main__': os.environ['A'] = '2'",
        "if True:\n    import helper",
        "try:\n    import there_is_no_such_module\nexcept ImportError:\n    pass\nimport helper",
        "import fails\nimport helper",
        "try:\n    import raises\nexcept ValueError:\n    pass\nimport helper",
        "def f(): pass\nf()\nimport helper",
        "x = []\nx.append(1)\nimport helper",
    ],
)
def test_imports_behind_anything_else_are_each_processes_own(run, head):
    """What has come before may matter to them."""
    lines = run(TELL.format("helper"), head, helper=PID, fails="", raises="raise ValueError\n")
    assert imported_once(lines) == (head == "import fails\nimport helper")


NOT_IN_MAIN = (
    "import multiprocessing\nif multiprocessing.current_process().name != 'MainProcess':\n"
)
LEAVES = {
    "nothing": "",
    "a thread": "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()",
    "a thread of C code": "import ctypes, _thread\nlock = _thread.allocate_lock(); lock.acquire()\n"
    "_thread.start_new_thread(lock.acquire, ())",
    "a descriptor": "import socket\ns = socket.socket()",
    "a descriptor for all": "import os\nos.set_inheritable(os.open('/dev/null', os.O_RDONLY), True)",
    "a lock": "import procfast\nlock = procfast.get_context(backend='native').Lock()",
    "a child": "import subprocess\np = subprocess.Popen(['sleep', '0.2'])\nsubprocess._active.append(p)",
    "a handler": "import signal\nsignal.signal(signal.SIGTERM, lambda *args: None)",
    "a signal ignored": f"{NOT_IN_MAIN}    import signal\n    signal.signal(signal.SIGUSR1, signal.SIG_IGN)",
    "another directory": f"{NOT_IN_MAIN}    import os\n    os.chdir('/')",
    "a seed": "import random\nrandom.seed(5)",
    "a seed of numpy": "import numpy\nnumpy.random.seed(5)",
}


@pytest.mark.parametrize("what", LEAVES)
def test_imports_that_leave_something_are_each_processes_own(run, what):
    """The server has begun anew, with nothing of it."""
    lines = run(
        TELL.format("helper")
        + "kept = open(f'/proc/{server()}/status').read()\n"
        + "assert 'Threads:\\t1\\n' in kept\n"
        + "wait_until(lambda: descriptors(server()) == 7)\n",
        "import first, helper",
        helper=PID + LEAVES[what] + "\n",
        first=PID,
    )
    assert imported_once(lines) == (what == "nothing")


def test_imports_before_one_that_leaves_something_are_made_once(run):
    assert imported_once(
        run(
            TELL.format("first"),
            "import first\nimport second",
            first=PID,
            second=LEAVES["a thread"],
        )
    )


@pytest.mark.parametrize(
    "end",
    [
        "raise ValueError",
        "import sys; sys.exit(3)",
        "raise KeyboardInterrupt",
        "import os; os._exit(3)",
        "import os; os.kill(os.getpid(), 9)",
        "raise Exception.__new__(type('Odd', (BaseException,), {}))",
    ],
)
def test_import_that_fails_in_the_server_only(run, end):
    """Each process imports for itself then, and nothing is said of it."""
    done = run(
        TELL.format("helper"),
        "import helper",
        check=False,
        helper=f"import multiprocessing\nif multiprocessing.current_process().name == 'forkserver':\n    {end}\n"
        + PID,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not imported_once(done.stdout.splitlines())


def test_modules_of_main_see_what_they_see_in_a_child(run):
    """Except for the process that they are in."""
    lines = run(
        """
        main:
        sys.argv[1:] = ["a", "b"]
        os.makedirs("elsewhere", exist_ok=True); os.chdir("elsewhere")
        print(run(ctx))
        ctx.set_forkserver_preload([])
        os.kill(server(), 9); os.waitid(os.P_PID, server(), os.WEXITED | os.WNOWAIT)
        print(run(ctx))
        """,
        "import helper",
        helper="""
        import multiprocessing, os, signal, sys
        if multiprocessing.current_process().name != "MainProcess":
            # the descriptor of the terminal is closed there, as each child will find it
            print(
                sys.argv, os.getcwd(), sys.path, multiprocessing.parent_process(), repr(sys.stdin.read()),
                getattr(sys.modules["__main__"], "__file__", None), multiprocessing.current_process()._inheriting,
                signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGCHLD), flush=True,
            )
        """,
    )
    assert lines[1] == lines[3] == "0"
    assert lines[0] == lines[2]


def test_starting_a_process_while_importing_is_refused(run):
    done = run(
        "main:\nprint(run(ctx))\n",
        "import helper",
        check=False,
        helper="""
        import multiprocessing
        p = multiprocessing.get_context("spawn").Process()
        if multiprocessing.current_process().name != "MainProcess":
            p.start()
        """,
    )
    assert done.stdout.splitlines() == ["1"]
    assert (
        done.stderr.count(
            "before the\n        current process has finished its bootstrapping phase"
        )
        == 1
    )


def test_output_of_imports_comes_once(run):
    lines = run(
        "main:\nprint(run(ctx), run(ctx), flush=True)\n",
        "import helper",
        helper="import multiprocessing\nprint(multiprocessing.current_process().name)\n",
    )
    assert sorted(lines) == ["0 0", "MainProcess", "forkserver"]


def test_main_that_changes_between_two_starts(run):
    """Its body is each process's own, so it is read again; as the standard library's."""
    lines = run(
        """
        main:
        print(run(ctx), flush=True)
        text = open(__file__).read()
        open(__file__, "w").write(text.replace("old" + "er", "newer"))
        print(run(ctx), flush=True)
        """,
        "print('older', flush=True)",
    )
    assert lines == ["older", "older", "0", "newer", "0"]


@pytest.mark.parametrize("names", [["__main__"], ["__main__", "helper"]])
def test_main_by_name(run, names):
    """It is run once, by the server."""
    lines = run(
        f"""
        def tell(): print(PID == os.getpid(), flush=True)
        main:
        ctx.set_forkserver_preload({names})
        print(run(ctx, tell), run(ctx, tell))
        """,
        "import os\nprint('body', __name__, flush=True)\nPID = os.getpid()",
        helper="",
    )
    assert lines == ["body __main__", "body __mp_main__", "False", "False", "0 0"]


def test_module_by_name_that_starts_a_thread(run):
    """It is not imported in advance, which is said; others are."""
    done = run(
        TELL.format("first").replace(
            "main:\n", "main:\nctx.set_forkserver_preload(['second', 'first'])\n"
        ),
        check=False,
        first=PID,
        second=LEAVES["a thread"],
    )
    assert imported_once(done.stdout.splitlines())
    assert (
        done.stderr.count("the fork server does not import second in advance: it starts a thread")
        == 1
    )


def test_module_by_name_that_fails(run):
    done = run(
        TELL.format("first").replace(
            "main:\n", "main:\nctx.set_forkserver_preload(['second', 'first'])\n"
        ),
        check=False,
        first=PID,
        second="raise ValueError('on purpose')\n",
    )
    assert imported_once(done.stdout.splitlines())
    assert done.stderr.count("ValueError: on purpose") == 1


def test_module_by_name_keeps_what_it_has_opened(run):
    assert imported_once(
        run(
            TELL.format("helper").replace(
                "main:\n", "main:\nctx.set_forkserver_preload(['helper'])\n"
            ),
            helper=PID + "f = open(__file__)\n",
        )
    )


def test_modules_of_the_first_process(run, python, tmp_path):
    """Where the main module is not run again, a process begins by importing its own code's module."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "work.py").write_text(
        PID + "def f(): print(PID == os.getpid(), flush=True)\n"
    )
    (tmp_path / "package" / "__main__.py").write_text(
        "import procfast\nfrom . import work\n"
        "p = procfast.get_context('forkserver', backend='native').Process(target=work.f); p.start(); p.join()\n"
    )
    assert python("-m", "package").stdout.split() == ["False"]


def test_random_numbers_are_each_processes_own(run):
    lines = run(
        """
        def tell():
            import random, numpy
            print(random.random(), numpy.random.rand(), flush=True)
        main:
        print(run(ctx, tell), run(ctx, tell))
        """,
        "import random, numpy",
    )
    assert len(set(lines[0].split() + lines[1].split())) == 4


def test_threads_that_end_for_a_fork_hinder_nothing(run):
    """NumPy's OpenBLAS has some; their number does not matter here if the machine has one CPU."""
    lines = run(
        """
        def tell():
            import numpy
            a = numpy.ones((300, 300)); assert (a @ a == 300).all()
            print(numpy.PID == os.getpid(), numpy.PID, flush=True)
        main:
        print(run(ctx, tell), run(ctx, tell))
        """,
        "import numpy, after",
        after="import numpy, os\nnumpy.PID = os.getpid()\n",
    )
    assert imported_once(lines)


def test_ensure_running_after_install(run):
    """What programs call to have the server launched early."""
    lines = run(
        """
        main:
        procfast.install()
        from multiprocessing import forkserver
        forkserver.ensure_running()
        print(os.path.exists(f"/proc/{server()}"), forkserver._forkserver._forkserver_pid)
        procfast.uninstall()
        print(forkserver.ensure_running.__module__)
        """
    )
    assert lines == ["True None", "multiprocessing.forkserver"]


def test_install_comes_before_imports(run):
    lines = run(
        "main:\nctx = procfast.get_context('forkserver')\nprint(run(ctx))\n",
        "import procfast\nprocfast.install()\nimport helper",
        helper="""
        import multiprocessing
        print(multiprocessing.current_process().name, multiprocessing.SimpleQueue().__class__.__module__, flush=True)
        """,
    )
    assert lines == [
        "MainProcess procfast.native.queues",
        "forkserver procfast.native.queues",
        "0",
    ] or (lines[-1] == "0" and all(line.endswith("procfast.native.queues") for line in lines[:-1]))


# -- faults ---------------------------------------------------------------------------------------


def test_first_starts_by_many_threads(run):
    """All are served by one server."""
    lines = run(
        """
        def tell(): os.write(1, b"%d\\n" % os.getppid())
        main:
        threads = [threading.Thread(target=run, args=(ctx, tell)) for _ in range(16)]
        for t in threads: t.start()
        for t in threads: t.join()
        """
    )
    assert len(lines) == 16 and len(set(lines)) == 1


def test_start_in_a_signal_handler(run):
    """Whatever it interrupts, the launch of the server too."""
    lines = run(
        """
        main:
        from procfast.native import popen_forkserver  # importing it anew in the midst of its import would not do
        codes = []
        def handler(*args):
            codes.append(run(ctx))
            if len(codes) < 12:
                signal.setitimer(signal.ITIMER_REAL, 0.001 * len(codes))
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        while len(codes) < 12:
            assert run(ctx) == 0
        print(set(codes))
        """
    )
    assert lines == ["{0}"]


def test_start_in_a_forked_child(run):
    """It has a server of its own; the parent's goes on, and does not outlive the parent because of the child."""
    lines = run(
        """
        def tell(): print(os.getppid(), flush=True)
        main:
        print(run(ctx, tell), server(), flush=True)
        for _ in range(2):
            if (pid := os.fork()) == 0:
                code = 1
                try:
                    code = run(ctx, tell)
                    print(code, server(), flush=True)
                finally:
                    os._exit(code)
            assert os.waitpid(pid, 0)[1] == 0
        print(run(ctx, tell), server(), flush=True)
        parent, ours = os.getpid(), server()
        if os.fork() == 0:
            wait_until(lambda: is_gone(parent) and is_gone(ours))
            os.write(1, b"both are gone\\n")
            os._exit(0)
        """
    )
    assert lines.pop() == "both are gone"
    servers = lines[0::2]
    assert [line.split()[1] for line in lines[1::2]] == servers
    assert servers[0] == servers[3] and len(set(servers)) == 3


def test_server_killed_while_processes_run(run):
    """They go on, are seen to, and their exit codes are the kernel's, or 255."""
    lines = run(
        """
        def work(q, go, code):
            q.put("runs")
            go.get()
            sys.exit(code)
        main:
        q, go = ctx.SimpleQueue(), ctx.SimpleQueue()
        ps = [start(ctx, work, (q, go, code)) for code in (3, 4)]
        ps.append(start(ctx, time.sleep, (60,)))
        q.get(), q.get()
        os.kill(server(), signal.SIGKILL)
        os.waitid(os.P_PID, server(), os.WEXITED | os.WNOWAIT)
        ps[0].join(0.1)
        assert all(p.is_alive() for p in ps)
        from multiprocessing.connection import wait
        assert not wait([p.sentinel for p in ps], 0)
        print(run(ctx))
        ps[2].kill()
        for _ in range(2): go.put(1)
        for p in ps: p.join(30)
        assert len(wait([p.sentinel for p in ps], 0)) == 3
        print(*[p.exitcode for p in ps])
        """
    )
    assert lines[0] == "0"
    for code, known in zip(lines[1].split(), ("3", "4", "-9"), strict=True):
        assert code in (known, "255")


def test_server_stopped(run):
    """It is not dead: nobody invents an exit code, and it is told when the server goes on."""
    lines = run(
        """
        main:
        p = start(ctx, time.sleep, (60,))
        os.kill(server(), signal.SIGSTOP)
        p.kill()
        from multiprocessing.connection import wait
        wait([p.sentinel], 20)
        p.join(0.1)
        print(p.exitcode)
        os.kill(server(), signal.SIGCONT)
        p.join(20)
        print(p.exitcode)
        """
    )
    assert lines == ["None", "-9"]


# What a module that is imported by name makes of the server's fork(), the first time: `once` is the file that tells.
BREAKS = """
import os, signal
def fork(fork=os.fork):
    try:
        os.close(os.open("once", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return fork()
    {}
os.fork = fork
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
ENDED = "os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)"
BROKEN = """
main:
ctx.set_forkserver_preload(["breaks"])
q = ctx.SimpleQueue()
p = start(ctx, q.put, ("ran",))
p.join(30)
print(p.exitcode, p.pid > 0, *[q.get() for _ in iter(lambda: q.empty(), True)])
for _ in range(2):
    print(run(ctx, q.put, ("ran",)), q.get())
"""


@pytest.mark.parametrize(
    ("what", "seen"),
    {
        # the server
        KILL: {"0 True ran"},
        f"pid = fork()\n    if pid: {KILL}\n    return pid": {"0 True ran", "255 True ran"},
        # the process, before it has said its pid
        f"pid = fork()\n    if not pid: {KILL}\n    return pid": {"-9 True"},
        f"pid = fork()\n    if not pid: {KILL}\n    {ENDED}\n    return pid": {"-9 True"},
        # both
        f"pid = fork()\n    {KILL}": {"0 True ran"},
    }.items(),
)
def test_killed_around_the_fork(run, what, seen):
    """A process runs once, or is told to have been killed."""
    lines = run(BROKEN, breaks=BREAKS.format(what))
    assert lines[0] in seen
    assert lines[1:] == ["0 ran"] * 2


@pytest.mark.parametrize("on_error", ["ignore", "warn", "fail"])
def test_preload_that_fails(run, on_error):
    done = run(
        f"""
        main:
        ctx.set_forkserver_preload(["lacks"], on_error={on_error!r})
        for _ in range(2):
            try:
                print(run(ctx))
            except OSError as error:
                print(error)
        """,
        check=False,
        env={"PYTHONWARNINGS": "default"},
    )
    lines = done.stdout.splitlines()
    if on_error == "fail":
        assert len(lines) == 2 and all("while it imported modules" in line for line in lines)
        assert "ModuleNotFoundError: No module named 'lacks'" in done.stderr
    else:
        assert lines == ["0", "0"]
        assert ("ImportWarning: Failed to preload module 'lacks'" in done.stderr) == (
            on_error == "warn"
        )


def test_preload_of_no_kind():
    import procfast

    ctx = procfast.get_context("forkserver", backend="native")
    with pytest.raises(ValueError, match="on_error must be"):
        ctx.set_forkserver_preload([], on_error="whatever")


def test_fork_fails(run):
    lines = run(
        """
        main:
        ctx.set_forkserver_preload(["breaks"])
        try:
            run(ctx)
        except OSError as error:
            print(error.errno, error)
        print(run(ctx), descriptors("self") - descriptors("self"))
        """,
        breaks=BREAKS.format("raise BlockingIOError(11, 'no')"),
    )
    assert lines[0].startswith("11 ") and "fork server could not fork" in lines[0]
    assert lines[1].startswith("0 ")


def test_server_cannot_be_launched(run):
    lines = run(
        """
        import multiprocessing
        main:
        multiprocessing.set_executable("/there/is/none")
        try:
            run(ctx)
        except OSError as error:
            print(error)
        multiprocessing.set_executable(sys.executable)
        print(run(ctx))
        """
    )
    assert "the fork server (pid " in lines[0]
    assert lines[0].endswith("ended with exit code 255, 3 times in a row") and lines[1] == "0"


def test_server_out_of_descriptors(run):
    """An OSError of start(), and the next one works when there is room."""
    lines = run(
        """
        import resource
        main:
        ctx.SimpleQueue().put(1)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, hard))
        from procfast.native import forkserver
        forkserver.ensure_running()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        ps = []
        try:
            while True:
                ps.append(start(ctx, time.sleep, (60,)))
        except OSError as error:
            print(len(ps) > 3, error.errno)
        for p in ps: p.kill()
        for p in ps: p.join()
        print(run(ctx), {p.exitcode for p in ps})
        """
    )
    assert lines == ["True 24", "0 {-9}"]


def test_program_that_closes_all_descriptors(run):
    """As daemonisers do; and opens others in their place."""
    lines = run(
        """
        main:
        print(run(ctx), flush=True)
        os.closerange(3, 100)
        files = [os.open("/dev/null", os.O_RDWR) for _ in range(40)]
        from multiprocessing import resource_tracker
        resource_tracker._resource_tracker._fd = None
        print(run(ctx))
        for fd in files: os.close(fd)  # each is still there
        """
    )
    assert lines == ["0", "0"]


@pytest.mark.parametrize(
    "before",
    [
        "import socket; socket.setdefaulttimeout(0.001)",
        "signal.signal(signal.SIGPIPE, signal.SIG_DFL)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])",
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    ],
)
def test_programs_that_change_the_ground(run, before):
    lines = run(
        f"""
        main:
        {before}
        print(run(ctx), run(ctx, sys.exit, (3,)))
        p = start(ctx, len, (bytes(2_000_000),))
        os.kill(server(), signal.SIGKILL)
        print(run(ctx))
        p.join(20)
        print(p.is_alive())
        """
    )
    assert lines == ["0 3", "0", "False"]


def test_nothing_is_left_by_many(run):
    """No descriptor, no zombie; here, in the server, or in a process."""
    lines = run(
        """
        def tell(q): q.put(sorted(os.readlink(f"/proc/self/fd/{fd}").partition(":")[0]
            for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")))
        main:
        q = ctx.SimpleQueue()
        secret = open("secret", "w")
        os.set_inheritable(secret.fileno(), True)
        def round():
            ps = [start(ctx, tell, (q,)) for _ in range(5)]
            told = [q.get() for _ in range(5)]
            for p in ps: p.join()
            for p in ps: p.close()
            wait_until(lambda: descriptors(server()) == 7)
            return told, descriptors("self")
        first = round()
        for _ in range(10):
            last = round()
        print(first == last, last)
        assert "secret" not in str(last)
        print(first[0][0])
        """
    )
    assert lines[0].startswith("True")


def test_exit_code_is_seen_by_a_forked_child(run):
    """It asks without taking the answer away."""
    lines = run(
        """
        main:
        p = start(ctx, sys.exit, (7,))
        from multiprocessing.connection import wait
        wait([p.sentinel], 20)
        if (pid := os.fork()) == 0:
            os._exit(p.exitcode)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        p.join()
        print(p.exitcode)
        """
    )
    assert lines == ["7", "7"]


def test_sentinels_of_many(run):
    lines = run(
        """
        from multiprocessing.connection import wait
        main:
        go = ctx.Event()
        ps = {(p := start(ctx, go.wait)).sentinel: p for _ in range(60)}
        assert wait(list(ps), 0) == []
        go.set()
        left = set(ps)
        while left:
            for fd in wait(list(left), 20):
                assert ps[fd].exitcode == 0
                left.remove(fd)
        print(len(ps))
        """
    )
    assert lines == ["60"]


def test_a_killed_program(run):
    """Daemonic children end with it, others go on; the server ends with the last of them."""
    done = run(
        """
        def work(q, name):
            q.put((name, os.getpid()))
            if name == "daemon": time.sleep(600)
            time.sleep(1)
            open("went-on", "w").close()
        main:
        q = ctx.SimpleQueue()
        start(ctx, work, (q, "daemon"), daemon=True)
        start(ctx, work, (q, "child"))
        pids = dict(q.get() for _ in range(2))
        print(pids["daemon"], pids["child"], server(), flush=True)
        os.kill(os.getpid(), 9)
        """,
        check=False,
    )
    assert done.returncode == -9
    from workers import is_gone, wait_until

    daemon, child, server = map(int, done.stdout.split())
    wait_until(lambda: is_gone(daemon))
    wait_until(lambda: is_gone(child) and is_gone(server))


def test_a_program_killed_while_it_starts_processes(run, tmp_path):
    """Nothing of it stays."""
    done = run(
        """
        main:
        ctx.set_forkserver_preload([])
        run(ctx)
        print(server(), flush=True)
        threading.Timer(float(os.environ["AFTER"]), os.kill, (os.getpid(), 9)).start()
        while True:
            start(ctx, len, (bytes(300_000),)).join()
        """,
        check=False,
        env={"AFTER": "0.1"},
    )
    assert (done.returncode, done.stderr) == (-9, "")
    from workers import is_gone, wait_until

    wait_until(lambda: is_gone(int(done.stdout)))


def test_process_that_nobody_waits_for(run):
    """The server reaps it."""
    lines = run(
        """
        main:
        p = start(ctx)
        pid = p.pid
        del p
        import multiprocessing
        multiprocessing.process._children.clear()
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"))
        print("gone")
        """
    )
    assert lines == ["gone"]


def test_without_pidfds(run):
    """As on other systems: the line takes their place."""
    lines = run(
        """
        from multiprocessing.connection import wait
        import multiprocessing
        def watch(q):
            parent = multiprocessing.parent_process()
            q.put(parent.is_alive())
            parent.join(20)
            os.write(1, b"ended %d\\n" % parent.is_alive())
        main:
        from procfast.native import popen_forkserver
        def none(): raise OSError(38, "none here")
        popen_forkserver.parent_open = none
        ctx.set_forkserver_preload(["lacks"])
        print(run(ctx), run(ctx, sys.exit, (3,)), run(ctx, len, (bytes(2_000_000),)))
        p = start(ctx, time.sleep, (60,))
        p.join(0.1)
        print(p.is_alive(), p.exitcode, wait([p.sentinel], 0))
        p.terminate()
        print(wait([p.sentinel], 20) == [p.sentinel], p.exitcode)
        p.terminate()
        q = ctx.SimpleQueue()
        p = start(ctx, watch, (q,))
        print(q.get(), flush=True)
        os._exit(0)
        """,
        lacks="""
        import os
        from procfast.native import forkserver_process
        def none(): raise OSError(38, "none here")
        forkserver_process.parent_open = none
        """,
    )
    assert lines == ["0 3 0", "True None []", "True -15", "True", "ended 0"]


def test_server_killed_at_random(run):
    """Four threads start processes, a fifth kills servers: each process runs once, and no start fails."""
    kills = max(5, KILLS // 25)
    lines = run(
        """
        import collections, random
        def work(fd, number): os.write(fd.fileno(), b"%d " % number)
        main:
        ctx.set_forkserver_preload([])
        rng = random.Random(int(os.environ["SEED"]))
        kills = int(os.environ["KILLS"])
        import socket
        out, into = socket.socketpair()
        codes, failed, done = {}, [], threading.Event()
        def starter(first):
            number = first
            while not done.is_set():
                try:
                    p = start(ctx, work, (into, number))
                except OSError as error:
                    failed.append(error)
                else:
                    p.join(30)
                    codes[number] = p.exitcode
                    p.close()
                number += 4
        threads = [threading.Thread(target=starter, args=(i,)) for i in range(4)]
        run(ctx, work, (into, 10**6))
        for t in threads: t.start()
        texts = []
        reader = threading.Thread(target=lambda: [texts.append(x) for x in iter(lambda: out.recv(65536), b"")])
        reader.start()
        from procfast.native import forkserver
        for _ in range(kills):
            victim = forkserver._server
            time.sleep(rng.random() * 0.01)
            os.kill(victim.pid, 9)
            wait_until(lambda: forkserver._server is not victim and forkserver._server.answered)
        done.set()
        for t in threads: t.join()
        into.shutdown(socket.SHUT_RDWR)
        reader.join()
        ran = collections.Counter(map(int, b"".join(texts).split()))
        del ran[10**6]
        print(set(codes.values()) <= {0, 255}, max(ran.values()), sorted(set(ran) - set(codes)))
        print([number for number, code in codes.items() if code == 0 and number not in ran])
        print(len(codes) > kills, failed)
        """,
        env={"SEED": str(SEED), "KILLS": str(kills)},
    )
    assert lines == ["True 1 []", "[]", "True []"], f"PROCFAST_SEED={SEED}"
