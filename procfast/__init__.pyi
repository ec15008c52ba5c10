# For type checkers: __init__.py takes most of these names from the chosen backend at run time.

import multiprocessing
import multiprocessing.shared_memory
from collections.abc import Callable, Iterable
from multiprocessing import (
    Array as Array,
)
from multiprocessing import (
    AuthenticationError as AuthenticationError,
)
from multiprocessing import (
    Barrier as Barrier,
)
from multiprocessing import (
    BoundedSemaphore as BoundedSemaphore,
)
from multiprocessing import (
    BufferTooShort as BufferTooShort,
)
from multiprocessing import (
    Condition as Condition,
)
from multiprocessing import (
    Event as Event,
)
from multiprocessing import (
    Lock as Lock,
)
from multiprocessing import (
    Manager as Manager,
)
from multiprocessing import (
    Pipe as Pipe,
)
from multiprocessing import (
    ProcessError as ProcessError,
)
from multiprocessing import (
    RawArray as RawArray,
)
from multiprocessing import (
    RawValue as RawValue,
)
from multiprocessing import (
    RLock as RLock,
)
from multiprocessing import (
    Semaphore as Semaphore,
)
from multiprocessing import (
    TimeoutError as TimeoutError,
)
from multiprocessing import (
    Value as Value,
)
from multiprocessing import (
    active_children as active_children,
)
from multiprocessing import (
    allow_connection_pickling as allow_connection_pickling,
)
from multiprocessing import (
    cpu_count as cpu_count,
)
from multiprocessing import (
    current_process as current_process,
)
from multiprocessing import (
    freeze_support as freeze_support,
)
from multiprocessing import (
    get_all_start_methods as get_all_start_methods,
)
from multiprocessing import (
    get_logger as get_logger,
)
from multiprocessing import (
    get_start_method as get_start_method,
)
from multiprocessing import (
    log_to_stderr as log_to_stderr,
)
from multiprocessing import (
    parent_process as parent_process,
)
from multiprocessing import (
    reducer as reducer,
)
from multiprocessing import (
    set_executable as set_executable,
)
from multiprocessing import (
    set_forkserver_preload as set_forkserver_preload,
)
from multiprocessing import (
    set_start_method as set_start_method,
)
from typing import Any, Literal, overload

from . import abc as abc
from . import context as context
from . import exceptions as exceptions
from ._version import __version__ as __version__
from .native import context as native_context

__all__: list[str]

backend: str
backend_error: str | None
features: frozenset[str]

def install() -> None: ...
def uninstall() -> None: ...

class Process(multiprocessing.Process):
    def interrupt(self) -> None: ...

def Queue(maxsize: int = 0, *, max_bytes: int | None = None) -> abc.Queue[Any]: ...
def JoinableQueue(maxsize: int = 0, *, max_bytes: int | None = None) -> abc.JoinableQueue[Any]: ...
def SimpleQueue() -> abc.SimpleQueue[Any]: ...
def Pool(
    processes: int | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: Iterable[Any] = (),
    maxtasksperchild: int | None = None,
    *,
    worker_init: Callable[[], object] | None = None,
) -> abc.Pool: ...
def SharedMemory(
    name: str | None = None,
    create: bool = False,
    size: int = 0,
    *,
    track: bool = True,
    reserve: bool = False,
) -> multiprocessing.shared_memory.SharedMemory: ...
def ShareableList(
    sequence: Iterable[Any] | None = None, *, name: str | None = None
) -> multiprocessing.shared_memory.ShareableList[Any]: ...

# The contexts of all backends have the same members; these stand for them.
@overload
def get_context(
    method: Literal["fork"], backend: str | None = None
) -> native_context.ForkContext: ...
@overload
def get_context(
    method: Literal["spawn"], backend: str | None = None
) -> native_context.SpawnContext: ...
@overload
def get_context(
    method: Literal["forkserver"], backend: str | None = None
) -> native_context.ForkServerContext: ...
@overload
def get_context(
    method: str | None = None, backend: str | None = None
) -> native_context.Context: ...
def info() -> dict[str, Any]: ...
def usable_cpus() -> int: ...
