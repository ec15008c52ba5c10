"""Start method spawn: a process in a fresh interpreter, whatever made it."""

import os
import signal
import sys
import time

import pytest
import spawn_workers
import workers
from conftest import _CELLS

pytestmark = pytest.mark.parametrize(
    "cell", [cell for cell in _CELLS if cell.method == "spawn"], ids=str, indirect=True
)

DEADLINE = 30.0


def run(ctx, target, *args, **options):
    p = ctx.Process(target=target, args=args, **options)
    p.start()
    p.join(DEADLINE)
    assert p.exitcode == 0
    return p


@pytest.fixture(params=["once", "again and again"])
def see(ctx, tmp_path, request):
    """What a child sees of itself: one of the first to be started, and one of many."""

    def look(*args, **options) -> dict:
        path = str(tmp_path / "seen")
        if request.param == "again and again":
            for _ in range(2):
                run(ctx, workers.nothing)
            time.sleep(0.1)
        run(ctx, spawn_workers.report, path, *args, **options)
        return spawn_workers.told(path)

    return look


def test_inherits_what_a_new_program_does(see, monkeypatch, tmp_path):
    monkeypatch.setenv("SPAWN_TEST", "value")
    monkeypatch.chdir(tmp_path)
    umask = os.umask(0o027)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    ignored = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        seen = see()
        here = spawn_workers.seen()
    finally:
        signal.signal(signal.SIGUSR1, ignored)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.umask(umask)
    assert here["environ"].items() <= seen["environ"].items()  # C code may have set more
    assert seen["umask"] == 0o027
    assert signal.SIGUSR2 in seen["mask"]
    assert seen["parent"] == os.getpid()
    assert seen["pid"] != os.getpid()
    for field in (
        "cwd", "root", "limits", "nice", "scheduler", "affinity", "ioprio", "mask", "group",
        "session", "terminal", "namespaces", "cgroup", "oom", "core", "label", "personality",
        "executable", "argv",
    ):  # fmt: skip
        assert json_like(seen[field]) == json_like(here[field]), field
    for field in (
        "Uid",
        "Gid",
        "Groups",
        "CapEff",
        "CapBnd",
        "NoNewPrivs",
        "Seccomp",
        "Cpus_allowed",
    ):
        assert seen["status"][field] == here["status"][field], field
    assert int(seen["status"]["SigIgn"], 16) >> (signal.SIGUSR1 - 1) & 1


def json_like(value):
    """Tuples travel as lists."""
    if isinstance(value, dict):
        return {key: json_like(item) for key, item in value.items()}
    return [json_like(item) for item in value] if isinstance(value, list | tuple) else value


def test_is_a_fresh_interpreter(see, monkeypatch):
    """Nothing of the parent's memory, no thread, none of its handlers and modules."""
    old = signal.signal(signal.SIGUSR1, lambda *args: None)
    monkeypatch.setitem(sys.modules, "not_a_module", sys)
    try:
        seen = see()
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert seen["threads"] == ["MainThread"]
    assert "not_a_module" not in seen["modules"]
    assert "pytest" not in seen["modules"]
    assert seen["handlers"][signal.SIGUSR1 - 1] == str(signal.SIG_DFL)
    assert seen["status"]["SigPnd"] == seen["status"]["ShdPnd"] == "0" * 16
    assert seen["orig_argv"][-1] == "--multiprocessing-fork"
    assert seen["orig_argv"][-2].startswith(
        "from multiprocessing.spawn import spawn_main; spawn_main("
    )


def test_no_descriptor_but_what_is_passed(see):
    """By the same numbers, and nothing else, inheritable or not."""
    r, w = os.pipe()
    other = os.dup(w)
    os.set_inheritable(other, True)
    try:
        seen = see(spawn_workers.Passed(r))
    finally:
        for fd in (r, w, other):
            os.close(fd)
    assert str(r) in seen["descriptors"]
    assert (
        str(w) not in seen["descriptors"]
        or seen["identities"][str(w)] != seen["identities"][str(r)]
    )
    held = [
        fd
        for fd, what in seen["identities"].items()
        if what and what[:2] == seen["identities"][str(r)][:2]
    ]
    assert held == [str(r)]


@pytest.mark.parametrize("count", [1, 7, 30])
def test_descriptors_keep_their_numbers(ctx, tmp_path, count):
    pipes = {}
    for _ in range(count):
        r, w = os.pipe()
        os.write(w, f"through {r}".encode())
        pipes[r] = w
    try:
        for name in "abc":
            path = tmp_path / name
            for w in pipes.values():
                os.write(w, b".")
            run(ctx, spawn_workers.read_all, str(path), *map(spawn_workers.Passed, reversed(pipes)))
            found = {int(fd): text for fd, text in spawn_workers.told(str(path)).items()}
            expected = {r: f"through {r}." if name == "a" else "." for r in pipes}
            assert found == expected
    finally:
        for pair in pipes.items():
            for fd in pair:
                os.close(fd)


def test_writes_where_the_parent_writes_now(ctx, tmp_path):
    """The files behind 0, 1 and 2 are those of the moment of the start, positions included."""
    path = tmp_path / "out"
    stdout = os.dup(1)
    try:
        for i in range(4):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
            os.lseek(fd, 0, os.SEEK_END)
            os.dup2(fd, 1)
            os.close(fd)
            run(ctx, spawn_workers.say, f"line {i}")
            run(ctx, spawn_workers.say, f"again {i}")
            os.dup2(stdout, 1)
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
    assert path.read_text().split("\n")[:-1] == [
        f"{what} {i}" for i in range(4) for what in ("line", "again")
    ]


def test_large_arguments(ctx, tmp_path):
    """More than a pipe takes at once."""
    path = tmp_path / "length"
    for size in (10, 1 << 20):
        run(ctx, spawn_workers.length, str(path), spawn_workers.Big(size))
    assert path.read_text() == "10" + str(1 << 20)


def test_unpicklable(ctx):
    """start() raises, there is no process, and the next start works."""
    before = set(spawn_workers.descriptors())
    for _ in range(3):
        p = ctx.Process(target=workers.nothing, args=(workers.Unpicklable(),))
        with pytest.raises(Exception, match="on purpose: cannot be pickled"):
            p.start()
        assert p.pid is None
        run(ctx, workers.nothing).close()
    del p
    assert len(set(spawn_workers.descriptors()) - before) <= 3  # of a spare


def test_cannot_be_unpickled(ctx, capfd):
    p = ctx.Process(target=workers.nothing, args=(spawn_workers.Unloadable(),))
    p.start()
    p.join(DEADLINE)
    assert p.exitcode == 1
    assert "on purpose: cannot be unpickled" in capfd.readouterr().err


def test_killed_before_it_has_come_up(ctx):
    for _ in range(3):
        p = ctx.Process(target=workers.sleep_forever)
        p.start()
        p.kill()
        p.join(DEADLINE)
        assert p.exitcode == -signal.SIGKILL


NO_GUARD = """
import procfast, sys
ctx = procfast.get_context("spawn", backend=sys.argv[1])
p = ctx.Process(target=print)
p.start()
p.join()
print(p.exitcode)
"""


def test_main_module_without_a_guard(ctx, python, script):
    done = python(script(NO_GUARD), ctx.backend)
    assert done.stdout == "1\n"
    assert "before the\n        current process has finished its bootstrapping phase" in done.stderr


MAIN = """
import os, sys
with open("imported", "a") as file:
    file.write(__name__ + "\\n")
def told():
    with open("told", "a") as file:
        file.write(repr((__name__, sys.argv[1:], sys.modules["__main__"] is sys.modules["__mp_main__"])) + "\\n")
if __name__ == "__main__":
    import procfast
    ctx = procfast.get_context("spawn", backend=sys.argv[1])
    for _ in range(4):
        p = ctx.Process(target=told)
        p.start()
        p.join()
        assert p.exitcode == 0
"""


@pytest.mark.parametrize("how", ["path", "module"])
def test_main_module_is_imported_once_each(ctx, python, script, tmp_path, how):
    path = script(MAIN, "mainly.py")
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])}
    python(*([path] if how == "path" else ["-m", "mainly"]), ctx.backend, "x", env=env)
    assert (tmp_path / "imported").read_text().split() == ["__main__", *["__mp_main__"] * 4]
    told = (tmp_path / "told").read_text().splitlines()
    assert told == [repr(("__mp_main__", [ctx.backend, "x"], True))] * 4


def test_exit_functions_and_finalizers_run(ctx, python, script, tmp_path):
    """As in any interpreter that ends: exit functions, then what the modules hold."""
    path = script(
        """
import atexit, os, sys
import spawn_workers
class Noisy:
    def __init__(self, word):
        self.word = word
    def __del__(self):
        os.write(1, self.word)
def leave():
    atexit.register(os.write, 1, b"exit ")
    spawn_workers.held = Noisy(b"module ")
    cycle = Noisy(b"cycle ")
    cycle.cycle = cycle
if __name__ == "__main__":
    import procfast
    ctx = procfast.get_context("spawn", backend=sys.argv[1])
    for _ in range(4):
        p = ctx.Process(target=leave)
        p.start()
        p.join()
"""
    )
    words = python(path, ctx.backend).stdout.split()
    assert words[::3] == ["exit"] * 4
    assert sorted(words) == ["cycle"] * 4 + ["exit"] * 4 + ["module"] * 4


def test_other_executable(ctx, tmp_path, script, python):
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\nSPAWN_TEST=other exec "{sys.executable}" "$@"\n')
    other.chmod(0o700)
    path = script(
        """
import os, sys
def told():
    print(os.environ.get("SPAWN_TEST"), flush=True)
if __name__ == "__main__":
    import procfast
    ctx = procfast.get_context("spawn", backend=sys.argv[1])
    for executable in (sys.executable, sys.argv[2], sys.executable):
        ctx.set_executable(executable)
        for _ in range(2):
            p = ctx.Process(target=told)
            p.start()
            p.join()
"""
    )
    told = python(path, ctx.backend, str(other)).stdout.split()
    assert told == ["None"] * 2 + ["other"] * 2 + ["None"] * 2


def test_freeze_support_does_nothing_here(ctx):
    ctx.freeze_support()


def test_daemon_sees_its_flag(ctx, see):
    assert see(daemon=True)["parent"] == os.getpid()
