"""Variants over their seeds: gathered from runs, named for people, compared with a baseline."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
    subtract,
    t_interval,
    table_of_tests,
)
from qvbench.runs.identity import difference
from qvbench.runs.record import Metric

VERDICTS = ("better", "worse", "equivalent", "inconclusive")
COUNTED = "val/accuracy"
"""The metric that a run's counts by sentence add up to."""


ACCURACY = Metric(COUNTED, "validation accuracy", "%", True)
"""That of records that name none."""


class Options(NamedTuple):
    """What the user gave, which a results folder keeps: None for what the suite says."""

    title: str | None = None
    baseline: str | None = None
    margin: float | None = None


NO_OPTIONS = Options()


@dataclass(frozen=True)
class Variant:
    """One row of a comparison.

    Args:
        name: of the variant in its suite; of the runs' folder if no suite ran them.
        label: for people.
        runs: finished and validated, one per seed, by seed.
        metric: by which it is compared.
    """

    name: str
    label: str
    runs: tuple[Run, ...]
    metric: Metric

    @property
    def record(self) -> dict[str, Any]:
        """What all its runs have in common is read off the first."""
        return self.runs[0].record

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Its config by dotted key; empty if none was kept."""
        return flattened(self.runs[0].config)

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

    def cost(self, *keys: str) -> float | None:
        """The mean over the runs of a number of their records."""
        found = [value for run in self.runs if (value := run.cost(*keys)) is not None]
        return fmean(found) if found else None

    @property
    def sentences(self) -> dict[int, Sentences]:
        """Counts by sentence at the last validation, by seed, where the metric is made of them."""
        if self.metric.name != COUNTED:
            return {}
        return {run.seed: found for run in self.runs if (found := run.sentences) is not None}

    @property
    def crossed(self) -> Interval | None:
        """The metric over seeds and sentences; None where a run kept no counts by sentence."""
        return crossed(self.sentences)

    def curve(self, metric: str) -> dict[int, dict[int, Point]]:
        """The points of each seed by step."""
        return {run.seed: {p.step: p for p in run.curves.get(metric, [])} for run in self.runs}


@dataclass(frozen=True)
class Comparison:
    """Variants over their seeds; one seed each is a comparison without intervals.

    Args:
        title: of its page.
        variants: in the order of their suite.
        baseline: that the others are compared with, if there is one.
        left_out: runs that did not come to their end, or were never validated.
        margin: of equivalence, in the unit of the metric.
        options: that the user gave.
    """

    title: str
    variants: tuple[Variant, ...]
    baseline: Variant | None
    left_out: tuple[Run, ...]
    margin: float = MARGIN
    options: Options = NO_OPTIONS

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
        return (
            f"{self.metric.label} ({self.metric.unit})" if self.metric.unit else self.metric.label
        )

    @property
    def runs(self) -> list[Run]:
        return [run for variant in self.variants for run in variant.runs]

    @property
    def others(self) -> list[Variant]:
        """All but the baseline."""
        return [variant for variant in self.variants if variant is not self.baseline]

    @property
    def suite(self) -> dict[str, Any]:
        """What the records say of the one suite that ran them all; empty if none did."""
        suites = {run.record.get("suite") for run in self.runs}
        return self.runs[0].record.get("sweep", {}) if len(suites) == 1 else {}

    def gaps(self, variant: Variant) -> dict[int, float]:
        """The metric minus the baseline's, by seed; empty for the baseline itself."""
        if self.baseline is None or variant is self.baseline:
            return {}
        own, base = variant.scores, self.baseline.scores
        return {seed: own[seed] - base[seed] for seed in sorted(own.keys() & base.keys())}

    @cached_property
    def paired(self) -> dict[str, list[float]]:
        """The metric minus the baseline's, seed by seed, of every other variant."""
        return {v.name: list(self.gaps(v).values()) for v in self.others}

    def difference(self, variant: Variant) -> Interval | None:
        """The mean of the paired differences; None for the baseline itself."""
        paired = self.paired.get(variant.name)
        return t_interval(paired) if paired else None

    def crossed_difference(self, variant: Variant) -> Interval | None:
        """The difference over seeds and sentences; None without counts of the same sentences."""
        if self.baseline is None or variant is self.baseline:
            return None
        return crossed(subtract(variant.sentences, self.baseline.sentences))

    @cached_property
    def tests(self) -> dict[str, PairedTest]:
        """What each variant's differences show, with Holm's correction over the table."""
        return self.test(self.paired, self.margin)

    def test(
        self, differences: dict[str, list[float]], margin: float | None = None
    ) -> dict[str, PairedTest]:
        """Tests of other differences in the same metric, corrected over these."""
        margin = self.margin if margin is None else margin
        return table_of_tests(differences, margin, self.metric.higher_is_better)

    def with_verdict(self, verdict: str) -> list[Variant]:
        """The variants of a verdict, by the size of their differences, the best first."""
        found = [v for v in self.others if v.name in self.tests]
        sign = -1 if self.metric.higher_is_better else 1
        found.sort(key=lambda v: sign * self.tests[v.name].difference.mean)
        return [v for v in found if self.tests[v.name].verdict == verdict]


def compare(runs: Sequence[Run], name: str, options: Options = NO_OPTIONS) -> Comparison:
    """Gather runs by variant.

    Args:
        runs: in any order.
        name: title of a comparison that neither the user nor a suite gave one.
        options: title, baseline and margin instead of the suite's.

    Raises:
        UserError: no run is finished, runs of one variant are different experiments or repeat a
            seed, the variants have different metrics, there is no such baseline, or the runs name
            several.
    """
    sound = [run for run in runs if _is_sound(run)]
    if not sound:
        names = ", ".join(sorted({_metric(run).name for run in runs}))
        raise UserError(f"no finished run with a value of {names}: {', '.join(r.id for r in runs)}")
    one_suite = len({run.record.get("suite") for run in sound}) == 1
    groups: dict[str, list[Run]] = {}
    for run in sorted(sound, key=lambda run: run.seed):
        groups.setdefault(_variant_name(run, one_suite), []).append(run)
    metrics = {_metric(run) for run in sound}
    if len(metrics) > 1:
        names = ", ".join(sorted(metric.name for metric in metrics))
        raise UserError(f"the runs are measured by different metrics ({names}): compare them apart")
    for group_name, group in groups.items():
        _check(group_name, group)
    labels = labels_of({name: group[0] for name, group in groups.items()})
    variants = [Variant(n, labels[n], tuple(group), *metrics) for n, group in groups.items()]
    variants.sort(key=lambda v: (v.record.get("sweep", {}).get("place", 0), v.name))
    suite = variants[0].record.get("sweep", {}) if one_suite else {}
    margin = options.margin if options.margin is not None else suite.get("margin", MARGIN)
    return Comparison(
        options.title or suite.get("title") or name,
        tuple(variants),
        _baseline(variants, options.baseline, one_suite),
        tuple(run for run in runs if not _is_sound(run)),
        margin,
        options,
    )


def _metric(run: Run) -> Metric:
    return Metric(**run.record["primary_metric"]) if "primary_metric" in run.record else ACCURACY


def _is_sound(run: Run) -> bool:
    finished = run.record.get("status", "finished") == "finished"
    value = run.record["metrics"].get(_metric(run).name)
    return finished and value is not None and math.isfinite(value)


def _variant_name(run: Run, one_suite: bool) -> str:
    """A variant's name; with the suite's, as its runs' folder has it, among those of others."""
    own = run.record.get("variant")
    return str(own) if own and one_suite else run.id.rpartition("/")[0]


def _check(name: str, group: list[Run]) -> None:
    by_seed: dict[int, Run] = {}
    for run in group:
        other = by_seed.setdefault(run.seed, run)
        if other is not run:
            raise UserError(f"{other.id} and {run.id}: two runs of one seed; give one of them")
    first = group[0]
    for run in group[1:]:
        if run.identity != first.identity:
            key = difference(first.config, run.config) or "the version of the code"
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


# Settings: what a variant was

PARTS = ("task", "model", "data", "trainer")
PLACES = ("trainer.default_root_dir", "trainer.logger", "data.cache_dir", "data.seed")
"""Settings that say where a run lies, or its seed, and not what it is."""


def flattened(config: dict[str, Any]) -> dict[str, Any]:
    """A config's values by dotted key, ``init_args`` left out of the keys."""
    flat = {
        key: value
        for part in PARTS
        if part in config
        for key, value in _flat(part, config[part])
        if not key.startswith(PLACES)
    }
    return flat


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield key, value
        return
    for name, inner in value.items():
        yield from _flat(key if name == "init_args" else f"{key}.{name}", inner)


def changes(settings: dict[str, Any], baseline: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The keys in which two configs differ, each with the baseline's value and the other.

    A key that one of them lacks differs from none that is unset: it has no effect either way.
    """
    keys = sorted(settings.keys() | baseline.keys())
    pairs = {key: (baseline.get(key), settings.get(key)) for key in keys}
    return {key: (old, new) for key, (old, new) in pairs.items() if old != new}


# Names for people

MECHANISMS = {
    "qkv": "QKV",
    "qv": "QV",
    "qvka": "QV-Ka",
    "gqa": "GQA",
    "gqa_qv": "GQA-QvVv",
    "v_shared": "V-shared",
    "mla": "MLA",
    "mla_qv": "MLA-QvVv",
    "shared_key": "shared key",
    "qk_tied": "Q = K",
    "single": "Q = K = V",
    "keyless": "Keyless",
}
POSITIONS = {"rope": "RoPE", "alibi": "ALiBi", "t5": "T5", "agf": "AGF"}
"""Names as the classes' own ``label`` has them, for records that are older than it."""


def labels_of(runs: dict[str, Run]) -> dict[str, str]:
    """A display name for each variant: what sets it apart, and its own name where that is not it.

    Args:
        runs: one of each variant, by the variant's name.
    """
    parts = {name: (mechanism_label(run), position_label(run)) for name, run in runs.items()}
    differ = [i for i in (0, 1) if len({part[i] for part in parts.values()}) > 1]
    if not differ and len(parts) > 1:
        return {name: name for name in parts}
    labels = {n: ", ".join(part[i] for i in differ or (0, 1)) for n, part in parts.items()}
    found = list(labels.values())
    return {n: x if found.count(x) == 1 else f"{x} ({n})" for n, x in labels.items()}


def mechanism_label(run: Run) -> str:
    """The mechanism's display name: the record's, else told from the config."""
    if "label" in run.record:
        return str(run.record["label"]["mechanism"])
    name, settings = run.record["mechanism"], flattened(run.config)
    own = {k.removeprefix("model.attention."): v for k, v in settings.items()}
    label = MECHANISMS.get(name, name)
    heads = own.get("num_kv_heads") or own.get("num_value_heads")
    if name == "qvka" and own.get("context"):
        label += f" {context_in_heads(settings):g}\N{MULTIPLICATION SIGN}"
        label += ", context per head" * (own["context"] != "shared")
        label += f", values of {heads}" if heads else ""
    elif heads:
        label = label.replace("GQA", "MQA") if heads == 1 else f"{label} {heads}"
    if own.get("head_dim_qk"):
        label += f", keys {own['head_dim_qk']} wide"
    return (
        label
        + ", own key latent" * bool(own.get("key_rank"))
        + ", frozen" * bool(own.get("frozen"))
    )


def context_in_heads(settings: dict[str, Any]) -> float:
    """Width of QV-Ka's context in widths of a head."""
    head = settings["model.network.d_model"] / settings["model.network.num_heads"]
    width = settings.get("model.attention.context_dim")
    return 1.0 if width is None else float(width / head)


def position_label(run: Run) -> str:
    """The position scheme's display name: the record's, else told from the config."""
    if "label" in run.record:
        return str(run.record["label"]["position"])
    name = run.record["position"]
    scaled = flattened(run.config).get("model.position.value_scaling", True)
    return POSITIONS.get(name, name) + " + PCM-V" * (name == "agf" and scaled)
