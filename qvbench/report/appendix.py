"""The page's last sections: what each variant was, how, by which commands and where it ran."""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath
from typing import Any

from qvbench.report.comparison import Comparison, changes
from qvbench.report.runs import Run


def settings(comparison: Comparison) -> list[str]:
    """What all variants have in common, and each one's differences to the baseline's config."""
    base = comparison.baseline
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


def notes(comparison: Comparison) -> list[str]:
    runs = comparison.runs
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
    found = {
        f"`{metric}`: `{signature}`"
        for run in runs
        for metric, signature in run.record.get("bleu_signatures", {}).items()
    }
    return notes + (["Signatures: " + "; ".join(sorted(found)) + "."] if found else [])


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


def commands(comparison: Comparison, folder: str) -> list[str]:
    """What made the runs and this page; one sweep made them all, or each has its own commands."""
    given = {f"--{key}": value for key, value in comparison.options._asdict().items()}
    options = [w for key, value in given.items() if value is not None for w in (key, f"{value}")]
    suite = comparison.suite
    if not suite:
        lines = [line for run in comparison.runs for line in _run_commands(run, folder)]
        places = [f"runs/{run.id}" for run in comparison.runs]
        command = shlex.join([*places, "--output", folder, *options])
        return ["```sh\n" + "\n".join([*lines, f"qvbench report {command}"]) + "\n```"]
    path = PurePosixPath(suite["file"])
    name = path.stem if path.parent.name == "suites" else suite["file"]  # a shipped one by name
    seeds = suite.get("seeds") or sorted({run.seed for run in comparison.runs})
    same = ["--seeds", *map(str, seeds)]
    same += [word for key, value in suite["overrides"] for word in (f"--{key}", value)]
    few = len(comparison.variants) < suite.get("variants", 0)
    only = ["--only", *(variant.name for variant in comparison.variants)] if few else []
    report = ["--suite", name, *same, "--output", folder, *options]
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


def machines(comparison: Comparison) -> list[str]:
    """Every machine, set of versions and revision, and which rows come from it."""
    found: dict[str, dict[str, list[int]]] = {}
    for variant in comparison.variants:
        for run in variant.runs:
            found.setdefault(_machine(run), {}).setdefault(variant.label, []).append(run.seed)
    if len(found) == 1:
        return [f"- {machine}" for machine in found]
    lines = []
    for machine in sorted(found):
        rows = found[machine]
        listed = {", ".join(map(str, seeds)) for seeds in rows.values()}
        which = f"seeds {listed.pop()} of every variant"
        if listed or len(rows) < len(comparison.variants):
            each = [
                f"{label} (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})"
                for label, seeds in rows.items()
            ]
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
