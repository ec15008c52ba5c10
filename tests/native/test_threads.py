"""Many threads on one object at once: with the GIL switching as often as it can, or without a GIL."""

import collections
import concurrent.futures
import sys
import threading
from queue import Empty

import numpy
import pool_tasks
import pytest

import procfast
from procfast import futures

THREADS = 4
EACH = 300
WITHIN = 20.0


@pytest.fixture(autouse=True)
def restless():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def native():
    return procfast.get_context("fork", backend="native")


def together(*functions) -> list:
    """Run all at the same moment, each in a thread of its own: what they return, or the first error."""
    start = threading.Barrier(len(functions))
    results, errors = [None] * len(functions), []

    def run(k):
        try:
            start.wait(WITHIN)
            results[k] = functions[k]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def each(function, n: int = THREADS) -> list:
    """Run function(0), function(1), ... at the same moment."""
    return together(*(lambda k=k: function(k) for k in range(n)))


def item(thread: int, i: int):
    """Of many kinds: with a code of their own, pickled, in a block, with a buffer that is lent."""
    kind = i % 16
    if kind == 3:
        return {"from": (thread, i)}
    if kind == 7:
        return thread, i, b"x" * 20000
    if kind == 11:
        return thread, i, {"more": bytes([thread]) * 40000}
    if kind == 15:
        return {"from": (thread, i), "array": numpy.full(6000, 1000 * thread + i)}
    return thread, i


def origin(got) -> tuple[int, int]:
    """Which one it is; AssertionError where another's bytes are in it."""
    if isinstance(got, dict):
        thread, i = got["from"]
        if "array" in got:
            assert (got["array"] == 1000 * thread + i).all()
            got["array"][:] = -1  # one's own
        return thread, i
    thread, i, *more = got
    if len(more) and isinstance(more[0], dict):
        assert more[0]["more"] == bytes([thread]) * 40000
    return thread, i


def all_once_in_order(taken: list[list[tuple[int, int]]]) -> None:
    """Nothing is lost or doubled, and whoever takes sees what one thread has put in its order."""
    counts = collections.Counter(one for part in taken for one in part)
    assert set(counts.values()) == {1}
    assert len(counts) == THREADS * EACH
    for part in taken:
        for thread in range(THREADS):
            mine = [i for t, i in part if t == thread]
            assert mine == sorted(mine)


def taking(get):
    """Takes until there is None; which ones it was."""

    def take() -> list[tuple[int, int]]:
        return [origin(got) for got in iter(get, None)]

    return take


def putting(put, finished: threading.Barrier, takers: int):
    """Puts EACH items by each of the THREADS, then one None for each taker."""

    def run(thread: int) -> list:
        for i in range(EACH):
            put(item(thread, i))
        if finished.wait(WITHIN) == 0:
            for _ in range(takers):
                put(None)
        return []

    return [lambda k=k: run(k) for k in range(THREADS)]


@pytest.mark.parametrize("maxsize", [0, 5])
def test_queue(native, maxsize):
    queue = native.Queue(maxsize)
    puts = putting(queue.put, threading.Barrier(THREADS), THREADS)
    all_once_in_order(together(*puts, *[taking(queue.get)] * THREADS)[THREADS:])
    assert queue.empty()


def test_queue_in_batches(native):
    queue = native.Queue()

    def put(thread):
        for i in range(0, EACH, 25):
            queue.put_many([item(thread, k) for k in range(i, i + 25)])
        return []

    def take():
        taken = []
        while len(taken) < EACH:
            taken += queue.get_many(min(10, EACH - len(taken)))
        return [origin(got) for got in taken]

    puts = [lambda k=k: put(k) for k in range(THREADS)]
    all_once_in_order(together(*puts, *[take] * THREADS)[THREADS:])


class Unloadable:
    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return fail, (self.number,)


def fail(number):
    raise LookupError(number)


def test_what_batches_have_deferred(native):
    """After an error in a batch the rest waits for the next get: of any thread, and once."""
    queue = native.Queue()
    total = THREADS * EACH
    queue.put_many(Unloadable(i) if i % 3 == 1 else i for i in range(total))

    def take(_):
        taken = []
        while True:
            try:
                taken += queue.get_many(7, block=False)
            except LookupError as error:
                taken.append(error.args[0])
            except Empty:
                return taken

    taken = [i for part in each(take) for i in part]
    assert sorted(taken) == list(range(total))


def test_pipe(native):
    """No message is torn, on either end."""
    one, two = native.Pipe()
    puts = putting(one.send, threading.Barrier(THREADS), THREADS)
    all_once_in_order(together(*puts, *[taking(two.recv)] * THREADS)[THREADS:])
    assert not two.poll()


def test_pipe_with_long_messages(native):
    one, two = native.Pipe()
    size = 6 << 20

    def send(k):
        for _ in range(4):
            one.send_bytes(bytes([k]) * size)

    def receive():
        got = [two.recv_bytes() for _ in range(4)]
        assert all(len(b) == size and b.count(b[:1]) == size for b in got)
        return collections.Counter(b[0] for b in got)

    results = together(*(lambda k=k: send(k) for k in range(3)), *[receive] * 3)
    assert sum(results[3:], collections.Counter()) == {0: 4, 1: 4, 2: 4}


@pytest.mark.parametrize("round", range(5))
def test_closed_meanwhile(native, round):
    """Whoever is in the middle gets an item, or is told."""
    queue, simple = native.Queue(), native.SimpleQueue()
    one, two = native.Pipe()

    def use(*calls):
        while True:
            for call in calls:
                try:
                    call()
                except (ValueError, OSError, EOFError):
                    return True

    def close():
        threading.Event().wait(0.005 * round)
        for each in (queue, simple, one, two):
            each.close()
        return True

    assert all(
        together(
            *[lambda: use(lambda: queue.put(1), queue.get)] * 2,
            *[lambda: use(lambda: simple.put({}), simple.get)] * 2,
            *[lambda: use(lambda: one.send(1), lambda: two.poll() and two.recv())] * 2,
            *[close] * 2,
        )
    )


def test_pipes_made_and_dropped(native):
    """The memory of one pipe is the next one's, and nobody else's."""

    def make(k):
        for i in range(EACH):
            one, two = native.Pipe(i % 2 == 0)
            (one if i % 2 == 0 else two).send((k, i))
            assert (two if i % 2 == 0 else one).recv() == (k, i)
        return True

    assert all(each(make))


def test_arrays_lent_and_forks(native):
    """Arrays on shared memory come and go in all threads while children are forked; each child has its own copies."""
    queue = native.Queue()
    mine = numpy.arange(50000)
    queue.put(mine)
    kept = queue.get()

    def child():
        kept[:] += 1
        sys.exit(0 if (kept == mine + 1).all() else 1)

    def fork():
        codes = []
        for _ in range(8):
            process = native.Process(target=child)
            process.start()
            process.join()
            codes.append(process.exitcode)
        return codes

    def lend(k):
        for _ in range(EACH // 4):
            queue.put({"array": numpy.full(9000, k)})
            got = queue.get()["array"]
            assert (got == got[0]).all()

    assert together(fork, *(lambda k=k: lend(k) for k in range(3)))[0] == [0] * 8
    assert (kept == mine).all()


@pytest.mark.parametrize("name", ["Lock", "RLock", "Semaphore", "BoundedSemaphore"])
def test_locks(native, name):
    lock, inside, total = getattr(native, name)(), [], [0]

    def count(k):
        for _ in range(EACH):
            with lock:
                inside.append(k)
                assert inside == [k]
                total[0] += 1
                inside.pop()

    each(count)
    assert total == [THREADS * EACH]
    assert lock._semlock._count() == 0
    assert not lock._semlock._is_mine()


def test_semaphore_knows_what_its_process_has(native):
    semaphore = native.Semaphore(THREADS)
    each(lambda k: [(semaphore.acquire(), semaphore.release()) for _ in range(EACH)])
    each(lambda k: semaphore.acquire())
    assert semaphore._semlock._count() == THREADS


def test_condition(native):
    """Each notification is one thread's."""
    condition, ready, done = native.Condition(), [0], [0]

    def wait(_):
        for _ in range(EACH // 4):
            with condition:
                assert condition.wait_for(lambda: ready[0] > 0, WITHIN)
                ready[0] -= 1
                done[0] += 1

    def notify(_):
        for _ in range(EACH // 4):
            with condition:
                ready[0] += 1
                condition.notify()

    together(*(lambda k=k: wait(k) for k in range(3)), *(lambda k=k: notify(k) for k in range(3)))
    assert ready == [0]
    assert done == [3 * (EACH // 4)]


def test_values(native):
    value, raw, array = native.Value("q"), native.RawValue("q"), native.Array("i", THREADS)

    def add(k):
        for i in range(EACH):
            value.add(1)
            with value.get_lock():
                value.value += 1
            raw.add(1)
            array[k] = i
            assert list(array)[k] == i

    each(add)
    assert value.value == 2 * THREADS * EACH
    assert raw.value == THREADS * EACH
    assert list(array) == [EACH - 1] * THREADS


def test_values_made_and_dropped(native):
    """The memory of one is the next one's, and nobody else's."""

    def make(k):
        kept = [native.Value("q", 1000 * k + i) for i in range(EACH)]
        for i in range(0, EACH, 2):
            kept[i] = native.Value("q", 1000 * k + i)
            with native.Lock():
                pass
        return [v.value for v in kept] == [1000 * k + i for i in range(EACH)]

    assert all(each(make))


def test_made_when_first_asked_for(native):
    """The lock and the object of a value are made once."""
    for _ in range(30):
        value = native.Value("i")
        assert len(set(each(lambda k, v=value: (id(v.get_lock()), id(v.get_obj()))))) == 1


def test_shared_memory_closed_by_many(native):
    for _ in range(20):
        memory = native.SharedMemory(create=True, size=4096)

        def look(k, memory=memory):
            for _ in range(20):
                buf = memory.buf
                if buf is not None:
                    try:
                        assert buf[0] == 0
                    except ValueError:  # released meanwhile
                        return True
                if k == 0:
                    memory.close()
            return True

        try:
            assert all(each(look))
        finally:
            memory.close()
            memory.unlink()


def test_pool(native):
    told = collections.Counter()
    lock = threading.Lock()

    def note(value):
        with lock:
            told[value] += 1

    with native.Pool(2) as pool:
        shared = pool.imap_unordered(pool_tasks.square, range(THREADS * EACH), 7)

        def use(k):
            base = 1000 * k
            calls = [
                pool.apply_async(pool_tasks.square, (base + i,), callback=note) for i in range(40)
            ]
            assert pool.apply(pool_tasks.square, (k,)) == k * k
            assert pool.map(pool_tasks.square, range(base, base + EACH)) == [
                x * x for x in range(base, base + EACH)
            ]
            assert list(pool.imap(pool_tasks.square, range(base, base + 50), 3)) == [
                x * x for x in range(base, base + 50)
            ]
            assert [call.get(WITHIN) for call in calls] == [(base + i) ** 2 for i in range(40)]
            return list(shared)

        taken = [x for part in each(use) for x in part]
    assert sorted(taken) == [x * x for x in range(THREADS * EACH)]
    assert told == collections.Counter(
        (1000 * k + i) ** 2 for k in range(THREADS) for i in range(40)
    )


def test_one_result_for_many(native):
    with native.Pool(2) as pool:
        calls = [pool.map_async(pool_tasks.square, range(i), 1) for i in range(20)]
        for got in each(lambda k: [call.get(WITHIN) for call in calls]):
            assert got == [[x * x for x in range(i)] for i in range(20)]


def test_executor(native):
    told = collections.Counter()
    lock = threading.Lock()

    def note(future):
        with lock:
            told[future.result()] += 1

    with futures.ProcessPoolExecutor(2, native) as executor:
        common = [executor.submit(pool_tasks.square, i) for i in range(50)]

        def use(k):
            base = 1000 * k
            mine = [executor.submit(pool_tasks.square, base + i) for i in range(EACH)]
            for future in mine[::3]:
                future.add_done_callback(note)
            assert not concurrent.futures.wait(mine[:50], WITHIN).not_done
            assert [f.result(WITHIN) for f in mine] == [(base + i) ** 2 for i in range(EACH)]
            return [f.result(WITHIN) for f in common]

        assert each(use) == [[i * i for i in range(50)]] * THREADS
    assert told == collections.Counter(
        (1000 * k + i) ** 2 for k in range(THREADS) for i in range(0, EACH, 3)
    )


def test_cancel_while_they_run(native):
    """cancel() or the worker that begins: one of the two has it, and all threads are told the same."""
    with futures.ProcessPoolExecutor(1, native) as executor:
        calls = [executor.submit(pool_tasks.square, i) for i in range(EACH)]
        answers = each(lambda k: [call.cancel() for call in calls])
        for i, call in enumerate(calls):
            assert {answer[i] for answer in answers} == {call.cancelled()}
            if not call.cancelled():
                assert call.result(WITHIN) == i * i
