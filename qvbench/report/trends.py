"""How results change with size and budget, and along the context of a language model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qvbench.report import data
from qvbench.report.comparison import Comparison
from qvbench.report.figures import (
    WIDTH,
    add_legend,
    canvas,
    log_ticks,
    looks,
    lowest_usual,
    padded,
    seed_ticks,
    tooltip,
)
from qvbench.report.statistics import ALPHA, Estimate, estimate
from qvbench.report.tables import (
    NONE,
    Table,
    markdown,
    number,
    per_cent,
    seeds_of,
    with_interval,
)
from qvbench.report.variants import Contrast, Variant, labels_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXT = data("page.yaml")


class Entry(NamedTuple):
    """A variant at one size or budget."""

    variant: Variant
    row: Contrast | None  # against the baseline there; None for the baseline itself


Trend = dict[float, Entry]
"""A mechanism by size, or a variant by budget, ascending."""


def _rows(trend: Trend) -> dict[float, Contrast]:
    """The differences to the baseline that are known."""
    rows = {place: entry.row for place, entry in trend.items()}
    return {p: row for p, row in rows.items() if row and not math.isnan(row.estimate.mean)}


def _table(
    trends: Mapping[str, Trend], columns: Mapping[float, str], cell: Callable[[Entry], str]
) -> list[list[str]]:
    """A row for each name, a column for each size or budget."""
    rows = [
        [name, *(cell(trend[place]) if place in trend else NONE for place in columns)]
        for name, trend in trends.items()
    ]
    return [["variant", *columns.values()], *rows]


def _value(comparison: Comparison, entry: Entry) -> str:
    """The difference to the baseline (the baseline's own mean), and how many seeds failed."""
    variant, row = entry
    if row is None:
        text = f"{number(variant.mean, comparison.form)} ({len(variant.runs)} seeds)"
    else:
        text = with_interval(comparison.interval(row), comparison.form)
    return text + f"; {seeds_of(variant)}" * bool(variant.failed)


def _draw_differences(
    axes: Any, comparison: Comparison, trends: Mapping[str, Trend], **options: Any
) -> None:
    """The differences to the baseline with their intervals, over the margin of equivalence."""
    look = looks(comparison.variants)
    axes.axhline(0, color="black", linewidth=0.6)
    axes.axhspan(-comparison.margin, comparison.margin, color="black", alpha=0.08, linewidth=0)
    known = {name: _rows(trend) for name, trend in trends.items() if _rows(trend)}
    for place, (name, rows) in enumerate(known.items()):
        own = look[next(iter(trends[name].values())).variant.name]
        shift = _shift(place, len(known))
        spans = {at * shift: comparison.interval(row) for at, row in rows.items()}
        means, lows, highs = zip(*spans.values(), strict=True)
        line = own.mark | {"linestyle": own.style, "label": name} | options
        axes.plot(list(spans), means, **line)
        axes.vlines(list(spans), lows, highs, color=own.color, linewidth=0.6)
        for at, span in spans.items():
            tooltip(axes, at, span.mean, f"{name}: {with_interval(span, comparison.form)}")


def _shift(place: int, count: int) -> float:
    """The factor along a logarithmic axis that keeps the marks of one row from hiding another's."""
    return 1.03 ** (place - (count - 1) / 2)


# Against the budget


def by_budget(comparison: Comparison) -> dict[str, Trend]:
    """The variants by budget, where the baseline has a value too; empty without two budgets."""
    found = comparison.by_budget
    if len(found) < 2 or comparison.baseline is None:
        return {}
    return {
        variant.label: {
            budget: Entry(same, each.rows.get(same))
            for budget, each in found.items()
            if (same := each.by_name.get(variant.name)) in each.baselines
        }
        for variant in comparison.variants
    }


def budget_section(comparison: Comparison) -> list[str]:
    """The difference of each variant to the baseline under each budget."""
    trends, base = by_budget(comparison), comparison.baseline
    if not trends or base is None:
        return []
    unit = comparison.suite["unit"].replace("_", " ")
    columns = {budget: f"{budget:,} {unit}" for budget in comparison.by_budget}
    table = _table(trends, columns, lambda entry: _value(comparison, entry))
    starts = {variant.label: variant.start for variant in comparison.variants}
    if None not in starts.values():
        table[0].insert(1, "before training")
        for row in table[1:]:
            row.insert(1, number(starts[row[0]], comparison.form))
    parts = [TEXT["budgets"].format(base=base.label), markdown(table)]
    entries = [entry for trend in trends.values() for entry in trend.values()]
    scores = [score for entry in entries for score in entry.variant.scores.values()]
    if comparison.metric.unit != "%" or max(scores, default=100) >= 100:
        return parts
    others = {name: trend for name, trend in trends.items() if name != base.label}
    table = _table(others, columns, lambda entry: _relative_error(comparison, entry))
    return [*parts, TEXT["relative_errors"].format(base=base.label), markdown(table)]


def _relative_error(comparison: Comparison, entry: Entry) -> str:
    """The error rate relative to the baseline's, in per cent more.

    A difference of mean logarithms, which is a ratio of geometric means: near 100 % an accuracy has
    no room for gaps in points.
    """
    if entry.row is None:
        return NONE
    errors = [
        (sign, [math.log(100 - score) for score in variant.scores.values()])
        for sign, variant in entry.row.groups
    ]
    interval = estimate(errors).interval(ALPHA / comparison.questions(entry.row))
    return with_interval(per_cent(interval), ".0f")


def budget_figure(comparison: Comparison) -> Figure | None:
    """The difference to the baseline against the budget, with intervals."""
    trends, base = by_budget(comparison), comparison.baseline
    if not trends or base is None:
        return None
    figure, (axes,) = canvas(2.6)
    _draw_differences(axes, comparison, trends)
    axes.set_xlabel(f"{comparison.suite['unit'].replace('_', ' ')} trained")
    label = f"{comparison.metric.label} minus\nthat of {base.label} ({comparison.unit})"
    axes.set_ylabel(label)
    log_ticks(axes, {budget: f"{budget:,}" for budget in comparison.by_budget})
    add_legend(figure)
    return figure


# Against the size


def by_size(comparison: Comparison) -> dict[str, Trend]:
    """The mechanisms by the parameters of the baseline at each size, the baseline's own first."""
    found: dict[str, Trend] = {}
    for base, *others in comparison.sizes:
        parameters = base.cost("parameters/total")
        if parameters is not None:
            for variant in (base, *others):
                kind = comparison.kind(variant)
                if parameters in found.get(kind, {}):  # they differ in something else
                    kind = f"{kind}, {variant.name}"
                entry = Entry(variant, comparison.rows.get(variant))
                found.setdefault(kind, {})[parameters] = entry
    return found


def slope(trend: Trend) -> Estimate | None:
    """By how much a mechanism's difference to the baseline grows with ten times the parameters.

    That of the least-squares line through the differences against the logarithm of the parameters,
    which is a weighted sum of the means of the seeds: its error is theirs. None of fewer than three
    sizes, or of single seeds.
    """
    rows = _rows(trend)
    if len(rows) < 3:
        return None
    places = np.log10(list(rows))
    weights = (places - places.mean()) / np.square(places - places.mean()).sum()
    groups = [
        (sign * weight, [*variant.scores.values()])
        for weight, row in zip(weights.tolist(), rows.values(), strict=True)
        for sign, variant in row.groups
    ]
    found = estimate(groups)
    return None if math.isnan(found.error) else found


def slopes(comparison: Comparison, trends: Mapping[str, Trend]) -> dict[str, Estimate]:
    """Of the mechanisms that have one. In recall none has: from chance to all answers right, a
    difference rises and falls again."""
    if comparison.variants[0].task == "recall":
        return {}
    return {kind: found for kind, trend in trends.items() if (found := slope(trend)) is not None}


def answer(comparison: Comparison) -> list[str]:
    """The slopes, for the first lines of a page."""
    found = slopes(comparison, by_size(comparison))
    said = "; ".join(f"{kind}, {_slope(comparison, of, len(found))}" for kind, of in found.items())
    return [f"**With ten times the parameters the difference moves by:** {said}."] if said else []


def size_section(comparison: Comparison) -> list[str]:
    """The difference of each mechanism to the baseline at every size, and its slope."""
    trends = by_size(comparison)
    if not trends:
        return []
    base, found = next(iter(trends)), slopes(comparison, trends)
    columns = {size: _size(size, entry.variant) for size, entry in trends[base].items()}
    head, *rows = _table(trends, columns, lambda entry: _value(comparison, entry))
    text = TEXT["sizes"]
    if found:
        head.append("slope")
        rows = [[*row, _slope(comparison, found.get(row[0]), len(found))] for row in rows]
        costs = [entry.variant.cost("steps") for entry in trends[base].values()]
        steps = [count for count in costs if count is not None]
        longer = len({*steps}) > 1 and steps == sorted(steps)
        text += f" {TEXT['slopes']}" + f" {TEXT['sizes_and_steps']}" * longer
    return [text.format(base=base, unit=comparison.unit), markdown([head, *rows])]


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
    trends, look = by_size(comparison), looks(comparison.variants)
    if not trends:
        return None
    fitted = slopes(comparison, trends)
    figure, (above, below) = canvas(4, 2, sharex=True)
    for place, (kind, trend) in enumerate(trends.items()):
        own = look[next(iter(trend.values())).variant.name]
        means = {size: entry.variant.mean for size, entry in trend.items()}
        above.plot(list(means), list(means.values()), **own.mark, linestyle=own.style, label=kind)
        for size, entry in trend.items():
            at, mean = size * _shift(place, len(trends)), entry.variant.mean
            seed_ticks(above, at, entry.variant.scores.values(), own.color)
            tooltip(above, size, mean, f"{kind}: {mean:{comparison.form}}")
        if found := fitted.get(kind):
            rows = _rows(trend)
            height = fmean(row.estimate.mean for row in rows.values())
            places = np.log10(list(rows))
            ends = height + found.mean * (places - places.mean())
            below.plot(list(rows), ends, color=own.color, linewidth=0.6)
    _draw_differences(below, comparison, trends, linestyle="")
    above.set_ylabel(comparison.axis)
    difference = f"minus that of {comparison.against}\n({comparison.unit})"
    below.set(xlabel="parameters", ylabel=difference)
    above.grid()
    log_ticks(below, {size: f"{size:,.0f}" for size in next(iter(trends.values()))})
    add_legend(figure)
    return figure


# Along the context


def by_position(comparison: Comparison) -> dict[Variant, dict[int, Estimate]]:
    """The loss of each variant by the first position of a span, ascending."""
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
    """The loss against the position: a panel for each scheme, in it a line for each variant."""
    found = by_position(comparison)
    starts = sorted({start for own in found.values() for start in own})
    if len(starts) < 2:
        return None
    schemes: dict[str, list[Variant]] = {}
    for variant in found:
        schemes.setdefault(variant.record["label"]["position"], []).append(variant)
    rows, columns = math.ceil(len(schemes) / 4), min(len(schemes), 4)
    width = WIDTH * (1 if columns == 1 else 2)
    figure, (*panels,) = canvas(1.2 + 1.2 * rows, rows, columns, width, sharex=True, sharey=True)
    # Twice the position for every mark; the first, 0, half of the second.
    places = {start: start or starts[1] / 2 for start in starts}
    heights: list[float] = []
    for axes, (scheme, variants) in zip(panels, schemes.items(), strict=False):
        axes.set_title(scheme)
        look, labels = looks(variants), labels_of({v.name: v.runs[0] for v in variants})
        for variant in variants:
            own, label = look[variant.name], labels[variant.name]
            spans = {places[start]: loss.interval() for start, loss in found[variant].items()}
            means = [span.mean for span in spans.values()]
            heights += means
            axes.plot(list(spans), means, **own.mark, label=label)
            for place, span in spans.items():
                axes.vlines(place, span.low, span.high, color=own.color, linewidth=0.5, alpha=0.6)
                tooltip(axes, place, span.mean, f"{variant.label}: {span.mean:.3f}")
        log_ticks(axes, {place: f"{start:,}" for start, place in places.items()})
        axes.tick_params("x", labelrotation=45, labelbottom=True)
    for axes in panels[len(schemes) :]:
        axes.remove()
    top = -lowest_usual([-height for height in heights])
    panels[0].set_ylim(padded([min(heights), top]))
    figure.supxlabel("from position")
    figure.supylabel(comparison.axis)
    add_legend(figure)
    return figure
