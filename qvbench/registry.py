"""Names for the parts that a config can choose: one registry per kind, one line per part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from qvbench.errors import UserError

T = TypeVar("T")


class Registry(Mapping[str, type[T]], Generic[T]):
    """A read-only mapping from name to class that grows by :meth:`register`.

    Args:
        kind: what the classes are, for messages ("attention mechanism", "corpus").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type[T]] = {}

    def register(self, name: str, cls: type[T]) -> None:
        """Give ``cls`` a name.

        Raises:
            ValueError: the name is taken. Two parts under one name would let an import order
                decide which of them an experiment ran.
        """
        if name in self._classes:
            raise ValueError(f"{self.kind} {name!r} is registered already: {self._classes[name]}")
        self._classes[name] = cls

    def name_of(self, cls: type) -> str:
        """The name under which ``cls`` is registered, for run records and tables."""
        for name, known in self._classes.items():
            if known is cls:
                return name
        return cls.__name__

    def __getitem__(self, name: str) -> type[T]:
        try:
            return self._classes[name]
        except KeyError:
            known = ", ".join(self._classes)
            raise UserError(f"unknown {self.kind} {name!r}; known are: {known}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._classes

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)
