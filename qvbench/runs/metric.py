"""What a named metric of a run means, for records, sweeps and reports."""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """A metric by its name in curves and records.

    Attributes:
        name: such as ``val/accuracy``.
        label: what people read, such as "validation accuracy".
        unit: such as "%"; empty for none.
        higher_is_better: the direction in which to compare.
    """

    name: str
    label: str
    unit: str
    higher_is_better: bool
