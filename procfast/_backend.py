"""Which backend answers: PROCFAST_BACKEND, else native where it loads, else the standard library's.

A backend is a package of this directory; nothing here knows how many there are.
"""

from __future__ import annotations

import functools
import os
import sys
import warnings
from types import ModuleType

VARIABLE = "PROCFAST_BACKEND"
BACKENDS = ("native", "stdlib")  # in order of preference; the last one loads everywhere


def load(name: str, module: str = "context") -> ModuleType:
    """The `context` module of a backend, or another one that every backend has.

    Raises ValueError for a name that is no backend, and BackendError (an ImportError) with the
    loader's own reason where the backend does not load.
    """
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}: choose one of {', '.join(BACKENDS)}")
    try:
        __import__(
            full_name := f"{__package__}.{name}.{module}"
        )  # importlib would have to be imported
        return sys.modules[full_name]
    except ImportError as error:
        from .exceptions import BackendError

        raise BackendError(f"the {name} backend does not load: {error}") from error


@functools.cache
def choose() -> tuple[ModuleType, str | None]:
    """The `context` module of the backend that this process uses, and why no better one was taken.

    An explicit PROCFAST_BACKEND is obeyed or raises BackendError; it is never overridden silently.
    """
    wanted = os.environ.get(VARIABLE)
    if wanted:
        try:
            return load(wanted), None
        except (ValueError, ImportError) as error:
            from .exceptions import BackendError

            raise BackendError(f"{VARIABLE}={wanted}: {error}") from error
    *better, last = BACKENDS
    reasons = []
    for name in better:
        try:
            return load(name), None
        except ImportError as error:
            reasons.append(str(error))
    why = "; ".join(reasons)
    warnings.warn(
        f"procfast uses the {last} backend: {why}. {VARIABLE}={last} in the environment chooses it "
        "on purpose and silences this warning.",
        RuntimeWarning,
        stacklevel=3,
    )
    return load(last), why
