"""The first thing that is done with a pure package, where there is no extension: PROCFAST_BACKEND=stdlib is set."""

import procfast
import procfast.posix

assert procfast.backend == "stdlib", procfast.backend
assert procfast.posix.__all__
if __name__ == "__main__":
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
