"""The search of a suite for each variant's value of a setting, such as the learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from qvbench.errors import UserError
from qvbench.report import data
from qvbench.report.comparison import Comparison
from qvbench.report.figures import add_legend, canvas, log_ticks, looks, seed_ticks, tooltip
from qvbench.report.runs import Run
from qvbench.report.tables import NONE, markdown, signs
from qvbench.report.variants import Variant, has_ended, labels_of
from qvbench.runs.record import score
from qvbench.sweep.plan import ENDED
from qvbench.sweep.suite import EXTENSIONS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXT = data("page.yaml")


class Searched(NamedTuple):
    """The search of one variant."""

    # Of each value's seeds, ascending; infinite of a run that diverged, NaN of one that failed.
    scores: Mapping[float, list[float]]
    chosen: float  # the value that the variant's own runs have

    def mean(self, value: float) -> float:
        """Over the seeds of a value; infinite if one of them diverged, NaN if one failed."""
        return fmean(self.scores[value])


def searches(comparison: Comparison) -> dict[Variant, Searched]:
    """The search of each variant whose own runs have one of the values that were searched."""
    found: dict[Variant, Searched] = {}
    scores = _scores(comparison.searched)
    for variant in comparison.variants:
        chosen = variant.record.get("sweep", {}).get("value")
        if chosen in scores.get(variant.name, {}):
            found[variant] = Searched(scores[variant.name], chosen)
    return found


def _scores(runs: Sequence[Run]) -> dict[str, dict[float, list[float]]]:
    """The primary metric of a search's runs by variant and value, ascending."""
    scores: dict[str, dict[float, list[float]]] = {}
    for run in sorted(runs, key=lambda run: run.record["sweep"]["value"]):
        of_variant = scores.setdefault(run.record["variant"], {})
        of_variant.setdefault(run.record["sweep"]["value"], []).append(_score(run))
    return scores


def _score(run: Run) -> float:
    sign = 1 if run.record["primary_metric"]["higher_is_better"] else -1
    own = sign * score(run.record)
    return own if math.isfinite(own) or run.record["status"] in ENDED else math.nan


def is_search_alone(runs: Sequence[Run]) -> bool:
    """Whether no variant has a run of its own yet, not even one that is under way."""
    return all(run.record.get("sweep", {}).get("of_search") for run in runs)


def search_alone_page(runs: Sequence[Run], title: str | None) -> str:
    """What is known before any variant has a run of its own: the score of every value.

    UserError if no run has ended.
    """
    ended = [run for run in runs if has_ended(run)]
    if not ended:
        raise UserError("no finished run")
    record, scores = ended[0].record, _scores(ended)
    labels = labels_of({run.record["variant"]: run for run in ended})
    words = _words(ended) | {"metric": record["primary_metric"]["label"]}
    texts = {
        labels[name]: {v: _written(fmean(found), ".3f") for v, found in scores[name].items()}
        for name in filter(scores.__contains__, record["sweep"]["rows"])
    }
    title = title or record["sweep"].get("title") or record["suite"]
    return signs(f"# {title}\n\n{TEXT['search_alone'].format(**words)}\n\n{_table(texts)}\n")


def search_section(comparison: Comparison) -> list[str]:
    """The score of every value, the value chosen, and the differences at the baseline's."""
    found = searches(comparison)
    if not found:
        return []
    words = _words(comparison.searched) | {"metric": comparison.axis}
    texts: dict[str, dict[float, str]] = {}
    for variant, one in found.items():
        own = {v: _written(one.mean(v), comparison.form) for v in one.scores}
        texts[variant.label] = own | {one.chosen: f"**{own[one.chosen]}**"}
    edges = [
        f"{variant.label} ({one.chosen:g})"
        for variant, one in found.items()
        if one.chosen in (min(one.scores), max(one.scores))
    ]
    edge = f" {TEXT['search_edge']}".format(variants="; ".join(edges)) * bool(edges)
    parts = [TEXT["search"].format(**words) + edge, _table(texts)]
    for base in dict.fromkeys(comparison.baselines.values()):
        if base in found:
            parts += _at_value_of(base, found, comparison)
    return parts


def _table(texts: Mapping[str, Mapping[float, str]]) -> str:
    """A row for each variant, a column for each value."""
    values = sorted({value for own in texts.values() for value in own})
    rows = [[name, *(own.get(value, NONE) for value in values)] for name, own in texts.items()]
    return markdown([["variant", *(f"{value:g}" for value in values)], *rows])


def _words(runs: Sequence[Run]) -> dict[str, Any]:
    """What the page says of a search."""
    first, scores = runs[0], [_score(run) for run in runs]
    diverged, failed = (sum(map(ended_so, scores)) for ended_so in (math.isinf, math.isnan))
    return {
        "key": first.record["sweep"]["key"],
        "seeds": ", ".join(map(str, sorted({run.seed for run in runs}))),
        "without": f"{diverged} diverged" + f" and {failed} failed" * bool(failed),
        "extensions": EXTENSIONS,
        "runs": len(runs),
        "steps": max(run.record.get("steps", 0) for run in runs),  # of one that did not diverge
        "split": first.config.get("data", {}).get("val_split") or "val",
    }


def _at_value_of(
    base: Variant, found: Mapping[Variant, Searched], comparison: Comparison
) -> list[str]:
    """Differences to a baseline at its own value, and at each variant's."""
    common = found[base].chosen
    at_base = found[base].mean(common)
    lines = []
    for variant, one in found.items():
        if variant is not base is comparison.baselines[variant] and common in one.scores:
            differences = (one.mean(value) - at_base for value in (common, one.chosen))
            there, at_own = (_written(value, f"+{comparison.form}") for value in differences)
            lines.append(f"- {variant.label}: {there} there, {at_own} at its own {one.chosen:g}")
    if not lines or not math.isfinite(at_base):
        return []
    return [TEXT["common_value"].format(value=common, base=base.label), "\n".join(lines)]


def _written(value: float, form: str) -> str:
    if math.isfinite(value):
        return f"{value:{form}}"
    return "failed" if math.isnan(value) else "diverged"


def search_figure(comparison: Comparison) -> Figure | None:
    """The metric against the value, a line for each variant; the value chosen is ringed."""
    found, look = searches(comparison), looks(comparison.variants)
    if not found:
        return None
    figure, (axes,) = canvas(2.6)
    for variant, one in found.items():
        own = look[variant.name]
        means = {v: one.mean(v) for v in one.scores if math.isfinite(one.mean(v))}
        line = {"linestyle": own.style, "label": variant.label}
        axes.plot(*zip(*means.items(), strict=True), **own.mark, **line)
        for value, scores in one.scores.items():
            kept = list(filter(math.isfinite, scores))
            seed_ticks(axes, value, kept, own.color)
            for height in kept:
                text = f"{variant.label}, {value:g}: {height:{comparison.form}}"
                tooltip(axes, value, height, text)
        ring = {"markersize": 8, "markerfacecolor": "none", "linestyle": ""}
        if one.chosen in means:
            axes.plot(one.chosen, means[one.chosen], "o", color=own.color, **ring)
    ticks = sorted({value for one in found.values() for value in one.scores})
    axes.set(xlabel=comparison.searched[0].record["sweep"]["key"], ylabel=comparison.axis)
    log_ticks(axes, {value: f"{value:g}" for value in ticks})
    add_legend(figure)
    return figure
