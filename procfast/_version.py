"""The one place where the version is written; setup.py compiles it into the extension."""

__version__ = "0.1.0"
