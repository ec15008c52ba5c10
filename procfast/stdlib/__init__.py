"""The standard library backend: every name of `multiprocessing`, answered by `multiprocessing` itself.

`procfast.install()` does not change what these names are, so they are the way to the originals, and
`import procfast.stdlib as multiprocessing` is the baseline to compare with. Nothing here is compiled.
"""

from ..context import public_names
from .context import default_context

__all__ = list(names := public_names(default_context))
globals().update(names)
del names
