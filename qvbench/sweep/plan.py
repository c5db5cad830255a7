"""The runs of a suite: where each one goes, by which command, and how far it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from qvbench.errors import UserError
from qvbench.runs.folder import CHECKPOINTS, RECORD, RUNS
from qvbench.runs.identity import identity
from qvbench.runs.record import read_json, score
from qvbench.sweep.search import Search
from qvbench.sweep.suite import Settings, Suite, Variant

IDENTITY_DIGITS = 8
"""Of an identity in the name of a folder."""

Resolve = Callable[[list[str]], dict[str, Any]]
"""Makes the resolved config of a command line of ``fit`` (``qvbench.cli.experiment.resolve``)."""


@dataclass(frozen=True)
class PlannedRun:
    """One variant with one seed. What names it is what is run: all suites share it.

    Args:
        overrides: settings of this sweep's command line.
        output: folder under which ``runs/`` and ``sweeps/`` are.
        resolved: config of variant and overrides.
        group: name of the folder that holds the variant's seeds.
        of_search: whether it is to choose a setting, and reports nothing.
    """

    suite: Suite
    variant: Variant
    seed: int
    overrides: Settings
    output: Path
    resolved: dict[str, Any]
    group: str
    of_search: bool = False

    @cached_property
    def identity(self) -> str:
        return identity(self.resolved)

    @property
    def id(self) -> str:
        return f"{self.group}/seed-{self.seed}"

    @property
    def folder(self) -> Path:
        return self.output / RUNS / self.id

    def beside(self, suffix: str) -> Path:
        """A file of the sweep for this run: its log, lock, outcome, Slurm job."""
        return self.output / "sweeps" / f"{self.id}{suffix}"

    @property
    def args(self) -> list[str]:
        """The command, after ``qvbench``."""
        return [
            *("fit", *self.variant.args(self.overrides)),
            *("--seed_everything", str(self.seed), "--name", self.group),
            *("--trainer.default_root_dir", str(self.output)),
            *(("--ckpt_path", "last") if self.is_resumable else ()),
        ]

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "qvbench", *self.args]

    # How far it is

    def record(self) -> dict[str, Any]:
        """The run's record; empty if there is none that can be read."""
        return read_json(self.folder / RECORD)

    @property
    def is_finished(self) -> bool:
        """Whether exactly this came to its end; that it diverged, another try would only repeat."""
        return self._status() in ("finished", "diverged")

    @property
    def has_diverged(self) -> bool:
        return self._status() == "diverged"

    @property
    def is_resumable(self) -> bool:
        """Whether exactly this was begun, then killed or stopped after its first checkpoint."""
        begun = self._status() in ("running", "interrupted")
        return begun and any(self.folder.glob(f"{CHECKPOINTS}/last*.ckpt"))

    def outcome(self) -> dict[str, Any]:
        """How the last try of exactly this ended, as its sweep wrote it down; empty if none did.

        Exit ``status`` of the process (negative for the signal that ended it), ``seconds`` from
        start to exit, and ``ended``, the time of the end in seconds since the epoch.
        """
        content = read_json(self.beside(".json"))
        return content if content.get("identity") == self.identity else {}

    def failed_since(self, moment: float) -> bool:
        """Whether a sweep, this or one beside it, has seen it fail after a moment."""
        return self.outcome().get("ended", -1.0) >= moment and not self.is_finished

    @property
    def seconds(self) -> float:
        """All tries by the record; with start and preparation where there was one alone."""
        return max(self.record().get("wall_seconds", 0.0), self.outcome().get("seconds", 0.0))

    def _status(self) -> str:
        record = self.record()
        return str(record.get("status")) if record.get("identity") == self.identity else ""


def plan(
    suite: Suite,
    output: Path,
    resolve: Resolve,
    only: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    overrides: Settings = (),
) -> list[PlannedRun]:
    """All runs, seed by seed over the variants, so that an interrupted sweep still compares.

    Those of all variants with the suite's seeds, unless ``only`` and ``seeds`` name others; budget
    by budget. Where the suite has a search, a variant has the search's runs, and its own from when
    they are finished.

    Raises:
        UserError: there is no such variant, or what one asks for is no config.
    """
    unknown = [name for name in only or () if name not in suite.variants]
    if unknown:
        known = ", ".join(suite.variants)
        raise UserError(f"--only {unknown[0]}: {suite.file} has no such variant; known: {known}")

    def runs_of(variant: Variant, seeds: Sequence[int]) -> list[PlannedRun]:
        config = resolve_variant(suite, variant, overrides, resolve)
        group = _group(variant, config, output / RUNS)
        return [
            PlannedRun(suite, variant, seed, overrides, output, config, group) for seed in seeds
        ]

    variants = [v for v in suite.variants.values() if only is None or v.name in only]
    searched: list[PlannedRun] = []
    if suite.search is not None:
        chosen = []
        for variant in variants:
            runs, value = _search(suite.search, variant, runs_of)
            searched += runs
            if value is not None:
                chosen.append(variant.with_settings(suite.search.setting(value)))
        variants = chosen
    own: list[PlannedRun] = []
    numbers = list(dict.fromkeys(suite.seeds if seeds is None else seeds))
    for budget in suite.budgets:
        of_each = [runs_of(variant.with_settings(budget), numbers) for variant in variants]
        own += [run for of_seed in zip(*of_each, strict=True) for run in of_seed]
    return [*sorted(searched, key=lambda run: run.seed), *own]


def _search(
    search: Search, variant: Variant, runs_of: Callable[[Variant, Sequence[int]], list[PlannedRun]]
) -> tuple[list[PlannedRun], float | None]:
    """The runs of a variant's search as far as it has come, and the value chosen."""
    runs: dict[float, list[PlannedRun]] = {}
    scores: dict[float, float] = {}
    while new := [value for value in search.grid(scores) if value not in runs]:
        for value in new:
            setting = (*search.settings, *search.setting(value))
            own = runs_of(variant.with_settings(setting), search.seeds)
            runs[value] = [replace(run, of_search=True) for run in own]
            if all(run.is_finished for run in runs[value]):
                scores[value] = fmean(score(run.record()) for run in runs[value])
    return [run for value in sorted(runs) for run in runs[value]], search.choice(scores)


def resolve_variant(
    suite: Suite, variant: Variant, overrides: Settings, resolve: Resolve
) -> dict[str, Any]:
    """The resolved config of a suite's variant.

    Raises:
        UserError: what it asks for is no config; the message names suite and variant.
    """
    try:
        return resolve(variant.args(overrides))
    except UserError as error:
        raise UserError(f"{suite.file}: variant {variant.name}: {error}") from error


def _group(variant: Variant, config: dict[str, Any], runs: Path) -> str:
    """The folder under ``runs/`` for all seeds of a variant: that of any suite that began one."""
    digits = identity(config)[:IDENTITY_DIGITS]
    own = f"{variant.name}-{digits}"
    others = sorted(folder.name for folder in runs.glob(f"*-{digits}"))
    return own if own in others or not others else others[0]
