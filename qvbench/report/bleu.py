"""BLEU against the baseline: over the seeds, and by sacreBLEU's paired tests seed by seed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from qvbench.report.load import Run
from qvbench.report.significance import ALPHA, PairedTest, table_of_tests
from qvbench.report.table import NOTHING, row
from qvbench.report.variant_table import bounds, p_text
from qvbench.report.variants import Comparison, Variant

BLEU_MARGIN = 0.1
METRIC = "test/bleu"
TESTS = ("bs", "ar")


class SeedTest(NamedTuple):
    """One seed's two runs: sacreBLEU's p by paired bootstrap and approximate randomisation."""

    seed: int
    bootstrap: float
    randomisation: float


def bleu_section(comparison: Comparison) -> list[str]:
    """Markdown: a row per variant that shares tested seeds with the baseline; empty without."""
    base = comparison.baseline
    if base is None:
        return []
    others = [v for v in comparison.variants if v is not base]
    scores = base.values(METRIC)
    differences = {
        v.name: [value - scores[seed] for seed, value in v.values(METRIC).items() if seed in scores]
        for v in others
    }
    tests = table_of_tests(differences, BLEU_MARGIN)
    found = {v.name: seed_tests(v, base) for v in others}
    if not tests and not any(found.values()):
        return []
    lines = [row(HEAD), row(["---", *["---:"] * 4, "---", "---"])]
    lines += [_row(v.name, tests.get(v.name), found[v.name]) for v in others]
    return ["### BLEU on the test set", EXPLAINED, "\n".join(lines)]


def _row(name: str, test: PairedTest | None, seeds: list[SeedTest]) -> str:
    over_seeds = [NOTHING] * 3
    if test is not None:
        interval = test.difference
        over_seeds = [f"{interval.mean:+.2f}", bounds(interval, "+"), p_text(test.p)]
    verdict = test.verdict if test is not None else NOTHING
    return row(
        [
            name,
            *over_seeds,
            verdict,
            _told_apart([test.bootstrap for test in seeds]),
            _told_apart([test.randomisation for test in seeds]),
        ]
    )


def _told_apart(p_values: Sequence[float]) -> str:
    if not p_values:
        return NOTHING
    count = sum(p < ALPHA for p in p_values)
    least, most = p_text(min(p_values)), p_text(max(p_values))
    return f"{count} of {len(p_values)} (p {least}{f' to {most}' * (most != least)})"


def seed_tests(variant: Variant, base: Variant) -> list[SeedTest]:
    """Test each seed that both have translations of, of the same references."""
    theirs = {run.record["seed"]: run for run in base.runs if run.samples.translations}
    found = []
    for run in variant.runs:
        other = theirs.get(run.record["seed"])
        if other is not None and run.samples.references == other.samples.references:
            found.append(SeedTest(run.record["seed"], *(_p(other, run, test) for test in TESTS)))
    return found


def _p(base: Run, run: Run, test: str) -> float:
    """p of two runs' BLEU being equal; sacreBLEU draws the same resamples every time.

    Args:
        base: its translations are sacreBLEU's baseline.
        run: tested against it.
        test: ``bs``, paired bootstrap (Koehn 2004), or ``ar``, approximate randomisation
            (Riezler and Maxwell 2005).
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.significance import PairedTest as SacreTest

    logging.getLogger("sacrebleu").setLevel(logging.WARNING)
    references = [list(run.samples.references)]
    named: list[tuple[str, Sequence[str]]] = [
        ("baseline", list(base.samples.translations)),
        ("variant", list(run.samples.translations)),
    ]
    _, results = SacreTest(named, {"BLEU": BLEU(references=references)}, None, test)()
    p_value = getattr(results["BLEU"][1], "p_value", None)
    assert p_value is not None  # the baseline alone, which comes first, has none
    return float(p_value)


HEAD = (
    "variant",
    "minus baseline",
    "95 % interval, paired",
    "p (Holm)",
    "verdict",
    "seeds told apart, bootstrap",
    "seeds told apart, randomisation",
)
EXPLAINED = (
    "sacreBLEU's tests compare the two runs of one seed and resample sentences; how often they "
    "tell single runs apart says nothing of other seeds. The interval and p over the seeds do. "
    f"Equivalent means within ±{BLEU_MARGIN:g} BLEU."
)
