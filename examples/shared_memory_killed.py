"""The creator of a segment is killed (SIGKILL). Who still uses it keeps it; then it is swept.

With native the next process that creates one sweeps, or `python -m procfast info --sweep`; with the standard library it
stays until all processes that share its tracker have ended.

python examples/shared_memory_killed.py [fork|spawn|forkserver]
"""

import contextlib
import os
import signal
import subprocess
import sys

import procfast
from procfast.shared_memory import SharedMemory


def create(name, ready):
    segment = SharedMemory(name, create=True, size=4096)
    segment.buf[:5] = b"hello"
    ready.put(None)
    signal.pause()


def sweep():
    command = [sys.executable, "-m", "procfast", "info", "--sweep"]
    return subprocess.check_output(command, text=True)


def main():
    name = f"example-of-procfast-{os.getpid()}"
    ready = procfast.SimpleQueue()
    creator = procfast.Process(target=create, args=(name, ready))
    creator.start()
    ready.get()
    reader = SharedMemory(name)
    creator.kill()
    creator.join()

    if "swept_shared_memory" in procfast.features:
        assert name not in sweep(), "this process uses it"
        assert bytes(reader.buf[:5]) == b"hello"
        reader.close()
        print(sweep().strip())
        try:
            SharedMemory(name)
        except FileNotFoundError as error:
            print(error)
        else:
            raise AssertionError("it is still there")
    else:
        reader.close()
        with contextlib.suppress(FileNotFoundError):  # the tracker of the killed one may be quicker
            reader.unlink()
    ready.close()
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
