"""fork, spawn and forkserver: where a child comes from, what it has, and how one is chosen.

python examples/start_methods.py
"""

import os
import sys

import procfast

LOADED_BY = os.getpid()  # this file is run again in each new interpreter


def child(answer):
    answer.put(
        {
            "main": __name__,
            "imported here": os.getpid() == LOADED_BY,
            "parent": os.getppid(),
            "started by": procfast.parent_process().pid,
            "method": procfast.get_start_method(),
        }
    )


def told(method):
    ctx = procfast.get_context(method)  # beside the default, without a change of it
    answer = ctx.SimpleQueue()
    process = ctx.Process(target=child, args=(answer,))
    process.start()
    found = answer.get()
    process.join()
    assert process.exitcode == 0
    assert found["started by"] == os.getpid()
    assert found["method"] == method, "the child's default is the method it was started by"
    return found


def main():
    assert set(procfast.get_all_start_methods()) == {"fork", "spawn", "forkserver"}

    procfast.set_start_method("spawn")  # the program's default, once
    try:
        procfast.set_start_method("fork")
    except RuntimeError:
        pass
    else:
        raise AssertionError("set twice")
    procfast.set_start_method("fork", force=True)
    assert procfast.get_start_method() == "fork"

    fork = told("fork")  # a copy of this process
    assert fork["main"] == "__main__" and not fork["imported here"]
    assert fork["parent"] == os.getpid()

    spawn = told("spawn")  # a new interpreter
    assert spawn["main"] == "__mp_main__" and spawn["imported here"]
    assert spawn["parent"] == os.getpid()

    forkserver = told("forkserver")  # a copy of a server that has nothing of this process
    assert forkserver["main"] == "__mp_main__"
    assert forkserver["parent"] != os.getpid()

    try:
        procfast.set_start_method("thread", force=True)
    except ValueError:
        pass
    else:
        raise AssertionError("there is no such method")
    procfast.set_executable(sys.executable)  # what spawn and forkserver execute
    print(procfast.backend, "ok")


if __name__ == "__main__":
    procfast.freeze_support()  # for programs that are made into one executable; else it does nothing
    main()
