"""The page of a results folder, Markdown. A section is one function in :data:`SECTIONS`."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from qvbench.report.bleu import BLEU_MARGIN, BleuRow
from qvbench.report.comparison import VERDICTS, Comparison, changes
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
    said = f"{len(comparison.variants)} variants, {seeds} each"
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
    return [*part_of_table(page.comparison, RESULT), *page.shown("differences")]


def _conclusions(page: Page) -> list[str]:
    """The verdicts, and how far they carry."""
    comparison, base = page.comparison, page.comparison.baseline
    if base is None:
        return ["No baseline is given, so no variant is compared with another."]
    if len(comparison.variants) == 1:
        return []
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
    return page.shown("accuracy", "early", "time")


def _costs(page: Page) -> list[str]:
    return [*page.shown("costs"), *part_of_table(page.comparison, COSTS)]


def _settings(page: Page) -> list[str]:
    """What all variants have in common, and each one's differences to the baseline's config."""
    comparison, base = page.comparison, page.comparison.baseline
    names = [f"- {v.label}: `{v.name}`" for v in comparison.variants if v.label != v.name]
    if base is None or not base.settings:
        return ["\n".join(names)]
    known = [variant for variant in comparison.variants if variant.settings]
    same = [
        f"`{key}` {_value(base.settings[key])}"
        for key in COMMON
        if base.settings.get(key) is not None
        and all(variant.settings.get(key) == base.settings[key] for variant in known)
    ]
    lines = [f"- {base.label} (`{base.name}`): the baseline"] + [
        f"- {v.label} (`{v.name}`): {_changes(changes(v.settings, base.settings))}"
        for v in known
        if v is not base
    ]
    common = [f"All variants have: {'; '.join(same)}."] if same else []
    return [*common, SETTINGS.format(base=base.label), "\n".join(lines)]


def _changes(changed: dict[str, tuple[Any, Any]]) -> str:
    """What was changed, and what a changed class was given; what is unset goes without saying."""
    words = []
    for key, (old, new) in changed.items():
        other_class = f"{key.rpartition('.')[0]}.class_path" in changed
        if old is None:
            words.append(f"`{key}` = {_value(new)}")
        elif new is not None or not other_class:
            words.append(f"`{key}` {_value(old)} → {_value(new)}")
    return "; ".join(words) or "the same config"


def _value(value: Any) -> str:
    """A value as the page shows it: a class by its name."""
    text = str(value)
    known = text.startswith(("qvbench.", "torch."))
    return f"`{text.rpartition('.')[2] if known else text}`"


def _notes(page: Page) -> list[str]:
    comparison, runs = page.comparison, page.comparison.runs
    notes = [MEASURED[comparison.metric.name]] if comparison.metric.name in MEASURED else []
    notes += [PAIRED, COUNTED, _checkpoint_rule(runs)]
    if any(run.record["position"] == "agf" for run in runs):
        notes.append(AGF)
    if len({run.record.get("data_fingerprint") for run in runs}) > 1:
        notes.append("**The runs were not all trained on the same data.**")
    if comparison.left_out:
        ids = ", ".join(run.id for run in comparison.left_out)
        notes.append(f"**Not run to the end and left out:** {ids}.")
    if missing := _not_run(comparison):
        notes.append(f"**Planned and not run:** {missing}.")
    if fallen := [text for run in runs if (text := _fall(run, comparison))]:
        notes.append(f"**Ended far below their best, so no trained optimum:** {'; '.join(fallen)}.")
    found = {
        f"`{metric}`: `{signature}`"
        for run in runs
        for metric, signature in run.record.get("bleu_signatures", {}).items()
    }
    return notes + (["Signatures: " + "; ".join(sorted(found)) + "."] if found else [])


def _fall(run: Run, comparison: Comparison) -> str:
    """A run that lost more than a tenth of what it had gained, with its best and last value."""
    values = [point.value for point in run.curves.get(comparison.metric.name, [])]
    if not values:
        return ""
    best = max(values) if comparison.metric.higher_is_better else min(values)
    if abs(best - values[-1]) <= 0.1 * abs(best - values[0]):
        return ""
    return f"{run.id} (best {best:.2f}, last {values[-1]:.2f})"


def _checkpoint_rule(runs: list[Run]) -> str:
    """Which weights the scores are of; never chosen by the test set."""
    tested = {name for run in runs if (name := run.record.get("tested_checkpoint"))}
    rule = "Validation scores are those of the weights at the last validation of each run."
    if not tested:
        return rule + " No run was tested."
    names = ", ".join(f"`{name}`" for name in sorted(tested))
    averaged = " (the mean of the weights of the last validations)" * (tested == {"averaged.ckpt"})
    differ = " **The runs differ in it.**" * (len(tested) > 1)
    return (
        f"{rule} Test scores are of the checkpoint {names}{averaged}.{differ} The test set chose "
        "nothing."
    )


def _not_run(comparison: Comparison) -> str:
    """What the suite plans and nobody ran yet: each variant with its seeds; empty if all ran."""
    suite = comparison.suite
    runs = (*comparison.runs, *comparison.left_out)
    known = {(run.record.get("variant"), run.seed) for run in runs}
    missing = {
        name: [str(seed) for seed in suite.get("seeds", []) if (name, seed) not in known]
        for name in suite.get("rows", [])
    }
    return "; ".join(f"{name} (seeds {', '.join(s)})" for name, s in missing.items() if s)


def _commands(page: Page) -> list[str]:
    """What made the runs and this page; one sweep made them all, or each has its own commands."""
    comparison = page.comparison
    given = {f"--{key}": value for key, value in comparison.options._asdict().items()}
    options = [w for key, value in given.items() if value is not None for w in (key, f"{value}")]
    suite = comparison.suite
    if not suite:
        lines = [line for run in comparison.runs for line in _run_commands(run, page.folder)]
        places = [f"runs/{run.id}" for run in comparison.runs]
        command = shlex.join([*places, "--output", page.folder, *options])
        return ["```sh\n" + "\n".join([*lines, f"qvbench report {command}"]) + "\n```"]
    path = PurePosixPath(suite["file"])
    name = path.stem if path.parent.name == "suites" else suite["file"]  # a shipped one by name
    seeds = suite.get("seeds") or sorted({run.seed for run in comparison.runs})
    same = ["--seeds", *map(str, seeds)]
    same += [word for key, value in suite["overrides"] for word in (f"--{key}", value)]
    few = len(comparison.variants) < suite.get("variants", 0)
    only = ["--only", *(variant.name for variant in comparison.variants)] if few else []
    report = ["--suite", name, *same, "--output", page.folder, *options]
    lines = [f"qvbench sweep {shlex.join(['--suite', name, *only, *same])}", *_tests(comparison)]
    text = "\n".join([*lines, f"qvbench report {shlex.join(report)}"])
    return [f"The suite's file is `{suite['file']}`.\n\n```sh\n{text}\n```"]


def _run_commands(run: Run, folder: str) -> list[str]:
    """Those of a run that no suite of this page made."""
    record = run.record
    # A suite changed the config that it started from: what came of that is kept beside it.
    config = f"{folder}/{run.file_name}.yaml" if "variant" in record else record["config"]
    lines = [f"qvbench fit --config {config} --seed_everything {record['seed']}"]
    if checkpoint := record.get("tested_checkpoint"):
        lines.append(f"qvbench test --ckpt_path runs/{run.id}/checkpoints/{checkpoint}")
    return lines


def _tests(comparison: Comparison) -> list[str]:
    """What translated the test set: one line for all runs that a checkpoint of one name was of."""
    places: dict[str, dict[str, None]] = {}
    for run in comparison.runs:
        if checkpoint := run.record.get("tested_checkpoint"):
            places.setdefault(checkpoint, {})[f"runs/{run.id.rpartition('/')[0]}/seed-*"] = None
    return [
        f"for run in {' '.join(folders)}; do\n"
        f'  qvbench test --ckpt_path "$run/checkpoints/{checkpoint}"\ndone'
        for checkpoint, folders in places.items()
    ]


def _machines(page: Page) -> list[str]:
    """Every machine, set of versions and revision, and which rows come from it."""
    found: dict[str, dict[str, list[int]]] = {}
    for variant in page.comparison.variants:
        for run in variant.runs:
            found.setdefault(_machine(run), {}).setdefault(variant.label, []).append(run.seed)
    if len(found) == 1:
        return [f"- {machine}" for machine in found]
    lines = []
    for machine in sorted(found):
        rows = found[machine]
        listed = {", ".join(map(str, seeds)) for seeds in rows.values()}
        which = f"seeds {listed.pop()} of every variant"
        if listed or len(rows) < len(page.comparison.variants):
            each = [f"{label} (seeds {', '.join(map(str, s))})" for label, s in rows.items()]
            which = "; ".join(each)
        lines.append(f"- {machine}: {which}")
    return ["\n".join(lines)]


def _machine(run: Run) -> str:
    record = run.record
    hardware, versions = record.get("hardware", {}), record.get("versions", {})
    devices = ", ".join(hardware.get("gpus", [])) or hardware.get("cpu", "unknown processor")
    commit, plus, _ = record.get("git", "").partition("+dirty")
    revision = (commit[:12] or "unknown") + " with uncommitted changes" * bool(plus)
    return (
        f"{devices}, {hardware.get('threads', '?')} thread(s), {hardware.get('precision', '?')}; "
        f"torch {versions.get('torch', '?')}, lightning {versions.get('lightning', '?')}; "
        f"revision {revision}"
    )


Section = Callable[[Page], list[str]]
SECTIONS: tuple[tuple[str, Section], ...] = (
    ("## Result", _result),
    ("## Conclusions", _conclusions),
    ("## Seeds, other sentences, other scores", _further),
    ("## BLEU on the test set", _bleu),
    ("## Beside the paper", _paper),
    ("## Curves", _curves),
    ("## Quality against cost", _costs),
    ("## What each variant was", _settings),
    ("## How it was measured", _notes),
    ("## Commands", _commands),
    ("## Machine", _machines),
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
SETTINGS = (
    "The resolved config of each beside the baseline's, {base}; everything else is the same, the "
    "learning rate and its schedule included unless they stand here. The whole configs lie in "
    "`runs/`."
)
MEASURED = {
    "val/accuracy": "Accuracy is the share of correct target tokens under teacher forcing at the "
    "last validation, the end token counted, in per cent over the whole validation set: its mean "
    "over the seeds with Student's 95 % interval."
}
PAIRED = (
    "The difference to the baseline is taken on the same seeds, which give both the same order of "
    "the data; its interval is that of the mean of these differences. Intervals with other "
    "sentences too resample seeds and validation sentences alike."
)
COUNTED = (
    "Cache is in elements per token and layer, for a target token (self) and a source token "
    "(cross). FLOPs are those of matrix products, at sentences of 32 tokens. Minutes are wall "
    "time, validation included."
)
AGF = (
    "The exact form of AGF's coefficient is this suite's reading of the paper, which states a "
    "power law in the distance and no more."
)
COMMON = (
    "data.corpus.class_path",
    "data.max_tokens",
    "data.merges",
    "trainer.max_steps",
    "trainer.accumulate_grad_batches",
    "trainer.precision",
    "model.network.d_model",
    "model.network.num_heads",
    "model.network.ffn_dim",
    "model.network.encoder_layers",
    "model.network.decoder_layers",
    "model.network.dropout",
    "model.label_smoothing",
    "model.optimizer.class_path",
    "model.optimizer.lr",
    "model.schedule.class_path",
    "model.schedule.peak",
    "model.schedule.factor",
    "model.schedule.warmup_steps",
)
"""What a reader asks of a training first."""
