"""Named segments whose creators, readers, sweepers die at any instant: nothing of the dead stays, nothing alive goes.

A segment goes when the process that answers for it is dead and nobody has it open or mapped. Each test has a prefix of
its own for names, by which it knows what it made. Other programs may sweep at any time: so what is asked is whether a
segment is there, not who removed it.
"""

import ctypes
import fcntl
import multiprocessing.shared_memory
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from victims import KILLS, SEED, Victim, spin

DIRECTORY = "/dev/shm"
F_SETSIG = 10  # of fcntl(2); Python 3.11 has no name for it
Original = multiprocessing.shared_memory.SharedMemory


@pytest.fixture
def native():
    import procfast

    return procfast.get_context("fork", backend="native")


@pytest.fixture
def rng():
    print(f"PROCFAST_SEED={SEED}")  # shown when the test fails
    return random.Random(SEED)


@pytest.fixture
def prefix(request):
    """Begins the names of this test; in the end none of them is left."""
    text = f"pf-{request.node.originalname}-{os.getpid()}-"
    yield text
    left = names(text)
    for name in left:
        os.unlink(f"{DIRECTORY}/{name}")
    assert not left


@pytest.fixture
def sweep(native):
    from importlib import import_module

    return import_module("procfast.native.segments").sweep


@pytest.fixture
def records(native):
    from importlib import import_module

    return import_module("procfast.native._native")


def names(prefix: str) -> set[str]:
    return {name for name in os.listdir(DIRECTORY) if name.startswith(prefix)}


def inode(name: str) -> int:
    return os.stat(f"{DIRECTORY}/{name}").st_ino


def wait_for(condition) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def sweep_away(sweep, prefix: str) -> None:
    """At once; but another program's sweep may have one in hand."""

    def gone() -> bool:
        sweep()
        return not names(prefix)

    wait_for(gone)


class Child(Victim):
    """A victim that does something and then waits to be killed; `ready` when it waits."""

    def __init__(self, body) -> None:
        def run(report):
            body()
            report(1)
            signal.pause()

        super().__init__(run)
        assert self.hear() == 1

    def end(self) -> None:
        self.kill()
        self.said()


# -- whose segments go, and whose stay ------------------------------------------------------------


@pytest.mark.parametrize("closed", [False, True])
def test_swept_when_its_creator_is_killed(native, sweep, prefix, closed):
    def body():
        segment = native.SharedMemory(prefix + "a", create=True, size=100)
        keep.append(segment)
        if closed:
            segment.close()

    keep: list = []
    child = Child(body)
    assert prefix + "a" not in sweep() and names(prefix)
    child.end()
    sweep_away(sweep, prefix)


def test_swept_by_the_first_create(native, prefix):
    """Of another process; and by a later one of the same when ten seconds have gone."""
    Child(lambda: native.SharedMemory(prefix + "a", create=True, size=9).close()).end()

    def body():
        segment = native.SharedMemory(create=True, size=9)
        segment.close()
        segment.unlink()

    Child(body).end()
    wait_for(lambda: not names(prefix))


def test_not_at_every_create(native, sweep, prefix):
    """Nor within ten seconds of the last time."""
    turn, go = os.pipe()

    def create(report):
        for _ in range(2):
            segment = native.SharedMemory(create=True, size=9)
            segment.close()
            segment.unlink()
            report(1)
            os.read(turn, 1)

    creator = Victim(create)
    assert creator.hear() == 1
    Child(lambda: native.SharedMemory(prefix + "a", create=True, size=9).close()).end()
    os.write(go, b"x")
    assert creator.hear() == 1
    assert names(prefix)
    creator.kill()
    creator.said()
    os.close(turn)
    os.close(go)
    sweep_away(sweep, prefix)


def test_its_name_is_free_again(native, prefix):
    """A restarted program creates what its killed predecessor had, at once."""
    for _ in range(3):
        child = Child(lambda: native.SharedMemory(prefix + "a", create=True, size=9).close())
        child.end()
    segment = native.SharedMemory(prefix + "a", create=True, size=9)
    assert segment.buf[0] == 0
    segment.close()
    segment.unlink()


@pytest.mark.parametrize("kind", ["native", "stdlib"])
def test_spared_while_somebody_has_it(native, sweep, prefix, kind):
    """Closed descriptor or not, by whichever library: a reader of the standard library's holds no lock of ours."""
    child = Child(lambda: native.SharedMemory(prefix + "a", create=True, size=100).close())
    if kind == "native":
        reader = native.SharedMemory(prefix + "a")
    else:
        reader = Original(prefix + "a")
        multiprocessing.resource_tracker.unregister(reader._name, "shared_memory")
    child.end()
    assert prefix + "a" not in sweep() and names(prefix)
    os.close(reader._fd)
    reader._fd = -1  # only the mapping is left
    assert prefix + "a" not in sweep() and names(prefix)
    reader.close()
    sweep_away(sweep, prefix)


def test_spared_are_others(native, sweep, prefix):
    """track=False, the standard library's, plain files, links, directories, other users', copies with all times."""

    def body():
        native.SharedMemory(prefix + "untracked", create=True, size=10, track=False).close()
        native.SharedMemory(prefix + "tracked", create=True, size=10).close()
        native.SharedMemory(prefix + "theirs", create=True, size=10).close()
        foreign = Original(prefix + "foreign", create=True, size=10)
        multiprocessing.resource_tracker.unregister(foreign._name, "shared_memory")
        foreign.close()

    Child(body).end()
    tracked = f"{DIRECTORY}/{prefix}tracked"
    times = os.stat(tracked)
    with open(f"{DIRECTORY}/{prefix}copy", "wb") as file:
        os.utime(file.fileno(), ns=(times.st_atime_ns, times.st_mtime_ns))
    os.mkdir(f"{DIRECTORY}/{prefix}directory")
    os.symlink(tracked, f"{DIRECTORY}/{prefix}link")
    everything = names(prefix) - {prefix + "tracked"}
    if os.geteuid() == 0:
        os.chown(f"{DIRECTORY}/{prefix}theirs", 65534, 65534)
    else:  # only root can make it another user's
        everything -= {prefix + "theirs"}
    sweep()
    assert names(prefix) == everything and len(everything) >= 5
    os.rmdir(f"{DIRECTORY}/{prefix}directory")
    for name in names(prefix):
        os.unlink(f"{DIRECTORY}/{name}")


def test_stopped_creator_is_not_dead(native, sweep, prefix):
    child = Child(lambda: native.SharedMemory(prefix + "a", create=True, size=9).close())
    child.signal(signal.SIGSTOP)
    sweep()
    assert names(prefix)
    child.signal(signal.SIGCONT)
    sweep()
    assert names(prefix)
    child.end()
    sweep_away(sweep, prefix)


def test_creator_that_closed_all_descriptors_is_not_dead(native, sweep, prefix):
    """A daemoniser closes what it does not know; the lock goes with it, the process does not."""

    def body():
        native.SharedMemory(prefix + "a", create=True, size=9).close()
        for fd in os.listdir("/proc/self/fd"):
            if os.path.realpath(f"/proc/self/fd/{fd}") == DIRECTORY:
                os.close(int(fd))
                closed.append(fd)
        assert closed

    closed: list = []
    child = Child(body)
    sweep()
    assert names(prefix)
    child.end()
    sweep_away(sweep, prefix)


def test_unreaped_is_dead(native, sweep, prefix):
    child = Child(lambda: native.SharedMemory(prefix + "a", create=True, size=9).close())
    child.signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie
    sweep_away(sweep, prefix)
    os.waitpid(child.pid, 0)
    child.said()


def test_pid_used_again(native, sweep, records, prefix):
    """A record of a process of the same pid and another start time, as if the pid had been used again."""
    segment = native.SharedMemory(prefix + "a", create=True, size=9)
    segment.close()
    mine = records.segment_owner()
    assert mine >> 24 == os.getpid()
    assert records.segment_give(segment._name, mine, mine ^ 1)
    sweep_away(sweep, prefix)


def test_forked_child_has_it(native, sweep, prefix):
    """A child that inherited the mapping keeps the segment, not longer than it lives."""

    def body():
        segment = native.SharedMemory(prefix + "a", create=True, size=9)
        if os.fork() == 0:
            signal.pause()
        keep.append(segment)

    keep: list = []
    child = Child(body)
    with open(f"/proc/{child.pid}/task/{child.pid}/children") as file:
        grandchild = int(file.read())
    child.kill()
    sweep()
    assert names(prefix)
    os.kill(grandchild, signal.SIGKILL)
    child.said()  # the end of its pipe: it is gone
    sweep_away(sweep, prefix)


@pytest.mark.parametrize("by", ["python", "C"])
def test_forked_child_does_not_keep_its_parent_alive(native, sweep, prefix, by):
    """Forked after close(), it has neither mapping nor lock. One that C code forked has the lock until it ends."""

    def body():
        native.SharedMemory(prefix + "a", create=True, size=9).close()
        if (os.fork() if by == "python" else libc.fork()) == 0:
            libc.pause()

    libc = ctypes.PyDLL(None)
    child = Child(body)
    with open(f"/proc/{child.pid}/task/{child.pid}/children") as file:
        grandchild = int(file.read())
    child.kill()
    if by == "python":
        sweep_away(sweep, prefix)  # when its fork hook has run
        assert not names(prefix)
    else:
        sweep()
        assert names(prefix)
    os.kill(grandchild, signal.SIGKILL)
    child.said()
    sweep_away(sweep, prefix)


def test_exit_of_a_forked_child_drops_nothing(native, sweep, prefix):
    segment = native.SharedMemory(prefix + "a", create=True, size=9)
    segment.close()
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        sweep()
        Child(sweep).end()
        assert names(prefix)
    segment.unlink()


def test_handed_to_the_parent(native, sweep, prefix, python, script):
    """What a Process leaves at its normal end is its parent's, and goes with that one."""
    path = script(
        f"""
import procfast, sys
def work():
    procfast.SharedMemory({prefix + "a"!r}, create=True, size=9).close()
if __name__ == "__main__":
    p = procfast.Process(target=work)
    p.start(); p.join()
    print(p.exitcode, flush=True)
    sys.stdin.read()
"""
    )
    with subprocess.Popen(
        [sys.executable, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout.readline() == "0\n"
        sweep()
        assert names(prefix)
        parent.kill()
    sweep_away(sweep, prefix)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_left_by_a_child(prefix, python, script, method):
    """What a Process left and nobody unlinked goes at the normal end of its parent, which never made any itself."""
    path = script(
        f"""
import procfast, sys
def work():
    procfast.SharedMemory({prefix + "a"!r}, create=True, size=9).close()
if __name__ == "__main__":
    p = procfast.get_context({method!r}).Process(target=work)
    p.start(); p.join()
    print(p.exitcode)
"""
    )
    done = python(path)
    assert done.stdout == "0\n" and prefix + "a" in done.stderr
    assert not names(prefix)


def test_nothing_is_left_of_a_group(native, sweep, prefix, script):
    """Parent, children, grandchildren, all killed at once."""
    path = script(
        f"""
import procfast, time, os
def work(depth, tag):
    for i in range(5):
        s = procfast.SharedMemory(f"{prefix}{{tag}}-{{i}}", create=True, size=5000)
        if i % 2:
            s.close()
    if depth:
        ps = [procfast.Process(target=work, args=(depth - 1, f"{{tag}}{{k}}")) for k in range(2)]
        [p.start() for p in ps]
    else:
        os.write(1, b"ready\\n")
    time.sleep(100)
if __name__ == "__main__":
    work(2, "x")
"""
    )
    with subprocess.Popen(
        [sys.executable, path], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as group:
        assert [group.stdout.readline() for _ in range(4)] == ["ready\n"] * 4
        assert len(names(prefix)) == 35
        sweep()
        assert len(names(prefix)) == 35
        os.killpg(group.pid, signal.SIGKILL)
        group.stdout.read()  # its end: all are gone
    sweep_away(sweep, prefix)


def test_command(native, prefix, python):
    alive = native.SharedMemory(prefix + "alive", create=True, size=9)  # first: it may sweep
    Child(lambda: native.SharedMemory(prefix + "a", create=True, size=9).close()).end()
    done = python("-m", "procfast", "info", "--sweep")
    assert f"swept {prefix}a" in done.stdout.splitlines() and names(prefix) == {alive.name}
    done = python("-m", "procfast", "info", "--sweep", "--json")
    assert f"{prefix}a" not in done.stdout and "swept" in done.stdout
    alive.close()
    alive.unlink()


def test_other_pid_namespace(native, sweep, prefix, script):
    """Pids mean nothing between containers that share /dev/shm; the lock on it does."""
    path = script(
        f"""
import procfast, sys
procfast.SharedMemory({prefix + "a"!r}, create=True, size=9).close()
print("ready", flush=True)
sys.stdin.read()
"""
    )
    rights = [] if os.geteuid() == 0 else ["--map-current-user"]
    with subprocess.Popen(
        ["unshare", *rights, "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as container:  # fmt: skip
        assert container.stdout.readline() == "ready\n"
        sweep()
        assert names(prefix)
        container.kill()
        container.stdout.read()
    sweep_away(sweep, prefix)


# -- at any instant -------------------------------------------------------------------------------


def use(native, prefix: str, report, rng) -> None:
    """Create, attach, close, unlink, leave, sweep, until it is killed."""
    for i in range(1 << 20):
        name = f"{prefix}{os.getpid()}-{i}"
        segment = native.SharedMemory(name, create=True, size=rng.choice((10, 5000, 2 << 20)))
        segment.buf[0] = 1
        other = native.SharedMemory(name)
        step = rng.randrange(4)
        if step & 1:
            segment.close()
        if step & 2:
            segment.unlink()
        other.close()
        report(i)


@pytest.mark.limit(600)
def test_users_killed(native, sweep, prefix, rng):
    """After the sweep nothing of the dead is left, and all that is alive is there, in use or not."""
    held = [native.SharedMemory(f"{prefix}held-{i}", create=True, size=9) for i in range(4)]
    held[0].close()
    held[1].buf[0] = 7
    untracked = native.SharedMemory(prefix + "held-untracked", create=True, size=9, track=False)
    untracked.close()
    alive = {s.name: inode(s.name) for s in [*held, untracked]}
    steps = 0
    for kill in range(KILLS):
        child = Victim(lambda report: use(native, prefix, report, rng))
        rng.random()  # the next one does other things
        if kill % 3 == 0:
            child.hear()
        spin(rng.uniform(0, 0.003))
        child.kill()
        dead = f"{prefix}{child.pid}-"
        steps += len(child.said())
        sweep_away(sweep, dead)
        assert {name: inode(name) for name in names(prefix)} == alive, kill
    assert steps > KILLS / 4
    for segment in [*held, untracked]:
        segment.close()
        segment.unlink()


@pytest.mark.limit(600)
def test_sweepers_killed(native, sweep, prefix, rng):
    """Two at once, one of them killed: what it leaves the other sweeps, and nothing else goes."""
    alive = native.SharedMemory(prefix + "alive", create=True, size=9)
    alive.close()
    for kill in range(max(1, KILLS // 10)):
        made = 20

        def leave(kill=kill, made=made):
            for i in range(made):
                native.SharedMemory(f"{prefix}{kill}-{i}", create=True, size=9).close()

        Child(leave).end()

        def sweep_for_ever(report):
            report(0)
            while True:
                sweep()

        sweepers = [Victim(sweep_for_ever) for _ in range(2)]
        for each in sweepers:
            assert each.hear() == 0
        spin(rng.uniform(0, 0.001))
        sweepers[0].kill()
        if kill % 2:
            sweepers[1].kill()
            sweep_away(sweep, f"{prefix}{kill}-")
        else:
            wait_for(lambda: len(names(prefix)) == 1)
            sweepers[1].kill()
        for each in sweepers:
            each.said()
        assert names(prefix) == {alive.name}
    alive.unlink()


@pytest.mark.limit(600)
def test_two_sweepers_at_once_leave_nothing(native, sweep, prefix):
    """Each of them has what the other looks at open for a moment: neither may take that for a user."""
    for turn in range(20):
        tag = f"{prefix}{turn}-"

        def leave(tag=tag):
            for i in range(50):
                native.SharedMemory(f"{tag}{i}", create=True, size=9).close()

        Child(leave).end()

        def sweep_once(report):
            sweep()
            report(1)

        sweepers = [Victim(sweep_once) for _ in range(3)]
        for each in sweepers:
            assert each.said() == [1]
            os.waitpid(each.pid, 0)
        wait_for(lambda tag=tag: not names(tag))


@pytest.mark.limit(600)
def test_one_name_used_again_and_again(native, sweep, prefix, rng):
    """Whoever has created the name has it until it unlinks it, whoever is killed or sweeps meanwhile."""
    name = prefix + "one"

    def contend(report):
        for i in range(1 << 20):
            try:
                segment = native.SharedMemory(name, create=True, size=9)
            except FileExistsError:
                sweep()
                continue
            mine = os.fstat(segment._fd).st_ino
            if i % 2:
                segment.close()
            for _ in range(i % 3):
                try:
                    if inode(name) != mine:
                        report(-1)
                except FileNotFoundError:
                    report(-2)
            try:
                if inode(name) != mine:
                    report(-3)
                segment.unlink()
            except FileNotFoundError:
                report(-4)
            segment.close()
            report(1)

    said = []
    children = [Victim(contend) for _ in range(3)]
    for _ in range(max(3, KILLS // 4)):
        spin(rng.uniform(0, 0.01))
        which = rng.randrange(3)
        children[which].kill()
        said += children[which].said()
        children[which] = Victim(contend)
    for child in children:
        child.kill()
        said += child.said()
    assert set(said) == {1}
    sweep_away(sweep, prefix)


def test_unlink_waits_for_a_sweep(native, sweep, prefix):
    """A sweep between its last look and its unlink would remove what gets the name meanwhile: so nobody frees the name.

    The test is the sweep: it has the lease.
    """
    name = prefix + "a"
    turn, go = os.pipe()
    owner = Child(lambda: native.SharedMemory(name, create=True, size=9).close())

    def unlink(report):
        segment = native.SharedMemory(name)
        segment.close()
        report(1)
        os.read(turn, 1)
        segment.unlink()
        report(2)

    other = Victim(unlink)
    assert other.hear() == 1
    owner.end()
    fd = os.open(f"{DIRECTORY}/{name}", os.O_RDWR)
    fcntl.fcntl(fd, F_SETSIG, signal.SIGURG)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    os.write(go, b"x")
    time.sleep(0.3)
    assert names(prefix)
    os.close(fd)
    assert other.said() == [2] and not names(prefix)
    os.waitpid(other.pid, 0)
    os.close(turn)
    os.close(go)


def test_attaching_to_what_is_being_swept(native, prefix):
    """Who has found the name when it is removed looks again, and finds that there is none. The test is the sweep."""
    name = prefix + "a"
    Child(lambda: native.SharedMemory(name, create=True, size=9).close()).end()
    fd = os.open(f"{DIRECTORY}/{name}", os.O_RDWR)
    fcntl.fcntl(fd, F_SETSIG, signal.SIGURG)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)

    def attach(report):
        os.close(fd)  # the child's copy
        report(1)
        with pytest.raises(FileNotFoundError):
            native.SharedMemory(name)
        report(2)

    reader = Victim(attach)
    assert reader.hear() == 1
    time.sleep(0.2)  # it waits in open()
    os.unlink(f"{DIRECTORY}/{name}")
    os.close(fd)
    assert reader.said() == [2]
    os.waitpid(reader.pid, 0)


def test_looks_again_at_what_somebody_had_open_for_a_moment(native, sweep, prefix, monkeypatch):
    Child(lambda: native.SharedMemory(prefix + "a", create=True, size=9).close()).end()
    fd = os.open(f"{DIRECTORY}/{prefix}a", os.O_RDWR)
    pauses = []

    def pause(seconds):
        if seconds:
            if not pauses:
                os.close(fd)
            pauses.append(seconds)

    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", pause)
        assert prefix + "a" in sweep()
    assert len(pauses) == 1


@pytest.mark.limit(300)
def test_readers_of_the_dead(native, sweep, prefix):
    """A reader that attaches while it is swept has it, name and all, or is told that it is not there."""

    def leave(name):
        Child(lambda: native.SharedMemory(name, create=True, size=9).close()).end()

    def attach(report, name):
        while True:
            try:
                segment = native.SharedMemory(name)
            except FileNotFoundError:
                report(0)
                return
            if os.fstat(segment._fd).st_nlink == 0:
                report(-1)
            for _ in range(50):
                if not os.path.exists(f"{DIRECTORY}/{name}"):
                    report(-2)
                    return
            segment.close()
            spin(0.0005)

    for turn in range(max(20, KILLS // 20)):
        name = f"{prefix}{turn}"
        leave(name)
        readers = [Victim(lambda report, name=name: attach(report, name)) for _ in range(2)]
        sweep_away(sweep, prefix)
        for reader in readers:
            assert reader.said() == [0]
            os.waitpid(reader.pid, 0)
