"""children and process_tree of procfast.posix: what ps shows, as data.

Read from /proc, so the same on every backend.
"""

from __future__ import annotations

import errno
import operator
import os
import time
from collections import defaultdict
from typing import Any, NamedTuple

__all__ = ["ProcessInfo", "children", "process_tree"]

_PROC = "/proc"

STATES = {
    "R": "running, or ready to run",
    "S": "asleep until something comes",
    "D": "asleep in the kernel, mostly for a disk: not even SIGKILL may wake it",
    "T": "stopped by a signal (SIGCONT lets it go on)",
    "t": "stopped by a debugger",
    "Z": "ended, and its parent has not waited for it (zombie)",
    "I": "an idle thread of the kernel",
    "X": "ending",
}
FLAGS = {
    "<": "high priority",
    "N": "low priority",
    "L": "has locked pages",
    "s": "session leader",
    "l": "several threads",
    "+": "in the foreground of its terminal",
}


class ProcessInfo(NamedTuple):
    """A process, as it was when `children` or `process_tree` looked."""

    pid: int
    ppid: int  # 0: the parent is outside of this container (pid namespace), or the kernel
    pgid: int
    sid: int
    depth: int  # steps below the process that was asked for, which has 0
    uid: int  # the effective user id
    name: str  # of the program, at most 15 bytes; a process may change it
    command: tuple[str, ...]  # the command line; () of a zombie and of the kernel's threads
    state: str  # a letter: R S D T t Z I X
    nice: int
    priority: int  # the kernel's: 20 + nice, or below 0 for real-time
    threads: int
    foreground: bool
    locked: int  # bytes that are locked into memory
    rss: int  # bytes of memory that are resident
    since_boot: float  # when it began, in seconds after the system; pid and this name it for good

    @property
    def started(self) -> float:
        """When it began, as time.time(): right to 10 ms, if the clock was."""
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + self.since_boot

    @property
    def stat(self) -> str:
        """State and flags as the column STAT of ps has them: "Ss+", "SNl".

        `<` high priority, `N` low, `L` locked pages, `s` session leader, `l` several threads, `+` foreground.
        """
        flags = (
            self.nice < 0,
            self.nice > 0,
            self.locked > 0,
            self.sid == self.pid,
            self.threads > 1,
            self.foreground,
        )
        return self.state + "".join(flag for flag, on in zip(FLAGS, flags, strict=True) if on)

    @property
    def meaning(self) -> str:
        """`stat` in words."""
        state = STATES.get(self.state, f"in state {self.state}")
        return "; ".join([state, *(FLAGS[flag] for flag in self.stat[1:])])


def children(pid: int | None = None) -> list[ProcessInfo]:
    """The child processes of a process (None: of this one), oldest first; zombies too.

    Of 0: those without a parent that can be seen from here. A process that begins or ends meanwhile may be in it or
    not. It reads /proc, once for each process of the system, and waits for nobody.

    ProcessLookupError: there is no such process. PermissionError: it is hidden (/proc mounted with hidepid; such
    children are missing). OSError(ENOSYS): no /proc (macOS, where `ps -axo pid,ppid,stat,command` tells), or one
    of another pid namespace.
    """
    return [info for info in _below(pid, 1) if info.depth]


def process_tree(pid: int | None = None) -> list[ProcessInfo]:
    """A process (None: this one) and all below it, each before its children, those oldest first; 0: all processes.

    `depth` says how far below. A process whose parent ended belongs to another parent (pid 1, mostly), so it is not
    below its grandparent any more. One that ends meanwhile may be missing where its children are not. Otherwise as
    `children`.
    """
    return _below(pid, None)


def _below(pid: int | None, deepest: int | None, proc: str = _PROC) -> list[ProcessInfo]:
    root = os.getpid() if pid is None else _checked(pid)
    _check_namespace(proc)
    found = {}
    for name in os.listdir(proc):
        if name.isdecimal() and (text := _read(proc, name, "stat")):
            found[int(name)] = _fields(text)
    if root and root not in found:
        _not_there(root, proc)
    parents = {
        each: int(found[each][_PPID]) for each in sorted(found, key=lambda p: (_begun(found[p]), p))
    }
    infos = [_info(proc, each, depth, found[each]) for each, depth in order(parents, root, deepest)]
    return [info for info in infos if info]


def order(parents: dict[int, int], root: int, deepest: int | None = None) -> list[tuple[int, int]]:
    """(pid, depth) of root and all below it, parents first, siblings in the order of `parents`."""
    below = defaultdict(list)
    for pid, parent in parents.items():
        below[parent if parent in parents else 0].append(pid)
    ordered, seen, left = [], set(), [(root, 0)]
    while left:
        pid, depth = left.pop()
        if pid in seen:  # a number that was used again meanwhile can close a circle
            continue
        seen.add(pid)
        if pid:
            ordered.append((pid, depth))
        if deepest is None or depth < deepest:
            left += [(child, depth + 1) for child in reversed(below[pid])]
    return ordered


def _checked(pid: Any) -> int:
    try:
        number = operator.index(pid)
    except TypeError:
        raise TypeError(f"pid must be an int or None, not {type(pid).__name__}") from None
    if number < 0:
        raise ValueError(f"pid must be 0 or more, not {number}")
    return number


def _check_namespace(proc: str) -> None:
    try:
        shown = os.readlink(f"{proc}/self")
    except FileNotFoundError:
        shown = ""
    if shown != str(os.getpid()):
        text = (
            f"{proc} is of another pid namespace than this process: its numbers mean other processes. "
            "Mount one of this namespace (unshare --mount-proc)"
            if os.path.lexists(f"{proc}/self")
            else f"there is no {proc}, which tells of processes. `ps -axo pid,ppid,stat,command` may"
        )
        raise OSError(errno.ENOSYS, text)


def _not_there(pid: int, proc: str) -> None:
    if os.path.exists(f"{proc}/{pid}/stat"):
        raise ProcessLookupError(
            errno.ESRCH, f"{pid} is a thread, or a process that began just now"
        )
    try:
        os.kill(pid, 0)
    except PermissionError:
        pass  # it is there
    except (ProcessLookupError, OverflowError):
        raise ProcessLookupError(errno.ESRCH, f"there is no process {pid}") from None
    raise PermissionError(errno.EACCES, f"process {pid} is hidden: {proc} is mounted with hidepid")


# -- the files of a process -----------------------------------------------------------------------

# Fields of stat after the name; proc_pid_stat(5) counts from 1, with pid and name before these.
_STATE, _PPID, _PGID, _SID, _TPGID = 0, 1, 2, 3, 5
_PRIORITY, _NICE, _THREADS, _BEGUN = 15, 16, 17, 19


def _read(proc: str, pid: str | int, file: str) -> bytes | None:
    """None: the process has ended, or is hidden."""
    try:
        with open(f"{proc}/{pid}/{file}", "rb", buffering=0) as opened:
            return opened.readall()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def _fields(stat: bytes) -> list[bytes]:
    """After the name, in which anything may stand: spaces, newlines, parentheses."""
    return stat[stat.rindex(b")") + 1 :].split()


def _begun(fields: list[bytes]) -> int:
    return int(fields[_BEGUN])


def _number(status: bytes, key: bytes, which: int = 0) -> int:
    """Of a line of status, whose name has its newlines escaped; 0 where there is none."""
    _, _, rest = status.partition(b"\n" + key + b":")
    return int(rest.partition(b"\n")[0].split()[which]) if rest else 0


def _info(proc: str, pid: int, depth: int, seen: list[bytes]) -> ProcessInfo | None:
    """None: it has ended. Its place is where it was first seen; its parent may have ended since."""
    status, command = _read(proc, pid, "status"), _read(proc, pid, "cmdline")
    stat = _read(proc, pid, "stat")  # last: if it is still the same process, so were the others
    if status is None or command is None or not stat:
        return None
    fields = _fields(stat)
    if fields[_BEGUN] != seen[_BEGUN]:
        return None
    return ProcessInfo(
        pid=pid,
        ppid=int(seen[_PPID]),
        pgid=int(fields[_PGID]),
        sid=int(fields[_SID]),
        depth=depth,
        uid=_number(status, b"Uid", 1),
        name=os.fsdecode(stat[stat.index(b"(") + 1 : stat.rindex(b")")]),
        command=tuple(os.fsdecode(command.removesuffix(b"\0")).split("\0")) if command else (),
        state=os.fsdecode(fields[_STATE]),
        nice=int(fields[_NICE]),
        priority=int(fields[_PRIORITY]),
        threads=int(fields[_THREADS]),
        foreground=fields[_PGID] == fields[_TPGID],
        locked=_number(status, b"VmLck") << 10,
        rss=_number(status, b"VmRSS") << 10,
        since_boot=_begun(fields) / os.sysconf("SC_CLK_TCK"),
    )
