"""How many CPUs this process may keep busy."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator


def usable_cpus(root: str = "") -> int:
    """See `procfast.usable_cpus`. The files of the system are looked for below `root`."""
    told = getattr(sys, "_get_cpu_count_config", lambda: -1)()  # -X cpu_count, PYTHON_CPU_COUNT
    if told > 0:
        return int(told)
    cpus = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cpus = min(cpus, len(os.sched_getaffinity(0)))
    return min([cpus, *quotas(root)])


def quotas(root: str = "") -> Iterator[int]:
    """CPUs, rounded up, of each cgroup around this process that has a quota and is to be seen."""
    for folder in cgroups("cpu", root):
        try:
            try:  # version 2
                quota, period = map(int, _text(f"{folder}/cpu.max").split())
            except FileNotFoundError:
                quota = int(_text(f"{folder}/cpu.cfs_quota_us"))
                period = int(_text(f"{folder}/cpu.cfs_period_us"))
        except (OSError, ValueError):  # no such file (the topmost one), hidden, or "max"
            continue
        if quota > 0 and period > 0:  # -1: none
            yield -(-quota // period)


def cgroups(controller: str, root: str = "") -> Iterator[str]:
    """This process's cgroups of a controller ("cpu", "pids") and those around them, wherever they are mounted."""
    try:
        groups, mounts = (_text(f"{root}/proc/self/{file}") for file in ("cgroup", "mountinfo"))
    except OSError:
        return
    own: dict[str, str] = {}
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(controllers.split(","), path)  # of version 2 it is the empty name
    for line in mounts.splitlines():
        mount, _, filesystem = line.partition(" - ")
        _, _, _, top, place, *_ = map(_unescaped, mount.split(" "))
        kind, _, options = filesystem.split(" ", 2)
        if kind == "cgroup2":
            group = own.get("")
        elif kind == "cgroup" and controller in options.split(","):
            group = own.get(controller)
        else:
            continue
        if group is None or not f"{group}/".startswith(f"{top.rstrip('/')}/"):
            continue  # it shows other cgroups than this process's
        names = [name for name in group[len(top.rstrip("/")) :].split("/") if name]
        if ".." not in names:  # which is outside of the cgroup namespace
            for end in range(len(names) + 1):
                yield "/".join([root + place, *names[:end]])


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
