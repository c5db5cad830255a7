"""BLEU against the baseline: over the seeds, and by sacreBLEU's paired tests seed by seed."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from qvbench.errors import UserError
from qvbench.report.comparison import Comparison
from qvbench.report.runs import Run
from qvbench.report.statistics import PairedTest, paired_differences, table_of_tests

METRIC = "test/bleu"
BLEU_MARGIN = 0.1
FILE = "bleu_tests.json"
"""p-values that a results folder keeps: a minute of resampling each, always with one outcome."""
Known = dict[str, list[float]]


class BleuRow(NamedTuple):
    """A variant against the baseline.

    Args:
        label: of the variant.
        test: over the seeds; None below two.
        bootstrap: p of sacreBLEU's paired bootstrap (Koehn 2004) of each seed's two runs.
        randomization: p of its approximate randomization (Riezler and Maxwell 2005).
    """

    label: str
    test: PairedTest | None
    bootstrap: list[float]
    randomization: list[float]


def bleu_rows(comparison: Comparison, known: Known) -> list[BleuRow]:
    """A row per variant that shares tested seeds with the baseline; empty without.

    Args:
        comparison: of the runs.
        known: p-values that were kept; afterwards those of this comparison and no others.
    """
    base = comparison.baseline
    if base is None:
        return []
    scores = base.values(METRIC)
    differences = {v.name: paired_differences(v.values(METRIC), scores) for v in comparison.others}
    tests = table_of_tests(differences, BLEU_MARGIN)
    p_values: dict[str, list[list[float]]] = {v.name: [] for v in comparison.others}
    used: Known = {}
    for run in base.runs:
        systems = {
            v.name: other
            for v in comparison.others
            for other in v.runs
            if other.seed == run.seed and run.translations and other.translations
            if other.references == run.references
        }
        for name, p in _seed_tests(run, systems, known, used).items():
            p_values[name].append(p)
    known.clear()
    known.update(used)
    if not tests and not any(p_values.values()):
        return []
    return [
        BleuRow(v.label, tests.get(v.name), *([p[i] for p in p_values[v.name]] for i in (0, 1)))
        for v in comparison.others
    ]


def _seed_tests(
    base: Run, systems: Mapping[str, Run], known: Known, used: Known
) -> dict[str, list[float]]:
    """p of each system's BLEU being the baseline's, by bootstrap and by randomization.

    sacreBLEU draws the same resamples every time.
    """
    keys = {name: _key(base, run) for name, run in systems.items()}
    new = {name: list(run.translations) for name, run in systems.items() if keys[name] not in known}
    if new:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.significance import PairedTest as SacreTest

        print(f"BLEU     seed {base.seed}: {len(new)} paired tests", file=sys.stderr, flush=True)
        logging.getLogger("sacrebleu").setLevel(logging.WARNING)
        metric = {"BLEU": BLEU(references=[list(base.references)])}
        for method in ("bs", "ar"):
            named: list[tuple[str, Sequence[str]]] = [("baseline", list(base.translations))]
            named += new.items()
            _, results = SacreTest(named, metric, None, method)()
            for name, result in zip(new, results["BLEU"][1:], strict=True):
                p = getattr(result, "p_value", None)
                assert p is not None  # the baseline alone, which comes first, has none
                known.setdefault(keys[name], []).append(float(p))
    used |= {key: known[key] for key in keys.values()}
    return {name: known[key] for name, key in keys.items()}


def _key(base: Run, run: Run) -> str:
    """Tells a pair of systems by what they translated."""
    lines = [base.references, base.translations, run.translations]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:16]


def read_tests(folder: Path) -> Known:
    """The p-values that a results folder keeps; empty without.

    Raises:
        UserError: the file is damaged.
    """
    file = folder / FILE
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {str(key): [float(p) for p in values] for key, values in found.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: cannot be read as p-values: {error}") from error


def write_tests(known: Known, folder: Path) -> None:
    """Keep p-values, if there are any."""
    if known:
        text = json.dumps(dict(sorted(known.items())), indent=0) + "\n"
        (folder / FILE).write_text(text, encoding="utf-8")
