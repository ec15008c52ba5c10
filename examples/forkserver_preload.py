"""forkserver: a server imports once what all children need; each child is forked from it.

python examples/forkserver_preload.py
"""

import os
import sys

import procfast

ctx = procfast.get_context("forkserver")


def child(answer):
    loaded = "decimal" in sys.modules  # before this process has imported anything by itself
    answer.put((loaded, os.getppid()))


def main():
    ctx.set_forkserver_preload(["decimal", "__main__"])  # before the first start
    answer = ctx.SimpleQueue()
    servers = set()
    for _ in range(3):
        process = ctx.Process(target=child, args=(answer,))
        process.start()
        loaded, server = answer.get()
        process.join()
        assert process.exitcode == 0
        assert loaded, "the server has imported it"
        servers.add(server)
    assert len(servers) == 1 and os.getpid() not in servers, "all from one server"
    try:
        ctx.set_forkserver_preload([os])
    except TypeError:
        pass  # names, not modules
    else:
        raise AssertionError("a module was taken for its name")
    print(procfast.backend, "ok")


if __name__ == "__main__":
    main()
