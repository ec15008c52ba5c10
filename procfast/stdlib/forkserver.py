"""The standard library's fork server."""

from multiprocessing.forkserver import ensure_running

__all__ = ["ensure_running"]
