"""Variants compared with a baseline: every question of the page, and one finding for each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qvbench.errors import UserError
from qvbench.report.paper import our_rows, paper_contrasts, tested_claims
from qvbench.report.runs import Run
from qvbench.report.statistics import ALPHA, MARGIN, Finding, Interval, finding
from qvbench.report.variants import (
    Contrast,
    Question,
    Variant,
    differing,
    gather_variants,
    has_ended,
    has_value,
)
from qvbench.runs.record import Metric

BITS = Metric("val/bits_per_byte", "validation loss", "bits per byte", higher_is_better=False)
VERDICTS = ("better", "worse", "equivalent", "inconclusive")


class Options(NamedTuple):
    """Options of the user, which a results folder keeps; None leaves one to the suite."""

    title: str | None = None
    baseline: str | None = None
    margin: float | None = None

    @property
    def given(self) -> dict[str, Any]:
        """Those that are not None."""
        return {name: value for name, value in self._asdict().items() if value is not None}


@dataclass(frozen=True, eq=False)
class Comparison:
    """Variants over their seeds; one seed each is a comparison without intervals."""

    title: str  # of its page
    variants: tuple[Variant, ...]  # in the order of their suite
    baseline: Variant | None  # that the others are compared with, if there is one
    suite: Mapping[str, Any]  # what records say of the one suite that ran them all; else empty
    margin: float  # of equivalence, in the unit of the metric
    options: Options  # that the user gave
    folder: Path  # of the results
    bleu_tests: dict[str, list[float]]  # p-values that were kept; completed when needed
    left_out: tuple[Run, ...] = ()  # that were not run to their end
    searched: tuple[Run, ...] = ()  # of the suite's search, whose scores are not reported
    shorter: Mapping[float, Comparison] = field(default_factory=dict)  # the same by lesser budget

    @property
    def metric(self) -> Metric:
        return self.variants[0].metric

    @property
    def unit(self) -> str:
        """Of differences in the metric."""
        return "points" if self.metric.unit == "%" else self.metric.unit

    @property
    def axis(self) -> str:
        """The metric with its unit, as the label of an axis."""
        return self.metric.label + f" ({self.metric.unit})" * bool(self.metric.unit)

    @property
    def form(self) -> str:
        """Format of the metric's values: hundredths of a per cent, else thousandths."""
        return ".2f" if self.metric.unit == "%" else ".3f"

    @property
    def sign(self) -> int:
        """1 where a higher metric is better, else -1."""
        return 1 if self.metric.higher_is_better else -1

    @cached_property
    def by_name(self) -> dict[str, Variant]:
        return {variant.name: variant for variant in self.variants}

    @property
    def runs(self) -> list[Run]:
        """All with a value of the metric."""
        return [run for variant in self.variants for run in variant.runs]

    @property
    def failed(self) -> list[Run]:
        return [run for variant in self.variants for run in variant.failed]

    @property
    def by_budget(self) -> Mapping[float, Comparison]:
        """The comparison under each budget, ascending; empty if the suite has one at most."""
        own = self.suite.get("budget")
        return {} if own is None else {**self.shorter, own: self}

    @property
    def every_budget(self) -> list[Comparison]:
        """All comparisons of the page: of the lesser budgets, if there are any, and itself."""
        return [*self.shorter.values(), self]

    @cached_property
    def sizes(self) -> list[list[Variant]]:
        """The variants grouped by the size of their network, ascending; in each group the one with
        the baseline's mechanism and positions comes first. Empty if there is one group at most.
        """
        base = self.baseline
        label = base.record["label"] if base is not None else None
        alike = [variant for variant in self.variants if variant.record["label"] == label]
        groups = [
            [first, *(v for v in self.variants if v.network == first.network and v is not first)]
            for first in alike
        ]
        crossed = [g for g in groups if len(g) > 1 and sum(v in alike for v in g) == 1]
        crossed.sort(key=lambda group: group[0].cost("parameters/total") or 0)
        return crossed if len(crossed) > 1 else []

    @cached_property
    def baselines(self) -> dict[Variant, Variant]:
        """What each variant is compared with: the baseline, or among several sizes that of its
        own size. A baseline is compared with itself."""
        if self.baseline is None:
            return {}
        own = {variant: group[0] for group in self.sizes for variant in group}
        return {variant: own.get(variant, self.baseline) for variant in self.variants}

    @property
    def against(self) -> str:
        """The baseline, or the baselines of several sizes, in words."""
        assert self.baseline is not None
        return f"{self.kind(self.baseline)} of its size" if self.sizes else self.baseline.label

    def kind(self, variant: Variant) -> str:
        """Mechanism and positions of a variant, as far as the variants differ in them."""
        differ = differing(v.record["label"] for v in self.variants) or ["mechanism"]
        return ", ".join(variant.record["label"][key] for key in differ)

    @cached_property
    def rows(self) -> dict[Variant, Contrast]:
        """Every other variant against its baseline."""
        return {v: Contrast((v,), (base,)) for v, base in self.baselines.items() if v is not base}

    @cached_property
    def ours(self) -> dict[str, Variant]:
        """The variants that are rows of the paper, by its keys."""
        return our_rows(self.variants, self.baseline)

    @cached_property
    def families(self) -> tuple[set[Question], set[Question]]:
        """The differences that the page shows, each once: of the paper's claims, and all others.

        The claims are the primary family. The others are descriptive: rows of every budget, the
        paper's rows.
        """
        claims = [contrast for _, contrast in tested_claims(self.ours)]
        others = [*self.rows.values(), *paper_contrasts(self.ours).values()]
        others += [row for each in self.shorter.values() for row in each.rows.values()]
        primary, rest = (
            {contrast.question for contrast in family if contrast.estimate.error >= 0}
            for family in (claims, others)
        )
        return primary, rest - primary

    def questions(self, contrast: Contrast) -> int:
        """The size of the family that a difference belongs to, for Bonferroni's correction."""
        primary, rest = self.families
        return max(1, len(primary if contrast.question in primary else rest))

    def interval(self, contrast: Contrast) -> Interval:
        """Of a difference, simultaneous with the others of its family."""
        return contrast.estimate.interval(ALPHA / self.questions(contrast))

    def finding(self, contrast: Contrast) -> Finding | None:
        """What is shown of a difference, wherever the page speaks of it; None without an error.

        With failed runs a variant's mean is that of the survivors: it is not shown to be better or
        as good.
        """
        better = self.metric.higher_is_better
        found = finding(contrast.estimate, self.questions(contrast), self.margin, better)
        if found is None:
            return None
        favored = {"equivalent": (*contrast.more, *contrast.less)}
        favored |= {"better": contrast.more, "worse": contrast.less}
        if any(variant.failed for variant in favored.get(found.verdict, ())):
            return found._replace(verdict="inconclusive")
        return found

    @cached_property
    def findings(self) -> dict[Variant, Finding]:
        """Of each variant against the baseline, the best first; without those of one seed."""
        found = {variant: self.finding(contrast) for variant, contrast in self.rows.items()}
        known = [(variant, finding) for variant, finding in found.items() if finding is not None]
        return dict(sorted(known, key=lambda pair: -self.sign * pair[1].estimate.mean))

    @property
    def correlation(self) -> float:
        """Of two variants' scores over the seeds that all variants have, averaged over the pairs;
        NaN where unknown."""
        known = [variant.scores for variant in self.variants if variant.runs]
        seeds = sorted(set.intersection(*map(set, known))) if len(known) > 1 else []
        if len(seeds) < 3:
            return math.nan
        scores = [[own[seed] for seed in seeds] for own in known]
        with np.errstate(all="ignore"):  # of scores that do not spread
            found = np.array(np.corrcoef(scores))[np.triu_indices(len(scores), 1)]
        return float(found[np.isfinite(found)].mean()) if np.isfinite(found).any() else math.nan

    @property
    def claims(self) -> list[tuple[Mapping[str, Any], Finding]]:
        """The paper's claims that the variants allow to test, and what is shown of each."""
        found = [(claim, self.finding(contrast)) for claim, contrast in tested_claims(self.ours)]
        return [(claim, shown) for claim, shown in found if shown is not None]


def compare(
    runs: Sequence[Run], folder: Path, options: Options, bleu_tests: dict[str, list[float]]
) -> Comparison:
    """Gather runs by variant; where a suite has several budgets, those of the largest.

    ``folder`` is that of the results, whose name is the title if neither the user nor a suite gave
    one. UserError if no run is finished, or they are not seeds of comparable experiments.
    """
    runs = of_one_unit(runs)
    searched: list[Run] = []
    by_budget: dict[float, list[Run]] = {}
    for run in filter(has_ended, runs):
        sweep = run.record.get("sweep", {})
        if sweep.get("of_search"):
            searched.append(run)
        else:
            by_budget.setdefault(sweep.get("budget", 0), []).append(run)
    if searched and not by_budget:
        raise UserError("these are the runs of a search alone, which report nothing")
    if not any(has_value(run) for group in by_budget.values() for run in group):
        names = ", ".join(sorted({run.record["primary_metric"]["name"] for run in runs}))
        raise UserError(f"no finished run with a value of {names}: {', '.join(r.id for r in runs)}")
    suites = {
        run.record.get("suite") if budget else ""
        for budget, group in by_budget.items()
        for run in group
    }
    if len(by_budget) > 1 and len(suites) > 1:
        what = "a suite with several budgets is not compared with other runs"
        raise UserError(f"{what}: report it alone")
    compared = {
        budget: _compare(by_budget[budget], folder, options, bleu_tests)
        for budget in sorted(by_budget)
    }
    _, last = compared.popitem()
    if last.baseline is None and options.baseline is not None:
        known = ", ".join(sorted(last.by_name))
        raise UserError(f"--baseline {options.baseline}: no such variant; known: {known}")
    left_out = tuple(run for run in runs if not has_ended(run))
    return replace(last, left_out=left_out, searched=tuple(searched), shorter=compared)


def of_one_unit(runs: Sequence[Run]) -> Sequence[Run]:
    """Language models of different stores, of other tokenizers or text, measured in bits per byte:
    a loss per token is of each one's own tokens. UserError where one that has ended lacks them."""
    ended = list(filter(has_value, runs))
    compared = [run for run in ended if not run.record.get("sweep", {}).get("of_search")]
    stores = {run.record.get("data_fingerprint") for run in compared}
    losses = all(run.record["primary_metric"]["name"] == "val/loss" for run in runs)
    if len(stores) < 2 or not losses:
        return runs
    for run in ended:
        if BITS.name not in run.record["metrics"]:
            what = "and losses per token of different texts or tokenizers are not comparable"
            raise UserError(f"{run.id}: no {BITS.name}, {what}; give runs that have it")
    metric = {"primary_metric": BITS._asdict()}
    return [replace(run, record=run.record | metric) for run in runs]


def _compare(
    runs: Sequence[Run], folder: Path, options: Options, bleu_tests: dict[str, list[float]]
) -> Comparison:
    one_suite = len({run.record.get("suite") for run in runs}) == 1
    sweeps = (run.record["sweep"] for run in runs if one_suite and "sweep" in run.record)
    suite: dict[str, Any] = next(sweeps, {})
    variants = gather_variants(runs, one_suite)
    if "margin" in suite and options.margin is None and variants[0].metric == BITS:
        what = f"the suite's margin, {suite['margin']}, is in nats per token"
        why = "different texts or tokenizers are compared in bits per byte"
        raise UserError(f"{what}, and {why}; give --margin")
    wanted = options.baseline or suite.get("baseline")
    return Comparison(
        title=options.title or suite.get("title") or folder.name,
        variants=tuple(variants),
        baseline=next((variant for variant in variants if variant.name == wanted), None),
        suite=suite,
        margin=suite.get("margin", MARGIN) if options.margin is None else options.margin,
        options=options,
        folder=folder,
        bleu_tests=bleu_tests,
    )
