"""Tables of a comparison: rows of text, written as Markdown, CSV and LaTeX.

:data:`COLUMNS` are those with a row per variant; a column is added by a line there.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from statistics import fmean

from qvbench.profile.render import escape
from qvbench.report import data
from qvbench.report.comparison import Comparison, Variant
from qvbench.report.statistics import (
    ALPHA,
    Interval,
    PairedTest,
    bleu_p_values,
    paired_differences,
    table_of_tests,
)

NONE = "-"
Table = Sequence[Sequence[str]]
"""Rows of cells, the first one the headings; empty without a table."""
Cell = Callable[[Variant, Comparison], str]


def with_sign(interval: Interval | None) -> tuple[str, str]:
    return (NONE if interval is None else f"{interval.mean:+.2f}"), bounds(interval, "+")


def bounds(interval: Interval | None, sign: str = "") -> str:
    """The two ends of an interval in words."""
    if interval is None or math.isnan(interval.low):
        return NONE
    return f"{interval.low:{sign}.2f} to {interval.high:{sign}.2f}"


def p_text(p: float) -> str:
    """A p-value to three digits after the point; to more where those read as the level itself."""
    digits = 3
    while digits < 6 and abs(round(p, digits) - ALPHA) < 1e-9:
        digits += 1
    return "< 0.001" if p < 0.001 else f"{p:.{digits}f}"


# A row per variant


def _tested(text: Callable[[PairedTest], str]) -> Cell:
    return lambda v, c: text(c.tests[v.name]) if v.name in c.tests else NONE


def _verdict(variant: Variant, comparison: Comparison) -> str:
    base = variant is comparison.baseline
    return "baseline" if base else _tested(lambda test: test.verdict)(variant, comparison)


def _range(variant: Variant, comparison: Comparison) -> str:
    values = variant.scores.values()
    return f"{min(values):.2f} to {max(values):.2f}" if len(values) > 1 else NONE


def _score(metric: str, digits: int = 2) -> Cell:
    """The mean over the seeds that were tested, and how many those were if not all."""

    def cell(variant: Variant, comparison: Comparison) -> str:
        values = variant.values(metric)
        if not values or metric == variant.metric.name:
            return NONE
        tested = "" if len(values) == len(variant.runs) else f" ({len(values)} tested)"
        return f"{fmean(values.values()):.{digits}f}{tested}"

    return cell


def _cost(name: str, unit: float = 1, digits: int = 0) -> Cell:
    def cell(variant: Variant, comparison: Comparison) -> str:
        value = variant.cost(name)
        return NONE if value is None else f"{value / unit:,.{digits}f}"

    return cell


RESULT, FURTHER, COSTS = "result", "further", "costs"
COLUMNS: tuple[tuple[str, str, Cell], ...] = (  # heading, parts of the page (or CSV alone), cell
    ("id", "", lambda v, _: v.name),
    ("variant", RESULT + FURTHER + COSTS, lambda v, _: v.label),
    ("mechanism", "", lambda v, _: v.record["mechanism"]),
    ("positions", "", lambda v, _: v.record["position"]),
    ("seeds", RESULT, lambda v, _: str(len(v.runs))),
    ("{metric}", RESULT, lambda v, _: f"{v.interval.mean:.2f}"),
    ("95 % interval", RESULT, lambda v, _: bounds(v.interval)),
    ("minus baseline", RESULT, lambda v, c: with_sign(c.difference(v))[0]),
    ("95 % interval, paired", RESULT, lambda v, c: with_sign(c.difference(v))[1]),
    ("p (Holm)", RESULT, _tested(lambda test: p_text(test.p))),
    ("p, equivalence", RESULT, _tested(lambda test: p_text(test.p_equivalence))),
    ("verdict", RESULT, _verdict),
    ("range over seeds", FURTHER, _range),
    ("paired, other sentences too", FURTHER, lambda v, c: bounds(c.crossed_difference(v), "+")),
    ("token accuracy (%)", FURTHER, _score("val/accuracy")),
    ("perplexity", FURTHER, _score("val/perplexity", 3)),
    ("BLEU, tokenized", FURTHER, _score("test/bleu_tokenised")),
    ("BLEU", FURTHER, _score("test/bleu")),
    ("chrF", FURTHER, _score("test/chrf")),
    ("parameters", COSTS, _cost("parameters/total")),
    ("in attention", COSTS, _cost("parameters/attention")),
    ("training FLOPs per target token", COSTS, _cost("flops_per_target_token/train")),
    ("cache, self", COSTS, _cost("cache_per_token/self")),
    ("cache, cross", COSTS, _cost("cache_per_token/cross")),
    ("steps", COSTS, _cost("steps")),
    ("target tokens", COSTS, _cost("target_tokens")),
    ("minutes", COSTS, _cost("wall_seconds", unit=60, digits=1)),
)


def table_of(comparison: Comparison, part: str = "") -> Table:
    """A row per variant, with the columns of a part (or all) that some variant fills."""
    columns = [
        [name.format(metric=comparison.axis), *(cell(v, comparison) for v in comparison.variants)]
        for name, parts, cell in COLUMNS
        if part in parts
    ]
    return list(zip(*(column for column in columns if set(column[1:]) != {NONE}), strict=True))


def part_of_table(part: str, comparison: Comparison) -> list[str]:
    """Markdown: a part of the table, and in a line the columns in which all variants are alike."""
    variants, *others = zip(*table_of(comparison, part), strict=True)
    alike = [c for c in others if len(c) > 2 and len(set(c[1:])) == 1]
    differ = [c for c in others if c not in alike]
    words = "; ".join(f"{name} {cell}" for name, cell, *_ in alike)
    table = [markdown(list(zip(variants, *differ, strict=True)))] if differ else []
    return table + ([f"The same for all: {words}."] if alike else [])


# BLEU on the test set

BLEU_MARGIN = 0.1


def bleu_table(comparison: Comparison) -> Table:
    """Over the seeds, and how many of them sacreBLEU's tests call different; empty without."""
    base, others = comparison.baseline, comparison.others
    if base is None:
        return []
    scores = base.values("test/bleu")
    differences = {v.name: paired_differences(v.values("test/bleu"), scores) for v in others}
    tests = table_of_tests(differences, BLEU_MARGIN)
    p_values = _sacrebleu_tests(comparison, base)
    if not tests and not any(p_values.values()):
        return []
    rows = [data("page.yaml")["bleu_columns"]]
    for variant in others:
        cells, found = [NONE] * 4, p_values[variant.name]
        if (test := tests.get(variant.name)) is not None:
            cells = [*with_sign(test.difference), p_text(test.p), test.verdict]
        counts = [sum(pair[method] < ALPHA for pair in found) for method in (0, 1)]
        cells += [f"{count} of {len(found)}" if found else NONE for count in counts]
        rows.append([variant.label, *cells])
    return rows


def _sacrebleu_tests(comparison: Comparison, base: Variant) -> dict[str, list[list[float]]]:
    """Two p per seed of each variant; afterwards the comparison keeps exactly these."""
    known, used = comparison.bleu_tests, {}
    p_values: dict[str, list[list[float]]] = {v.name: [] for v in comparison.others}
    by_seed = {run.seed: run for run in base.runs}
    for variant in comparison.others:
        for run in variant.runs:
            other = by_seed.get(run.seed)
            if not run.references or other is None or run.references != other.references:
                continue
            texts = [[*other.references], [*other.translations], [*run.translations]]
            key = hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]
            if key not in known:
                print(f"BLEU     {run.id}: paired tests", file=sys.stderr, flush=True)
                known[key] = bleu_p_values(*texts)
            used[key] = known[key]
            p_values[variant.name].append(known[key])
    known.clear()
    known.update(used)
    return p_values


# Formats

WORDS = {"id", "variant", "mechanism", "positions", "verdict", "mode", "paper's within ours"}
WORDS |= {"significant seeds, bootstrap", "significant seeds, randomization"}
"""Columns that are aligned to the left."""


def markdown(table: Table) -> str:
    head, *body = table
    rule = ("---" if name in WORDS else "---:" for name in head)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *body))


def csv_table(table: Table) -> str:
    """CSV, numbers as the page rounds them but without separators; what is missing is empty."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(_plain, row) for row in table)
    return text.getvalue()


def _plain(cell: str) -> str:
    bare = cell.replace(",", "")
    return "" if cell == NONE else bare if bare.replace(".", "").isdigit() else cell


def latex_table(table: Table) -> str:
    """A ``tabular`` between the rules of booktabs."""
    form = "".join("l" if name in WORDS else "r" for name in table[0])
    head, *body = [" & ".join(map(_latex, row)) + r" \\" for row in table]
    lines = [rf"\begin{{tabular}}{{{form}}}", r"\toprule", head, r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex(text: str) -> str:
    """Signs of mathematics, and a minus sign where a hyphen stands for one, in math mode."""
    signs = {"±": r"\pm", "\N{MULTIPLICATION SIGN}": r"\times"}
    found = r"(?<![\w-])-(?=\d)|[<>±\N{MULTIPLICATION SIGN}]"
    return re.sub(found, lambda sign: f"${signs.get(sign[0], sign[0])}$", escape(text))
