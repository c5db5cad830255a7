"""``qvbench report --wandb``: a report of the runs that W&B has; those it lacks are sent."""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from typing import Any

from qvbench.errors import UserError
from qvbench.report.comparison import Comparison
from qvbench.report.figures import looks
from qvbench.report.runs import Run
from qvbench.report.variants import Variant
from qvbench.runs.record import first_line, has_wandb_key

LABELS = ("mechanism", "position", "corpus", "seed", "git", "versions", "hardware")
COSTS = ("parameters/total", "flops_per_target_token/train", "cache_per_token/self")


def publish(target: str, comparison: Comparison) -> None:
    """Log runs that W&B does not have, label all for this comparison, and save its report.

    Labels stand under config keys and a tag of this comparison's own, so that reports share runs.
    UserError if the target is no ``PROJECT`` or ``ENTITY/PROJECT``, or W&B refuses.
    """
    entity, slash, project = target.rpartition("/")
    if not project or "/" in entity or bool(slash) != bool(entity):
        raise UserError(f"--wandb {target!r}: give PROJECT or ENTITY/PROJECT")
    try:
        import wandb_workspaces.reports.v2 as reports
    except ImportError as error:
        raise UserError("--wandb needs wandb-workspaces: `pip install qvbench[reports]`") from error
    try:
        api = _connect()
    except Exception as error:  # W&B's own, and those of the libraries that it stands on
        print(f"W&B      {first_line(error)}: nothing was sent; give this command again online")
        return
    if not (entity := entity or api.default_entity or ""):
        raise UserError(f"--wandb {target}: the key has no default entity; give ENTITY/PROJECT")
    path, there, saved = f"{entity}/{project}", set(), {}
    try:
        with suppress(ValueError):  # W&B's word for a project that is still to be made
            ids = {"name": {"$in": list(map(wandb_id, comparison.runs))}}
            there = {run.id for run in api.runs(path, filters=ids)}
            saved = {report.description: report.url for report in api.reports(path)}
        missing = [run for run in comparison.runs if wandb_id(run) not in there]
        for run in missing:
            _log(run, project, entity)
        print(f"W&B      {len(missing)} of {len(comparison.runs)} runs sent", flush=True)
        known = comparison.variants[0].record.get("suite") if comparison.suite else None
        suite = re.sub(r"\W", "_", str(known or comparison.folder.name))  # a key in W&B's config
        for variant in comparison.variants:
            for run in variant.runs:
                _label(api.run(f"{path}/{wandb_id(run)}"), run, suite, variant, comparison)
        own, title = f"qvbench report: {suite}", comparison.title[:128]
        report = reports.Report(project, entity, title, own, width="fluid")
        report = reports.Report.from_url(saved[own]) if own in saved else report
        page = (comparison.folder / "README.md").read_text(encoding="utf-8")
        text = re.sub(r"!\[[^\]]*\]\([\w-]+\.png\)\n\n[^\n]*\n*", "", page)  # figures, captions
        grid = _grid(comparison, suite, entity, project)
        report.title, report.blocks = title, [grid, reports.MarkdownBlock(text)]
        report.save()
    except Exception as error:
        again = "this command, given again, sends what is missing"
        raise UserError(f"W&B, {path}: {first_line(error)}; {again}") from error
    print(f"W&B      report: {report.url}")


def _connect() -> Any:
    """W&B's public API; any error says why there is none."""
    if (mode := os.environ.get("WANDB_MODE", "online")) != "online":
        raise ConnectionError(f"WANDB_MODE={mode}")
    if not has_wandb_key():
        raise ConnectionError("no API key found (WANDB_API_KEY or `wandb login`)")
    import wandb

    return wandb.Api(timeout=30)


# Runs


def wandb_id(run: Run) -> str:
    """The id under which ``fit`` logged a run, or a hash of what the run is."""
    keys = ("id", "seed", "git", "identity", "data_fingerprint")
    text = json.dumps([*(run.record.get(key) for key in keys), run.config], sort_keys=True)
    return str(run.record.get("wandb_id") or hashlib.sha256(text.encode()).hexdigest()[:16])


def _log(run: Run, project: str, entity: str) -> None:
    """Send a run's curves, and nothing of the machine that sends them."""
    import wandb

    tracked = wandb.init(
        project=project,
        entity=entity,
        id=wandb_id(run),
        name=run.id,
        group=run.group,
        job_type="train",
        resume="allow",
        reinit="finish_previous",
        settings=wandb.Settings(
            console="off",
            silent=True,
            disable_code=True,
            disable_git=True,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
        ),
    )
    tracked.define_metric("*", step_metric="target_tokens")
    history: dict[int, dict[str, float]] = {}
    for metric, points in run.curves.items():
        for step, tokens, seconds, value in points:
            axes = {"target_tokens": tokens, "seconds": seconds}
            history.setdefault(step, axes)[metric] = value
    for step, values in sorted(history.items()):
        tracked.log(values, step=step)
    tracked.finish()


def _label(there: Any, run: Run, suite: str, variant: Variant, comparison: Comparison) -> None:
    """Add to a run on the server its results in this comparison, and what it lacks."""
    labels = {key: run.record[key] for key in LABELS if key in run.record}
    found = comparison.findings.get(variant)
    place: dict[str, Any] = {"variants": variant.label, "margins": comparison.margin}
    place["verdicts"] = found.verdict if found else "none"
    of_suites = {key: {**there.config.get(key, {}), suite: value} for key, value in place.items()}
    there.config.update({**run.config, **labels, **there.config, **of_suites})
    costs = {name: run.cost(name) for name in (*COSTS, "steps", "wall_seconds")}
    own = {k: v for k, v in (run.record["metrics"] | costs).items() if v is not None}
    summary = {k: v for k, v in own.items() if k not in there.summary}
    base = comparison.baselines.get(variant, variant)
    if variant is not base and base.runs:
        summary[f"minus_baseline/{suite}"] = variant.scores[run.seed] - base.mean
    there.summary.update(summary)
    there.tags = sorted({*there.tags, suite})
    there.update()


# Report


def _grid(comparison: Comparison, suite: str, entity: str, project: str) -> Any:
    """Curves, means with their spread, differences and costs, and a table, by variant."""
    import wandb_workspaces.reports.v2 as reports
    from wandb_workspaces import expr

    metric, label, axis = comparison.metric.name, comparison.metric.label, comparison.axis
    ids = list(map(wandb_id, comparison.runs))
    runset = reports.Runset(
        entity=entity,
        project=project,
        name="runs",
        filters=expr.And(expr.Metric("ID").isin(ids)),
        groupby=[f"config.variants.{suite}"],
        pinned_columns=[f"summary:{name}" for name in (metric, *COSTS)],
    )
    by: dict[str, Any] = {"groupby": reports.Config(f"variants.{suite}"), "groupby_aggfunc": "mean"}
    by |= {"groupby_rangefunc": "minmax", "max_runs_to_show": len(ids)}
    panels: list[Any] = [
        reports.LinePlot(
            title=f"{label} by {x}", x=x, y=[metric], title_y=axis, smoothing_type="none", **by
        )
        for x in ("target_tokens", "seconds")
    ]
    bars = {f"{label}, mean and range of the seeds": metric}
    if comparison.baseline is not None:
        bars[f"{label} minus that of {comparison.against}"] = f"minus_baseline/{suite}"
    for title, name in bars.items():
        panels.append(reports.BarPlot(title=title, metrics=[name], max_bars_to_show=len(ids), **by))
    for cost in COSTS:
        if any(run.cost(cost) is not None for run in comparison.runs):
            x, y = reports.SummaryMetric(cost), reports.SummaryMetric(metric)
            panels.append(reports.ScatterPlot(title=f"{label} by {cost}", x=x, y=y))
    look = looks(comparison.variants)  # of the page's figures, for the dots of single runs
    colors: dict[Any, Any] = {
        wandb_id(r): look[v.name].color for v in comparison.variants for r in v.runs
    }
    return reports.PanelGrid(runsets=[runset], panels=panels, custom_run_colors=colors)
