"""Large NumPy arrays through a queue (needs numpy: `python -m pip install numpy`).

Natively an array is copied into shared memory once and not pickled; the receiver may write into
what it gets, and neither side sees the other's changes.

    python examples/queue_numpy.py [fork|spawn|forkserver]
"""

import sys

import procfast

try:
    import numpy
except ModuleNotFoundError:
    sys.exit("this example needs numpy: python -m pip install numpy")


def normalise(images, done):
    for index, image in iter(images.get, None):
        image -= image.min()  # in place: the array that arrived belongs to this process
        image /= image.max()
        done.put((index, image))


def main():
    images, done = procfast.Queue(), procfast.Queue()
    worker = procfast.Process(target=normalise, args=(images, done))
    worker.start()
    sent = [numpy.random.default_rng(k).normal(size=(512, 512)) for k in range(8)]
    kept = [image.copy() for image in sent]
    for index, image in enumerate(sent):
        images.put((index, image))
    images.put(None)
    for index in range(len(sent)):
        number, image = done.get()
        assert number == index
        assert image.shape == (512, 512)
        assert image.dtype == numpy.float64
        assert image.min() == 0.0
        assert image.max() == 1.0
        expected = sent[index] - sent[index].min()
        assert numpy.array_equal(image, expected / expected.max())
    worker.join()

    same = map(numpy.array_equal, sent, kept)
    assert all(same), "the sender's arrays are its own"
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
