"""How figures are drawn, and those of differences and costs.

A mechanism has one color on every page, a position scheme one line style; variants of one
mechanism differ in their marker. Verdicts are told by the marker's shape and fill, not by a color.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple

from qvbench.report.comparison import Comparison, Variant

# Okabe and Ito's colors, then Tol's: apart for the color-blind, as far as a dozen can be.
COLORS = {
    "qkv": "#000000",
    "qv": "#0072B2",
    "qvka": "#D55E00",
    "gqa": "#009E73",
    "mla": "#E69F00",
    "v_shared": "#CC79A7",
    "gqa_qv": "#56B4E9",
    "mla_qv": "#999933",
    "shared_key": "#882255",
    "qk_tied": "#117733",
    "single": "#AA4499",
    "keyless": "#332288",
}
PALETTE = tuple(COLORS.values())
GRAY = "#BBBBBB"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 3)), (0, (3, 1, 1, 1, 1, 1)))
POSITIONS = ("agf", "sinusoidal", "rope", "t5", "learned", "none", "alibi")
"""In the order of their line styles."""
VERDICT_MARKS = {
    "better": ("^", "full"),
    "worse": ("v", "full"),
    "equivalent": ("s", "full"),
    "inconclusive": ("o", "none"),
}


class Look(NamedTuple):
    """How a variant is drawn, in every figure."""

    color: str
    marker: str
    style: Any


def looks(variants: Sequence[Variant]) -> dict[str, Look]:
    """The look of each variant, by its name."""
    found: dict[str, Look] = {}
    of_mechanism: dict[str, int] = {}
    for variant in variants:
        mechanism, position = variant.record["mechanism"], variant.record["position"]
        place = of_mechanism[mechanism] = of_mechanism.get(mechanism, -1) + 1
        color = COLORS.get(mechanism) or PALETTE[_stable(mechanism) % len(PALETTE)]
        known = POSITIONS.index(position) if position in POSITIONS else _stable(position)
        style = STYLES[known % len(STYLES)]
        found[variant.name] = Look(color, MARKERS[place % len(MARKERS)], style)
    return found


def _stable(name: str) -> int:
    """A number of a name that no table here knows, the same in every process."""
    return zlib.crc32(name.encode())


def pyplot() -> Any:
    """matplotlib's pyplot, which needs no screen and draws the same file every time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "qvbench", "font.size": 10, "svg.fonttype": "none"})
    return plt


def save(figure: Any, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and SVG without the date, and let go of it.

    Its layout is settled once for both, which takes as long as drawing.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    files = [folder / f"{name}.png", folder / f"{name}.svg"]
    figure.savefig(files[0], dpi=130, metadata={"Software": None})
    figure.savefig(files[1], metadata={"Date": None})
    pyplot().close(figure)
    return files


def lowest_usual(values: Sequence[float]) -> float:
    """The least of some values, those left out that lie far below the bulk of them.

    Far is three times the distance between the quartiles (Tukey's outer fence).
    """
    if len(values) < 4:
        return min(values)
    lower, _, upper = quantiles(values, n=4, method="inclusive")
    return min(value for value in values if value >= lower - 3 * (upper - lower))


# Differences


def differences(comparison: Comparison) -> tuple[Any, str] | None:
    """Intervals against the baseline, one row per variant, the best first."""
    rows = [variant for variant in comparison.others if variant.name in comparison.tests]
    if comparison.baseline is None or not rows:
        return None
    sign = 1 if comparison.metric.higher_is_better else -1
    rows.sort(key=lambda v: -sign * comparison.tests[v.name].difference.mean)
    size = (8, 1.3 + 0.3 * len(rows))
    figure, axes = pyplot().subplots(figsize=size, layout="constrained")
    axes.axvline(0, color="black", linewidth=1)
    axes.axvspan(-comparison.margin, comparison.margin, color="black", alpha=0.08, linewidth=0)
    bounds = _frame(comparison, rows, sign)
    axes.set_xlim(bounds)
    look, verdicts = looks(comparison.variants), set()
    for place, variant in enumerate(rows):
        test, seeds = comparison.tests[variant.name], comparison.paired[variant.name]
        color, (marker, fill) = look[variant.name].color, VERDICT_MARKS[test.verdict]
        verdicts.add(test.verdict)
        mean = test.difference.mean
        if not bounds[0] <= mean <= bounds[1]:
            text = f"{mean:+.2f}, {test.verdict}, out of the axis' range"
            edge = {"xycoords": ("axes fraction", "data"), "ha": "left" if sign > 0 else "right"}
            text = f"\u25c2 {text}" if sign > 0 else f"{text} \u25b8"
            axes.annotate(text, (0.5 - sign * 0.49, place), va="center", fontsize=9, **edge)
            continue
        axes.plot(seeds, [place] * len(seeds), "|", color=color, markersize=9, alpha=0.6)
        axes.hlines(place, test.difference.low, test.difference.high, color=color, linewidth=1.8)
        axes.plot(mean, place, marker, color=color, fillstyle=fill, markersize=7)
    for verdict, (marker, fill) in VERDICT_MARKS.items():
        if verdict in verdicts:
            style = {"color": "#555555", "fillstyle": fill, "linestyle": ""}
            axes.plot([], [], marker, label=verdict, **style)
    axes.set_yticks(range(len(rows)), [variant.label for variant in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    metric, base = comparison.metric, comparison.baseline.label
    axes.set_xlabel(f"{metric.label} minus that of {base} ({comparison.unit})")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return figure, DIFFERENCES.format(margin=comparison.margin, unit=comparison.unit)


def _frame(comparison: Comparison, rows: list[Variant], sign: int) -> tuple[float, float]:
    """Bounds that hold the variants with all their seeds, but none that is far worse.

    Far worse is what would more than double the width that the others take.
    """
    ends = []
    for variant in rows:
        found = comparison.tests[variant.name].difference
        values = [found.low or 0.0, found.high or 0.0, *comparison.paired[variant.name]]
        ends.append(sorted(sign * value for value in values))
    best = max(0.0, *(end[-1] for end in ends))
    far = 2 * min(lowest_usual([end[0] for end in ends]), 0.0) - best
    means = [sign * comparison.tests[variant.name].difference.mean for variant in rows]
    near = [end[0] for end, mean in zip(ends, means, strict=True) if mean > far]
    worst = min(0.0, *near) if near else 0.0
    margin = 0.05 * (best - worst) or 1.0
    low, high = sorted((sign * (worst - margin), sign * (best + margin)))
    return low, high


# Costs


class Place(NamedTuple):
    """A variant in a panel: its cost, and the mean of its seeds."""

    name: str
    cost: float
    value: float


def costs(comparison: Comparison) -> tuple[Any, str] | None:
    """The metric against what each variant costs."""
    panels = {}
    for label, (unit, *keys) in COSTS.items():
        known = [(v, v.cost(*keys)) for v in comparison.variants]
        places = [Place(v.name, c / unit, v.interval.mean) for v, c in known if c is not None]
        if len({place.cost for place in places}) > 1:
            panels[label] = places
    if not panels:
        return None
    rows = (len(panels) + 1) // 2
    figure, frames = pyplot().subplots(
        rows, 2, figsize=(11, 3.6 * rows), squeeze=False, sharey=True, layout="constrained"
    )
    for axes in frames.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (label, places) in zip(frames.flat, panels.items(), strict=False):
        _draw_costs(axes, places, comparison)
        axes.set(xlabel=label, ylabel=comparison.axis)
    handles, names = max((axes.get_legend_handles_labels() for axes in frames.flat), key=len)
    figure.legend(handles, names, loc="outside right upper", frameon=False, fontsize=9)
    return figure, COSTS_TEXT


def front(places: Sequence[Place], higher_is_better: bool = True) -> list[Place]:
    """The places that none at most as costly surpasses, by cost."""
    sign = 1 if higher_is_better else -1
    kept: list[Place] = []
    for place in sorted(places, key=lambda p: (p.cost, -sign * p.value)):
        if not kept or sign * place.value > sign * kept[-1].value:
            kept.append(place)
    return kept


def _draw_costs(axes: Any, places: list[Place], comparison: Comparison) -> None:
    """Points and front; those that are far worse than the others become marks at the edge."""
    sign = 1 if comparison.metric.higher_is_better else -1
    best = front(places, comparison.metric.higher_is_better)
    goodness = [sign * place.value for place in places]
    worst, margin = lowest_usual(goodness), 0.1 * (max(goodness) - lowest_usual(goodness)) or 1.0
    edge = sign * (worst - margin)
    axes.set_ylim(sorted((edge, sign * (max(goodness) + margin))))
    line = {"color": "#888888", "linewidth": 1, "zorder": 1}
    axes.step([p.cost for p in best], [p.value for p in best], where="post", **line)
    look = looks(comparison.variants)
    for variant in comparison.variants:
        for place in (p for p in places if p.name == variant.name):
            color, marker, _ = look[place.name]
            out = sign * place.value < worst
            height = edge + sign * margin / 4 if out else place.value
            face = color if place in best else "white"
            mark = {"markersize": 7, "markeredgecolor": color, "markerfacecolor": face}
            label = variant.label + f" ({place.value:.2f}, out of range)" * out
            axes.plot(place.cost, height, marker, linestyle="", label=label, **mark)
            low, high = variant.interval.low, variant.interval.high
            if not out and low is not None and high is not None:
                axes.vlines(place.cost, low, high, color=color, linewidth=0.8, alpha=0.6)
    axes.margins(x=0.12)
    axes.grid(alpha=0.3)


COSTS: dict[str, tuple[Any, ...]] = {
    "parameters (millions)": (1e6, "parameters", "total"),
    "training FLOPs per target token (millions)": (1e6, "flops_per_target_token", "train"),
    "cache, elements per target token and layer": (1, "cache_per_token", "self"),
    "minutes of training, validation included": (60, "wall_seconds"),
}
DIFFERENCES = (
    "The metric minus the baseline's on the same seed: mean with the 95 % interval of this row "
    "alone, and each seed as a tick; the best first. Color is the mechanism. The marker is the "
    "verdict, which is corrected for the number of rows. The gray strip is the margin of "
    "equivalence, ±{margin:g} {unit}."
)
COSTS_TEXT = (
    "The mean with its 95 % interval against what each variant costs. The line joins those that "
    "no variant at most as costly surpasses (filled marks); that a point lies on it is no test. "
    "Minutes depend on what else the machine did."
)
