"""What the tests of pools run in their workers, for both backends. Those that kill have `pool_workers`."""

import os
import sys
import threading
import time
import types

kept = None


def keep(*args) -> None:
    """An initializer."""
    global kept
    kept = args


def kept_args():
    return kept


def hold(value=None):
    """Says that it has begun, and ends when it is let go. For workers that keep two semaphores."""
    begun, go = kept
    begun.release()
    go.acquire()
    return value


def state():
    """A worker_init."""
    return {"pid": os.getpid(), "calls": 0}


def state_after_initializer():
    assert kept is not None
    return ("after", *kept)


def count(state, *args, **kwds):
    state["calls"] += 1
    assert state["pid"] == os.getpid()
    return state["calls"], args, kwds


def see_state(state):
    return state


def add_to_state(state, x):
    assert state["pid"] == os.getpid()
    return x + 1


def square(x):
    return x * x


def add(a, b=0, *, c=0):
    return a + b + c


def identity(x):
    return x


def call(function):
    return function()


def everything(*args, **kwds):
    return args, kwds


def nothing(*args) -> None:
    pass


def pid(*args) -> int:
    return os.getpid()


def sleep(seconds):
    time.sleep(seconds)
    return seconds


def slow_at_first(x):
    if x == 0:
        time.sleep(0.05)
    return x


def fail(x):
    raise ValueError(f"on purpose: {x}")


def fail_at(x, at):
    if x == at:
        raise ValueError(f"on purpose: {x}")
    return x


def fail_at_3(x):
    return fail_at(x, 3)


class Detailed(Exception):
    def __init__(self, what, *, why):
        super().__init__(what)
        self.why = why

    def __reduce__(self):
        return _detailed, (self.args[0], self.why)


def _detailed(what, why):
    return Detailed(what, why=why)


def fail_in_detail():
    raise Detailed("what", why="why")


class DoesNotUnpickle(Exception):
    """Pickles as its class and one argument, of two that it needs."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def fail_without_return():
    raise DoesNotUnpickle("one", "two")


class BecomesSomethingElse(Exception):
    def __reduce__(self):
        return int, (5,)


def fail_as_an_int():
    raise BecomesSomethingElse("not an int")


def fail_unpicklably():
    raise ValueError("holds a lock", threading.Lock())


class Base(BaseException):
    pass


def raise_(kind, *args):
    raise kind(*args)


def fail_because():
    try:
        fail("inner")
    except ValueError as error:
        raise KeyError("outer") from error


def unpicklable():
    return threading.Lock()


def _explode():
    raise RuntimeError("it explodes when it is unpickled")


class Explosive:
    def __reduce__(self):
        return _explode, ()


def explosive():
    return Explosive()


def _open_slowly(value):
    time.sleep(0.01)  # other threads run
    if value is None:
        _explode()
    return value


class Slow:
    """Unpickles slowly as the value that it was given; None explodes."""

    def __init__(self, value):
        self.value = value

    def __reduce__(self):
        return _open_slowly, (self.value,)


class InterruptsPickling(Exception):
    def __reduce__(self):
        raise KeyboardInterrupt("of its pickling")


def fail_and_interrupt():
    raise InterruptsPickling


def fork_and_return(_):
    """In the child too."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    return os.getpid()


def redefined():
    return "first"


def redefine() -> None:
    """As loading this module again would."""
    global redefined
    redefined = types.FunctionType((lambda: "second").__code__, globals(), "redefined")


def large(n):
    return b"x" * n


def length(x):
    return len(x)


def double(array):
    return array * 2


class Thing:
    def __init__(self, n):
        self.n = n

    def plus(self, m):
        return self.n + m

    def __call__(self, m):
        return self.n * m

    @classmethod
    def name(cls):
        return cls.__name__


def exit_(code) -> None:
    sys.exit(code)


def exit_hard(code) -> None:
    os._exit(code)


def kill(signum) -> None:
    os.kill(os.getpid(), signum)
    threading.Event().wait()


def touch(path) -> None:
    os.close(os.open(path, os.O_CREAT))


def kill_once(path, value):
    """Is killed the first time."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return value
    return kill(9)


def fail_to_start(why) -> None:
    raise RuntimeError(why)


def make_a_pool():
    """In a worker: daemons have no children."""
    import procfast

    procfast.Pool(1)


def is_daemon():
    import multiprocessing

    return multiprocessing.current_process().daemon


def name_of_process():
    import multiprocessing

    return multiprocessing.current_process().name


def use_a_pool(method, backend, answers) -> None:
    """In a process of its own that is no daemon."""
    import procfast

    with procfast.get_context(method, backend=backend).Pool(1) as pool:
        answers.put(pool.map(square, range(10)))


def use_the_parents(pool, answers) -> None:
    try:
        answers.put(pool.apply(square, (3,)))
    except Exception as error:
        answers.put(type(error).__name__)
