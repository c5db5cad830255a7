"""All figures of a comparison, for the sections of its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from qvbench.report.cost_figure import draw_costs
from qvbench.report.variant_figure import draw_curves, draw_differences
from qvbench.report.variants import Comparison


class Figures(NamedTuple):
    """Markdown that shows the figures of each section, empty where there are none."""

    differences: list[str]
    curves: list[str]
    costs: list[str]


def draw_figures(comparison: Comparison, folder: Path, profile: list[dict[str, Any]]) -> Figures:
    """Write the figures that the runs allow, as PNG and SVG.

    Args:
        comparison: of the runs.
        folder: the results folder.
        profile: FLOPs of runs whose records have none, as
            :func:`~qvbench.report.cost_figure.read_profile` gives them.
    """
    return Figures(
        draw_differences(comparison, folder),
        draw_curves(comparison, folder),
        draw_costs(comparison, folder, profile),
    )
