"""A program that has nothing to do with this one attaches, ends, and leaves the segment alone.

With the standard library it must say track=False for that, or its exit destroys the segment; with native it need not.

python examples/shared_memory_unrelated.py
"""

import os
import subprocess
import sys

import procfast
from procfast.shared_memory import SharedMemory

READER = """
import sys
from procfast.shared_memory import SharedMemory
segment = SharedMemory(sys.argv[1], track=False)
print(bytes(segment.buf[:5]).decode())
segment.close()
"""


def main():
    segment = SharedMemory(f"example-of-procfast-{os.getpid()}", create=True, size=4096)
    segment.buf[:5] = b"hello"
    for _ in range(2):
        command = [sys.executable, "-c", READER, segment.name]
        assert subprocess.check_output(command, text=True) == "hello\n"
    again = SharedMemory(segment.name)
    assert bytes(again.buf[:5]) == b"hello"
    again.close()
    segment.close()
    segment.unlink()
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
