"""The paper's numbers and claims, from ``paper.yaml``, held against our variants."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean, stdev
from typing import Any

from qvbench.report import data
from qvbench.report.comparison import Comparison, Variant
from qvbench.report.statistics import (
    PairedTest,
    Scores,
    paired_differences,
    seeds_needed,
)
from qvbench.report.tables import NONE, Table, p_text, with_sign

TABLES = ("table4", "table3", "table2")  # the paper's, the latest first
EARLY = 0.2  # share of training
PAPER = data("paper.yaml")

# Which of our variants is which row


def our_rows(comparison: Comparison) -> dict[str, Variant]:
    """Our variants by the key of the paper's row; empty where the metric is not the paper's.

    A row that several variants would fit (other exponents, say) goes to none of them, but to the
    baseline: which is the paper's is not for the report to choose.
    """
    found: dict[str, Variant] = {}
    if comparison.metric.name != PAPER["metric"]:
        return found
    facts = {variant.name: _facts(variant) for variant in comparison.variants}
    for key, row in (PAPER["rows"] | PAPER["others"]).items():
        wanted = {"pcm_v": True} | {fact: row[fact] for fact in FACTS if fact in row}
        fits = [v for v in comparison.variants if wanted.items() <= facts[v.name].items()]
        if len(fits) == 1:
            found[key] = fits[0]
        elif comparison.baseline is not None and comparison.baseline in fits:
            found[key] = comparison.baseline
    return found


FACTS = ("mechanism", "position", "context", "context_heads", "one_value_head", "own_key_rank")


def _facts(variant: Variant) -> dict[str, Any]:
    """What tells the paper's rows apart; None for what a mechanism does not have."""
    record, settings = variant.record, variant.settings
    own = {key.removeprefix("model.attention."): value for key, value in settings.items()}
    head = own.get("model.network.d_model", 1) / own.get("model.network.num_heads", 1)
    position = variant.runs[0].config.get("model", {}).get("position", {})
    return {
        "mechanism": record["mechanism"],
        "position": record["position"],
        "pcm_v": position.get("init_args", {}).get("value_scaling", True),
        "context": own.get("context"),
        "context_heads": own.get("context_dim", head) / head,
        "one_value_head": value_heads(variant) == 1,
        "own_key_rank": "key_rank" in own,
    }


def value_heads(variant: Variant) -> int | None:
    """Among how many heads the values are shared; None for mechanisms that share none."""
    keys = ("model.attention.num_value_heads", "model.attention.num_kv_heads")
    return next((variant.settings[key] for key in keys if key in variant.settings), None)


# The paper's table beside ours


def paper_table(comparison: Comparison) -> Table:
    """The paper's rows that are ours too, against QKV with the same positions; empty without."""
    ours = our_rows(comparison)
    rows = {key: row for key, row in PAPER["rows"].items() if key in ours}
    bases = {key: f"qkv_{row['position']}" for key, row in rows.items()}
    paired = {
        key: paired_differences(ours[key].scores, ours[base].scores)
        for key, base in bases.items()
        if base in ours and base != key
    }
    tests = comparison.test(paired)
    table = [data("page.yaml")["paper_columns"]]
    for key, row in rows.items():
        label = f"{row['label']}, {row['position'].replace('agf', 'AGF + PCM-V')}"
        theirs = _latest(row) - _latest(PAPER["rows"][bases[key]])
        gap = NONE if key == bases[key] else f"{theirs:+.2f}"
        cells = [f"{fmean(paired[key]):+.2f}" if paired.get(key) else NONE, *[NONE] * 5]
        if (test := tests.get(key)) is not None:
            _, low, high, _ = test.difference
            within = "yes" if low <= theirs <= high else "no"
            needed = seeds_needed(stdev(paired[key]), abs(theirs))
            seeds = "more than 100,000" if needed is None else f"{needed:,}"
            cells = [*with_sign(test.difference), p_text(test.p), test.verdict, within, seeds]
        table.append([label, _as_printed(row), gap, f"{ours[key].interval.mean:.2f}", *cells])
    return table if any(paired.values()) else []


def _latest(row: Mapping[str, Any]) -> float:
    return float(next(row[table] for table in TABLES if table in row))


def _as_printed(row: Mapping[str, Any]) -> str:
    """The paper's number; an earlier table's too where they disagree."""
    latest = _latest(row)
    others = [table for table in TABLES if row.get(table, latest) != latest]
    found = ", ".join(f"{table.replace('table', 'table ')}: {row[table]:.4f}" for table in others)
    return f"{latest:.4f}" + (f" ({found})" if found else "")


# Claims


def claims(comparison: Comparison) -> list[tuple[int, str, PairedTest, str]]:
    """The claims that the variants allow to test, with Holm's correction over them.

    Of each the paper's number and words, what our runs show, and what follows.
    """
    ours, known = our_rows(comparison), {str(n): c for n, c in enumerate(PAPER["claims"])}
    tests = comparison.test({n: _claim_differences(claim, ours) for n, claim in known.items()})
    found = ((known[n], test) for n, test in tests.items())
    return [(c["claim"], c["text"], t, judgment(c["expect"], t.verdict)) for c, t in found]


def judgment(expected: str, verdict: str) -> str:
    """Supported, contradicted or undecided, from what was claimed and what was shown."""
    if verdict == "inconclusive":
        return "undecided"
    return "supported" if verdict == expected else "contradicted"


def _claim_differences(claim: Mapping[str, Any], ours: Mapping[str, Variant]) -> list[float]:
    """What a claim is about, seed by seed; empty where a variant or a curve is missing."""
    keys = [claim["row"], claim["than"], *claim.get("beside", [])]
    if not all(key in ours for key in keys):
        return []
    variants = [ours[key] for key in keys]
    if claim["row"].startswith("v_shared") and len({value_heads(v) for v in variants}) > 1:
        return []
    scores = _early_scores(variants) if claim.get("early") else [v.scores for v in variants]
    seeds = sorted(set.intersection(*({*of_seed} for of_seed in scores)))
    signs = (1, -1, -1, 1)
    return [sum(s * score[k] for s, score in zip(signs, scores, strict=False)) for k in seeds]


def _early_scores(variants: list[Variant]) -> list[Scores]:
    """Mean of each seed over the validations in the first part of training, that all runs had."""
    curves = [variant.curve() for variant in variants]
    common = set.intersection(*({*points} for curve in curves for points in curve.values()))
    early = [step for step in common if step <= EARLY * max(common)]
    if not early:
        return [{} for _ in variants]
    return [
        {seed: fmean(points[step].value for step in early) for seed, points in curve.items()}
        for curve in curves
    ]
