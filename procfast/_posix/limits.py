"""Why a fork failed: the kernel says EAGAIN to half a dozen limits; this finds out which."""

from __future__ import annotations

import errno
import os
import resource
import sys
from collections.abc import Iterator

from .._cpus import cgroups
from .proc import text

_CAP_SYS_ADMIN, _CAP_SYS_RESOURCE = 21, 24


def explained(error: OSError) -> OSError:
    """The error of a fork with the limit in its text, of the same errno."""
    code = error.errno or errno.EAGAIN
    why = ""
    if code == errno.EAGAIN:
        why = next(_reached(), "") or (
            "a limit on processes is reached: RLIMIT_NPROC (ulimit -u), pids.max of a cgroup, "
            "kernel.threads-max or kernel.pid_max"
        )
    elif code == errno.ENOMEM:
        why = _memory()
    return OSError(code, f"fork: {why or os.strerror(code)}")


def _number(path: str) -> int | None:
    try:
        return int(text(path))
    except ValueError:  # "max", or there is no such file
        return None


def _reached() -> Iterator[str]:
    """Those that are, the likeliest first."""
    for check in (_of_cgroups, _of_user, _of_system):
        yield from check()


def _of_user() -> Iterator[str]:
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if limit == resource.RLIM_INFINITY or _exempt():
        return
    uid = os.getuid()
    have = _threads_of(uid)
    if have is None:
        yield f"RLIMIT_NPROC (ulimit -u) allows user {uid} {limit} processes and threads"
    elif have >= limit:
        yield (
            f"RLIMIT_NPROC (ulimit -u) allows user {uid} {limit} processes and threads, "
            f"and it has {have}"
        )


def _exempt() -> bool:
    if sys.platform != "linux":
        return os.geteuid() == 0
    for line in text("/proc/self/status").splitlines():
        if line.startswith("CapEff:"):
            have = int(line.split()[1], 16)
            return bool(have & (1 << _CAP_SYS_ADMIN | 1 << _CAP_SYS_RESOURCE))
    return False


def _threads_of(uid: int) -> int | None:
    """Those that this process can see; None where there is no /proc."""
    if not text("/proc/self/status"):
        return None
    found = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = dict(
                line.split(":", 1)
                for line in text(f"/proc/{name}/status").splitlines()
                if line.startswith(("Uid:", "Threads:"))
            )
            if fields.get("Uid", "").split()[:1] == [str(uid)]:
                found += int(fields.get("Threads", "0"))
    return found


def _of_cgroups() -> Iterator[str]:
    for folder in cgroups("pids"):
        most, have = _number(f"{folder}/pids.max"), _number(f"{folder}/pids.current")
        if most is not None and have is not None and have >= most:
            yield f"pids.max of the cgroup {folder} is {most}, and it has {have}"


def _of_system() -> Iterator[str]:
    threads = text("/proc/loadavg").split()[3:4]
    have = int(threads[0].partition("/")[2]) if threads else None
    for name, unused in (
        ("threads-max", 8),
        ("pid_max", 300),
    ):  # the lowest pids are given out once
        most = _number(f"/proc/sys/kernel/{name}")
        if have is not None and most is not None and have >= most - unused:
            yield f"kernel.{name} is {most}, and the system has {have} processes and threads"


def _memory() -> str:
    try:
        spaces = [os.stat(f"/proc/self/ns/{name}").st_ino for name in ("pid", "pid_for_children")]
    except FileNotFoundError:  # there is no process yet, or no more, in the children's namespace
        spaces = [0, 0] if text("/proc/self/status") == "" else [0, 1]
    except OSError:
        spaces = [0, 0]
    if spaces[0] != spaces[1]:
        return (
            "the pid namespace for this process's children has ended: its process 1 is gone, "
            "and nothing can be started in it any more"
        )
    lines = dict(line.split(":", 1) for line in text("/proc/meminfo").splitlines() if ":" in line)
    if text("/proc/sys/vm/overcommit_memory").strip() == "2" and "CommitLimit" in lines:
        have, most = lines["Committed_AS"].strip(), lines["CommitLimit"].strip()
        return (
            f"not enough memory: vm.overcommit_memory is 2, {have} of {most} are committed, "
            "and a fork needs as much again as this process has"
        )
    return "not enough memory for a copy of this process (or of its page tables)"
