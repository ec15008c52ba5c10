"""procfast.posix: fork, wait, reap, pidfds, double forks. Both backends pass the same tests."""

import asyncio
import contextlib
import errno
import faulthandler
import os
import pickle
import random
import re
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
import supervisor
import workers

SLACK = 10.0  # seconds a loaded machine may add to what should be immediate
NOBODY = 65534
KILLED = signal.SIGKILL


def state(pid: int) -> str | None:
    """The letter of ps; None: there is no such process."""
    found = supervisor.processes().get(pid)
    return found and found.state


def until(condition, what: str = "") -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, what or "still not so after 30 s"
        time.sleep(0.002)


def zombie(pid: int) -> int:
    until(lambda: state(pid) == "Z", "no zombie")
    return pid


@pytest.fixture
def child():
    """Forks children that run a function, by os.fork or another; they are killed at the end."""
    pids = []

    def start(body, fork=os.fork) -> int:
        pid = fork()
        if pid == 0:
            status = 99
            try:
                status = body() or 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(status)
        pids.append(pid)
        return pid

    yield start
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                os.kill(pid, KILLED)
                os.waitpid(pid, 0)


@pytest.fixture
def inside(child):
    """Runs a function in a forked child; what it asserts counts."""

    def run(body, uid: int | None = None) -> None:
        def as_user():
            if uid is not None and os.geteuid() == 0:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            body()

        assert os.waitstatus_to_exitcode(os.waitpid(child(as_user), 0)[1]) == 0

    return run


@pytest.fixture
def rng():
    seed = int(os.environ.get("PROCFAST_SEED", random.randrange(1 << 32)))
    print("PROCFAST_SEED =", seed)
    return random.Random(seed)


@pytest.fixture
def on_signal():
    """on_signal(signum, handler) until the end of the test."""
    before = {}

    def set_it(signum: int, handler) -> None:
        before.setdefault(signum, signal.getsignal(signum))
        signal.signal(signum, handler)

    yield set_it
    signal.setitimer(signal.ITIMER_REAL, 0)
    for signum, handler in before.items():
        signal.signal(signum, handler)


def pause() -> None:
    while True:
        time.sleep(60)


class Later:
    """Runs it in a thread."""

    def __init__(self, target) -> None:
        def run():
            try:
                self.result = target()
            except BaseException as error:
                self.result = error

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def wait(self):
        self.thread.join(30)
        assert not self.thread.is_alive()
        return self.result


# -- fork -----------------------------------------------------------------------------------------


def test_fork(posix):
    here = posix.getpid()
    assert here == os.getpid() and posix.getppid() == os.getppid()
    r, w = os.pipe()
    pid = posix.fork()
    if pid == 0:
        os.write(w, f"{posix.getpid()} {posix.getppid()}".encode())
        posix._exit(3)
    assert posix.waitpid(pid) == (pid, 3 << 8)
    assert os.read(r, 100).decode() == f"{pid} {here}"
    os.close(r)
    os.close(w)


PROGRAM = """
import os, signal, sys, threading, time
from procfast import posix
def end(code=0):
    sys.stdout.flush()
    os._exit(code)
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # in one piece
"""


def program(python, script, backend, body: str, *flags: str):
    env = {"PROCFAST_BACKEND": backend.name, "PYTHONUNBUFFERED": ""}
    return python(*flags, script(PROGRAM + body), env=env)


def test_fork_runs_the_hooks(python, script, backend):
    done = program(python, script, backend, """
for when in ("before", "after_in_parent", "after_in_child"):
    os.register_at_fork(**{when: lambda when=when: say(when)})
if (pid := posix.fork()) == 0:
    end()
posix.waitpid(pid)
""")  # fmt: skip
    assert sorted(done.stdout.split()) == ["after_in_child", "after_in_parent", "before"]


def test_fork_beside_threads_warns(python, script, backend):
    """As os.fork does from Python 3.12 on, and at the same place: the caller's line."""
    body = """
go = threading.Event()
threading.Thread(target=go.wait).start()
if (pid := FORK()) == 0:
    end()
os.waitpid(pid, 0)
go.set()
"""
    told = [
        program(python, script, backend, body.replace("FORK", f"{fork}.fork")).stderr
        for fork in ("os", "posix")
    ]
    lines = [text.splitlines()[0].partition(": ")[0] for text in told if text]
    assert len(lines) == (2 if sys.version_info >= (3, 12) else 0), told
    assert len(set(lines)) <= 1 and all("program.py:" in line for line in lines)


def test_fork_says_that_the_user_has_too_many(posix, inside):
    def body():
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        with pytest.raises(BlockingIOError, match=r"RLIMIT_NPROC .* allows user \d+ 1 ") as caught:
            posix.fork()
        assert caught.value.errno == errno.EAGAIN
        with pytest.raises(BlockingIOError, match="RLIMIT_NPROC"):
            posix.spawn_detached(print)
        assert not supervisor.descendants(os.getpid())

    inside(body, NOBODY)


def test_fork_says_that_the_group_has_too_many(posix, monkeypatch, tmp_path):
    """Made up, as not every machine has such a cgroup to spare. test_usable_cpus.py shows how cgroups are found."""
    from procfast._posix import limits

    (tmp_path / "a/b").mkdir(parents=True)
    for folder, most, have in (("", "max", 9), ("a", "7", 7), ("a/b", "max", 3)):
        (tmp_path / folder / "pids.max").write_text(f"{most}\n")
        (tmp_path / folder / "pids.current").write_text(f"{have}\n")
    found = [str(tmp_path / folder) for folder in ("", "a", "a/b", "missing")]

    def fail():
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(limits, "cgroups", lambda controller: iter(found))
    monkeypatch.setattr(os, "fork", fail)
    with pytest.raises(BlockingIOError, match=r"pids.max of the cgroup .*/a is 7, and it has 7"):
        posix.fork()
    (tmp_path / "a/pids.max").write_text("8\n")
    with pytest.raises(BlockingIOError, match=r"RLIMIT_NPROC .* or kernel.pid_max"):
        posix.fork()


def test_fork_in_a_cgroup_that_is_full(posix, inside):
    """A real one, if this machine lets us make it; else the limit of the whole is looked up, and is not reached."""
    from procfast._posix import limits

    made = ""
    for folder in limits.cgroups("pids"):
        with contextlib.suppress(OSError):
            os.mkdir(f"{folder}/pf-{os.getpid()}")
            made = f"{folder}/pf-{os.getpid()}"
            break

    def body():
        try:
            with open(f"{made}/pids.max", "w") as file:
                file.write("1")
            with open(f"{made}/cgroup.procs", "w") as file:
                file.write(str(os.getpid()))
        except OSError:
            assert not [why for why in limits._of_cgroups() if made in why]
            return
        text = rf"pids.max of the cgroup {made} is 1, and it has 1"
        for start in (posix.fork, lambda: posix.spawn_detached(print)):
            with pytest.raises(BlockingIOError, match=text):
                start()

    try:
        inside(body)
    finally:
        if made:
            os.rmdir(made)


@pytest.mark.parametrize(
    ("code", "files", "text"),
    [
        (
            errno.EAGAIN,
            {"loadavg": "0 0 0 1/999 7", "sys/kernel/threads-max": "1000"},
            "threads-max is 1000",
        ),
        (
            errno.EAGAIN,
            {"loadavg": "0 0 0 1/999 7", "sys/kernel/pid_max": "1024"},
            "pid_max is 1024",
        ),
        (
            errno.ENOMEM,
            {
                "sys/vm/overcommit_memory": "2",
                "meminfo": "CommitLimit: 100 kB\nCommitted_AS: 90 kB\n",
            },
            "overcommit_memory is 2, 90 kB of 100 kB",
        ),
        (errno.ENOMEM, {"sys/vm/overcommit_memory": "0"}, "not enough memory for a copy"),
    ],
)
def test_fork_says_that_the_system_has_too_many(posix, monkeypatch, code, files, text):
    """Made up: nobody else on this machine is to feel it."""
    from procfast._posix import limits

    read = limits.text
    monkeypatch.setattr(
        limits, "text", lambda path: files.get(path.removeprefix("/proc/"), None) or read(path)
    )

    def fail():
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fork", fail)
    with pytest.raises(OSError, match=text) as caught:
        posix.fork()
    assert caught.value.errno == code


@pytest.mark.parametrize("allowed", [2, 3])
def test_second_fork_fails(posix, inside, notes, allowed):
    """Told as the first one's failure is; nothing is left."""
    note, read = notes

    def body():
        resource.setrlimit(resource.RLIMIT_NPROC, (allowed, allowed))
        with pytest.raises(BlockingIOError, match=r"nothing was started: fork: RLIMIT_NPROC"):
            posix.spawn_detached(note, "ran")
        assert not supervisor.descendants(os.getpid())

    inside(body, NOBODY - allowed)  # a user who has no other process
    assert read(0.05) is None


def test_fork_in_a_namespace_that_has_ended(python, script, backend):
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    text = script(PROGRAM + """
os.waitpid(posix.fork() or end(), 0)  # it was process 1 there
try:
    posix.fork()
except OSError as error:
    print(error)
""")  # fmt: skip
    done = subprocess.run(
        ["unshare", *rights, "--pid", sys.executable, "-P", text], capture_output=True, text=True,
        env=os.environ | {"PROCFAST_BACKEND": backend.name}, timeout=50,
    )  # fmt: skip
    assert "process 1 is gone" in done.stdout, done


# -- ExitStatus -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "facts", "text"),
    [
        (0, {"code": 0, "exitcode": 0, "ended": True}, "exited with 0"),
        (3 << 8, {"code": 3, "exitcode": 3, "ended": True}, "exited with 3"),
        (255 << 8, {"code": 255, "exitcode": 255, "ended": True}, "exited with 255"),
        (9, {"signal": 9, "killed": True, "exitcode": -9, "ended": True}, "killed by SIGKILL"),
        (
            11 | 0x80,
            {"signal": 11, "killed": True, "core": True, "exitcode": -11, "ended": True},
            "killed by SIGSEGV, core dumped",
        ),
        (
            40,
            {"signal": 40, "killed": True, "exitcode": -40, "ended": True},
            "killed by SIGRTMIN+6",
        ),
        (0x137F, {"signal": 19, "stopped": True}, "stopped by SIGSTOP"),
        (0xFFFF, {"continued": True}, "continued"),
    ],
)
def test_exit_status(posix, raw, facts, text):
    status = posix.ExitStatus(raw)
    assert status == raw and hash(status) == hash(raw) and bool(status) == bool(raw)
    nothing = dict.fromkeys(("code", "signal", "exitcode"))
    flags = dict.fromkeys(("killed", "core", "stopped", "continued", "ended"), False)
    for name, value in {**nothing, **flags, **facts}.items():
        have = getattr(status, name)
        assert have == value and (type(value) is not bool or have is value), name
    assert status.text == str(status) == f"{status}" == text
    assert text in repr(status) and f"{status:d}" == str(raw)
    assert os.WIFEXITED(status) == posix.WIFEXITED(raw) == (status.code is not None)
    again = pickle.loads(pickle.dumps(status))
    assert again == status and type(again) is posix.ExitStatus


def test_exit_status_has_names_for_signals(posix):
    assert posix.ExitStatus(15).signal is signal.SIGTERM
    assert type(posix.ExitStatus(40).signal) is int
    assert posix.ExitStatus.from_event(posix.CLD_DUMPED, 11) == 0x8B
    assert posix.ExitStatus.from_event(posix.CLD_KILLED, 11) == 11
    for bad in (-1, 1 << 24):
        with pytest.raises(ValueError, match="no wait status"):
            posix.ExitStatus(bad)


def test_names_are_those_of_os(posix):
    for name in posix.__all__:
        if name[0] in "WCP" and name.isupper():
            assert getattr(posix, name) == getattr(os, name), name
    assert posix.WEXITSTATUS(5 << 8) == 5 and posix.WTERMSIG(9) == 9 and posix.WCOREDUMP(0x8B)
    assert posix.WSTOPSIG(0x137F) == 19 and posix.WIFSTOPPED(0x137F) and posix.WIFCONTINUED(0xFFFF)


# -- wait -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (lambda: 7, "exited with 7"),
        (lambda: os.kill(os.getpid(), KILLED), "killed by SIGKILL"),
        (os.abort, "killed by SIGABRT"),
    ],
)
def test_status_is_that_of_os(posix, child, body, text):
    def quiet():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        faulthandler.disable()
        return body()

    pids = [child(quiet) for _ in range(4)]
    raw = os.waitpid(pids[0], 0)[1]
    pid, status = posix.waitpid(pids[1])
    assert (pid, status) == (pids[1], raw) and status.text == text
    assert type(status) is posix.ExitStatus
    event = posix.waitid(posix.P_PID, pids[2], posix.WEXITED)
    theirs = os.waitid(os.P_PID, pids[3], os.WEXITED)
    assert event.si_pid == pids[2] and event[1:] == tuple(theirs)[1:]
    assert event.status == raw and event.si_signo == signal.SIGCHLD


def test_wait_takes_any(posix, child, inside):
    def body():
        pids = {child(lambda n=n: n): n for n in range(5)}
        for _ in range(5):
            pid, status = posix.wait()
            assert status.code == pids.pop(pid)
        with pytest.raises(ChildProcessError, match="no such child"):
            posix.wait()
        with pytest.raises(ChildProcessError):
            posix.waitpid(-1, posix.WNOHANG)

    inside(body)


def test_wait_without_waiting(posix, child):
    pid = child(pause)
    assert posix.waitpid(pid, posix.WNOHANG) == (0, 0)
    assert posix.waitid(posix.P_PID, pid, posix.WEXITED | posix.WNOHANG) is None
    os.kill(pid, KILLED)
    leave = posix.WEXITED | posix.WNOWAIT
    assert [posix.waitid(posix.P_PID, pid, leave).status.signal for _ in range(3)] == [KILLED] * 3
    assert state(pid) == "Z"
    assert posix.waitpid(pid, posix.WNOHANG) == (pid, KILLED)
    assert state(pid) is None
    for call in (lambda: posix.waitpid(pid), lambda: posix.waitid(posix.P_PID, pid)):
        with pytest.raises(ChildProcessError, match=f"{pid} is no child") as caught:
            call()
        assert caught.value.errno == errno.ECHILD


def test_stopped_and_continued(posix, child):
    pid = child(pause)
    os.kill(pid, signal.SIGSTOP)
    status = posix.waitpid(pid, posix.WUNTRACED).status
    assert status.stopped and status.signal == signal.SIGSTOP and not status.ended
    os.kill(pid, signal.SIGCONT)
    assert posix.waitpid(pid, posix.WCONTINUED).status.continued
    os.kill(pid, signal.SIGSTOP)
    event = posix.waitid(posix.P_PID, pid, posix.WSTOPPED | posix.WEXITED)
    assert event.status.stopped and event.si_code == posix.CLD_STOPPED
    os.kill(pid, signal.SIGCONT)
    assert posix.waitid(posix.P_PID, pid, posix.WCONTINUED).status.text == "continued"
    os.kill(pid, KILLED)
    assert posix.waitpid(pid).status.killed


def test_wait_for_a_process_group(posix, child):
    def lead():
        os.setpgid(0, 0)
        pause()

    other = child(pause)
    pid = child(lead)
    until(lambda: os.getpgid(pid) == pid)
    for each in (other, pid):
        os.kill(each, signal.SIGTERM)
    assert posix.waitid(posix.P_PGID, pid, posix.WEXITED | posix.WNOWAIT).si_pid == pid
    assert posix.waitpid(-pid) == (pid, signal.SIGTERM)
    assert posix.waitpid(0) == (other, signal.SIGTERM)


def test_bad_arguments_of_waits(posix):
    for bad in ("1", 1.5, None):
        with pytest.raises(TypeError, match="pid must be an int"):
            posix.waitpid(bad)
    with pytest.raises(OverflowError):
        posix.waitpid(1 << 40)
    with pytest.raises(OSError) as caught:
        posix.waitid(posix.P_ALL, 0, 0)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("how", ["waitpid", "wait", "waitid", "Pidfd"])
def test_signals_during_a_wait(posix, child, on_signal, how):
    """Handlers run and the wait goes on; one that raises ends it, and nothing is lost."""
    pid = child(pause)
    fd = posix.Pidfd(pid)
    wait = {
        "waitpid": lambda: posix.waitpid(pid).status,
        "wait": lambda: posix.wait().status,
        "waitid": lambda: posix.waitid(posix.P_PID, pid).status,
        "Pidfd": lambda: fd.wait(),
    }[how]
    ran = []

    def handler(signum, frame):
        ran.append(signum)
        if len(ran) == 3:
            raise InterruptedError("on purpose")
        if len(ran) == 6:
            os.kill(pid, signal.SIGTERM)

    on_signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    with pytest.raises(InterruptedError, match="on purpose"):
        wait()
    assert len(ran) == 3
    assert wait() == signal.SIGTERM
    assert len(ran) >= 6
    fd.close()


@pytest.mark.parametrize("how", ["waitpid", "waitid", "Pidfd"])
def test_interrupt_ends_a_wait(posix, child, how):
    pid = child(pause)
    fd = posix.Pidfd(pid)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        if how == "Pidfd":
            fd.wait()
        elif how == "waitid":
            posix.waitid(posix.P_PID, pid)
        else:
            posix.waitpid(pid)
    timer.join()
    fd.close()


def test_other_threads_run_during_a_wait(posix, child):
    """It would wait for ever if they did not: one of them ends the child."""
    pid = child(pause)
    waiting = Later(lambda: posix.waitpid(pid))
    time.sleep(0.05)
    os.kill(pid, signal.SIGTERM)
    assert waiting.wait() == (pid, signal.SIGTERM)


def test_blocked_costs_no_cpu(posix, child):
    pid = child(lambda: time.sleep(1.2))
    before = time.process_time()
    with posix.Pidfd(pid) as fd:
        assert fd.wait(30) == 0
    assert time.process_time() - before < 0.2


# -- reap -----------------------------------------------------------------------------------------


def test_reap(posix, child):
    assert posix.reap() == {}
    pids = {child(lambda n=n: n, posix.fork): n for n in range(4)}
    runs = child(pause, posix.fork)
    for pid in pids:
        zombie(pid)
    done = posix.reap()
    assert {pid: status.code for pid, status in done.items()} == pids
    assert posix.reap() == {} and state(runs) is not None
    os.kill(runs, KILLED)
    zombie(runs)
    assert posix.reap() == {runs: KILLED}


def test_reap_takes_no_others(posix, child, local):
    """Process, subprocess, os.fork: their statuses stay theirs."""
    mine = child(lambda: 1, posix.fork)
    raw = child(lambda: 2)
    process = local.Process(target=workers.exit_with, args=(3,))
    process.start()
    program = subprocess.Popen(["sh", "-c", "exit 4"])
    for pid in (mine, raw, process.pid, program.pid):
        zombie(pid)
    assert posix.reap() == {mine: 1 << 8}
    assert all(state(pid) == "Z" for pid in (raw, process.pid, program.pid))
    process.join()
    assert process.exitcode == 3 and program.wait() == 4
    assert posix.waitpid(raw).status.code == 2
    process.close()


def test_reap_those_that_are_named(posix, child):
    ended, other, runs = child(lambda: 1), child(lambda: 2), child(pause)
    zombie(ended), zombie(other)
    assert posix.reap([]) == {} and posix.reap() == {}
    assert posix.reap([runs]) == {}
    assert posix.reap(pid for pid in (ended, runs, ended)) == {ended: 1 << 8}
    with pytest.raises(ChildProcessError, match=f"{ended} is no child"):
        posix.reap([other, ended])
    assert state(other) == "Z"
    assert posix.reap([other]) == {other: 2 << 8}
    for bad in (0, -1):
        with pytest.raises(ValueError):
            posix.reap([bad])
    with pytest.raises(TypeError):
        posix.reap(["x"])


@pytest.mark.parametrize("how", ["waitpid", "waitid", "wait", "Pidfd", "os"])
def test_reap_beside_other_waits(posix, child, how):
    """What was waited for in another way is not there any more."""
    pid = child(lambda: 5, posix.fork)
    if how == "Pidfd":
        with posix.Pidfd(pid) as fd:
            assert fd.wait().code == 5
    else:
        {
            "waitpid": lambda: posix.waitpid(pid),
            "waitid": lambda: posix.waitid(posix.P_PID, pid),
            "wait": posix.wait,
            "os": lambda: os.waitpid(pid, 0),
        }[how]()
    notes = posix.fork.__self__._forked
    assert how in ("os", "Pidfd") or pid not in notes
    assert posix.reap() == {} and not notes


def test_what_others_waited_for_is_forgotten(posix, child):
    notes = posix.fork.__self__._forked
    for _ in range(600):
        os.waitpid(child(lambda: 0, posix.fork), 0)
    assert len(notes) <= 300
    assert posix.reap() == {} and not notes


def test_reap_in_many_threads(posix, child):
    pids = [child(lambda: 1, posix.fork) for _ in range(60)]
    found: Counter[int] = Counter()
    end = time.monotonic() + 30

    def reaper():
        mine = []
        while sum(found.values()) < len(pids) and time.monotonic() < end:
            done = posix.reap()
            mine += done
            found.update(done.keys())
            time.sleep(0.001)
        return mine

    threads = [Later(reaper) for _ in range(4)]
    each = [pid for thread in threads for pid in thread.wait()]
    assert sorted(each) == sorted(pids)


def test_reap_after_a_fork(posix, child, inside):
    """The parent's children are none of the child's, whoever forked it."""
    pid = child(lambda: 1, posix.fork)
    zombie(pid)

    def body():
        assert posix.reap() == {}
        mine = child(lambda: 2, posix.fork)
        zombie(mine)
        assert posix.reap() == {mine: 2 << 8}

    inside(body)
    assert posix.waitpid(child(body, posix.fork)).status.text == "exited with 0"
    assert posix.reap() == {pid: 1 << 8}


def test_reap_in_a_handler(posix, child, on_signal):
    """No child is missed, however soon it ends."""
    found = {}
    on_signal(signal.SIGCHLD, lambda signum, frame: found.update(posix.reap()))
    pids = [child(lambda: 1, posix.fork) for _ in range(100)]
    until(lambda: len(found) == 100, f"{len(found)} of 100")
    assert sorted(found) == sorted(pids) and set(found.values()) == {1 << 8}


def test_handler_that_comes_before_fork_returns(python, script, backend):
    """It finds nothing, as the child's pid is not known yet; so it is called again."""
    done = program(python, script, backend, """
found, calls = {}, []
def handler(signum, frame):
    found.update(posix.reap())
    calls.append(len(found))
signal.signal(signal.SIGCHLD, handler)
def hook():
    while not calls:
        time.sleep(0.001)
os.register_at_fork(after_in_parent=hook)
pid = posix.fork() or end(6)
print(calls, found == {pid: 6 << 8})
""")  # fmt: skip
    assert done.stdout == "[0, 1] True\n"


REUSED = """
import ctypes, subprocess
pid = posix.fork() or end(1)
assert os.waitpid(pid, 0)[0] == pid  # posix does not see it
time.sleep(0.1)
with open("/proc/sys/kernel/ns_last_pid", "w") as file:
    file.write(str(pid - 1))
program = subprocess.Popen(["sh", "-c", "exit 4"])
assert program.pid == pid, (program.pid, pid)
while open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z":
    time.sleep(0.01)
print(posix.reap(), program.wait(), flush=True)
pid = posix.fork() or end(1)
time.sleep(0.1)
print(posix.reap() == {pid: 1 << 8})
"""


def contained(
    script, backend, body: str, *options: str, timeout: float = 50.0
) -> subprocess.CompletedProcess:
    """Runs it as process 1 of a pid namespace."""
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    return subprocess.run(
        ["unshare", *rights, "--pid", "--fork", "--kill-child", *options, sys.executable,
         "-P", script(PROGRAM + body)],
        env=os.environ | {"PROCFAST_BACKEND": backend.name}, capture_output=True, text=True,
        timeout=timeout,
    )  # fmt: skip


def test_pid_that_is_used_again_is_not_reaped(script, backend):
    done = contained(script, backend, REUSED, "--mount-proc")
    assert done.stdout == "{} 4\nTrue\n", done


def test_reap_beside_a_foreign_proc(script, backend):
    """What it says of that pid is said of a process of another namespace."""
    done = contained(script, backend, """
pid = posix.fork() or end(1)
time.sleep(0.1)
print(posix.reap() == {pid: 1 << 8}, os.readlink("/proc/self") == "1")
made = posix.spawn_detached(say, "ran")
print(made[1:], posix.waitpid(made.pid).status)
""")  # fmt: skip
    assert done.stdout == "True False\nran\n(None, None) exited with 0\n", done


def test_asyncio_beside_reap(posix, child, on_signal):
    """Its children keep their statuses, while a handler reaps ours."""
    found = {}

    async def main():
        codes = []
        for n in range(5):
            child(lambda: 7, posix.fork)
            process = await asyncio.create_subprocess_exec("sh", "-c", f"exit {n}")
            found.update(posix.reap())
            codes.append(await process.wait())
        return codes

    on_signal(signal.SIGCHLD, lambda signum, frame: found.update(posix.reap()))
    assert asyncio.run(main()) == [0, 1, 2, 3, 4]
    until(lambda: found.update(posix.reap()) or len(found) == 5)
    assert set(found.values()) == {7 << 8}


# -- autoreap -------------------------------------------------------------------------------------


def test_autoreap(posix, child):
    seen = []

    def handler(signum, frame):
        seen.append(signum)

    before = signal.signal(signal.SIGCHLD, handler)
    try:
        earlier = child(lambda: 1)
        zombie(earlier)
        until(lambda: seen)
        with posix.autoreap():
            assert signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
            pid, mine = child(lambda: 2), child(lambda: 3, posix.fork)
            until(lambda: state(pid) is state(mine) is None, "a zombie")
            assert posix.reap() == {} and len(seen) == 1
            later = child(lambda: time.sleep(0.2))
            begin = time.monotonic()
            with pytest.raises(ChildProcessError, match="SIGCHLD is ignored"):
                posix.waitpid(later)
            assert time.monotonic() - begin > 0.1, "it waits for the end all the same"
            outlives = child(pause)
        assert signal.getsignal(signal.SIGCHLD) is handler
        assert state(earlier) == "Z" and posix.waitpid(earlier).status.code == 1
        os.kill(outlives, signal.SIGTERM)
        assert posix.waitpid(outlives).status.signal == signal.SIGTERM
        until(lambda: len(seen) > 1)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_autoreap_puts_back(posix):
    for before in (signal.SIG_DFL, signal.SIG_IGN):
        old = signal.signal(signal.SIGCHLD, before)
        with pytest.raises(KeyError), posix.autoreap(), posix.autoreap():
            raise KeyError
        assert signal.getsignal(signal.SIGCHLD) is before
        signal.signal(signal.SIGCHLD, old)


def test_autoreap_is_for_the_main_thread(posix):
    def body():
        with posix.autoreap():
            pass

    error = Later(body).wait()
    assert isinstance(error, RuntimeError) and "main thread" in str(error)


def test_process_under_autoreap(local, posix):
    """join returns; the code is the right one where the kernel keeps it, else 255; stdlib: None."""
    with posix.autoreap():
        process = local.Process(target=workers.exit_with, args=(3,))
        process.start()
        until(lambda: state(process.pid) is None)
        process.join(30)
    assert process.exitcode in ((None,) if local.backend == "stdlib" else (3, 255))
    process._popen.returncode = 0  # or the standard library's would be alive for ever
    process.join()
    process.close()


def test_subprocess_under_autoreap(posix):
    with posix.autoreap():
        assert subprocess.Popen(["sh", "-c", "exit 4"]).wait(30) == 0


# -- Pidfd ----------------------------------------------------------------------------------------


def test_pidfd(posix, child):
    pid = child(pause)
    with posix.Pidfd(pid) as fd:
        assert fd.pid == pid and not fd.closed and str(pid) in repr(fd)
        assert not os.get_inheritable(fd.fileno())
        begin = time.monotonic()
        for timeout in (0, -1, 0.1):
            with pytest.raises(TimeoutError, match=f"process {pid} has not ended within"):
                fd.wait(timeout)
        assert 0.1 <= time.monotonic() - begin < SLACK
        assert select.select([fd], [], [], 0)[0] == []
        fd.send_signal(0)
        fd.send_signal(signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            fd.wait(0.05)
        fd.send_signal(signal.SIGKILL)
        assert select.select([fd], [], [], 30)[0] == [fd]
        assert fd.wait().text == "killed by SIGKILL" and fd.wait(0) == KILLED
        assert "killed by SIGKILL" in repr(fd)
        with pytest.raises(ProcessLookupError, match=f"process {pid} has ended .* SIGTERM"):
            fd.send_signal(signal.SIGTERM)
    assert fd.closed and "closed" in repr(fd) and state(pid) is None
    fd.close()
    assert fd.wait() == KILLED, "known already"
    for call in (fd.fileno, lambda: fd.send_signal(0)):
        with pytest.raises(ValueError, match=f"Pidfd of process {pid} is closed"):
            call()


def test_pidfd_in_other_calls(posix, child):
    """waitid takes one, select and asyncio do."""
    with posix.Pidfd(child(lambda: time.sleep(0.1))) as fd:

        async def ended():
            told = asyncio.Event()
            asyncio.get_running_loop().add_reader(fd, told.set)
            await asyncio.wait_for(told.wait(), 30)
            asyncio.get_running_loop().remove_reader(fd)

        asyncio.run(ended())
        event = posix.waitid(posix.P_PIDFD, fd, posix.WEXITED | posix.WNOWAIT)
        assert (event.si_pid, event.status) == (fd.pid, 0)
        assert posix.waitid(posix.P_PIDFD, fd.fileno(), posix.WEXITED) == event
        with pytest.raises(ChildProcessError, match="no such child"):
            posix.waitid(posix.P_PIDFD, fd)


def test_pidfd_of_nobody(posix, child):
    pid = child(lambda: 0)
    os.waitpid(pid, 0)
    with pytest.raises(ProcessLookupError, match=f"no process {pid}"):
        posix.Pidfd(pid)
    thread = threading.Event()
    started = Later(lambda: thread.wait(30))
    with pytest.raises(OSError, match="of a thread"):
        posix.Pidfd(started.thread.native_id)
    thread.set()
    started.wait()
    for bad in (0, -1, 1 << 31):
        with pytest.raises(ValueError, match="pid"):
            posix.Pidfd(bad)
    with pytest.raises(TypeError):
        posix.Pidfd("1")
    with posix.Pidfd(os.getpid()) as me:
        with pytest.raises(OSError, match="there is no signal 999") as caught:
            me.send_signal(999)
        assert caught.value.errno == errno.EINVAL
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(me)
        with pytest.raises(TimeoutError):
            me.wait(0)


def test_pidfd_of_another_user(posix, inside):
    def body():
        text = r"another user's, .* SIGTERM"
        with posix.Pidfd(1) as fd, pytest.raises(PermissionError, match=text):
            fd.send_signal(signal.SIGTERM)

    inside(body, NOBODY)


def test_pidfd_without_descriptors(posix, inside):
    def body():
        limit = len(os.listdir("/proc/self/fd")) - 1
        os.closerange(limit, 1000)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        while True:
            try:
                os.dup(1)
            except OSError:
                break
        with pytest.raises(OSError) as caught:
            posix.Pidfd(os.getppid())
        assert caught.value.errno == errno.EMFILE

    inside(body)


def test_pidfd_of_no_child(posix, child):
    """Its end is seen; how it ended is its parent's to know, unless the kernel keeps it."""
    r, w = os.pipe()

    def middle():
        pid = child(pause)
        os.write(w, str(pid).encode())
        os.waitpid(pid, 0)
        pause()

    child(middle)
    with posix.Pidfd(int(os.read(r, 20))) as fd:
        with pytest.raises(TimeoutError):
            fd.wait(0.02)
        fd.send_signal(signal.SIGTERM)
        assert fd.wait(30) in (None, signal.SIGTERM)
    os.close(r)
    os.close(w)


def test_pidfd_of_one_that_another_reaped(posix, child):
    pid = child(lambda: 3)
    with posix.Pidfd(pid) as fd:
        os.waitpid(pid, 0)
        assert fd.wait(30) in (None, 3 << 8)


def test_pidfd_in_many_threads(posix, child):
    """All learn the status, though only one reaps."""
    pid = child(pause)
    with posix.Pidfd(pid) as fd:
        threads = [Later(lambda: fd.wait(30)) for _ in range(8)]
        time.sleep(0.05)
        fd.send_signal(signal.SIGTERM)
        assert [thread.wait() for thread in threads] == [signal.SIGTERM] * 8
    assert state(pid) is None


def test_pidfd_closed_by_another_thread(posix, child):
    fd = posix.Pidfd(child(pause))
    number = fd.fileno()
    waiting = Later(fd.wait)
    time.sleep(0.05)
    fd.close()
    error = waiting.wait()
    assert isinstance(error, ValueError) and "closed" in str(error)
    with pytest.raises(OSError):
        os.fstat(number)


def test_pidfd_after_a_fork(posix, child, inside):
    pid = child(pause)
    with posix.Pidfd(pid) as fd:

        def body():
            fd.send_signal(signal.SIGTERM)
            assert fd.wait(30) is None  # the parent's child, not reaped

        inside(body)
        assert fd.wait(30) == signal.SIGTERM


def test_pidfd_is_closed_when_dropped(posix):
    before = os.listdir("/proc/self/fd")
    posix.Pidfd(os.getpid())
    assert os.listdir("/proc/self/fd") == before


# -- spawn_detached -------------------------------------------------------------------------------


@pytest.fixture
def notes():
    """(note, next): what detached processes write, and the next of it."""
    r, w = os.pipe()

    def read(timeout: float = 30) -> str | None:
        if not select.select([r], [], [], timeout)[0]:
            return None
        return os.read(r, 1000).decode()

    yield lambda text: os.write(w, str(text).encode()), read
    os.close(r)
    os.close(w)


@pytest.fixture
def reaping(inside):
    """Runs a function in a child of a subreaper that reaps."""

    def run(posix, body):
        def adopt():
            posix.become_subreaper()
            pid = os.fork()
            if pid == 0:
                status = 9
                try:
                    body()
                    status = 0
                except BaseException:
                    sys.excepthook(*sys.exc_info())
                finally:
                    os._exit(status)
            code = None
            with contextlib.suppress(ChildProcessError):
                while True:
                    found, status = posix.wait()
                    code = status.code if found == pid else code
            assert code == 0

        inside(adopt)

    return run


def test_spawn_detached(posix, reaping, notes):
    note, read = notes

    def body():
        here, above = os.getpid(), os.getppid()
        made = posix.spawn_detached(lambda: note(f"{os.getpid()} {os.getppid()} {os.getsid(0)}"))
        pid, ppid, sid = map(int, read().split())
        assert made == (pid, above, True) and made.pid == pid and made.parent == above == ppid
        assert sid not in (pid, os.getsid(0)), "a session without a leader"
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        until(lambda: state(pid) is None, "a zombie")
        assert not supervisor.descendants(here)
        pid = posix.spawn_detached(lambda n: note(os.getsid(0) - n), 1, new_session=False).pid
        assert int(read()) == os.getsid(0) - 1
        until(lambda: state(pid) is None)

    reaping(posix, body)


def test_detached_outlives_its_starter(posix, inside, notes):
    note, read = notes
    go_r, go_w = os.pipe()

    def detached():
        os.read(go_r, 1)
        note("alive")

    def body():
        note(posix.spawn_detached(detached).pid)

    inside(body)
    pid = int(read())
    os.write(go_w, b"x")
    assert read() == "alive"
    until(lambda: state(pid) in (None, "Z"))
    os.close(go_r)
    os.close(go_w)


def test_detached_ends_as_a_process_does(python, script, backend):
    """Exit codes, exceptions, buffered output once, exit functions, its own children joined."""
    done = program(python, script, backend, """
import multiprocessing, procfast
from multiprocessing import util
posix.become_subreaper()
def ends(target, *args):
    pid = posix.spawn_detached(target, *args).pid
    print(posix.waitpid(pid).status.text)
def fails():
    raise KeyError("on purpose")
def output():
    util.Finalize(None, print, args=("finalized",), exitpriority=1)
    assert sys.stdin.read() == "" and multiprocessing.parent_process() is None
    assert multiprocessing.current_process().name == "output"
    child = procfast.get_context("fork").Process(target=print, args=("child",))
    child.start()
    print("written")
print("buffered once")
ends(output)
ends(sys.exit, 5)
ends(sys.exit, "a message")
ends(fails)
ends(os.kill, 0, 0)
ends(lambda: os.kill(os.getpid(), signal.SIGTERM))
""")  # fmt: skip
    lines = done.stdout.split("\n")
    for once in ("buffered once", "written", "child", "finalized"):
        assert done.stdout.count(once) == 1, done.stdout
    assert [line for line in lines if " with " in line or " by " in line] == [
        "exited with 0", "exited with 5", "exited with 1", "exited with 1", "exited with 0",
        "killed by SIGTERM",
    ]  # fmt: skip
    assert "a message" in done.stderr and "KeyError: 'on purpose'" in done.stderr


def test_detached_from_a_daemonic_process(posix, inside, notes, local):
    """It may have children, and goes on when daemonic processes are ended."""
    note, read = notes

    def detached():
        process = local.Process(target=note, args=("child",))
        process.start()
        process.join()
        time.sleep(0.2)
        note(" alive")

    def body():
        import multiprocessing

        multiprocessing.current_process()._config["daemon"] = True
        note(f"pid {posix.spawn_detached(detached).pid} ")

    inside(body)
    told = ""
    while "alive" not in told:
        told += read()
    pid = int(re.search(r"pid (\d+) ", told)[1])
    assert told.replace(f"pid {pid} ", "") == "child alive"
    until(lambda: state(pid) in (None, "Z"))


def test_detached_below_a_subreaper_is_its_child(posix, inside, notes):
    note, _ = notes

    def body():
        posix.become_subreaper()
        made = posix.spawn_detached(note, "x")
        assert made.parent == os.getpid() and made.reaped is None
        zombie(made.pid)
        assert posix.reap() == {made.pid: 0}
        assert not supervisor.descendants(os.getpid())

    inside(body)


def test_an_adopter_that_does_not_reap_is_named(posix, inside):
    """The result and a warning say so; once it does, the result does too."""

    def body():
        posix.become_subreaper()
        pid = os.fork()
        if pid == 0:
            status = 9
            try:
                with pytest.warns(RuntimeWarning, match=rf"process {os.getppid()} \(.*become_sub"):
                    made = posix.spawn_detached(int)
                assert made.parent == os.getppid() and made.reaped is False
                assert posix.spawn_detached(int).reaped is False, "no second warning"
                os.kill(os.getppid(), signal.SIGUSR1)
                until(lambda: posix.spawn_detached(int).reaped)
                status = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(status)
        asked = []
        signal.signal(signal.SIGUSR1, lambda *args: asked.append(1))
        until(lambda: asked or state(pid) == "Z")
        code = None
        with contextlib.suppress(ChildProcessError):
            while True:
                found, status = posix.wait()
                code = status.code if found == pid else code
        assert code == 0

    inside(body)


def test_process_1_that_does_not_reap(script, backend):
    done = contained(script, backend, """
import warnings
warnings.simplefilter("error")
pid = os.fork()
if pid == 0:
    try:
        posix.spawn_detached(say, "not reached")
    except RuntimeWarning as warning:
        say(str(warning).partition(" adopts")[0])
    warnings.simplefilter("ignore")
    say(*posix.spawn_detached(say, "reached")[1:])
    end()
os.waitpid(pid, 0)
try:
    while os.wait():
        pass
except ChildProcessError:
    pass
""", "--mount-proc")  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[0].startswith("process 1 (python"), done
    assert sorted(lines[1:]) == ["1 False", "reached"], done


KILLED_AT = ["in the process between", "before its fork", "after its fork"]


def at_fork(where: str, hook) -> None:
    when = dict(zip(KILLED_AT, ("after_in_child", "before", "after_in_parent"), strict=True))
    os.register_at_fork(**{when[where]: hook})


@pytest.mark.parametrize("where", KILLED_AT)
def test_process_between_is_killed(posix, reaping, notes, where):
    """The target does not run, the error tells how, nobody is left."""
    note, read = notes

    def body():
        here = os.getpid()

        def die():
            if os.getppid() == here:
                os.kill(os.getpid(), KILLED)

        at_fork(where, die)
        with pytest.raises(ChildProcessError, match=r"has ended too early, killed by SIGKILL"):
            posix.spawn_detached(note, "ran")
        until(lambda: not supervisor.descendants(here))

    reaping(posix, body)
    assert read(0.05) is None


def test_process_between_is_killed_at_random(posix, reaping, notes, rng):
    """Each call: a pid and the target runs, or an error and it does not."""
    note, read = notes

    def body():
        here, done = os.getpid(), []

        def kill():
            while not done:
                time.sleep(rng.uniform(0, 0.004))
                for proc in supervisor.descendants(here):
                    if proc.ppid == here:
                        supervisor.kill(proc.pid)

        killer = Later(kill)
        ran, failed = set(), 0
        end = time.monotonic() + 30
        while (failed < 10 or len(ran) < 10) and time.monotonic() < end:
            try:
                ran.add(posix.spawn_detached(lambda: note(f"{os.getpid()} ")).pid)
            except ChildProcessError as error:
                assert "killed by SIGKILL" in str(error)
                failed += 1
        done.append(1)
        killer.wait()
        told = set()
        while len(told) < len(ran):
            told |= {int(pid) for pid in read().split()}
        until(lambda: [p.pid for p in supervisor.descendants(os.getppid())] == [here])
        assert told == ran and failed and ran, (len(ran), failed)

    reaping(posix, body)
    assert read(0.05) is None


@pytest.mark.parametrize("where", KILLED_AT)
def test_starter_is_killed(posix, child, reaping, notes, where):
    """Before it knows the pid: then the target does not run, and nobody is left."""
    note, read = notes

    def starter():
        here = os.getpid()

        def kill():
            if os.getppid() == here:
                os.kill(here, KILLED)

        at_fork(where, kill)
        posix.spawn_detached(note, "ran")

    def body():
        assert os.waitpid(child(starter), 0)[1] == KILLED
        until(lambda: [p.pid for p in supervisor.descendants(os.getppid())] == [os.getpid()])

    reaping(posix, body)
    assert read(0.05) is None


def test_starter_is_interrupted(posix, reaping, notes):
    """The exception comes out, the target does not run, and no zombie is left."""
    note, read = notes

    def body():
        here = os.getpid()

        def hook():
            if os.getppid() == here:  # in the process between
                time.sleep(0.1)  # until it waits: what is raised in a hook of its fork is lost
                os.kill(here, signal.SIGINT)
                time.sleep(0.1)

        os.register_at_fork(after_in_child=hook)
        with pytest.raises(KeyboardInterrupt):
            posix.spawn_detached(note, "ran")
        until(lambda: not supervisor.descendants(here))

    reaping(posix, body)
    assert read(0.05) is None


def test_detached_under_autoreap_and_beside_a_thief(posix, reaping, notes):
    """Whoever takes the status of the process between: the pid is known."""
    note, read = notes

    def body():
        with posix.autoreap():
            assert posix.spawn_detached(note, "one").pid > 0
        assert read() == "one"

        def thief(signum, frame):
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass

        signal.signal(signal.SIGCHLD, thief)
        for _ in range(10):
            assert posix.spawn_detached(note, "two").pid > 0
            assert read() == "two"

    reaping(posix, body)


def test_detached_from_many_threads(posix, reaping, notes):
    note, read = notes

    def body():
        threads = [Later(lambda: posix.spawn_detached(note, "x").pid) for _ in range(8)]
        pids = [thread.wait() for thread in threads]
        assert len(set(pids)) == 8
        got = ""
        while len(got) < 8:
            got += read()
        assert got == "x" * 8

    reaping(posix, body)


def test_detached_wants_something_to_call(posix):
    with pytest.raises(TypeError, match="target must be callable, not str"):
        posix.spawn_detached("date")


# -- what follows a parent's end ------------------------------------------------------------------


def test_parent_death_signal(posix, child, notes):
    note, read = notes

    def middle():
        here = os.getpid()

        def below():
            posix.set_parent_death_signal(signal.SIGTERM, parent=here)
            signal.signal(signal.SIGTERM, lambda *args: (note("told"), os._exit(0)))
            note(os.getpid())
            pause()

        child(below)
        pause()

    pid = child(middle)
    below = int(read())
    os.kill(pid, KILLED)
    os.waitpid(pid, 0)
    assert read() == "told"
    until(lambda: state(below) in (None, "Z"))


def test_parent_that_has_ended_already(posix, child):
    def body():
        posix.set_parent_death_signal(signal.SIGTERM)
        posix.set_parent_death_signal(signal.SIGTERM, parent=os.getppid())
        posix.set_parent_death_signal(0, parent=1 << 20)
        posix.set_parent_death_signal(signal.SIGTERM, parent=1 << 20)
        return 1

    assert os.waitpid(child(body), 0)[1] == signal.SIGTERM


def test_bad_arguments_of_the_parents_end(posix):
    for bad in (-1, 999):
        with pytest.raises(ValueError, match="no signal"):
            posix.set_parent_death_signal(bad)
    with pytest.raises(TypeError):
        posix.set_parent_death_signal("SIGTERM")


def test_subreaper(posix, child, inside, notes):
    """It becomes the orphans' parent, and is none any more when it does not want to be."""
    note, read = notes

    def orphan():
        def below():
            parent = os.getppid()
            note(os.getpid())
            until(lambda: os.getppid() != parent)
            note(f" {os.getppid()}")

        child(below)
        if not (first := read()):
            return 1
        note(first)
        return 0

    def body():
        posix.become_subreaper()
        os.waitpid(child(orphan), 0)
        text = read()
        while " " not in text:
            text += read()
        pid, parent = map(int, text.split())
        assert parent == os.getpid()
        assert posix.wait() == (pid, 0)
        posix.become_subreaper(False)
        os.waitpid(child(orphan), 0)
        text = read()
        while " " not in text:
            text += read()
        assert int(text.split()[1]) != os.getpid()

    inside(body)


# -- systems that lack something ------------------------------------------------------------------


def test_what_a_system_lacks_is_named(posix, monkeypatch):
    def lacks(*args):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    processes = posix.fork.__self__
    monkeypatch.setattr(posix.Pidfd, "_open", staticmethod(lacks))
    monkeypatch.setattr(processes, "_parent_death_signal", lacks, raising=False)
    monkeypatch.setattr(processes, "_subreaper", lacks, raising=False)
    for call, what in (
        (lambda: posix.Pidfd(1), "pidfds"),
        (lambda: posix.set_parent_death_signal(9), "PR_SET_PDEATHSIG"),
        (posix.become_subreaper, "PR_SET_CHILD_SUBREAPER"),
    ):
        with pytest.raises(OSError, match=f"this system has no .*{what}") as caught:
            call()
        assert caught.value.errno == errno.ENOSYS


def test_without_pidfds(posix, child, monkeypatch):
    """reap goes by pid and start time."""

    def lacks(pid):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(posix.fork.__self__, "_pidfd_open", lacks)
    pid = child(lambda: 3, posix.fork)
    zombie(pid)
    assert posix.reap() == {pid: 3 << 8}


def test_without_proc(posix, child, monkeypatch, reaping, notes):
    """As on macOS: reap goes by pid, and nobody knows who adopts a detached process."""
    from procfast._posix import proc

    note, read = notes
    pid = child(lambda: 3, posix.fork)
    zombie(pid)
    monkeypatch.setattr(proc, "stat", lambda pid: None)
    assert posix.reap() == {pid: 3 << 8}

    def body():
        made = posix.spawn_detached(lambda: note(os.getpid()))
        assert made == (int(read()), None, None)

    reaping(posix, body)
