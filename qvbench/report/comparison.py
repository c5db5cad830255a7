"""Variants over their seeds: gathered from runs, named for people, compared with a baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean
from typing import Any, NamedTuple

from qvbench.errors import UserError
from qvbench.report.runs import Point, Run
from qvbench.report.statistics import (
    MARGIN,
    Interval,
    PairedTest,
    Sentences,
    crossed,
    paired_differences,
    t_interval,
    table_of_tests,
)
from qvbench.runs.identity import counted, difference
from qvbench.runs.record import Metric

VERDICTS = ("better", "worse", "equivalent", "inconclusive")
COUNTED = "val/accuracy"  # the metric that a run's counts by sentence add up to


class Options(NamedTuple):
    """What the user gave, which a results folder keeps: None for what the suite says."""

    title: str | None = None
    baseline: str | None = None
    margin: float | None = None


@dataclass(frozen=True, eq=False)
class Variant:
    """One row of a comparison."""

    name: str  # in its suite; the runs' folder if no suite ran them
    label: str  # for people
    runs: tuple[Run, ...]  # finished and validated, one per seed, by seed
    metric: Metric  # by which it is compared

    @property
    def record(self) -> dict[str, Any]:  # what all have in common is read off the first
        return self.runs[0].record

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What counts of its config, by dotted key; empty if none was kept."""
        return counted(self.runs[0].config)

    @property
    def scores(self) -> dict[int, float]:
        """The last value of the metric of each seed."""
        return self.values(self.metric.name)

    @property
    def interval(self) -> Interval:
        return t_interval(list(self.scores.values()))

    def values(self, metric: str) -> dict[int, float]:
        """A metric by seed, of the runs that have it."""
        found = {run.seed: run.record["metrics"].get(metric) for run in self.runs}
        return {seed: float(value) for seed, value in found.items() if value is not None}

    def cost(self, name: str) -> float | None:
        """The mean over the runs of a number of their records."""
        found = [value for run in self.runs if (value := run.cost(name)) is not None]
        return fmean(found) if found else None

    @property
    def sentences(self) -> dict[int, Sentences]:
        """Counts by sentence at the last validation, by seed, where the metric is made of them."""
        counted = {run.seed: run.counts for run in self.runs if self.metric.name == COUNTED}
        return {s: Sentences(c["last_right"], c["tokens"]) for s, c in counted.items() if c}

    def curve(self) -> dict[int, dict[int, Point]]:
        """The points of the metric's curve of each seed, by step."""
        curves = {run.seed: run.curves.get(self.metric.name, []) for run in self.runs}
        return {seed: {point.step: point for point in points} for seed, points in curves.items()}


@dataclass(frozen=True, eq=False)
class Comparison:
    """Variants over their seeds; one seed each is a comparison without intervals."""

    title: str  # of its page
    variants: tuple[Variant, ...]  # in the order of their suite
    baseline: Variant | None  # that the others are compared with, if there is one
    left_out: tuple[Run, ...]  # that did not come to their end, or were never validated
    suite: Mapping[str, Any]  # what records say of the one suite that ran them all; else empty
    margin: float  # of equivalence, in the unit of the metric
    options: Options  # that the user gave
    folder: str  # of the results, as commands name it
    bleu_tests: dict[str, list[float]]  # p-values that were kept; completed when needed
    searched: tuple[Run, ...] = ()  # of the suite's search, which report nothing
    shorter: Mapping[float, Comparison] = field(default_factory=dict)  # the same by lesser budget

    @property
    def metric(self) -> Metric:
        return self.variants[0].metric

    @property
    def unit(self) -> str:
        """That of differences in the metric."""
        return "points" if self.metric.unit == "%" else self.metric.unit

    @property
    def axis(self) -> str:
        """The metric with its unit."""
        return self.metric.label + f" ({self.metric.unit})" * bool(self.metric.unit)

    @property
    def sign(self) -> int:
        """1 where more of the metric is better, else -1."""
        return 1 if self.metric.higher_is_better else -1

    @property
    def runs(self) -> list[Run]:
        return [run for variant in self.variants for run in variant.runs]

    @property
    def others(self) -> list[Variant]:
        return [variant for variant in self.variants if variant is not self.baseline]

    @cached_property
    def paired(self) -> dict[str, list[float]]:
        """The metric minus the baseline's, seed by seed, of every other variant."""
        base = self.baseline.scores if self.baseline is not None else {}
        return {v.name: paired_differences(v.scores, base) for v in self.others}

    def difference(self, variant: Variant) -> Interval | None:
        """The mean of the paired differences; None for the baseline itself."""
        paired = self.paired.get(variant.name)
        return t_interval(paired) if paired else None

    def crossed_difference(self, variant: Variant) -> Interval | None:
        """The difference over seeds and sentences; None without counts of the same sentences."""
        if self.baseline is None or variant is self.baseline:
            return None
        return crossed(variant.sentences, self.baseline.sentences)

    @cached_property
    def tests(self) -> dict[str, PairedTest]:
        """What each variant's differences show, with Holm's correction over the table."""
        return self.test(self.paired)

    def test(self, differences: Mapping[str, Sequence[float]]) -> dict[str, PairedTest]:
        """Tests of other differences in the same metric, corrected over these."""
        return table_of_tests(differences, self.margin, self.metric.higher_is_better)

    def with_verdict(self, *verdicts: str) -> list[Variant]:
        """The variants of some verdicts, by the size of their differences, the best first."""
        tests = self.tests
        found = [v for v in self.others if v.name in tests and tests[v.name].verdict in verdicts]
        return sorted(found, key=lambda v: -self.sign * tests[v.name].difference.mean)


def compare(
    runs: Sequence[Run], folder: str, options: Options, bleu_tests: dict[str, list[float]]
) -> Comparison:
    """Gather runs by variant; where a suite has several budgets, those of the largest.

    Args:
        runs: in any order.
        folder: of the results; its name is the title that neither the user nor a suite gave.
        options: instead of what the suite says.
        bleu_tests: p-values that were kept; changed to those that are used.

    Raises:
        UserError: no run is finished, or they are not seeds of comparable experiments.
    """
    searched: list[Run] = []
    by_budget: dict[float, list[Run]] = {}
    for run in runs:
        sweep = run.record.get("sweep", {})
        if sweep.get("of_search"):
            searched.append(run)
        else:
            by_budget.setdefault(sweep.get("budget", 0), []).append(run)
    compared = {
        amount: _compare(by_budget[amount], folder, options, bleu_tests)
        for amount in sorted(by_budget)
    }
    if not compared:
        raise UserError("these are the runs of a search alone, which report nothing")
    _, last = compared.popitem()
    return replace(last, searched=tuple(searched), shorter=compared)


def _compare(
    runs: Sequence[Run], folder: str, options: Options, bleu_tests: dict[str, list[float]]
) -> Comparison:
    sound = [run for run in runs if _is_sound(run)]
    metrics = {Metric(**run.record["primary_metric"]) for run in sound or runs}
    names = ", ".join(sorted(metric.name for metric in metrics))
    if not sound:
        raise UserError(f"no finished run with a value of {names}: {', '.join(r.id for r in runs)}")
    if len(metrics) > 1:
        raise UserError(f"the runs are measured by different metrics ({names}): compare them apart")
    groups: dict[str, list[Run]] = {}
    one_suite = len({run.record.get("suite") for run in sound}) == 1
    suite: dict[str, Any] = sound[0].record.get("sweep", {}) if one_suite else {}
    for run in sorted(sound, key=lambda run: run.seed):
        own = run.record.get("variant") if one_suite else None
        groups.setdefault(own or run.id.rpartition("/")[0], []).append(run)
    for name, group in groups.items():
        _check(name, group)
    labels = labels_of({name: group[0] for name, group in sorted(groups.items())})
    variants = [Variant(n, label, tuple(groups[n]), *metrics) for n, label in labels.items()]
    variants.sort(key=lambda v: v.record.get("sweep", {}).get("place", 0))
    wanted = options.baseline or suite.get("baseline")
    baseline = next((variant for variant in variants if variant.name == wanted), None)
    if baseline is None and options.baseline is not None:
        raise UserError(f"--baseline {wanted}: no such variant; known: {', '.join(labels)}")
    return Comparison(
        options.title or suite.get("title") or folder.rpartition("/")[2],
        tuple(variants),
        baseline,
        tuple(run for run in runs if not _is_sound(run)),
        suite,
        suite.get("margin", MARGIN) if options.margin is None else options.margin,
        options,
        folder,
        bleu_tests,
    )


def _is_sound(run: Run) -> bool:
    value = run.record["metrics"].get(run.record["primary_metric"]["name"])
    return run.record["status"] == "finished" and value is not None and math.isfinite(value)


def _check(name: str, group: list[Run]) -> None:
    first, seeds = group[0], {run.seed: run for run in group}
    for run in group:
        if (other := seeds[run.seed]) is not run:
            raise UserError(f"{run.id} and {other.id}: two runs of one seed; give one of them")
        if run.identity != first.identity:
            key = difference(first.config, run.config) or "the version of the code"
            both = f"{first.id} and {run.id} are not seeds of one experiment"
            raise UserError(f"{name}: {both}: they differ in {key}; give the runs of each alone")


def labels_of(runs: Mapping[str, Run]) -> dict[str, str]:
    """A display name for each variant, of which one run is given: what sets it apart.

    Its own name where that is not it.
    """
    of = {name: run.record["label"] for name, run in runs.items()}
    parts = {name: (label["mechanism"], label["position"]) for name, label in of.items()}
    differ = [i for i in (0, 1) if len({part[i] for part in parts.values()}) > 1]
    if not differ and len(parts) > 1:
        return {name: name for name in parts}
    labels = {n: ", ".join(part[i] for i in differ or (0, 1)) for n, part in parts.items()}
    found = list(labels.values())
    return {n: x if found.count(x) == 1 else f"{x} ({n})" for n, x in labels.items()}
