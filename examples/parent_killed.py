"""The parent is killed (SIGKILL), and can't clean up: what becomes of its children?

One that is not daemonic goes on as an orphan, which it can see. A daemonic one ends within a second, on the native
backend; with the standard library it goes on for ever.

    python examples/parent_killed.py [fork|spawn|forkserver]      (reads /proc: Linux)
"""

import os
import signal
import subprocess
import sys
import time

import procfast


def orphan():
    parent = procfast.parent_process()
    print("orphan", os.getpid(), parent.is_alive(), flush=True)
    procfast.connection.wait([parent.sentinel])  # or parent.join()
    print("orphan", os.getpid(), parent.is_alive(), flush=True)
    time.sleep(600)


def busy():
    print("daemon", os.getpid(), True, flush=True)
    while True:
        pass


def second_program():
    procfast.Process(target=busy, daemon=True).start()
    procfast.Process(target=orphan).start()
    time.sleep(600)


def ended(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def main():
    program = subprocess.Popen(
        [sys.executable, __file__, procfast.get_start_method(), "second"],
        stdout=subprocess.PIPE,
        text=True,
    )
    pids = {}
    for _ in range(2):
        name, pid, alive = program.stdout.readline().split()
        pids[name] = int(pid)
        assert alive == "True"
    program.kill()
    program.wait()
    try:
        assert program.stdout.readline().split() == ["orphan", str(pids["orphan"]), "False"]
        begin = time.monotonic()
        while not ended(pids["daemon"]) and time.monotonic() - begin < 1:
            time.sleep(0.01)
        assert ended(pids["daemon"]) == (procfast.backend == "native")
        assert not ended(pids["orphan"])
    finally:
        for pid in pids.values():
            if not ended(pid):
                os.kill(pid, signal.SIGKILL)
        program.stdout.close()
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    if sys.argv[2:] == ["second"]:
        second_program()
    else:
        main()
