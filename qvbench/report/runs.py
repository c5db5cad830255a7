"""Reading runs: from their own folders, or from a results folder that gathered them before."""

from __future__ import annotations

import csv
import io
import json
import lzma
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from qvbench.config_files import config_name
from qvbench.errors import UserError
from qvbench.report.statistics import Array
from qvbench.runs.folder import (
    CONFIG,
    CURVES,
    INSIDE,
    RECORD,
    REFERENCES,
    RUNS,
    SENTENCES,
    TRANSLATIONS,
)
from qvbench.runs.record import without_folders
from qvbench.sweep.plan import ENDED, IDENTITY_DIGITS, PlannedRun, Resolve, plan
from qvbench.sweep.suite import Settings, Suite

NEEDED = {"id", "config", "mechanism", "position", "label", "seed", "status", "metrics"}
NEEDED |= {"primary_metric"}
KEPT_CURVES = ("val/", "train/loss", "train/tokens_per_second")
"""Prefixes of the metrics whose curves a results folder keeps."""
NOT_PUBLISHED = {"trainer.default_root_dir", "data.cache_dir", "data.corpus.init_args.root"}
NOT_PUBLISHED |= {"seed_everything", "data.seed"}
"""Config keys that name a machine's folders or the seed: one config is kept for all seeds."""
BY_SENTENCE = ("tokens", "last_right")
"""Arrays by sentence of the last validation."""
# What a results folder keeps of all its runs, beside their configs and curves.
RECORDS, COUNTS, LINES = f"{RUNS}/records.jsonl", f"{RUNS}/sentences.npz", f"{RUNS}/test.json.xz"
MEASURED = f"{RUNS}/inside.json"


class Point(NamedTuple):
    """One measurement of a curve: optimizer step, target tokens, seconds trained, value."""

    step: int
    target_tokens: int
    seconds: float
    value: float


Curves = dict[str, list[Point]]
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # ten times as fast, the same bytes


@dataclass(frozen=True)
class Run:
    record: dict[str, Any]  # as written
    curves: Curves  # by metric
    config: Mapping[str, Any] = field(default_factory=dict)  # resolved; empty if it was not kept
    counts: Mapping[str, Array] = field(default_factory=dict)  # tokens, last_right, ...: (S,) each
    translations: Sequence[str] = ()  # of the test set, plain text
    references: Sequence[str] = ()  # one for each translation
    inside: Mapping[str, Any] = field(default_factory=dict)  # summary of `qvbench measure`

    @property
    def id(self) -> str:
        return str(self.record["id"])

    @property
    def seed(self) -> int:
        return int(self.record["seed"])

    @property
    def identity(self) -> str:
        """Hash of the resolved config (`qvbench.runs.identity`); empty in records without one."""
        return str(self.record.get("identity", ""))

    @property
    def group(self) -> str:
        """The folder that it shares with the other seeds of its variant."""
        return self.id.rpartition("/")[0]

    @property
    def config_file(self) -> str:
        """Of a results folder: the one config of all seeds of a variant."""
        return f"{RUNS}/{self.group.replace('/', '-')}.yaml"

    def cost(self, name: str) -> float | None:
        """A number of the record, such as ``parameters/total``; None if it lacks it."""
        first, _, second = name.partition("/")
        value = self.record.get(first)
        return value.get(second) if isinstance(value, dict) else value


# Reading


def load(places: Iterable[Path]) -> list[Run]:
    """All runs of run folders, folders of one variant's runs, or results folders, ordered by id.

    UserError where a folder holds none, a file is damaged, or two runs have one id.
    """
    runs: dict[str, Run] = {}
    for place in places:
        for run in _runs_of(place):
            if run.id in runs:
                raise UserError(f"{place}: a run {run.id!r} was given already")
            runs[run.id] = run
    return [runs[key] for key in sorted(runs)]


def _runs_of(place: Path) -> list[Run]:
    own = [place / RECORD] if (place / RECORD).is_file() else sorted(place.glob(f"*/{RECORD}"))
    if own:
        return [_run_in(file.parent) for file in own]
    if not (place / RECORDS).is_file():
        raise UserError(f"{place}: neither a run's folder, {RUNS}/NAME, nor results ({RECORDS})")
    return _gathered_runs(place)


def _run_in(folder: Path) -> Run:
    translations, references = (_lines(text_of(folder / f)) for f in (TRANSLATIONS, REFERENCES))
    if len(translations) != len(references):
        found = f"{len(translations)} translations of the test set for {len(references)} references"
        raise UserError(f"{folder}: {found}")
    config, counts = _read_config(folder / CONFIG), _read_counts(folder / SENTENCES)
    curves = _read_curves(folder / CURVES).get("", {})
    with readable(folder / RECORD, "a run's record"):
        record = _record((folder / RECORD).read_text(encoding="utf-8"), folder / RECORD)
    inside = _read_json(folder / INSIDE).get("summary", {})
    return Run(record, curves, config, counts, translations, references, inside)


def _gathered_runs(place: Path) -> list[Run]:
    lines = _lines(text_of(place / RECORDS))
    records = [_record(line, Path(f"{place / RECORDS}:{n}")) for n, line in enumerate(lines, 1)]
    curves, counts = _read_curves(place / CURVES), _read_gathered_counts(place / COUNTS)
    with readable(place / LINES, "translations"):
        packed = (place / LINES).read_bytes() if (place / LINES).is_file() else b""
        kept = json.loads(lzma.decompress(packed)) if packed else {"references": [], "runs": {}}
        tested = {
            key: (translations, kept["references"][number])
            for key, (number, translations) in kept["runs"].items()
        }
    runs, measured = [], _read_json(place / MEASURED)
    for record in records:
        key = record["id"]
        own = Run(record, curves.get(key, {}), {}, counts.get(key, {}), *tested.get(key, ((), ())))
        config = _read_config(place / own.config_file)
        runs.append(replace(own, config=config, inside=measured.get(key, {})))
    return runs


@contextmanager
def readable(file: Path, what: str) -> Iterator[None]:
    """Any error of reading as a UserError that names the file."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{file}: cannot be read as {what}: {reason}") from error


def text_of(file: Path) -> str:
    """Empty if there is no such file."""
    with readable(file, "text"):
        return file.read_text(encoding="utf-8") if file.is_file() else ""


def _lines(text: str) -> list[str]:
    # Not `splitlines`: a translation may hold what else that takes for an end.
    return text.removesuffix("\n").split("\n") if text else []


def _record(text: str, file: Path) -> dict[str, Any]:
    """A run's record; files in its command and in errors are named without their folders."""
    with readable(file, "a run's record"):
        record = dict(json.loads(without_folders(text)))
    if missing := NEEDED - record.keys():
        raise UserError(f"{file}: not a run's record; it lacks {', '.join(sorted(missing))}")
    return record


def _read_curves(file: Path) -> dict[str, Curves]:
    """Curves by run (``""`` in a file of one run) and metric; rows without a step are skipped, and
    so is half a line at the end, which a killed run leaves."""
    curves: dict[str, Curves] = {}
    text = text_of(file)
    with readable(file, "curves"):
        rows = list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline="")))
    for number, row in enumerate(rows, 2):
        name = row.get("metric") or ""
        if name.startswith(KEPT_CURVES) and row.get("step"):
            with readable(Path(f"{file}:{number}"), "a measurement"):
                step, tokens = int(row["step"]), int(row["target_tokens"] or 0)
                point = Point(step, tokens, float(row["seconds"] or 0), float(row["value"]))
            curves.setdefault(row.get("run", ""), {}).setdefault(name, []).append(point)
    return curves


def _read_counts(file: Path) -> dict[str, Array]:
    if not file.is_file():
        return {}
    with readable(file, "counts by sentence"), np.load(file) as stored:
        return {name: stored[name] for name in BY_SENTENCE}


def _read_gathered_counts(file: Path) -> dict[str, dict[str, Array]]:
    if not file.is_file():
        return {}
    counts = {}
    with readable(file, "counts by sentence"), np.load(file) as stored:
        for name in stored:
            if name.startswith("last_right/"):
                _, number, key = name.split("/", 2)
                counts[key] = {"tokens": stored[f"tokens/{number}"], "last_right": stored[name]}
    return counts


def _read_json(file: Path) -> dict[str, Any]:
    with readable(file, "what `qvbench measure` writes"):
        return dict(json.loads(text_of(file) or "{}"))


def _read_config(file: Path) -> dict[str, Any]:
    """A resolved config without :data:`NOT_PUBLISHED`; empty if there is none."""

    def unset(part: Any, key: str = "") -> Any:
        if not isinstance(part, dict):
            return None if key in NOT_PUBLISHED else part
        return {name: unset(inner, f"{key}.{name}".lstrip(".")) for name, inner in part.items()}

    with readable(file, "a config"):
        return dict(unset(yaml.load(text_of(file), LOADER) or {}))


# Results folders


def gather(runs: Sequence[Run], folder: Path) -> None:
    """Write what a published table needs: records, configs, counts, translations, curves.

    The same bytes for the same runs, wherever they were loaded from, and whatever runs the folder
    had before.
    """
    (folder / RUNS).mkdir(parents=True, exist_ok=True)
    if (folder / RECORDS).is_file():  # of an earlier report, perhaps on other runs
        files = (COUNTS, LINES, MEASURED)
        for old in (*(folder / name for name in files), *(folder / RUNS).glob("*.yaml")):
            old.unlink(missing_ok=True)
    records = [json.dumps(run.record, ensure_ascii=False) + "\n" for run in runs]
    (folder / RECORDS).write_text("".join(records), encoding="utf-8")
    for run in runs:
        if run.config:
            text = yaml.dump(run.config, Dumper=DUMPER, sort_keys=False, allow_unicode=True)
            (folder / run.config_file).write_text(text, encoding="utf-8")
    _write_counts([run for run in runs if run.counts], folder / COUNTS)
    _write_lines([run for run in runs if run.translations], folder / LINES)
    if measured := {run.id: run.inside for run in runs if run.inside}:
        text = ",\n".join(f"{json.dumps(key)}: {json.dumps(of)}" for key, of in measured.items())
        (folder / MEASURED).write_text(f"{{{text}}}\n", encoding="utf-8")
    with (folder / CURVES).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("run", "step", "target_tokens", "seconds", "metric", "value"))
        for run in runs:  # in full: figures that are made again from the folder are the same
            for metric, points in sorted(run.curves.items()):
                writer.writerows([run.id, *axes, metric, value] for *axes, value in points)


def _write_counts(runs: Sequence[Run], file: Path) -> None:
    sets: dict[bytes, int] = {}  # of sentences, by their lengths: runs of one corpus share one
    arrays: dict[str, Any] = {}
    for run in runs:
        tokens, right = (np.asarray(run.counts[name], np.uint16) for name in BY_SENTENCE)
        number = sets.setdefault(tokens.tobytes(), len(sets))
        arrays |= {f"tokens/{number}": tokens, f"last_right/{number}/{run.id}": right}
    if arrays:
        np.savez_compressed(file, **arrays)


def _write_lines(runs: Sequence[Run], file: Path) -> None:
    references: dict[tuple[str, ...], int] = {}
    tested = {
        run.id: (references.setdefault(tuple(run.references), len(references)), run.translations)
        for run in runs
    }
    if tested:
        text = json.dumps({"references": list(references), "runs": tested}, ensure_ascii=False)
        file.write_bytes(lzma.compress(text.encode(), preset=9))


# A suite's runs


def runs_of_suite(
    suite: Suite,
    places: Sequence[Path],
    resolve: Resolve,
    overrides: Settings = (),
    seeds: Sequence[int] = (),
) -> list[Run]:
    """The runs that a suite compares, labeled as its own, ordered by id; UserError without any.

    ``places`` hold ``runs/``, are ``runs/`` itself, or results folders; ``overrides`` are those of
    the suite's sweep, and ``seeds`` stand for the suite's.
    """
    index, seeds = RunIndex(places), tuple(seeds) or suite.seeds
    found = {}
    for planned in plan(suite, places[0], resolve, None, seeds, overrides, index.ended):
        run = index.run(planned.identity, planned.seed)
        if run is not None:
            labels = {"suite": suite.name, "variant": planned.variant.name}
            record = run.record | labels | {"sweep": _sweep(planned, seeds)}
            found[run.id] = replace(run, record=record)
    if not found:
        none = f"--suite {suite.name}: none of its runs in {', '.join(map(str, places))}"
        raise UserError(
            f"{none}; `qvbench sweep --suite {suite.name}` with these options makes them"
        )
    return [found[key] for key in sorted(found)]


def _sweep(planned: PlannedRun, seeds: Sequence[int]) -> dict[str, Any]:
    """What a page says of the suite, and what sets a run apart from others of its variant."""
    suite, names = planned.suite, list(planned.suite.variants)
    facts = {
        "file": config_name(suite.file),
        "title": suite.title,
        "baseline": suite.baseline,
        "place": names.index(planned.variant.name),
        "variants": len(names),
        "rows": names,
        "seeds": list(seeds),
        "overrides": [list(pair) for pair in planned.overrides if pair[0] not in NOT_PUBLISHED],
        "margin": suite.margin,
        "key": suite.search and suite.search.key,
    }
    if len(suite.budgets) > 1 and planned.budget is not None:
        facts |= {"budget": planned.budget, "unit": suite.unit, "budgets": list(suite.budgets)}
    if planned.value is not None:
        facts |= {"value": planned.value, "of_search": planned.of_search}
    return {key: value for key, value in facts.items() if value is not None}


class RunIndex:
    """The runs below some folders, by identity and seed."""

    def __init__(self, places: Sequence[Path]) -> None:
        self.places = places
        self.found: dict[tuple[str, int], Run] = {}
        self.searched: set[str] = set()  # beginnings of identities
        for place in places:  # results folders are read whole
            if not place.is_dir() and place != Path(RUNS):  # which the first sweep makes
                raise UserError(f"{place}: no such folder")
            if (place / RECORDS).is_file() or (place / RECORD).is_file():
                self._add(load([place]))

    def _add(self, runs: Iterable[Run]) -> None:
        for run in runs:
            key = run.identity, run.seed
            both = [r for r in (self.found.get(key), run) if r is not None]
            ended = [r for r in both if r.record["status"] in ENDED]
            starts = {r.record.get("started") for r in ended}
            if len(starts) > 1 and run.identity:  # which old records lack
                ids = " and ".join(r.id for r in ended)
                raise UserError(f"{ids}: one config and seed, two runs; give one")
            # Of copies the one with scores of a test, which may have come after it was published.
            tested = (r for r in ended if "tested_checkpoint" in r.record)
            self.found[key] = next(tested, ended[0] if ended else run)

    def run(self, identity: str, seed: int) -> Run | None:
        digits = identity[:IDENTITY_DIGITS]
        if digits not in self.searched:  # all seeds of a variant lie together
            self.searched.add(digits)
            for runs in (runs for place in self.places for runs in (place / RUNS, place)):
                records = sorted(runs.glob(f"*-{digits}/*/{RECORD}"))
                self._add(_run_in(file.parent) for file in records)
        return self.found.get((identity, seed))

    def ended(self, identity: str, seed: int) -> dict[str, Any]:
        """The record of a run that came to its end, by itself or diverged; empty without one."""
        run = self.run(identity, seed)
        return run.record if run is not None and run.record["status"] in ENDED else {}
