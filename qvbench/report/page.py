"""The page of a results folder, Markdown. A section is one function in :data:`SECTIONS`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from qvbench.report.appendix import commands, machines, notes, settings
from qvbench.report.bleu import BLEU_MARGIN, BleuRow
from qvbench.report.comparison import VERDICTS, Comparison
from qvbench.report.curves import accuracy, early
from qvbench.report.figures import costs, differences, save
from qvbench.report.paper import Gap, claims, gaps, paper, paper_rows
from qvbench.report.runs import Run
from qvbench.report.statistics import ALPHA
from qvbench.report.tables import COSTS, FURTHER, NONE, RESULT, bounds, p_text, part_of_table, row


class Page(NamedTuple):
    """What the sections are made from.

    Args:
        comparison: of the runs.
        figures: Markdown of the figures beside the page, by name.
        bleu: the variants' translations against the baseline's.
        folder: the results folder as the commands name it.
    """

    comparison: Comparison
    figures: dict[str, str]
    bleu: list[BleuRow]
    folder: str

    def shown(self, *names: str) -> list[str]:
        """The figures of these names that there are."""
        return [self.figures[name] for name in names if name in self.figures]


def markdown_page(page: Page) -> str:
    """The whole page; sections that have nothing to say are left out."""
    parts = [f"# {page.comparison.title}", GENERATED, _summary(page.comparison)]
    for heading, section in SECTIONS:
        content = [part for part in section(page) if part]
        parts += [heading, *content] if content else []
    return "\n\n".join(parts) + "\n"


def _summary(comparison: Comparison) -> str:
    """What was run, how many variants have which verdict, and the same of the claims."""
    counts = sorted({len(variant.runs) for variant in comparison.variants})
    seeds = (
        "one seed"
        if counts == [1]
        else f"{' to '.join(map(str, counts[:: len(counts) - 1 or 1]))} seeds"
    )
    corpora = ", ".join(sorted({run.record.get("corpus", "") for run in comparison.runs} - {""}))
    steps = {run.record.get("steps") for run in comparison.runs}
    variants = len(comparison.variants)
    said = f"{variants} variants, {seeds} each" if variants > 1 else f"One variant, {seeds}"
    said += f", on the corpus {corpora}" * bool(corpora)
    said += f", {steps.pop():,} steps each" if len(steps) == 1 and None not in steps else ""
    parts = []
    for verdict in VERDICTS:
        labels = [variant.label for variant in comparison.with_verdict(verdict)]
        listed = f" ({'; '.join(labels)})" if verdict != "inconclusive" else ""
        parts += [f"**{len(labels)} {verdict}**{listed}"] if labels else []
    base = comparison.baseline
    verdicts = f" Against {base.label}: {'; '.join(parts)}." if base and parts else ""
    found = [claim.judgment for claim in claims(comparison)]
    words = [f"{found.count(word)} {word}" for word in JUDGMENTS if word in found]
    judged = f" The paper's claims that can be tested here: {', '.join(words)}." if found else ""
    return f"{said}.{verdicts}{judged}"


def _result(page: Page) -> list[str]:
    comparison = page.comparison
    fallen = [text for run in comparison.runs if (text := _fall(run, comparison))]
    note = [f"**Ended far from their best, a failure of training:** {'; '.join(fallen)}."]
    table = part_of_table(comparison, RESULT)
    return [*table, *(note if fallen else []), *page.shown("differences")]


def _fall(run: Run, comparison: Comparison) -> str:
    """A run that lost more than a tenth of what it had gained, with its best and last value."""
    values = [point.value for point in run.curves.get(comparison.metric.name, [])]
    if not values:
        return ""
    best = max(values) if comparison.metric.higher_is_better else min(values)
    if abs(best - values[-1]) <= 0.1 * abs(best - values[0]):
        return ""
    return f"{run.id} (best {best:.2f}, last {values[-1]:.2f})"


def _conclusions(page: Page) -> list[str]:
    """The verdicts, and how far they carry."""
    comparison, base = page.comparison, page.comparison.baseline
    if len(comparison.variants) == 1:
        return []
    if base is None:
        return ["No baseline is given, so no variant is compared with another."]
    if not comparison.tests:
        return [NO_VERDICT]
    unit = comparison.unit
    lines = [
        f"Baseline: {base.label}, {base.interval.mean:.2f} {comparison.metric.unit} over "
        f"{len(base.runs)} seeds."
    ]
    for verdict, heading in HEADINGS.items():
        found = comparison.with_verdict(verdict)
        listed = [f"{v.label} ({comparison.tests[v.name].difference.mean:+.2f})" for v in found]
        start = heading.format(margin=comparison.margin, unit=unit)
        lines += [f"- {start}: {'; '.join(listed)}."] if found else []
    power = [_gap(gap) for gap in gaps(comparison)]
    return [
        "\n".join([lines[0], "", *lines[1:]]),
        TESTS.format(margin=comparison.margin, unit=unit),
        *([POWER, "\n".join(power)] if power else []),
    ]


def _gap(gap: Gap) -> str:
    seeds = "more than 100,000" if gap.seeds is None else f"{gap.seeds:,}"
    source = "" if gap.own else ", pooled over the rows of this table"
    return (
        f"- {gap.points:.4g} points ({gap.text}): {seeds} seeds (deviation "
        f"{gap.deviation:.3f}{source})"
    )


def _further(page: Page) -> list[str]:
    return part_of_table(page.comparison, FURTHER)


def _bleu(page: Page) -> list[str]:
    """A row per variant that shares tested seeds with the baseline."""
    if not page.bleu:
        return []
    lines = [row(BLEU_HEAD), row(["---", *["---:"] * 3, "---", "---", "---"])]
    for entry in page.bleu:
        cells = [NONE] * 4
        if (test := entry.test) is not None:
            mean, ends = f"{test.difference.mean:+.2f}", bounds(test.difference, "+")
            cells = [mean, ends, p_text(test.p), test.verdict]
        seeds = [_significant(p_values) for p_values in (entry.bootstrap, entry.randomization)]
        lines.append(row([entry.label, *cells, *seeds]))
    return [BLEU, "\n".join(lines)]


def _significant(p_values: list[float]) -> str:
    if not p_values:
        return NONE
    least, most = p_text(min(p_values)), p_text(max(p_values))
    found = sum(p < ALPHA for p in p_values)
    return f"{found} of {len(p_values)} (p {least}{f' to {most}' * (most != least)})"


def _paper(page: Page) -> list[str]:
    """The paper's rows beside ours, each against QKV with the same positions."""
    rows = paper_rows(page.comparison)
    rows = rows if any(row.paired for row in rows) else []
    lines = [row(PAPER_HEAD), row(["---", *["---:"] * 6, "---", "---"])] if rows else []
    for label, printed, theirs, ours, paired, test in rows:
        cells = [NONE] * 5
        if paired:
            cells[0] = f"{sum(paired) / len(paired):+.2f}"
        if test is not None:
            low, high = test.difference.low, test.difference.high
            cells[1:4] = bounds(test.difference, "+"), p_text(test.p), test.verdict
            if theirs is not None and low is not None and high is not None:
                cells[4] = "yes" if low <= theirs <= high else "no"
        gap = NONE if theirs is None else f"{theirs:+.2f}"
        lines.append(row([label, printed, gap, f"{ours.interval.mean:.2f}", *cells]))
    beside = ["\n".join(lines), PAPER.format(source=paper()["source"])] if rows else []
    found = [
        f"- Claim {number}, {text}: **{judgment}** ({test.verdict}; {test.difference.mean:+.2f} "
        f"points, {bounds(test.difference, '+')}, p {p_text(test.p)}, of equivalence "
        f"{p_text(test.p_equivalence)}; {test.difference.count} seeds)"
        for number, text, test, judgment in claims(page.comparison)
    ]
    return beside + (["### The paper's claims", CLAIMS, "\n".join(found)] if found else [])


def _curves(page: Page) -> list[str]:
    return page.shown("accuracy", "early")


def _costs(page: Page) -> list[str]:
    return [*page.shown("costs"), *part_of_table(page.comparison, COSTS)]


def draw_figures(comparison: Comparison, folder: Path) -> dict[str, str]:
    """Write the figures that the runs allow; gives Markdown that shows each, by its name."""
    shown = {}
    for name, (draw, alt) in FIGURES.items():
        drawn = draw(comparison)
        if drawn is not None:
            figure, caption = drawn
            save(figure, folder, name)
            shown[name] = f"![{alt}]({name}.png)\n\n{caption}"
    return shown


Draw = Callable[[Comparison], "tuple[Any, str] | None"]
FIGURES: dict[str, tuple[Draw, str]] = {
    "differences": (differences, "Difference to the baseline, with 95 % intervals"),
    "accuracy": (accuracy, "The metric against target tokens"),
    "early": (early, "The early part, enlarged"),
    "costs": (costs, "Quality against cost"),
}
Section = Callable[[Page], list[str]]
SECTIONS: tuple[tuple[str, Section], ...] = (
    ("## Result", _result),
    ("## Conclusions", _conclusions),
    ("## Seeds, other sentences, other scores", _further),
    ("## BLEU on the test set", _bleu),
    ("## Beside the paper", _paper),
    ("## Curves", _curves),
    ("## Quality against cost", _costs),
    ("## What each variant was", lambda page: settings(page.comparison)),
    ("## How it was measured", lambda page: notes(page.comparison)),
    ("## Commands", lambda page: commands(page.comparison, page.folder)),
    ("## Machine", lambda page: machines(page.comparison)),
)
GENERATED = "Generated by `qvbench report`; nothing here is typed by hand."
JUDGMENTS = ("supported", "contradicted", "undecided")
HEADINGS = {
    "better": "Better than the baseline",
    "worse": "Worse than the baseline",
    "equivalent": "Equivalent to the baseline (shown to lie within ±{margin:g} {unit})",
    "inconclusive": "Inconclusive, neither a difference nor equivalence shown",
}
NO_VERDICT = (
    "No variant shares two seeds with the baseline: these are observed differences, and no verdict."
)
TESTS = (
    "Each interval is a 95 % interval by itself; p-values have Holm's correction over the table, "
    "so that a row whose interval leaves out zero may still be *inconclusive*, and a table of "
    "fewer rows may decide it. p asks if the mean difference is zero, p of equivalence if it lies "
    "outside ±{margin:g} {unit} (two one-sided tests). Inconclusive is not the same as equal."
)
POWER = (
    "To find a difference as large as the paper's in four tries of five, one row by itself takes, "
    "of each variant, as differences deviate between seeds here:"
)
BLEU_HEAD = (
    "variant",
    "minus baseline",
    "95 % interval, paired",
    "p (Holm)",
    "verdict",
    "significant seeds, bootstrap",
    "significant seeds, randomization",
)
BLEU = (
    "sacreBLEU's tests compare the two runs of one seed and resample sentences; how often two "
    "single runs are significantly different says nothing of other seeds. The interval and p over "
    f"the seeds do. Equivalent means within ±{BLEU_MARGIN:g} BLEU."
)
PAPER_HEAD = (
    "mode",
    "paper",
    "paper, minus QKV",
    "ours",
    "ours, minus QKV",
    "95 % interval, paired",
    "p (Holm)",
    "verdict",
    "paper's within ours",
)
PAPER = (
    "The paper's numbers: {source}; one run per row, and where its tables disagree the latest. "
    "Ours are of other data and another budget where the page says so: compare the differences, "
    "which are to QKV with the same positions, and not the levels."
)
CLAIMS = (
    "A claim is supported or contradicted only by a test at the 5 % level, with Holm's correction "
    "over the claims; all others are undecided. This data and budget are not the paper's."
)
