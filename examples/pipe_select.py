"""One parent waits for everything at once: its children's messages, their ends, a socket.

`connection.wait` takes connections, sentinels and sockets alike. So do `select` and `selectors`.

    python examples/pipe_select.py [fork|spawn|forkserver]
"""

import socket
import sys

import procfast

COUNT = 100


def work(name, writer):
    for number in range(COUNT):
        writer.send((name, number))
    # The process ends, and its end is closed: the parent reads an end of file.


def talk(line):
    line.sendall(b"from a socket")
    line.close()


def main():
    names, pipes, got = {}, {}, {}
    for name in ("anna", "ben", "cleo"):
        reader, writer = procfast.Pipe(duplex=False)
        process = procfast.Process(target=work, args=(name, writer), name=name)
        process.start()
        writer.close()  # before the next child is forked, which would inherit it
        names[process.sentinel] = process
        pipes[reader] = name
        got[name] = []
    line, theirs = socket.socketpair()
    talker = procfast.Process(target=talk, args=(theirs,))
    talker.start()
    theirs.close()

    heard = b""
    waiting = [*pipes, *names, line]
    while waiting:
        ready = procfast.connection.wait(waiting, timeout=30)
        assert ready, "something is there and nobody says so"
        for source in ready:
            if source is line:
                part = line.recv(100)
                heard += part
                done = not part  # the end of file of a socket
            elif source in names:
                names[source].join()
                done = True
            else:
                try:
                    name, number = source.recv()
                    assert name == pipes[source]
                    got[name].append(number)
                    done = False
                except EOFError:
                    done = True
            if done:
                waiting.remove(source)

    for name, numbers in got.items():
        assert numbers == list(range(COUNT)), name
    for process in names.values():
        assert process.exitcode == 0
    assert heard == b"from a socket"
    talker.join()
    line.close()
    for reader in pipes:
        reader.close()
    print(
        f"{len(pipes)} x {COUNT} messages, {len(names)} processes ended, heard {heard.decode()!r}"
    )
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
