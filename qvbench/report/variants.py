"""Runs by variant: the seeds of one and the same thing, and the baseline of the comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from qvbench.errors import UserError
from qvbench.report.bootstrap import Sentences, crossed, less
from qvbench.report.load import Point, Run
from qvbench.report.significance import MARGIN, PairedTest, table_of_tests
from qvbench.report.statistics import Interval, paired_differences, t_interval
from qvbench.runs.identity import difference

ACCURACY = "val/accuracy"


@dataclass(frozen=True)
class Variant:
    """One row of a comparison.

    Args:
        name: of the variant in its suite; of the runs' folder if no suite ran them.
        runs: finished and validated, one a seed, by seed.
    """

    name: str
    runs: tuple[Run, ...]

    @property
    def record(self) -> dict[str, Any]:
        """What all its runs have in common is read off the first."""
        return self.runs[0].record

    @property
    def accuracies(self) -> dict[int, float]:
        """The last validation accuracy of each seed, per cent."""
        return self.values(ACCURACY)

    @property
    def accuracy(self) -> Interval:
        return t_interval(list(self.accuracies.values()))

    def values(self, metric: str) -> dict[int, float]:
        """A metric by seed, of the runs that have it."""
        found = {run.record["seed"]: run.record["metrics"].get(metric) for run in self.runs}
        return {seed: float(value) for seed, value in found.items() if value is not None}

    def mean(self, number: Callable[[Run], float | None]) -> float | None:
        """The mean of what the runs cost or held."""
        found = [value for value in map(number, self.runs) if value is not None]
        return fmean(found) if found else None

    @property
    def crossed(self) -> Interval | None:
        """Accuracy over seeds and sentences; nothing where a run kept no counts by sentence."""
        return crossed(self.counts)

    @property
    def counts(self) -> dict[int, Sentences]:
        """Right tokens and tokens by sentence at the last validation, by seed."""
        return {
            run.record["seed"]: Sentences(kept["last_right"], kept["tokens"])
            for run in self.runs
            if (kept := run.samples.sentences) is not None
        }

    def curve(self, metric: str) -> list[list[Point]]:
        """The points of each validation that all seeds have reached, by step."""
        by_step: dict[int, list[Point]] = {}
        for run in self.runs:
            for point in run.curves.get(metric, []):
                by_step.setdefault(point.step, []).append(point)
        return [by_step[step] for step in sorted(by_step) if len(by_step[step]) == len(self.runs)]


@dataclass(frozen=True)
class Comparison:
    """Variants over their seeds.

    Args:
        variants: in the order of their suite.
        baseline: that the others are compared with, if there is one.
        left_out: runs that did not come to their end, or were never validated.
        margin: points within which two variants count as equivalent.
    """

    variants: tuple[Variant, ...]
    baseline: Variant | None
    left_out: tuple[Run, ...]
    margin: float = MARGIN

    @property
    def runs(self) -> list[Run]:
        return [run for variant in self.variants for run in variant.runs]

    @property
    def sweep(self) -> dict[str, Any]:
        """What the records say of the one suite that ran them all; empty if none did."""
        runs = self.runs
        suites = {run.record.get("suite") for run in runs}
        return runs[0].record.get("sweep", {}) if len(suites) == 1 else {}

    def difference(self, variant: Variant) -> Interval | None:
        """Accuracy minus the baseline's on the same seeds; nothing for the baseline itself."""
        if self.baseline is None or variant is self.baseline:
            return None
        paired = self.paired(variant)
        return t_interval(paired) if paired else None

    def paired(self, variant: Variant) -> list[float]:
        """Accuracy minus the baseline's for each seed that both have, by seed."""
        if self.baseline is None:
            return []
        return paired_differences(variant.accuracies, self.baseline.accuracies)

    def crossed_difference(self, variant: Variant) -> Interval | None:
        """The difference over seeds and sentences; nothing without counts of the same sentences."""
        if self.baseline is None or variant is self.baseline:
            return None
        return crossed(less(variant.counts, self.baseline.counts))

    @cached_property
    def tests(self) -> dict[str, PairedTest]:
        """What each variant's differences show, with Holm's correction over the table."""
        return table_of_tests(self.differences, self.margin)

    @cached_property
    def differences(self) -> dict[str, list[float]]:
        """Accuracy minus the baseline's, seed by seed, of every other variant."""
        return {v.name: self.paired(v) for v in self.variants if v is not self.baseline}

    @property
    def compared(self) -> list[tuple[Variant, Interval]]:
        """The variants that have an interval against the baseline."""
        found = [(variant, self.difference(variant)) for variant in self.variants]
        return [(v, d) for v, d in found if d is not None and d.low is not None]


def compare(
    runs: list[Run], baseline: str | None = None, margin: float | None = None
) -> Comparison | None:
    """Gather runs by variant.

    Args:
        runs: in any order.
        baseline: a variant; that of the suite if not given.
        margin: of equivalence; that of the suite, or :data:`MARGIN`, if not given.

    Returns:
        Nothing where every variant has a single seed: there is no spread to speak of.

    Raises:
        UserError: runs of one variant are of different definitions or repeat a seed, there is no
            such baseline, or the runs name several.
    """
    sound = [run for run in runs if _is_sound(run)]
    groups: dict[str, list[Run]] = {}
    one_suite = len({run.record.get("suite") for run in sound}) == 1
    for run in sound:
        groups.setdefault(_name(run, one_suite), []).append(run)
    seeds = {name: {run.record["seed"] for run in group} for name, group in groups.items()}
    if all(len(found) < 2 for found in seeds.values()):
        if baseline is not None:
            raise UserError("--baseline: no variant has several seeds, so nothing is compared")
        return None
    for name, group in groups.items():
        _check(name, group)
    variants = [
        Variant(name, tuple(sorted(group, key=lambda run: run.record["seed"])))
        for name, group in groups.items()
    ]
    variants.sort(key=lambda v: (v.record.get("sweep", {}).get("place", 0), v.name))
    left_out = tuple(run for run in runs if not _is_sound(run))
    if margin is None:
        margin = variants[0].record.get("sweep", {}).get("margin", MARGIN)
    return Comparison(tuple(variants), _baseline(variants, baseline, one_suite), left_out, margin)


def _is_sound(run: Run) -> bool:
    finished = run.record.get("status", "finished") == "finished"
    return finished and run.record["metrics"].get(ACCURACY) is not None


def _name(run: Run, one_suite: bool) -> str:
    """A variant's name; with the suite's, as its runs' folder has it, among those of others."""
    own = run.record.get("variant")
    return str(own) if own and one_suite else run.id.rpartition("/")[0]


def _check(name: str, group: list[Run]) -> None:
    by_seed: dict[int, Run] = {}
    for run in group:
        other = by_seed.setdefault(run.record["seed"], run)
        if other is not run:
            raise UserError(f"{other.id} and {run.id}: two runs of one seed; give one of them")
    first = group[0]
    for run in group[1:]:
        if run.identity != first.identity:
            key = difference(first.resolved, run.resolved) or "the version of the code"
            raise UserError(
                f"{name}: {first.id} and {run.id} are not seeds of one experiment: they differ in "
                f"{key}; run the sweep to its end, then give its runs alone"
            )


def _baseline(variants: list[Variant], given: str | None, one_suite: bool) -> Variant | None:
    by_name = {variant.name: variant for variant in variants}
    if given is None:
        named = {v.record.get("sweep", {}).get("baseline") for v in variants if one_suite} - {None}
        if len(named) > 1:
            raise UserError(
                f"the runs name different baselines ({', '.join(sorted(named))}); choose by "
                "--baseline"
            )
        return by_name.get(named.pop()) if named else None
    if given not in by_name:
        raise UserError(f"--baseline {given}: no such variant; known: {', '.join(by_name)}")
    return by_name[given]
