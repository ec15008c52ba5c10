"""Whoever holds a lock, waits or notifies may die at any instant: the others go on, and are told what concerns them.

The victims are killed at random instants (`victims.py`); what each process did is counted in shared memory.
"""

import mmap
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from victims import KILLS, SEED, WITHIN, Victim, spin

from procfast.exceptions import OwnerDied

pytestmark = pytest.mark.limit(300 + KILLS)
NOTICED = 2.5  # seconds within which a death must be noticed: a look is half a second away


@pytest.fixture
def native():
    import procfast

    return procfast.get_context("fork", backend="native")


@pytest.fixture
def rng():
    print(f"PROCFAST_SEED={SEED}")  # shown when the test fails
    return random.Random(SEED)


@pytest.fixture
def cells():
    """64 numbers in shared memory."""
    with mmap.mmap(-1, 512) as memory, memoryview(memory).cast("q") as view:
        yield view


@pytest.fixture
def survivors():
    """Starts processes that run until the end of the test, when they are killed; none may have ended before."""
    started: list[Victim] = []

    def start(body):
        started.append(Victim(lambda report: body()))
        return started[-1]

    yield start
    for child in started:
        child.kill()
        child.said()


def until(condition, within=WITHIN) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.0002)


def robust(native, kind):
    return native.RLock() if kind == "RLock" else native.Lock(robust=True)


KINDS = pytest.mark.parametrize("kind", ["Lock", "RLock"])


@KINDS
def test_holder_killed(native, rng, kind):
    """Who owns it then is exact: the dead, and exactly one of all who ask is told; or nobody, and none is."""
    lock, deaths = robust(native, kind), 0
    for kill in range(KILLS):

        def victim(report):
            report(-1)
            while True:
                with lock:
                    spin(0.00005)
                spin(0.00002)

        child = Victim(victim)
        assert child.hear() == -1
        spin(rng.uniform(0, 0.001))
        child.kill()
        child.said()
        owner = lock.owner
        told: list[int] = []
        got: list[bool] = []

        def ask(block=kill % 2 == 0, told=told, got=got):
            try:
                if lock.acquire(block, WITHIN if block else None):
                    got.append(True)
                    lock.release()
            except OwnerDied as error:
                told.append(error.pid)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(WITHIN)
            assert not t.is_alive()
        if owner is None:
            assert told == []
        else:
            deaths += 1
            assert (owner.pid, owner.alive) == (child.pid, False)
            assert told == [child.pid]
        assert got or kill % 2
        assert lock.owner is None
    assert deaths > KILLS // 20


@KINDS
def test_holder_killed_beside_others(native, rng, cells, survivors, kind):
    """Others acquire and repair meanwhile. At most one is told of each death; nobody sees what nobody has repaired."""
    lock = robust(native, kind)

    def survivor(me):
        while True:
            got = lock.acquire_recover(timeout=WITHIN)
            if got is False:
                cells[60] += 1  # hangs
            elif got is not True:
                cells[me] += 1
                cells[1] = cells[0]  # the repair
            elif cells[0] != cells[1]:
                cells[61] += 1
            cells[0] += 1
            cells[1] += 1
            cells[me + 1] += 1
            lock.release()

    for me in (10, 20):
        survivors(lambda me=me: survivor(me))
    for _ in range(KILLS):

        def victim(report):
            report(-1)
            while True:
                if lock.acquire_recover() is not True:
                    cells[30] += 1
                    cells[1] = cells[0]
                cells[0] += 1
                cells[1] += 1
                lock.release()

        child = Victim(victim)
        assert child.hear() == -1
        before = cells[11], cells[21]
        spin(rng.uniform(0, 0.001))
        child.kill()
        child.said()
        until(lambda before=before: cells[11] > before[0] and cells[21] > before[1])
    assert (cells[60], cells[61]) == (0, 0)
    assert KILLS // 50 < cells[10] + cells[20] + cells[30] <= KILLS


@KINDS
def test_recoverer_killed(native, rng, kind):
    """It held the lock: the same again for the next one. Nobody hangs, and at the end the lock is free."""
    lock, told = robust(native, kind), 0
    for _ in range(KILLS // 2):
        for _ in range(3):

            def victim(report):
                report(-1)
                lock.acquire_recover()
                report(-2)
                time.sleep(60)

            child = Victim(victim)
            assert child.hear() == -1
            spin(rng.uniform(0, 0.0002))
            child.kill()
            child.said()
        got = lock.acquire_recover(timeout=WITHIN)
        assert got is not False
        if got is not True:
            told += 1
            assert (got.pid, got.alive) == (child.pid, False) or not got.alive
        lock.release()
        assert lock.acquire(False)
        lock.release()
    assert told > KILLS // 50


def test_plain_lock_names_the_dead(native, rng):
    """It stays locked, as the standard library's; `owner` says who had it, and anybody may release it."""
    lock, named = native.Lock(), 0
    for _ in range(KILLS):

        def victim(report):
            report(-1)
            while True:
                with lock:
                    spin(0.00005)

        child = Victim(victim)
        assert child.hear() == -1
        spin(rng.uniform(0, 0.0005))
        child.kill()
        child.said()
        if lock.locked():
            named += 1
            assert lock.acquire(False) is False
            owner = lock.owner
            assert (owner.pid, owner.thread, owner.alive) == (child.pid, child.pid, False)
            lock.release()
        assert lock.owner is None
        assert lock.acquire(False)
        lock.release()
    assert named > KILLS // 20


@KINDS
def test_stopped_holder_is_not_robbed(native, kind):
    lock = robust(native, kind)

    def holder(report):
        with lock:
            report(1)
            os.kill(os.getpid(), signal.SIGSTOP)
        report(2)
        time.sleep(60)

    child = Victim(holder)
    assert child.hear() == 1
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    assert lock.acquire(timeout=1.5) is False
    assert (lock.owner.pid, lock.owner.alive) == (child.pid, True)
    child.signal(signal.SIGCONT)
    assert lock.acquire(timeout=WITHIN) is True
    assert child.hear() == 2
    lock.release()
    child.kill()
    child.said()


# -- conditions -----------------------------------------------------------------------------------


class Tokens:
    """A counter under a condition: each token is put with one notify(), and taken by somebody who waits for it."""

    def __init__(self, native, cells) -> None:
        self.condition, self.cells = native.Condition(), cells

    def put(self) -> None:
        while True:
            try:
                with self.condition:
                    self.cells[0] += 1
                    self.condition.notify()
                return
            except OwnerDied:
                self.after_a_death()

    def take_for_ever(self, me) -> None:
        while True:
            try:
                with self.condition:
                    while self.cells[0] == 0:
                        self.condition.wait()
                    self.cells[0] -= 1
                    self.cells[me] += 1
            except OwnerDied:
                self.after_a_death()

    def after_a_death(self) -> None:
        """Who is told that an owner died tells the others: it may have been about to."""
        while True:
            try:
                with self.condition:
                    self.condition.notify_all()
                return
            except OwnerDied:
                continue

    def look_for_a_death(self) -> None:
        try:
            with self.condition:
                pass
        except OwnerDied:
            self.after_a_death()


def test_waiter_killed(native, rng, cells, survivors):
    """No token is left lying while somebody waits: what the dead was told is passed on."""
    tokens = Tokens(native, cells)
    for me in (10, 11):
        survivors(lambda me=me: tokens.take_for_ever(me))
    for _ in range(KILLS):

        def victim(report):
            report(-1)
            tokens.take_for_ever(12)

        child = Victim(victim)
        assert child.hear() == -1
        for _ in range(rng.randrange(6)):
            tokens.put()
            spin(rng.uniform(0, 0.0002))
        child.kill()
        child.said()
        tokens.look_for_a_death()
        until(lambda: cells[0] == 0)
    assert cells[10] + cells[11] > KILLS // 2
    assert cells[12] > 0


def test_notifier_killed(native, rng, cells, survivors):
    tokens = Tokens(native, cells)
    for me in (10, 11):
        survivors(lambda me=me: tokens.take_for_ever(me))
    for _ in range(KILLS):

        def victim(report):
            report(-1)
            while True:
                tokens.put()
                spin(0.00001)

        child = Victim(victim)
        assert child.hear() == -1
        spin(rng.uniform(0, 0.001))
        child.kill()
        child.said()
        tokens.look_for_a_death()
        until(lambda: cells[0] == 0)
    assert cells[10] + cells[11] > KILLS


def test_notification_to_the_dead_wakes_one_other(native, rng, cells, survivors):
    """notify(1), and the first of those that wait dies: it was counted, or one other goes on, and no more than one."""
    condition, go = native.Condition(native.Lock()), native.Semaphore(0)

    def wait_once(me):
        with condition:
            cells[1] += 1
            if condition.wait():
                cells[me] += 1
                cells[0] += 1

    def survivor(me):
        while True:
            go.acquire()
            wait_once(me)

    for me in (10, 11):
        survivors(lambda me=me: survivor(me))
    passed_on = 0
    for turn in range(max(KILLS // 10, 10)):
        for i in range(2, 64):
            cells[i] = 0
        cells[0] = cells[1] = 0
        child = Victim(lambda report: wait_once(12))
        until(lambda: condition._waiters() == 1)
        go.release()
        go.release()
        until(lambda: condition._waiters() == 3)
        if turn % 2:
            os.kill(child.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        with condition:
            condition.notify()
        spin(rng.uniform(0, 0.0003))
        child.signal(signal.SIGKILL)
        os.waitpid(child.pid, 0)
        child.said()
        if condition._lock.locked() and not (condition._lock.owner or condition._lock).alive:
            condition.release()  # a plain lock: somebody has to
        counted = cells[12]
        until(lambda counted=counted: counted or cells[0] == 1 or condition._lock.locked(), NOTICED)
        passed_on += not counted
        if not counted:
            time.sleep(0.05)
            assert cells[0] == 1
        with condition:
            condition.notify_all()
        until(lambda: condition._waiters() == 0)
        until(lambda: cells[10] + cells[11] == 2)
    assert passed_on > KILLS // 50


# -- semaphores and events ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Semaphore", "BoundedSemaphore"])
def test_semaphore_waiter_killed(native, rng, cells, survivors, kind):
    """A permit is taken by somebody, or there; at most one is gone with each of the dead."""
    semaphore = getattr(native, kind)(1000)
    for _ in range(1000):
        assert semaphore.acquire(False)

    def take(me):
        while True:
            semaphore.acquire()
            cells[me] += 1

    survivors(lambda: take(10))
    given = lost = 0
    for kill in range(KILLS):

        def victim(report):
            report(-1)
            take(11)

        child = Victim(victim)
        assert child.hear() == -1
        for _ in range(rng.randrange(5)):
            semaphore.release()
            given += 1
            spin(rng.uniform(0, 0.0001))
        child.kill()
        child.said()
        until(lambda: semaphore.get_value() == 0)
        until(lambda given=given, lost=lost, kill=kill: cells[10] + cells[11] >= given - kill - 1)
    lost = given - cells[10] - cells[11]
    assert 0 <= lost <= KILLS


def test_event_setter_and_waiter_killed(native, rng, cells, survivors):
    """Set or not set, and the next set() reaches everybody."""
    event = native.Event()

    def wait_for_ever(me):
        while True:
            event.wait()
            cells[me] += 1
            time.sleep(0.0001)

    for me in (10, 11):
        survivors(lambda me=me: wait_for_ever(me))
    for kill in range(KILLS):

        def victim(report, kill=kill):
            report(-1)
            while True:
                if kill % 2:
                    event.set()
                    event.clear()
                else:
                    event.wait(0.0005)

        child = Victim(victim)
        assert child.hear() == -1
        spin(rng.uniform(0, 0.001))
        child.kill()
        child.said()
        event.clear()
        time.sleep(0.001)
        before = cells[10], cells[11]
        event.set()
        until(lambda before=before: cells[10] > before[0] and cells[11] > before[1], NOTICED)
        event.clear()


# -- barriers -------------------------------------------------------------------------------------


def wait_in_thread(barrier, out):
    def wait():
        try:
            out.append(barrier.wait(30))
        except threading.BrokenBarrierError:
            out.append("broken")

    t = threading.Thread(target=wait)
    t.start()
    return t


def test_killed_around_its_arrival(native, rng):
    """One that had come breaks it, for those that wait and those that come; one that had not is as if it never were."""
    barrier, broken, whole = native.Barrier(3), 0, 0
    for kill in range(max(KILLS // 5, 20)):

        def victim(report):
            report(-1)
            barrier.wait()

        child = Victim(victim)
        if kill % 4:  # else it is killed on its way
            assert child.hear() == -1
            spin(rng.uniform(0, 0.0002))
        if kill % 2:
            until(lambda: barrier.n_waiting == 1)
        child.kill()
        child.said()
        had_come = barrier.n_waiting == 1
        out: list = []
        threads = [wait_in_thread(barrier, out)]
        if had_come:
            threads[0].join(NOTICED)
            assert out == ["broken"]
            with pytest.raises(threading.BrokenBarrierError):
                barrier.wait(30)
            assert barrier.broken
            barrier.reset()
            broken += 1
        else:
            threads += [wait_in_thread(barrier, out) for _ in range(2)]
            for t in threads:
                t.join(WITHIN)
            assert sorted(out) == [0, 1, 2]
            whole += 1
        assert (barrier.n_waiting, barrier.broken) == (0, False)
    assert broken > 5
    assert whole > 0


def test_killed_in_the_rounds(native, rng):
    """At full speed. The others are told, or wait for one who never came, and after reset() all is as before."""
    barrier = native.Barrier(3)
    rounds = told = 0
    for _ in range(max(KILLS // 20, 20)):

        def party(report):
            report(-1)
            while True:
                try:
                    barrier.wait()
                except threading.BrokenBarrierError:
                    time.sleep(60)

        children = [Victim(party) for _ in range(2)]
        for child in children:
            assert child.hear() == -1
        end = time.monotonic() + rng.uniform(0, 0.003)
        while time.monotonic() < end:
            barrier.wait(WITHIN)
            rounds += 1
        children[0].kill()
        died = time.monotonic()
        try:
            while True:
                barrier.wait(NOTICED)
                rounds += 1
                assert time.monotonic() - died < 2 * NOTICED
        except threading.BrokenBarrierError:
            told += time.monotonic() - died < NOTICED - 0.3
        children[1].kill()
        for child in children:
            child.said()
        barrier.reset()
    assert rounds > KILLS // 50
    assert told > 0


def test_killed_in_the_action(native):
    """The one that runs it dies: the others, who wait for its end, are told."""
    for _ in range(max(KILLS // 100, 3)):
        reached, acted = os.pipe()
        barrier = native.Barrier(
            2, action=lambda acted=acted: (os.write(acted, b"x"), time.sleep(60))
        )
        out: list = []
        t = wait_in_thread(barrier, out)
        until(lambda barrier=barrier: barrier.n_waiting == 1)
        child = Victim(lambda report, barrier=barrier: barrier.wait())
        assert os.read(reached, 1) == b"x"
        child.kill()
        child.said()
        t.join(NOTICED)
        assert out == ["broken"]
        os.close(reached)
        os.close(acted)


PID_REUSED = """
import os, procfast, signal, sys
from procfast.exceptions import OwnerDied
ctx = procfast.get_context("fork", backend="native")
lock = ctx.RLock() if sys.argv[1] == "RLock" else ctx.Lock(robust=True)

def fork(body):
    with open("/proc/sys/kernel/ns_last_pid", "w") as last:
        last.write("299")
    pid = os.fork()
    if pid == 0:
        body()
        os._exit(0)
    assert pid == 300, pid
    return pid

def hold():
    lock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)

def stay():
    print(lock._semlock._is_mine(), lock.owner.pid == os.getpid(), lock.owner.alive, flush=True)
    signal.pause()

os.waitpid(fork(hold), 0)
again = fork(stay)
sys.stdin.readline()
try:
    lock.acquire(timeout=10)
except OwnerDied as error:
    print("OwnerDied", error.pid)
print(lock.acquire(timeout=0), flush=True)
os.kill(again, signal.SIGKILL)
os.waitpid(again, 0)
"""


@KINDS
def test_pid_of_the_dead_is_reused(kind, script):
    """A live process with the pid and thread id of a dead owner is not taken for it, nor takes itself for it."""
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    with subprocess.Popen(
        ["unshare", *rights, "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-P",
         script(PID_REUSED), kind],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as container:  # fmt: skip
        assert container.stdout.readline() == "False True False\n"
        assert container.communicate("go\n", timeout=30)[0] == "OwnerDied 300\nTrue\n"
        assert container.returncode == 0
