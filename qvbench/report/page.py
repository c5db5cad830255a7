"""The page of a results folder, in Markdown; its standing text is in ``page.yaml``.

The answer comes first, then the table and the figures; ``html.py`` has all else closed. A section
is an entry of :data:`SECTIONS`: functions from a comparison to paragraphs of Markdown. A figure is
an entry of :data:`FIGURES`, its caption one of ``figures.yaml``.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from qvbench.report import data, figures, inside, protocol
from qvbench.report.comparison import VERDICTS, Comparison
from qvbench.report.paper import PAPER, claims_on_costs, judgment, published
from qvbench.report.runs import Run
from qvbench.report.statistics import ALPHA
from qvbench.report.tables import (
    COSTS,
    FURTHER,
    RESULT,
    bleu_table,
    bounds,
    markdown,
    number,
    p_text,
    paper_table,
    part_of_table,
    seeds_of,
    signs,
    size_of,
    table_of,
)

TEXT = data("page.yaml")
JUDGMENTS = ("supported", "contradicted", "undecided")
LISTED = 4  # as many variants of one verdict are told each by itself
Section = Callable[[Comparison], list[str]]


def markdown_page(comparison: Comparison) -> str:
    """The whole page; writes its figures. Sections that have nothing to say are left out."""
    parts = [f"# {comparison.title}", *_answer(comparison)]
    for heading, sections in SECTIONS.items():
        content = [part for section in sections for part in section(comparison) if part]
        parts += [f"## {heading}", *content] if content else []
    return signs("\n\n".join(parts) + "\n")


def _figure(name: str, comparison: Comparison) -> list[str]:
    """Draws a figure beside the page and shows it, if there is one."""
    figure = FIGURES[name](comparison) if name in FIGURES else None
    if figure is None:  # nor is one that an earlier report left a part of this page
        for suffix in figures.SUFFIXES:
            Path(comparison.folder, f"{name}{suffix}").unlink(missing_ok=True)
        return []
    figures.save(figure, Path(comparison.folder), name)
    alt = figures.LOOKS["captions"][name]["alt"]
    return [f"![{alt}]({name}.png)", figures.caption(name, figure, comparison)]


def _answer(comparison: Comparison) -> list[str]:
    """What was run, the size of each difference by verdict, and the claims that are decided."""
    variants, base = comparison.variants, comparison.baseline
    counts = sorted({len(variant.runs) + len(variant.failed) for variant in variants})
    span = " to ".join(map(str, counts[:: len(counts) - 1 or 1]))
    seeds = "one seed" if counts == [1] else f"{span} seeds"
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
        words = {"base": base.label, "mean": mean, "unit": comparison.unit}
        parts.append(TEXT["answer"].format(metric=comparison.axis, **words))
        parts.append("\n".join(_sizes(comparison)))
    lines = []
    for word in JUDGMENTS:
        sizes = [
            f"{claim['text']} ({claim['claim']}), {size_of(shown.interval, comparison.form)}"
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
    observed = [variant for variant in rows if variant not in findings and variant.runs]
    said[TEXT["observed"]] = sorted(observed, key=lambda v: -comparison.sign * v.mean)
    for verdict, variants in said.items():
        sizes = [f"{v.label}, {size_of(comparison.interval(rows[v]), form)}" for v in variants]
        listed = "; ".join(sizes) if len(sizes) <= LISTED else f"from {sizes[0]}, to {sizes[-1]}"
        lines += [f"- **{len(variants)} {verdict}**: {listed}"] if variants else []
    return lines


def _fallen(comparison: Comparison) -> list[str]:
    """The runs that lost more than a tenth of what they had gained, with best and last value."""
    form, fallen = comparison.form, []
    best_of = max if comparison.metric.higher_is_better else min
    for run in comparison.runs:
        values = [point.value for point in run.curves.get(comparison.metric.name, [])] or [0.0]
        best, last = best_of(values), values[-1]
        if abs(best - last) > 0.1 * abs(best - values[0]):
            fallen.append(f"{run.id} (best {best:{form}}, last {last:{form}})")
    words = f"**Ended far from their best, a failure of training:** {'; '.join(fallen)}."
    return [words] if fallen else []


def _reading(comparison: Comparison) -> list[str]:
    """How far the verdicts carry."""
    if len(comparison.variants) == 1:
        return []
    if comparison.baseline is None:
        return ["No baseline is given, so no variant is compared with another."]
    if not comparison.findings:
        return [TEXT["no_verdict"]]
    parts = [TEXT["findings"].format(margin=comparison.margin, unit=comparison.unit)]
    for name, family in zip(("primary", "others"), comparison.families, strict=True):
        if number := len(family):
            parts.append(TEXT[name].format(number=number, level=100 * (1 - ALPHA / number)))
    if not math.isnan(alike := comparison.correlation):
        parts.append(TEXT["correlation"].format(alike=alike))
    further = {"not_searched": not comparison.searched, "failed": bool(comparison.failed)}
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


# What each variant was


def _settings(comparison: Comparison) -> list[str]:
    """What all variants have in common, and each one's differences to the baseline's config."""
    base, variants = comparison.baseline, comparison.variants
    if base is None or not base.settings:
        return ["\n".join(f"- {v.label}: `{v.name}`" for v in variants if v.label != v.name)]
    own, known = base.settings, [variant for variant in variants if variant.settings]
    alike = [
        key for key in TEXT["common"] if all(v.settings.get(key) == own.get(key) for v in known)
    ]
    same = "; ".join(f"`{key}` `{own[key]}`" for key in alike if key in own)
    lines = [f"- {base.label} (`{base.name}`): the baseline"]
    lines += [f"- {v.label} (`{v.name}`): {changes(v.settings, own)}" for v in known if v != base]
    common = [f"All variants have: {same}."] if same else []
    return [*common, TEXT["settings"].format(base=base.label), "\n".join(lines)]


def changes(settings: dict[str, Any], base: dict[str, Any]) -> str:
    """What was changed, and what a changed class was given; what is off goes without saying."""
    words = []
    for key in sorted(settings.keys() | base.keys()):
        old, new, kind = base.get(key), settings.get(key), f"{key.rpartition('.')[0]}.class_path"
        other_class = settings.get(kind) != base.get(kind)
        if old == new or (new is None and other_class):
            continue
        words.append(f"`{key}` = `{new}`" if old is None else f"`{key}` `{old}` → `{new}`")
    return "; ".join(words) or "the same config"


# How it was measured


def _notes(comparison: Comparison) -> list[str]:
    runs = comparison.runs
    headings = table_of(comparison)[0]
    columns = [text for name, text in TEXT["columns"].items() if name in headings]
    notes = [TEXT.get(comparison.metric.name, ""), " ".join(columns)]
    notes.append(_checkpoint_rule(runs))
    if any(run.record["position"] == "agf" for run in runs):
        notes.append(TEXT["agf"])
    if len({run.record.get("data_fingerprint") for run in runs}) > 1:
        notes.append("**The runs were not all trained on the same data.**")
    if comparison.left_out:
        ids = ", ".join(run.id for run in comparison.left_out)
        notes.append(f"**Not run to the end and left out:** {ids}.")
    begun = (*runs, *comparison.failed, *comparison.left_out)
    known = {(run.record.get("variant"), run.seed) for run in begun}
    seeds = comparison.suite.get("seeds", [])
    planned = {
        name: ", ".join(str(seed) for seed in seeds if (name, seed) not in known)
        for name in comparison.suite.get("rows", [])
    }
    if missing := "; ".join(
        f"{name} (seeds {listed})" for name, listed in planned.items() if listed
    ):
        notes.append(f"**Planned and not run:** {missing}.")
    found = protocol.by_budget(comparison)
    if rest := [f"{b:,}" for b in comparison.suite.get("budgets", []) if b not in found]:
        notes.append(f"**Planned and not run:** {', '.join(rest)} {comparison.suite['unit']}.")
    signatures = [run.record.get("bleu_signatures", {}).items() for run in runs]
    named = sorted({f"`{metric}`: `{value}`" for pairs in signatures for metric, value in pairs})
    return notes + ([f"Signatures: {'; '.join(named)}."] if named else [])


def _checkpoint_rule(runs: list[Run]) -> str:
    """Which weights the scores are of; never chosen by the test set."""
    tested = sorted({name for run in runs if (name := run.record.get("tested_checkpoint"))})
    rule = "Validation scores are those of the weights at the last validation of each run."
    if not tested:
        return f"{rule} No run was tested."
    names = ", ".join(f"`{name}`" for name in tested)
    averaged = " (the mean of the weights of the last validations)" * (tested == ["averaged.ckpt"])
    differ = " **The runs differ in it.**" * (len(tested) > 1)
    return f"{rule} {TEXT['tested'].format(names=names + averaged)}{differ}"


# Commands


def _commands(comparison: Comparison) -> list[str]:
    """What made the runs and this page; one sweep made them all, or each has its own command."""
    folder, suite, runs = comparison.folder, comparison.suite, comparison.runs
    output = ["--output", folder]
    for name, value in comparison.options._asdict().items():
        output += [] if value is None else [f"--{name}", f"{value}"]
    if not suite:
        report, intro = [f"runs/{run.id}" for run in runs], ""
        lines = [
            # A suite changed the config that it started from: what came of that is kept beside it.
            f"qvbench fit --config {folder}/{run.config_file} --seed_everything {run.seed}"
            if "variant" in run.record
            else f"qvbench fit --config {run.record['config']} --seed_everything {run.seed}"
            for run in runs
        ]
    else:
        path = PurePosixPath(suite["file"])
        name = path.stem if path.parent.name == "suites" else suite["file"]  # a shipped one by name
        seeds = suite.get("seeds") or sorted({run.seed for run in runs})
        same = ["--seeds", *map(str, seeds)]
        same += [word for key, value in suite["overrides"] for word in (f"--{key}", value)]
        few = len(comparison.variants) < suite.get("variants", 0)
        only = ["--only", *(variant.name for variant in comparison.variants)] if few else []
        lines = [f"qvbench sweep {shlex.join(['--suite', name, *only, *same])}"]
        report, intro = ["--suite", name, *same], f"The suite's file is `{suite['file']}`.\n\n"
    lines += [*_tests(runs), f"qvbench report {shlex.join([*report, *output])}"]
    text = "\n".join(lines)
    return [TEXT["generated"], f"{intro}```sh\n{text}\n```"]


def _tests(runs: list[Run]) -> list[str]:
    """What translated the test set: one line for all runs that a checkpoint of one name was of."""
    places: dict[str, dict[str, None]] = {}
    for run in runs:
        if checkpoint := run.record.get("tested_checkpoint"):
            places.setdefault(checkpoint, {})[f"runs/{run.id.rpartition('/')[0]}/seed-*"] = None
    return [
        f"for run in {' '.join(folders)}; do\n"
        f'  qvbench test --ckpt_path "$run/checkpoints/{checkpoint}"\ndone'
        for checkpoint, folders in places.items()
    ]


# Machines


def _machines(comparison: Comparison) -> list[str]:
    """Every machine, set of versions and revision, and which rows come from it."""
    found: dict[str, dict[str, list[str]]] = {}
    for variant in comparison.variants:
        for run in (*variant.runs, *variant.failed):
            rows = found.setdefault(_machine(run), {})
            rows.setdefault(variant.label, []).append(str(run.seed))
    if len(found) == 1:
        return [f"- {machine}" for machine in found]
    lines = []
    for machine, rows in sorted(found.items()):
        listed = {label: ", ".join(seeds) for label, seeds in rows.items()}
        words = [f"{n} (seed{'s' * (', ' in seeds)} {seeds})" for n, seeds in listed.items()]
        same = {*listed.values()}
        if len(same) == 1 and len(rows) == len(comparison.variants):
            words = [f"seeds {same.pop()} of every variant"]
        lines.append(f"- {machine}: {'; '.join(words)}")
    return ["\n".join(lines)]


def _machine(run: Run) -> str:
    hardware, versions = run.record.get("hardware", {}), run.record.get("versions", {})
    gpus = ", ".join(gpu["name"] for gpu in hardware.get("gpus", []))
    devices = gpus or hardware.get("cpu", "unknown processor")
    if known := [hardware[key] for key in ("cpu_model", "instructions") if hardware.get(key)]:
        devices += f" ({'; '.join(known)})" * (not gpus)
    if whole := hardware.get("cores_of_machine"):
        devices += f", {hardware['cores']} of {whole} cores"
    commit, plus, _ = run.record.get("git", "").partition("+dirty")
    revision = (commit[:12] or "unknown") + " with uncommitted changes" * bool(plus)
    return (
        f"{devices}, {hardware.get('threads', '?')} thread(s), {hardware.get('precision', '?')}; "
        f"torch {versions.get('torch', '?')}, lightning {versions.get('lightning', '?')}; "
        f"revision {revision}"
    )


FIGURES: dict[str, Callable[[Comparison], Any]] = {
    "differences": figures.differences,
    "accuracy": figures.accuracy,
    "costs": figures.costs,
    "rates": protocol.search_figure,
    "budgets": protocol.budget_figure,
    "affinity": inside.affinity_figure,
    "diffusion": inside.diffusion_figure,
    "distance": inside.distance_figure,
    "values": inside.values_figure,
}
OPEN = ("Result", "Figures")
"""What a reader in a hurry sees; the other sections fold on the HTML page."""
UNFOLDED = ("Inside",)
"""Sections that fold and begin open: where it stands, it is what the page is about."""
INSIDE: tuple[Section, ...] = (
    inside.intro,
    *(
        part
        for name in inside.TEXT["tables"]
        for part in (partial(inside.table_section, name), partial(_figure, name.lower()))
    ),
)
SECTIONS: dict[str, tuple[Section, ...]] = {
    "Result": (partial(part_of_table, RESULT), _fallen, lambda c: published(c.variants)),
    "Figures": tuple(
        partial(_figure, name) for name in ("differences", "values", "budgets", "accuracy", "costs")
    ),
    "What the verdicts mean": (_reading,),
    "Beside the paper": (_paper, inside.claims),
    "Inside": INSIDE,
    "Against the budget": (protocol.budget_section,),
    "Learning rates": (protocol.search_section, partial(_figure, "rates")),
    "Seeds, other sentences, other scores": (partial(part_of_table, FURTHER),),
    "BLEU on the test set": (_bleu,),
    "Costs": (partial(part_of_table, COSTS),),
    "What each variant was": (_settings,),
    "How it was measured": (_notes,),
    "Commands": (_commands,),
    "Machine": (_machines,),
}
