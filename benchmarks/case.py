"""What a benchmark is made of: a case, its programs, and what they are to reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

OURS = "ours"
"""The runner of programs in :mod:`benchmarks.programs`; any other is a peer's name."""

KINDS = {
    "train": "target tokens",
    "translate": "sentences",
    "attention": "tokens",
    "step": "tokens",
    "loader": "target tokens",
    "start": "starts",
    "rates": "",
}
"""What a program may be asked to do, and what it counts."""


@dataclass(frozen=True)
class Goal:
    """A bound on the time that a program takes, as a multiple of the first program's.

    Attributes:
        bound: of the ratio.
        at_most: a bound from above; else from below.
    """

    bound: float
    at_most: bool = False

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.bound:g}"

    def verdict(self, low: float, middle: float, high: float) -> str:
        """``yes`` or ``no``, by the median; ``open`` where the bound lies within the quantiles."""
        if low < self.bound < high:
            return "open"
        return "yes" if (middle <= self.bound) == self.at_most or middle == self.bound else "no"


@dataclass(frozen=True)
class Entry:
    """A program of a case.

    Attributes:
        name: of its row.
        runner: :data:`OURS`, or a peer.
        shape: what differs from the case's shape.
        goal: of the time that it takes, over the first program's.
        within: seconds that an item may take; a goal too.
        predicted: what was expected of its time, over the first program's, before it was measured.
        measures: ``FLOP`` or ``B`` for one that measures what the machine can do, to which the
            others' speeds are held; nothing for one that is compared.
    """

    name: str
    runner: str = OURS
    shape: Mapping[str, Any] = field(default_factory=dict)
    goal: Goal | None = None
    within: float | None = None
    predicted: float | None = None
    measures: str = ""


@dataclass(frozen=True)
class Case:
    """Programs that do the same work, in turns, and how that is checked.

    Attributes:
        name: ``group/case``; a group is a table.
        kind: see :data:`KINDS`.
        programs: the first is ours, or what the others are to be compared with.
        shape: goes into every program's ``shape.json``.
        device: ``cpu`` or ``cuda``.
        tolerance: of the check, relative; of BLEU in points.
    """

    name: str
    kind: str
    programs: tuple[Entry, ...]
    shape: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    tolerance: float = 1e-4

    @property
    def group(self) -> str:
        """The table that it belongs to."""
        return self.name.partition("/")[0]

    @property
    def title(self) -> str:
        """Its name within the group."""
        return self.name.partition("/")[2]

    @property
    def unit(self) -> str:
        """What is counted."""
        return KINDS[self.kind]

    def kind_of(self, entry: Entry) -> str:
        """What a program is asked to do."""
        return "rates" if entry.measures else self.kind

    def to_json(self) -> dict[str, Any]:
        """Everything, for the raw results."""
        return {**asdict(self), "unit": self.unit}
