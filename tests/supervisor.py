"""The process above pytest: it adopts orphans and ends what hangs.

`conftest.py` forks before the first test; the parent stays here, the child runs the tests. As a
subreaper the parent gets every orphan of the run, so that a test can be shown to have left a
grandchild behind, and being another process it can end a test whose own process is stuck in C
with the GIL held.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from typing import NamedTuple

DUMP = signal.SIGRTMIN + 7  # to every process of a test: print the stacks of all threads
HUNG = signal.SIGRTMIN + 8  # to the process that runs the tests: fail the present one
_PR_SET_CHILD_SUBREAPER = 36
_GRACE = 10.0  # seconds for a process that was asked to go


class Proc(NamedTuple):
    pid: int
    ppid: int
    state: str
    name: str


def _read(pid: int, what: str) -> str:
    try:
        with open(f"/proc/{pid}/{what}", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""  # gone meanwhile


def describe(pid: int) -> str:
    return f"{pid} {_read(pid, 'cmdline') or _read(pid, 'comm')}"


def processes() -> dict[int, Proc]:
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (stat := _read(int(entry), "stat")):
            head, _, tail = stat.rpartition(")")
            state, ppid = tail.split()[:2]
            found[int(entry)] = Proc(int(entry), int(ppid), state, head.partition("(")[2])
    return found


def descendants(root: int) -> list[Proc]:
    table = processes()
    below = {root}
    while more := {p.pid for p in table.values() if p.ppid in below} - below:
        below |= more
    return [table[pid] for pid in sorted(below - {root})]


def catches(pid: int, signum: int) -> bool:
    for line in _read(pid, "status").splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (signum - 1) & 1)
    return False


def kill(pid: int, signum: int = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signum)


def start() -> int:
    """Forks; returns in the child only: the descriptor to tell about tests by."""
    tests_read, tests_write = os.pipe()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    main = os.fork()
    if main == 0:
        os.close(tests_read)
        return tests_write
    os.close(tests_write)
    try:
        status = _Supervisor(main, tests_read).run()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 70
    sys.stderr.flush()
    os._exit(status)


def tell(fd: int, test: str, limit: float, keep: set[int]) -> None:
    """A test begins (`limit` in seconds), or with an empty name ends."""
    os.write(fd, f"{test}\t{limit}\t{' '.join(map(str, keep))}\n".encode())


class _Supervisor:
    def __init__(self, main: int, tests: int) -> None:
        self.main, self.tests = main, tests
        self.test, self.deadline, self.keep = "", float("inf"), set()
        self.hung = False
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
        for name in ("SIGTERM", "SIGHUP"):
            signal.signal(getattr(signal, name), lambda signum, frame: kill(main, signum))

    def say(self, text: str) -> None:
        os.write(2, f"{text}\n".encode())

    def run(self) -> int:
        poll = select.poll()
        poll.register(self.tests, select.POLLIN)
        poll.register(os.pidfd_open(self.main), select.POLLIN)
        while True:
            ready = dict(poll.poll(200))
            if ready.get(self.tests, 0) & select.POLLIN:
                self.hear()
            if (status := self.reap()) is not None:
                return self.leave(status)
            if time.monotonic() > self.deadline:
                self.expired()

    def hear(self) -> None:
        *_, last = os.read(self.tests, 1 << 16).decode().splitlines()
        self.test, limit, keep = last.split("\t")
        self.keep = {int(pid) for pid in keep.split()}
        self.deadline = time.monotonic() + float(limit) if self.test else float("inf")
        self.hung = False

    def reap(self) -> int | None:
        """Takes the dead off; the tests' own status when they have ended."""
        result = None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return result
            if not pid:
                return result
            if pid == self.main:
                code = os.waitstatus_to_exitcode(status)
                result = code if code >= 0 else 128 - code

    def expired(self) -> None:
        if self.hung:
            self.say(f"{self.test}: does not react; the run ends here")
            for proc in descendants(os.getpid()):
                kill(proc.pid)
            self.deadline = float("inf")
            return
        self.say(f"\n{'=' * 20} {self.test}: hangs {'=' * 20}")
        procs = descendants(os.getpid())
        for proc in procs:
            place = _read(proc.pid, "wchan")
            self.say(
                f"\n--- {describe(proc.pid)}\n    state {proc.state}, waits in {place},"
                f" system call {_read(proc.pid, 'syscall')}"
            )
            if catches(proc.pid, DUMP):
                kill(proc.pid, DUMP)
                time.sleep(0.3)  # so that the stacks follow their heading
        # This first: the end of a child could end the test's wait, and the test would pass.
        kill(self.main, HUNG)
        for proc in procs:
            if proc.pid != self.main and proc.pid not in self.keep:
                kill(proc.pid)
        self.hung, self.deadline = True, time.monotonic() + _GRACE

    def leave(self, status: int) -> int:
        """The standard library's helpers end by themselves once the tests have."""
        end = time.monotonic() + _GRACE
        while (left := descendants(os.getpid())) and time.monotonic() < end:
            time.sleep(0.02)
            self.reap()
        for proc in left:
            self.say(f"left behind by the whole run: {describe(proc.pid)}")
            kill(proc.pid)
        return status or bool(left)
