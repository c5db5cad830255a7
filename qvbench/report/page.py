"""The page of a results folder, in Markdown; its standing text is in ``page.yaml``.

The answer comes first, then the table and the figures; ``html.py`` has all else closed but the
section "Inside". A section is an entry of :data:`SECTIONS`: functions from a comparison to
paragraphs of Markdown. A figure is an entry of :data:`FIGURES`, its caption one of
``figures.yaml``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from qvbench.report import data, figures, inside, provenance, search, trends
from qvbench.report.comparison import VERDICTS, Comparison
from qvbench.report.paper import JUDGMENTS, PAPER, claims_on_costs, judgment, published
from qvbench.report.statistics import ALPHA
from qvbench.report.tables import (
    COSTS,
    FURTHER,
    RESULT,
    bleu_table,
    bounds,
    extremes,
    markdown,
    number,
    p_text,
    paper_table,
    part_of_table,
    seeds_of,
    signs,
    with_interval,
)

TEXT = data("page.yaml")
LISTED = 4  # of more variants with one verdict, the first and the last alone are listed
RATES = ("model.schedule.peak", "model.schedule.factor", "model.optimizer.lr")
Section = Callable[[Comparison], list[str]]


def markdown_page(comparison: Comparison) -> str:
    """The whole page; writes its figures. Empty sections are left out."""
    parts = [f"# {comparison.title}", *_answer(comparison)]
    for heading, sections in SECTIONS.items():
        content = [part for section in sections for part in section(comparison) if part]
        parts += [f"## {heading}", *content] if content else []
    return signs("\n\n".join(parts) + "\n")


def _figure(name: str, comparison: Comparison) -> list[str]:
    """Draw a figure beside the page; the Markdown that shows it, if there is one."""
    figure = FIGURES[name](comparison) if name in FIGURES else None
    if figure is None:  # an earlier report may have left one
        for suffix in figures.SUFFIXES:
            (comparison.folder / f"{name}{suffix}").unlink(missing_ok=True)
        return []
    figures.save(figure, comparison.folder, name)
    alt = figures.LOOKS["captions"][name]["alt"]
    slopes = bool(trends.answer(comparison))
    caption = figures.caption(name, figure, comparison, slopes=slopes)
    return [f"![{alt}]({name}.png)", caption]


def _answer(comparison: Comparison) -> list[str]:
    """What was run, the size of each difference by verdict, and the claims that are decided."""
    variants, base = comparison.variants, comparison.baseline
    counts = {len(variant.runs) + len(variant.failed) for variant in variants}
    seeds = "one seed" if counts == {1} else f"{extremes(counts)} seeds"
    corpora = ", ".join(sorted({run.record.get("corpus", "") for run in comparison.runs} - {""}))
    steps = {run.record.get("steps") for run in comparison.runs}
    many = len(variants) > 1
    said = f"{len(variants)} variants, {seeds} each" if many else f"One variant, {seeds}"
    said += f", on the corpus {corpora}" * bool(corpora)
    said += f", {steps.pop():,} steps each." if len(steps) == 1 and None not in steps else "."
    failures = [f"{v.label} ({seeds_of(v)})" for v in variants if v.failed]
    said += f" **Runs that failed:** {', '.join(failures)}." * bool(failures)
    parts = [said]
    if base is not None and base.runs and comparison.rows:
        mean = number(base.mean, comparison.form)
        named = comparison.against if comparison.sizes else f"{base.label} ({mean})"
        words = {"base": named, "metric": comparison.axis, "unit": comparison.unit}
        parts.append(TEXT["answer"].format(**words))
        parts += ["\n".join(_sizes(comparison)), *trends.answer(comparison)]
    lines = []
    for word in JUDGMENTS:
        sizes = [
            f"{claim['text']} ({claim['claim']}), {with_interval(shown.interval, comparison.form)}"
            for claim, shown in comparison.claims
            if judgment(claim["expect"], shown.verdict) == word
        ]
        listed = f": {'; '.join(sizes)}" if word != "undecided" else ""
        lines += [f"- **{len(sizes)} {word}**{listed}"] if sizes else []
    return [*parts, *([TEXT["answer_claims"], "\n".join(lines)] if lines else [])]


def _sizes(comparison: Comparison) -> list[str]:
    """The differences of each verdict, the best first; of many the first and the last."""
    rows, findings, form, lines = comparison.rows, comparison.findings, comparison.form, []
    said = {
        verdict: [v for v in findings if findings[v].verdict == verdict] for verdict in VERDICTS
    }
    behind = {v: -comparison.sign * rows[v].estimate.mean for v in rows if v not in findings}
    observed = [variant for variant, gap in behind.items() if not math.isnan(gap)]
    said[TEXT["observed"]] = sorted(observed, key=behind.__getitem__)
    for verdict, variants in said.items():
        sizes = [
            f"{v.label}, {with_interval(comparison.interval(rows[v]), form)}" for v in variants
        ]
        listed = "; ".join(sizes) if len(sizes) <= LISTED else f"from {sizes[0]}, to {sizes[-1]}"
        lines += [f"- **{len(variants)} {verdict}**: {listed}"] if variants else []
    return lines


def _collapsed(comparison: Comparison) -> list[str]:
    """The runs that lost more than a tenth of what the best run gained.

    Not of their own gain: of a run that never began to learn, that is noise.
    """
    form, ends = comparison.form, []
    if not _is_plain(comparison):  # a loss that rises is what the page is about
        return []
    best_of = max if comparison.metric.higher_is_better else min
    for run in (run for each in comparison.every_budget for run in each.runs):
        values = [point.value for point in run.curves.get(comparison.metric.name, [])] or [0.0]
        ends.append((run.id, values[0], best_of(values), values[-1]))
    gain = max((abs(best - first) for _, first, best, _ in ends), default=0.0)
    collapsed = [
        f"{run} (best {best:{form}}, last {last:{form}})"
        for run, _, best, last in ends
        if abs(best - last) > 0.1 * gain
    ]
    words = f"**Ended far from their best, a failure of training:** {'; '.join(collapsed)}."
    return [words] if collapsed else []


def _is_tuned(comparison: Comparison) -> bool:
    """Whether all runs started from trained weights."""
    return all("model.init_from" in variant.settings for variant in comparison.variants)


def _is_plain(comparison: Comparison) -> bool:
    """Whether it is of trainings from the start, scored in contexts as in training."""
    return not (_is_tuned(comparison) or trends.by_position(comparison))


def _published(comparison: Comparison) -> list[str]:
    """What others report beside ours: of a config, and of a QV language model beside its QKV."""
    pairs = {
        (v.record["mechanism"], b.record["mechanism"]) for v, b in comparison.baselines.items()
    }
    of_loss = _is_plain(comparison) and comparison.metric.unit == "nats"
    without_keys = of_loss and ("qv", "qkv") in pairs
    return [*published(comparison.variants), *[TEXT["without_keys"]] * without_keys]


def _reading(comparison: Comparison) -> list[str]:
    """What the verdicts mean, and what they do not."""
    if len(comparison.variants) == 1:
        return []
    if comparison.baseline is None:
        reason = "No baseline is given"
        if named := comparison.suite.get("baseline"):
            reason = f"The suite's baseline, `{named}`, has no run here that has ended"
            reason += " under the largest budget" * ("budget" in comparison.suite)
        return [f"{reason}, so no variant is compared with another."]
    if not comparison.findings:
        return [TEXT["no_verdict"]]
    parts = [TEXT["findings"].format(margin=comparison.margin, unit=comparison.unit)]
    for name, family in zip(("primary", "others"), comparison.families, strict=True):
        if number := len(family):
            parts.append(TEXT[name].format(number=number, level=100 * (1 - ALPHA / number)))
    if not math.isnan(alike := comparison.correlation):
        parts.append(TEXT["correlation"].format(alike=alike))
    known = [v.settings for v in comparison.variants if v.settings]
    same_rate = len({tuple(of.get(key) for key in RATES) for of in known}) < 2
    not_searched = "not_searched" if same_rate else "rates_differ"
    further = {not_searched: not comparison.searched, "one_start": _is_tuned(comparison)}
    further["failed"] = bool(comparison.failed)
    return [" ".join(parts), *(TEXT[name] for name, holds in further.items() if holds)]


def _bleu(comparison: Comparison) -> list[str]:
    table = bleu_table(comparison)
    return [TEXT["bleu"], markdown(table)] if table else []


def _paper(comparison: Comparison) -> list[str]:
    table = paper_table(comparison)
    lines = []
    for claim, shown in comparison.claims:
        judged = judgment(claim["expect"], shown.verdict)
        numbers = f"{shown.estimate.mean:+.2f} points, {bounds(shown.interval, '+.2f')}"
        ends = f"{shown.verdict}; {numbers}, p {p_text(shown.p)}, within ±{shown.margin:.2f}"
        lines.append(f"- Claim {claim['claim']}, {claim['text']}: **{judged}** ({ends})")
    beside = [markdown(table), TEXT["paper"].format(source=PAPER["source"])] if table else []
    windows = {v.early_steps for v in comparison.ours.values() if v.early_steps}
    steps = " and ".join(f"{start:,} to {end:,}" for start, end in sorted(windows))
    early = any(claim.get("early") for claim, _ in comparison.claims)
    claims = TEXT["claims"] + f" {TEXT['claims_early']}".format(steps=steps) * early
    beside += ["### The paper's claims", claims, "\n".join(lines)] if lines else []
    costs = claims_on_costs(comparison.ours)
    heading = "### The paper's claims on costs"
    return beside + ([heading, TEXT["costs"], "\n".join(costs)] if costs else [])


FIGURES: dict[str, Callable[[Comparison], Any]] = {
    "differences": figures.differences,
    "accuracy": figures.accuracy,
    "costs": figures.costs,
    "rates": search.search_figure,
    "budgets": trends.budget_figure,
    "sizes": trends.size_figure,
    "context": trends.context_figure,
    "affinity": inside.affinity_figure,
    "diffusion": inside.diffusion_figure,
    "distance": inside.distance_figure,
    "values": inside.values_figure,
}
OPEN = ("Result", "Figures")
"""What a reader in a hurry sees; the other sections fold on the HTML page."""
UNFOLDED = ("Inside",)
"""Sections that fold and begin open: a page that has them is about them."""
INSIDE: tuple[Section, ...] = (
    inside.intro,
    *(
        part
        for name in inside.TEXT["tables"]
        for part in (partial(inside.table_section, name), partial(_figure, name.lower()))
    ),
)
SECTIONS: dict[str, tuple[Section, ...]] = {
    "Result": (partial(part_of_table, RESULT), _collapsed, _published),
    "Figures": tuple(
        partial(_figure, name)
        for name in ("sizes", "context", "differences", "values", "budgets", "accuracy", "costs")
    ),
    "What the verdicts mean": (_reading,),
    "Beside the paper": (_paper, inside.claims),
    "Inside": INSIDE,
    "Against the size": (trends.size_section,),
    "Along the context": (trends.context_section,),
    "Against the budget": (trends.budget_section,),
    "Learning rates": (search.search_section, partial(_figure, "rates")),
    "Seeds, other sentences, other scores": (partial(part_of_table, FURTHER),),
    "BLEU on the test set": (_bleu,),
    "Costs": (partial(part_of_table, COSTS),),
    "What each variant was": (provenance.settings,),
    "How it was measured": (provenance.notes,),
    "Commands": (provenance.commands,),
    "Machine": (provenance.machines,),
}
