"""What ps shows, as data: the processes below this one, in each state, and a tree of them.

python examples/process_tree.py            (reads /proc: Linux)
"""

import os
import signal
import threading
import time

import procfast
from procfast import posix


def sleeper():
    signal.pause()


def busy():
    while True:
        pass


def leader():
    os.setsid()  # a session of its own, as a daemon has
    signal.pause()


def polite():
    os.nice(5)
    signal.pause()


def threaded():
    threading.Thread(target=signal.pause, daemon=True).start()
    signal.pause()


def parent():
    process = procfast.get_context("fork").Process(target=sleeper, name="grandchild")
    process.start()
    process.join()


def when(pid, condition):
    """The process, as soon as it is so."""
    end = time.monotonic() + 20
    while not condition(info := posix.process_tree(pid)[0]):
        assert time.monotonic() < end, info
        time.sleep(0.01)
    return info


def main():
    ctx = procfast.get_context("fork")
    targets = [sleeper, busy, leader, polite, threaded, parent, os._exit]
    started = {}
    for target in targets:
        args = (0,) if target is os._exit else ()
        process = ctx.Process(target=target, args=args)
        process.start()
        started[target] = process
    pids = {target: process.pid for target, process in started.items()}

    assert when(pids[busy], lambda info: info.state == "R").meaning.startswith("running")
    when(pids[leader], lambda info: "s" in info.stat)
    when(pids[polite], lambda info: info.nice >= 5 and "N" in info.stat)
    when(pids[threaded], lambda info: info.threads == 2 and "l" in info.stat)
    when(pids[os._exit], lambda info: info.state == "Z")  # nobody has joined it yet
    os.kill(pids[sleeper], signal.SIGSTOP)
    when(pids[sleeper], lambda info: info.state == "T")
    when(pids[parent], lambda info: len(posix.children(info.pid)) == 1)

    # What `python -m procfast ps PID` prints. (The standard library's servants may be among them.)
    for info in posix.process_tree():
        print("   " * info.depth, info.pid, info.stat, "-", info.meaning)
    assert {info.pid for info in posix.children()} >= set(pids.values())

    (grandchild,) = posix.children(pids[parent])
    assert grandchild.ppid == pids[parent]
    os.kill(grandchild.pid, signal.SIGTERM)
    for target, process in started.items():
        if target not in (parent, os._exit):
            process.kill()
        process.join()
        process.close()
    print(procfast.usable_cpus(), "of", os.cpu_count(), "CPUs are for us")
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
