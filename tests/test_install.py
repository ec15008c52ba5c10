"""install(): unmodified programs, here and in children of every start method."""

import pytest
from conftest import BACKENDS, METHODS

PROGRAM = """
import multiprocessing
import multiprocessing.queues as queues_module
import os, sys

def worker(inbox, outbox):
    outbox.put((type(inbox).__module__, type(multiprocessing.Queue()).__module__,
                type(multiprocessing.current_process()).__module__))
    for item in iter(inbox.get, None):
        outbox.put(item * 2)

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    a, b = multiprocessing.Queue(), multiprocessing.Queue()
    print(__name__, os.path.basename(__file__), sys.argv[1:], isinstance(a, queues_module.Queue))
    p = multiprocessing.Process(target=worker, args=(a, b))
    p.start()
    print(*b.get())
    for i in range(100):
        a.put(i)
    print(sum(b.get() for i in range(100)))
    a.put(None)
    p.join()
    print(p.exitcode, type(a).__module__, type(p).__module__)
"""


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", BACKENDS)
def test_run_of_an_unmodified_script(python, script, method, name):
    path = script(PROGRAM)
    done = python("-m", "procfast", "run", path, method, "more", env={"PROCFAST_BACKEND": name})
    lines = done.stdout.splitlines()
    assert lines[0] == f"__main__ program.py ['{method}', 'more'] True"
    queue_here, queue_made_there, _ = lines[1].split()
    ours = "procfast.native.queues" if name == "native" else "procfast.stdlib.queues"
    assert queue_here == queue_made_there == ours
    assert lines[2] == "9900"
    assert lines[3].split()[:2] == ["0", ours]
    assert done.stderr == ""


@pytest.mark.parametrize("method", METHODS)
def test_plain_script_is_not_touched(python, script, method):
    """Without procfast the same program runs on multiprocessing itself: the test's own control."""
    lines = python(script(PROGRAM), method).stdout.splitlines()
    assert lines[1].split()[0] == "multiprocessing.queues"
    assert lines[2] == "9900"


def test_run_exit_code(python, script):
    run = ("-m", "procfast", "run")
    assert python(*run, script("raise SystemExit(7)"), check=False).returncode == 7
    done = python(*run, script("1/0"), check=False)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr
    assert "procfast" not in done.stderr.replace("procfast-", "").split("Traceback")[1]
    assert python(*run, "missing.py", check=False).returncode == 2
    assert python(*run, check=False).returncode == 2


def test_run_of_a_module(python, script):
    script(
        "import multiprocessing, sys; print(multiprocessing.Queue().__module__, sys.argv[1:])",
        "mod.py",
    )
    done = python("-m", "procfast", "run", "-m", "mod", "--flag", "x")
    assert done.stdout.split(None, 1) == ["procfast.native.queues", "['--flag', 'x']\n"]


def test_install_replaces_and_uninstall_restores(python):
    code = """
import multiprocessing, multiprocessing.pool, multiprocessing.context, sys
early = multiprocessing.Queue
module = sys.modules["multiprocessing"]
before = {n: getattr(multiprocessing, n) for n in multiprocessing.__all__}
import procfast
procfast.install(); procfast.install()
assert sys.modules["multiprocessing"] is module
assert type(multiprocessing.Queue()).__module__ == "procfast.native.queues"
assert type(multiprocessing.get_context("spawn").Queue()).__module__ == "procfast.native.queues"
assert multiprocessing.get_context().backend == "native"
assert multiprocessing.context._default_context.backend == "native"
from multiprocessing import Process, SimpleQueue, get_context
assert Process.__module__.startswith("procfast"), Process.__module__
assert type(SimpleQueue()).__module__ == "procfast.native.queues"
assert type(early()).__module__ == "multiprocessing.queues"          # copied before: stays
assert type(procfast.stdlib.Queue()).__module__ in ("multiprocessing.queues", "procfast.stdlib.queues")
procfast.uninstall(); procfast.uninstall()
assert {n: getattr(multiprocessing, n) for n in multiprocessing.__all__} == before
assert type(multiprocessing.Queue()).__module__ == "multiprocessing.queues"
assert type(multiprocessing.get_context("spawn").Queue()).__module__ == "multiprocessing.queues"
print("good")
"""
    code = code.replace("import procfast\n", "import procfast, procfast.stdlib\n")
    assert python("-c", code, env={"PROCFAST_BACKEND": "native"}).stdout == "good\n"


@pytest.mark.parametrize("method", METHODS)
def test_install_in_a_program(python, script, method):
    """Called at the top of a program: its children install before they import the main module."""
    path = script(
        """
import multiprocessing, sys
from multiprocessing import queues
import procfast
if __name__ == "__main__":
    procfast.install()
from multiprocessing import Queue       # in a child too this must be procfast's
top = type(Queue()).__module__
def worker(q):
    q.put((top, type(Queue()).__module__))
    inner = multiprocessing.SimpleQueue()
    p = multiprocessing.Process(target=grandchild, args=(inner,))
    p.start()
    q.put(inner.get())
    p.join()
def grandchild(q):
    q.put(type(multiprocessing.Queue()).__module__)
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1], force=True)
    q = Queue()
    p = multiprocessing.Process(target=worker, args=(q,))
    p.start()
    print(*q.get(), q.get())
    p.join()
"""
    )
    done = python(path, method)
    assert done.stdout.split() == ["procfast.native.queues"] * 3
    assert done.stderr == ""


@pytest.mark.parametrize("method", METHODS)
def test_executor_after_install(python, script, method):
    """concurrent.futures imported multiprocessing long before."""
    path = script(
        """
import concurrent.futures, concurrent.futures.process, multiprocessing, sys
import procfast
def double(x): return x * 2, type(multiprocessing.Queue()).__module__
if __name__ == "__main__":
    procfast.install()
    multiprocessing.set_start_method(sys.argv[1])
    with concurrent.futures.ProcessPoolExecutor(2) as ex:
        results = list(ex.map(double, range(20)))
    print(sum(r[0] for r in results), {r[1] for r in results})
    with multiprocessing.Pool(2) as pool:
        print(sum(r[0] for r in pool.map(double, range(20))))
"""
    )
    out = python(path, method).stdout.splitlines()
    assert out == ["380 {'procfast.native.queues'}", "380"]


@pytest.mark.parametrize("method", METHODS)
def test_uninstalled_children_are_plain(python, script, method):
    path = script(
        """
import multiprocessing, sys, procfast
def tell(q): q.put(type(multiprocessing.Queue()).__module__)
if __name__ == "__main__":
    procfast.install(); procfast.uninstall()
    ctx = multiprocessing.get_context(sys.argv[1])
    q = ctx.SimpleQueue()
    p = ctx.Process(target=tell, args=(q,))
    p.start(); print(q.get()); p.join()
"""
    )
    assert python(path, method).stdout.strip() == "multiprocessing.queues"


def test_threads_may_install(python):
    code = """
import threading, multiprocessing, procfast
ts = [threading.Thread(target=procfast.install) for _ in range(8)]
[t.start() for t in ts]; [t.join() for t in ts]
procfast.uninstall()
print(type(multiprocessing.Queue()).__module__)
"""
    assert python("-c", code).stdout.strip() == "multiprocessing.queues"


def test_stdlib_keeps_the_originals(python):
    code = """
import procfast, procfast.stdlib, multiprocessing, multiprocessing.connection
procfast.install()
print(procfast.stdlib.get_context("fork").backend, type(procfast.stdlib.Pipe()[0]).__module__)
"""
    assert python("-c", code).stdout.split() == ["stdlib", "multiprocessing.connection"]


FINALIZERS = """
import gc, procfast
procfast.install()
import multiprocessing
from multiprocessing import util
if __name__ == "__main__":
    before = set(util._finalizer_registry)
    p = multiprocessing.get_context({method!r}).Process()
    p.start()
    p.join()
    del p
    gc.collect()
    multiprocessing.active_children()
    print(set(util._finalizer_registry) - before)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("name", BACKENDS)
def test_no_finalizer_is_left_by_a_process(python, script, method, name):
    """Programs and tests look at the registry: a process that was started and has ended leaves nothing in it."""
    path = script(FINALIZERS.format(method=method))
    assert python(path, env={"PROCFAST_BACKEND": name}).stdout.strip() == "set()"
