"""Listener and Client: connections by an address, between processes that need not be related.

Both sides prove that they know the key; it is never sent. The code is the standard library's, so a
program without procfast can be either side.

    python examples/listener_client.py [fork|spawn|forkserver]
"""

import sys

import procfast
from procfast import connection

KEY = b"known to both"


def ask(address, number):
    with connection.Client(address, authkey=KEY) as server:
        server.send(number)
        assert server.recv() == number * 2
        server.send_bytes(b"done")


def intrude(address):
    try:
        connection.Client(address, authkey=b"guessed")
    except procfast.AuthenticationError:
        pass  # as it should be
    else:
        raise AssertionError("a wrong key was taken")


def main():
    # It chooses an address by itself; for another machine's clients, give it (host, port).
    with connection.Listener(authkey=KEY) as listener:
        clients = [
            procfast.Process(target=ask, args=(listener.address, number)) for number in (1, 2, 3)
        ]
        for process in clients:
            process.start()
        for _ in clients:
            with listener.accept() as client:
                number = client.recv()
                client.send(number * 2)
                assert client.recv_bytes() == b"done"
        intruder = procfast.Process(target=intrude, args=(listener.address,))
        intruder.start()
        try:
            listener.accept()
        except procfast.AuthenticationError as error:
            print("refused:", error)
        else:
            raise AssertionError("a client with a wrong key was accepted")
        for process in (*clients, intruder):
            process.join()
            assert process.exitcode == 0
    print(f"{len(clients)} clients served")
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
