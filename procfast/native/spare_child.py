"""What a spare interpreter does until it is a process: it waits in the kernel (see `spare`).

Imported there before any code of the user's; it imports what any spawned process does, and nothing else.
"""

from __future__ import annotations

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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

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
    except (
        BaseException
    ):  # the parent has ended, or gone on without this one: nobody wants to hear of it
        os._exit(1)
    os.close(fd)
    os.close(parent)
    numbers, arguments, mask, sys.orig_argv = task
    _place(dict(zip(numbers, fds, strict=True)))
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if stream.seekable():
            stream.buffer.tell()  # it remembers where the file was when the interpreter began
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
    _tell(sock, b"r")
    while True:
        if parent in dict(poll.poll()):
            _end()
        kind, ancillary, _, _ = sock.recvmsg(1, socket.CMSG_SPACE(4 * MOST))
        if not kind:
            _end()
        if kind == b"?":
            _tell(sock, b"!")
            continue
        sock.detach()
        fds = [number for _, _, data in ancillary for number in memoryview(data).cast("i")]
        with open(fd, "rb", 0, closefd=False) as file:
            return fds, pickle.load(file)


def _tell(sock: socket.socket, what: bytes) -> None:
    try:
        sock.send(what)
    except BrokenPipeError:
        return  # it has sent all that it had to say


def _end() -> NoReturn:
    os._exit(0)


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
