"""How results change with the size of the network, and along the context of a language model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from qvbench.report import data
from qvbench.report.comparison import Comparison
from qvbench.report.figures import WIDTH, finish, looks, lowest_usual, pyplot, tooltip
from qvbench.report.statistics import ALPHA, Estimate, estimate
from qvbench.report.tables import NONE, Table, markdown, number, with_interval
from qvbench.report.variants import Variant

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXT = data("page.yaml")

# Against the size


def by_kind(comparison: Comparison) -> dict[str, dict[float, Variant]]:
    """The variants of each mechanism by the parameters of the baseline at their size, ascending;
    the baseline's own first."""
    found: dict[str, dict[float, Variant]] = {}
    for base, *others in comparison.sizes:
        parameters = base.cost("parameters/total")
        if parameters is not None:
            for variant in (base, *others):
                found.setdefault(comparison.kind(variant), {})[parameters] = variant
    return found


def slope(comparison: Comparison, variants: Mapping[float, Variant]) -> Estimate | None:
    """By how much a mechanism's difference to the baseline grows with ten times the parameters.

    That of the least-squares line through the differences against the logarithm of the parameters,
    which is a weighted sum of the means of the seeds: its error is theirs. None of fewer than three
    sizes, or of single seeds.
    """
    known = {size: v for size, v in variants.items() if v in comparison.rows and v.runs}
    if len(known) < 3:
        return None
    places = [math.log10(size) for size in known]
    middle = sum(places) / len(places)
    width = sum((place - middle) ** 2 for place in places)
    groups = [
        (sign * (place - middle) / width, [*of.scores.values()])
        for place, variant in zip(places, known.values(), strict=True)
        for sign, of in comparison.rows[variant].groups
    ]
    found = estimate(groups)
    return None if math.isnan(found.error) else found


def slopes(comparison: Comparison) -> dict[str, Estimate]:
    """Of the mechanisms that have one."""
    found = {kind: slope(comparison, own) for kind, own in by_kind(comparison).items()}
    return {kind: estimated for kind, estimated in found.items() if estimated is not None}


def answer(comparison: Comparison) -> list[str]:
    """The slopes, for the first lines of a page."""
    found = slopes(comparison)
    said = "; ".join(f"{kind}, {_slope(comparison, of, len(found))}" for kind, of in found.items())
    return [f"**With ten times the parameters the difference moves by:** {said}."] if said else []


def size_section(comparison: Comparison) -> list[str]:
    """The difference of each mechanism to the baseline at every size, and its slope."""
    kinds, found = by_kind(comparison), slopes(comparison)
    if not kinds:
        return []
    base, *_ = kinds
    head = ["variant", *(_size(size, of) for size, of in kinds[base].items()), "slope"]
    rows = [
        [
            kind,
            *(_cell(comparison, own.get(size)) for size in kinds[base]),
            _slope(comparison, found.get(kind), len(found)),
        ]
        for kind, own in kinds.items()
    ]
    return [TEXT["sizes"].format(base=base, unit=comparison.unit), markdown([head, *rows])]


def _cell(comparison: Comparison, variant: Variant | None) -> str:
    if variant in comparison.rows:
        return with_interval(comparison.interval(comparison.rows[variant]), comparison.form)
    return NONE if variant is None else number(variant.mean, comparison.form)


def _size(parameters: float, variant: Variant) -> str:
    width = variant.settings.get("model.network.d_model")
    return f"{parameters:,.0f} parameters" + f", {width} wide" * bool(width)


def _slope(comparison: Comparison, found: Estimate | None, questions: int) -> str:
    if found is None:
        return NONE
    interval = found.interval(ALPHA / questions)
    word = "undecided"
    if interval.low > 0 or interval.high < 0:
        word = "in its favor" if comparison.sign * found.mean > 0 else "against it"
    return f"{with_interval(interval, comparison.form)}: {word}"


def size_figure(comparison: Comparison) -> Figure | None:
    """The metric, and the difference to the baseline, against the baseline's parameters."""
    kinds, look = by_kind(comparison), looks(comparison.variants)
    if not kinds:
        return None
    figure, (above, below) = pyplot().subplots(
        2, figsize=(WIDTH, 4), sharex=True, layout="constrained"
    )
    below.axhline(0, color="black", linewidth=0.6)
    below.axhspan(-comparison.margin, comparison.margin, color="black", alpha=0.08, linewidth=0)
    for place, (kind, variants) in enumerate(kinds.items()):
        shift = 1.03 ** (place - len(kinds) / 2)  # so that no bar hides another
        own = look[next(iter(variants.values())).name]
        known = {size: variant for size, variant in variants.items() if variant.runs}
        if not known:
            continue
        means = [variant.mean for variant in known.values()]
        above.plot(list(known), means, **own.mark, linestyle=own.style, label=kind)
        for size, variant in known.items():
            tooltip(above, size, variant.mean, f"{kind}: {variant.mean:{comparison.form}}")
        gaps = {
            size: comparison.interval(comparison.rows[variant])
            for size, variant in known.items()
            if variant in comparison.rows
        }
        for size, interval in gaps.items():
            below.plot(size * shift, interval.mean, **own.mark, linestyle="")
            below.vlines(size * shift, interval.low, interval.high, color=own.color, linewidth=0.6)
            tooltip(
                below,
                size * shift,
                interval.mean,
                f"{kind}: {with_interval(interval, comparison.form)}",
            )
        if (found := slope(comparison, variants)) is not None:
            center = sum(math.log10(size) for size in gaps) / len(gaps)
            height = sum(interval.mean for interval in gaps.values()) / len(gaps)
            ends = [height + found.mean * (math.log10(size) - center) for size in gaps]
            below.plot([size * shift for size in gaps], ends, color=own.color, linewidth=0.6)
    above.set_ylabel(comparison.axis)
    below.set(
        xlabel="parameters", ylabel=f"minus that of {comparison.against}\n({comparison.unit})"
    )
    above.grid(alpha=0.3)
    ticks = {size: f"{size:,.0f}" for size in next(iter(kinds.values()))}
    finish(figure, below, ticks, above.get_legend_handles_labels())
    return figure


# Along the context


def by_position(comparison: Comparison) -> dict[Variant, dict[int, Estimate]]:
    """The loss of each variant by the first position that it counts, ascending."""
    prefix, found = f"{comparison.metric.name}_at_", {}
    for variant in comparison.variants:
        names = {name for run in variant.runs for name in run.record["metrics"]}
        starts = sorted(int(n.removeprefix(prefix)) for n in names if n.startswith(prefix))
        own = {s: estimate([(1, [*variant.values(f"{prefix}{s}").values()])]) for s in starts}
        if own:
            found[variant] = own
    return found


def context_section(comparison: Comparison) -> list[str]:
    """The loss of each variant by position in the window."""
    found = by_position(comparison)
    starts = sorted({start for own in found.values() for start in own})
    if len(starts) < 2:
        return []
    ends = [f" to {start - 1:,}" for start in starts[1:]]
    rows: Table = [
        ["variant", *(f"{s:,}{end}" for s, end in zip(starts, [*ends, " and on"], strict=True))],
        *(
            [v.label, *(number(own[s].mean, ".3f") if s in own else NONE for s in starts)]
            for v, own in found.items()
        ),
    ]
    return [TEXT["context"].format(trained=starts[1]), markdown(rows)]


def context_figure(comparison: Comparison) -> Figure | None:
    """The loss against the position, a line for each variant."""
    found, look = by_position(comparison), looks(comparison.variants)
    starts = sorted({start for own in found.values() for start in own})
    if len(starts) < 2:
        return None
    figure, axes = pyplot().subplots(figsize=(WIDTH, 3.2), layout="constrained")
    # Twice the position for every mark; the first, 0, half of the second.
    places = {start: start or starts[1] / 2 for start in starts}
    heights: list[float] = []
    for variant, losses in found.items():
        own = look[variant.name]
        spans = {places[start]: loss.interval() for start, loss in losses.items()}
        means = [span.mean for span in spans.values()]
        heights += means
        axes.plot(list(spans), means, **own.mark, linestyle=own.style, label=variant.label)
        for place, span in spans.items():
            axes.vlines(place, span.low, span.high, color=own.color, linewidth=0.5, alpha=0.6)
            tooltip(axes, place, span.mean, f"{variant.label}: {span.mean:.3f}")
    top = -lowest_usual([-height for height in heights])
    margin = 0.06 * (top - min(heights)) or 0.1
    axes.set(xlabel="from position", ylabel=comparison.axis)
    axes.set_ylim(min(heights) - margin, top + margin)
    finish(figure, axes, {place: f"{start:,}" for start, place in places.items()})
    return figure
