"""What a spawned process sees of itself, field by field."""

import ctypes
import fcntl
import gc
import importlib
import json
import os
import resource
import signal
import stat
import sys
import threading
from multiprocessing import reduction

_RLIMITS = [name for name in dir(resource) if name.startswith("RLIMIT_")]
_INHERITED = [
    "Umask", "Uid", "Gid", "Groups", "SigIgn", "SigPnd", "ShdPnd", "CapInh", "CapPrm", "CapEff",
    "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "Cpus_allowed", "Mems_allowed",
    "Threads", "THP_enabled",
]  # fmt: skip


def text_of(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError as error:
        return error.strerror


def status(pid: int | str = "self") -> dict[str, str]:
    lines = (line.partition(":\t") for line in text_of(f"/proc/{pid}/status").splitlines())
    return {key: value for key, _, value in lines}


def descriptors(pid: int | str = "self") -> dict[str, str]:
    found = {}
    for fd in sorted(os.listdir(f"/proc/{pid}/fd"), key=int):
        try:
            found[fd] = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue  # the listing's own
    return found


def _stream(stream) -> list:
    return [
        type(stream).__name__, stream.fileno(), stream.encoding, stream.errors, stream.isatty(),
        stream.line_buffering, stream.mode, stream.seekable() and stream.buffer.tell(),
    ]  # fmt: skip


def seen() -> dict:
    """All that this process inherited or was told, fit for JSON."""
    libc = ctypes.CDLL(None)
    here = status()
    session = os.getsid(0)
    return {
        "argv": sys.argv,
        "orig_argv": sys.orig_argv,
        "flags": str(sys.flags),
        "xoptions": str(sys._xoptions),
        "warnings": sys.warnoptions,
        "path": sys.path,
        "modules": sorted(sys.modules),
        "main": sorted(vars(sys.modules["__main__"])),
        "environ": dict(os.environ),
        "C environ": sorted(text_of("/proc/self/environ").split("\0")),
        "cwd": os.getcwd(),
        "root": os.stat("/").st_ino,
        "status": {key: here.get(key) for key in _INHERITED},
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in _RLIMITS},
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "scheduler": [os.sched_getscheduler(0), os.sched_getparam(0).sched_priority],
        "affinity": sorted(os.sched_getaffinity(0)),
        "ioprio": libc.syscall(252 if os.uname().machine == "x86_64" else 31, 1, 0),
        "mask": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
        "handlers": [str(signal.getsignal(s)) for s in sorted(signal.valid_signals())],
        "group": os.getpgrp(),
        "session": session,
        "terminal": text_of("/proc/self/stat").rpartition(")")[2].split()[4],
        "namespaces": {n: os.readlink(f"/proc/self/ns/{n}") for n in os.listdir("/proc/self/ns")},
        "cgroup": text_of("/proc/self/cgroup"),
        "oom": text_of("/proc/self/oom_score_adj"),
        "core": text_of("/proc/self/coredump_filter"),
        "label": text_of("/proc/self/attr/current"),
        "prctl": {n: libc.prctl(n, 0, 0, 0, 0) for n in (3, 27, 30, 34, 39, 42, 66, 68)},
        "personality": libc.personality(0xFFFFFFFF),
        "parent": os.getppid(),
        "threads": [thread.name for thread in threading.enumerate()],
        "name": text_of("/proc/self/comm"),
        "exe": os.readlink("/proc/self/exe"),
        "executable": sys.executable,
        "streams": [_stream(sys.stdout), _stream(sys.stderr)],
        "interval": sys.getswitchinterval(),
        "recursion": sys.getrecursionlimit(),
        "garbage": [gc.isenabled(), gc.get_threshold(), gc.get_debug()],
        "umask": _umask(),
        "inheritable": [fd for fd in descriptors() if _inheritable(int(fd))],
        "descriptors": {fd: _kind(what) for fd, what in descriptors().items()},
        "identities": {fd: _identity(int(fd)) for fd in descriptors()},
        "hash": sys.flags.hash_randomization,
        "pid": os.getpid(),
        "link": _link(),
        "group of terminal": _foreground(),
    }


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


def _inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def _identity(fd: int) -> list[int] | None:
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return [found.st_dev, found.st_ino, stat.S_IFMT(found.st_mode), fcntl.fcntl(fd, fcntl.F_GETFL)]


def _kind(what: str) -> str:
    return what.partition(":[")[0]


def _foreground() -> int:
    try:
        return os.tcgetpgrp(0)
    except OSError:
        return -1


def report(path: str, *passed) -> None:
    """Write what is seen to a file. What is passed is left as it is."""
    found = seen()
    with open(f"{path}.part", "w") as file:
        json.dump(found, file)
    os.rename(f"{path}.part", path)


def told(path: str) -> dict:
    with open(path) as file:
        return json.load(file)


class Passed:
    """A descriptor that goes to the child, by the number that it has here."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __reduce__(self):
        return _number, (reduction.DupFd(self.fd),)


def _number(passed) -> int:
    return passed.detach()


def read_all(path: str, *fds: int) -> None:
    """What each descriptor gives, by its number."""
    found = {fd: os.read(fd, 100).decode() for fd in fds}
    with open(path, "w") as file:
        json.dump(found, file)


def append(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(text)


def refuse(*args):
    raise ValueError("on purpose: cannot be unpickled")


class Unloadable:
    def __reduce__(self):
        return refuse, ()


class Big:
    """More than a pipe takes at once."""

    def __init__(self, size: int) -> None:
        self.data = os.urandom(size)


def length(path: str, big: Big) -> None:
    append(path, str(len(big.data)))


def load(name: str) -> None:
    importlib.import_module(name)


def say(text: str) -> None:
    print(text, flush=True)


def name_file(path: str) -> None:
    append(path, f"{os.getpid()} ")


def _link() -> str:
    """Whether this process may make symbolic links."""
    try:
        os.symlink("nowhere", f"/tmp/spawn-{os.getpid()}")
    except OSError as error:
        return error.strerror
    os.unlink(f"/tmp/spawn-{os.getpid()}")
    return "made"
