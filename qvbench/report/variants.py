"""Variants: runs gathered over their seeds, named for people, and what is asked of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from qvbench.errors import UserError
from qvbench.report.runs import Point, Run
from qvbench.report.statistics import ALPHA, Estimate, Interval, estimate, over_sentences
from qvbench.runs.identity import DEFAULTS, counted, difference
from qvbench.runs.record import Metric, score

COUNTED = "val/accuracy"  # the metric that a run's counts by sentence add up to
EARLY = 0.25  # share of the steps, after the warm-up


@dataclass(frozen=True, eq=False)
class Variant:
    """The runs of one experiment over its seeds: a row of a comparison."""

    name: str  # in its suite; the runs' folder if no suite ran them
    label: str  # for people
    runs: tuple[Run, ...]  # finished with a value of the metric, one per seed, by seed
    failed: tuple[Run, ...]  # that failed or diverged: outcomes without a value
    metric: Metric  # by which it is compared

    @property
    def record(self) -> dict[str, Any]:  # what all have in common is read off the first
        return (*self.runs, *self.failed)[0].record

    @property
    def config(self) -> Mapping[str, Any]:
        """Resolved, of the first seed; empty if none was kept."""
        return (*self.runs, *self.failed)[0].config

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What the identity counts of its config, by dotted key; empty if none was kept."""
        return counted(self.config)

    @property
    def task(self) -> str:
        """By the name that a config has for it."""
        return str(self.config.get("task", DEFAULTS["task"]))

    @property
    def network(self) -> dict[str, Any]:
        """The settings of its network, which are its size."""
        return {k: value for k, value in self.settings.items() if k.startswith("model.network.")}

    @cached_property
    def scores(self) -> dict[int, float]:
        """The last value of the metric of each seed."""
        return self.values(self.metric.name)

    @property
    def mean(self) -> float:
        """Of the scores; NaN if there are none."""
        return self.interval.mean

    @cached_property
    def interval(self) -> Interval:
        return estimate([(1, [*self.scores.values()])]).interval()

    def values(self, metric: str) -> dict[int, float]:
        """A metric by seed, of the runs that have it."""
        found = {run.seed: run.record["metrics"].get(metric) for run in self.runs}
        return {seed: float(value) for seed, value in found.items() if value is not None}

    def cost(self, name: str) -> float | None:
        """The mean over the runs of a number of their records."""
        found = [value for run in self.runs if (value := run.cost(name)) is not None]
        return fmean(found) if found else None

    @property
    def curves(self) -> list[dict[int, Point]]:
        """The points of the metric's curve of each seed, by step."""
        found = (run.curves.get(self.metric.name, []) for run in self.runs)
        return [{point.step: point for point in points} for points in found]

    @property
    def start(self) -> float | None:
        """The mean over the seeds of the metric before the first step, where all measured it."""
        first = [curve[0].value for curve in self.curves if 0 in curve]
        return fmean(first) if first and len(first) == len(self.runs) else None

    @property
    def warmed_up(self) -> int | None:
        """The step at which the warm-up has ended and all curves have begun.

        None without a curve, or without the config, which knows how long the warm-up is.
        """
        if not self.runs or not all(self.curves) or not self.settings:
            return None
        first = max(min(curve) for curve in self.curves)
        return max(first, self.settings.get("model.schedule.warmup_steps", 0))

    @cached_property
    def early_steps(self) -> tuple[int, int] | None:
        """From the end of the warm-up to a quarter of the steps; None if no curve has them."""
        if (start := self.warmed_up) is None:
            return None
        end = round(EARLY * min(max(curve) for curve in self.curves))
        return (start, end) if start < end else None

    @cached_property
    def early(self) -> list[float]:
        """The mean of each seed's curve over :attr:`early_steps`, by the trapezoidal rule."""
        if self.early_steps is None:
            return []
        start, end = self.early_steps
        heights = []
        for curve in self.curves:
            steps = [start, *(step for step in sorted(curve) if start < step < end), end]
            values = np.interp(steps, sorted(curve), [curve[step].value for step in sorted(curve)])
            area = np.diff(steps) @ (values[1:] + values[:-1]) / 2
            heights.append(float(area) / (end - start))
        return heights


Question = frozenset[tuple[tuple[Variant, ...], bool]]
"""A contrast, or its reverse: both sides, and whether in the early part of training."""


class Contrast(NamedTuple):
    """The sum of the mean scores of some variants minus that of others."""

    more: tuple[Variant, ...]
    less: tuple[Variant, ...]
    early: bool = False  # in the early part of training, instead of at its end

    @property
    def question(self) -> Question:
        """The same for a contrast and its reverse."""
        return frozenset({(self.more, self.early), (self.less, self.early)})

    @property
    def groups(self) -> list[tuple[int, Variant]]:
        """The variants, each with its sign."""
        return [*((1, variant) for variant in self.more), *((-1, variant) for variant in self.less)]

    @property
    def estimate(self) -> Estimate:
        """From all seeds of each variant, as independent: runs of one seed are not paired."""
        if not self.early:
            return estimate((sign, [*variant.scores.values()]) for sign, variant in self.groups)
        same = len({variant.early_steps for _, variant in self.groups}) == 1
        return estimate((sign, variant.early if same else []) for sign, variant in self.groups)

    def over_sentences(self, alpha: float = ALPHA) -> Interval | None:
        """Over other seeds and sentences; None unless all runs counted the same sentences."""
        variants = [variant for _, variant in self.groups]
        counts = [run.counts for variant in variants for run in variant.runs]
        known = all(counts) and all(v.runs and v.metric.name == COUNTED for v in variants)
        if self.early or not known:
            return None
        tokens = counts[0]["tokens"]
        if any(not np.array_equal(found["tokens"], tokens) for found in counts):
            return None
        correct = [
            (sign, np.array([run.counts["last_right"] for run in variant.runs], np.float64))
            for sign, variant in self.groups
        ]
        return over_sentences(correct, tokens.astype(np.float64), alpha)


# Gathering


def gather_variants(runs: Sequence[Run], one_suite: bool) -> list[Variant]:
    """Group runs, with a value or failed, by variant, in the order of their suite.

    UserError if they are measured by different metrics, or are not seeds of one experiment.
    """
    metrics = {Metric(**run.record["primary_metric"]) for run in runs}
    if len(metrics) > 1:
        names = ", ".join(sorted(metric.name for metric in metrics))
        raise UserError(f"the runs are measured by different metrics ({names}): compare them apart")
    groups: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        own = run.record.get("variant") if one_suite else None
        groups.setdefault(own or run.group, []).append(run)
    for name, group in groups.items():
        _check(name, group)
    variants = [
        Variant(
            name,
            label,
            tuple(run for run in groups[name] if has_value(run)),
            tuple(run for run in groups[name] if not has_value(run)),
            *metrics,
        )
        for name, label in labels_of({n: group[0] for n, group in sorted(groups.items())}).items()
    ]
    return sorted(variants, key=lambda v: v.record.get("sweep", {}).get("place", 0))


def has_value(run: Run) -> bool:
    """Whether it finished with a value of its metric."""
    return math.isfinite(score(run.record))


def has_ended(run: Run) -> bool:
    """Whether it has a value or failed; one that still runs or was interrupted has not ended."""
    return has_value(run) or run.record["status"] not in ("running", "interrupted")


def _check(name: str, group: list[Run]) -> None:
    first, seeds = group[0], {run.seed: run for run in group}
    for run in group:
        if (other := seeds[run.seed]) is not run:
            raise UserError(f"{run.id} and {other.id}: two runs of one seed; give one of them")
        if run.identity != first.identity:
            key = difference(first.config, run.config) or "the version of the code"
            both = f"{first.id} and {run.id} are not seeds of one experiment"
            raise UserError(f"{name}: {both}: they differ in {key}; give the runs of each alone")


LABEL = ("mechanism", "position")


def differing(labels: Iterable[Mapping[str, str]]) -> list[str]:
    """In which of mechanism and positions labels differ."""
    pairs = [[label[key] for key in LABEL] for label in labels]
    return [key for key, *values in zip(LABEL, *pairs, strict=True) if len({*values}) > 1]


def labels_of(runs: Mapping[str, Run]) -> dict[str, str]:
    """A display name for each variant, of which one run is given.

    Mechanism and positions as far as the variants differ in them; the name itself where two agree.
    """
    of = {name: run.record["label"] for name, run in runs.items()}
    differ = differing(of.values())
    if not differ and len(of) > 1:
        return {name: name for name in of}
    labels = {n: ", ".join(label[key] for key in differ or LABEL) for n, label in of.items()}
    found = list(labels.values())
    return {n: x if found.count(x) == 1 else f"{x} ({n})" for n, x in labels.items()}
