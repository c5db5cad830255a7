"""Where a page's numbers come from: configs, measurement, commands, machines."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from qvbench.report import data
from qvbench.report.comparison import Comparison
from qvbench.report.runs import Run
from qvbench.report.tables import table_of

TEXT = data("page.yaml")


# What each variant was


def settings(comparison: Comparison) -> list[str]:
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
    """The settings that differ; of another class, only those that it has."""
    words = []
    for key in sorted(settings.keys() | base.keys()):
        old, new, kind = base.get(key), settings.get(key), f"{key.rpartition('.')[0]}.class_path"
        other_class = settings.get(kind) != base.get(kind)
        if old == new or (new is None and other_class):
            continue
        words.append(f"`{key}` = `{new}`" if old is None else f"`{key}` `{old}` → `{new}`")
    return "; ".join(words) or "the same config"


# How it was measured


def notes(comparison: Comparison) -> list[str]:
    runs = comparison.runs
    headings = table_of(comparison)[0]
    columns = [text for name, text in TEXT["columns"].items() if name in headings]
    notes = [TEXT["measured"].get(comparison.variants[0].task, ""), " ".join(columns)]
    notes.append(_checkpoint_rule(runs))
    if any(run.record["position"] == "agf" for run in runs):
        notes.append(TEXT["agf"])
    if len({run.record.get("data_fingerprint") for run in runs}) > 1:
        notes.append("**The runs were not all trained on the same data.**")
    if comparison.left_out:
        ids = ", ".join(run.id for run in comparison.left_out)
        notes.append(f"**Not run to the end and left out:** {ids}.")
    if missing := _missing(comparison):
        notes.append(f"**Planned and not run:** {'; '.join(missing)}.")
    signatures = [run.record.get("bleu_signatures", {}).items() for run in runs]
    named = sorted({f"`{metric}`: `{value}`" for pairs in signatures for metric, value in pairs})
    return notes + ([f"Signatures: {'; '.join(named)}."] if named else [])


def _missing(comparison: Comparison) -> list[str]:
    """The budgets of the suite of which nothing was begun, and of the others seeds of variants."""
    suite, missing = comparison.suite, []
    compared = comparison.every_budget
    begun = [run for each in compared for run in (*each.runs, *each.failed, *each.left_out)]
    known = {
        (run.record.get("sweep", {}).get("budget"), run.record.get("variant"), run.seed)
        for run in begun
    }
    for budget in suite.get("budgets", [None]):
        amount = _amount(budget, suite)
        if budget not in {found for found, _, _ in known}:
            missing.append(amount)
            continue
        for name in suite.get("rows", []):
            seeds = [str(s) for s in suite["seeds"] if (budget, name, s) not in known]
            of = f"{amount}, " * bool(amount)
            missing += [f"{name} ({of}seeds {', '.join(seeds)})"] if seeds else []
    return missing


def _amount(budget: float | None, suite: Mapping[str, Any]) -> str:
    """A budget of a suite with its unit; empty without one."""
    return "" if budget is None else f"{budget:,} {suite['unit'].replace('_', ' ')}"


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


def commands(comparison: Comparison) -> list[str]:
    """What made the runs and this page; one sweep made them all, or each has its own command."""
    folder, suite = comparison.folder.as_posix(), comparison.suite
    runs = comparison.runs + comparison.failed
    output = ["--output", folder]
    for name, value in comparison.options.given.items():
        output += [f"--{name}", f"{value}"]
    if not suite:
        report, intro = [f"runs/{run.id}" for run in runs], ""
        configs = [
            # A suite, or options, changed what it started from: what came of that is kept.
            f"{folder}/{run.config_file}"
            if run.config or "variant" in run.record
            else run.record["config"]
            for run in runs
        ]
        lines = [
            f"qvbench fit {shlex.join(['--config', config, '--seed_everything', f'{run.seed}'])}"
            for config, run in zip(configs, runs, strict=True)
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
    lines += [*_tests(runs, bool(suite)), f"qvbench report {shlex.join([*report, *output])}"]
    text = "\n".join(lines)
    return [TEXT["generated"], f"{intro}```sh\n{text}\n```"]


def _tests(runs: list[Run], of_suite: bool) -> list[str]:
    """The commands that translated the test set, one for each checkpoint's name."""
    places: dict[str, dict[str, None]] = {}
    for run in runs:
        if checkpoint := run.record.get("tested_checkpoint"):
            # A sweep begun now may give the folder other digits than the run's have.
            group = f"{run.record['variant']}-*" if of_suite else run.group
            places.setdefault(checkpoint, {})[f"runs/{group}/seed-*"] = None
    return [
        f"for run in {' '.join(folders)}; do\n"
        f'  qvbench test --ckpt_path "$run/checkpoints/{checkpoint}"\ndone'
        for checkpoint, folders in places.items()
    ]


# Machines


def machines(comparison: Comparison) -> list[str]:
    """Every machine, set of versions and revision, and the variants and seeds run there."""
    found: dict[str, dict[str, list[str]]] = {}
    for each in comparison.every_budget:
        amount = _amount(each.suite.get("budget"), each.suite)
        for variant in each.variants:
            name = variant.label + f", {amount}" * bool(amount)
            for run in (*variant.runs, *variant.failed):
                found.setdefault(_machine(run), {}).setdefault(name, []).append(str(run.seed))
    if len(found) == 1:
        return [f"- {machine}" for machine in found]
    lines, count = [], sum(len(each.variants) for each in comparison.every_budget)
    for machine, rows in sorted(found.items()):
        listed = {label: ", ".join(seeds) for label, seeds in rows.items()}
        words = [f"{n} (seed{'s' * (', ' in seeds)} {seeds})" for n, seeds in listed.items()]
        same = {*listed.values()}
        if len(same) == 1 and len(rows) == count:
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
