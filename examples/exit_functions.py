"""What runs at the end of a process, and in which order: Finalize, threads, atexit; and nothing after os._exit.

python examples/exit_functions.py [fork|spawn|forkserver]
"""

import atexit
import os
import sys
import threading
import time

from procfast.util import Finalize

import procfast


class Resource:
    pass


def child(answer):
    resource = Resource()
    Finalize(resource, answer.put, args=("resource is gone",))  # at its collection
    del resource
    Finalize(None, answer.put, args=("last",), exitpriority=1)
    Finalize(None, answer.put, args=("first",), exitpriority=10)
    atexit.register(answer.put, "atexit")
    threading.Thread(target=lambda: (time.sleep(0.1), answer.put("thread"))).start()
    answer.put("end of the target")


def hard(answer):
    Finalize(None, answer.put, args=("never",), exitpriority=1)
    atexit.register(answer.put, "never")
    os._exit(3)


def said(answer):
    answer.put("that is all")
    return list(iter(answer.get, "that is all"))


def main():
    answer = procfast.SimpleQueue()
    process = procfast.Process(target=child, args=(answer,))
    process.start()
    process.join()
    assert process.exitcode == 0
    order = said(answer)
    assert order[:2] == ["resource is gone", "end of the target"]
    if sys.version_info >= (3, 13):
        assert order[2:] == ["thread", "atexit", "first", "last"]
    elif procfast.get_start_method() == "spawn":
        assert order[2:] == ["first", "last", "thread", "atexit"]
    else:  # a forked child ran no functions of atexit then
        assert order[2:] == ["first", "last", "thread"]

    process = procfast.Process(target=hard, args=(answer,))
    process.start()
    process.join()
    assert process.exitcode == 3
    assert said(answer) == []
    print(procfast.backend, procfast.get_start_method(), "ok")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        procfast.set_start_method(sys.argv[1])
    main()
