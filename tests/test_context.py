"""Contexts: start methods, backends, and the state that is one with the standard library's."""

import multiprocessing

import pytest
import workers
from conftest import BACKENDS, METHODS

import procfast


def test_get_context(ctx, cell):
    assert ctx.get_context() is ctx
    assert ctx.get_start_method() == cell.method
    for method in METHODS:
        other = ctx.get_context(method)
        assert (other.backend, other.get_start_method()) == (ctx.backend, method)
    for name in BACKENDS:
        other = ctx.get_context(backend=name)
        assert (other.backend, other.get_start_method()) == (name, cell.method)


def test_one_context_per_cell(ctx, cell):
    assert cell.backend.context(cell.method) is ctx


def test_unknown_start_method(ctx):
    with pytest.raises(ValueError, match="cannot find context for 'thread'"):
        ctx.get_context("thread")
    with pytest.raises(ValueError, match="cannot find context for 'thread'"):
        procfast.get_context("thread")


def test_unknown_backend(ctx):
    with pytest.raises(ValueError, match="unknown backend 'dask'"):
        ctx.get_context("fork", backend="dask")


def test_a_concrete_context_keeps_its_method(ctx):
    with pytest.raises(ValueError, match="cannot set start method of concrete context"):
        ctx.set_start_method("fork")


def test_all_start_methods():
    assert procfast.get_all_start_methods() == multiprocessing.get_all_start_methods()


def test_set_start_method_is_one_state(python):
    code = """
import multiprocessing, procfast
procfast.set_start_method("spawn")
print(multiprocessing.get_start_method(), procfast.get_start_method())
multiprocessing.set_start_method("forkserver", force=True)
print(procfast.get_start_method(), type(procfast.get_context()).__name__)
try: procfast.set_start_method("fork")
except RuntimeError as error: print(error)
procfast.set_start_method(None, force=True)
print(procfast.get_start_method(allow_none=True))
"""
    out = python("-c", code).stdout.splitlines()
    assert out == [
        "spawn spawn",
        "forkserver ForkServerContext",
        "context has already been set",
        "None",
    ]


def test_default_context_uses_the_method(python, script):
    path = script(
        """
import procfast, multiprocessing as mp
def tell(q):
    q.put((procfast.get_start_method(), mp.get_start_method(), type(mp.current_process()).__name__))
if __name__ == "__main__":
    import sys
    procfast.set_start_method(sys.argv[1])
    q = procfast.Queue()
    p = procfast.Process(target=tell, args=(q,))
    p.start(); print(*q.get()); p.join()
"""
    )
    for method, kind in zip(METHODS, ("Process", "Process", "Process"), strict=True):
        got = python(path, method).stdout.split()
        assert got[:2] == [method, method]
        assert got[2].endswith(kind)


def test_registered_contexts_of_others(python):
    """loky puts its own into the standard library's registry."""
    code = """
import multiprocessing.context as c, procfast
class Loky(c.BaseContext):
    _name = "loky"
c._concrete_contexts["loky"] = mine = Loky()
print(procfast.get_context("loky") is mine)
procfast.set_start_method("loky", force=True)
print(procfast.get_start_method())
"""
    assert python("-c", code).stdout.split() == ["True", "loky"]


def test_shared_registries(ctx):
    """One util, one process state, one pickling registry: the standard library's own."""
    assert procfast.util is multiprocessing.util
    assert procfast.process is multiprocessing.process
    assert procfast.reduction is multiprocessing.reduction
    assert ctx.current_process() is multiprocessing.current_process()
    assert ctx.active_children() == multiprocessing.active_children()


def test_errors_are_the_standard_ones(ctx):
    for name in ("ProcessError", "BufferTooShort", "TimeoutError", "AuthenticationError"):
        assert getattr(ctx, name) is getattr(multiprocessing, name)


@pytest.mark.parametrize(
    "name", ["Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "Event"]
)
def test_what_is_not_native_works(ctx, name):
    made = getattr(ctx, name)()
    if name == "Event":
        made.set()
        assert made.wait(1)
    else:
        with made:
            pass


def test_shared_values(ctx):
    v, a = ctx.Value("i", 5), ctx.Array("d", 3)
    with v.get_lock():
        v.value += 1
    assert v.value == 6 and a[:] == [0.0] * 3


def test_pipe(ctx):
    a, b = ctx.Pipe()
    p = ctx.Process(target=send_and_close, args=(b,))
    p.start()
    b.close()
    assert a.recv() == "hello"
    with pytest.raises(EOFError):
        a.recv()
    p.join()
    a.close()


def send_and_close(conn):
    conn.send("hello")
    conn.close()


def test_manager(ctx):
    with ctx.Manager() as manager:
        d = manager.dict(a=1)
        q = manager.Queue()
        p = ctx.Process(target=workers.q_put, args=(q, 5))
        p.start()
        assert q.get() == 5 and dict(d) == {"a": 1}
        p.join()


def test_pool_of_threads_unharmed():
    from multiprocessing.pool import ThreadPool

    with ThreadPool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]
        pool.close()
        pool.join()
