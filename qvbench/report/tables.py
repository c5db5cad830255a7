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
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from statistics import fmean, stdev

import numpy as np

from qvbench.profile.render import booktabs, escape
from qvbench.report import data
from qvbench.report.comparison import Comparison
from qvbench.report.paper import JUDGMENTS, PAPER, paper_contrasts
from qvbench.report.statistics import (
    ALPHA,
    Finding,
    Interval,
    bleu_p_values,
    estimate,
    power,
    power_of_equivalence,
    seeds_needed,
)
from qvbench.report.variants import Contrast, Variant

NONE = "-"
TEXT = data("page.yaml")
Table = Sequence[Sequence[str]]
"""Rows of cells, the first one the headings; empty without a table."""
Cell = Callable[[Variant, Comparison], str]


def number(value: float | None, form: str = ".2f") -> str:
    return NONE if value is None or math.isnan(value) else f"{value:{form}}"


def extremes(counts: Collection[int]) -> str:
    """The least and the greatest of some numbers; one where they are the same."""
    return " to ".join(map(str, sorted({min(counts), max(counts)})))


def bounds(interval: Interval | None, form: str = ".2f") -> str:
    """The two ends of an interval."""
    if interval is None or math.isnan(interval.low):
        return NONE
    return f"{interval.low:{form}} to {interval.high:{form}}"


def with_interval(interval: Interval, form: str) -> str:
    """A difference, and the ends of its interval where they are known."""
    ends = bounds(interval, f"+{form}")
    return number(interval.mean, f"+{form}") + f" ({ends})" * (ends != NONE)


def per_cent(interval: Interval) -> Interval:
    """A difference of logarithms as a ratio, in per cent more."""
    with np.errstate(over="ignore"):  # an interval of two seeds can reach further than any number
        return Interval(*(100 * np.expm1(interval)).tolist())


def p_text(p: float) -> str:
    """A p-value to three decimals; to more where those would read as the level itself."""
    digits = 3
    while digits < 6 and abs(round(p, digits) - ALPHA) < 1e-9:
        digits += 1
    return "< 0.001" if p < 0.001 else f"{p:.{digits}f}"


def signs(text: str) -> str:
    """Markdown with a minus sign where a hyphen stands for one; code is left as it is."""
    found = r"(```.*?```|`[^`]*`)|(?<![\w-])-(?=\d)"
    return re.sub(found, lambda part: part[1] or "\N{MINUS SIGN}", text, flags=re.DOTALL)


# A row per variant


def _found(text: Callable[[Finding, str], str]) -> Cell:
    """Cells of a finding, given the format of the metric's values."""
    return lambda v, c: text(c.findings[v], c.form) if v in c.findings else NONE


def _row(text: Callable[[Contrast, Comparison], str]) -> Cell:
    """Cells of a difference to the baseline."""
    return lambda v, c: text(c.rows[v], c) if v in c.rows else NONE


def _verdict(variant: Variant, comparison: Comparison) -> str:
    base = comparison.baselines.get(variant) is variant
    return "baseline" if base else _found(lambda found, _: found.verdict)(variant, comparison)


def seeds_of(variant: Variant) -> str:
    """How many seeds have a value, and how the others ended: a failure is an outcome."""
    ends = (run.record["status"].replace("finished", "without a value") for run in variant.failed)
    others = "".join(f"; {count} {end}" for end, count in sorted(Counter(ends).items()))
    total = f" of {len(variant.runs) + len(variant.failed)}" * bool(others)
    return f"{len(variant.runs)}{total}{others}"


def _range(variant: Variant, comparison: Comparison) -> str:
    values = variant.scores.values()
    ends = Interval(variant.mean, min(values), max(values)) if len(values) > 1 else None
    return bounds(ends, comparison.form)


def _perplexity(row: Contrast, comparison: Comparison) -> str:
    """By how much the perplexity is above the baseline's, from the difference in loss."""
    if not _is_loss(comparison):
        return NONE
    return with_interval(per_cent(comparison.interval(row)), ".1f")


def _cached(variant: Variant, comparison: Comparison) -> str:
    """Of a language model, beside whose loss it belongs."""
    return _cost("cache_per_token/self")(variant, comparison) if _is_loss(comparison) else NONE


def _is_loss(comparison: Comparison) -> bool:
    return comparison.metric.unit == "nats"


def _other_sentences(row: Contrast, comparison: Comparison) -> str:
    interval = row.over_sentences(ALPHA / comparison.questions(row))
    return bounds(interval, f"+{comparison.form}")


def _score(metric: str, digits: int = 2) -> Cell:
    """The mean over the seeds that have the metric, and how many these are if not all."""

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
    ("seeds", RESULT, lambda v, _: seeds_of(v)),
    ("{metric}", RESULT, lambda v, c: number(v.mean, c.form)),
    ("minus baseline", RESULT, _row(lambda row, c: number(row.estimate.mean, f"+{c.form}"))),
    ("95 % interval, simultaneous", RESULT, _found(lambda f, form: bounds(f.interval, f"+{form}"))),
    ("verdict", RESULT, _verdict),
    ("p (Bonferroni)", RESULT, _found(lambda found, _: p_text(found.p))),
    ("shown to lie within ±", RESULT, _found(lambda found, form: number(found.margin, form))),
    ("perplexity, % more", RESULT, _row(_perplexity)),
    ("cached elements", RESULT, _cached),
    ("95 % interval of the mean", FURTHER, lambda v, c: bounds(v.interval, c.form)),
    ("range over seeds", FURTHER, _range),
    ("simultaneous, other sentences too", FURTHER, _row(_other_sentences)),
    ("early in training", FURTHER, lambda v, c: number(fmean(v.early or [math.nan]), c.form)),
    ("token accuracy (%)", FURTHER, _score("val/accuracy")),
    ("perplexity", FURTHER, _score("val/perplexity", 3)),
    ("bits per byte", FURTHER, _score("val/bits_per_byte", 4)),
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


# Beside the paper


def paper_table(comparison: Comparison) -> Table:
    """The paper's rows that are ours too, against QKV with the same positions; empty without."""
    contrasts, ours = paper_contrasts(comparison.ours), comparison.ours
    table = [TEXT["paper_columns"]]
    rows = PAPER["rows"]
    for key, row in rows.items():
        if key not in ours:
            continue
        label = f"{row['label']}, {row['position'].replace('agf', 'AGF + PCM-V')}"
        printed = f"{row['accuracy']:.4f}" + f" ({row.get('earlier')})" * ("earlier" in row)
        cells = [label, printed, NONE, number(ours[key].mean), *[NONE] * 6]
        if (contrast := contrasts.get(key)) is not None:
            gap = row["accuracy"] - rows[row["than"]]["accuracy"]
            cells[2], cells[4] = f"{gap:+.2f}", number(contrast.estimate.mean, "+.2f")
            if (found := comparison.finding(contrast)) is not None:
                _, low, high = found.interval
                within = "yes" if low <= gap <= high else "no"
                spreads = stdev(ours[key].scores.values()), stdev(contrast.less[0].scores.values())
                needed = [
                    seeds_needed(of, spreads, abs(gap)) for of in (power, power_of_equivalence)
                ]
                cells[5:8] = bounds(found.interval, "+.2f"), found.verdict, within
                cells[8:] = ["> 100,000" if count is None else f"{count:,}" for count in needed]
        table.append(cells)
    return table if contrasts else []


# BLEU on the test set


def bleu_table(comparison: Comparison) -> Table:
    """Differences over the seeds, and for how many sacreBLEU's tests are significant."""
    scores = {v: [*v.values("test/bleu").values()] for v in comparison.variants}
    differences = {
        variant: estimate([(1, scores[variant]), (-1, scores[comparison.baselines[variant]])])
        for variant in comparison.rows
    }
    known = sum(difference.error >= 0 for difference in differences.values())
    p_values = _sacrebleu_tests(comparison)
    if not known and not any(p_values.values()):
        return []
    rows = [TEXT["bleu_columns"]]
    for variant, difference in differences.items():
        interval, found = difference.interval(ALPHA / max(known, 1)), p_values[variant.name]
        counts = [sum(pair[method] < ALPHA for pair in found) for method in (0, 1)]
        cells = [number(difference.mean, "+.2f"), bounds(interval, "+.2f")]
        cells += [f"{count} of {len(found)}" if found else NONE for count in counts]
        rows.append([variant.label, *cells])
    return rows


def _sacrebleu_tests(comparison: Comparison) -> dict[str, list[list[float]]]:
    """Two p-values per seed of each variant; afterwards the comparison keeps these alone."""
    known, used = comparison.bleu_tests, {}
    p_values: dict[str, list[list[float]]] = {v.name: [] for v in comparison.rows}
    for variant in comparison.rows:
        by_seed = {run.seed: run for run in comparison.baselines[variant].runs}
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
WORDS |= {"what the paper says", "measure", *JUDGMENTS}
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
    return booktabs([[*map(_latex, row)] for row in table], form) + "\n"


def _latex(text: str) -> str:
    """Mathematical signs, and hyphens that stand for a minus sign, in math mode."""
    signs = {"±": r"\pm", "\N{MULTIPLICATION SIGN}": r"\times"}
    found = r"(?<![\w-])-(?=\d)|[<>±\N{MULTIPLICATION SIGN}]"
    return re.sub(found, lambda sign: f"${signs.get(sign[0], sign[0])}$", escape(text))
