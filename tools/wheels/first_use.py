"""The first thing that is done with a package, in an empty environment: a process by each start method.

python first_use.py            one with the extension
python first_use.py stdlib     a pure one; PROCFAST_BACKEND=stdlib is set
"""

import sys

import procfast
import procfast.posix

if __name__ == "__main__":
    [wanted] = sys.argv[1:] or ["native"]
    assert procfast.backend == wanted, procfast.backend_error
    assert procfast.posix.__all__
    if wanted == "stdlib":
        try:
            procfast.get_context("spawn", backend="native")
        except ImportError as error:
            print(error)
        else:
            raise AssertionError("a native backend in a pure package")
    for method in procfast.get_all_start_methods():
        context = procfast.get_context(method)
        queue = context.Queue()
        process = context.Process(target=queue.put, args=(method,))
        process.start()
        assert queue.get(timeout=60) == method
        process.join()
        assert process.exitcode == 0
        print(method)
