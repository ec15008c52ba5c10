"""A connection is an object that can be sent, too: through a queue, or through another pipe.

A dispatcher hands each worker the end of a pipe that leads straight to its client. From then on the
two talk without it.

    python examples/pipe_passing.py [fork|spawn|forkserver]
"""

import sys

import procfast


def greet(clients):
    """A worker: takes connections from a queue and serves each until its end."""
    for name, connection in iter(clients.get, None):
        with connection:
            connection.send(f"welcome, {name}")
            assert connection.recv() == "bye"


def forward(lines):
    """Takes a connection from a pipe and writes into it."""
    with lines.recv() as line:
        line.send("sent by one that was not there when the pipe was made")


def through_a_queue(clients):
    for name in ("anna", "ben", "cleo"):
        ours, theirs = procfast.Pipe()
        clients.put((name, theirs))
        assert ours.recv() == f"welcome, {name}"
        # Not before it has arrived: the standard library's queue pickles it a while after `put`.
        theirs.close()
        ours.send("bye")
        try:
            ours.recv()
        except EOFError:
            print(f"{name} was served, then EOFError: the worker had the only copy")
        else:
            raise AssertionError("a message from nobody")
        ours.close()


def through_a_pipe(lines):
    reader, writer = procfast.Pipe(duplex=False)
    lines.send(writer)
    print(reader.recv())
    reader.close()
    writer.close()


def main():
    clients = procfast.Queue()
    lines, theirs = procfast.Pipe()
    processes = [procfast.Process(target=greet, args=(clients,)) for _ in range(2)]
    processes.append(procfast.Process(target=forward, args=(theirs,)))
    for process in processes:
        process.start()
    theirs.close()

    through_a_queue(clients)
    through_a_pipe(lines)
    for _ in range(2):
        clients.put(None)
    lines.close()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
