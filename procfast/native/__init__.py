"""The native backend: every name of `multiprocessing`, in C where it matters.

Policy is here, over the extension `_native`, which is csrc/ behind thin wrappers. Importing it raises
ImportError where the extension is missing, or was built for another version of procfast.
"""

import sys

from .._version import __version__

try:
    __import__(f"{__name__}._native")
except ModuleNotFoundError as error:
    if error.name != f"{__name__}._native":
        raise
    if sys.platform == "win32" or sys.implementation.name != "cpython":
        where = "Windows" if sys.platform == "win32" else sys.implementation.name
        raise ImportError(
            f"there is none for {where}: procfast runs there on the standard library"
        ) from None
    raise ImportError(
        "this installation of procfast has no native extension for this interpreter (a pure build, "
        "or not built yet): install procfast again with a C compiler at hand and without PROCFAST_PURE"
    ) from None

_native = sys.modules[f"{__name__}._native"]
if __version__ != _native.VERSION:
    raise ImportError(
        f"the native extension {_native.__file__} was built for procfast {_native.VERSION}, but this "
        f"is procfast {__version__}: build it again (pip install --force-reinstall procfast, or in a "
        "source tree: python setup.py build_ext --inplace --force)"
    )

from . import context  # noqa: E402 - only over a working extension

__all__ = list(context.names)
globals().update(context.names)
