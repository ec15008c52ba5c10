"""The native backend: policy over the extension `_native`, which is csrc/ behind a thin wrapper.

Importing it raises ImportError where the extension is missing or belongs to another version.
"""

from .._version import __version__

try:
    from . import _native
except ModuleNotFoundError as error:
    if error.name != f"{__name__}._native":
        raise
    raise ImportError(
        "this installation of procfast has no native extension for this interpreter (a pure build, "
        "or not built yet): install procfast again with a C compiler at hand and without PROCFAST_PURE"
    ) from None

if _native.VERSION != __version__:
    raise ImportError(
        f"the native extension {_native.__file__} was built for procfast {_native.VERSION}, but this "
        f"is procfast {__version__}: build it again (pip install --force-reinstall procfast, or in a "
        "source tree: python setup.py build_ext --inplace --force)"
    )

from . import context  # noqa: E402  (only over a working extension)

__all__ = ["context"]
