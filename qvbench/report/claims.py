"""The paper's table beside ours, and its claims put to the test."""

from __future__ import annotations

from statistics import fmean
from typing import Any, NamedTuple

from qvbench.report.bands import EARLY
from qvbench.report.paper import paper
from qvbench.report.paper_rows import rows_of_ours, same_value_heads
from qvbench.report.significance import PairedTest, table_of_tests
from qvbench.report.statistics import paired_differences
from qvbench.report.table import NOTHING, row
from qvbench.report.variant_table import bounds, p_text
from qvbench.report.variants import ACCURACY, Comparison, Variant

TABLES = ("table4", "table3", "table2")
Scores = dict[int, float]


def claims_section(comparison: Comparison) -> list[str]:
    """Markdown: the paper's table and claims, as far as the results hold the variants."""
    ours = rows_of_ours(comparison)
    parts = _paper_table(comparison, ours) + _claims(comparison, ours)
    return ["## Beside the paper", *parts] if parts else []


def _paper_table(comparison: Comparison, ours: dict[str, Variant]) -> list[str]:
    """Each row against QKV with the same positions, the paper's and ours; empty if none is ours."""
    rows = {key: entry for key, entry in paper()["rows"].items() if key in ours}
    if not rows:
        return []
    bases = {key: f"qkv_{entry['position']}" for key, entry in rows.items()}
    pairs = {
        key: paired_differences(ours[key].accuracies, ours[base].accuracies)
        for key, base in bases.items()
        if base in ours and base != key
    }
    tests = table_of_tests(pairs, comparison.margin)
    lines = [row(HEAD), row(["---", "---", *["---:"] * 6, "---", "---"])]
    for key, entry in rows.items():
        theirs = _accuracy(key)
        gap = None if key == bases[key] else theirs - _accuracy(bases[key])
        lines.append(
            row(
                [
                    entry["label"],
                    entry["position"],
                    _as_printed(key),
                    NOTHING if gap is None else f"{gap:+.2f}",
                    f"{ours[key].accuracy.mean:.2f}",
                    *_tested(tests.get(key), gap),
                ]
            )
        )
    return ["\n".join(lines), BESIDE.format(source=paper()["source"])]


def _accuracy(key: str) -> float:
    """A row's number in the latest table that has it."""
    entry = paper()["rows"][key]
    return float(next(entry[table] for table in TABLES if table in entry))


def _as_printed(key: str) -> str:
    """A row's latest number, and an earlier table's where that has another."""
    latest, entry = _accuracy(key), paper()["rows"][key]
    differ = [name for name in TABLES if entry.get(name, latest) != latest]
    others = [f"{name.replace('table', 'table ')}: {entry[name]:.4f}" for name in differ]
    return f"{latest:.4f}" + (f" ({', '.join(others)})" if others else "")


def _tested(test: PairedTest | None, gap: float | None) -> list[str]:
    """The cells of our difference: it, interval, p, verdict, whether the paper's lies within."""
    if test is None:
        return [NOTHING] * 5
    found = test.difference
    held = NOTHING
    if gap is not None and found.low is not None and found.high is not None:
        held = "yes" if found.low <= gap <= found.high else "no"
    return [f"{found.mean:+.2f}", bounds(found, "+"), p_text(test.p), test.verdict, held]


class Judged(NamedTuple):
    """A claim of the paper, as its file has it; what our runs show of it; and what follows."""

    claim: dict[str, Any]
    test: PairedTest
    judgement: str


def judged(comparison: Comparison, ours: dict[str, Variant]) -> list[Judged]:
    """The claims that the variants allow to test, with Holm's correction over them."""
    known = {str(n): claim for n, claim in enumerate(paper()["claims"])}
    pairs = {n: claim_differences(claim, ours) for n, claim in known.items()}
    return [
        Judged(known[n], test, judgement(known[n]["expect"], test.verdict))
        for n, test in table_of_tests(pairs, comparison.margin).items()
    ]


def _claims(comparison: Comparison, ours: dict[str, Variant]) -> list[str]:
    """A line for each claim."""
    lines = [
        f"- Claim {claim['claim']}, {claim['text']}: "
        f"**{found}** ({test.verdict}; "
        f"{test.difference.mean:+.2f} points, {bounds(test.difference, '+')}, p {p_text(test.p)}, "
        f"of equivalence {p_text(test.p_equivalence)}; {test.difference.count} seeds)"
        for claim, test, found in judged(comparison, ours)
    ]
    return ["### The paper's claims", CLAIMS, "\n".join(lines)] if lines else []


def judgement(expected: str, verdict: str) -> str:
    """Supported, contradicted or undecided, from what was claimed and what was shown."""
    if verdict == "not shown":
        return "undecided"
    return "supported" if verdict == expected else "contradicted"


def claim_differences(claim: dict[str, Any], ours: dict[str, Variant]) -> list[float]:
    """What a claim is about, seed by seed; empty where a variant or a curve is missing."""
    keys = [claim["row"], claim["than"], *claim.get("beside", [])]
    if not all(key in ours for key in keys):
        return []
    variants = [ours[key] for key in keys]
    if claim["row"].startswith("v_shared") and not same_value_heads(variants[0], variants[1]):
        return []
    scores = early_scores(variants) if claim.get("early") else [v.accuracies for v in variants]
    difference = _less(scores[0], scores[1])
    if "beside" in claim:
        difference = _less(difference, _less(scores[2], scores[3]))
    return [difference[seed] for seed in sorted(difference)]


def _less(values: Scores, others: Scores) -> Scores:
    return {seed: values[seed] - others[seed] for seed in values.keys() & others.keys()}


def early_scores(variants: list[Variant]) -> list[Scores]:
    """Mean accuracy of each seed over the validations in the first fifth of training.

    Only steps at which every run was validated count, so that all means are over the same.
    """
    curves = [
        {run.record["seed"]: {p.step: p.value for p in run.curves.get(ACCURACY, [])}}
        for variant in variants
        for run in variant.runs
    ]
    steps = [set(curve) for run in curves for curve in run.values()]
    common = set.intersection(*steps) if steps else set()
    early = {step for step in common if step <= EARLY * max(common)}
    if not early:
        return [{} for _ in variants]
    return [
        {
            run.record["seed"]: fmean(p.value for p in run.curves[ACCURACY] if p.step in early)
            for run in variant.runs
        }
        for variant in variants
    ]


HEAD = (
    "mode",
    "positions",
    "paper",
    "paper, minus QKV",
    "ours",
    "ours, minus QKV",
    "95 % interval, paired",
    "p (Holm)",
    "verdict",
    "paper's within ours",
)
BESIDE = (
    "The paper's numbers: {source}; one run a row, and where its tables disagree the latest. Ours "
    "are of other data and another budget where the page says so: compare the differences, which "
    "are to QKV with the same positions, and not the levels."
)
CLAIMS = (
    "A claim is supported or contradicted only by a test at the 5 % level, with Holm's correction "
    "over the claims; all others are undecided. This data and budget are not the paper's."
)
