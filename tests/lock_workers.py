"""What the tests of locks run in other processes and threads; a spawned child must be able to import it."""

import os
import threading
import time

import workers

RAISED = "on purpose"


def hold(lock, ready, go) -> None:
    """Takes it, says so, and gives it back when told."""
    with lock:
        ready.put("held")
        go.get()
    ready.put("released")


def try_all(locks, out) -> None:
    out.put([lock.acquire(False) for lock in locks])


def take(lock, out, timeout=20) -> None:
    """Says what acquire() answered, and releases."""
    got = lock.acquire(timeout=timeout)
    if got:
        lock.release()
    out.put(got)


def release(lock, out) -> None:
    try:
        lock.release()
    except Exception as error:
        out.put((type(error).__name__, str(error)))
    else:
        out.put("released")


def count_up(lock, cells, index: int, times: int, depth: int = 1) -> None:
    """An update that is lost without the lock."""
    for _ in range(times):
        for _ in range(depth):
            lock.acquire()
        value = cells[index]
        if value % 16 == 0:
            time.sleep(0)
        cells[index] = value + 1
        for _ in range(depth):
            lock.release()


def inside_at_most(semaphore, cells, times: int) -> None:
    """cells: inside now, most ever inside (written only by who sees more), each process its own byte."""
    me = 2 + os.getpid() % (len(cells) - 2)
    for _ in range(times):
        with semaphore:
            cells[me] = 1
            inside = sum(cells[2:])
            if inside > cells[1]:
                cells[1] = inside
            cells[me] = 0


def pass_on(cell, lock, out) -> None:
    """Hands it to a child of its own."""
    p = workers.context(cell).Process(target=hold_once, args=(lock, out))
    p.start()
    p.join()
    out.put(p.exitcode)


def hold_once(lock, out) -> None:
    with lock:
        out.put("in the grandchild")


def same(bundle, out) -> None:
    """Identity of what came in one message."""
    first, second, condition, again = bundle
    with first:
        busy = second.acquire(False)
    with condition:
        inner = condition._lock._semlock._is_mine()
    out.put((first is second, busy, condition._lock is again, inner))


def wait_condition(condition, ready, out, timeout=None) -> None:
    with condition:
        ready.release()
        out.put(condition.wait(timeout))


def wait_for_value(condition, cells, want: int, ready, out, timeout=None) -> None:
    with condition:
        ready.release()
        out.put(condition.wait_for(lambda: cells[0] == want, timeout))


def set_and_notify(condition, cells, value: int) -> None:
    with condition:
        cells[0] = value
        condition.notify_all()


def wait_event(event, ready, out, timeout=None) -> None:
    ready.release()
    out.put(event.wait(timeout))


def ping(mine, other, rounds: int) -> None:
    for _ in range(rounds):
        mine.wait()
        mine.clear()
        other.set()


def rounds(barrier, cells, index: int, times: int, out) -> None:
    """Nobody is a round ahead of another."""
    indices, bad = [], 0
    for turn in range(times):
        cells[index] = turn + 1
        indices.append(barrier.wait(20))
        bad += any(value not in (turn + 1, turn + 2) for value in cells[: barrier.parties])
    out.put((indices, bad))


def arrive(barrier, out, timeout=None) -> None:
    try:
        out.put(barrier.wait(timeout))
    except threading.BrokenBarrierError:
        out.put("broken")


def fail_in_the_barrier() -> None:
    raise ZeroDivisionError(RAISED)


class Marker:
    """An action that can be pickled: counts in shared memory."""

    def __init__(self, cells) -> None:
        self.cells = cells

    def __call__(self) -> None:
        self.cells[-1] += 1


def use_from_initializer(lock) -> None:
    global _given
    _given = lock


def use_given(_) -> bool:
    with _given:
        return True


def interrupted_call(ready, obj, call: str, *args) -> None:
    """Says how Ctrl-C ended a blocked call."""
    import signal

    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(obj, "notify"):
        obj.acquire()
    ready.put("ready")
    try:
        getattr(obj, call)(*args)
    except KeyboardInterrupt:
        ready.put("interrupted")


def use_proxies(lock, rlock, semaphore, condition, event, barrier, queue) -> None:
    """Of a manager, in a child."""
    with lock, rlock, semaphore:
        pass
    assert event.wait(20)
    with condition:
        condition.notify()
    queue.put(barrier.wait())


class Counter:
    """What a manager of the user's own serves: its state is guarded by a lock of the context it was told."""

    def __init__(self, cell) -> None:
        ctx = workers.context(cell)
        self.lock, self.event = ctx.Lock(), ctx.Event()
        self.count = 0

    def add(self) -> int:
        with self.lock:
            self.count += 1
            self.event.set()
            return self.count

    def seen(self) -> bool:
        return self.event.wait(20)


def add_often(counter, times: int) -> None:
    for _ in range(times):
        counter.add()


def try_some(lock, _, last, out) -> None:
    try_all([lock, last], out)


def leave_to_a_grandchild(cell, go, out) -> None:
    """Makes a lock, gives it to a child of its own, and waits to be killed."""
    ctx = workers.context(cell)
    lock = ctx.Lock()
    ctx.Process(target=use_after, args=(lock, go, out)).start()
    workers.sleep_forever()


def use_after(lock, go, out) -> None:
    out.put("ready")
    go.wait()
    got = [lock.acquire(False), lock.acquire(False)]
    lock.release()
    out.put([*got, lock.acquire(False)])
