"""Requests and replies between two processes, through the two ends of one Pipe.

Each process closes the end that is not its own. Only so does the other side see the end of file:
it comes when the last copy of an end is closed, and under fork a child has a copy of both.

    python examples/pipe_duplex.py [fork|spawn|forkserver]
"""

import sys

import procfast


def serve(requests, other_end):
    other_end.close()
    served = 0
    while True:
        try:
            operation, number = requests.recv()
        except EOFError:
            break  # the client has closed its end: nothing will come any more
        if operation == "square":
            requests.send(number * number)
        else:
            requests.send(ValueError(f"cannot {operation}"))
        served += 1
    requests.close()
    sys.exit(served)


def main():
    client, server = procfast.Pipe()  # duplex: both ends send and receive
    process = procfast.Process(target=serve, args=(server, client))
    process.start()
    server.close()

    with client:  # closes it
        for number in (2, 3, 2**70):
            client.send(("square", number))
            reply = client.recv()
            assert reply == number * number
            print(f"square {number}: {reply}")
        client.send(("cube", 4))
        reply = client.recv()  # any object that can be pickled; here an exception
        assert isinstance(reply, ValueError)
        print(f"cube 4: {reply!r}")
        assert not client.poll(0.01), "no request, no reply"
    assert client.closed

    process.join()
    assert process.exitcode == 4, "all four, and then the end of file"
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
