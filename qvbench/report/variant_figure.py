"""Figures of a comparison: curves over the seeds, and differences to the baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qvbench.report.bands import (
    EARLY_TITLE,
    Band,
    View,
    band,
    early_view,
    gain,
    late_view,
    lowest_usual,
    timed_view,
    whole_view,
)
from qvbench.report.figure import COLOURS, MARKERS, METRIC, STYLES, pyplot, save
from qvbench.report.panels import draw_apart
from qvbench.report.statistics import Interval
from qvbench.report.variants import Comparison

TOGETHER = len(COLOURS)
"""As many variants share one pair of axes; more get an axis each, before the others in grey."""

Bands = dict[str, Band]
LOOKS = {
    "better": ("#0072B2", "^"),
    "equivalent": ("#009E73", "s"),
    "not shown": ("#555555", "o"),
    "worse": ("#D55E00", "v"),
}


def draw_curves(comparison: Comparison, folder: Path) -> list[str]:
    """Write the curves that the runs allow, as PNG and SVG; gives Markdown that shows them."""
    bands = {v.name: band(v) for v in comparison.variants if v.curve(METRIC)}
    if not bands:
        return []
    draw = _draw_together if len(bands) <= TOGETHER else _draw_many
    return draw(comparison, bands, folder)


def _draw_together(comparison: Comparison, bands: Bands, folder: Path) -> list[str]:
    """All variants in one pair of axes, for each part of training."""
    curves = list(bands.values())
    _draw_views([(bands, whole_view(curves)), (bands, late_view(curves))], "accuracy", folder)
    _draw_views([(bands, timed_view(curves))], "time", folder)
    shown = [f"{ACCURACY}{BAND}"]
    if (early := early_view(curves)) is not None:
        gains, name = _gains(comparison, bands)
        view = early_view(list(gains.values()), name) if gains else None
        both = [(bands, early)] + ([(gains, view)] if view is not None else [])
        _draw_views(both, "early", folder)
        shown.append(f"{EARLY_FIGURE}{EARLY_TEXT}")
    return [*shown, f"{TIME_FIGURE}{TIME}" + f" {NO_EARLY}" * (early is None)]


def _draw_many(comparison: Comparison, bands: Bands, folder: Path) -> list[str]:
    """A panel a variant, once for each part of training."""
    curves = list(bands.values())
    gains, name = _gains(comparison, bands)
    drawn = gains or bands
    early = early_view(list(drawn.values()), name)
    draw_apart(comparison, bands, late_view(curves), folder)
    draw_apart(comparison, bands, timed_view(curves), folder)
    shown = [f"{ACCURACY}The last half of training. {BAND} A number is the mean at its end."]
    if early is not None:
        draw_apart(comparison, drawn, early, folder)
        shown.append(f"{EARLY_FIGURE}{EARLY_TEXT} A number is the mean at the last of it.")
    return [*shown, f"{TIME_FIGURE}{TIME}" + f" {NO_EARLY}" * (early is None)]


def _gains(comparison: Comparison, bands: Bands) -> tuple[Bands, str]:
    """Curves minus the baseline's, and its name; none where there is no baseline."""
    base = comparison.baseline
    if base is None or base.name not in bands:
        return {}, ""
    found = {v.name: gain(v, base) for v in comparison.variants if v.name in bands}
    return {name: curve for name, curve in found.items() if curve.tokens}, base.name


def _draw_views(views: list[tuple[Bands, View]], name: str, folder: Path) -> None:
    size = (5.5 * len(views) + 2 * (len(views) == 1), 4.4)
    figure, parts = pyplot().subplots(
        1, len(views), figsize=size, squeeze=False, layout="constrained"
    )
    for axes, (bands, view) in zip(parts.flat, views, strict=True):
        for which, (variant, curve) in enumerate(bands.items()):
            _draw_band(axes, curve, getattr(curve, view.across), which, variant)
        axes.set_xlim(view.left, view.right)
        axes.set_ylim(view.bottom, view.top)
        axes.set_title(view.title)
        axes.set_xlabel(view.label)
        axes.set_ylabel(view.height)
        axes.grid(alpha=0.3)
    handles, labels = parts.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    save(figure, folder, name)


def _draw_band(axes: Any, curve: Band, across: list[float], which: int, name: str) -> None:
    """A line with its band; colour, marker and line style tell it from the others."""
    colour = COLOURS[which]
    axes.fill_between(across, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(
        across,
        curve.mean,
        color=colour,
        marker=MARKERS[which],
        markevery=max(1, len(curve.mean) // 20),
        markersize=5,
        linestyle=STYLES[which % len(STYLES)],
        linewidth=1.6,
        label=name,
    )


def draw_differences(comparison: Comparison, folder: Path) -> list[str]:
    """Intervals against the baseline, one row a variant; colour and marker tell the verdict."""
    compared = comparison.compared
    if comparison.baseline is None or not compared:
        return []
    size = (8, 1.3 + 0.3 * len(compared))
    figure, axes = pyplot().subplots(figsize=size, layout="constrained")
    axes.axvline(0, color="black", linewidth=1)
    axes.axvspan(-comparison.margin, comparison.margin, color="black", alpha=0.08, linewidth=0)
    for word, (colour, marker) in LOOKS.items():
        axes.plot([], [], marker, color=colour, linestyle="", label=word)
    rows = [
        (difference, comparison.paired(variant), comparison.tests[variant.name].verdict)
        for variant, difference in compared
    ]
    for place, (difference, seeds, verdict) in enumerate(rows):
        _draw_row(axes, place, difference, seeds, LOOKS[verdict])
    _frame_differences(axes, rows)
    axes.set_yticks(range(len(compared)), [variant.name for variant, _ in compared])
    axes.set_ylim(len(compared) - 0.4, -0.6)
    axes.set_xlabel(f"accuracy minus {comparison.baseline.name}'s, points")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    save(figure, folder, "differences")
    text = DIFFERENCES.format(margin=comparison.margin)
    return [f"![Difference to the baseline, with 95 % intervals](differences.png)\n\n{text}"]


def _draw_row(
    axes: Any, place: int, difference: Interval, seeds: list[float], look: tuple[str, str]
) -> None:
    colour, marker = look
    axes.plot(seeds, [place] * len(seeds), "|", color=colour, markersize=9, alpha=0.6)
    axes.hlines(place, difference.low, difference.high, color=colour, linewidth=1.8)
    axes.plot(difference.mean, place, marker, color=colour, markersize=6)


def _frame_differences(axes: Any, rows: list[tuple[Interval, list[float], str]]) -> None:
    """Frame the variants with all their seeds; one far below is written at the left edge.

    Far below is what would more than double the width that the others take.
    """
    lows = [min(difference.low or 0.0, *seeds) for difference, seeds, _ in rows]
    right = max(0.0, *(max(difference.high or 0.0, *seeds) for difference, seeds, _ in rows))
    far = 2 * min(lowest_usual(lows), 0.0) - right
    near = [
        low for low, (difference, _, _) in zip(lows, rows, strict=True) if difference.mean > far
    ]
    shown = [0.0, right, *near]
    margin = 0.05 * (max(shown) - min(shown)) or 1.0
    left = min(shown) - margin
    axes.set_xlim(left, max(shown) + margin)
    for place, (difference, _, verdict) in enumerate(rows):
        if difference.mean < left:
            text = f"\u25c2 {difference.mean:+.2f}, {verdict}, off the scale"
            white = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            axes.annotate(text, (left + margin / 2, place), va="center", fontsize=9, bbox=white)


ACCURACY = "![Validation accuracy against target tokens](accuracy.png)\n\n"
BAND = "The mean over the seeds; the band reaches from the worst seed to the best."
EARLY_FIGURE = "![The early part, enlarged](early.png)\n\n"
EARLY_TEXT = (
    f"{EARLY_TITLE} of training, where curves rise too steeply to be told apart: the difference to "
    "the baseline on the same seeds shows who is ahead."
)
TIME_FIGURE = "![Accuracy against wall time](time.png)\n\n"
TIME = "Wall time depends on what else the machine did; target tokens do not."
NO_EARLY = f"No validation lies in {EARLY_TITLE.lower()} of training, so it is not enlarged."
DIFFERENCES = (
    "Accuracy minus the baseline's on the same seed: mean with the 95 % interval of this row "
    "alone, and each seed as a tick. Colour and marker are the verdict, which is corrected for the "
    "number of rows. The grey strip is the margin of equivalence, ±{margin:g} points."
)
