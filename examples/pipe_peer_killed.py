"""The sender is killed (SIGKILL) in the middle of a large message: an error, never a part of it.

python examples/pipe_peer_killed.py [fork|spawn|forkserver]
"""

import signal
import sys
import time

import procfast

SIZE = 16 << 20


def send_for_ever(reader, writer):
    reader.close()
    message = b"whole" * (SIZE // 5)
    while True:
        writer.send_bytes(message)


def main():
    reader, writer = procfast.Pipe(duplex=False)
    process = procfast.Process(target=send_for_ever, args=(reader, writer))
    process.start()
    writer.close()

    expected, whole = b"whole" * (SIZE // 5), 0
    for _ in range(3):
        assert reader.recv_bytes() == expected
        whole += 1
    assert reader.poll(10), "the next one has begun to come"
    process.kill()  # SIGKILL: it cannot finish what it was sending
    process.join()
    assert process.exitcode == -signal.SIGKILL

    begin = time.monotonic()
    try:
        while True:
            # What it had sent to the end may still come, but only whole.
            assert reader.recv_bytes() == expected
            whole += 1
    except (EOFError, OSError) as error:  # OSError where a part had arrived
        print(f"{whole} whole messages, then {type(error).__name__} {error}")
    assert time.monotonic() - begin < 10, "nobody waits for the dead"
    reader.close()
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
