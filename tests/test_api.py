"""One API: every name of multiprocessing, the same in both backends, and what procfast adds."""

import importlib
import inspect
import multiprocessing
import pkgutil
import subprocess
import sys
import types

import pytest
from conftest import BACKENDS, METHODS

import procfast
from procfast._submodules import ALONE, OWN

FACTORIES = ("Queue", "JoinableQueue", "SimpleQueue")
LOCKS = ("Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "Event", "Barrier")
ADDED = {
    "Queue": {"max_bytes"},
    "JoinableQueue": {"max_bytes"},
    "Lock": {"robust"},
    **{name: set() for name in ("SimpleQueue", *LOCKS[1:])},
}


def public(obj) -> set[str]:
    return {name for name in dir(obj) if not name.startswith("_")}


def parameters(function) -> dict[str, tuple]:
    return {p.name: (p.kind, p.default) for p in inspect.signature(function).parameters.values()}


def test_names_of_multiprocessing():
    assert set(multiprocessing.__all__) <= set(procfast.__all__)
    assert all(hasattr(procfast, name) for name in procfast.__all__)


def test_star_import_gives_all():
    space: dict = {}
    exec("from procfast import *", space)
    assert set(multiprocessing.__all__) <= set(space)


@pytest.mark.parametrize("name", [m.name for m in pkgutil.iter_modules(multiprocessing.__path__)])
def test_submodules(name):
    if "win32" in name:
        return  # importable on Windows only, there as here
    theirs = importlib.import_module(f"multiprocessing.{name}")
    ours = importlib.import_module(f"procfast.{name}")
    assert all(getattr(ours, each) is not None for each in public(theirs))
    if name not in OWN:
        assert ours is theirs


def test_which_submodules_are_our_own():
    theirs = {module.name for module in pkgutil.iter_modules(multiprocessing.__path__)}
    ours = {module.name for module in pkgutil.iter_modules(procfast.__path__)}
    ours = {name for name in ours if not name.startswith("_")}
    assert ours & theirs == set(OWN)
    assert ours - theirs == set(ALONE)


def test_importing_loads_little():
    """Nothing that is slow to import and that multiprocessing does without."""
    code = """if True:
        import sys, multiprocessing.queues, multiprocessing.popen_fork
        multiprocessing.get_context()  # from Python 3.14 on it looks for a temporary directory
        before = set(sys.modules)
        import procfast
        procfast.Queue(), procfast.Process()
        print(*sorted(name for name in set(sys.modules) - before if not name.startswith("procfast")))
    """
    out = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert set(out.stdout.split()) <= {"__future__", "cython_runtime"}


def test_sharedctypes_is_the_backends():
    """Its functions are; all else is the standard library's."""
    import multiprocessing.sharedctypes as theirs

    import procfast.sharedctypes as ours

    assert ours.Synchronized is theirs.Synchronized
    assert type(ours.Value("i")) is type(procfast.Value("i"))
    assert set(ours.__all__) == set(theirs.__all__)
    with pytest.raises(AttributeError):
        _ = ours.nothing


def test_submodule_below_an_alias():
    import multiprocessing.dummy.connection

    import procfast.dummy.connection

    assert procfast.dummy.connection is multiprocessing.dummy.connection


def test_context_has_the_names(ctx):
    theirs = multiprocessing.get_context(ctx.get_start_method())
    assert public(theirs) <= public(ctx)
    assert isinstance(ctx, multiprocessing.context.BaseContext)
    assert isinstance(ctx, type(theirs))


def test_backends_have_the_same_names():
    for method in METHODS:
        contexts = [procfast.get_context(method, backend=name) for name in BACKENDS]
        names = [public(c) for c in contexts]
        assert all(n == names[0] for n in names)


def test_factories_keep_their_signatures(ctx):
    """What the standard factory takes, ours takes, in the same order with the same defaults."""
    theirs = multiprocessing.get_context(ctx.get_start_method())
    for name in public(theirs):
        function = getattr(theirs, name)
        if not isinstance(function, types.MethodType):
            continue
        want, have = parameters(function), parameters(getattr(ctx, name))
        assert list(have)[: len(want)] == list(want), name
        assert {k: have[k] for k in want} == want, name
        if name in ADDED:
            assert set(have) - set(want) == ADDED[name]


@pytest.mark.parametrize("kind", FACTORIES)
def test_queues_have_the_same_names(kind):
    native, stdlib = (getattr(procfast.get_context("fork", backend=b), kind)() for b in BACKENDS)
    try:
        assert public(native) == public(stdlib)
        for name in public(native):
            if not callable(getattr(native, name)) or name.startswith("__"):
                continue
            assert parameters(getattr(native, name)) == parameters(getattr(stdlib, name)), name
    finally:
        native.close()
        stdlib.close()


@pytest.mark.parametrize("kind", LOCKS)
def test_locks_have_the_same_names(kind):
    """But for what the features "lock_owner" and "robust_locks" name."""
    args = (2,) if kind == "Barrier" else ()
    native, stdlib = (
        getattr(procfast.get_context("fork", backend=b), kind)(*args) for b in BACKENDS
    )
    added = {"owner", "acquire_recover", "robust"} if "Lock" in kind else set()
    assert public(native) - public(stdlib) <= added
    assert public(stdlib) <= public(native)


@pytest.mark.parametrize("kind", FACTORIES)
def test_queue_methods_keep_their_signatures(local, kind):
    theirs = getattr(multiprocessing, kind)()
    ours = getattr(local, kind)()
    try:
        for name in public(theirs):
            if callable(getattr(theirs, name)):
                assert parameters(getattr(ours, name)) == parameters(getattr(theirs, name)), name
    finally:
        theirs.close()
        ours.close()


def test_queue_attributes_that_clients_read(local):
    """concurrent.futures, loky, joblib and pool read these."""
    q, s = local.Queue(3), local.SimpleQueue()
    try:
        assert q._maxsize == 3
        assert isinstance(q._opid, int)
        for end in (q._reader, q._writer, s._reader, s._writer):
            for name in ("fileno", "close", "closed"):
                assert hasattr(end, name)
        for name in ("recv", "recv_bytes", "poll"):
            assert callable(getattr(q._reader, name)) and callable(getattr(s._reader, name))
        for name in ("send", "send_bytes"):
            assert callable(getattr(q._writer, name)) and callable(getattr(s._writer, name))
        with s._rlock:  # the standard Pool takes it
            pass
    finally:
        q.close()
        s.close()


def test_process_has_the_names(ctx):
    theirs = multiprocessing.get_context(ctx.get_start_method()).Process
    assert public(theirs) <= public(ctx.Process)
    assert public(ctx.Process) - public(theirs) <= {"interrupt"}
    assert issubclass(ctx.Process, multiprocessing.process.BaseProcess)


def test_protocols(ctx):
    """Every member that procfast.abc promises is there."""
    from procfast import abc

    made = {
        "Context": lambda: ctx,
        "Process": lambda: ctx.Process(),
        "Queue": lambda: ctx.Queue(),
        "JoinableQueue": lambda: ctx.JoinableQueue(),
        "SimpleQueue": lambda: ctx.SimpleQueue(),
        "Lock": lambda: ctx.Lock(),
        "Semaphore": lambda: ctx.Semaphore(),
        "Condition": lambda: ctx.Condition(),
        "Event": lambda: ctx.Event(),
        "Barrier": lambda: ctx.Barrier(2),
        "Value": lambda: ctx.Value("i"),
        "Array": lambda: ctx.Array("i", 3),
    }
    for name, make in made.items():
        obj = make()
        promised = public(getattr(abc, name)) | set(
            getattr(getattr(abc, name), "__annotations__", {})
        )
        missing = promised - set(dir(obj))
        assert not missing, f"{name}: {missing}"
        if hasattr(obj, "put"):
            obj.close()


def test_docstrings(ctx):
    """help() tells a user what is there."""
    q = ctx.Queue()
    try:
        if ctx.backend == "native":
            made = [getattr(ctx, kind)(*((2,) if kind == "Barrier" else ())) for kind in LOCKS]
            methods = [getattr(obj, name) for obj in made for name in public(obj) if name[0] != "_"]
            assert all(inspect.getdoc(obj) for obj in [*map(type, made), *methods] if callable(obj))
            for obj in (type(q), q.put, q.get, q.put_many, q.get_many, q.close, q.qsize):
                assert inspect.getdoc(obj), obj
        assert inspect.getdoc(type(ctx).get_context)
        assert inspect.getdoc(procfast.install) and inspect.getdoc(procfast.info)
    finally:
        q.close()


def test_info_names_every_object():
    told = procfast.info()
    assert told["backend"] in BACKENDS
    text = repr(told)
    for name in ("Queue", "SimpleQueue", "JoinableQueue", "Process", "Lock", "Pool"):
        assert name in text
