"""A raw pipe: records of fixed size, read and written whole, with deadlines; end of file, a slow peer, a dead one.

python examples/posix_pipe.py
"""

import os
import signal
import struct
import time

from procfast import backend, posix

RECORD = struct.Struct("<qd")  # a number and its root


def produce(fd, count):
    for number in range(count):
        # Up to PIPE_BUF bytes go in one piece: several processes may write to the same pipe.
        posix.write_all(fd, RECORD.pack(number, number**0.5))


def start(function, *args):
    """fork: in the child the function and no more, in the parent its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function(*args)
            status = 0
        finally:
            os._exit(status)
    return pid


def main():
    # Records until the end of file.
    reader, writer = posix.pipe()  # two ints; programs that are started later do not inherit them
    pid = start(produce, writer, 1000)
    os.close(writer)  # the child has the only one now: its end is our end of file
    count = 0
    while True:
        try:
            record = posix.read_exactly(reader, RECORD.size, timeout=30)
        except EOFError as error:
            assert error.done == 0, "half a record"
            break
        assert RECORD.unpack(record) == (count, count**0.5)
        count += 1
    assert count == 1000
    os.waitpid(pid, 0)
    os.close(reader)

    # Nobody reads: a write of more than fits ends in time and says how much went out.
    reader, writer = posix.pipe()
    begin = time.monotonic()
    try:
        posix.write_all(writer, bytes(1 << 20), timeout=0.2)
    except TimeoutError as error:
        print(f"written {error.done} bytes in {time.monotonic() - begin:.1f} s: {error}")
        posix.read_exactly(reader, error.done)  # they are in the pipe, and no more
    os.close(writer)
    os.close(reader)

    # The writer is killed in the middle: what had come is not lost.
    reader, writer = posix.pipe()
    pid = start(lambda: (posix.write_all(writer, b"half"), time.sleep(60)))
    os.close(writer)
    assert posix.read_exactly(reader, 2, timeout=30) == b"ha"
    os.kill(pid, signal.SIGKILL)
    try:
        posix.read_exactly(reader, 100, timeout=30)
    except EOFError as error:
        print(f"{error}: {error.partial}")
        assert error.partial == b"lf"
    os.waitpid(pid, 0)
    os.close(reader)
    print(backend, "ok")


if __name__ == "__main__":
    main()
