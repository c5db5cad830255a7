"""The figures of curves over the seeds: all of training, and its early part."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean
from typing import Any, NamedTuple

from qvbench.report.comparison import Comparison, Variant
from qvbench.report.figures import GRAY, looks, lowest_usual, pyplot
from qvbench.report.runs import Point

HIGHLIGHTED = 7
"""As many variants have a color in the curves; the others are gray."""
EARLY = 0.2
"""Share of training that is shown enlarged as its early part, and tested as such."""


class Band(NamedTuple):
    """A curve over the seeds: target tokens in millions; mean, least and greatest value."""

    tokens: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def band(variant: Variant, base: Variant | None = None) -> Band:
    """A variant's curve at the validations that all its seeds have reached.

    Args:
        variant: whose curve.
        base: to take the curve of off, seed by seed and step by step.
    """
    curves = variant.curve(variant.metric.name)
    theirs = base.curve(variant.metric.name) if base is not None else curves
    seeds = sorted(curves.keys() & theirs.keys())
    steps = [curves[seed].keys() & theirs[seed].keys() for seed in seeds]
    common = sorted(set.intersection(*map(set, steps))) if steps else []
    points: list[list[Point]] = [[curves[seed][step] for seed in seeds] for step in common]
    values = [
        [curves[k][step].value - (theirs[k][step].value if base else 0.0) for k in seeds]
        for step in common
    ]
    return Band(
        [fmean(p.target_tokens for p in at_step) / 1e6 for at_step in points],
        [fmean(v) for v in values],
        [min(v) for v in values],
        [max(v) for v in values],
    )


Bands = dict[str, Band]


class Panel(NamedTuple):
    """One frame: the curves that it shows, its bounds, and the name of the vertical axis."""

    title: str
    bands: Bands
    left: float
    right: float
    bottom: float
    top: float
    height: str


def accuracy(comparison: Comparison) -> tuple[Any, str] | None:
    """The whole of training, and its last half enlarged."""
    bands = _bands(comparison)
    if not bands:
        return None
    label = comparison.metric.label.capitalize()
    end = 1.02 * max(curve.tokens[-1] for curve in bands.values())
    lows, highs = ([v for c in bands.values() for v in getattr(c, k)] for k in ("low", "high"))
    axis = comparison.axis
    whole = Panel(label, bands, 0, end, *_padded(lows, highs), axis)
    late = Panel("The last half, enlarged", bands, *_late(comparison, bands), axis)
    return _draw(comparison, [whole, late]), BAND + _grayed(comparison, bands)


def early(comparison: Comparison) -> tuple[Any, str] | None:
    """The first part of training, and there the difference to the baseline."""
    bands, base = _bands(comparison), comparison.baseline
    if not bands:
        return None
    # Steps of equal number differ a little in tokens: what the frame shows is in it.
    end = EARLY * 1.02 * max(curve.tokens[-1] for curve in bands.values())
    label = f"minus that of {base.label} ({comparison.unit})" if base else ""
    drawn = [(EARLY_TITLE, bands, comparison.axis)]
    if base is not None:
        gains = {v.name: band(v, base) for v in comparison.variants if v.name in bands}
        title = f"{EARLY_TITLE}, minus {base.label}"
        drawn += [(title, {n: c for n, c in gains.items() if c.tokens}, label)]
    panels = []
    for title, shown, height in drawn:
        inside = [
            (low, high)
            for c in shown.values()
            for t, low, high in zip(c.tokens, c.low, c.high, strict=True)
            if t <= end
        ]
        if inside:
            bounds = _padded(*zip(*inside, strict=True))
            panels.append(Panel(title, shown, 0, end, *bounds, height))
    return (_draw(comparison, panels), EARLY_TEXT) if panels else None


def _bands(comparison: Comparison) -> Bands:
    bands = {variant.name: band(variant) for variant in comparison.variants}
    return {name: curve for name, curve in bands.items() if curve.tokens}


def _late(comparison: Comparison, bands: Bands) -> tuple[float, float, float, float]:
    """Frame of the last half of training, without a variant that is far worse than the others."""
    half = max(curve.tokens[-1] for curve in bands.values()) / 2
    late = [
        [(low, high) for t, low, high in zip(c.tokens, c.low, c.high, strict=True) if t >= half]
        for c in bands.values()
    ]
    lows = [min(low for low, _ in ends) for ends in late if ends]
    highs = [max(high for _, high in ends) for ends in late if ends]
    if comparison.metric.higher_is_better:
        bottom, top = _padded([lowest_usual(lows)], highs)
    else:
        bottom, top = _padded(lows, [-lowest_usual([-value for value in highs])])
    return half, 1.02 * max(c.tokens[-1] for c in bands.values()), bottom, top


def _padded(lows: Iterable[float], highs: Iterable[float]) -> tuple[float, float]:
    low, high = min(lows), max(highs)
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def highlighted(comparison: Comparison, names: Iterable[str]) -> list[str]:
    """The variants that have a color: all, or the baseline and the best of many."""
    sign = -1 if comparison.metric.higher_is_better else 1
    shown = [variant for variant in comparison.variants if variant.name in names]
    if len(shown) > HIGHLIGHTED:
        base = comparison.baseline
        shown.sort(key=lambda v: (v is not base, sign * v.interval.mean))
    return [variant.name for variant in shown[:HIGHLIGHTED]]


def _grayed(comparison: Comparison, bands: Bands) -> str:
    return GRAYED if len(bands) > HIGHLIGHTED else ""


def _draw(comparison: Comparison, panels: list[Panel]) -> Any:
    size = (5.5 * len(panels) + 2 * (len(panels) == 1), 4.6)
    figure, frames = pyplot().subplots(
        1, len(panels), figsize=size, squeeze=False, layout="constrained"
    )
    look = looks(comparison.variants)
    colored = highlighted(comparison, panels[0].bands)
    labels = {variant.name: variant.label for variant in comparison.variants}
    for axes, panel in zip(frames.flat, panels, strict=True):
        for name, curve in panel.bands.items():
            across = curve.tokens
            if name not in colored:
                axes.plot(across, curve.mean, color=GRAY, linewidth=0.7, zorder=1)
                continue
            color, marker, style = look[name]
            axes.fill_between(across, curve.low, curve.high, color=color, alpha=0.12, linewidth=0)
            every = max(1, len(curve.mean) // 20)
            line = {"color": color, "marker": marker, "linestyle": style, "linewidth": 1.6}
            line |= {"markevery": every, "markersize": 5, "label": labels[name]}
            axes.plot(across, curve.mean, **line)
        axes.set(xlim=(panel.left, panel.right), ylim=(panel.bottom, panel.top))
        axes.set(title=panel.title, xlabel="target tokens (millions)", ylabel=panel.height)
        axes.grid(alpha=0.3)
    handles, names = frames.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4, frameon=False)
    return figure


EARLY_TITLE = f"The first {100 * EARLY:.0f} %"
BAND = "The mean over the seeds; the band reaches from the worst seed to the best."
GRAYED = (
    f" Of many variants, the baseline and the {HIGHLIGHTED - 1} best have a color; the others are "
    "gray, and ranked in the table."
)
EARLY_TEXT = (
    f"{EARLY_TITLE} of training, where curves rise too steeply to compare by eye: the difference "
    "to the baseline on the same seeds shows who is ahead."
)
