"""Figures of a comparison: curves over the seeds, and differences to the baseline."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any, NamedTuple

from qvbench.report.figure import COLOURS, MARKERS, METRIC, STYLES, label_curves, pyplot, save
from qvbench.report.statistics import Interval
from qvbench.report.variants import Comparison, Variant

TOGETHER = len(COLOURS)
"""As many variants share one pair of axes; more get an axis each, before the others in grey."""

EARLY = 0.2
"""Share of training that is shown enlarged as its early part, and judged as such."""
GREY = "#BBBBBB"
LOOKS = {
    "better": ("#0072B2", "^"),
    "equivalent": ("#009E73", "s"),
    "not shown": ("#555555", "o"),
    "worse": ("#D55E00", "v"),
}


class Band(NamedTuple):
    """A variant's curve: target tokens in millions, minutes trained; mean, worst and best seed in
    per cent."""

    tokens: list[float]
    minutes: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def draw_comparison(comparison: Comparison, folder: Path) -> list[str]:
    """Write the figures that the runs allow, as PNG and SVG; gives Markdown that shows them."""
    shown = []
    drawn = [variant for variant in comparison.variants if variant.curve(METRIC)]
    if drawn:
        (_draw_together if len(drawn) <= TOGETHER else _draw_apart)(comparison, drawn, folder)
        shown.append(
            "![Validation accuracy against target tokens](accuracy.png)\n\n"
            "The mean over the seeds; the band reaches from the worst seed to the best."
            + (" A number is the mean at the last validation." if len(drawn) > TOGETHER else "")
        )
        if len(drawn) <= TOGETHER:
            _draw_early(drawn, folder)
            shown.append(
                "![The early part, and accuracy against wall time](early.png)\n\n"
                "Wall time depends on what else the machine did; target tokens do not."
            )
    if comparison.compared:
        _draw_differences(comparison, folder)
        shown.append(
            "![Difference to the baseline, with 95 % intervals](differences.png)\n\n"
            "Accuracy minus the baseline's on the same seed: mean with 95 % interval, and each "
            "seed as a tick. The grey strip is the margin of equivalence."
        )
    return shown


def band(variant: Variant) -> Band:
    """A variant's curve at the validations that all its seeds have reached."""
    points = variant.curve(METRIC)
    values = [[p.value for p in at_step] for at_step in points]
    return Band(
        [fmean(p.target_tokens for p in at_step) / 1e6 for at_step in points],
        [fmean(p.seconds for p in at_step) / 60 for at_step in points],
        [fmean(v) for v in values],
        [min(v) for v in values],
        [max(v) for v in values],
    )


def _draw_together(comparison: Comparison, variants: list[Variant], folder: Path) -> None:
    figure, parts = pyplot().subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    for which, variant in enumerate(variants):
        curve = band(variant)
        for axes in parts:
            _draw_band(axes, curve, curve.tokens, which, variant.name)
    points = [p for variant in variants for run in variant.runs for p in run.curves[METRIC]]
    label_curves(parts[0], parts[1], points)
    save(figure, folder, "accuracy")


def _draw_band(axes: Any, curve: Band, across: list[float], which: int, name: str) -> None:
    """A line with its band; colour, marker and line style tell it from the others."""
    colour = COLOURS[which]
    axes.fill_between(across, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(
        across,
        curve.mean,
        color=colour,
        marker=MARKERS[which],
        markevery=max(1, len(curve.mean) // 8),
        markersize=5,
        linestyle=STYLES[which % len(STYLES)],
        linewidth=1.6,
        label=name,
    )


def _draw_early(variants: list[Variant], folder: Path) -> None:
    """The first part of training enlarged, and the whole against wall time."""
    figure, (early, timed) = pyplot().subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    bands = [band(variant) for variant in variants]
    for which, (variant, curve) in enumerate(zip(variants, bands, strict=True)):
        _draw_band(early, curve, curve.tokens, which, variant.name)
        _draw_band(timed, curve, curve.minutes, which, variant.name)
    end = EARLY * max(curve.tokens[-1] for curve in bands)
    seen = [
        value
        for curve in bands
        for token, low, high in zip(curve.tokens, curve.low, curve.high, strict=True)
        if token <= end
        for value in (low, high)
    ]
    if seen:
        margin = 0.05 * (max(seen) - min(seen)) or 1.0
        early.set_ylim(min(seen) - margin, max(seen) + margin)
        early.set_xlim(0, end * 1.02)
    early.set_title(f"The first {EARLY:.0%}, enlarged" if seen else "No early validation")
    timed.set_title("Against wall time")
    early.set_xlabel("target tokens, millions")
    timed.set_xlabel("minutes, validation included")
    for axes in (early, timed):
        axes.set_ylabel("tokens right, per cent")
        axes.grid(alpha=0.3)
    timed.legend(frameon=False)
    save(figure, folder, "early")


def _draw_apart(comparison: Comparison, variants: list[Variant], folder: Path) -> None:
    """A panel for each variant, with the same axes: it in colour, all others in grey."""
    columns = min(6, math.ceil(math.sqrt(len(variants) * 1.5)))
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
    bands = {variant.name: band(variant) for variant in variants}
    panels = list(grid.flat)
    bottom, top = _frame(list(bands.values()))
    panels[0].set_ylim(bottom, top)
    for axes, variant in zip(panels, variants, strict=False):
        _draw_panel(axes, variant, comparison, bands)
        if max(bands[variant.name].high) < bottom:
            place = {"xycoords": "axes fraction", "ha": "right", "fontsize": 9}
            axes.annotate("below the frame:", (0.97, 0.2), **place)
    for axes in panels[len(variants) :]:
        axes.set_axis_off()
        panels[panels.index(axes) - columns].tick_params(labelbottom=True)
    figure.supxlabel("target tokens, millions")
    figure.supylabel("validation tokens right, per cent")
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=3, frameon=False)
    save(figure, folder, "accuracy")


def _draw_panel(
    axes: Any, variant: Variant, comparison: Comparison, bands: dict[str, Band]
) -> None:
    base = comparison.baseline.name if comparison.baseline else None
    for name, curve in bands.items():
        if name not in (variant.name, base):
            axes.plot(
                curve.tokens,
                curve.mean,
                color=GREY,
                linewidth=0.7,
                label="other variants",
                zorder=1,
            )
    if base is not None and base in bands:
        label = f"{base}, the baseline"
        curve = bands[base]
        axes.plot(curve.tokens, curve.mean, color="black", linestyle="--", linewidth=1, label=label)
    own = bands[variant.name]
    colour = "black" if variant.name == base else COLOURS[0]
    axes.fill_between(own.tokens, own.low, own.high, color=colour, alpha=0.25, linewidth=0)
    if variant.name != base:
        label = "the panel's variant"
        axes.plot(own.tokens, own.mean, color=colour, linewidth=1.8, label=label)
    axes.set_title(variant.name, fontsize=10)
    place = {"xy": (0.97, 0.06), "xycoords": "axes fraction", "ha": "right", "fontsize": 9}
    axes.annotate(f"{variant.accuracy.mean:.2f}", **place)
    axes.grid(alpha=0.3)


def _frame(bands: list[Band]) -> tuple[float, float]:
    """Bounds of the accuracy in the last half of training, for most variants.

    A variant far below the others is left to its number: it would press all the others flat.
    """
    end = max(curve.tokens[-1] for curve in bands)
    late = [
        [value for token, value in zip(curve.tokens, curve.mean, strict=True) if token >= end / 2]
        for curve in bands
    ]
    bottom = lowest_usual([min(values) for values in late if values])
    top = max(max(curve.high) for curve in bands)
    margin = 0.08 * (top - bottom) or 1.0
    return bottom - margin, top + margin


def lowest_usual(values: list[float]) -> float:
    """The least of some values, those left out that lie far below the bulk of them.

    Far is three times the distance between the quartiles (Tukey's outer fence).
    """
    if len(values) < 4:
        return min(values)
    lower, _, upper = quantiles(values, n=4, method="inclusive")
    return min(value for value in values if value >= lower - 3 * (upper - lower))


def _draw_differences(comparison: Comparison, folder: Path) -> None:
    """Intervals against the baseline, one row a variant; colour and marker tell the verdict."""
    assert comparison.baseline is not None
    compared = comparison.compared
    size = (8, 1.3 + 0.3 * len(compared))
    figure, axes = pyplot().subplots(figsize=size, layout="constrained")
    axes.axvline(0, color="black", linewidth=1)
    axes.axvspan(-comparison.margin, comparison.margin, color="black", alpha=0.08, linewidth=0)
    for word, (colour, marker) in LOOKS.items():
        axes.plot([], [], marker, color=colour, linestyle="", label=word)
    for place, (variant, difference) in enumerate(compared):
        look = LOOKS[comparison.tests[variant.name].verdict]
        _draw_row(axes, place, difference, comparison.paired(variant), look)
    _frame_differences(axes, [difference for _, difference in compared])
    axes.set_yticks(range(len(compared)), [variant.name for variant, _ in compared])
    axes.set_ylim(len(compared) - 0.4, -0.6)
    axes.set_xlabel(f"accuracy minus {comparison.baseline.name}'s, points")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    save(figure, folder, "differences")


def _draw_row(
    axes: Any, place: int, difference: Interval, seeds: list[float], look: tuple[str, str]
) -> None:
    colour, marker = look
    axes.plot(seeds, [place] * len(seeds), "|", color=colour, markersize=9, alpha=0.6)
    axes.hlines(place, difference.low, difference.high, color=colour, linewidth=1.8)
    axes.plot(difference.mean, place, marker, color=colour, markersize=6)


def _frame_differences(axes: Any, differences: list[Interval]) -> None:
    """Frame most variants; one that lies far below them is written at the left edge."""
    lows = [difference.low or 0.0 for difference in differences]
    bottom = min(lowest_usual(lows), 0.0)
    top = max(0.0, *(difference.high or 0.0 for difference in differences))
    margin = 0.05 * (top - bottom) or 1.0
    axes.set_xlim(bottom - margin, top + margin)
    for place, difference in enumerate(differences):
        if difference.mean < bottom - margin:
            text = f"\u25c2 {difference.mean:+.2f}, off the scale"
            axes.annotate(text, (bottom - margin / 2, place), va="center", fontsize=9)
