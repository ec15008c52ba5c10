# For type checkers: posix.py takes these names from the chosen backend at run time.

from ._proctree import ProcessInfo as ProcessInfo
from ._proctree import children as children
from ._proctree import process_tree as process_tree
from .native.posix import Message as Message
from .native.posix import MessageQueue as MessageQueue
from .native.posix import NamedSemaphore as NamedSemaphore
from .native.posix import mq_unlink as mq_unlink
from .native.posix import pipe as pipe
from .native.posix import read_exactly as read_exactly
from .native.posix import read_into as read_into
from .native.posix import sem_unlink as sem_unlink
from .native.posix import write_all as write_all

__all__: list[str]
