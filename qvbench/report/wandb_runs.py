"""What W&B is told of a run, and telling it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qvbench.errors import UserError
from qvbench.report.load import Run, without_places
from qvbench.report.wandb_folders import DIGEST

LABELS = ("mechanism", "position", "corpus", "seed", "git", "versions", "hardware")
SUMMED = (
    "steps",
    "target_tokens",
    "wall_seconds",
    "parameters",
    "cache_per_token",
    "flops_per_target_token",
    "bleu_signatures",
)
ID_DIGITS = 16


class Project(NamedTuple):
    """Where in W&B; the entity is the user's default one where none is given."""

    entity: str | None
    name: str

    @classmethod
    def named(cls, text: str) -> Project:
        """From ``PROJECT`` or ``ENTITY/PROJECT``.

        Raises:
            UserError: it is neither.
        """
        entity, slash, name = text.rpartition("/")
        if not name or "/" in entity or bool(slash) != bool(entity):
            raise UserError(f"--wandb {text!r}: give PROJECT or ENTITY/PROJECT")
        return cls(entity or None, name)


class Sent(NamedTuple):
    """One run as W&B is told it.

    Args:
        id: the same for the same run, whenever it is sent.
        name: of the run in qvbench.
        group: its variant.
        kind: W&B's job type.
        config: labels, and the resolved config under its own keys.
        history: values by step, the steps rising; without a step, after all that is there.
        summary: final metrics and costs.
        digest: tells two states of one run apart, since one that went on is sent again.
    """

    id: str
    name: str
    group: str
    kind: str
    config: dict[str, Any]
    history: list[tuple[int | None, dict[str, Any]]]
    summary: dict[str, Any]
    digest: str


def sent(run: Run, variant: str) -> Sent:
    """What is told of a run."""
    import yaml

    record = run.record
    settings = yaml.safe_load(without_places(run.settings)) if run.settings else {}
    labels = {key: record[key] for key in LABELS if key in record}
    summary = {**record["metrics"]}
    for key in SUMMED:
        summary |= _flat(key, record[key]) if key in record else {}
    summary = {name: value for name, value in summary.items() if value is not None}
    history = _history(run)
    return Sent(
        id=record.get("wandb_id") or _identity(run, settings),
        name=run.id,
        group=variant,
        kind="train",
        config={**settings, **labels, "variant": variant},
        history=history,
        summary=summary,
        digest=digest([history, summary]),
    )


def _identity(run: Run, settings: dict[str, Any]) -> str:
    """An id of what the run is, and not of how far it came."""
    keys = ("id", "seed", "git", "settings_hash", "data_fingerprint")
    return digest([*(run.record.get(key) for key in keys), settings])


def _history(run: Run) -> list[tuple[int | None, dict[str, Any]]]:
    """Rounded as a results folder keeps them, so that both send the same."""
    steps: dict[int, dict[str, Any]] = {}
    for metric, points in run.curves.items():
        for p in points:
            at_step = steps.setdefault(p.step, {})
            at_step |= {"target_tokens": p.target_tokens, "seconds": round(p.seconds, 2)}
            at_step[metric] = float(f"{p.value:.6g}")
    return [(step, steps[step]) for step in sorted(steps)]


def _flat(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {f"{name}/{key}": inner for key, inner in value.items()}


def digest(content: Any) -> str:
    """A short name of a content, the same on every machine."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS]


def log(run: Sent, project: Project, online: bool) -> Path:
    """Log a run: new, or in the place of the run of its id, which is only added to.

    Returns:
        the folder that W&B wrote of it, which :func:`sync` uploads if it is offline.

    Raises:
        UserError: W&B does not take it.
    """
    import wandb

    options: dict[str, Any] = {"resume": "allow"} if online else {}
    try:
        tracked = wandb.init(
            project=project.name,
            entity=project.entity,
            id=run.id,
            name=run.name,
            group=run.group,
            job_type=run.kind,
            config={**run.config, DIGEST: run.digest},
            mode="online" if online else "offline",
            reinit="finish_previous",
            settings=_quiet(),
            **options,
        )
        tracked.define_metric("*", step_metric="target_tokens")
        for step, values in run.history:
            tracked.log(values, step=step)
        tracked.summary.update(run.summary)
        folder = Path(tracked.dir).parent
        tracked.finish()
    except Exception as error:  # W&B's own, and those of the libraries that it stands on
        raise UserError(f"W&B: {run.name} cannot be logged: {first_line(error)}") from error
    (folder / DIGEST).write_text(run.digest, encoding="utf-8")
    return folder


def _quiet() -> Any:
    """Settings of W&B: this machine made the report, not the runs, so it is told to nobody."""
    import wandb

    return wandb.Settings(
        console="off",
        silent=True,
        disable_code=True,
        disable_git=True,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
    )


def sync(folders: Sequence[Path], run_id: str, project: Project) -> None:
    """Upload what W&B kept of one run, all parts under one id, the oldest first.

    Raises:
        UserError: W&B does not take it.
    """
    command = [sys.executable, "-m", "wandb", *sync_words(folders, run_id, project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise UserError(f"W&B: {folders[0]} cannot be synced: {lines[-1]}")


def sync_words(folders: Sequence[Path], run_id: str, project: Project) -> list[str]:
    """The words after ``wandb``; whether the server has the run was asked before."""
    words = ["sync", "--include-online", "--include-synced", "--id", run_id]
    words += ["--project", project.name]
    words += ["--entity", project.entity] if project.entity else []
    return [*words, *map(str, folders)]


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0]
