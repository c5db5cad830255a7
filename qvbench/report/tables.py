"""The table of a comparison: one row per variant, one entry of :data:`COLUMNS` per column."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

from qvbench.report.comparison import Comparison, Variant
from qvbench.report.statistics import ALPHA, Interval, PairedTest

NONE = "-"
Cell = Callable[[Variant, Comparison], str]
Columns = Sequence[tuple[str, Sequence[str]]]


class Column(NamedTuple):
    """A column.

    Args:
        name: its heading; ``{metric}`` stands for the metric of the comparison.
        part: the table of the page in which it is; those of no part are in the CSV file alone.
        cell: its text in the row of a variant.
    """

    name: str
    part: str
    cell: Cell


def bounds(interval: Interval | None, sign: str = "") -> str:
    """The two ends of an interval in words."""
    if interval is None or interval.low is None or interval.high is None:
        return NONE
    return f"{interval.low:{sign}.2f} to {interval.high:{sign}.2f}"


def p_text(p: float) -> str:
    """A p-value to three digits after the point; to more where those read as the level itself."""
    digits = 3
    while digits < 6 and abs(round(p, digits) - ALPHA) < 1e-9:
        digits += 1
    return "< 0.001" if p < 0.001 else f"{p:.{digits}f}"


def count(value: float | None) -> str:
    """A number of things, with separators."""
    return NONE if value is None else f"{value:,.0f}"


def _difference(variant: Variant, comparison: Comparison) -> str:
    difference = comparison.difference(variant)
    return NONE if difference is None else f"{difference.mean:+.2f}"


def _tested(text: Callable[[PairedTest], str]) -> Cell:
    def cell(variant: Variant, comparison: Comparison) -> str:
        test = comparison.tests.get(variant.name)
        return NONE if test is None else text(test)

    return cell


def _verdict(variant: Variant, comparison: Comparison) -> str:
    if variant is comparison.baseline:
        return "baseline"
    test = comparison.tests.get(variant.name)
    return test.verdict if test else NONE


def _range(variant: Variant, comparison: Comparison) -> str:
    values = variant.scores.values()
    return f"{min(values):.2f} to {max(values):.2f}" if len(values) > 1 else NONE


def _score(metric: str, digits: int) -> Cell:
    """The mean over the seeds that were tested, and how many those were if not all."""

    def cell(variant: Variant, comparison: Comparison) -> str:
        values = variant.values(metric)
        if not values or metric == variant.metric.name:
            return NONE
        tested = "" if len(values) == len(variant.runs) else f" ({len(values)} tested)"
        return f"{fmean(values.values()):.{digits}f}{tested}"

    return cell


def _cost(*keys: str) -> Cell:
    return lambda variant, comparison: count(variant.cost(*keys))


def _minutes(variant: Variant, comparison: Comparison) -> str:
    seconds = variant.cost("wall_seconds")
    return NONE if seconds is None else f"{seconds / 60:.1f}"


RESULT, FURTHER, COSTS = "result", "further", "costs"
COLUMNS = (
    Column("id", "", lambda v, _: v.name),
    Column("variant", RESULT + FURTHER + COSTS, lambda v, _: v.label),
    Column("mechanism", "", lambda v, _: v.record["mechanism"]),
    Column("positions", "", lambda v, _: v.record["position"]),
    Column("seeds", RESULT, lambda v, _: str(len(v.runs))),
    Column("{metric}", RESULT, lambda v, _: f"{v.interval.mean:.2f}"),
    Column("95 % interval", RESULT, lambda v, _: bounds(v.interval)),
    Column("minus baseline", RESULT, _difference),
    Column("95 % interval, paired", RESULT, lambda v, c: bounds(c.difference(v), "+")),
    Column("p (Holm)", RESULT, _tested(lambda test: p_text(test.p))),
    Column("p, equivalence", RESULT, _tested(lambda test: p_text(test.p_equivalence))),
    Column("verdict", RESULT, _verdict),
    Column("range over seeds", FURTHER, _range),
    Column("95 %, other sentences too", FURTHER, lambda v, _: bounds(v.crossed)),
    Column(
        "paired, other sentences too", FURTHER, lambda v, c: bounds(c.crossed_difference(v), "+")
    ),
    Column("token accuracy (%)", FURTHER, _score("val/accuracy", 2)),
    Column("perplexity", FURTHER, _score("val/perplexity", 3)),
    Column("BLEU, tokenized", FURTHER, _score("test/bleu_tokenised", 2)),
    Column("BLEU", FURTHER, _score("test/bleu", 2)),
    Column("chrF", FURTHER, _score("test/chrf", 2)),
    Column("parameters", COSTS, _cost("parameters", "total")),
    Column("in attention", COSTS, _cost("parameters", "attention")),
    Column("training FLOPs per target token", COSTS, _cost("flops_per_target_token", "train")),
    Column("cache, self", COSTS, _cost("cache_per_token", "self")),
    Column("cache, cross", COSTS, _cost("cache_per_token", "cross")),
    Column("steps", COSTS, _cost("steps")),
    Column("target tokens", COSTS, _cost("target_tokens")),
    Column("minutes", COSTS, _minutes),
)
WORDS = ("id", "variant", "mechanism", "positions", "verdict")


def columns(comparison: Comparison, part: str = "") -> list[tuple[str, list[str]]]:
    """The columns of a part, or all, by name; those left out that no variant fills."""
    found = []
    for column in COLUMNS:
        if part in column.part:
            cells = [column.cell(variant, comparison) for variant in comparison.variants]
            if set(cells) != {NONE}:
                found.append((column.name.format(metric=comparison.axis), cells))
    return found


def part_of_table(comparison: Comparison, part: str) -> list[str]:
    """Markdown: a part of the table, and in a line the columns in which all variants are alike.

    Empty where no column but the variant's name is filled.
    """
    variants, *others = columns(comparison, part)
    alike = [c for c in others if len(c[1]) > 1 and len(set(c[1])) == 1]
    differ = [c for c in others if c not in alike]
    parts = [markdown([variants, *differ])] if differ else []
    if alike:
        words = "; ".join(f"{name} {cells[0]}" for name, cells in alike)
        parts.append(f"The same for all: {words}.")
    return parts


def markdown(table: Columns) -> str:
    """Columns as Markdown; words are aligned to the left."""
    lines = [
        row(name for name, _ in table),
        row("---" if name in WORDS else "---:" for name, _ in table),
    ]
    return "\n".join([*lines, *(row(cells) for cells in _rows(table))])


def row(cells: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def csv_table(table: Columns) -> str:
    """Columns as CSV, numbers as the page rounds them but without separators."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name, _ in table])
    writer.writerows([_plain(cell) for cell in cells] for cells in _rows(table))
    return text.getvalue()


def _plain(cell: str) -> str:
    """A number without its separators of thousands; what is missing is empty."""
    bare = cell.replace(",", "")
    return "" if cell == NONE else bare if bare.replace(".", "").isdigit() else cell


def latex_table(table: Columns) -> str:
    """Columns as a ``tabular`` between the rules of booktabs."""
    form = "".join("l" if name in WORDS else "r" for name, _ in table)
    head, *body = [
        " & ".join(map(_latex, cells)) + r" \\" for cells in ([n for n, _ in table], *_rows(table))
    ]
    lines = [rf"\begin{{tabular}}{{{form}}}", r"\toprule", head, r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _rows(table: Columns) -> Iterable[tuple[str, ...]]:
    return zip(*(cells for _, cells in table), strict=True)


LATEX = {letter: f"\\{letter}" for letter in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"\textpm{}",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
}


def _latex(text: str) -> str:
    text = re.sub(r"(?<![\w-])-(?=\d)", "\0", text)  # a minus sign, not a hyphen
    return "".join(LATEX.get(letter, letter) for letter in text).replace("\0", "$-$")
