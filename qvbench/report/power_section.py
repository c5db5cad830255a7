"""How many seeds the paper's gaps would take, with the spread that these seeds show."""

from __future__ import annotations

from qvbench.report.paper import Gap, paper_gaps
from qvbench.report.paper_rows import rows_of_ours
from qvbench.report.significance import pooled_deviation, seeds_needed
from qvbench.report.statistics import paired_differences
from qvbench.report.variants import Comparison, Variant


def power_section(comparison: Comparison) -> list[str]:
    """Markdown: a line for each gap; nothing where no two seeds tell a spread."""
    pooled = pooled_deviation(comparison.differences)
    if pooled is None:
        return []
    ours = rows_of_ours(comparison)
    lines = [
        f"- {gap.points:.4g} points ({name}): {_seeds(gap, ours, pooled)}"
        for name, gap in paper_gaps().items()
    ]
    return [POWER, "\n".join(lines)]


def _seeds(gap: Gap, ours: dict[str, Variant], pooled: float) -> str:
    """The number, and the deviation that it follows from.

    Rows differ in their spread: two that scatter widely say nothing of two that do not.
    """
    own = own_deviation(gap, ours)
    source = ", pooled over the rows of this table" if own is None else ""
    deviation = pooled if own is None else own
    needed = seeds_needed(deviation, gap.points)
    seeds = "more than 100,000" if needed is None else f"{needed:,}"
    return f"{seeds} seeds (deviation {deviation:.3f}{source})"


def own_deviation(gap: Gap, ours: dict[str, Variant]) -> float | None:
    """Of the difference between the gap's own two rows, where both are ours on shared seeds."""
    if gap.ahead not in ours or gap.behind not in ours:
        return None
    rows = (ours[key].accuracies for key in (gap.ahead, gap.behind))
    return pooled_deviation({"own": paired_differences(*rows)})


POWER = (
    "To find a difference as large as the paper's in four tries of five, one row by itself takes, "
    "of each variant, as differences deviate between seeds here:"
)
