"""Reading runs: from their own folders, or from a results folder that gathered them before."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from qvbench.config_files import config_name
from qvbench.errors import UserError
from qvbench.report.statistics import Array, Sentences
from qvbench.runs.folder import CONFIG, CURVES, RECORD, REFERENCES, RUNS, SENTENCES, TRANSLATIONS
from qvbench.runs.identity import identity
from qvbench.sweep.plan import IDENTITY_DIGITS, Resolve, resolve_variant
from qvbench.sweep.suite import Settings, Suite

OPTIONS = "report.json"
COLUMNS = ("run", "step", "target_tokens", "seconds", "metric", "value")
FLOPS = "flops_per_target_token"
KEPT = ("val/", "train/loss", "train/tokens_per_second")
"""Beginnings of the metrics whose curves a results folder keeps."""

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
        settings: its resolved config, YAML, without what is of the machine; empty if not kept.
        counts: arrays of its counts by validation sentence: ``tokens`` (S,), ``last_right`` (S,).
        translations: of the test set, plain text.
        references: one for each translation.
        folder: its own; None for one that a results folder gathered.
    """

    record: dict[str, Any]
    curves: dict[str, list[Point]]
    settings: str = ""
    counts: Mapping[str, Array] | None = None
    translations: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    folder: Path | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        return str(self.record["id"])

    @property
    def seed(self) -> int:
        return int(self.record["seed"])

    @property
    def file_name(self) -> str:
        """Its files in a results folder, without their suffixes."""
        return f"{RUNS}/{self.id.replace('/', '-')}"

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its resolved config as plain data; empty if it was not kept."""
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return yaml.load(self.settings, loader) or {}

    @cached_property
    def identity(self) -> str:
        """Which experiment it is; that of its config where its record is older than identities."""
        recorded = self.record.get("identity")
        if recorded or not self.config:
            return str(recorded or "")
        return identity(self.config, code_version=1)

    @property
    def sentences(self) -> Sentences | None:
        """Correct tokens and tokens of each validation sentence at the last validation."""
        if self.counts is None:
            return None
        return Sentences(self.counts["last_right"], self.counts["tokens"])

    def cost(self, *keys: str) -> float | None:
        """A number of the record, by the keys that lead to it."""
        value: Any = self.record
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def load(places: Iterable[Path]) -> list[Run]:
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
    files = sorted((place / RUNS).glob("*.json"))
    if not files:
        raise UserError(f"{place}: neither a run (no {RECORD}) nor results (no {RUNS}/*.json)")
    curves = _read_curves(place / CURVES, "")
    return [_gathered_run(file, curves) for file in files]


def _run_in(folder: Path) -> Run:
    record = _read_record(folder / RECORD)
    if tracked := kept_by_wandb(folder):
        record["wandb_id"] = wandb_id_of(tracked[0])
    curves = _read_curves(folder / CURVES, record["id"]).get(record["id"], {})
    translations, references = (
        [*_text(folder / name).split("\n")][:-1] for name in (TRANSLATIONS, REFERENCES)
    )
    run = Run(
        record,
        curves,
        without_places(_text(folder / CONFIG)),
        _read_counts(folder / SENTENCES),
        tuple(translations),
        tuple(references),
        folder,
    )
    if len(translations) != len(references):
        raise UserError(
            f"{folder}: {len(translations)} translations of the test set for {len(references)} "
            "references"
        )
    return run


def _gathered_run(file: Path, curves: dict[str, dict[str, list[Point]]]) -> Run:
    record = _read_record(file)
    lines = file.with_suffix(".lines.gz")
    try:
        packed = gzip.decompress(lines.read_bytes()).decode("utf-8") if lines.is_file() else ""
        pairs = [tuple(line.split("\t")) for line in packed.splitlines()]
        translations, references = zip(*pairs, strict=True) if pairs else ((), ())
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{lines}: cannot be read as a test's lines: {error}") from error
    return Run(
        record,
        curves.get(record["id"], {}),
        _text(file.with_suffix(".yaml")),
        _read_counts(file.with_suffix(".npz")),
        translations,
        references,
    )


def kept_by_wandb(place: Path) -> list[Path]:
    """Folders of the runs that W&B keeps under ``wandb/`` of a place, the oldest first."""
    found = [folder for folder in place.glob("wandb/*run-*-*") if folder.is_dir()]
    return sorted(found, key=lambda folder: folder.name.partition("run-")[2])


def wandb_id_of(folder: Path) -> str:
    """The id in ``[offline-]run-<time>-<id>``."""
    return folder.name.partition("run-")[2].partition("-")[2]


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
            name = row.get("metric") or ""
            if not name.startswith(KEPT) or not row.get("step"):
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
            curves.setdefault(row.get("run") or run, {}).setdefault(name, []).append(point)
    return curves


def _read_counts(file: Path) -> dict[str, Array] | None:
    if not file.is_file():
        return None
    try:
        with np.load(file) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{file}: cannot be read as counts by sentence: {error}") from error
    if not {"tokens", "last_right"} <= arrays.keys():
        raise UserError(f"{file}: no counts by sentence in it")
    return arrays


def without_places(settings: str) -> str:
    """A resolved config, YAML, whose :data:`OF_THE_MACHINE` are not set."""
    if not settings:
        return ""
    content = yaml.safe_load(settings)
    for *path, last in OF_THE_MACHINE:
        part = content
        for key in path:
            part = part.get(key) if isinstance(part, dict) else None
        if isinstance(part, dict) and last in part:
            part[last] = None
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def gather(runs: Sequence[Run], folder: Path) -> None:
    """Write what a published table needs: records, configs, counts, translations, curves.

    The same bytes for the same runs, wherever they were loaded from.
    """
    (folder / RUNS).mkdir(parents=True, exist_ok=True)
    for run in runs:
        kept = folder / f"{run.file_name}.json"
        text = json.dumps(run.record, indent=2, ensure_ascii=False) + "\n"
        kept.write_text(text, encoding="utf-8")
        if run.settings:
            kept.with_suffix(".yaml").write_text(run.settings, encoding="utf-8")
        if run.counts is not None:
            packed = io.BytesIO()
            arrays: dict[str, Any] = dict(run.counts)
            np.savez_compressed(packed, **arrays)
            kept.with_suffix(".npz").write_bytes(packed.getvalue())
        if run.translations:
            pairs = zip(run.translations, run.references, strict=True)
            lines = "".join(f"{a.replace(TAB, ' ')}\t{b.replace(TAB, ' ')}\n" for a, b in pairs)
            kept.with_suffix(".lines.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))
    with (folder / CURVES).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for run in runs:
            for metric in sorted(run.curves):
                for p in run.curves[metric]:
                    # In full: figures that are made again from the folder are the same.
                    writer.writerow([run.id, p.step, p.target_tokens, p.seconds, metric, p.value])


TAB = "\t"


def with_profile(runs: Sequence[Run], file: Path) -> list[Run]:
    """Runs whose records have no FLOPs with those that ``qvbench profile --format json`` printed.

    Raises:
        UserError: the file is no such document.
    """

    def key(record: dict[str, Any]) -> tuple[Any, ...]:
        return record["mechanism"], record["position"], record.get("parameters", {}).get("total")

    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        flops = {key(e): {"train": float(e[FLOPS]["train"])} for e in entries}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}: not what `qvbench profile --format json` prints: {error!r}"
        ) from error
    return [
        replace(run, record=run.record | {FLOPS: flops[key(run.record)]})
        if FLOPS not in run.record and key(run.record) in flops
        else run
        for run in runs
    ]


def runs_of_suite(
    suite: Suite,
    places: Sequence[Path],
    resolve: Resolve,
    overrides: Settings = (),
    seeds: Sequence[int] = (),
) -> list[Run]:
    """The runs that a suite compares, labelled as its own, ordered by id.

    Args:
        suite: that tells what is compared.
        places: folders that hold ``runs/``, ``runs/`` itself, or results folders.
        resolve: makes a resolved config.
        overrides: settings with which the suite was swept.
        seeds: instead of the suite's.

    Raises:
        UserError: there is none of its runs, or a file of one is damaged.
    """
    names = {
        identity(resolve_variant(suite, variant, overrides, resolve)): variant.name
        for variant in suite.variants.values()
    }
    wanted = tuple(seeds) or suite.seeds
    folders = [folder for place in places for folder in _folders(place, names)]
    found = [
        replace(run, record=run.record | suite_labels(suite, name, overrides, wanted))
        for run in (load(folders) if folders else [])
        if run.seed in wanted and (name := names.get(run.identity))
    ]
    if not found:
        where = ", ".join(map(str, places))
        raise UserError(
            f"--suite {suite.name}: none of its runs in {where}; `qvbench sweep --suite "
            f"{suite.name}` makes them (with the same --options, if any)"
        )
    return found


def suite_labels(
    suite: Suite, variant: str, overrides: Settings, seeds: Sequence[int]
) -> dict[str, Any]:
    """What a gathered record says of the suite that compares it."""
    rows = list(suite.variants)
    margin = suite.margin
    return {
        "suite": suite.name,
        "variant": variant,
        "sweep": {
            "file": config_name(suite.file),
            "title": suite.title,
            "baseline": suite.baseline,
            "place": rows.index(variant),
            "variants": len(rows),
            "rows": rows,
            "seeds": list(seeds),
            "overrides": [list(pair) for pair in overrides],
            **({} if margin is None else {"margin": margin}),
        },
    }


def _folders(place: Path, names: Mapping[str, str]) -> list[Path]:
    """Where the runs of these identities are below a place; a results folder is one itself."""
    for runs in (place / RUNS, place):
        patterns = {f"*-{name[:IDENTITY_DIGITS]}" for name in names}
        groups = sorted({g for glob in patterns for g in runs.glob(glob) if g.is_dir()})
        begun = [group for group in groups if any(group.glob(f"*/{RECORD}"))]
        if begun:
            return begun
    gathered = any((place / RUNS).glob("*.json")) or (place / RECORD).is_file()
    return [place] if gathered else []
