"""``qvbench report --wandb``: a report of the runs that W&B has; only those it lacks are sent."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qvbench.errors import UserError
from qvbench.report.comparison import Comparison, Variant
from qvbench.report.figures import looks
from qvbench.report.runs import Run
from qvbench.runs.record import has_wandb_key

LABELS = ("mechanism", "position", "corpus", "seed", "git", "versions", "hardware")
COSTS = ("parameters/total", "flops_per_target_token/train", "cache_per_token/self")


def publish(target: str, comparison: Comparison, folder: Path) -> None:
    """Send runs that W&B does not have, label all for this comparison, and save its report.

    A run that is there already, live or from an earlier report, stays as it is; one that W&B kept
    in its folder is synced; the others are logged from their curves. Labels stand under config
    keys and a tag of this comparison's own, so that reports can share a run.

    Args:
        target: ``PROJECT`` or ``ENTITY/PROJECT``.
        comparison: of the runs.
        folder: the results folder, written.

    Raises:
        UserError: the target is none, a package is missing, or W&B refuses.
    """
    entity, slash, project = target.rpartition("/")
    if not project or "/" in entity or bool(slash) != bool(entity):
        raise UserError(f"--wandb {target!r}: give PROJECT or ENTITY/PROJECT")
    try:
        import wandb_workspaces.reports.v2 as reports
    except ImportError as error:
        raise UserError(
            "--wandb: a report on W&B needs wandb-workspaces; `pip install qvbench[reports]`"
        ) from error
    api = _connect(target, entity)
    if isinstance(api, str):
        print(f"W&B      {api}: nothing was sent; give this command again online")
        return
    entity = entity or api.default_entity
    path, suite = f"{entity}/{project}", _suite(comparison, folder)
    own = f"qvbench report: {suite}"
    with _one_line("the project cannot be read"):
        ids = {"name": {"$in": [wandb_id(run) for run in comparison.runs]}}
        there = {run.id for run in _listed(lambda: api.runs(path, filters=ids))}
        saved = {r.description: r.url for r in _listed(lambda: api.reports(path))}
    done = Counter(
        "there already" if wandb_id(run) in there else _send(run, project, entity)
        for run in comparison.runs
    )
    print("W&B      " + ", ".join(f"{count} {word}" for word, count in done.items()), flush=True)
    with _one_line("the runs are there, the report fails"):
        for variant in comparison.variants:
            for run in variant.runs:
                _label(api.run(f"{path}/{wandb_id(run)}"), run, suite, variant, comparison)
        report = reports.Report(project, entity, comparison.title[:128], own, width="fluid")
        report = reports.Report.from_url(saved[own]) if own in saved else report
        report.title = comparison.title[:128]
        page = (folder / "README.md").read_text(encoding="utf-8")
        report.blocks = blocks(page, comparison, suite, entity, project)
        report.save()
        print(f"W&B      report: {report.url}")


def _suite(comparison: Comparison, folder: Path) -> str:
    """What tells this comparison from others that share its runs; a key in W&B's config."""
    known = comparison.runs[0].record.get("suite") if comparison.suite else None
    return re.sub(r"\W", "_", str(known or folder.name))


# Runs


def wandb_id(run: Run) -> str:
    """The id under which ``fit`` logged a run; else one that is the same whenever it is sent."""
    keys = ("id", "seed", "git", "identity", "data_fingerprint")
    text = json.dumps([*(run.record.get(key) for key in keys), run.config], sort_keys=True)
    return str(run.record.get("wandb_id") or hashlib.sha256(text.encode()).hexdigest()[:16])


def config_of(run: Run) -> dict[str, Any]:
    """The resolved config under its own keys, and labels."""
    return run.config | {key: run.record[key] for key in LABELS if key in run.record}


def summary_of(run: Run) -> dict[str, Any]:
    """Final metrics and costs."""
    costs = {cost: run.cost(cost) for cost in (*COSTS, "steps", "wall_seconds")}
    return {k: v for k, v in (run.record["metrics"] | costs).items() if v is not None}


def history_of(run: Run) -> dict[int, dict[str, float]]:
    """The curves' values by step, with both axes."""
    steps: dict[int, dict[str, float]] = {}
    for metric, points in run.curves.items():
        for step, tokens, seconds, value in points:
            axes = {"target_tokens": tokens, "seconds": seconds}
            steps.setdefault(step, axes)[metric] = value
    return dict(sorted(steps.items()))


def _send(run: Run, project: str, entity: str) -> str:
    """Bring a run to the server; gives what was done."""
    kept = list(run.folder.glob("wandb/*run-*-*")) if run.folder is not None else []
    kept.sort(key=lambda folder: folder.name.partition("run-")[2])  # the date
    if not kept:
        _log(run, project, entity)
        return "logged"
    # All parts of one run, of which a restart makes several, under one id.
    args = ["sync", "--include-online", "--include-synced", "--id", wandb_id(run)]
    args += ["--project", project, "--entity", entity, *map(str, kept)]
    command = [sys.executable, "-m", "wandb", *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise UserError(f"W&B: {kept[0]} cannot be synced: {lines[-1]}")
    return "synced"


def _log(run: Run, project: str, entity: str) -> None:
    """Log a run from its curves."""
    import wandb

    of_this_machine = ("x_disable_machine_info", "x_disable_meta", "x_disable_stats")
    switches = ("silent", "disable_code", "disable_git", *of_this_machine)
    settings: dict[str, Any] = dict.fromkeys(switches, True)
    with _one_line(f"{run.id} cannot be logged"):
        tracked = wandb.init(
            project=project,
            entity=entity,
            id=wandb_id(run),
            name=run.id,
            group=run.id.rpartition("/")[0],
            job_type="train",
            config=config_of(run),
            resume="allow",
            reinit="finish_previous",
            settings=wandb.Settings(console="off", **settings),
        )
        tracked.define_metric("*", step_metric="target_tokens")
        for step, values in history_of(run).items():
            tracked.log(values, step=step)
        tracked.summary.update(summary_of(run))
        tracked.finish()


def _label(there: Any, run: Run, suite: str, variant: Variant, comparison: Comparison) -> None:
    """Add to a run on the server its place in this comparison, and what it was logged without."""
    config = {key: value for key, value in config_of(run).items() if key not in there.config}
    config["variants"] = {**there.config.get("variants", {}), suite: variant.label}
    summary = {key: value for key, value in summary_of(run).items() if key not in there.summary}
    base = {} if comparison.baseline in (None, variant) else comparison.baseline.scores
    if run.seed in base:
        summary[f"minus_baseline/{suite}"] = variant.scores[run.seed] - base[run.seed]
    there.config.update(config)
    there.summary.update(summary)
    there.tags = sorted({*there.tags, suite})
    there.update()


# Server


def _connect(target: str, entity: str) -> Any:
    """W&B's public API, or in words why nothing can be sent now."""
    mode = os.environ.get("WANDB_MODE", "online")
    if mode != "online":
        return f"WANDB_MODE={mode}"
    if not has_wandb_key():
        return "no API key found (WANDB_API_KEY or `wandb login`)"
    import wandb

    try:
        api = wandb.Api(timeout=30)
        default = api.default_entity
    except Exception as error:  # W&B's own, and those of the libraries that it stands on
        return _first_line(error)
    if not entity and not default:
        raise UserError(f"--wandb {target}: the key has no default entity; give ENTITY/PROJECT")
    return api


def _listed(found: Callable[[], Any]) -> list[Any]:
    """What a project holds; empty where the project is still to be made."""
    try:
        return list(found())
    except ValueError:  # W&B's word for a project that is not there
        return []


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Errors of W&B's, and of the libraries that it stands on, as one of ours."""
    try:
        yield
    except Exception as error:
        raise UserError(f"W&B: {what}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


# Report


def blocks(page: str, comparison: Comparison, suite: str, entity: str, project: str) -> list[Any]:
    """Panels over exactly these runs, by variant; then the sections of the page, as text."""
    import wandb_workspaces.reports.v2 as reports

    text = re.sub(r"!\[[^\]]*\]\([\w-]+\.png\)\n\n[^\n]*\n*", "", page)  # figures with captions
    found: list[Any] = [reports.TableOfContents(), reports.H2("Runs")]
    found += [_grid(comparison, suite, entity, project)]
    for section in re.split(r"(?m)^(?=## )", text):
        heading, _, rest = section.partition("\n")
        found += [reports.H2(heading[3:])] if heading.startswith("## ") else []
        found += [reports.MarkdownBlock(rest.strip())] if rest.strip() else []
    return found


def _grid(comparison: Comparison, suite: str, entity: str, project: str) -> Any:
    """Curves, means with their spread, differences and costs, and a table grouped by variant."""
    import wandb_workspaces.reports.v2 as reports
    from wandb_workspaces import expr

    metric, key, ids = comparison.metric, f"variants.{suite}", list(map(wandb_id, comparison.runs))
    label, group = metric.label, reports.Config(key)
    runset = reports.Runset(
        entity=entity,
        project=project,
        name="runs",
        filters=expr.And(expr.Metric("ID").isin(ids)),
        groupby=[f"config.{key}"],
        pinned_columns=[f"summary:{name}" for name in (metric.name, *COSTS)],
    )
    by: dict[str, Any] = {"groupby": group, "groupby_aggfunc": "mean", "max_runs_to_show": len(ids)}
    by |= {"groupby_rangefunc": "minmax"}
    line: dict[str, Any] = by | {"smoothing_type": "none", "title_y": comparison.axis}
    plots: list[Any] = [
        reports.LinePlot(title=f"{label} by {x}", x=x, y=[metric.name], title_x=x, **line)
        for x in ("target_tokens", "seconds")
    ]
    bars = {f"{label}, mean and range of the seeds": metric.name}
    if comparison.baseline is not None:
        bars[f"{label} minus that of {comparison.baseline.label}"] = f"minus_baseline/{suite}"
    bar: dict[str, Any] = by | {"max_bars_to_show": len(ids)}
    plots += [reports.BarPlot(title=title, metrics=[name], **bar) for title, name in bars.items()]
    y = reports.SummaryMetric(metric.name)
    plots += [
        reports.ScatterPlot(title=f"{label} by {cost}", x=reports.SummaryMetric(cost), y=y)
        for cost in COSTS
        if any(cost in summary_of(run) for run in comparison.runs)
    ]
    for place, plot in enumerate(plots):
        plot.layout = reports.Layout(x=12 * (place % 2), y=10 * (place // 2), w=12, h=10)
    look = looks(comparison.variants)
    colors: dict[Any, Any] = {
        reports.RunsetGroup("runs", (reports.RunsetGroupKey(group, v.label),)): look[v.name].color
        for v in comparison.variants
    }
    return reports.PanelGrid(runsets=[runset], panels=plots, custom_run_colors=colors)
