"""A user's code, for `mypy --strict`: procfast's types say what its objects take and give."""

import procfast
import procfast.posix


def work(queue: "procfast.abc.Queue[int]") -> None:
    queue.put(1)
    queue.put_many([1, 2], timeout=1.5)
    items: list[int] = queue.get_many(10, block=False)
    assert items


ctx = procfast.get_context("fork", backend="native")
queue = ctx.Queue(3, max_bytes=1 << 20)
left, right = ctx.Pipe(duplex=False)
right.send_bytes(b"abc", 1)
length: int = left.recv_bytes_into(bytearray(8), offset=4)
segment = ctx.SharedMemory(create=True, size=10, reserve=True)
first: int = segment.buf[0]
procfast.SharedMemory(segment.name, track=False).unlink()
process = ctx.Process(target=work, args=(queue,), daemon=True)
process.start()
code: int | None = process.exitcode
process.interrupt()
procfast.install()
procfast.uninstall()
name: str = procfast.__version__
reader, writer = procfast.posix.pipe()
procfast.posix.write_all(writer, b"abc", timeout=1)
data: bytes = procfast.posix.read_exactly(reader, 3, 1.5)
semaphore = procfast.posix.NamedSemaphore("/jobs", create=True, mode=0o660, value=3)
taken: bool = semaphore.acquire(timeout=1)
with procfast.posix.MessageQueue("/jobs") as messages:
    message = messages.receive()
    text: bytes = message.data
below: list[str] = [info.stat for info in procfast.posix.process_tree(1) if info.depth]
oldest: tuple[str, ...] = procfast.posix.children()[0].command
cpus: int = procfast.usable_cpus()


async def awaited(pool: procfast.abc.Pool) -> int:
    return await pool.apply_async(len, ("abc",))


with procfast.Pool(2, worker_init=dict) as pool:
    lengths: list[int] = pool.map(len, ["a"], progress=True, retries=1)
    result: procfast.abc.AsyncResult[int] = pool.apply_async(len, ("abc",), timeout=1)
    called_off: bool = result.cancel()
    each: list[int] = list(pool.imap(len, ["a"], buffersize=8))
    spent: list[float] = [worker.busy for worker in pool.stats().workers]
