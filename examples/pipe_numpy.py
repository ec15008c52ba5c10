"""NumPy arrays through a Pipe (needs numpy: `python -m pip install numpy`).

Natively `send` copies an array into shared memory once and does not pickle its data; what `recv`
answers lives there, without another copy. It is writable and belongs to the receiver alone.

    python examples/pipe_numpy.py [fork|spawn|forkserver]
"""

import sys
import time

import procfast

try:
    import numpy
except ModuleNotFoundError:
    sys.exit("this example needs numpy: python -m pip install numpy")


def home(array):
    """What the kernel calls the memory that an array lives in (Linux)."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            begin, _, end = line.split()[0].partition("-")
            if int(begin, 16) <= array.ctypes.data < int(end, 16):
                return line[line.find("/") :].strip() if "/" in line else "private memory"
    raise AssertionError("an array outside the memory")


def double(end, other_end):
    other_end.close()
    for name, array in iter(end.recv, None):
        array *= 2  # in place
        end.send((name, array))
    samples = numpy.empty(1000)
    end.recv_bytes_into(samples)  # straight into an array of one's own
    end.send_bytes(samples[::-1].copy())
    end.close()


def main():
    end, theirs = procfast.Pipe()
    process = procfast.Process(target=double, args=(theirs, end))
    process.start()
    theirs.close()

    sent = numpy.random.default_rng(1).normal(size=(1024, 1024))
    kept = sent.copy()
    begin = time.perf_counter()
    for number in range(8):
        end.send((number, sent))
        got_number, got = end.recv()
        assert got_number == number
        assert got.shape == sent.shape
        assert got.dtype == sent.dtype
        assert numpy.array_equal(got, kept * 2)
        assert numpy.array_equal(sent, kept), "the sender's array is its own"
    seconds = (time.perf_counter() - begin) / 8
    print(f"{sent.nbytes >> 20} MiB there and back, checked: {seconds * 1e3:.1f} ms")
    if sys.platform == "linux":
        print("the last one lives in", home(got))
        assert ("memfd:" in home(got)) == (procfast.backend == "native")
    end.send(None)

    # Raw data, where both sides know type and shape: no pickle on any backend.
    samples = numpy.arange(1000.0)
    end.send_bytes(samples)
    back = numpy.frombuffer(end.recv_bytes())
    assert numpy.array_equal(back, samples[::-1])
    end.close()
    process.join()
    assert process.exitcode == 0
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
