"""Classes that stand in for a class of the standard library, which others subclass and ask `isinstance` of."""

from __future__ import annotations

from typing import Any


def original(cls: type) -> Any:
    """The standard library's own class, where a twin may stand in its place by now."""
    while isinstance(cls, Twin):
        cls = cls.__bases__[-1]
    return cls


class Twin(type):
    """The metaclass of a class that extends one of the standard library's, its last base, and shall be taken for it.

    `isinstance` and `issubclass` hold both ways: what is made by either class is an instance of both.
    """

    def __instancecheck__(cls, instance: object) -> bool:
        twin = cls.__bases__[-1]
        if isinstance(twin, Twin):  # cls is a subclass of one
            return super().__instancecheck__(instance)
        return isinstance(instance, twin)

    def __subclasscheck__(cls, subclass: type) -> bool:
        twin = cls.__bases__[-1]
        if isinstance(twin, Twin):
            return super().__subclasscheck__(subclass)
        return issubclass(subclass, twin)


class ExactTwin(Twin):
    """As Twin, and whoever subclasses it gets a subclass of the original, with all the hooks that has."""

    def __new__(
        mcls, name: str, bases: tuple[type, ...], space: dict[str, Any], **kwds: Any
    ) -> Any:
        originals = tuple(original(b) if isinstance(b, ExactTwin) else b for b in bases)
        if originals != bases:
            return type(name, originals, space, **kwds)
        return super().__new__(mcls, name, bases, space, **kwds)
