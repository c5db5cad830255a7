"""Reading runs: from their own folders, or from a results folder that gathered them before."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from qvbench.errors import UserError
from qvbench.report.samples import Samples, gather_samples, gathered_samples, samples_in
from qvbench.report.wandb_folders import tracked_id
from qvbench.runs.identity import identity

RECORD, CURVES, CONFIG, GATHERED = "run.json", "curves.csv", "config.yaml", "runs"
COLUMNS = ("run", "step", "target_tokens", "seconds", "metric", "value")
KEPT = ("val/accuracy", "val/loss", "val/perplexity", "train/loss", "train/tokens_per_second")
"""What a results folder keeps of the curves."""

OF_THE_MACHINE = (
    ("trainer", "default_root_dir"),
    ("data", "cache_dir"),
    ("data", "corpus", "init_args", "root"),
)
"""Config keys that say where something lay, which nobody else can use."""


@dataclass(frozen=True)
class Point:
    """One measurement of a curve: optimizer step, target tokens, seconds trained, value."""

    step: int
    target_tokens: int
    seconds: float
    value: float


@dataclass(frozen=True)
class Run:
    """One run.

    Args:
        record: as written.
        curves: by metric.
        samples: what resampling needs of it.
        settings: its resolved config, YAML; empty if it was not kept.
        folder: its own; nothing for one that a results folder gathered.
    """

    record: dict[str, Any]
    curves: dict[str, list[Point]]
    samples: Samples = field(default_factory=Samples)
    settings: str = ""
    folder: Path | None = None

    @property
    def id(self) -> str:
        return str(self.record["id"])

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """Its resolved config as plain data; empty if it was not kept."""
        import yaml

        return yaml.safe_load(self.settings) or {}

    @cached_property
    def identity(self) -> str:
        """Which experiment it is; that of its config where its record is older than identities."""
        recorded = self.record.get("identity")
        if recorded or not self.resolved:
            return str(recorded or "")
        return identity(self.resolved, code_version=1)

    @property
    def kept_as(self) -> str:
        """Its files in a results folder, without their suffixes."""
        return f"{GATHERED}/{self.id.replace('/', '-')}"


def load(places: list[Path]) -> list[Run]:
    """All runs of some folders, ordered by id.

    Args:
        places: run folders (with ``run.json``), folders of one variant's runs, or results folders
            (with ``runs/*.json``).

    Raises:
        UserError: a folder holds neither, a file is damaged, or two runs have one id.
    """
    runs: dict[str, Run] = {}
    for place in places:
        for run in _runs_of(place):
            if run.id in runs:
                raise UserError(f"{place}: a run {run.id!r} was given already")
            runs[run.id] = run
    return [runs[key] for key in sorted(runs)]


def _runs_of(place: Path) -> list[Run]:
    if (place / RECORD).is_file():
        return [_run_in(place)]
    seeds = sorted(file.parent for file in place.glob(f"*/{RECORD}"))
    if seeds:
        return [_run_in(folder) for folder in seeds]
    files = sorted((place / GATHERED).glob("*.json"))
    if not files:
        raise UserError(f"{place}: neither a run (no {RECORD}) nor results (no {GATHERED}/*.json)")
    curves = _read_curves(place / CURVES, "")
    records = [_read_record(file) for file in files]
    return [
        Run(
            record,
            curves.get(record["id"], {}),
            gathered_samples(file),
            _text(file.with_suffix(".yaml")),
        )
        for file, record in zip(files, records, strict=True)
    ]


def _run_in(folder: Path) -> Run:
    record = _read_record(folder / RECORD)
    if (tracked := tracked_id(folder)) is not None:
        record["wandb_id"] = tracked
    curves = _read_curves(folder / CURVES, record["id"])
    found = curves.get(record["id"], {})
    return Run(record, found, samples_in(folder), _text(folder / CONFIG), folder)


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _read_record(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as a run's record: {error}") from error
    missing = {"id", "config", "mechanism", "position", "seed", "metrics"} - set(record)
    if missing:
        raise UserError(f"{file}: not a run's record; it lacks {', '.join(sorted(missing))}")
    return dict(record)


def _read_curves(file: Path, run: str) -> dict[str, dict[str, list[Point]]]:
    """Curves by run and metric; rows without a step belong to no point of a curve."""
    curves: dict[str, dict[str, list[Point]]] = {}
    if not file.is_file():
        return curves
    with file.open(newline="", encoding="utf-8") as lines:
        for number, row in enumerate(csv.DictReader(lines), 2):
            if row.get("metric") not in KEPT or not row.get("step"):
                continue
            try:
                point = Point(
                    int(row["step"]),
                    int(row["target_tokens"] or 0),
                    float(row["seconds"] or 0),
                    float(row["value"]),
                )
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f"{file}:{number}: not a measurement: {error}") from error
            metrics = curves.setdefault(row.get("run") or run, {})
            metrics.setdefault(row["metric"], []).append(point)
    return curves


def without_places(settings: str) -> str:
    """A resolved config, YAML, whose :data:`OF_THE_MACHINE` are not set."""
    import yaml

    content = yaml.safe_load(settings)
    for *path, last in OF_THE_MACHINE:
        part = content
        for key in path:
            part = part.get(key) if isinstance(part, dict) else None
        if isinstance(part, dict) and last in part:
            part[last] = None
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def gather(runs: list[Run], folder: Path) -> None:
    """Write what a published table needs: every record, and the curves of all runs in one file."""
    (folder / GATHERED).mkdir(parents=True, exist_ok=True)
    for run in runs:
        text = json.dumps(run.record, indent=2, ensure_ascii=False) + "\n"
        kept = folder / f"{run.kept_as}.json"
        kept.write_text(text, encoding="utf-8")
        if run.settings:
            kept.with_suffix(".yaml").write_text(without_places(run.settings), encoding="utf-8")
        gather_samples(run.samples, kept)
    with (folder / CURVES).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for run in runs:
            for metric in sorted(run.curves):
                for p in run.curves[metric]:
                    # In full: figures that are made again from the folder are the same.
                    writer.writerow([run.id, p.step, p.target_tokens, p.seconds, metric, p.value])
