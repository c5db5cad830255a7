"""What networks attend to, where ``qvbench measure`` has read the runs: tables, figures, claim 6.

Standing text, columns and claims are in ``inside.yaml``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from qvbench.report import data
from qvbench.report.comparison import Comparison
from qvbench.report.figures import (
    GRAY,
    Look,
    add_legend,
    add_rows,
    canvas,
    log_ticks,
    looks,
    tooltip,
)
from qvbench.report.paper import JUDGMENTS, value_heads
from qvbench.report.statistics import Interval, estimate
from qvbench.report.tables import NONE, Table, bounds, extremes, markdown, number
from qvbench.report.variants import Variant

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXT = data("inside.yaml")


def over_seeds(variant: Variant, name: str, part: str = "measures") -> Interval:
    """A measure's mean and 95 % interval; NaN where no run has it."""
    values = [run.inside[part][name] for run in variant.runs if name in run.inside.get(part, {})]
    firsts = [value[0] if isinstance(value, list) else value for value in values]
    return estimate([(1, firsts)]).interval()


def measured(comparison: Comparison) -> list[Variant]:
    """The variants of which some run was measured."""
    return [v for v in comparison.variants if any(run.inside for run in v.runs)]


def _words(interval: Interval, form: str = ".3f") -> str:
    """The mean, with its interval if that is wider than the digits shown."""
    ends = bounds(interval, form)
    wider = number(interval.low, form) != number(interval.high, form)
    return number(interval.mean, form) + f" ({ends})" * (ends != NONE and wider)


# Tables


def table_section(name: str, comparison: Comparison) -> list[str]:
    """A table of one kind of measure: a row per variant, the columns that some variant fills."""
    variants = measured(comparison)
    if not variants:
        return []
    shown = TEXT["tables"][name]
    columns = [["variant", *(variant.label for variant in variants)]]
    for heading, measure in shown["columns"].items():
        cells = [_words(over_seeds(variant, measure), shown["form"]) for variant in variants]
        columns += [[heading, *cells]] if set(cells) != {NONE} else []
    table: Table = list(zip(*columns, strict=True))
    return [f"### {name}", shown["text"], markdown(table)] if len(columns) > 1 else []


def intro(comparison: Comparison) -> list[str]:
    runs = [run.inside for run in comparison.runs if run.inside]
    if not runs:
        return []
    texts, options = (" and ".join(sorted({r[key] for r in runs})) for key in ("text", "options"))
    sentences = extremes({run["sentences"] for run in runs})
    words = {"sentences": sentences, "text": texts, "options": options, "runs": len(runs)}
    return [TEXT["intro"].format(**words)]


def claims(comparison: Comparison) -> list[str]:
    """Claim 6 of the paper: each of its sentences, and the variants that support it or not."""
    rows: list[Sequence[str]] = [("what the paper says", "measure", *JUDGMENTS)]
    for claim in TEXT["claims"]:
        judged: dict[str, list[str]] = {word: [] for word in JUDGMENTS}
        for variant in measured(comparison):
            of, interval = variant.record, over_seeds(variant, claim["measure"])
            asked = claim.get("mechanism", of["mechanism"]) == of["mechanism"]
            if asked and of["position"] != claim.get("without") and not math.isnan(interval.low):
                words = f"{variant.label}: {number(interval.mean, '+.3f')}"
                judged[_judged(interval, claim)].append(words)
        if any(judged.values()):
            cells = ("; ".join(of_word) or NONE for of_word in judged.values())
            rows.append((claim["text"], _asked(claim), *cells))
    heading = "### Claim 6, exploratory"
    return [heading, TEXT["claims_text"], markdown(rows)] if len(rows) > 1 else []


def _asked(claim: Mapping[str, Any]) -> str:
    """The measure by its column in the tables, and the values that the claim allows."""
    columns = [item for table in TEXT["tables"].values() for item in table["columns"].items()]
    (heading,) = (heading for heading, measure in columns if measure == claim["measure"])
    low, high = claim.get("from"), claim.get("to")
    if low is not None and high is not None:
        return f"{heading}: {low} to {high}"
    return f"{heading}: " + (f"above {low}" if high is None else f"below {high}")


def _judged(interval: Interval, claim: Mapping[str, Any]) -> str:
    low, high = claim.get("from", -math.inf), claim.get("to", math.inf)
    if interval.low > low and interval.high < high:
        return "supported"
    return "contradicted" if interval.high < low or interval.low > high else "undecided"


# Figures


def _draw(axes: Any, interval: Interval, place: float, look: Look, words: str, **mark: Any) -> None:
    axes.hlines(place, interval.low, interval.high, color=look.color, linewidth=0.8)
    tooltip(axes, interval.mean, place, f"{words}: {_words(interval)}")
    axes.plot(interval.mean, place, linestyle="", markersize=4, **look.mark | mark)


def affinity_figure(comparison: Comparison) -> Figure | None:
    """The share of words that find their head, by relation, beside the best fixed offset."""
    variants, look = measured(comparison), looks(comparison.variants)
    offsets: dict[str, list[float]] = {}
    for variant in variants:
        for run in variant.runs:
            for relation, (_, offset, *_) in run.inside.get("relations", {}).items():
                offsets.setdefault(relation, []).append(offset)
    if not offsets:
        return None
    height = 0.11 * len(variants) + 0.14
    figure, (axes,) = canvas(0.8 + 0.13 * len(variants) + height * len(offsets))
    for place, (relation, found) in enumerate(offsets.items()):
        offset = fmean(found)
        axes.vlines(offset, place - 0.45, place + 0.45, color=GRAY, linewidth=2)
        tooltip(axes, offset, place, f"{relation}, best offset: {offset:.2f}")
        for below, variant in enumerate(variants):
            at = place + 0.8 * ((below + 0.5) / len(variants) - 0.5)
            interval = over_seeds(variant, relation, "relations")
            words = f"{relation}, {variant.label}"
            label = {"label": variant.label} if not place else {}
            _draw(axes, interval, at, look[variant.name], words, **label)
    axes.plot([], [], color=GRAY, linewidth=2, label="best fixed offset")
    axes.set_yticks(range(len(offsets)), list(offsets))
    axes.set(xlim=(-0.02, 1.02), ylim=(len(offsets) - 0.5, -0.5))
    axes.set_xlabel("words whose largest weight is on their head")
    axes.grid(axis="x")
    add_legend(figure)
    return figure


def diffusion_figure(comparison: Comparison) -> Figure | None:
    """What the paper says of queries and values, a row per variant."""
    panels = {"spread": "queries over values", "fact": "fact", "expectation": "expectation"}
    variants, look = measured(comparison), looks(comparison.variants)
    if not variants:
        return None
    figure, frames = canvas(0.7 + 0.17 * len(variants), columns=len(panels), sharey=True)
    for axes, (words, measure) in zip(frames, panels.items(), strict=True):
        axes.axvline(0, color="black", linewidth=0.6)
        for place, variant in enumerate(variants):
            _draw(axes, over_seeds(variant, measure), place, look[variant.name], variant.label)
        axes.set_xlabel(words)
        axes.locator_params(axis="x", nbins=2)
        axes.tick_params(axis="x", labelsize=5)
        axes.margins(x=0.2)
        add_rows(axes, variants)
    return figure


def distance_figure(comparison: Comparison) -> Figure | None:
    """Mean attention against distance, and the exponents of all heads."""
    variants, look = measured(comparison), looks(comparison.variants)
    if not variants:
        return None
    heights = {"height_ratios": (2.2, 0.6 + 0.17 * len(variants))}
    figure, (above, below) = canvas(3.0 + 0.27 * len(variants), 2, gridspec_kw=heights)
    below.axvline(2, color="black", linewidth=0.6)
    highest = 0.0
    for place, variant in enumerate(variants):
        own, inside = look[variant.name], [run.inside for run in variant.runs if run.inside]
        by_distance = [found["attention by distance"] for found in inside]
        reach = min(map(len, by_distance))  # of sentences that were not equally long
        mean = np.mean([means[:reach] for means in by_distance], 0)
        line = {"linestyle": own.style, "label": variant.label, "gid": f"tooltip {variant.label}"}
        above.plot(range(1, len(mean) + 1), mean, **own.mark, markevery=4, **line)
        highest = max(highest, mean[0])
        for exponents in (found["exponents"] for found in inside):
            below.plot(exponents, [place] * len(exponents), "|", color=own.color, alpha=0.35)
        _draw(below, over_seeds(variant, "exponent"), place, own, variant.label)
        rope = over_seeds(variant, "rope exponent").mean
        below.plot(rope, place, "x", color="black", markersize=5)
    at = np.array([1.0, 8.0])
    for power, style in ((1, ":"), (2, "--")):
        line = {"color": GRAY, "zorder": 1, "label": f"power law, exponent {power}"}
        above.plot(at, highest * at**-power, style, **line)
    above.set(xscale="log", yscale="log", xlabel="distance (tokens)", ylabel="mean attention")
    above.grid()
    add_rows(below, variants)
    below.grid(axis="y")
    below.set(xlim=(-1, 4), xlabel="exponent of the power law of each head")
    add_legend(figure)
    return figure


def values_figure(comparison: Comparison) -> Figure | None:
    """The minimal model: accuracy against values per layer, beside the line of `docs/inside.md`."""
    shape = comparison.variants[0].settings
    if "data.corpus.directions" not in shape:
        return None
    heads, look = shape["model.network.num_heads"], looks(comparison.variants)
    figure, (axes,) = canvas(2.8)
    counts = range(1, heads + 1)
    per_value = shape["model.network.layers"] / shape["data.corpus.directions"] ** 2
    guessed = 1 / shape["data.corpus.contents"]
    kept = [min(1, per_value * count) for count in counts]
    line = [100 * (share + (1 - share) * guessed) for share in kept]
    axes.plot(counts, line, color=GRAY, linewidth=2, label="one relation a value")
    kept_by = {variant.name: value_heads(variant) or heads for variant in comparison.variants}
    for variant in comparison.variants:
        own, (mean, low, high) = look[variant.name], variant.interval
        beside = [name for name, count in kept_by.items() if count == kept_by[variant.name]]
        shift = beside.index(variant.name) - (len(beside) - 1) / 2
        at = kept_by[variant.name] * 1.06**shift
        axes.vlines(at, low, high, color=own.color, linewidth=0.6)
        seeds = [*variant.scores.values()]
        axes.plot([at] * len(seeds), seeds, "_", color=own.color, markersize=6, alpha=0.6)
        tooltip(axes, at, mean, f"{variant.label}: {bounds(variant.interval)}")
        axes.plot(at, mean, linestyle="", label=variant.label, **own.mark)
    axes.set(xlabel="values a layer", ylabel=comparison.axis, ylim=(0, 104))
    log_ticks(axes, {2**n: str(2**n) for n in range(heads.bit_length())})
    add_legend(figure)
    return figure
