"""retries=n: a task whose worker was killed is begun again. For tasks that may be done twice.

python examples/pool_retries.py [START METHOD]
"""

import os
import signal
import sys
import tempfile

import procfast


def work(folder, x):
    """Is killed when it does 13 for the first time."""
    if x == 13:
        try:
            os.close(os.open(os.path.join(folder, "13"), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return x * x
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def main():
    ctx = procfast.get_context(sys.argv[1] if len(sys.argv) > 1 else None)
    with tempfile.TemporaryDirectory() as folder, ctx.Pool(2) as pool:
        items = [(folder, x) for x in range(50)]
        try:
            values = pool.starmap(work, items, chunksize=1, retries=2)
        except NotImplementedError as error:
            assert procfast.backend == "stdlib"
            print("as expected:", error)
        else:
            assert values == [x * x for x in range(50)]
            assert os.listdir(folder) == ["13"]
            print("one worker was killed, and all results are there")
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
