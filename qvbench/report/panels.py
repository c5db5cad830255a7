"""Curves of many variants: a panel each, before all others in grey."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from qvbench.report.bands import Band, View
from qvbench.report.figure import COLOURS, pyplot, save
from qvbench.report.variants import Comparison, Variant

GREY = "#BBBBBB"
COLUMNS = 6


def draw_apart(
    comparison: Comparison, bands: dict[str, Band], view: View, folder: Path
) -> list[Path]:
    """Write a view of the variants, a panel each with the same axes."""
    variants = [variant for variant in comparison.variants if variant.name in bands]
    columns = min(COLUMNS, math.ceil(math.sqrt(len(variants) * 1.5)))
    rows = math.ceil(len(variants) / columns)
    figure, grid = pyplot().subplots(
        rows,
        columns,
        figsize=(2.1 * columns, 1.9 * rows + 0.5),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    panels = list(grid.flat)
    panels[0].locator_params(axis="x", nbins=3)
    panels[0].set_xlim(view.left, view.right)
    panels[0].set_ylim(view.bottom, view.top)
    for axes, variant in zip(panels, variants, strict=False):
        _draw_panel(axes, variant, comparison, bands, view)
    for axes in panels[len(variants) :]:
        axes.set_axis_off()
        panels[panels.index(axes) - columns].tick_params(labelbottom=True)
    figure.supxlabel(view.label)
    figure.supylabel(view.height)
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=3, frameon=False)
    return save(figure, folder, view.name)


def _draw_panel(
    axes: Any, variant: Variant, comparison: Comparison, bands: dict[str, Band], view: View
) -> None:
    base = comparison.baseline.name if comparison.baseline else None
    for name, curve in bands.items():
        if name not in (variant.name, base):
            style = {"color": GREY, "linewidth": 0.7, "zorder": 1}
            axes.plot(getattr(curve, view.across), curve.mean, label="other variants", **style)
    if base is not None and base in bands:
        style = {"color": "black", "linestyle": "--", "linewidth": 1}
        curve = bands[base]
        axes.plot(getattr(curve, view.across), curve.mean, label=f"{base}, the baseline", **style)
    own = bands[variant.name]
    across = getattr(own, view.across)
    colour = "black" if variant.name == base else COLOURS[0]
    axes.fill_between(across, own.low, own.high, color=colour, alpha=0.25, linewidth=0)
    if variant.name != base:
        axes.plot(across, own.mean, color=colour, linewidth=1.8, label="the panel's variant")
    axes.set_title(variant.name, fontsize=10)
    axes.grid(alpha=0.3)
    _annotate(axes, own, view)


def _annotate(axes: Any, own: Band, view: View) -> None:
    """The last mean within the view, on white, and that the curve is below it if it is."""
    shown = [index for index, value in enumerate(getattr(own, view.across)) if value <= view.right]
    if not shown:
        return
    text = f"{own.mean[shown[-1]]:{'+' if view.bottom < 0 else ''}.2f}"
    if max(own.high[index] for index in shown) < view.bottom:
        text = f"below the frame:\n{text}"
    white = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1}
    place = {"xycoords": "axes fraction", "ha": "right", "va": "bottom", "fontsize": 9}
    axes.annotate(text, (0.97, 0.05), bbox=white, **place)
