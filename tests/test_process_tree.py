"""procfast.posix.children and process_tree, and `python -m procfast ps`: real processes in every state."""

import contextlib
import ctypes
import errno
import json
import mmap
import os
import platform
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from procfast import _proctree

SLACK = 5.0  # seconds a loaded machine may add to what should be immediate
_CLONE_VFORK = 0x4000
_TRACEME = 0


def until(condition):
    end = time.monotonic() + 30
    while not (result := condition()):
        assert time.monotonic() < end, "still not so after 30 s"
        time.sleep(0.005)
    return result


def when(look, condition):
    """What `look` gives, as soon as it is so."""
    return until(lambda: (found := look()) and condition(found) and found)


@pytest.fixture
def start():
    """Forks a child in a process group of its own that runs a function; the group is killed at the end."""
    pids = []

    def fork(body) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                if body not in LEADERS:
                    os.setpgid(0, 0)
                body()
            finally:
                os._exit(9)
        pids.append(pid)
        return pid

    yield fork
    for pid in pids:
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def child(posix, pid):
    """What children() says of that one."""
    return next((info for info in posix.children() if info.pid == pid), None)


# -- every state ----------------------------------------------------------------------------------


def sleep():
    while True:
        time.sleep(60)


def spin():
    while True:
        pass


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)


def be_traced():
    ctypes.CDLL(None).ptrace(_TRACEME, 0, 0, 0)
    stop()


def vfork():
    """A parent in vfork sleeps in the kernel until its child execs or ends."""
    number = {"x86_64": 56}.get(platform.machine(), 220)
    if ctypes.CDLL(None).syscall(number, _CLONE_VFORK | signal.SIGCHLD, 0, 0, 0, 0) == 0:
        sleep()


def lead():
    os.setsid()
    sleep()


def be_nice():
    os.nice(5)
    sleep()


def be_urgent():
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -5)
    except PermissionError:
        os.nice(5)  # and so it must be said
    sleep()


def lock_a_page():
    page = mmap.mmap(-1, mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    assert ctypes.CDLL(None).mlock(ctypes.c_void_p(address), mmap.PAGESIZE) == 0
    return page


def lock_it():
    kept = lock_a_page()
    sleep()
    del kept


def have_threads():
    threading.Thread(target=sleep, daemon=True).start()
    sleep()


def all_at_once():
    os.nice(5)
    os.setsid()
    kept = lock_a_page()
    have_threads()
    del kept


LEADERS = (lead, all_at_once)
KINDS = {
    "R": spin,
    "S": sleep,
    "D": vfork,
    "T": stop,
    "t": be_traced,
    "Z": lambda: None,
    "Ss": lead,
    "SN": be_nice,
    "S<": be_urgent,
    "SL": lock_it,
    "Sl": have_threads,
    "SNLsl": all_at_once,
}


def as_ps_says(pid) -> str:
    """Nothing where it is a ps that cannot be asked for one process (busybox)."""
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


@pytest.mark.parametrize("stat", KINDS)
def test_states(posix, start, stat):
    pid = start(KINDS[stat])
    before = os.getpriority(os.PRIO_PROCESS, 0)

    def seen():
        """None as long as what it has to do first takes it through other states."""
        info, nice = child(posix, pid), os.getpriority(os.PRIO_PROCESS, pid)
        flags = ["<" if nice < 0 else "N" if nice > 0 else "", stat[1:].lstrip("<N")]
        wanted = stat[0] + "".join(flags)
        changed = nice != before or before == 19 or not {*"N<"} & {*stat}
        return info if info and info.stat == wanted and changed else None

    info = until(seen)
    if shutil.which("ps"):
        until(lambda: as_ps_says(pid) in ("", child(posix, pid).stat))  # it may run for a moment
    assert info.nice == os.getpriority(os.PRIO_PROCESS, pid)
    assert info.meaning.startswith(_proctree.STATES[stat[0]])
    assert ("session leader" in info.meaning) == ("s" in stat)
    assert (info.locked == mmap.PAGESIZE) == ("L" in stat)
    assert info.threads == (2 if "l" in stat else 1)


def test_foreground(posix):
    """The leader of a session on a terminal, its job in the foreground, another one in the background."""
    before = time.time()
    leader, terminal = pty.fork()
    if leader == 0:
        try:
            for job in ("back", "fore"):
                pid = os.fork()
                if pid == 0:
                    os.setpgid(0, 0)
                    if job == "fore":
                        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
                        os.tcsetpgrp(0, os.getpid())
                    sleep()
            sleep()
        finally:
            os._exit(9)
    try:
        tree = when(
            lambda: posix.process_tree(leader),
            lambda found: [info.stat.replace("N", "") for info in found] == ["Ss", "S", "S+"],
        )
        assert [(info.depth, info.sid) for info in tree] == [(0, leader), (1, leader), (1, leader)]
        assert "in the foreground" in tree[2].meaning
        assert tree[0] == child(posix, leader)._replace(depth=0)
        assert before - 1 < tree[0].started <= tree[2].started < time.time() + 1
    finally:
        for info in posix.process_tree(leader):
            os.kill(info.pid, signal.SIGKILL)
        os.waitpid(leader, 0)
        os.close(terminal)


def test_fields(posix, start):
    pid = start(sleep)
    info = when(lambda: child(posix, pid), lambda info: info.state == "S" and info.pgid == pid)
    assert info == posix.process_tree(pid)[0]._replace(depth=1, rss=info.rss)
    assert (info.pid, info.ppid, info.depth) == (pid, os.getpid(), 1)
    assert (info.pgid, info.sid) == (os.getpgid(pid), os.getsid(pid))
    assert info.uid == os.geteuid()
    assert info.priority == 20 + info.nice
    assert info.rss > 1 << 20
    own = posix.process_tree()[0]
    assert own.depth == 0
    assert own.pid == os.getpid()
    assert own.command == info.command  # of a fork it is the parent's
    assert info.since_boot >= own.since_boot
    with open("/proc/self/cmdline", "rb") as file:
        assert file.read() == b"".join(os.fsencode(word) + b"\0" for word in own.command)


def executed(posix, pid, command):
    """Popen returns in the middle of exec."""
    return when(lambda: child(posix, pid), lambda info: info.command == command)


@pytest.mark.parametrize("name", ["two words", "a) R 1 (b", "line\nbreak\n", "\udcff\x1b[m", ")"])
def test_strange_names(posix, python, tmp_path, name):
    """They are in /proc/PID/stat as they are. On the screen they are one line."""
    os.symlink(shutil.which("sleep"), path := str(tmp_path / name))
    process = subprocess.Popen([path, "60"], start_new_session=True)
    try:
        info = executed(posix, process.pid, (path, "60"))
        assert info.name == name
        assert info.sid == process.pid
        shown = python("-m", "procfast", "ps", str(process.pid)).stdout.splitlines()
        assert len(shown) == 2
        assert shown[1].isprintable()
        assert shown[1].split()[0] == str(process.pid)
    finally:
        process.kill()
        process.wait()


def test_arguments(posix):
    """As they were given: empty ones, too."""
    words = [sys.executable, "-c", "import time; time.sleep(60)", "", "a b\n", "", "\udcff", ""]
    process = subprocess.Popen(words)
    try:
        assert executed(posix, process.pid, tuple(words)).command == tuple(words)
    finally:
        process.kill()
        process.wait()


# -- the tree -------------------------------------------------------------------------------------


def test_tree(posix, start):
    """Parents come before their children, siblings by age; an orphan is not there any more."""

    def body():
        for _ in range(3):
            if os.fork() == 0:
                if os.fork() == 0:
                    sleep()
                sleep()
            time.sleep(0.03)  # ages are told in ticks, and pids may begin anew
        if os.fork() == 0:
            if os.fork() == 0:
                sleep()  # an orphan, of the same group
            os._exit(0)
        sleep()

    pid = start(body)
    tree = when(
        lambda: posix.process_tree(pid),
        lambda found: sorted(info.state for info in found) == ["S"] * 7 + ["Z"],
    )
    assert [info.depth for info in tree] == [0, 1, 2, 1, 2, 1, 2, 1]
    assert [info.state for info in tree] == ["S"] * 7 + ["Z"]
    place = {info.pid: number for number, info in enumerate(tree)}
    assert all(place[info.ppid] < place[info.pid] for info in tree[1:])
    assert tree[7].command == ()
    ours = [info for info in posix.process_tree() if info.pid in place]
    assert [info.depth for info in ours] == [1, 2, 3, 2, 3, 2, 3, 2]
    below = [info.pid for info in posix.children(pid)]
    assert below == [info.pid for info in tree if info.depth == 1]
    everything = [info.pid for info in posix.process_tree(0)]
    assert len(set(everything)) == len(everything)
    assert set(place) < set(everything)
    assert {info.pid for info in posix.children(0)} < set(everything)
    orphan = [info for info in posix.process_tree(0) if info.pgid == pid and info.pid not in place]
    assert [info.state for info in orphan] == ["S"]


def test_processes_that_vanish(posix, start):
    """While others begin and end all the time."""

    def body():
        while True:
            if os.fork() == 0:
                if os.fork() == 0:
                    os._exit(0)
                os.wait()
                os._exit(0)
            os.wait()

    pid = start(body)
    lengths = set()
    for _ in range(30):
        assert posix.process_tree()[0].pid == os.getpid()
        tree = posix.process_tree(pid)
        assert tree[0].pid == pid
        lengths.add(len(tree))
        known = {0: pid} | {info.depth: info.pid for info in tree}
        assert all(info.depth <= 2 for info in tree)
        assert known[0] == pid
    assert lengths


def test_depth_and_width_cost_no_more_than_they_must():
    """Neither a recursion nor a square of the number: the time allowed for a test would not do."""
    many = 200_000
    deep = {pid: pid - 1 for pid in range(1, many)}
    assert _proctree.order(deep, 1) == [(pid, pid - 1) for pid in range(1, many)]
    wide = dict.fromkeys(range(2, many), 1) | {1: 0}
    assert _proctree.order(wide, 1) == [(1, 0), *((pid, 1) for pid in range(2, many))]
    assert _proctree.order(deep, 1, 1) == [(1, 0), (2, 1)]


def test_a_number_used_again_closes_no_circle():
    assert _proctree.order({1: 2, 2: 1}, 1) == [(1, 0), (2, 1)]


def test_no_such_process(posix, start):
    pid = start(lambda: None)
    os.waitpid(pid, 0)
    for call in (posix.children, posix.process_tree):
        with pytest.raises(ProcessLookupError, match=f"there is no process {pid}"):
            call(pid)
        with pytest.raises(ProcessLookupError):
            call(1 << 40)


def test_bad_pid(posix):
    for call in (posix.children, posix.process_tree):
        for pid, error in (("1", TypeError), (1.0, TypeError), (-1, ValueError)):
            with pytest.raises(error, match="pid must be"):
                call(pid)


def test_thread_is_no_process(posix):
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with pytest.raises(ProcessLookupError, match="a thread"):
            posix.process_tree(thread.native_id)
    finally:
        done.set()
        thread.join()


# -- what a machine of the tests does not have: a folder in the shape of /proc ---------------------


class Proc:
    """The shape of /proc in a folder."""

    def __init__(self, folder) -> None:
        self.folder = folder
        (folder / "self").symlink_to(str(os.getpid()))
        (folder / "stat").write_text("of the system, not of a process\n")

    def add(self, pid, ppid, name="x", state="S", begun=5, files=("stat", "status", "cmdline")):
        (self.folder / str(pid)).mkdir()
        numbers = [ppid, pid, pid, 0, -1, *[0] * 9, 20, 0, 1, 0, begun, 0, 0]
        texts = {
            "stat": f"{pid} ({name}) {state} {' '.join(map(str, numbers))}\n",
            "status": f"Name:\t{name}\nUid:\t1\t2\t3\t4\nVmLck:\t       8 kB\nVmRSS:\t 16 kB\n",
            "cmdline": f"{name}\0",
        }
        for file in files:
            (self.folder / str(pid) / file).write_text(texts[file])

    def tree(self, pid=0):
        return _proctree._below(pid, None, str(self.folder))


@pytest.fixture
def proc(tmp_path):
    return Proc(tmp_path)


def test_what_the_files_say(proc):
    proc.add(7, 0, name="a", state="I")
    proc.add(9, 7, name="b", begun=3)
    proc.add(8, 7, name="c", begun=4)
    proc.add(10, 7, name="d", begun=3, state="W")
    tree = proc.tree()
    assert [info.pid for info in tree] == [7, 9, 10, 8]  # by age
    assert [info.depth for info in tree] == [1, 2, 2, 2]
    info = tree[0]
    assert (info.uid, info.locked, info.rss, info.priority) == (2, 8192, 16384, 20)
    assert info.stat == "ILs"
    assert info.meaning == "an idle thread of the kernel; has locked pages; session leader"
    assert "in state W" in tree[2].meaning


def test_vanished_between_two_looks(proc, monkeypatch):
    proc.add(1, 0)
    proc.add(2, 1)  # its number goes to another one after the first look
    proc.add(3, 2)
    proc.add(4, 1, files=())  # before it
    proc.add(5, 1, files=("stat",))  # after it
    read, looks = _proctree._read, []

    def change(folder, pid, file):
        text = read(folder, pid, file)
        if (str(pid), file) == ("2", "stat"):
            looks.append(text)
            if len(looks) == 2:
                return text.replace(b" 5 0 0\n", b" 6 0 0\n")
        return text

    monkeypatch.setattr(_proctree, "_read", change)
    assert [(info.pid, info.ppid, info.depth) for info in proc.tree(1)] == [(1, 0, 0), (3, 2, 2)]
    assert len(looks) == 2


def test_hidden(proc, monkeypatch):
    """hidepid=1 lists the processes of others and does not let them be read; =2 does not list them."""
    proc.add(1, 0)
    for pid in (os.getpid(), 3):
        proc.add(pid, 1)
    proc.add(4, 3)
    opened = open

    def hide(path, *args, **options):
        if path.startswith(f"{proc.folder}/3/"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return opened(path, *args, **options)

    monkeypatch.setattr("builtins.open", hide)
    tree = proc.tree()
    assert {info.pid for info in tree} == {os.getpid(), 1, 4}
    assert next(info for info in tree if info.pid == 4).depth == 1  # its parent is not to be seen
    with pytest.raises(PermissionError, match="hidepid"):
        proc.tree(os.getppid())


def test_proc_of_another_namespace(proc):
    (proc.folder / "self").unlink()
    (proc.folder / "self").symlink_to("123456789")
    with pytest.raises(OSError, match="another pid namespace") as caught:
        proc.tree()
    assert caught.value.errno == errno.ENOSYS


def test_no_proc(tmp_path):
    with pytest.raises(OSError, match="there is no") as caught:
        _proctree._below(None, None, str(tmp_path / "proc"))
    assert caught.value.errno == errno.ENOSYS


# -- the command ----------------------------------------------------------------------------------


def test_command(python, start):
    def body():
        if os.fork() == 0:
            have_threads()
        os.wait()

    pid = start(body)

    def shown():
        lines = python("-m", "procfast", "ps", str(pid)).stdout.splitlines()
        return lines if len(lines) == 3 and "l" in lines[2].split()[2] else None

    lines = until(shown)
    assert lines[0].split()[:3] == ["PID", "USER", "STAT"]
    assert lines[1].split()[0] == str(pid)
    assert lines[1].split()[2].startswith("S")
    assert "\\_" not in lines[1]
    assert " \\_ " in lines[2]
    records = json.loads(python("-m", "procfast", "ps", str(pid), "--json").stdout)
    assert [record["depth"] for record in records] == [0, 1]
    assert records[1]["ppid"] == pid
    assert records[1]["stat"].startswith("S")
    assert records[1]["stat"].endswith("l")
    assert abs(records[0]["started"] - time.time()) < 60
    assert any(f"{pid} " in line for line in python("-m", "procfast", "ps").stdout.splitlines())


def test_command_on_what_is_not_there(python, start):
    pid = start(lambda: None)
    os.waitpid(pid, 0)
    for word, status in ((str(pid), 1), ("-1", 1), ("x", 2)):
        done = python("-m", "procfast", "ps", word, check=False)
        assert done.returncode == status, word
        assert "Traceback" not in done.stderr
    assert (
        f"there is no process {pid}" in python("-m", "procfast", "ps", str(pid), check=False).stderr
    )


def test_command_whose_reader_leaves():
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-P", "-m", "procfast", "ps", str(os.getpid())]
        done = subprocess.run(
            command, stdout=writing, stderr=subprocess.PIPE, timeout=50, check=False
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_deep_trees_are_not_indented_for_ever():
    from procfast.cli import ps

    assert ps._branch(0) == ""
    assert ps._branch(2) == "     \\_ "
    assert len(ps._branch(100_000)) < 200
    assert "100000" in ps._branch(100_000)
