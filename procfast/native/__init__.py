"""The native backend: every name of `multiprocessing`, in C where it matters.

Policy is here, over the extension `_native`, which is csrc/ behind thin wrappers. Importing it raises
ImportError where the extension is missing, or was built for another version of procfast.
"""

import importlib

from .._version import __version__
from ..context import public_names

try:
    _native = importlib.import_module("._native", __name__)
except ModuleNotFoundError as error:
    if error.name != f"{__name__}._native":
        raise
    raise ImportError(
        "this installation of procfast has no native extension for this interpreter (a pure build, "
        "or not built yet): install procfast again with a C compiler at hand and without PROCFAST_PURE"
    ) from None

if __version__ != _native.VERSION:
    raise ImportError(
        f"the native extension {_native.__file__} was built for procfast {_native.VERSION}, but this "
        f"is procfast {__version__}: build it again (pip install --force-reinstall procfast, or in a "
        "source tree: python setup.py build_ext --inplace --force)"
    )

from .context import default_context  # only over a working extension

__all__ = list(names := public_names(default_context))
globals().update(names)
del names
