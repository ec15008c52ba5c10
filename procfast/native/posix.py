"""procfast.posix on csrc."""

from __future__ import annotations

from .. import _posix
from . import _native

__all__ = ["pipe", "read_exactly", "read_into", "write_all"]


class _Pipes(_posix.Pipes):
    def _pipe(self) -> tuple[int, int]:
        return _native.pipe()

    def _move(self, fd: int, out: bool, data: memoryview, timeout: float | None) -> tuple[int, int]:
        return _native.move_all(fd, out, data, timeout)


_pipes = _Pipes()
pipe = _pipes.pipe
read_exactly = _pipes.read_exactly
read_into = _pipes.read_into
write_all = _pipes.write_all
