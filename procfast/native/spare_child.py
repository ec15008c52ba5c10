"""What a spare interpreter does until it is a process: it waits in the kernel (see `spare`).

Imported there before any code of the user's; it imports what any spawned process does, and nothing else.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import multiprocessing.resource_tracker  # noqa: F401 - it is spawn_main's
import os
import pickle
import select
import signal
import socket
import sys

from . import process  # noqa: F401 - what any process of ours imports when it unpickles itself

MOST = 253  # descriptors in one message: SCM_MAX_FD


def wait(fd: int, parent: int, modules: list[str]) -> dict[str, int]:
    """The arguments for `multiprocessing.spawn.spawn_main`, when this process is to be one.

    `fd` is the socket to whoever keeps the spare, `parent` a descriptor that is readable when that process has
    ended, `modules` what such a process will import before the main module. Until it is told to go on, this holds
    nothing of the program's, the standard streams included; with the parent it ends.
    """
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGINT])  # Ctrl-C is for those who work
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)
        os.close(null)
        for module in modules:
            importlib.import_module(module)
        gc.freeze()  # what is here stays to the end, when looking through it would take as long as all the rest
        fds, task = _next_task(fd, parent)
    except BaseException:
        os._exit(1)  # the parent has ended, or gone on without this one: nobody wants to hear of it
    os.close(fd)
    os.close(parent)
    numbers, arguments, mask, sys.orig_argv = task
    _place(dict(zip(numbers, fds, strict=True)))
    sys.path_importer_cache.clear()  # directories may have other contents by now
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return arguments


def _next_task(
    fd: int, parent: int
) -> tuple[list[int], tuple[list[int], dict[str, int], set[int], list[str]]]:
    """The descriptors that came, and: their numbers, arguments, signal mask, command line."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.register(parent, select.POLLIN)
    sock = socket.socket(fileno=fd)
    with contextlib.suppress(BrokenPipeError):  # the parent has said already what it had to say
        sock.send(b"r")
    if fd not in dict(poll.poll()):
        os._exit(0)
    kind, ancillary, _, _ = sock.recvmsg(1, socket.CMSG_SPACE(4 * MOST))
    if not kind:
        os._exit(0)
    sock.detach()
    fds = [number for _, _, data in ancillary for number in memoryview(data).cast("i")]
    with open(fd, "rb", 0, closefd=False) as file:
        return fds, pickle.load(file)


def _place(where: dict[int, int]) -> None:
    """Move descriptors: {the number it is to have: the one it has}. Both sets may overlap in any way."""
    while where:
        free = [
            number for number in where if number not in where.values() or where[number] == number
        ]
        if not free:  # a ring of them: one steps aside
            number = next(iter(where))
            aside = os.dup(number)
            where = {to: aside if at == number else at for to, at in where.items()}
            continue
        for number in free:
            if (at := where.pop(number)) != number:
                os.dup2(at, number)
                os.close(at)
