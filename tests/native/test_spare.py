"""The spare interpreter of start method spawn: taken where a fresh one would be the same, and only there."""

import contextlib
import ctypes
import json
import multiprocessing
import os
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time
import types

import pytest
import spawn_workers
import workers

from procfast.native import popen_spawn, spare, spare_child

DEADLINE = 30.0  # seconds for what takes a moment


@pytest.fixture
def ctx():
    import procfast

    return procfast.get_context("spawn", backend="native")


def until(true, what: str = "it never came") -> None:
    end = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.002)


def run(ctx, target=workers.nothing, *args, **options) -> int:
    """Start and join it; its pid."""
    p = ctx.Process(target=target, args=args, **options)
    p.start()
    pid = p.pid
    p.join(DEADLINE)
    assert p.exitcode == 0
    p.close()
    return pid


def waits(pid: int) -> bool:
    """Whether a spare has come up: it holds nothing of ours then, and sleeps."""
    found = spawn_workers.descriptors(pid)
    return found.get("2") == "/dev/null" and spawn_workers.status(pid)["State"].startswith("S")


@pytest.fixture
def kept(ctx):
    """Has a spare that waits; what answers is its pid."""

    def have() -> int:
        while not spare._spares:
            run(ctx)
        pid = spare._spares[0].pid
        until(lambda: waits(pid))
        return pid

    spare.end()  # of a test before: the name of the test is in the environment
    yield have
    spare.end()


@pytest.fixture
def see(ctx, tmp_path):
    """What a child sees of itself."""

    def look(*args, **options) -> dict:
        path = str(tmp_path / "seen")
        run(ctx, spawn_workers.report, path, *args, **options)
        return spawn_workers.told(path)

    return look


# -- taken ----------------------------------------------------------------------------------------


def test_taken(ctx, kept):
    for _ in range(3):
        pid = kept()
        assert run(ctx) == pid
    assert len(spare._spares) == 1
    assert spare._spares[0].pid != pid


PACE = """
import procfast, sys, time
from procfast.native import spare
if __name__ == "__main__":
    ctx = procfast.get_context("spawn", backend="native")
    processes = []
    for _ in range(4):
        kept = [s.pid for s in spare._spares]
        p = ctx.Process(target=time.sleep, args=(0,))
        p.start()
        print([p.pid] == kept, len(spare._spares), end=" ")
        if sys.argv[1] == "joined":
            p.join()
        print(len(spare._spares))
        processes.append(p)
"""


def test_none_before_the_second_start(python, script):
    """Launched when a process has been joined, so that it keeps nobody from the processor; else after the start."""
    path = script(PACE)
    told = python(path, "joined").stdout.splitlines()
    assert told == ["False 0 0", "False 0 1", "True 0 1", "True 0 1"]
    told = python(path, "not joined").stdout.splitlines()
    assert told == ["False 0 0", "False 1 1", "True 1 1", "True 1 1"]


def test_taken_while_it_comes_up(ctx, kept):
    kept()
    run(ctx)
    [coming] = spare._spares
    assert run(ctx) == coming.pid


def test_waits_at_no_cost_and_holds_nothing(ctx, kept):
    r, w = os.pipe()
    os.set_inheritable(w, True)
    try:
        pid = kept()
        held = sorted(what.partition(":[")[0] for what in spawn_workers.descriptors(pid).values())
        assert held == ["/dev/null"] * 3 + ["anon_inode:[pidfd]".partition(":[")[0], "socket"]

        def used() -> str:
            return spawn_workers.text_of(f"/proc/{pid}/schedstat")

        before = used()
        time.sleep(0.3)
        assert used() == before
        assert spawn_workers.status(pid)["Threads"] == "1"
    finally:
        os.close(r)
        os.close(w)


def test_not_among_the_children(ctx, kept):
    pid = kept()
    assert pid not in [child.pid for child in multiprocessing.active_children()]


# What a child may see of having been a spare; docs/migrating.md names it.
OWN = {"procfast.native.spare_child"}

SIGHT = """
import os, sys, time
import spawn_workers
from spawn_workers import Passed
if __name__ == "__main__":
    import procfast
    from procfast.native import spare
    ctx = procfast.get_context("spawn", backend="native")
    path, daemon = sys.argv[1], sys.argv[2] == "daemon"
    q = ctx.Queue()
    r, w = os.pipe()
    for i in range(4):
        pids = [s.pid for s in spare._spares]
        p = ctx.Process(target=spawn_workers.report, args=(f"{path}.{i}", q, Passed(r)), daemon=daemon)
        p.start()
        p.join()
        print(p.exitcode, p.pid in pids)
        while spare._spares and spawn_workers.descriptors(spare._spares[0].pid).get("2") != "/dev/null":
            time.sleep(0.01)
"""


@pytest.mark.parametrize("daemon", ["daemon", "child"])
@pytest.mark.parametrize(
    "flags", [[], ["-W", "error", "-X", "utf8", "-B", "-O"]], ids=["plain", "flags"]
)
def test_a_child_sees_what_a_cold_one_sees(python, script, tmp_path, daemon, flags):
    path = str(tmp_path / "seen")
    done = python(*flags, script(SIGHT), path, daemon)
    assert done.stdout.split("\n")[:4] == ["0 False", "0 False", "0 True", "0 True"], done
    assert done.stderr == ""
    cold, warm = spawn_workers.told(f"{path}.1"), spawn_workers.told(f"{path}.3")
    assert set(warm.pop("modules")) - OWN == set(cold.pop("modules"))
    del cold["pid"], warm["pid"]
    cold["identities"].popitem(), warm["identities"].popitem()  # the file that is being written
    # a pipe of its own for each process, by which it sees its parent end
    for seen in (cold, warm):
        seen["identities"] = [
            identity
            for fd, identity in seen["identities"].items()
            if seen["descriptors"][fd] != "pipe"
        ]
        # the numbers are those that the parent had free
        seen["orig_argv"] = [re.sub(r"=\d+", "=", word) for word in seen["orig_argv"]]
    assert warm == cold


def test_modules_that_have_come_since(ctx, kept, tmp_path, monkeypatch):
    """An interpreter remembers what was in a directory until the time of its last change is another."""
    monkeypatch.syspath_prepend(str(tmp_path))
    pid = kept()
    assert run(ctx) == pid  # with this sys.path
    pid = kept()
    times = tmp_path.stat()
    (tmp_path / "come_late.py").write_text("")
    os.utime(tmp_path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert run(ctx, spawn_workers.load, "come_late") == pid


def test_position_of_stdin(script, tmp_path):
    """An interpreter asks for it when it begins; the parent has moved it since."""
    file = tmp_path / "digits"
    file.write_text("0123456789")
    path = script(
        """
import os, sys, time
if __name__ == "__mp_main__":
    sys.stdin.buffer.seek(10)  # where the file was when the spare came up: the end
    print(sys.stdin.buffer.read(), flush=True)
def nothing():
    pass
if __name__ == "__main__":
    import procfast
    from procfast.native import spare
    ctx = procfast.get_context("spawn", backend="native")
    for position in (0, 1, 2, 4):
        os.lseek(0, position, os.SEEK_SET)
        kept = [s.pid for s in spare._spares]
        p = ctx.Process(target=nothing)
        p.start()
        p.join()
        print(kept == [p.pid], flush=True)
        while spare._spares and os.readlink(f"/proc/{spare._spares[0].pid}/fd/2") != "/dev/null":
            time.sleep(0.01)
"""
    )
    with open(file) as stdin:
        done = subprocess.run(
            [sys.executable, path], stdin=stdin, stdout=subprocess.PIPE, text=True, check=True
        )
    assert done.stdout.split() == [
        word for warm in ("False", "False", "True", "True") for word in ("b''", warm)
    ]


# -- anything else than a fresh interpreter would be ----------------------------------------------


@contextlib.contextmanager
def changed_environ():
    os.environ["SPARE_TEST"] = "1"
    yield "environ"
    del os.environ["SPARE_TEST"]


@contextlib.contextmanager
def changed_c_environ():
    libc = ctypes.CDLL(None)
    libc.setenv(b"SPARE_TEST", b"1", 1)
    yield "C environ"
    libc.unsetenv(b"SPARE_TEST")


@contextlib.contextmanager
def changed_environ_removed():
    value = os.environ.pop("PATH")
    yield "environ"
    os.environ["PATH"] = value


@contextlib.contextmanager
def changed_cwd():
    before = os.getcwd()
    os.chdir("/")
    yield "cwd"
    os.chdir(before)


@contextlib.contextmanager
def changed_umask():
    before = os.umask(0o027)
    yield "umask"
    os.umask(before)


@contextlib.contextmanager
def changed_limit():
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0 if soft else 4096, hard))
    yield "limits"
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


@contextlib.contextmanager
def changed_files_limit():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    yield "limits"
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def changed_ignored_signal():
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    yield "handlers"
    signal.signal(signal.SIGUSR2, before)


@contextlib.contextmanager
def changed_affinity():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(before)])
    yield "affinity"
    os.sched_setaffinity(0, before)


@contextlib.contextmanager
def changed_slack():
    libc = ctypes.CDLL(None)
    before = libc.prctl(30, 0, 0, 0, 0)
    libc.prctl(29, before + 1, 0, 0, 0)
    yield "prctl"
    libc.prctl(29, before, 0, 0, 0)


@contextlib.contextmanager
def changed_huge_pages():
    libc = ctypes.CDLL(None)
    libc.prctl(41, 1, 0, 0, 0)
    yield "prctl"
    libc.prctl(41, 0, 0, 0, 0)


@contextlib.contextmanager
def changed_personality():
    libc = ctypes.CDLL(None)
    before = libc.personality(0xFFFFFFFF)
    libc.personality(before | 0x0040000)  # ADDR_NO_RANDOMIZE
    yield "personality"
    libc.personality(before)


@contextlib.contextmanager
def changed_oom_score():
    before = spawn_workers.text_of("/proc/self/oom_score_adj")
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(int(before) + 1))
    yield "oom"
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(before)


@contextlib.contextmanager
def changed_core_filter():
    before = spawn_workers.text_of("/proc/self/coredump_filter")
    with open("/proc/self/coredump_filter", "w") as file:
        file.write("0x" + ("11" if before.strip() != "00000011" else "33"))
    yield "core"
    with open("/proc/self/coredump_filter", "w") as file:
        file.write("0x" + before)


@contextlib.contextmanager
def changed_stdout(tmp_path="/dev/null"):
    before = os.dup(1)
    other = os.open("/dev/null", os.O_WRONLY)
    os.dup2(other, 1)
    os.close(other)
    yield "identities"
    os.dup2(before, 1)
    os.close(before)


@contextlib.contextmanager
def changed_io_priority():
    libc = ctypes.CDLL(None)
    numbers = (251, 252) if os.uname().machine == "x86_64" else (30, 31)
    before = libc.syscall(numbers[1], 1, 0)
    libc.syscall(numbers[0], 1, 0, 2 << 13 | 7)
    yield "ioprio"
    libc.syscall(numbers[0], 1, 0, before)


@contextlib.contextmanager
def changed_path():
    sys.path.append("/nowhere/at/all")
    yield "path"
    sys.path.remove("/nowhere/at/all")


@contextlib.contextmanager
def changed_flags():
    sys.warnoptions.append("ignore::FutureWarning")
    yield "warnings"
    sys.warnoptions.pop()


CHANGES = [value for name, value in list(globals().items()) if name.startswith("changed_")]


@pytest.mark.parametrize("changed", CHANGES, ids=lambda changed: changed.__name__[8:])
def test_cold_where_something_else_is_inherited(ctx, kept, see, changed):
    pid = kept()
    before = see()
    assert before["pid"] == pid
    pid = kept()
    with changed() as field:
        seen = see()
        assert seen["pid"] != pid
        assert seen[field] != before[field]
        assert not os.path.exists(f"/proc/{pid}")
        again = kept()  # one for the new state
        assert see()["pid"] == again
    assert see()["pid"] not in (pid, again)


def test_signal_mask_is_the_callers(ctx, kept, see):
    """It need not be a reason for a cold start: a spare is told."""
    pid = kept()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGINT])
    try:
        seen = see()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert seen["pid"] == pid
    assert {signal.SIGUSR1, signal.SIGINT} <= set(seen["mask"])
    pid = kept()
    seen = see()
    assert (seen["pid"], seen["mask"]) == (pid, sorted(map(int, before)))


def test_of_the_thread_that_starts(ctx, kept, see):
    """Threads have an affinity each."""
    pid = kept()
    found = {}

    def start() -> None:
        os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
        found.update(see())

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert found["pid"] != pid
    assert len(found["affinity"]) == 1


def test_installed_or_not(ctx, kept):
    import procfast

    pid = kept()
    procfast.install()
    try:
        assert run(ctx) != pid
        pid = kept()
        assert run(ctx) == pid
        pid = kept()
    finally:
        procfast.uninstall()
    assert run(ctx) != pid


def test_other_executables(ctx, kept, monkeypatch, tmp_path):
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\nSPARE_TEST=1 exec "{sys.executable}" "$@"\n')
    other.chmod(0o700)
    pid = kept()
    before = ctx.get_executable() if hasattr(ctx, "get_executable") else sys.executable
    ctx.set_executable(str(other))
    try:
        assert run(ctx) != pid
        assert run(ctx)
        assert spare._spares == []
    finally:
        ctx.set_executable(os.fsdecode(before))
    kept()
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert spare.key(sys.path) is None


@pytest.mark.parametrize("module", ["sitecustomize", "usercustomize"])
def test_none_beside_code_of_the_site(ctx, kept, monkeypatch, module):
    pid = kept()
    monkeypatch.setitem(sys.modules, module, sys)
    assert run(ctx) != pid
    assert run(ctx)
    assert spare._spares == []


def test_code_of_the_distribution(ctx, kept, monkeypatch, tmp_path):
    """Debian's Pythons have a sitecustomize beside the standard library, which each interpreter runs at its start."""
    library = tmp_path / "python3"
    library.mkdir()
    monkeypatch.setattr(os, "__file__", str(library / "os.py"))
    module = types.ModuleType("sitecustomize")
    module.__file__ = str(library / "sitecustomize.py")
    monkeypatch.setitem(sys.modules, "sitecustomize", module)
    spare.end()
    assert run(ctx) and kept() == run(ctx)
    pid = kept()
    (library / "sitecustomize.py").write_text("")
    assert run(ctx) != pid


def test_switched_off(ctx, kept, monkeypatch):
    pid = kept()
    monkeypatch.setenv("PROCFAST_SPARE", "0")
    assert run(ctx) != pid
    assert run(ctx)
    assert spare._spares == []
    assert not os.path.exists(f"/proc/{pid}")


# What can't be undone: in a program of its own. Where the kernel refuses, nothing has changed.
FOREVER = {
    "user": ("os.setresuid(1, 0, 0)", "status"),
    "group": ("os.setresgid(1, 0, 0)", "status"),
    "groups": ("os.setgroups([1, 2])", "status"),
    "bounding set": ("must(libc.prctl(24, 5, 0, 0, 0))", "status"),
    "ambient set": ("inheritable(); must(libc.prctl(47, 2, 5, 0, 0))", "status"),
    "no new privileges": ("must(libc.prctl(38, 1, 0, 0, 0))", "status"),
    "securebits": ("must(libc.prctl(28, 64, 0, 0, 0))", "prctl"),
    "memory": ("must(libc.prctl(65, 1, 0, 0, 0))", "prctl"),
    "nice": ("os.nice(1)", "nice"),
    "policy": ("os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))", "scheduler"),
    "session": ("os.setsid()", "session"),
    "process group": ("os.setpgid(0, 0)", "group"),
    "root": ("os.chroot(os.getcwd())", None),
    "namespace of processes": ("must(libc.unshare(0x20000000))", None),
    "namespace of names": ("must(libc.unshare(0x04000000))", "namespaces"),
    "namespace of mounts": ("must(libc.unshare(0x00020000))", "namespaces"),
    "namespace of the net": ("must(libc.unshare(0x40000000))", "namespaces"),
    "seccomp": ("seccomp()", "status"),
    "landlock": ("landlock()", "link"),
}

FOREVER_PROGRAM = """
import ctypes, os, sys, struct, time
import spawn_workers
libc = ctypes.CDLL(None, use_errno=True)

def must(rc):
    if rc < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return rc

def inheritable():
    head, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    must(libc.capget(head, data))
    data[2] |= 1 << 5
    must(libc.capset(head, data))

def seccomp():
    allow = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7FFF0000))
    must(libc.prctl(22, 2, struct.pack("HxxxxxxQ", 1, ctypes.addressof(allow)), 0, 0))

def landlock():
    fd = must(libc.syscall(444, struct.pack("Q", 1 << 12), 8, 0))  # no symbolic links
    must(libc.syscall(446, fd, 0))
    os.close(fd)

if __name__ == "__main__":
    import procfast
    from procfast.native import spare
    ctx = procfast.get_context("spawn", backend="native")
    path, what, startable = sys.argv[1:]
    if what in ("seccomp()", "landlock()"):  # they ask for it, and are to be seen by themselves
        libc.prctl(38, 1, 0, 0, 0)

    def start(name):
        p = ctx.Process(target=spawn_workers.report, args=(path + name,))
        p.start()
        pid = p.pid
        p.join()
        assert p.exitcode == 0
        return pid

    start("before"), start("before")
    [kept] = spare._spares
    while spawn_workers.descriptors(kept.pid).get("2") != "/dev/null":
        time.sleep(0.01)
    try:
        exec(what)
    except OSError:
        print("refused", end=" ")
    if startable == "yes":
        print("same" if start("after") == kept.pid else "other")
    else:
        print("same" if spare.key(kept._key[2]) == kept._key else "other")
"""


@pytest.mark.parametrize("what", FOREVER)
def test_cold_after_a_change_for_ever(python, script, tmp_path, what):
    change, field = FOREVER[what]
    path = str(tmp_path / "seen-")
    done = python(script(FOREVER_PROGRAM), path, change, "yes" if field else "no")
    *refused, found = done.stdout.split()
    assert found == ("same" if refused else "other")
    if field and not refused:
        before, after = (spawn_workers.told(path + name) for name in ("before", "after"))
        assert after[field] != before[field]


# -- killed, stopped, taken away ------------------------------------------------------------------


def test_killed_spare(ctx, kept, tmp_path):
    """The start is cold: neither lost nor done twice."""
    path = tmp_path / "started"
    for _ in range(10):
        pid = kept()
        os.kill(pid, signal.SIGKILL)
        run(ctx, spawn_workers.name_file, str(path))
        assert not os.path.exists(f"/proc/{pid}")
    pids = path.read_text().split()
    assert len(pids) == len(set(pids)) == 10


def test_killed_spare_that_comes_up(ctx, kept):
    kept()
    run(ctx)
    pid = spare._spares[0].pid
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert run(ctx) != pid
    assert not os.path.exists(f"/proc/{pid}")


@pytest.mark.parametrize("wait", [0.0, 0.001, 0.01, 0.05])
def test_killed_child(ctx, kept, wait):
    """What was a spare is a child: before, while and after it has got its task."""
    pid = kept()
    p = ctx.Process(target=workers.sleep_forever)
    p.start()
    assert p.pid == pid
    time.sleep(wait)
    os.kill(pid, signal.SIGKILL)
    p.join(DEADLINE)
    assert p.exitcode == -signal.SIGKILL
    assert run(ctx)


def test_killed_at_any_instant(ctx, kept, tmp_path):
    """Each start ends well or by the signal, once; what ended well has been done."""
    path = tmp_path / "started"
    good = 0
    for _ in range(int(os.environ.get("PROCFAST_KILLS", 100)) // 10):
        victim = kept()
        killer = threading.Timer(random.random() * 0.004, os.kill, (victim, signal.SIGKILL))
        p = ctx.Process(target=spawn_workers.name_file, args=(str(path),))
        killer.start()
        p.start()
        with contextlib.suppress(ProcessLookupError):
            p.join(DEADLINE)
        killer.cancel()
        killer.join()
        assert p.exitcode in (0, -signal.SIGKILL)
        good += p.exitcode == 0
        p.close()
    pids = path.read_text().split() if path.exists() else []
    assert len(pids) == len(set(pids))
    assert len(pids) >= good


def test_stopped_spare(ctx, kept):
    """Nobody waits for it for long; it is not left behind either."""
    pid = kept()
    os.kill(pid, signal.SIGSTOP)
    until(lambda: spawn_workers.status(pid)["State"].startswith("T"))
    began = time.monotonic()
    assert run(ctx) != pid
    assert time.monotonic() - began < DEADLINE / 2
    assert not os.path.exists(f"/proc/{pid}")


def test_interrupted_while_it_waits(ctx, kept, capfd):
    """Ctrl-C reaches it too: it says nothing, and the next child knows nothing of it."""
    pid = kept()
    os.kill(pid, signal.SIGINT)
    assert run(ctx) != pid
    assert not os.path.exists(f"/proc/{pid}")
    run(ctx)
    os.kill(spare._spares[0].pid, signal.SIGINT)  # while it comes up
    run(ctx)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_ends_by_signals_without_a_word(ctx, kept, number, capfd):
    old = signal.signal(number, signal.SIG_DFL)  # nohup has one of them ignored
    try:
        pid = kept()
        os.kill(pid, number)
        until(lambda: spawn_workers.status(pid).get("State", "Z")[0] == "Z")
    finally:
        signal.signal(number, old)
    assert run(ctx) != pid
    assert not os.path.exists(f"/proc/{pid}")
    assert capfd.readouterr().err == ""


def test_reaped_by_others(ctx, kept):
    pid = kept()
    os.kill(pid, signal.SIGKILL)
    assert os.waitpid(pid, 0) == (pid, signal.SIGKILL)
    assert run(ctx) != pid
    pid = kept()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    spare.end()


def test_sigchld_ignored(ctx, kept):
    old = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        pid = kept()
        p = ctx.Process(target=workers.nothing)
        p.start()
        p.join(DEADLINE)
        assert not p.is_alive() and p.pid == pid
        kept()
        spare.end()
    finally:
        signal.signal(signal.SIGCHLD, old)


def test_ended_is_reaped(ctx, kept):
    pid = kept()
    spare.end()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    spare.end()  # again does nothing


PARENT = """
import os, sys, time, procfast
from procfast.native import spare
if __name__ == "__main__":
    ctx = procfast.get_context("spawn", backend="native")
    for _ in range(2):
        p = ctx.Process(target=time.sleep, args=(0,))
        p.start()
        p.join()
    [kept] = spare._spares
    if "comes up" not in sys.argv:
        while os.readlink(f"/proc/{kept.pid}/fd/2") != "/dev/null":
            time.sleep(0.01)
    forked = 0
    if "fork" in sys.argv:
        os.dup(kept.filenos()[0])  # which no hook closes in the child
        forked = os.fork()
    if "fork" in sys.argv and not forked:
        os.close(1)
        os.close(2)
        time.sleep(600)
    print(kept.pid, forked, flush=True)
    if "exit" not in sys.argv:
        time.sleep(600)
"""


@pytest.mark.parametrize("args", [[], ["fork"], ["comes up"]], ids=" ".join)
def test_ends_with_a_killed_parent(script, args):
    """Though a forked child has all that its parent had."""
    parent = subprocess.Popen(
        [sys.executable, script(PARENT), *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    pid, forked = map(int, parent.stdout.readline().split())
    parent.kill()
    began = time.monotonic()
    until(lambda: spawn_workers.status(pid).get("State", "Z")[0] == "Z")
    assert time.monotonic() - began < DEADLINE / 2
    if forked:
        os.kill(forked, signal.SIGKILL)
    assert parent.communicate()[1] == ""


LEAVING = """
import os, sys, time, procfast, spawn_workers
from procfast.native import spare
if __name__ == "__main__":
    ctx = procfast.get_context("spawn", backend="native")
    for _ in range(2):
        p = ctx.Process(target=time.sleep, args=(0,))
        p.start()
        p.join()
    [kept] = spare._spares
    if sys.argv[1] == "waits":
        while os.readlink(f"/proc/{kept.pid}/fd/2") != "/dev/null":
            time.sleep(0.01)
    p = ctx.Process(target=spawn_workers.append, args=("done", "done"))
    p.start()
    print(p.pid == kept.pid, flush=True)
    os._exit(0)
"""


@pytest.mark.parametrize("how", ["waits", "comes up"])
def test_parent_leaves_after_the_start(python, script, tmp_path, how):
    """What was started is done, whatever becomes of the parent."""
    assert python(script(LEAVING), how).stdout == "True\n"
    until(lambda: (tmp_path / "done").exists() and (tmp_path / "done").read_text() == "done")


def test_ended_and_reaped_at_exit(python, script):
    done = python(script(PARENT), "exit")
    pid, _ = map(int, done.stdout.split())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert done.stderr == ""


def test_forked_children_forget_it(ctx, kept):
    pid = kept()
    filenos = spare._spares[0].filenos()
    r, w = os.pipe()
    if (child := os.fork()) == 0:
        left = [fd for fd in filenos if os.path.exists(f"/proc/self/fd/{fd}")]
        os.write(w, repr((left, spare._spares)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(r, 100) == b"([], [])"
    os.close(r)
    os.close(w)
    assert run(ctx) == pid


def test_closed_with_all_other_descriptors(python, script):
    """A program closes what it does not know; the numbers are other files' by then."""
    path = script(
        """
import os, socket, procfast
from procfast.native import spare
def nothing():
    pass
if __name__ == "__main__":
    ctx = procfast.get_context("spawn", backend="native")
    def start():
        p = ctx.Process(target=nothing)
        p.start()
        p.join()
        assert p.exitcode == 0
        p.close()
    start(), start()
    [kept] = spare._spares
    os.closerange(3, 64)
    pairs = [socket.socketpair() for _ in range(15)]
    for one, other in pairs:
        one.send(b"r"), other.send(b"r")
    start(), start(), start()
    for pair in pairs:
        assert [end.recv(1, socket.MSG_DONTWAIT) for end in pair] == [b"r", b"r"]
    try:
        print(os.waitpid(kept.pid, os.WNOHANG))
    except ChildProcessError:
        print("reaped")
"""
    )
    assert python(path).stdout == "reaped\n"


# -- what goes wrong at start ---------------------------------------------------------------------


def test_unpicklable(ctx, kept):
    """An error from start, and no child."""
    pid = kept()
    filenos = set(spawn_workers.descriptors())
    p = ctx.Process(target=workers.nothing, args=(workers.Unpicklable(),))
    with pytest.raises(Exception, match="on purpose: cannot be pickled"):
        p.start()
    assert p.pid is None
    assert not os.path.exists(f"/proc/{pid}")
    assert not set(spawn_workers.descriptors()) - filenos
    assert run(ctx)


def test_changed_while_it_is_pickled(ctx, kept, tmp_path):
    """A cold start execs after that."""
    pid = kept()
    path = str(tmp_path / "seen")
    before = os.umask(0o022)
    try:
        run(ctx, spawn_workers.report, path, ChangesUmask())
    finally:
        os.umask(before)
    seen = spawn_workers.told(path)
    assert seen["pid"] != pid
    assert seen["umask"] == 0o077


class ChangesUmask:
    def __reduce__(self):
        os.umask(0o077)
        return str, ()


def test_more_descriptors_than_a_message_takes(ctx, kept, tmp_path):
    pid = kept()
    r, w = os.pipe()
    os.write(w, b"x")
    fds = [os.dup(r) for _ in range(spare_child.MOST)]
    path = str(tmp_path / "seen")
    try:
        p = ctx.Process(target=spawn_workers.report, args=(path, *map(spawn_workers.Passed, fds)))
        p.start()
        p.join(DEADLINE)
        assert p.exitcode == 0 and p.pid != pid
        p.close()
        assert set(map(str, fds)) <= set(spawn_workers.told(path)["descriptors"])
    finally:
        for fd in (r, w, *fds):
            os.close(fd)


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_descriptors_by_their_numbers(ctx, kept, tmp_path, count):
    """Whatever the spare itself has at these numbers."""
    pid = kept()
    path = tmp_path / "read"
    pipes = {}
    for _ in range(count):
        r, w = os.pipe()
        os.write(w, f"through {r}".encode())
        pipes[r] = w
    numbers = list(pipes)
    random.shuffle(numbers)
    try:
        taken = run(ctx, spawn_workers.read_all, str(path), *map(spawn_workers.Passed, numbers))
    finally:
        for pair in pipes.items():
            for fd in pair:
                os.close(fd)
    assert taken == pid
    assert json.loads(path.read_text()) == {str(r): f"through {r}" for r in pipes}


def test_place():
    """Any arrangement of descriptors, rings included."""
    rng = random.Random(5)
    for _ in range(20):
        count = rng.randrange(1, 8)
        fds = []
        for i in range(count):
            fd = os.memfd_create(str(i))
            os.write(fd, str(i).encode())
            fds.append(fd)
        others = [os.dup(fds[0]) for _ in range(3)]  # free numbers
        for fd in others:
            os.close(fd)
        numbers = rng.sample(fds + others, count)
        spare_child._place(dict(zip(numbers, fds, strict=True)))
        assert [os.pread(number, 9, 0) for number in numbers] == [
            str(i).encode() for i in range(count)
        ]
        for fd in {*fds, *others} - set(numbers):
            with pytest.raises(OSError):
                os.fstat(fd)
        for number in numbers:
            os.close(number)


def test_no_more_processes(ctx, kept, monkeypatch):
    """The next spare can't be launched: the start itself has nothing to do with it."""
    pid = kept()
    launch = popen_spawn.util.spawnv_passfds

    def refused(*args):
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(popen_spawn.util, "spawnv_passfds", refused)
    assert run(ctx) == pid
    assert spare._spares == []
    p = ctx.Process(target=workers.nothing)
    with pytest.raises(BlockingIOError):
        p.start()
    monkeypatch.setattr(popen_spawn.util, "spawnv_passfds", launch)
    run(ctx)


def test_started_by_many_threads(ctx, kept):
    kept()
    pids = []
    threads = [threading.Thread(target=lambda: pids.append(run(ctx))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(pids)) == 6
    assert len(spare._spares) <= 1


# -- daemonic children ----------------------------------------------------------------------------

DAEMON = """
import sys, time, procfast
from procfast.native import spare
def busy():
    print("busy", flush=True)
    while True:
        pass
if __name__ == "__main__":
    ctx = procfast.get_context("spawn", backend="native")
    for _ in range(int(sys.argv[1])):
        p = ctx.Process(target=time.sleep, args=(0,))
        p.start()
        p.join()
    warm = [s.pid for s in spare._spares]
    p = ctx.Process(target=busy, daemon=True)
    p.start()
    print(p.pid, warm == [p.pid], flush=True)
    p.join()
"""


@pytest.mark.parametrize("before", [0, 2], ids=["cold", "warm"])
def test_daemonic_child_ends_with_a_killed_parent(script, before):
    """Though it is busy."""
    parent = subprocess.Popen(
        [sys.executable, script(DAEMON), str(before)], stdout=subprocess.PIPE, text=True
    )
    busy, started = sorted((parent.stdout.readline() for _ in range(2)), key=len)
    assert busy == "busy\n"
    pid, warm = started.split()
    assert warm == str(before > 0)
    parent.kill()
    began = time.monotonic()
    until(lambda: spawn_workers.status(pid).get("State", "Z")[0] == "Z")
    assert time.monotonic() - began < 5
    parent.communicate()


def test_daemonic_child_killed_while_it_imports(script, tmp_path):
    """From before its main module is imported."""
    path = script(
        """
import sys, time
if __name__ == "__mp_main__":
    print("imports", flush=True)
    time.sleep(600)
if __name__ == "__main__":
    import procfast
    p = procfast.get_context("spawn", backend="native").Process(target=print, daemon=True)
    p.start()
    print(p.pid, flush=True)
    p.join()
"""
    )
    parent = subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE, text=True)
    pid, imports = sorted(parent.stdout.readline().strip() for _ in range(2))
    assert imports == "imports"
    parent.kill()
    until(lambda: spawn_workers.status(pid).get("State", "Z")[0] == "Z")
    parent.communicate()
