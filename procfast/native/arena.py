"""How arenas, and what lies in them, go to the children of spawn and forkserver.

An arena is pickled as an object of its own, so that one message has it once, however many locks and values lie in
it. A child that has the arena already goes on to use the mapping it has.
"""

from __future__ import annotations

import os
from multiprocessing import context, reduction
from typing import Any

from . import _native
from .passing import keep, own


def _reduce_arena(arena: _native.Arena) -> tuple[Any, ...]:
    context.assert_spawning(arena)
    return _rebuild_arena, (arena._id, arena._single, keep(os.dup(arena._fd())))


def _rebuild_arena(id: bytes, single: bool, memory: Any) -> _native.Arena:
    return own(memory, lambda fd: _native.attach_arena(id, single, fd))


def _reduce_block(block: _native.Block) -> tuple[Any, ...]:
    context.assert_spawning(block)
    return _rebuild_block, (*block._place(), block._size)


def _rebuild_block(arena: _native.Arena, offset: int, size: int) -> _native.Block:
    block = _native.Block()
    block._map(arena, offset, size)
    return block


reduction.register(_native.Arena, _reduce_arena)
reduction.register(_native.Block, _reduce_block)
