"""Start method forkserver: what its processes find, and what becomes of it when its server dies."""

import multiprocessing
import os
import pickle
import py_compile
import re
import signal
import socket
import textwrap

import pytest
import workers


@pytest.fixture
def server(backend):
    """A context of this start method."""
    return backend.context("forkserver")


@pytest.fixture
def run(backend, tmp_path, python):
    """Runs a program of which `ctx` is the context; answers what it printed, line by line.

    What stands in `modules` it can import. Its main part is what comes after the line `main:`.
    """

    def run(text: str, modules: dict[str, str] | None = None, *args: str, env=None) -> list[str]:
        for name, source in (modules or {}).items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        head, _, main = textwrap.dedent(text).partition("main:\n")
        (tmp_path / "program.py").write_text(
            f"{head}\n"
            "if __name__ == '__main__':\n"
            "    import os, signal, sys, threading, time\n"
            "    import procfast\n"
            f"    ctx = procfast.get_context('forkserver', backend={backend.name!r})\n"
            + textwrap.indent(main, "    ")
        )
        return python("program.py", *args, env=env).stdout.splitlines()

    return run


RUN = """
def nothing(): pass
def run(ctx, count=1, target=nothing, args=()):
    for _ in range(count):
        p = ctx.Process(target=target, args=args)
        p.start()
        p.join(30)
        assert p.exitcode == 0, p.exitcode
def server_of(ctx):
    if ctx.backend == "stdlib":
        from multiprocessing import forkserver
        return forkserver._forkserver._forkserver_pid
    from procfast.native import forkserver
    return forkserver._server.pid
"""


# -- what a process finds -------------------------------------------------------------------------


def test_main_runs_again(run):
    """Its body runs in each process, as `__mp_main__`, with the program's arguments, path and directory."""
    lines = run(
        RUN
        + """
import multiprocessing, os, sys
print("body", __name__, sys.argv[1:], os.getcwd(), "extra" in sys.path, flush=True)
main:
sys.path.append("extra")
os.makedirs("elsewhere", exist_ok=True)
os.chdir("elsewhere")
run(ctx, 2)
""",
        None,
        "a",
        "ü",
    )
    here = lines[0].split()[4]
    assert lines == [
        f"body __main__ ['a', 'ü'] {here} False",
        f"body __mp_main__ ['a', 'ü'] {here}/elsewhere True",
        f"body __mp_main__ ['a', 'ü'] {here}/elsewhere True",
    ]


def test_main_of_a_package(run, python, tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "helper.py").write_text("def f(): print('f', flush=True)\n")
    lines = run("from package import helper\nmain:\npass\n")
    program = (tmp_path / "program.py").read_text()
    (tmp_path / "package" / "tool.py").write_text(
        program.replace(
            "from package import helper", "from .helper import f\nprint(__name__, flush=True)"
        )
        + "    p = ctx.Process(target=f); p.start(); p.join(); print(p.exitcode)\n"
    )
    lines = python("-m", "package.tool").stdout.splitlines()
    assert lines == ["__main__", "__mp_main__", "f", "0"]


@pytest.mark.parametrize("then", ["pass", "os.unlink(__file__)"])
def test_compiled_program(run, python, tmp_path, then):
    """There is no source to be read; and in the end no file."""
    run("def f(): print('f', flush=True)\nmain:\npass\n")
    more = (
        "    p = ctx.Process(target=f); p.start(); p.join(); print(p.exitcode, flush=True)\n"
        f"    {then}\n"
        "    p = ctx.Process(target=f); p.start(); p.join(); print(p.exitcode)\n"
    )
    with open(tmp_path / "program.py", "a") as file:
        file.write(more)
    expected = ["f", "0", *(["f", "0"] if then == "pass" else ["1"])]
    py_compile.compile(str(tmp_path / "program.py"), str(tmp_path / "program.pyc"))
    assert python("program.py").stdout.split() == expected
    assert python("program.pyc").stdout.split() == expected


def test_program_without_a_file(backend, python):
    done = python(
        "-c",
        "import procfast, workers\n"
        f"ctx = procfast.get_context('forkserver', backend={backend.name!r})\n"
        "p = ctx.Process(target=workers.exit_with, args=(4,)); p.start(); p.join(); print(p.exitcode)\n",
    )
    assert done.stdout == "4\n"


def test_error_in_main(run):
    """A main module that fails, or ends, when it is run again: the process ends with 1, and says why."""
    text = """
import sys
if __name__ != "__main__":
    {}
def f(): pass
main:
p = ctx.Process(target=f)
p.start(); p.join(); print(p.exitcode)
"""
    assert run(text.format("raise ValueError('on purpose')")) == ["1"]
    assert run(text.format("sys.exit(3)")) == ["1"]
    assert run(text.format("import os; os._exit(3)")) == ["3"]
    assert run(text.format("import os; os.kill(os.getpid(), 9)")) == ["-9"]
    assert run(text.format("import there_is_no_such_module")) == ["1"]


def test_signals_and_stdin(run):
    lines = run(
        """
import signal, sys
def f():
    print(signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL)
    print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    print(signal.pthread_sigmask(signal.SIG_BLOCK, []), repr(sys.stdin.read()), flush=True)
main:
p = ctx.Process(target=f)
p.start(); p.join(); print(p.exitcode)
"""
    )
    assert lines == ["True", "True", "set() ''", "0"]


def test_sigint_ignored_by_the_program(run):
    lines = run(
        """
import signal
def f(): print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN, flush=True)
main:
signal.signal(signal.SIGINT, signal.SIG_IGN)
p = ctx.Process(target=f)
p.start(); p.join()
"""
    )
    assert lines == ["True"]


def test_interrupt_of_the_group(run):
    """Ctrl-C reaches the processes, and not the server, which goes on."""
    lines = run(
        """
def f(q):
    try:
        q.put(1)
        import time; time.sleep(60)
    except KeyboardInterrupt:
        q.put("interrupted")
def g(): pass
main:
q = ctx.SimpleQueue()
ps = [ctx.Process(target=f, args=(q,)) for _ in range(3)]
os.setpgid(0, 0)
for p in ps: p.start()
for p in ps: q.get()
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.killpg(0, signal.SIGINT)
print(*[q.get() for p in ps])
for p in ps: p.join()
p = ctx.Process(target=g); p.start(); p.join(); print(p.exitcode)
"""
    )
    assert lines == ["interrupted interrupted interrupted", "0"]


def test_no_descriptor_of_the_parent(run):
    """Inheritable or not: only those that were given to it."""
    lines = run(
        """
import os, socket
def f(given):
    there = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    print(sum("secret" in os.readlink(fd) for fd in there if os.path.exists(fd)))
    print(given.getsockname()[0], flush=True)
main:
files = []
for i in range(4):
    files.append(open(f"secret{i}", "w"))
    os.set_inheritable(files[-1].fileno(), i % 2 == 1)
with socket.create_server(("127.0.0.1", 0)) as given:
    for i in range(2):
        p = ctx.Process(target=f, args=(given,)); p.start(); p.join()
"""
    )
    assert lines == ["0", "127.0.0.1"] * 2


def test_passes_descriptors(server):
    a, b = socket.socketpair()
    q = server.SimpleQueue()
    p = server.Process(target=workers.echo_socket, args=(a, q))
    p.start()
    a.close()
    b.sendall(b"over the socket")
    assert q.get() == b"over the socket"
    p.join(20)
    assert p.exitcode == 0
    b.close()


def test_too_many_descriptors(server):
    sockets = [socket.socket() for _ in range(260)]
    p = server.Process(target=workers.nothing, args=(sockets,))
    with pytest.raises(ValueError, match="too many fds"):
        p.start()
    for s in sockets:
        s.close()
    again = server.Process(target=workers.nothing)
    again.start()
    again.join(20)
    assert again.exitcode == 0


def test_two_hundred_descriptors(server):
    sockets = [socket.socket() for _ in range(200)]
    p = server.Process(target=workers.exit_with_length, args=(sockets,))
    p.start()
    p.join(20)
    assert p.exitcode == 200
    for s in sockets:
        s.close()


def test_big_arguments(server):
    p = server.Process(target=workers.exit_with_length, args=(bytes(20_000_001),))
    p.start()
    p.join(20)
    assert p.exitcode == 20_000_001 % 256


def test_argument_that_cannot_be_loaded(server, capfd):
    p = server.Process(target=workers.nothing, args=(workers.Unloadable(),))
    p.start()
    p.join(20)
    assert p.exitcode == 1


def test_unpicklable_argument(server):
    p = server.Process(target=workers.nothing, args=(lambda: 0,))
    with pytest.raises((AttributeError, pickle.PicklingError)):
        p.start()
    assert p.exitcode is None and p not in multiprocessing.active_children()


def test_children_of_children(run):
    lines = run(
        """
import multiprocessing, os, sys
import procfast
def f(backend, depth):
    print(depth, multiprocessing.parent_process().pid == PARENT or depth, flush=True)
    if depth:
        ctx = procfast.get_context("forkserver", backend=backend)
        p = ctx.Process(target=f, args=(backend, depth - 1)); p.start(); p.join()
        print(p.exitcode, flush=True)
PARENT = 0
main:
p = ctx.Process(target=f, args=(ctx.backend, 2)); p.start(); p.join()
print(p.exitcode)
"""
    )
    assert [line.split()[0] for line in lines] == ["2", "1", "0", "0", "0", "0"]


# -- preload --------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [[b"os"], [None], ["os", 5]])
def test_wrong_preload(server, names):
    with pytest.raises(TypeError, match="module_names must be a list of strings"):
        server.set_forkserver_preload(names)


def test_named_modules_are_imported_once(run):
    lines = run(
        RUN
        + """
def f():
    import os, helper
    print(helper.PID == os.getpid(), helper.PID, flush=True)
main:
ctx.set_forkserver_preload(["there_is_no_such_module", "helper"])
run(ctx, 2, f)
""",
        {"helper": "import os\nPID = os.getpid()"},
        env={"PYTHONPATH": os.pathsep.join([".", os.environ["PYTHONPATH"]])},
    )
    assert lines[0] == lines[1] and lines[0].startswith("False")


def test_nothing_is_preloaded(run):
    lines = run(
        RUN
        + """
import helper
main:
ctx.set_forkserver_preload([])
run(ctx, 2)
""",
        {"helper": "import os\nprint(os.getpid(), flush=True)"},
    )
    assert len(lines) == len(set(lines)) == 3


# -- the server dies ------------------------------------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_server_killed(run, signum):
    """The next start launches it again."""
    lines = run(
        RUN
        + f"""
def f(): print(os.getppid(), flush=True)
import os
main:
for _ in range(3):
    run(ctx, 1, f)
    os.kill(server_of(ctx), {int(signum)})
    os.waitid(os.P_PID, server_of(ctx), os.WEXITED | os.WNOWAIT)
run(ctx, 2)
print("end")
"""
    )
    assert len(set(lines)) == 4 and lines[-1] == "end"


def test_ends_with_the_program(run, tmp_path):
    """Killed or not, a program leaves no server, once its last process has ended."""
    for end in ("pass", "os.kill(os.getpid(), 9)"):
        text = f"""
import os, sys, time
def f(q):
    q.put(os.getppid())
    time.sleep(0.2)
    open("went-on", "w").close()
main:
q = ctx.SimpleQueue()
p = ctx.Process(target=f, args=(q,)); p.start()
print(q.get(), p.pid, flush=True)
{end}
"""
        try:
            lines = run(text)
        except AssertionError as error:  # it was killed
            lines = re.findall(r"\d+ \d+", str(error))
        for pid in map(int, lines[0].split()):
            workers.wait_until(lambda pid=pid: workers.is_gone(pid))
        assert (tmp_path / "went-on").exists()
        (tmp_path / "went-on").unlink()
