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


def through_a_queue():
    clients = procfast.Queue()
    workers = [procfast.Process(target=greet, args=(clients,)) for _ in range(2)]
    for worker in workers:
        worker.start()
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
    for _ in workers:
        clients.put(None)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0


def through_a_pipe():
    lines, theirs = procfast.Pipe()
    process = procfast.Process(target=forward, args=(theirs,))
    process.start()
    theirs.close()
    reader, writer = procfast.Pipe(duplex=False)
    lines.send(writer)
    print(reader.recv())
    process.join()
    assert process.exitcode == 0
    for end in (lines, reader, writer):
        end.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    through_a_queue()
    through_a_pipe()
    print(procfast.backend, procfast.get_start_method(), "ok")
