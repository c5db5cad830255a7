"""Curves over the seeds, and the frames in which figures show them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, quantiles
from typing import NamedTuple

from qvbench.report.figure import METRIC
from qvbench.report.load import Point
from qvbench.report.variants import Variant

EARLY = 0.2
"""Share of training that is shown enlarged as its early part, and judged as such."""
EARLY_TITLE = f"The first {100 * EARLY:.0f} %"


class Band(NamedTuple):
    """A variant's curve: target tokens in millions, minutes trained; mean, worst and best seed in
    per cent."""

    tokens: list[float]
    minutes: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


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


def gain(variant: Variant, baseline: Variant) -> Band:
    """A variant's curve minus the baseline's on the same seeds, in points."""
    own, theirs = _by_seed(variant), _by_seed(baseline)
    seeds = own.keys() & theirs.keys()
    steps = [own[seed].keys() & theirs[seed].keys() for seed in seeds]
    common = sorted(set.intersection(*map(set, steps))) if steps else []
    values = [[own[k][step].value - theirs[k][step].value for k in seeds] for step in common]
    return Band(
        [fmean(own[k][step].target_tokens for k in seeds) / 1e6 for step in common],
        [fmean(own[k][step].seconds for k in seeds) / 60 for step in common],
        [fmean(v) for v in values],
        [min(v) for v in values],
        [max(v) for v in values],
    )


def _by_seed(variant: Variant) -> dict[int, dict[int, Point]]:
    return {
        run.record["seed"]: {p.step: p for p in run.curves.get(METRIC, [])} for run in variant.runs
    }


class View(NamedTuple):
    """What a figure shows of the bands.

    Args:
        name: of the figure's files.
        title: of a figure's panel.
        across: what stands on the horizontal axis, ``tokens`` or ``minutes``.
        left: bound of that axis; the others are ``right``, and ``bottom`` and ``top``.
        height: what stands on the vertical axis, with its unit.
    """

    name: str
    title: str
    across: str
    left: float
    right: float
    bottom: float
    top: float
    height: str = "validation tokens right, per cent"

    @property
    def label(self) -> str:
        """Of the horizontal axis, with its unit."""
        minutes = "minutes, validation included"
        return "target tokens, millions" if self.across == "tokens" else minutes


def whole_view(bands: Sequence[Band]) -> View:
    """All of training."""
    bottom, top = _framed([low for b in bands for low in b.low], [h for b in bands for h in b.high])
    return View("accuracy", "Validation accuracy", "tokens", 0, _end(bands), bottom, top)


def late_view(bands: Sequence[Band]) -> View:
    """The last half of training, in which most variants are close to one another.

    A variant far below the others is left to its number: it would press all the others flat.
    """
    half = max(curve.tokens[-1] for curve in bands) / 2
    late = [
        [value for token, value in zip(curve.tokens, curve.mean, strict=True) if token >= half]
        for curve in bands
    ]
    lowest = lowest_usual([min(values) for values in late if values])
    bottom, top = _framed([lowest], [max(max(curve.high) for curve in bands)])
    return View("accuracy", "The last half, enlarged", "tokens", half, _end(bands), bottom, top)


def timed_view(bands: Sequence[Band]) -> View:
    """The last half of training against wall time."""
    half = max(curve.tokens[-1] for curve in bands) / 2
    late = [
        minutes
        for curve in bands
        for token, minutes in zip(curve.tokens, curve.minutes, strict=True)
        if token >= half
    ]
    title = "The last half, against wall time"
    left, right = 0.95 * min(late), 1.02 * max(late)
    return late_view(bands)._replace(
        name="time", title=title, across="minutes", left=left, right=right
    )


def early_view(bands: Sequence[Band], than: str = "") -> View | None:
    """The first part of training enlarged; nothing where no validation lies in it.

    Args:
        bands: of the accuracy, or gains over a variant.
        than: the name of that variant.
    """
    # Steps of equal number differ a little in tokens: what the frame shows is in it.
    end = EARLY * _end(bands)
    lows = [low for b in bands for t, low in zip(b.tokens, b.low, strict=True) if t <= end]
    highs = [high for b in bands for t, high in zip(b.tokens, b.high, strict=True) if t <= end]
    if not lows:
        return None
    view = View("early", EARLY_TITLE, "tokens", 0, end, *_framed(lows, highs))
    if not than:
        return view
    title, height = f"{EARLY_TITLE}, minus {than}", f"accuracy minus {than}'s, points"
    return view._replace(title=title, height=height)


def lowest_usual(values: list[float]) -> float:
    """The least of some values, those left out that lie far below the bulk of them.

    Far is three times the distance between the quartiles (Tukey's outer fence).
    """
    if len(values) < 4:
        return min(values)
    lower, _, upper = quantiles(values, n=4, method="inclusive")
    return min(value for value in values if value >= lower - 3 * (upper - lower))


def _framed(lows: Sequence[float], highs: Sequence[float]) -> tuple[float, float]:
    margin = 0.06 * (max(highs) - min(lows)) or 1.0
    return min(lows) - margin, max(highs) + margin


def _end(bands: Sequence[Band]) -> float:
    return 1.02 * max(curve.tokens[-1] for curve in bands)
