"""What came of a comparison, in a few lines that stand first on its page."""

from __future__ import annotations

from qvbench.report.claims import judged
from qvbench.report.paper_rows import rows_of_ours
from qvbench.report.variants import Comparison

VERDICTS = ("better", "worse", "equivalent", "not shown")
JUDGEMENTS = ("supported", "contradicted", "undecided")


def summary(comparison: Comparison) -> list[str]:
    """Markdown: what was run, how many variants have which verdict, and the same of the claims."""
    return [" ".join([_what_was_run(comparison), *_verdicts(comparison), *_judgements(comparison)])]


def _what_was_run(comparison: Comparison) -> str:
    counts = sorted({len(variant.runs) for variant in comparison.variants})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    corpora = sorted({run.record.get("corpus", "") for run in comparison.runs} - {""})
    data = f" on the corpus {', '.join(corpora)}" if corpora else ""
    steps = {run.record.get("steps") for run in comparison.runs}
    budget = f", {steps.pop():,} steps each" if len(steps) == 1 and None not in steps else ""
    return f"{len(comparison.variants)} variants, {seeds} seeds each{data}{budget}."


def _verdicts(comparison: Comparison) -> list[str]:
    compared = comparison.compared
    if comparison.baseline is None or not compared:
        return []
    parts = []
    for word in VERDICTS:
        names = [v.name for v, _ in compared if comparison.tests[v.name].verdict == word]
        listed = f" ({', '.join(names)})" if word != "not shown" else ""
        if names:
            parts.append(f"**{len(names)} {word}**{listed}")
    return [f"Against {comparison.baseline.name}: {'; '.join(parts)}."]


def _judgements(comparison: Comparison) -> list[str]:
    found = [claim.judgement for claim in judged(comparison, rows_of_ours(comparison))]
    parts = [f"{found.count(word)} {word}" for word in JUDGEMENTS if word in found]
    return [f"Of the paper's claims that these variants bear on: {', '.join(parts)}."] * bool(found)
