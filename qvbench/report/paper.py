"""The paper's numbers and claims, from ``paper.yaml``, held against our variants."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from statistics import fmean
from typing import Any, NamedTuple

from qvbench.report.comparison import Comparison, Variant, context_in_heads
from qvbench.report.curves import EARLY
from qvbench.report.statistics import (
    PairedTest,
    Scores,
    paired_differences,
    pooled_deviation,
    seeds_needed,
)

TABLES = ("table4", "table3", "table2")
"""The paper's, the latest first."""
ATTENTION = "model.attention."


@lru_cache
def paper() -> dict[str, Any]:
    """Source, rows, gaps and claims."""
    import yaml

    text = resources.files("qvbench.report").joinpath("paper.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


# Which of our variants is which row


def our_rows(comparison: Comparison) -> dict[str, Variant]:
    """Our variants by the key of the paper's row, as far as there is one and one only.

    A row that several variants would fit (other exponents, say) goes to none of them: which is
    the paper's is not for the report to choose. The baseline is the exception. None where the
    variants are compared by another metric than the paper's.
    """
    if comparison.metric.name != paper()["metric"]:
        return {}
    found: dict[str, Variant] = {}
    for key, row in (paper()["rows"] | paper()["others"]).items():
        fits = [variant for variant in comparison.variants if _fits(variant, row)]
        if len(fits) == 1:
            found[key] = fits[0]
        elif comparison.baseline is not None and comparison.baseline in fits:
            found[key] = comparison.baseline
    return found


def _fits(variant: Variant, row: dict[str, Any]) -> bool:
    record, settings = variant.record, variant.settings
    if (record["mechanism"], record["position"]) != (row["mechanism"], row["position"]):
        return False
    if row["position"] == "agf" and not settings.get("model.position.value_scaling", True):
        return False
    if "context" in row:
        shared = settings.get(f"{ATTENTION}context") == "shared"
        return shared and context_in_heads(settings) == row["context"]
    if "one_head" in row and (value_heads(settings) == 1) != row["one_head"]:
        return False
    key = f"{ATTENTION}key_rank"  # of MLA: whether the key has a wider latent of its own
    return "milder" not in row or (key in settings and bool(settings[key]) == row["milder"])


def value_heads(settings: dict[str, Any]) -> int | None:
    """Among how many heads a config's values are shared; None for mechanisms that share none."""
    names = ("num_value_heads", "num_kv_heads")
    found = [settings[ATTENTION + name] for name in names if ATTENTION + name in settings]
    return found[0] if found else None


# The paper's table beside ours


class Row(NamedTuple):
    """A row of the paper beside ours, each against QKV with the same positions.

    Args:
        label: the paper's, with its positions.
        printed: the paper's number; an earlier table's too where they disagree.
        theirs: the paper's difference; None for QKV itself.
        variant: ours.
        paired: our differences by seed; empty for QKV itself, or without it.
        test: of our differences; None below two seeds.
    """

    label: str
    printed: str
    theirs: float | None
    variant: Variant
    paired: list[float]
    test: PairedTest | None


def paper_rows(comparison: Comparison) -> list[Row]:
    """The paper's rows that are ours too."""
    ours = our_rows(comparison)
    rows = {key: row for key, row in paper()["rows"].items() if key in ours}
    bases = {key: f"qkv_{row['position']}" for key, row in rows.items()}
    paired = {
        key: paired_differences(ours[key].scores, ours[base].scores)
        for key, base in bases.items()
        if base in ours and base != key
    }
    tests = comparison.test(paired)
    return [
        Row(
            f"{row['label']}, {row['position'].replace('agf', 'AGF + PCM-V')}",
            _as_printed(row),
            None if key == bases[key] else _latest(row) - _latest(paper()["rows"][bases[key]]),
            ours[key],
            paired.get(key, []),
            tests.get(key),
        )
        for key, row in rows.items()
    ]


def _latest(row: dict[str, Any]) -> float:
    return float(next(row[table] for table in TABLES if table in row))


def _as_printed(row: dict[str, Any]) -> str:
    latest = _latest(row)
    others = [table for table in TABLES if row.get(table, latest) != latest]
    found = ", ".join(f"{table.replace('table', 'table ')}: {row[table]:.4f}" for table in others)
    return f"{latest:.4f}" + (f" ({found})" if found else "")


# Claims


class Claim(NamedTuple):
    """A claim of the paper, what our runs show of it, and what follows."""

    number: int
    text: str
    test: PairedTest
    judgment: str


def claims(comparison: Comparison) -> list[Claim]:
    """The claims that the variants allow to test, with Holm's correction over them."""
    ours = our_rows(comparison)
    known = {str(n): claim for n, claim in enumerate(paper()["claims"])}
    tests = comparison.test({n: _claim_differences(claim, ours) for n, claim in known.items()})
    return [
        Claim(known[n]["claim"], known[n]["text"], test, judgment(known[n]["expect"], test.verdict))
        for n, test in tests.items()
    ]


def judgment(expected: str, verdict: str) -> str:
    """Supported, contradicted or undecided, from what was claimed and what was shown."""
    if verdict == "inconclusive":
        return "undecided"
    return "supported" if verdict == expected else "contradicted"


def _claim_differences(claim: dict[str, Any], ours: dict[str, Variant]) -> list[float]:
    """What a claim is about, seed by seed; empty where a variant or a curve is missing."""
    keys = [claim["row"], claim["than"], *claim.get("beside", [])]
    if not all(key in ours for key in keys):
        return []
    variants = [ours[key] for key in keys]
    heads = {value_heads(variant.settings) for variant in variants}
    if claim["row"].startswith("v_shared") and len(heads) > 1:
        return []
    scores = _early_scores(variants) if claim.get("early") else [v.scores for v in variants]
    difference = _minus(scores[0], scores[1])
    if "beside" in claim:
        difference = _minus(difference, _minus(scores[2], scores[3]))
    return [difference[seed] for seed in sorted(difference)]


def _minus(values: Scores, others: Scores) -> Scores:
    return {seed: values[seed] - others[seed] for seed in values.keys() & others.keys()}


def _early_scores(variants: list[Variant]) -> list[Scores]:
    """Mean of each seed over the validations in the first part of training.

    Only steps at which every run was validated count, so that all means are over the same.
    """
    curves = [variant.curve(variant.metric.name) for variant in variants]
    steps = [set(points) for curve in curves for points in curve.values()]
    common = set.intersection(*steps) if steps else set()
    early = [step for step in sorted(common) if step <= EARLY * max(common)]
    if not early:
        return [{} for _ in variants]
    return [
        {seed: fmean(points[step].value for step in early) for seed, points in curve.items()}
        for curve in curves
    ]


# Power


class Gap(NamedTuple):
    """A difference that the paper's claims rest on, and how many seeds would find it here.

    Args:
        text: what it is.
        points: how large it is in the paper.
        deviation: of our differences between seeds.
        own: whether it is that of the gap's own two rows, and not pooled over the table.
        seeds: that it takes; None for 100,000 or more.
    """

    text: str
    points: float
    deviation: float
    own: bool
    seeds: int | None


def gaps(comparison: Comparison) -> list[Gap]:
    """The paper's gaps; empty where no two seeds tell a spread.

    Rows differ in their spread: two that scatter widely say nothing of two that do not.
    """
    pooled = pooled_deviation(comparison.paired)
    if pooled is None or comparison.metric.name != paper()["metric"]:
        return []
    ours, rows, found = our_rows(comparison), paper()["rows"], []
    for text, (ahead, behind, table) in paper()["gaps"].items():
        own = None
        if ahead in ours and behind in ours:
            paired = paired_differences(ours[ahead].scores, ours[behind].scores)
            own = pooled_deviation({"own": paired})
        points = rows[ahead][table] - rows[behind][table]
        deviation = pooled if own is None else own
        needed = seeds_needed(deviation, points)
        found.append(Gap(text, points, deviation, own is not None, needed))
    return found
