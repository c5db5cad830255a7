"""The figures of a page: functions from a comparison to a figure, None where it has none.

They are as wide as a column of a paper: so they fit a phone too, and the page makes them larger.
A mechanism has one color and marker on every page, a position scheme one line style, and variants
of one mechanism differ in the marker's fill, and in the marker where there are more than fills:
they are told apart in gray as well.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, quantiles
from typing import TYPE_CHECKING, Any, NamedTuple

from qvbench.report import data
from qvbench.report.comparison import VERDICTS, Comparison
from qvbench.report.statistics import Interval, estimate
from qvbench.report.tables import bounds, seeds_of, signs, with_interval
from qvbench.report.variants import Variant

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOKS = data("figures.yaml")
GRAY = "#BBBBBB"
HIGHLIGHTED: int = LOOKS["highlighted"]
WIDTH = 3.25
"""Of a figure, in inches."""
SUFFIXES = (".png", ".pdf", ".svg")


class Look(NamedTuple):
    """How a variant is drawn, in every figure."""

    color: str
    marker: str
    fillstyle: str
    style: Any  # of lines

    @property
    def mark(self) -> dict[str, str]:
        """matplotlib's keyword arguments for the marker."""
        return {"color": self.color, "marker": self.marker, "fillstyle": self.fillstyle}


def looks(variants: Sequence[Variant]) -> dict[str, Look]:
    found: dict[str, Look] = {}
    of_mechanism: Counter[str] = Counter()
    markers = [marker for _, marker in LOOKS["mechanisms"].values()]
    for variant in variants:
        mechanism = variant.record["mechanism"]
        color, own = _look("mechanisms", mechanism)
        round_, place = divmod(of_mechanism[mechanism], len(LOOKS["fills"]))
        fill = LOOKS["fills"][place]
        marker = markers[(markers.index(own) + round_) % len(markers)]
        style = _look("styles", variant.record["position"])
        style = tuple(style) if isinstance(style, list) else style
        found[variant.name] = Look(color, marker, fill, style)
        of_mechanism[mechanism] += 1
    return found


def _look(kind: str, name: str) -> Any:
    """The color and marker, or the line style, of a name; unknown names keep theirs too."""
    known = LOOKS[kind]
    return known.get(name) or [*known.values()][zlib.crc32(name.encode()) % len(known)]


def tooltip(axes: Any, x: float, y: float, words: str) -> None:
    """An invisible point, over which the HTML page shows these words."""
    axes.plot(x, y, "s", markersize=5, alpha=0, zorder=9, gid=f"tooltip {words}")


def seed_ticks(axes: Any, at: float, scores: Iterable[float], color: str) -> None:
    """A short line for each seed, one above the other."""
    heights = list(scores)
    axes.plot([at] * len(heights), heights, "_", color=color, markersize=4, alpha=0.7)


def canvas(
    height: float, rows: int = 1, columns: int = 1, width: float = WIDTH, **options: Any
) -> Any:
    """A figure, as wide as a column, and its axes in a flat array; it belongs to no window, and
    is written as the same bytes every time."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams.update(LOOKS["matplotlib"])
    figure = Figure((width, height))
    return figure, figure.subplots(rows, columns, squeeze=False, **options).flat


def add_legend(figure: Any, columns: int = 2) -> None:
    """The legend of all axes, each name once, above them."""
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=columns)


def add_rows(axes: Any, variants: Sequence[Variant]) -> None:
    """A row for each variant, the first one above; those with failures say so."""
    names = [v.label + f" ({seeds_of(v)})" * bool(v.failed) for v in variants]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x")


def log_ticks(axes: Any, ticks: Mapping[float, str]) -> None:
    """A logarithmic axis with these ticks alone."""
    axes.set_xscale("log")
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.minorticks_off()
    axes.grid()


def save(figure: Any, folder: Path, name: str) -> None:
    """Write a figure in each format, without dates."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # settled once for all: it takes as long as drawing
    figure.savefig(folder / f"{name}.png", dpi=200, metadata={"Software": None})
    figure.savefig(folder / f"{name}.pdf", metadata=dict.fromkeys(("CreationDate", "Producer")))
    figure.savefig(file := folder / f"{name}.svg", metadata={"Date": None})
    words = re.sub('<g id="tooltip (.*?)">', r"<g><title>\1</title>", file.read_text("utf-8"))
    file.write_text(words, encoding="utf-8")


def caption(name: str, figure: Figure, comparison: Comparison, **more: bool) -> str:
    """The sentences of a figure's caption that hold for what is drawn; of others ``more`` says."""
    base, below = comparison.baseline, len(figure.axes) > 1
    many = len(comparison.variants) > HIGHLIGHTED
    drawn = {
        "caption": True,
        "seeds": any(len(variant.runs) > 1 for variant in comparison.variants),
        "below": below,
        "intervals": below and bool(comparison.findings),
        "warm_up": below and base is not None and base.warmed_up is not None,
        "early": below and base is not None and base.early_steps is not None,
        "grayed": many and base is not None,
        "grayed_without": many and base is None,
        **more,
    }
    sentences = [text for part, text in LOOKS["captions"][name].items() if drawn.get(part)]
    return " ".join(sentences).format(margin=comparison.margin, unit=comparison.unit)


def lowest_usual(values: Sequence[float]) -> float:
    """The least value that an axis has room for; it would press the others flat to show less.

    Not below Tukey's outer fence, or so little that the range of the rest is no more than doubled.
    """
    if len(values) < 4:
        return min(values)
    lower, _, upper = quantiles(values, n=4, method="inclusive")
    bulk = min(value for value in values if value >= lower - 3 * (upper - lower))
    return min(value for value in values if value >= 2 * bulk - max(values))


def padded(values: Sequence[float], share: float = 0.06) -> tuple[float, float]:
    """Limits of an axis with a margin on either side, a share of the range of the values."""
    low, high = min(values), max(values)
    margin = share * (high - low) or 1.0
    return low - margin, high + margin


# Differences to the baseline


def differences(comparison: Comparison) -> Figure | None:
    """Intervals against the baseline, one row per variant, the best first."""
    rows, sign, base = comparison.findings, comparison.sign, comparison.baseline
    if base is None or not rows:
        return None
    look, form = looks(comparison.variants), comparison.form
    floor = lowest_usual([0.0, *(sign * found.estimate.mean for found in rows.values())])
    ends = [0.0]
    figure, (axes,) = canvas(0.95 + 0.17 * len(rows))
    axes.axvline(0, color="black", linewidth=0.6)
    axes.axvspan(-comparison.margin, comparison.margin, color="black", alpha=0.08, linewidth=0)
    for place, (variant, found) in enumerate(rows.items()):
        mean, low, high = found.interval
        if sign * mean < floor:
            side, arrow = (("left", "\u25c2 "), ("right", "\u25b8 "))[sign < 0]
            text = signs(f"{arrow}{mean:+{form}}, {found.verdict}, out of range")
            edge = {"xycoords": ("axes fraction", "data"), "va": "center"}
            axes.annotate(text, (0.01 if sign > 0 else 0.99, place), ha=side, **edge)
            continue
        color, (marker, fill) = look[variant.name].color, LOOKS["verdicts"][found.verdict]
        seeds = [score - comparison.baselines[variant].mean for score in variant.scores.values()]
        _, own_low, own_high = found.estimate.interval()
        axes.plot(seeds, [place] * len(seeds), "|", color=color, markersize=5, alpha=0.6)
        axes.hlines(place, low, high, color=color, linewidth=0.5)
        axes.hlines(place, own_low, own_high, color=color, linewidth=1.5)
        tooltip(axes, mean, place, f"{variant.label}: {with_interval(found.interval, form)}")
        for (seed, score), value in zip(variant.scores.items(), seeds, strict=True):
            words = f"seed {seed}: {score:{form}} ({value:+{form}})"
            tooltip(axes, value, place, signs(words))
        axes.plot(mean, place, marker, color=color, fillstyle=fill, markersize=4.5)
        ends += [low, high, *seeds]
    for verdict in VERDICTS:
        if any(found.verdict == verdict for found in rows.values()):
            marker, fill = LOOKS["verdicts"][verdict]
            axes.plot([], [], marker, label=verdict, color="#555555", fillstyle=fill, linestyle="")
    add_rows(axes, list(rows))
    axes.set(xlim=padded(ends, 0.05), ylim=(len(rows) - 0.4, -0.6))
    words = f"{comparison.metric.label}\nminus that of {comparison.against} ({comparison.unit})"
    figure.supxlabel(words)  # longer than the axis
    add_legend(figure, columns=4)
    return figure


# Curves


Band = dict[float, Interval]
"""A curve over the seeds: a mean and its bounds by target tokens, in millions."""


def band(variant: Variant, base: Variant | None = None) -> Band:
    """A variant's mean at the steps at which all seeds were validated, with the least and greatest.

    With a base, the difference of the means with its 95 % interval.
    """
    own, theirs = variant.curves, [] if base is None else base.curves
    known = [set(curve) for curve in (*own, *theirs)]
    steps = sorted(set.intersection(*known)) if own and (theirs or base is None) else []
    found: Band = {}
    for step in steps:
        tokens = fmean(curve[step].target_tokens for curve in own) / 1e6
        values, others = ([curve[step].value for curve in curves] for curves in (own, theirs))
        if base is None:
            found[tokens] = Interval(fmean(values), min(values), max(values))
        else:
            found[tokens] = estimate([(1, values), (-1, others)]).interval()
    return found


def accuracy(comparison: Comparison) -> Figure | None:
    """The metric over the training, and the difference to the baseline after the warm-up."""
    base = comparison.baseline
    panels = [{v: band(v) for v in comparison.variants}]
    if base is not None:
        panels.append({v: band(v, comparison.baselines[v]) for v in comparison.rows})
    panels = [{v: c for v, c in panel.items() if c} for panel in panels]
    panels = [panel for panel in panels if panel]
    if not panels:
        return None
    look, colored = looks(comparison.variants), highlighted(comparison, panels[0])
    figure, frames = canvas(0.6 + 1.8 * len(panels), len(panels))
    for axes, panel in zip(frames, panels, strict=True):
        for variant, curve in panel.items():
            _draw_curve(axes, curve, variant, look[variant.name] if variant in colored else None)
        axes.grid()
    axes.set_xlabel("target tokens (millions)")
    frames[0].set_ylabel(comparison.axis)
    if base is not None and len(panels) > 1:
        bands = [curve for variant, curve in panels[1].items() if variant in colored]
        _frame_differences(frames[1], bands, base)
        frames[1].set_ylabel(f"minus that of {comparison.against}\n({comparison.unit})")
    add_legend(figure)
    return figure


def _frame_differences(axes: Any, bands: list[Band], base: Variant) -> None:
    """From the end of the warm-up on, with the early part shaded."""
    last = max((max(band) for band in bands), default=1.0)
    start = base.warmed_up or 0
    ends = [max(curve.values()) for curve in base.curves if any(curve)]
    scale = fmean(end.target_tokens / end.step for end in ends) / 1e6 if ends else 1.0  # of a step
    points = [(t, v) for band in bands for t, span in band.items() for v in span]
    first = (start - 1) * scale  # steps have about as many tokens, not just as many
    shown = [value for t, value in points if t > first and not math.isnan(value)]
    axes.axhline(0, color="black", linewidth=0.6)
    if base.early_steps is not None:
        early = [step * scale for step in base.early_steps]
        axes.axvspan(*early, color="black", alpha=0.06, linewidth=0)
    axes.set(xlim=(start * scale, 1.02 * last), ylim=padded([0.0, *shown]))


def highlighted(comparison: Comparison, variants: Iterable[Variant]) -> list[Variant]:
    """The variants that have a color: all, or the baseline and the best of many."""
    base, sign, shown = comparison.baseline, comparison.sign, list(variants)
    if len(shown) > HIGHLIGHTED:
        shown.sort(key=lambda v: (v is not base, -sign * v.mean))
    return shown[:HIGHLIGHTED]


def _draw_curve(axes: Any, curve: Band, variant: Variant, look: Look | None) -> None:
    """A curve with its band; a thin gray one without a look."""
    tokens, (mean, low, high) = list(curve), zip(*curve.values(), strict=True)
    name = {"gid": f"tooltip {variant.label}"}
    if look is None:
        axes.plot(tokens, mean, color=GRAY, linewidth=0.5, zorder=1, **name)
        return
    axes.fill_between(tokens, low, high, color=look.color, alpha=0.12, linewidth=0)
    line = {"linestyle": look.style, "markevery": max(1, len(mean) // 20), "label": variant.label}
    axes.plot(tokens, mean, **look.mark, **line, **name)


# Quality against cost


def costs(comparison: Comparison) -> Figure | None:
    """The metric against what each variant costs."""
    panels = {}
    for label, (unit, name) in LOOKS["costs"].items():
        variants = [variant for variant in comparison.variants if variant.runs]
        known = {v: cost / unit for v in variants if (cost := v.cost(name)) is not None}
        if len({*known.values()}) > 1:
            panels[label] = known
    if not panels:
        return None
    height = 0.1 * len(comparison.variants) + 1.5 * len(panels)
    figure, frames = canvas(height, len(panels), sharey=True)
    for axes, (label, known) in zip(frames, panels.items(), strict=True):
        _draw_costs(axes, known, comparison)
        axes.set_xlabel(label)
    figure.supylabel(comparison.axis)
    add_legend(figure)
    return figure


def _draw_costs(axes: Any, known: dict[Variant, float], comparison: Comparison) -> None:
    """Means and intervals; what is far worse than the others becomes a mark at the edge."""
    sign, form, look = comparison.sign, comparison.form, looks(comparison.variants)
    worst = lowest_usual([sign * variant.mean for variant in known])
    inside = [variant for variant in known if sign * variant.mean >= worst]
    reached = [value for variant in inside for value in variant.interval if not math.isnan(value)]
    bottom, top = padded(reached, 0.1)
    axes.set_ylim(bottom, top)
    for variant, cost in known.items():
        mark = look[variant.name].mark
        mean, low, high = variant.interval
        label, height = variant.label, mean
        if variant not in inside:
            label += f" ({mean:{form}}, out of range)"
            height = bottom + (0.03 if sign > 0 else 0.97) * (top - bottom)
        tooltip(axes, cost, height, f"{label}: {mean:{form}} ({bounds(variant.interval, form)})")
        axes.plot(cost, height, **mark, markersize=4.5, linestyle="", label=label)
        if variant in inside:
            axes.vlines(cost, low, high, color=mark["color"], linewidth=0.5, alpha=0.6)
    axes.margins(x=0.12)
    axes.locator_params("x", nbins=6)  # there is room for no more of six digits
    axes.grid()
