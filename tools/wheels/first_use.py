"""The first thing that is done with a wheel: in an empty environment, a process by each start method."""

import procfast

assert procfast.backend == "native", procfast.backend_error
if __name__ == "__main__":
    for method in procfast.get_all_start_methods():
        context = procfast.get_context(method)
        queue = context.Queue()
        process = context.Process(target=queue.put, args=(method,))
        process.start()
        assert queue.get(timeout=30) == method
        process.join()
        assert process.exitcode == 0
