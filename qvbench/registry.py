"""Names for the parts that a config can choose: one registry per kind, one line per part."""

from __future__ import annotations

from typing import NoReturn, TypeVar

from qvbench.errors import UserError

T = TypeVar("T")


class Registry(dict[str, type[T]]):
    """From name to class; ``kind`` is what the classes are ("corpus"), for messages."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def register(self, name: str, cls: type[T]) -> None:
        """Give ``cls`` a name; one that is taken raises ValueError, as the order of imports would
        else decide what an experiment ran."""
        if name in self:
            raise ValueError(f"{self.kind} {name!r} is registered already: {self[name]}")
        self[name] = cls

    def name_of(self, cls: type) -> str:
        """The name under which ``cls`` is registered, for run records and tables."""
        return next((name for name, known in self.items() if known is cls), cls.__name__)

    def __missing__(self, name: str) -> NoReturn:
        raise UserError(f"unknown {self.kind} {name!r}; known are: {', '.join(self)}")
