"""Messages of raw bytes, without pickle: parts of a buffer, into a buffer, with a limit.

Each `send_bytes` is one message and comes out as one, whatever its size. What is received is never
executed, as a pickle could be: this is for peers that are not trusted, too.

    python examples/pipe_bytes.py [fork|spawn|forkserver]
"""

import sys

import procfast


def echo_upper(end, other_end):
    other_end.close()
    try:
        while True:
            end.send_bytes(end.recv_bytes().upper())
    except EOFError:
        pass  # the parent has closed its end


def whole_and_in_parts():
    end, theirs = procfast.Pipe()
    process = procfast.Process(target=echo_upper, args=(theirs, end))
    process.start()
    theirs.close()

    end.send_bytes(b"whole")
    assert end.recv_bytes() == b"WHOLE"

    text = memoryview(b"only the middle of it")
    end.send_bytes(text, 9, 6)  # offset and size; anything with a buffer will do
    assert end.recv_bytes() == b"MIDDLE"

    end.send_bytes(b"")
    assert end.recv_bytes() == b"", "an empty message is one"

    large = bytes(range(97, 123)) * 100_000
    end.send_bytes(large)
    assert end.recv_bytes() == large.upper()
    print("bytes sent and received:", len(large))

    # Into a buffer that is there already, at an offset; the answer is the size of the message.
    buffer = bytearray(b"." * 10)
    end.send_bytes(b"abc")
    assert end.recv_bytes_into(buffer, 4) == 3
    assert buffer == b"....ABC..."
    print("into a buffer:", buffer.decode())

    end.send_bytes(b"longer than the buffer")
    try:
        end.recv_bytes_into(buffer)
    except procfast.BufferTooShort as error:
        assert error.args == (b"LONGER THAN THE BUFFER",)  # the message is not lost
        print("BufferTooShort:", error.args[0].decode())
    else:
        raise AssertionError("22 bytes fitted into 10")

    end.close()
    process.join()
    assert process.exitcode == 0


def with_a_limit():
    reader, writer = procfast.Pipe(duplex=False)
    for message in (b"x" * 999, b"x" * 1000, b"x"):
        writer.send_bytes(message)
    assert len(reader.recv_bytes(maxlength=999)) == 999
    try:
        reader.recv_bytes(maxlength=999)
    except OSError as error:
        print("beyond maxlength:", error)
    else:
        raise AssertionError("a message beyond the limit")
    assert reader.closed, "it was refused unread, so nothing after it can be read"
    writer.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    whole_and_in_parts()
    with_a_limit()
    print(procfast.backend, procfast.get_start_method(), "ok")
