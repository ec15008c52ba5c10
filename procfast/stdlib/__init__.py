"""The standard library backend: every name of `multiprocessing`, answered by `multiprocessing` itself.

`procfast.install()` does not change what these names are, so they are the way to the originals, and
`import procfast.stdlib as multiprocessing` is the baseline to compare with. Nothing here is compiled.
"""

from . import context

__all__ = list(context.names)
globals().update(context.names)
