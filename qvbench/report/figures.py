"""The figures of a comparison. A figure is one function in :data:`FIGURES`.

A mechanism has one color on every page, a position scheme one line style; variants of one
mechanism differ in their marker. Verdicts are told by the marker's shape and fill, not by a color.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any, NamedTuple

from qvbench.report.comparison import Comparison, Variant
from qvbench.report.runs import Point

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
HIGHLIGHTED = 7
"""As many variants have a color in the curves; the others are gray."""
EARLY = 0.2
"""Share of training that is shown enlarged as its early part, and tested as such."""


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


def draw_figures(comparison: Comparison, folder: Path) -> dict[str, str]:
    """Write the figures that the runs allow; gives Markdown that shows each, by its name."""
    shown = {}
    for name, (draw, alt) in FIGURES.items():
        drawn = draw(comparison)
        if drawn is not None:
            figure, caption = drawn
            save(figure, folder, name)
            shown[name] = f"![{alt}]({name}.png)\n\n{caption}"
    return shown


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


# Curves


class Band(NamedTuple):
    """A curve over the seeds: target tokens in millions, minutes trained; mean, least, greatest."""

    tokens: list[float]
    minutes: list[float]
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
        [fmean(p.seconds for p in at_step) / 60 for at_step in points],
        [fmean(v) for v in values],
        [min(v) for v in values],
        [max(v) for v in values],
    )


Bands = dict[str, Band]


class Panel(NamedTuple):
    """One frame: the curves that it shows, against what, and its bounds."""

    title: str
    bands: Bands
    across: str
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
    whole = Panel(label, bands, "tokens", 0, end, *_padded(lows, highs), axis)
    late = Panel("The last half, enlarged", bands, "tokens", *_late(comparison, bands), axis)
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
            panels.append(Panel(title, shown, "tokens", 0, end, *bounds, height))
    return (_draw(comparison, panels), EARLY_TEXT) if panels else None


def time(comparison: Comparison) -> tuple[Any, str] | None:
    """The last half of training against wall time."""
    bands = _bands(comparison)
    if not bands:
        return None
    half, _, bottom, top = _late(comparison, bands)
    late = [
        minutes
        for curve in bands.values()
        for tokens, minutes in zip(curve.tokens, curve.minutes, strict=True)
        if tokens >= half
    ]
    title, left, right = "The last half, against wall time", 0.95 * min(late), 1.02 * max(late)
    panel = Panel(title, bands, "minutes", left, right, bottom, top, comparison.axis)
    return _draw(comparison, [panel]), TIME


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


def lowest_usual(values: Sequence[float]) -> float:
    """The least of some values, those left out that lie far below the bulk of them.

    Far is three times the distance between the quartiles (Tukey's outer fence).
    """
    if len(values) < 4:
        return min(values)
    lower, _, upper = quantiles(values, n=4, method="inclusive")
    return min(value for value in values if value >= lower - 3 * (upper - lower))


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
            across = getattr(curve, panel.across)
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
        axes.set(title=panel.title, xlabel=ACROSS[panel.across], ylabel=panel.height)
        axes.grid(alpha=0.3)
    handles, names = frames.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4, frameon=False)
    return figure


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
    figure, frames = pyplot().subplots(
        1, len(panels), figsize=(4.2 * len(panels) + 2, 4.6), squeeze=False, layout="constrained"
    )
    for axes, (label, places) in zip(frames.flat, panels.items(), strict=True):
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
}
Draw = Callable[[Comparison], "tuple[Any, str] | None"]
FIGURES: dict[str, tuple[Draw, str]] = {
    "differences": (differences, "Difference to the baseline, with 95 % intervals"),
    "accuracy": (accuracy, "The metric against target tokens"),
    "early": (early, "The early part, enlarged"),
    "time": (time, "The metric against wall time"),
    "costs": (costs, "Quality against cost"),
}
ACROSS = {"tokens": "target tokens (millions)", "minutes": "minutes, validation included"}
EARLY_TITLE = f"The first {100 * EARLY:.0f} %"
DIFFERENCES = (
    "The metric minus the baseline's on the same seed: mean with the 95 % interval of this row "
    "alone, and each seed as a tick; the best first. Color is the mechanism. The marker is the "
    "verdict, which is corrected for the number of rows. The gray strip is the margin of "
    "equivalence, ±{margin:g} {unit}."
)
BAND = "The mean over the seeds; the band reaches from the worst seed to the best."
GRAYED = (
    f" Of many variants, the baseline and the {HIGHLIGHTED - 1} best have a color; the others are "
    "gray, and ranked in the table."
)
EARLY_TEXT = (
    f"{EARLY_TITLE} of training, where curves rise too steeply to compare by eye: the difference "
    "to the baseline on the same seeds shows who is ahead."
)
TIME = "Wall time depends on what else the machine did; target tokens do not."
COSTS_TEXT = (
    "The mean with its 95 % interval against what each variant costs. The line joins those that "
    "no variant at most as costly surpasses (filled marks); that a point lies on it is no test."
)
