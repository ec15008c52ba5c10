"""daemon=True: a process that ends with its parent. Without it the parent waits at its own exit.

This program runs a second one and looks at what is left of it.

    python examples/daemon_processes.py [fork|spawn|forkserver]
"""

import os
import subprocess
import sys
import time

import procfast


def tick(seconds):
    time.sleep(seconds)
    print("non-daemonic: finished", flush=True)


def no_children():
    try:
        procfast.Process(target=tick, args=(0,)).start()
    except AssertionError as error:
        assert "daemonic processes are not allowed to have children" in str(error)
        sys.exit(5)


def second_program():
    daemon = procfast.Process(target=time.sleep, args=(600,), daemon=True)
    daemon.start()
    print(daemon.pid, flush=True)
    procfast.Process(target=tick, args=(0.3,)).start()
    print("end of the program", flush=True)


def exists(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def main():
    begin = time.monotonic()
    out = subprocess.run(
        [sys.executable, __file__, procfast.get_start_method(), "second"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert out[1:] == ["end of the program", "non-daemonic: finished"]
    assert 0.3 <= time.monotonic() - begin < 60, "waited for the one, not for the other"
    assert not exists(int(out[0])), "the daemonic one was terminated"

    process = procfast.Process(target=no_children, daemon=True)
    process.start()
    try:
        process.daemon = False
    except AssertionError:
        pass  # only before start()
    else:
        raise AssertionError("changed after the start")
    process.join()
    assert process.exitcode == 5
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    if sys.argv[2:] == ["second"]:
        second_program()
    else:
        main()
