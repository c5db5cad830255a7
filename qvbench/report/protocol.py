"""What a suite's search found, and how differences depend on the budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from qvbench.report import data
from qvbench.report.comparison import Comparison
from qvbench.report.figures import WIDTH, finish, looks, pyplot, tooltip
from qvbench.report.statistics import ALPHA, estimate
from qvbench.report.tables import NONE, Table, markdown, number, per_cent, seeds_of, with_interval
from qvbench.report.variants import Variant
from qvbench.runs.record import score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXT = data("page.yaml")


class Searched(NamedTuple):
    """The search of one variant."""

    scores: Mapping[float, list[float]]  # of each value's seeds, ascending; -inf if one diverged
    chosen: float  # the value that the variant's own runs have

    def mean(self, value: float) -> float:
        """Over the seeds of a value, in the metric's own direction; ``-inf`` if one diverged."""
        return fmean(self.scores[value])


def searches(comparison: Comparison) -> dict[Variant, Searched]:
    """The search of each variant that has one."""
    found: dict[str, dict[float, list[float]]] = {}
    for run in comparison.searched:
        values = found.setdefault(run.record["variant"], {})
        values.setdefault(run.record["sweep"]["value"], []).append(
            comparison.sign * score(run.record)
        )
    return {
        variant: Searched(dict(sorted(found[variant.name].items())), chosen)
        for variant in comparison.variants
        if variant.name in found
        and (chosen := variant.record.get("sweep", {}).get("value")) is not None
    }


def search_section(comparison: Comparison) -> list[str]:
    """Every value's score, the values taken, and the differences at the baseline's own."""
    found = searches(comparison)
    if not found:
        return []
    runs, first = comparison.searched, comparison.searched[0]
    words = {
        "key": first.record["sweep"]["key"],
        "seeds": ", ".join(map(str, sorted({run.seed for run in runs}))),
        "diverged": sum(math.isinf(score(run.record)) for run in runs),
        "runs": len(runs),
        "steps": first.record.get("steps", 0),
        "split": first.config.get("data", {}).get("val_split") or "val",
        "metric": comparison.axis,
    }
    parts = [TEXT["search"].format(**words), markdown(_search_table(found, comparison.form))]
    for base in dict.fromkeys(comparison.baselines.values()):
        if base not in found:
            continue
        common = found[base].chosen
        lines = []
        for variant, one in found.items():
            others = comparison.baselines[variant] is not base
            if variant is base or others or common not in one.scores:
                continue
            own = one.mean(one.chosen) - found[base].mean(common)
            same = one.mean(common) - found[base].mean(common)
            there, at_own = (_written(value, f"+{comparison.form}") for value in (same, own))
            lines.append(f"- {variant.label}: {there} there, {at_own} at its own {one.chosen:g}")
        words = TEXT["common_value"].format(value=common, base=base.label)
        parts += [words, "\n".join(lines)]
    return parts


def _search_table(found: Mapping[Variant, Searched], form: str) -> Table:
    values = sorted({value for one in found.values() for value in one.scores})
    rows = []
    for variant, one in found.items():
        cells = []
        for value in values:
            text = _written(one.mean(value), form) if value in one.scores else NONE
            cells.append(f"**{text}**" if value == one.chosen else text)
        rows.append([variant.label, *cells])
    return [["variant", *(f"{value:g}" for value in values)], *rows]


def _written(value: float, form: str) -> str:
    return f"{value:{form}}" if math.isfinite(value) else "diverged"


def search_figure(comparison: Comparison) -> Figure | None:
    """The metric against the value searched, a line for each variant; the value taken is ringed."""
    found, look = searches(comparison), looks(comparison.variants)
    if not found:
        return None
    figure, axes = pyplot().subplots(figsize=(WIDTH, 2.6), layout="constrained")
    for variant, one in found.items():
        own = look[variant.name]
        means = {v: one.mean(v) for v in one.scores if math.isfinite(one.mean(v))}
        line = {"linestyle": own.style, "label": variant.label}
        axes.plot(*zip(*means.items(), strict=True), **own.mark, **line)
        for value, scores in one.scores.items():
            kept = list(filter(math.isfinite, scores))
            axes.plot([value] * len(kept), kept, "_", color=own.color, markersize=4, alpha=0.7)
            for height in kept:
                tooltip(
                    axes, value, height, f"{variant.label}, {value:g}: {height:{comparison.form}}"
                )
        ring = {"markersize": 8, "markerfacecolor": "none", "linestyle": ""}
        axes.plot(one.chosen, means[one.chosen], "o", color=own.color, **ring)
    ticks = sorted({value for one in found.values() for value in one.scores})
    axes.set(xlabel=comparison.searched[0].record["sweep"]["key"], ylabel=comparison.axis)
    finish(figure, axes, {value: f"{value:g}" for value in ticks})
    return figure


def by_budget(comparison: Comparison) -> dict[float, Comparison]:
    """The comparison of each budget, ascending; one alone if the suite has no several."""
    own = comparison.suite.get("budget")
    return {} if own is None else {**comparison.shorter, own: comparison}


def budget_section(comparison: Comparison) -> list[str]:
    """The difference of each variant to the baseline under each budget."""
    found = by_budget(comparison)
    if len(found) < 2 or comparison.baseline is None:
        return []
    unit, form = comparison.suite["unit"].replace("_", " "), comparison.form
    rows = [["variant", *(f"{amount:,} {unit}" for amount in found)]]
    for variant in comparison.variants:
        cells = []
        for each in found.values():
            same = each.by_name.get(variant.name)
            if same is None:
                cells.append(NONE)
            elif same is each.baseline:
                cells.append(f"{number(same.mean, form)} ({seeds_of(same)} seeds)")
            else:
                cells.append(with_interval(comparison.interval(each.rows[same]), form))
        rows.append([variant.label, *cells])
    parts = [TEXT["budgets"].format(base=comparison.baseline.label), markdown(rows)]
    if errors := _relative_errors(comparison, rows[0]):
        parts += [TEXT["relative_errors"].format(base=comparison.baseline.label), errors]
    return parts


def _relative_errors(comparison: Comparison, head: list[str]) -> str:
    """By how much more of an accuracy is still wrong than of the baseline's, under each budget.

    A difference of mean logarithms, which is a ratio of geometric means: near its bound an accuracy
    has no room for gaps in points.
    """
    found = by_budget(comparison)
    scores = [
        score for each in found.values() for v in each.variants for score in v.scores.values()
    ]
    if comparison.metric.unit != "%" or max(scores) >= 100:
        return ""
    rows = [head]
    for variant in comparison.rows:
        cells = []
        for each in found.values():
            same = each.by_name.get(variant.name)
            if same not in each.rows:
                cells.append(NONE)
                continue
            row = each.rows[same]
            errors = [
                (sign, [math.log(100 - score) for score in v.scores.values()])
                for sign, v in row.groups
            ]
            interval = estimate(errors).interval(ALPHA / comparison.questions(row))
            cells.append(with_interval(per_cent(interval), ".0f"))
        rows.append([variant.label, *cells])
    return markdown(rows)


def budget_figure(comparison: Comparison) -> Figure | None:
    """The difference to the baseline against the budget, with intervals."""
    found, look = by_budget(comparison), looks(comparison.variants)
    if len(found) < 2 or comparison.baseline is None:
        return None
    figure, axes = pyplot().subplots(figsize=(WIDTH, 2.6), layout="constrained")
    axes.axhline(0, color="black", linewidth=0.6)
    axes.axhspan(-comparison.margin, comparison.margin, color="black", alpha=0.08, linewidth=0)
    for place, variant in enumerate(comparison.rows):
        own = look[variant.name]
        shift = 1.03 ** (place - (len(comparison.rows) - 1) / 2)  # so that no bar hides another
        known = {
            amount * shift: comparison.interval(each.rows[same])
            for amount, each in found.items()
            if (same := each.by_name.get(variant.name)) in each.rows and same.runs
        }
        if not known:
            continue
        means = [interval.mean for interval in known.values()]
        axes.plot(list(known), means, **own.mark, linestyle=own.style, label=variant.label)
        ends = zip(*(interval[1:] for interval in known.values()), strict=True)
        axes.vlines(list(known), *ends, color=own.color, linewidth=0.6)
        for amount, interval in known.items():
            size = with_interval(interval, comparison.form)
            tooltip(axes, amount, interval.mean, f"{variant.label}: {size}")
    axes.set_xlabel(f"{comparison.suite['unit'].replace('_', ' ')} trained")
    base, metric = comparison.baseline.label, comparison.metric.label
    axes.set_ylabel(f"{metric} minus\nthat of {base} ({comparison.unit})")
    finish(figure, axes, {amount: f"{amount:,}" for amount in found})
    return figure
