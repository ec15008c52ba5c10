"""What is timed: plain programs against the API of `multiprocessing`, the same for every backend.

Nothing here knows which backend it runs on: each workload takes a context, uses `Queue()`, `put`,
`get`, `Pipe()`, `Process(...)` as any program would, checks what arrived, and only then answers a
number.
Processes are forked, so that what is timed is the object and not the start of an interpreter.

How a throughput is taken: all processes are started and push a few items through (warm-up), meet at
a barrier, and the time runs from the first `put` to the return of the last `get`.
"""

from __future__ import annotations

import gc
import hashlib
import json
import mmap
import os
import re
import selectors
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any

from procfast import _backend
from procfast.cli.compare import sources

if TYPE_CHECKING:
    from multiprocessing.context import ForkContext  # not on Windows

MIB = 1 << 20


@dataclass(frozen=True)
class Plan:
    """How long a cell may take, and where its processes may run."""

    quick: bool
    cpus: Sequence[int]  # CPUs this cell may use; several only where the case wants them apart

    @property
    def seconds(self) -> float:
        """How long the timed part of a cell shall last, about."""
        return 0.3 if self.quick else 0.6


@dataclass(frozen=True)
class Sample:
    """One measured number, already checked: `value` in the unit of its case."""

    value: float
    items: int = 0
    seconds: float = 0.0
    digest: str = ""  # of the results, where both backends have to agree on them
    extra: dict[str, float] = field(default_factory=dict)


def pin(cpus: Iterable[int]) -> None:
    """Run on these CPUs only, where the system can be told."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)


def expect(condition: bool, what: str) -> None:
    """Raise when a result is wrong (a time is worth nothing then)."""
    if not condition:
        raise AssertionError(what)


class Crew:
    """Processes that report through a pipe each; an error in one of them is raised here."""

    def __init__(self, ctx: ForkContext) -> None:
        self._ctx = ctx
        self._members: list[tuple[Any, Any]] = []

    def start(self, target: Callable[..., Any], *args: Any) -> Any:
        """Start `target(*args)` in a process; what it returns is what `results` answers."""
        receive, send = self._ctx.Pipe(duplex=False)
        # daemons, so that an error here ends the cell instead of waiting for them at exit
        process = self._ctx.Process(target=self._main, args=(send, target, args), daemon=True)
        process.start()
        send.close()
        self._members.append((process, receive))
        return process

    @staticmethod
    def _main(send: Any, target: Callable[..., Any], args: tuple[Any, ...]) -> None:
        send.send(target(*args))

    def results(self) -> list[Any]:
        """What each process returned, in the order they were started; all are joined."""
        answers = []
        for process, receive in self._members:
            try:
                answers.append(receive.recv())
            except EOFError:
                process.join()
                raise RuntimeError(f"a process ended with exit code {process.exitcode}") from None
        for process, receive in self._members:
            process.join()
            receive.close()
        return answers


# --- what items go through -----------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """A way from one process to another: what the sender calls, what the receiver calls, and how
    both are given up. Made before the fork, so each side has all of it."""

    put: Callable[[Any], Any]
    get: Callable[..., Any]
    close: Callable[[], Any]


def by_queue(ctx: ForkContext, put: str = "put", get: str = "get", descriptor: bool = False) -> Way:
    """A `Queue()`. With `descriptor`, its own is asked for, as a program that uses `select` does
    once: from then on the queue has to signal."""
    queue = ctx.Queue()
    reader: Any = queue._reader  # type: ignore[attr-defined]
    expect(not descriptor or reader.fileno() >= 0, "no descriptor")

    def close() -> None:
        queue.close()
        queue.join_thread()

    return Way(getattr(queue, put), getattr(queue, get), close)


def _selected(selector: Any, receive: Callable[[], Any]) -> Any:
    selector.select()
    return receive()


def between(
    sender: Any, receiver: Any, put: str = "send", get: str = "recv", select: bool = False
) -> Way:
    """From one end of a `Pipe()` to the other. With `select`, the receiver waits in a selector and
    receives when that calls the end readable."""
    take, used = getattr(receiver, get), [sender, receiver]
    if select:
        selector = selectors.DefaultSelector()
        selector.register(receiver, selectors.EVENT_READ)
        take = partial(_selected, selector, take)
        used.append(selector)

    def close() -> None:
        for each in used:
            each.close()

    return Way(getattr(sender, put), take, close)


def by_pipe(ctx: ForkContext, **options: Any) -> Way:
    """A `Pipe(duplex=False)`; the options of `between`."""
    receiver, sender = ctx.Pipe(duplex=False)
    return between(sender, receiver, **options)


by_bytes = partial(by_pipe, put="send_bytes", get="recv_bytes")


def by_two_queues(ctx: ForkContext) -> tuple[Way, Way]:
    """A queue there, another back."""
    return by_queue(ctx), by_queue(ctx)


def by_duplex_pipe(ctx: ForkContext, **options: Any) -> tuple[Way, Way]:
    """Both directions of one `Pipe()`; the options of `between`."""
    ours, theirs = ctx.Pipe()
    return between(ours, theirs, **options), between(theirs, ours, **options)


# --- one way -------------------------------------------------------------------------------------


class Ints:
    """Ints of one byte. Every item is kept until the clock has stopped, then compared."""

    size = 1

    def items(self, count: int) -> list[Any]:
        return [i & 255 for i in range(count)]

    def take(self, get: Callable[[], Any], count: int) -> list[Any]:
        return [get() for _ in repeat(None, count)]

    warm_up = take

    def take_all(self, get: Callable[[], Any]) -> list[Any]:
        return list(iter(get, None))

    def check(self, taken: list[Any], count: int) -> None:
        expect(taken == self.items(count), "what came is not what was sent")


class Words(Ints):
    """Byte strings of 8; otherwise as Ints."""

    size = 8

    def items(self, count: int) -> list[Any]:
        words = [i.to_bytes(8, "little") for i in range(256)]
        return [words[i & 255] for i in range(count)]


class Blocks:
    """Few large objects in turn. Each is compared whole in the warm-up, and at one place of every
    page while the clock runs, so that no page of it goes unread."""

    kinds = 2

    def __init__(self, size: int) -> None:
        self.size = size
        self._payloads = [self.payload(k) for k in range(self.kinds)]
        self._marks = [self.mark(payload) for payload in self._payloads]

    def payload(self, kind: int) -> Any:
        return hashlib.shake_128(bytes([kind])).digest(self.size)

    def mark(self, payload: Any) -> Any:
        return payload[::4096]

    def items(self, count: int) -> list[Any]:
        return [self._payloads[i % self.kinds] for i in range(count)]

    def warm_up(self, get: Callable[[], Any], count: int) -> None:
        for i in range(count):
            expect(bytes(get()) == bytes(self._payloads[i % self.kinds]), "an item came changed")

    def take(self, get: Callable[[], Any], count: int) -> int:
        wrong, length = 0, len(self._payloads[0])
        for i in range(count):
            block = get()
            wrong += self.mark(block) != self._marks[i % self.kinds] or len(block) != length
        return wrong

    def check(self, taken: int, count: int) -> None:
        expect(taken == 0, f"{taken} of {count} items are not what was sent")


class Arrays(Blocks):
    """NumPy arrays of float64."""

    def payload(self, kind: int) -> Any:
        import numpy

        return numpy.random.default_rng(kind).random(self.size // 8)

    def mark(self, payload: Any) -> bytes:
        return bytes(payload[::512].tobytes())


def _send(way: Way, gate: Any, payload: Any, warm: int, count: int, ends: int) -> float:
    put = way.put
    for item in payload.items(warm) + [None] * ends:
        put(item)
    items = payload.items(count) + [None] * ends
    gate.wait()
    begin = time.monotonic()
    for item in items:
        put(item)
    return begin


def _receive_counted(
    way: Way, gate: Any, payload: Any, warm: int, count: int, in_order: bool
) -> Any:
    payload.warm_up(way.get, warm)
    gate.wait()
    taken = payload.take(way.get, count)
    end = time.monotonic()
    if in_order:
        payload.check(taken, count)
        return end, count, 0
    return end, len(taken), sum(taken)


def _receive_shared(way: Way, gate: Any, payload: Any) -> Any:
    payload.take_all(way.get)
    gate.wait()
    taken = payload.take_all(way.get)
    return time.monotonic(), len(taken), sum(taken)


def one_way(
    ctx: ForkContext,
    plan: Plan,
    payload: Any,
    make: Callable[[ForkContext], Way] = by_queue,
    producers: int = 1,
    consumers: int = 1,
    send: Callable[..., float] = _send,
    receive: Callable[..., Any] = _receive_counted,
) -> Sample:
    """Items per second through what `make` makes."""
    if len(plan.cpus) == 1:
        pin(plan.cpus)
    warm = max(8, min(2000, 32 * MIB // payload.size))

    def run(each: int) -> float:
        way, gate, crew = make(ctx), ctx.Barrier(producers + consumers), Crew(ctx)
        ends = consumers if consumers > 1 else 0
        for _ in range(producers):
            crew.start(send, way, gate, payload, warm, each, ends)
        for _ in range(consumers):
            if consumers > 1:
                crew.start(_receive_shared, way, gate, payload)
            else:
                crew.start(
                    receive,
                    way,
                    gate,
                    payload,
                    warm * producers,
                    each * producers,
                    producers == 1,
                )
        answers = crew.results()
        if producers + consumers > 2:
            received = answers[producers:]
            expect(sum(a[1] for a in received) == each * producers, "items were lost or doubled")
            expect(
                sum(a[2] for a in received) == sum(payload.items(each)) * producers, "wrong items"
            )
        way.close()
        return float(max(a[0] for a in answers[producers:]) - min(answers[:producers]))

    each = warm
    seconds = run(each)
    # As many items as fill the time: found by doing it, since the rate of a short run misleads.
    for _ in range(4):
        if seconds >= 0.6 * plan.seconds:
            break
        each = max(each + 1, int(each * min(20.0, plan.seconds / seconds)))
        seconds = run(each)
    count = each * producers
    return Sample(count / seconds, count, seconds)


def _send_many(way: Way, gate: Any, payload: Any, warm: int, count: int, ends: int) -> float:
    items = payload.items(count)
    way.put(payload.items(warm))
    gate.wait()
    begin = time.monotonic()
    for i in range(0, count, 256):
        way.put(items[i : i + 256])
    return begin


def _receive_many(way: Way, gate: Any, payload: Any, warm: int, count: int, in_order: bool) -> Any:
    def take(count: int) -> list[Any]:
        taken: list[Any] = []
        while len(taken) < count:
            taken += way.get(min(256, count - len(taken)))
        return taken

    take(warm)
    gate.wait()
    taken = take(count)
    end = time.monotonic()
    payload.check(taken, count)
    return end, count, 0


# --- there and back ------------------------------------------------------------------------------


def _echo(there: Way, back: Way, cpus: Iterable[int]) -> int:
    pin(cpus)
    get, put, count = there.get, back.put, 0
    for item in iter(get, None):
        put(item)
        count += 1
    return count


def ping_pong(
    ctx: ForkContext, plan: Plan, make: Callable[[ForkContext], tuple[Way, Way]]
) -> Sample:
    """Seconds for an int to go to another process and come back, median."""
    (there, back), crew = make(ctx), Crew(ctx)
    crew.start(_echo, there, back, [plan.cpus[-1]])
    pin([plan.cpus[0]])
    put, get, clock = there.put, back.get, time.perf_counter_ns
    for i in range(500):
        put(i)
        expect(get() == i, "another item came back")
    trips: list[int] = []
    wrong = 0
    stop = clock() + int(plan.seconds * 1e9)
    while True:
        i = len(trips) & 255
        begin = clock()
        put(i)
        answer = get()
        end = clock()
        trips.append(end - begin)
        wrong += answer != i
        if end > stop:
            break
    put(None)
    expect(crew.results() == [len(trips) + 500] and not wrong, "other items came back")
    there.close()
    back.close()
    spread = statistics.quantiles(trips, n=100)
    return Sample(
        spread[49] / 1e9,
        len(trips),
        sum(trips) / 1e9,
        extra={"p90": spread[89] / 1e9, "p99": spread[98] / 1e9},
    )


# --- locks ---------------------------------------------------------------------------------------


def _with(lock: Any, count: int) -> None:
    for _ in repeat(None, count // 4):
        with lock:
            pass
        with lock:
            pass
        with lock:
            pass
        with lock:
            pass


def _acquire_release(lock: Any, count: int) -> None:
    for _ in repeat(None, count // 4):
        lock.acquire()
        lock.release()
        lock.acquire()
        lock.release()
        lock.acquire()
        lock.release()
        lock.acquire()
        lock.release()


def _is_set(event: Any, count: int) -> None:
    for _ in repeat(None, count // 8):
        event.is_set()
        event.is_set()
        event.is_set()
        event.is_set()
        event.is_set()
        event.is_set()
        event.is_set()
        event.is_set()


def each_call(ctx: ForkContext, plan: Plan, kind: str, calls: Callable[[Any, int], None]) -> Sample:
    """Seconds for a call (or a `with`) that nobody else disturbs: the median of batches of 2000."""
    obj, batch, clock = getattr(ctx, kind)(), 2000, time.perf_counter
    calls(obj, batch)
    times: list[float] = []
    stop = clock() + plan.seconds
    while clock() < stop:
        begin = clock()
        calls(obj, batch)
        times.append((clock() - begin) / batch)
    if hasattr(obj, "release"):
        expect(obj.acquire(False), "it is still held")
    return Sample(statistics.median(times), batch * len(times), sum(times) * batch)


def _contend(lock: Any, counter: Any, gate: Any, seconds: float) -> tuple[float, float, int]:
    gate.wait()
    clock, mine = time.monotonic, 0
    begin = clock()
    end = begin + seconds
    while clock() < end:
        for _ in range(100):
            with lock:
                counter[0] += 1
        mine += 100
    return begin, clock(), mine


def contended(ctx: ForkContext, plan: Plan, kind: str, processes: int) -> Sample:
    """How often a second processes in loops get a lock, all together; each counts on one counter."""
    with mmap.mmap(-1, 4096) as memory, memoryview(memory).cast("q") as counter:
        lock, gate, crew = getattr(ctx, kind)(), ctx.Barrier(processes), Crew(ctx)
        for _ in range(processes):
            crew.start(_contend, lock, counter, gate, plan.seconds)
        answers = crew.results()
        count = sum(a[2] for a in answers)
        expect(counter[0] == count, "updates were lost")
    seconds = max(a[1] for a in answers) - min(a[0] for a in answers)
    return Sample(count / seconds, count, seconds)


def make_lock(ctx: ForkContext, plan: Plan, kind: str) -> Sample:
    """Seconds to create one and forget it, median of batches of 100; each batch's last is used."""
    make, clock = getattr(ctx, kind), time.perf_counter
    times: list[float] = []
    stop = clock() + plan.seconds
    made: Any = make()
    while clock() < stop:
        begin = clock()
        for _ in repeat(None, 100):
            made = make()
        times.append((clock() - begin) / 100)
        expect(made.acquire(False) and not made.acquire(False), "a new lock is not free")
    return Sample(statistics.median(times), 100 * len(times), sum(times) * 100)


def _answer_events(there: Any, back: Any, stop: Any, cpus: Iterable[int]) -> int:
    pin(cpus)
    count = 0
    while True:
        there.wait()
        there.clear()
        if stop.acquire(False):
            return count
        count += 1
        back.set()


def event_ping_pong(ctx: ForkContext, plan: Plan) -> Sample:
    """Seconds for a set() to wake another process and its set() to wake this one, median."""
    there, back, stop, crew = ctx.Event(), ctx.Event(), ctx.Semaphore(0), Crew(ctx)
    crew.start(_answer_events, there, back, stop, [plan.cpus[-1]])
    pin([plan.cpus[0]])

    def trip() -> None:
        there.set()
        back.wait()
        back.clear()

    trips = _trips(trip, plan)
    stop.release()
    there.set()
    expect(crew.results() == [len(trips) + 100], "other rounds came back")
    return _sample_of(trips)


def _trips(trip: Callable[[], object], plan: Plan) -> list[int]:
    clock = time.perf_counter_ns
    for _ in range(100):
        trip()
    trips: list[int] = []
    stop = clock() + int(plan.seconds * 1e9)
    while (begin := clock()) < stop:
        trip()
        trips.append(clock() - begin)
    return trips


def _sample_of(trips: list[int]) -> Sample:
    return Sample(statistics.median(trips) / 1e9, len(trips), sum(trips) / 1e9)


def _meet(barrier: Any, last: Any, cpus: Iterable[int]) -> int:
    pin(cpus)
    count = 0
    while count != last[0]:
        barrier.wait()
        count += 1
    return count


def barrier_rounds(ctx: ForkContext, plan: Plan) -> Sample:
    """Seconds for a round of two processes at a barrier, median."""
    with mmap.mmap(-1, 4096) as memory, memoryview(memory).cast("q") as last:
        barrier, crew = ctx.Barrier(2), Crew(ctx)
        last[0] = -1
        crew.start(_meet, barrier, last, [plan.cpus[-1]])
        pin([plan.cpus[0]])
        trips = _trips(barrier.wait, plan)
        last[0] = len(trips) + 101  # the other is on its way to that round, or waits for it
        barrier.wait()
        expect(crew.results() == [len(trips) + 101], "other rounds")
    return _sample_of(trips)


def _blocked_in_lock(lock: Any, ready: Any) -> float:
    expect(not lock.acquire(False), "it is free")
    ready.send(None)
    begin = time.process_time()
    lock.acquire()
    return time.process_time() - begin


def blocked_in_lock(ctx: ForkContext, plan: Plan) -> Sample:
    """Seconds of CPU that a process uses while it waits for a lock."""
    seconds = 2.0 if plan.quick else 10.0
    lock, crew = ctx.Lock(), Crew(ctx)
    receive, send = ctx.Pipe(duplex=False)
    lock.acquire()
    crew.start(_blocked_in_lock, lock, send)
    receive.recv()
    time.sleep(seconds)
    lock.release()
    return Sample(crew.results()[0], 1, seconds)


# --- waiting, memory, descriptors, processes -----------------------------------------------------


def _blocked(way: Way, ready: Any) -> float:
    way.put(0)
    way.get()  # the first use may set up things; the wait is what is measured
    ready.send(None)
    begin = time.process_time()
    item = way.get()
    used = time.process_time() - begin
    expect(item == "awake", "another item")
    return used


def blocked(ctx: ForkContext, plan: Plan, make: Callable[[ForkContext], Way]) -> Sample:
    """Seconds of CPU that a process uses while it waits for an item, with all of its threads."""
    seconds = 2.0 if plan.quick else 10.0
    way, crew = make(ctx), Crew(ctx)
    receive, send = ctx.Pipe(duplex=False)
    crew.start(_blocked, way, send)
    receive.recv()
    time.sleep(seconds)
    way.put("awake")
    sample = Sample(crew.results()[0], 1, seconds)
    way.close()
    return sample


def memory_of(pids: Iterable[int]) -> int:
    """Bytes that these processes hold: their own pages, and every page of the memory files that
    they have open, mapped or not, each file once."""
    own, files = 0, {}
    for pid in pids:
        with open(f"/proc/{pid}/status") as status:
            own += int(re.search(r"^RssAnon:\s+(\d+) kB", status.read(), re.M)[1]) << 10  # type: ignore[index]
        for name in os.listdir(f"/proc/{pid}/fd"):
            path = f"/proc/{pid}/fd/{name}"
            try:
                if "memfd:" in os.readlink(path):
                    found = os.stat(path)
                    files[found.st_dev, found.st_ino] = found.st_blocks * 512
            except FileNotFoundError:
                continue  # the descriptor that listed this directory
    return own + sum(files.values())


_BACKLOG_ITEM = 64 << 10


def available_memory() -> int:
    """Bytes that a program could have without others' being swapped out. Reads /proc."""
    with open("/proc/meminfo") as file:
        return int(re.search(r"^MemAvailable:\s+(\d+) kB", file.read(), re.M)[1]) << 10  # type: ignore[index]


def _hoard(queue: Any, count: int, orders: Any) -> None:
    queue.put(-1)
    orders.recv()
    for i in range(count):
        queue.put(i.to_bytes(4, "big") * (_BACKLOG_ITEM // 4))
    orders.send(None)
    orders.recv()


def _drain(queue: Any, count: int, orders: Any) -> int:
    queue.get()
    orders.send(None)
    orders.recv()
    right = 0
    for i in range(count):
        item = queue.get()
        right += len(item) == _BACKLOG_ITEM and item[:4] == item[-4:] == i.to_bytes(4, "big")
        del item
    orders.send(None)
    orders.recv()
    return right


def backlog(ctx: ForkContext, plan: Plan) -> Sample:
    """Bytes held by producer, consumer and queue after a backlog was put and drained, beyond what
    they held before it. All three processes are still alive when it is read."""
    size = min((128 if plan.quick else 1024) * MIB, available_memory() // 4)
    count = size // _BACKLOG_ITEM
    queue, crew = ctx.Queue(), Crew(ctx)
    producer, to_producer = ctx.Pipe()
    consumer, to_consumer = ctx.Pipe()
    pids = [os.getpid()]
    pids.append(crew.start(_hoard, queue, count, to_producer).pid)
    pids.append(crew.start(_drain, queue, count, to_consumer).pid)
    consumer.recv()
    before = memory_of(pids)
    producer.send(None)
    producer.recv()
    full = memory_of(pids)
    consumer.send(None)
    consumer.recv()
    # The standard library's feeder thread lets go of the last items a moment after they are read.
    time.sleep(0.2)
    after = memory_of(pids)
    producer.send(None)
    consumer.send(None)
    expect(crew.results()[1] == count, "items were lost or torn")
    return Sample(max(0, after - before), count, extra={"full": full - before, "backlog": size})


def make_and_close(ctx: ForkContext, plan: Plan, duplex: bool) -> Sample:
    """Seconds to create a `Pipe()` and close both ends, median. Not timed: each sixteenth, which
    is used in between."""
    times: list[float] = []
    clock = time.perf_counter
    stop = clock() + plan.seconds
    while clock() < stop:
        one, other = ctx.Pipe(duplex)
        other.send(len(times))
        expect(one.recv() == len(times), "another item")
        one.close()
        other.close()
        for _ in range(15):
            begin = clock()
            one, other = ctx.Pipe(duplex)
            one.close()
            other.close()
            times.append(clock() - begin)
    return Sample(statistics.median(times), len(times), sum(times))


def descriptors(ctx: ForkContext, plan: Plan) -> Sample:
    """Descriptors that a process has for each end of a `Pipe()` that it uses and selects on."""
    many = 64

    def use() -> float:
        before = len(os.listdir("/proc/self/fd"))
        kept = []
        for i in range(many):
            one, other = ctx.Pipe()
            for sender, receiver in ((one, other), (other, one)):
                sender.send(i)
                expect(receiver.fileno() >= 0 and receiver.recv() == i, "another item")
            other.close()
            kept.append(one)
        held = len(os.listdir("/proc/self/fd")) - before
        for one in kept:
            one.close()
        return held / many

    use()  # what the first ones set up for good belongs to no end
    before = len(os.listdir("/proc/self/fd"))
    held = use()
    expect(len(os.listdir("/proc/self/fd")) == before, "descriptors were left open")
    return Sample(held, many)


def statement(
    ctx: ForkContext,
    plan: Plan,
    source: str,
    make: Callable[[ForkContext], dict[str, Any]],
    check: Callable[[dict[str, Any], int], bool],
) -> Sample:
    """Seconds for one statement, ten of them in each turn of a loop, on names that `make` gives; median."""
    names = make(ctx)
    timer = timeit.Timer("\n".join([source] * 10), globals=names)
    turns, count = 10, 0
    times: list[float] = []
    while (seconds := timer.timeit(turns)) < plan.seconds / 30:
        count += 10 * turns
        turns *= 2
    while sum(times) < plan.seconds:
        times.append(timer.timeit(turns))
    count += 10 * turns * (1 + len(times))
    expect(check(names, count), f"not what {count} times {source!r} should leave")
    return Sample(statistics.median(times) / turns / 10, count, seconds + sum(times))


def _segments(ctx: ForkContext) -> tuple[Any, Any]:
    """The class that makes named segments, and one of them, with something in it."""
    kind: Any
    if getattr(ctx, "backend", "stdlib") == "stdlib":
        import multiprocessing.shared_memory

        kind = (
            multiprocessing.shared_memory.SharedMemory
        )  # without what our class of that backend adds
    else:
        probe = ctx.SharedMemory(create=True, size=1)  # type: ignore[attr-defined]
        kind = type(probe)
        probe.close()
        probe.unlink()
    held = kind(create=True, size=4096)
    held.buf[:4] = b"held"
    return kind, held


def named_cycle(ctx: ForkContext, plan: Plan) -> Sample:
    """Seconds to create a named segment of 4 KiB, close and unlink it, median. Not timed: each sixteenth, which is
    written through one mapping and read through another."""
    times: list[float] = []
    kind, held = _segments(ctx)
    clock = time.perf_counter
    stop = clock() + plan.seconds
    while clock() < stop:
        segment = kind(create=True, size=4096)
        segment.buf[0] = len(times) & 255
        other = kind(segment.name)
        expect(other.buf[0] == len(times) & 255, "another byte")
        other.close()
        segment.close()
        segment.unlink()
        for _ in range(15):
            begin = clock()
            segment = kind(create=True, size=4096)
            segment.close()
            segment.unlink()
            times.append(clock() - begin)
    held.close()
    held.unlink()
    return Sample(statistics.median(times), len(times), sum(times))


def named_attach(ctx: ForkContext, plan: Plan) -> Sample:
    """Seconds to attach to a named segment of 4 KiB and close it, median; what is in it is read each time, untimed."""
    times: list[float] = []
    kind, held = _segments(ctx)
    name = held.name
    clock = time.perf_counter
    stop = clock() + plan.seconds
    while clock() < stop:
        begin = clock()
        segment = kind(name)
        middle = clock()
        expect(bytes(segment.buf[:4]) == b"held", "other bytes")
        again = clock()
        segment.close()
        times.append(middle - begin + clock() - again)
    held.close()
    held.unlink()
    return Sample(statistics.median(times), len(times), sum(times))


def _nothing() -> None:
    pass


def _heap(size: int) -> mmap.mmap:
    """Memory in pages of 4 KiB that a fork has to go through, all of them touched."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    for _ in range(size // MIB):
        memory.write(b"1" * MIB)
    return memory


def start_and_join(ctx: ForkContext, plan: Plan, heap: int, many: int = 1) -> Sample:
    """Seconds for so many forked processes to be started one after the other and then joined, median."""

    def run() -> None:
        processes = [ctx.Process(target=_nothing) for _ in range(many)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            expect(process.exitcode == 0, f"exit code {process.exitcode}")

    return _forks(run, plan, heap)


def bare_fork(ctx: ForkContext, plan: Plan, heap: int) -> Sample:
    """The same by os.fork, os._exit and os.waitpid: what no Process can go below."""

    def run() -> None:
        pid = os.fork()
        if not pid:
            os._exit(0)
        expect(os.waitpid(pid, 0)[1] == 0, "another exit code")

    return _forks(run, plan, heap)


def _forks(run: Callable[[], None], plan: Plan, heap: int) -> Sample:
    with _heap(heap):
        gc.collect()
        times: list[float] = []
        stop = time.perf_counter() + plan.seconds + 0.2
        while len(times) < 8 or time.perf_counter() < stop:
            begin = time.perf_counter()
            run()
            times.append(time.perf_counter() - begin)
    return Sample(statistics.median(times[3:]), len(times), sum(times))


_PROGRAM = """\
{imports}
import json, sys, time
import {package} as mp

def nothing():
    pass

if __name__ == "__main__":
    method, pause, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    Process, times = mp.get_context(method).Process, []
    while len(times) < 6 or sum(times) + pause * len(times) < seconds:
        time.sleep(pause)
        begin = time.perf_counter()
        process = Process(target=nothing)
        process.start()
        process.join()
        times.append(time.perf_counter() - begin)
        assert process.exitcode == 0, process.exitcode
        process.close()
    print(json.dumps(times[1:]))
"""
_IMPORTS = (
    "import argparse, collections, csv, dataclasses, datetime, functools, logging, pathlib, random, re, subprocess, "
    "tempfile, urllib.request"
)


def fresh_process(
    ctx: ForkContext,
    plan: Plan,
    method: str,
    imports: str = _IMPORTS,
    pause: float = 0,
    spare: bool = True,
) -> Sample:
    """Seconds to start and join a process by spawn or forkserver, median; so long a pause before each.

    In a program of its own, whose main module every child has to import; its first start is not counted. Without
    `spare`, the backend must not keep an interpreter ready.
    """
    environment = _environment(ctx)
    environment |= {} if spare else {"PROCFAST_SPARE": "0"}
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "program.py")
        with open(file, "w") as program:
            program.write(_PROGRAM.format(imports=imports, package=_package(ctx)))
        arguments = [method, str(pause), str(2 * plan.seconds)]
        times = json.loads(
            subprocess.check_output([sys.executable, "-P", file, *arguments], env=environment)
        )
    return Sample(statistics.median(times), len(times), sum(times))


def _package(ctx: ForkContext) -> str:
    return "multiprocessing" if getattr(ctx, "backend", "stdlib") == "stdlib" else "procfast"


def _environment(ctx: ForkContext) -> dict[str, str]:
    return dict(os.environ, PROCFAST_BACKEND=getattr(ctx, "backend", "stdlib"))


def import_time(ctx: ForkContext, plan: Plan) -> Sample:
    """Seconds that a fresh interpreter needs to import the package and make a queue and a process, median."""
    code = (
        "import time; begin = time.perf_counter()\n"
        f"import {_package(ctx)} as mp; mp.Queue(); mp.Process()\n"
        "print(time.perf_counter() - begin)"
    )
    times = [
        float(subprocess.check_output([sys.executable, "-P", "-c", code], env=_environment(ctx)))
        for _ in range(5 if plan.quick else 15)
    ]
    return Sample(statistics.median(times), len(times), sum(times))


# --- pools ---------------------------------------------------------------------------------------

POOL_WORKERS = 2


def _pool(ctx: ForkContext) -> Any:
    if getattr(ctx, "backend", "stdlib") == "stdlib":
        from multiprocessing.pool import Pool

        return Pool(POOL_WORKERS, context=ctx)  # without what our class of that backend adds
    return ctx.Pool(POOL_WORKERS)


def _double(x: Any) -> Any:
    return x + x


def pool_rate(
    ctx: ForkContext, plan: Plan, count: int, call: Callable[[Any, int], Any], ordered: bool = True
) -> Sample:
    """Tasks per second, of so many trivial ones: the median of a few rounds of `call`."""
    count = count // 10 if plan.quick else count
    with _pool(ctx) as pool:
        call(pool, count // 10)
        times: list[float] = []
        while len(times) < 3 or sum(times) < plan.seconds:
            begin = time.perf_counter()
            results = call(pool, count)
            times.append(time.perf_counter() - begin)
            expect(
                (results if ordered else sorted(results)) == [2 * i for i in range(count)],
                "other results",
            )
    return Sample(count / statistics.median(times), count * len(times), sum(times))


def _map(pool: Any, count: int) -> Any:
    return pool.map(_double, range(count))


def _map_one_by_one(pool: Any, count: int) -> Any:
    return pool.map(_double, range(count), 1)


def _unordered(pool: Any, count: int) -> Any:
    return list(pool.imap_unordered(_double, range(count)))


def _burst(pool: Any, count: int) -> Any:
    calls = [pool.apply_async(_double, (i,)) for i in range(count)]
    return [call.get() for call in calls]


def pool_trip(ctx: ForkContext, plan: Plan, pause: float = 0.0) -> Sample:
    """Seconds from the call of one task to its result, median; before each, `pause` seconds without any."""
    clock = time.perf_counter_ns
    times: list[int] = []
    with _pool(ctx) as pool:
        for i in range(100):
            expect(pool.apply(_double, (i,)) == 2 * i, "another result")
        while sum(times) / 1e9 + len(times) * pause < plan.seconds:
            if pause:
                time.sleep(pause)
            begin = clock()
            result = pool.apply(_double, (7,))
            times.append(clock() - begin)
            expect(result == 14, "another result")
    return _sample_of(times)


def pool_arrays(ctx: ForkContext, plan: Plan) -> Sample:
    """Bytes per second of 64 arrays of 4 MiB to the workers and back, each way counted."""
    import numpy

    arrays = [numpy.full(4 * MIB // 8, i, "f8") for i in range(8 if plan.quick else 64)]
    times: list[float] = []
    with _pool(ctx) as pool:
        for _ in range(3):
            begin = time.perf_counter()
            results = pool.map(_double, arrays, 1)
            times.append(time.perf_counter() - begin)
            for i, result in enumerate(results):
                expect(bool((result == 2 * i).all()), "another array")
            del results, result
    size = 2 * sum(array.nbytes for array in arrays)
    seconds = statistics.median(times[1:])
    return Sample(size / seconds, len(arrays), seconds)


def pool_start(ctx: ForkContext, plan: Plan) -> Sample:
    """Seconds from nothing to the first result, median. Not timed: its end."""
    gc.collect()
    times: list[float] = []
    while len(times) < 10 or sum(times) < plan.seconds:
        begin = time.perf_counter()
        pool = _pool(ctx)
        result = pool.apply(_double, (7,))
        times.append(time.perf_counter() - begin)
        expect(result == 14, "another result")
        pool.terminate()
        pool.join()
    return Sample(statistics.median(times), len(times), sum(times))


# --- end to end ----------------------------------------------------------------------------------


def end_to_end(ctx: ForkContext, plan: Plan, cut: sources.Cut, count: sources.Count) -> Sample:
    """Seconds to count the standard library's sources; see `sources`."""
    workers = max(1, len(plan.cpus))
    everything = sources.paths(everything=not plan.quick)
    some = everything[::25]
    # On a part of the input the result has to be what one process alone finds; it warms up, too.
    found, _ = sources.in_processes(ctx, cut, count, some, workers)
    expect(found == sources.in_one_process(cut, count, some), "one process alone counts otherwise")
    found, seconds = sources.in_processes(ctx, cut, count, everything, workers)
    digest = hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()
    return Sample(seconds, sum(found.values()), seconds, digest)


# --- executors -----------------------------------------------------------------------------------


def _same(x: int) -> int:
    return x


def executor_burst(ctx: ForkContext, plan: Plan, *, submits: bool) -> Sample:
    """So many calls submitted at once, and all their results: the time of the submits, or of all."""
    executor = _backend.load(ctx.backend, "futures").ProcessPoolExecutor(2, ctx)  # type: ignore[attr-defined]
    calls, rates = 5_000 if plan.quick else 20_000, []
    with executor:
        list(executor.map(_same, range(100)))
        for _ in range(3):
            gc.collect()
            began = time.perf_counter()
            futures = [executor.submit(_same, i) for i in range(calls)]
            submitted = time.perf_counter()
            found = [future.result() for future in futures]
            ended = time.perf_counter()
            expect(found == list(range(calls)), "another result")
            rates.append(calls / ((submitted if submits else ended) - began))
    rate = statistics.median(rates)
    return Sample(rate, calls, calls / rate)


# --- the list -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A row of the table."""

    key: str
    title: str
    unit: str  # "items/s" and "bytes/s": more is better; of all others less is
    run: Callable[[ForkContext, Plan], Sample]
    goal: float | None = None  # a ratio; where the number is absolute, the native side's ceiling
    place: str = "free"  # "free", "one" CPU for all processes, two CPUs "apart"
    needs: str = ""  # a module that has to be installed
    linux: bool = False  # reads /proc
    memory: int = 0  # bytes that have to be free

    @property
    def absolute(self) -> bool:
        """Whether the number stands for itself, without a ratio."""
        return self.unit in ("cpu s", "bytes", "fds")


def _rate(payload: Callable[[], Any], **options: Any) -> Callable[[ForkContext, Plan], Sample]:
    return lambda ctx, plan: one_way(ctx, plan, payload(), **options)


def _bytes_rate(
    payload: Callable[[], Any], **options: Any
) -> Callable[[ForkContext, Plan], Sample]:
    def run(ctx: ForkContext, plan: Plan) -> Sample:
        made = payload()
        sample = one_way(ctx, plan, made, **options)
        return Sample(sample.value * made.size, sample.items, sample.seconds)

    return run


def _queue_cases() -> list[Case]:
    sizes: list[tuple[str, str, type[Blocks], int, float, str]] = [
        ("bytes.64k", "bytes of 64 KiB", Blocks, 64 << 10, 5, ""),
        ("bytes.1m", "bytes of 1 MiB", Blocks, MIB, 20, ""),
        ("numpy.1m", "float64 array of 1 MiB", Arrays, MIB, 12, "numpy"),
        ("numpy.16m", "float64 array of 16 MiB", Arrays, 16 * MIB, 15, "numpy"),
    ]

    def free_and_one(
        key: str, title: str, unit: str, run: Any, goal: float, needs: str = ""
    ) -> list[Case]:
        return [
            Case(f"queue.{key}", f"Queue: {title}", unit, run, goal, needs=needs),
            Case(f"queue.{key}.one", f"Queue: {title}, on one CPU", unit, run, 1, "one", needs),
        ]

    cases = free_and_one("int.1to1", "small ints", "items/s", _rate(Ints), 15)
    cases += [
        Case(
            "queue.int.4to1",
            "Queue: small ints, 4 producers",
            "items/s",
            _rate(Ints, producers=4),
            6,
        ),
        Case(
            "queue.int.1to4",
            "Queue: small ints, 4 consumers",
            "items/s",
            _rate(Ints, consumers=4),
            6,
        ),
        Case(
            "queue.int.select",
            "Queue: small ints, `_reader.fileno()` asked for",
            "items/s",
            _rate(Ints, make=partial(by_queue, descriptor=True)),
            2,
        ),
        Case(
            "queue.int.many",
            "Queue: small ints by put_many/get_many of 256",
            "items/s",
            _rate(
                Ints,
                make=partial(by_queue, put="put_many", get="get_many"),
                send=_send_many,
                receive=_receive_many,
            ),
        ),
    ]
    for key, title, payload, size, goal, needs in sizes:
        run = _bytes_rate(partial(payload, size))
        cases += free_and_one(key, title, "bytes/s", run, goal, needs)
    return cases


def _trip_cases() -> list[Case]:
    by_queues, by_ends, by_select = (
        partial(ping_pong, make=make)
        for make in (by_two_queues, by_duplex_pipe, partial(by_duplex_pipe, select=True))
    )
    queues, pipe = "There and back by two queues", "Pipe: there and back"
    return [
        Case("pingpong.apart", f"{queues}, two CPUs", "s", by_queues, 15, "apart"),
        Case("pingpong.one", f"{queues}, one CPU", "s", by_queues, 1, "one"),
        Case("pipe.pingpong.apart", f"{pipe}, two CPUs", "s", by_ends, 10, "apart"),
        Case("pipe.pingpong.one", f"{pipe}, one CPU", "s", by_ends, 1, "one"),
        Case("pipe.pingpong.select", f"{pipe} by select, two CPUs", "s", by_select, 1.2, "apart"),
    ]


def _pipe_cases() -> list[Case]:
    ints, selected = (_rate(Ints, make=partial(by_pipe, select=on)) for on in (False, True))
    words = _rate(Words, make=by_bytes)
    blocks, mib = (_bytes_rate(partial(Blocks, size), make=by_bytes) for size in (64 << 10, MIB))
    arrays = _bytes_rate(partial(Arrays, 16 * MIB), make=by_pipe)
    return [
        Case("pipe.int", "Pipe: small ints", "items/s", ints),
        Case("pipe.int.select", "Pipe: small ints, by select", "items/s", selected, 1.2),
        Case("pipe.bytes.8", "Pipe: bytes of 8", "items/s", words, 8),
        Case("pipe.bytes.64k", "Pipe: bytes of 64 KiB", "bytes/s", blocks, 3),
        Case("pipe.bytes.1m", "Pipe: bytes of 1 MiB", "bytes/s", mib, 10),
        Case(
            "pipe.numpy.16m", "Pipe: float64 array of 16 MiB", "bytes/s", arrays, 15, needs="numpy"
        ),
    ]


def _standing_cases() -> list[Case]:
    in_get, in_recv = (partial(blocked, make=make) for make in (by_queue, by_pipe))
    duplex, single = (partial(make_and_close, duplex=duplex) for duplex in (True, False))
    used = "CPU used by a process blocked in"
    return [
        Case("blocked", f"{used} get()", "cpu s", in_get, 0.010),
        Case("pipe.blocked", f"{used} recv()", "cpu s", in_recv, 0.010),
        Case(
            "memory", "Memory kept after a drained backlog", "bytes", backlog, 64 * MIB, linux=True
        ),
        Case("pipe.make", "Pipe: create and close", "s", duplex, 0.5),
        Case("pipe.make.single", "Pipe: create and close, one way", "s", single, 0.5),
        Case("pipe.fds", "Pipe: descriptors of an end", "fds", descriptors, 3, linux=True),
    ]


def _lock_cases() -> list[Case]:
    def single(key: str, title: str, kind: str, calls: Any, goal: float) -> Case:
        return Case(key, title, "s", partial(each_call, kind=kind, calls=calls), goal)

    events, rounds = event_ping_pong, barrier_rounds
    trip, meet = "Event: set, and set back", "Barrier: a round of two"
    return [
        single("lock.with", "Lock: `with`, nobody else", "Lock", _with, 2.2),
        single("lock.with.rlock", "RLock: `with`, nobody else", "RLock", _with, 2.2),
        single("lock.with.semaphore", "Semaphore: `with`, nobody else", "Semaphore", _with, 2.2),
        single("lock.acquire", "Lock: acquire and release", "Lock", _acquire_release, 1),
        *(
            Case(
                f"lock.contended.{n}",
                f"Lock: {n} processes in loops",
                "items/s",
                partial(contended, kind="Lock", processes=n),
                1.2,
            )
            for n in (2, 4)
        ),
        Case("lock.make", "Lock: create", "s", partial(make_lock, kind="Lock"), 50),
        Case(
            "lock.blocked",
            "CPU used by a process blocked in acquire()",
            "cpu s",
            blocked_in_lock,
            0.010,
        ),
        single("event.is_set", "Event: is_set", "Event", _is_set, 20),
        Case("event.pingpong.apart", f"{trip}, two CPUs", "s", events, 15, "apart"),
        Case("event.pingpong.one", f"{trip}, one CPU", "s", events, 1, "one"),
        Case("barrier.apart", f"{meet}, two CPUs", "s", rounds, 15, "apart"),
        Case("barrier.one", f"{meet}, one CPU", "s", rounds, 1, "one"),
    ]


def _value_cases() -> list[Case]:
    def value(ctx: ForkContext) -> dict[str, Any]:
        return {"v": ctx.Value("q", 5)}

    def array(ctx: ForkContext) -> dict[str, Any]:
        return {"a": ctx.Array("q", range(1000)), "items": list(range(1000, 1100))}

    def nothing(ctx: ForkContext) -> dict[str, Any]:
        return {"Value": ctx.Value, "Array": ctx.Array}

    def counted(names: dict[str, Any], count: int) -> bool:
        return bool(names["v"].value == 5 + count)

    def as_it_was(names: dict[str, Any], count: int) -> bool:
        return bool(names["v"].value == 5)

    def unchanged(names: dict[str, Any], count: int) -> bool:
        return bool(names["a"][:] == list(range(1000)))

    def assigned(names: dict[str, Any], count: int) -> bool:
        return bool(names["a"][:7] == [0, 1, 2, 3, 4, 1005, 6])

    def copied(names: dict[str, Any], count: int) -> bool:
        return bool(names["a"][:] == [*range(100), *names["items"], *range(200, 1000)])

    def fresh(names: dict[str, Any], count: int) -> bool:
        return bool(names["Value"]("i").value == 0 and names["Array"]("i", 3)[:] == [0] * 3)

    by_lock = "with v.get_lock():\n    v.value += 1"

    def by_add(ctx: ForkContext, plan: Plan) -> Sample:
        native = getattr(ctx, "backend", "stdlib") == "native"
        return statement(ctx, plan, "v.add(1)" if native else by_lock, value, counted)

    def case(
        key: str, title: str, source: str, make: Any, check: Any, goal: float | None = None
    ) -> Case:
        run = partial(statement, source=source, make=make, check=check)
        return Case(f"value.{key}", title, "s", run, goal)

    item, items = "Array: an item", "Array: a slice of 100"
    return [
        case("get_set", "Value: read and set", "v.value = v.value", value, as_it_was, 4),
        case("get", "Value: read", "v.value", value, as_it_was),
        case("lock", "Value: += 1 with get_lock()", by_lock, value, counted, 4),
        Case("value.add", "Value: add(1); stdlib: += 1 with get_lock()", "s", by_add, 10),
        case("item.get", f"{item}, read", "a[99]", array, unchanged, 12),
        case("item.set", f"{item}, set", "a[5] = 1005", array, assigned, 12),
        case("slice.get", f"{items}, read", "a[100:200]", array, unchanged, 2),
        case("slice.set", f"{items}, set", "a[100:200] = items", array, copied, 2),
        case("make", "Value: create and drop", "Value('i')", nothing, fresh, 50),
        case(
            "make.array", "Array: create and drop, 10 items", "Array('i', 10)", nothing, fresh, 50
        ),
    ]


def _process_cases() -> list[Case]:
    def fork(key: str, title: str, run: Any, goal: float | None, heap: int, **options: Any) -> Case:
        title = f"{title}, {heap // MIB} MB of heap"
        return Case(key, title, "s", partial(run, heap=heap, **options), goal, memory=2 * heap)

    def fresh(key: str, title: str, goal: float | None, method: str, **options: Any) -> Case:
        run = partial(fresh_process, method=method, **options)
        return Case(f"process.{key}", f"Process: start and join, {title}", "s", run, goal)

    small, large = 20 * MIB, 1024 * MIB
    one, many, bare = (
        "Process: start and join, fork",
        "Process: 16 at once, fork",
        "os.fork, waitpid",
    )
    server = partial(fresh, method="forkserver")
    spawn = partial(fresh, method="spawn")
    return [
        fork("process.fork", one, start_and_join, 1.25, small),
        fork("process.fork.1g", one, start_and_join, 1, large),
        fork("process.fork.16", many, start_and_join, 1.25, small, many=16),
        fork("process.fork.bare", bare, bare_fork, None, small),
        server("forkserver", "forkserver", 8),
        server("forkserver.small", "forkserver, a main module without imports", None, imports=""),
        # what a main module imports is the child's own work: no interpreter can have done it beforehand
        spawn(
            "spawn.ready",
            "spawn, one every 0.5 s, a main module without imports",
            5,
            pause=0.5,
            imports="",
        ),
        spawn("spawn.imports", "spawn, one every 0.5 s", None, pause=0.5),
        spawn("spawn.again", "spawn, one after the other", None),
        spawn("spawn.cold", "spawn, without a spare interpreter", 1, spare=False),
    ]


def _executor_cases() -> list[Case]:
    def case(key: str, title: str, goal: float, submits: bool) -> Case:
        run = partial(executor_burst, submits=submits)
        return Case(f"executor.{key}", f"ProcessPoolExecutor: {title}", "items/s", run, goal)

    return [
        case("submit", "submit, 20,000 in a burst", 20, True),
        case("results", "the same, to all results", 10, False),
    ]


def _pool_cases() -> list[Case]:
    def rate(
        key: str, title: str, count: int, call: Any, goal: float, ordered: bool = True
    ) -> Case:
        run = partial(pool_rate, count=count, call=call, ordered=ordered)
        return Case(f"pool.{key}", f"Pool: {title}", "items/s", run, goal)

    asleep = partial(pool_trip, pause=0.005)
    arrays = "Pool: arrays of 4 MiB, in and out"
    return [
        rate("map.1", "map, chunksize 1", 100_000, _map_one_by_one, 10),
        rate("unordered", "imap_unordered", 100_000, _unordered, 10, ordered=False),
        rate("apply_async", "a burst of apply_async", 20_000, _burst, 8),
        rate("map", "map, default chunks", 1_000_000, _map, 1),
        Case("pool.trip", "Pool: one task and its result, again and again", "s", pool_trip, 15),
        Case(
            "pool.trip.asleep", "Pool: one task and its result, the worker asleep", "s", asleep, 3
        ),
        Case("pool.arrays", arrays, "bytes/s", pool_arrays, 5, needs="numpy"),
        Case("pool.start", "Pool: create, first result", "s", pool_start, 1.2),
    ]


CASES: list[Case] = [
    *_queue_cases(),
    *_pipe_cases(),
    *_trip_cases(),
    *_standing_cases(),
    *_lock_cases(),
    *_value_cases(),
    Case("shm.cycle", "SharedMemory: create, close, unlink 4 KiB", "s", named_cycle, 1.3),
    Case("shm.attach", "SharedMemory: attach and close 4 KiB", "s", named_attach, 1.4),
    *_process_cases(),
    *_pool_cases(),
    *_executor_cases(),
    Case("import", "import, and the first Queue() and Process()", "s", import_time, 0.91),
    Case(
        "job.tokens",
        "Job: tokens of the standard library, an item per file",
        "s",
        lambda ctx, plan: end_to_end(ctx, plan, sources.files, sources.count_tokens),
    ),
    Case(
        "job.words",
        "Job: words of the standard library, an item per line",
        "s",
        lambda ctx, plan: end_to_end(ctx, plan, sources.lines, sources.count_words),
    ),
]
