"""A named semaphore: programs that know nothing of each other but a name; what becomes of a dead one's permit.

python examples/posix_semaphore.py
"""

import os
import signal
import subprocess
import sys
import time

from procfast import backend, posix

NAME = f"/procfast-example-{os.getpid()}"

# A program of its own: it opens the semaphore by its name.
OTHER = """
import sys
from procfast import posix

with posix.NamedSemaphore(sys.argv[1]):
    print("has it", flush=True)
    sys.stdin.read()
"""


def main():
    # A new one with two permits, for this user only (mode 0o600), or FileExistsError.
    semaphore = posix.NamedSemaphore(NAME, create=True, exclusive=True, value=2)
    try:
        others = [
            subprocess.Popen(
                [sys.executable, "-c", OTHER, NAME], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for _ in range(2)
        ]
        for other in others:
            assert other.stdout.readline() == b"has it\n"
        assert semaphore.value == 0

        # Both permits are taken: a wait with a timeout.
        begin = time.monotonic()
        assert not semaphore.acquire(timeout=0.2)
        assert time.monotonic() - begin >= 0.2

        # One ends well and gives its permit back, the other is killed: nobody gives that one back.
        others[0].communicate()
        assert semaphore.acquire(timeout=30)
        others[1].send_signal(signal.SIGKILL)
        others[1].communicate()
        assert not semaphore.acquire(timeout=0.2)
        print(f"the permit of process {others[1].pid} is gone with it")

        semaphore.release(2)  # who knows that it died may give it back
        assert semaphore.value == 2
        try:
            posix.NamedSemaphore(NAME, create=True, exclusive=True)
        except FileExistsError as error:
            print(error)
    finally:
        semaphore.close()
        semaphore.unlink()  # else the name stays until the system restarts
    print(backend, "ok")


if __name__ == "__main__":
    main()
