"""The table of a comparison, in Markdown: one row per variant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from qvbench.report.load import Run
from qvbench.report.significance import ALPHA
from qvbench.report.statistics import Interval
from qvbench.report.table import NOTHING, count, row
from qvbench.report.variants import Comparison, Variant

Cell = Callable[[Variant, Comparison], str]


def filled(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """The columns by name, those left out that no variant fills."""
    columns = []
    for name, cell in COLUMNS:
        cells = [cell(variant, comparison) for variant in comparison.variants]
        if set(cells) != {NOTHING}:
            columns.append((name, cells))
    return columns


def part_of_table(comparison: Comparison, names: Sequence[str]) -> list[str]:
    """Markdown: some columns of the table, and in a line those in which all variants are alike.

    Args:
        comparison: of the runs.
        names: of the columns, beside that of the variants; those that nobody fills are left out.

    Returns:
        Nothing where none of the columns is filled.
    """
    variants, *others = [c for c in filled(comparison) if c[0] in ("variant", *names)]
    alike = [c for c in others if len(c[1]) > 1 and len(set(c[1])) == 1]
    differ = [c for c in others if c not in alike]
    parts = [_markdown([variants, *differ]).rstrip()] if differ else []
    if alike:
        words = "; ".join(f"{name} {cells[0]}" for name, cells in alike)
        parts.append(f"The same for all: {words}.")
    return parts


def _markdown(columns: Sequence[tuple[str, list[str]]]) -> str:
    lines = [
        row(name for name, _ in columns),
        row("---" if name in LEFT else "---:" for name, _ in columns),
    ]
    lines += [row(cells) for cells in zip(*(cells for _, cells in columns), strict=True)]
    return "\n".join(lines) + "\n"


def bounds(interval: Interval | None, sign: str = "") -> str:
    """The two ends of an interval in words."""
    if interval is None or interval.low is None or interval.high is None:
        return NOTHING
    return f"{interval.low:{sign}.2f} to {interval.high:{sign}.2f}"


def _difference(variant: Variant, comparison: Comparison) -> str:
    difference = comparison.difference(variant)
    return NOTHING if difference is None else f"{difference.mean:+.2f}"


def _verdict(variant: Variant, comparison: Comparison) -> str:
    if variant is comparison.baseline:
        return "baseline"
    test = comparison.tests.get(variant.name)
    return test.verdict if test else NOTHING


def p_text(p: float) -> str:
    """A p-value to three digits after the point; to more where those read as the level itself."""
    digits = 3
    while digits < 6 and abs(round(p, digits) - ALPHA) < 1e-9:
        digits += 1
    return "< 0.001" if p < 0.001 else f"{p:.{digits}f}"


def _difference_p(variant: Variant, comparison: Comparison) -> str:
    test = comparison.tests.get(variant.name)
    return p_text(test.p) if test else NOTHING


def _equivalence_p(variant: Variant, comparison: Comparison) -> str:
    test = comparison.tests.get(variant.name)
    return p_text(test.p_equivalence) if test else NOTHING


def _spread(variant: Variant, comparison: Comparison) -> str:
    values = variant.accuracies.values()
    return f"{min(values):.2f} to {max(values):.2f}" if len(values) > 1 else NOTHING


def _score(metric: str) -> Cell:
    """The mean over the seeds that were tested, and how many those were if not all."""

    def cell(variant: Variant, comparison: Comparison) -> str:
        values = variant.values(metric)
        if not values:
            return NOTHING
        tested = "" if len(values) == len(variant.runs) else f" ({len(values)} tested)"
        return f"{fmean(values.values()):.2f}{tested}"

    return cell


def _cost(number: Callable[[Run], float | None]) -> Cell:
    return lambda variant, comparison: count(variant.mean(number))


def _part(name: str, key: str) -> Callable[[Run], float | None]:
    return lambda run: run.record.get(name, {}).get(key)


def _minutes(variant: Variant, comparison: Comparison) -> str:
    seconds = variant.mean(lambda run: run.record.get("wall_seconds"))
    return NOTHING if seconds is None else f"{seconds / 60:.1f}"


COLUMNS: list[tuple[str, Cell]] = [
    ("variant", lambda variant, _: variant.name),
    ("mechanism", lambda variant, _: variant.record["mechanism"]),
    ("positions", lambda variant, _: variant.record["position"]),
    ("seeds", lambda variant, _: str(len(variant.runs))),
    ("val accuracy", lambda variant, _: f"{variant.accuracy.mean:.2f}"),
    ("95 % interval", lambda variant, _: bounds(variant.accuracy)),
    ("95 %, other sentences too", lambda variant, _: bounds(variant.crossed)),
    ("worst to best seed", _spread),
    ("minus baseline", _difference),
    ("95 % interval, paired", lambda variant, c: bounds(c.difference(variant), "+")),
    ("paired, other sentences too", lambda v, c: bounds(c.crossed_difference(v), "+")),
    ("p (Holm)", _difference_p),
    ("p, equivalence", _equivalence_p),
    ("verdict", _verdict),
    ("BLEU, tokenised", _score("test/bleu_tokenised")),
    ("BLEU", _score("test/bleu")),
    ("target tokens", _cost(lambda run: run.record.get("target_tokens"))),
    ("parameters", _cost(_part("parameters", "total"))),
    ("in attention", _cost(_part("parameters", "attention"))),
    ("training FLOPs a target token", _cost(_part("flops_per_target_token", "train"))),
    ("cache, self", _cost(_part("cache_per_token", "self"))),
    ("cache, cross", _cost(_part("cache_per_token", "cross"))),
    ("minutes", _minutes),
]
LEFT = ("variant", "mechanism", "positions", "verdict")
RESULT = (
    "mechanism",
    "positions",
    "seeds",
    "val accuracy",
    "95 % interval",
    "minus baseline",
    "95 % interval, paired",
    "p (Holm)",
    "p, equivalence",
    "verdict",
)
"""What the first table of the page shows; it fits a window."""
FURTHER = (
    "worst to best seed",
    "95 %, other sentences too",
    "paired, other sentences too",
    "BLEU, tokenised",
    "BLEU",
)
COSTS = (
    "parameters",
    "in attention",
    "training FLOPs a target token",
    "cache, self",
    "cache, cross",
    "target tokens",
    "minutes",
)
