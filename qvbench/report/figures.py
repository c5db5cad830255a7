"""The figures of a page: functions from a comparison to a figure, None where it has none.

A mechanism has one color on every page, a position scheme one line style; variants of one
mechanism differ in their marker. Verdicts are told by the marker's shape and fill, not by a color.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import compress
from pathlib import Path
from statistics import fmean, quantiles
from typing import TYPE_CHECKING, Any, NamedTuple

from qvbench.report import data
from qvbench.report.comparison import VERDICTS, Comparison, Variant
from qvbench.report.paper import EARLY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOKS = data("figures.yaml")
GRAY = "#BBBBBB"
Place = tuple[float, float]  # of a variant: its cost, and the mean of its seeds
HIGHLIGHTED: int = LOOKS["highlighted"]
EARLY_TITLE = f"The first {100 * EARLY:.0f} %"


class Look(NamedTuple):
    """How a variant is drawn, in every figure."""

    color: str
    marker: str
    style: Any


def looks(variants: Sequence[Variant]) -> dict[str, Look]:
    """The look of each variant, by its name."""
    found: dict[str, Look] = {}
    of_mechanism: Counter[str] = Counter()
    for variant in variants:
        mechanism = variant.record["mechanism"]
        marker = LOOKS["markers"][of_mechanism[mechanism] % len(LOOKS["markers"])]
        style = _look("styles", variant.record["position"])
        if isinstance(style, list):  # of dashes: matplotlib wants tuples
            style = (style[0], tuple(style[1]))
        found[variant.name] = Look(_look("colors", mechanism), marker, style)
        of_mechanism[mechanism] += 1
    return found


def _look(kind: str, name: str) -> Any:
    """That of a name; of one that the table does not know the same in every process."""
    known = LOOKS[kind]
    return known.get(name) or [*known.values()][zlib.crc32(name.encode()) % len(known)]


def pyplot() -> Any:
    """matplotlib's pyplot, which needs no screen and draws the same file every time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "qvbench", "font.size": 10, "svg.fonttype": "none"})
    return plt


def save(figure: Any, folder: Path, name: str) -> None:
    """Write a figure as PNG and SVG without the date, and let go of it."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # settled once for both: it takes as long as drawing
    figure.savefig(folder / f"{name}.png", dpi=130, metadata={"Software": None})
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    pyplot().close(figure)


def lowest_usual(values: Sequence[float]) -> float:
    """The least of some values that is not below Tukey's outer fence: far below the bulk."""
    if len(values) < 4:
        return min(values)
    lower, _, upper = quantiles(values, n=4, method="inclusive")
    return min(value for value in values if value >= lower - 3 * (upper - lower))


def _padded(values: Sequence[float], share: float = 0.06) -> tuple[float, float]:
    """Bounds of an axis that holds some values, with a share of their width on either side."""
    low, high = min(values), max(values)
    margin = share * (high - low) or 1.0
    return low - margin, high + margin


# Differences to the baseline


def differences(comparison: Comparison) -> Figure | None:
    """Intervals against the baseline, one row per variant, the best first."""
    rows = comparison.with_verdict(*VERDICTS)
    if comparison.baseline is None or not rows:
        return None
    size = (8, 1.3 + 0.3 * len(rows))
    figure, axes = pyplot().subplots(figsize=size, layout="constrained")
    axes.axvline(0, color="black", linewidth=1)
    axes.axvspan(-comparison.margin, comparison.margin, color="black", alpha=0.08, linewidth=0)
    bounds = _bounds_of_differences(comparison, rows)
    axes.set_xlim(bounds)
    look, tests = looks(comparison.variants), comparison.tests
    for place, variant in enumerate(rows):
        test, seeds = tests[variant.name], comparison.paired[variant.name]
        color, (marker, fill) = look[variant.name].color, LOOKS["verdicts"][test.verdict]
        mean, low, high, _ = test.difference
        if not bounds[0] <= mean <= bounds[1]:
            left = comparison.sign > 0
            text = f"{mean:+.2f}, {test.verdict}, out of the axis' range"
            text = f"\u25c2 {text}" if left else f"{text} \u25b8"
            edge = {"xycoords": ("axes fraction", "data"), "ha": "left" if left else "right"}
            axes.annotate(text, (0.01 if left else 0.99, place), va="center", fontsize=9, **edge)
            continue
        axes.plot(seeds, [place] * len(seeds), "|", color=color, markersize=9, alpha=0.6)
        axes.hlines(place, low, high, color=color, linewidth=1.8)
        axes.plot(mean, place, marker, color=color, fillstyle=fill, markersize=7)
    for verdict, (marker, fill) in LOOKS["verdicts"].items():
        if comparison.with_verdict(verdict):
            axes.plot([], [], marker, label=verdict, color="#555555", fillstyle=fill, linestyle="")
    axes.set_yticks(range(len(rows)), [variant.label for variant in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    metric, base = comparison.metric.label, comparison.baseline.label
    axes.set_xlabel(f"{metric} minus that of {base} ({comparison.unit})")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return figure


def _bounds_of_differences(comparison: Comparison, rows: list[Variant]) -> tuple[float, float]:
    """Bounds that hold all seeds, but of no variant that would double the width of the others."""
    sign, ends, means = comparison.sign, [], []
    for variant in rows:
        mean, low, high, _ = comparison.tests[variant.name].difference
        ends.append(sorted(sign * v for v in (low, high, *comparison.paired[variant.name])))
        means.append(sign * mean)
    best = max(0.0, *(end[-1] for end in ends))
    far = 2 * min(lowest_usual([end[0] for end in ends]), 0.0) - best
    worst = min(0.0, *(end[0] for end, mean in zip(ends, means, strict=True) if mean > far), 0.0)
    return _padded([sign * worst, sign * best], 0.05)


# Curves


class Band(NamedTuple):
    """A curve over the seeds: target tokens in millions; mean, least and greatest value."""

    tokens: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]

    def ends(self, left: float = 0, right: float = math.inf) -> list[float]:
        """The least and the greatest values between two numbers of tokens."""
        inside = [left <= tokens <= right for tokens in self.tokens]
        return [*compress(self.low, inside), *compress(self.high, inside)]


Bands = dict[str, Band]
Panel = tuple[Bands, dict[str, Any]]  # curves by variant; what the frame around them is set to


def band(variant: Variant, base: Variant | None = None) -> Band:
    """A variant's curve, less a base's seed by seed, where all seeds were validated."""
    curves = variant.curve()
    theirs = curves if base is None else base.curve()
    pairs = [(curves[seed], theirs[seed]) for seed in sorted(curves.keys() & theirs.keys())]
    steps = sorted(set.intersection(*(set(a.keys() & b.keys()) for a, b in pairs))) if pairs else []
    values = [[a[k].value - (b[k].value if base else 0.0) for a, b in pairs] for k in steps]
    tokens = [fmean(own[step].target_tokens for own, _ in pairs) / 1e6 for step in steps]
    return Band(tokens, *([of(v) for v in values] for of in (fmean, min, max)))


def bands_of(comparison: Comparison, base: Variant | None = None) -> Bands:
    bands = {variant.name: band(variant, base) for variant in comparison.variants}
    return {name: curve for name, curve in bands.items() if curve.tokens}


def accuracy(comparison: Comparison) -> Figure | None:
    """The whole of training, and its last half enlarged."""
    bands, sign = bands_of(comparison), comparison.sign
    if not bands:
        return None
    last = max(curve.tokens[-1] for curve in bands.values())
    whole = [value for curve in bands.values() for value in curve.ends()]
    parts = [curve.ends(left=last / 2) for curve in bands.values()]
    late = [[sign * value for value in part] for part in parts if part]
    # Of the last half without a variant that is far worse than the others.
    usual = [sign * lowest_usual([min(part) for part in late]), sign * max(map(max, late))]
    panels: list[Panel] = [
        (bands, {"title": title, "ylabel": comparison.axis, "xlim": xlim, "ylim": _padded(values)})
        for title, xlim, values in (
            (comparison.metric.label.capitalize(), (0, 1.02 * last), whole),
            ("The last half, enlarged", (last / 2, 1.02 * last), usual),
        )
    ]
    return _draw(comparison, panels)


def early(comparison: Comparison) -> Figure | None:
    """The first part of training, and there the difference to the baseline."""
    bands, base = bands_of(comparison), comparison.baseline
    if not bands:
        return None
    # Steps of equal number differ a little in tokens: what the frame shows is in it.
    end = EARLY * 1.02 * max(curve.tokens[-1] for curve in bands.values())
    shown = [(EARLY_TITLE, bands, comparison.axis)]
    if base is not None:
        label = f"minus that of {base.label} ({comparison.unit})"
        gains = {n: c for n, c in bands_of(comparison, base).items() if n in bands}
        shown.append((f"{EARLY_TITLE}, minus {base.label}", gains, label))
    panels: list[Panel] = []
    for title, curves, height in shown:
        if inside := [value for curve in curves.values() for value in curve.ends(right=end)]:
            frame = {"title": title, "ylabel": height, "xlim": (0, end), "ylim": _padded(inside)}
            panels.append((curves, frame))
    return _draw(comparison, panels) if panels else None


def highlighted(comparison: Comparison, names: Iterable[str]) -> list[str]:
    """The variants that have a color: all, or the baseline and the best of many."""
    shown = [variant for variant in comparison.variants if variant.name in names]
    if len(shown) > HIGHLIGHTED:
        base, sign = comparison.baseline, -comparison.sign
        shown.sort(key=lambda v: (v is not base, sign * v.interval.mean))
    return [variant.name for variant in shown[:HIGHLIGHTED]]


def _draw(comparison: Comparison, panels: list[Panel]) -> Figure:
    size = (5.5 * len(panels) + 2 * (len(panels) == 1), 4.6)
    figure, frames = pyplot().subplots(
        1, len(panels), figsize=size, squeeze=False, layout="constrained"
    )
    look = looks(comparison.variants)
    colored = highlighted(comparison, panels[0][0])
    labels = {variant.name: variant.label for variant in comparison.variants}
    for axes, (bands, frame) in zip(frames.flat, panels, strict=True):
        for name, curve in bands.items():
            if name not in colored:
                axes.plot(curve.tokens, curve.mean, color=GRAY, linewidth=0.7, zorder=1)
                continue
            color, marker, style = look[name]
            fill = {"color": color, "alpha": 0.12, "linewidth": 0}
            axes.fill_between(curve.tokens, curve.low, curve.high, **fill)
            every = max(1, len(curve.mean) // 20)
            line = {"color": color, "marker": marker, "linestyle": style, "linewidth": 1.6}
            line |= {"markevery": every, "markersize": 5, "label": labels[name]}
            axes.plot(curve.tokens, curve.mean, **line)
        axes.set(xlabel="target tokens (millions)", **frame)
        axes.grid(alpha=0.3)
    handles, names = frames.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4, frameon=False)
    return figure


# Quality against cost


def costs(comparison: Comparison) -> Figure | None:
    """The metric against what each variant costs."""
    panels = {}
    for label, (unit, name) in LOOKS["costs"].items():
        known = {v: cost / unit for v in comparison.variants if (cost := v.cost(name)) is not None}
        if len({*known.values()}) > 1:
            panels[label] = known
    if not panels:
        return None
    rows = (len(panels) + 1) // 2
    figure, frames = pyplot().subplots(
        rows, 2, figsize=(11, 3.6 * rows), squeeze=False, sharey=True, layout="constrained"
    )
    for axes in frames.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (label, known) in zip(frames.flat, panels.items(), strict=False):
        _draw_costs(axes, known, comparison)
        axes.set(xlabel=label, ylabel=comparison.axis)
    handles, names = frames.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", frameon=False, fontsize=9)
    return figure


def front(places: Iterable[Place], sign: int = 1) -> list[Place]:
    """The places that none at most as costly surpasses; sign is -1 where less is better."""
    kept: list[Place] = []
    for cost, value in sorted(places, key=lambda place: (place[0], -sign * place[1])):
        if not kept or sign * value > sign * kept[-1][1]:
            kept.append((cost, value))
    return kept


def _draw_costs(axes: Any, known: dict[Variant, float], comparison: Comparison) -> None:
    """Points and front; those that are far worse than the others become marks at the edge."""
    sign, look = comparison.sign, looks(comparison.variants)
    places = {variant: (cost, variant.interval.mean) for variant, cost in known.items()}
    goodness = [sign * value for _, value in places.values()]
    worst = lowest_usual(goodness)
    bounds = _padded([sign * worst, sign * max(goodness)], 0.1)
    edge = bounds[0] if sign > 0 else bounds[1]
    axes.set_ylim(bounds)
    best = front(places.values(), sign)
    axes.step(*zip(*best, strict=True), where="post", color="#888888", linewidth=1, zorder=1)
    for variant, (cost, mean) in places.items():
        color, marker, _ = look[variant.name]
        out = sign * mean < worst
        height = (3 * edge + sign * worst) / 4 if out else mean
        face = color if (cost, mean) in best else "white"
        mark = {"markersize": 7, "markeredgecolor": color, "markerfacecolor": face}
        label = variant.label + f" ({mean:.2f}, out of range)" * out
        axes.plot(cost, height, marker, linestyle="", label=label, **mark)
        _, low, high, _ = variant.interval
        if not out and not math.isnan(low):
            axes.vlines(cost, low, high, color=color, linewidth=0.8, alpha=0.6)
    axes.margins(x=0.12)
    axes.grid(alpha=0.3)
