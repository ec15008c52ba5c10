"""A one-way Pipe: a producer that ends, and a reader that leaves before the producer has ended.

python examples/pipe_one_way.py [fork|spawn|forkserver]
"""

import sys

import procfast


def produce(reader, writer, count):
    reader.close()  # ours to write; the other end stays with the parent
    with writer:
        for number in range(count):
            writer.send({"number": number, "text": str(number)})


def take(reader, writer, count):
    writer.close()
    for number in range(count):
        assert reader.recv() == number
    reader.close()  # enough; the producer does not know yet


def until_the_end():
    reader, writer = procfast.Pipe(duplex=False)
    assert (reader.readable, reader.writable) == (True, False)
    assert (writer.readable, writer.writable) == (False, True)
    try:
        reader.send(0)
    except OSError as error:
        print("sending at the reading end:", error)
    else:
        raise AssertionError("a one-way pipe took the other way")

    process = procfast.Process(target=produce, args=(reader, writer, 1000))
    process.start()
    writer.close()  # or the end of file would never come: this process could still write
    count = 0
    try:
        while True:
            assert reader.recv() == {"number": count, "text": str(count)}
            count += 1
    except EOFError:
        pass  # the producer has closed its end and everything has been read
    reader.close()
    process.join()
    assert count == 1000
    print("the reader got", count, "and then EOFError")


def reader_gone():
    reader, writer = procfast.Pipe(duplex=False)
    process = procfast.Process(target=take, args=(reader, writer, 3))
    process.start()
    reader.close()  # the child has the only copy now
    sent = 0
    try:
        while True:
            writer.send(sent)
            sent += 1
    except BrokenPipeError:
        pass  # nobody will ever read what is sent
    writer.close()
    process.join()
    assert process.exitcode == 0
    assert sent >= 3
    print("the reader left after 3; the producer got BrokenPipeError")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    until_the_end()
    reader_gone()
    print(procfast.backend, procfast.get_start_method(), "ok")
