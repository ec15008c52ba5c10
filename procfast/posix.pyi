# For type checkers: posix.py takes these names from the chosen backend at run time.

from .native.posix import pipe as pipe
from .native.posix import read_exactly as read_exactly
from .native.posix import read_into as read_into
from .native.posix import write_all as write_all

__all__ = ["pipe", "read_exactly", "read_into", "write_all"]
