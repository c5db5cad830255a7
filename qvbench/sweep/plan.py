"""The runs of a suite: where each one goes, by which command, and how far it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from qvbench.errors import UserError
from qvbench.runs.folder import CHECKPOINTS, PREVIOUS, RECORD, RUNS
from qvbench.runs.identity import identity
from qvbench.runs.record import read_json, score
from qvbench.sweep.suite import Search, Settings, Suite, Variant

IDENTITY_DIGITS = 8
"""Of an identity in the name of a folder."""

ENDED = ("finished", "diverged")
"""Statuses of a run that another try would only repeat."""

CUT_OFF = ("disk", "worker")
"""Kinds of a failed run's fault after which it goes on from its last checkpoint."""

Resolve = Callable[[list[str]], dict[str, Any]]
"""Makes the resolved config of a command line of ``fit`` (``qvbench.cli.experiment.resolve``)."""

Published = Callable[[str, int], dict[str, Any]]
"""Gives the record of a run elsewhere that has ended, by identity and seed; empty without one."""


@dataclass(frozen=True)
class PlannedRun:
    """One variant with one seed. What names it is what is run: all suites share it."""

    suite: Suite
    variant: Variant
    seed: int
    overrides: Settings  # of this sweep's command line
    output: Path  # folder under which runs/ and sweeps/ are
    resolved: dict[str, Any]  # config of variant and overrides
    identity: str  # of that config
    group: str  # name of the folder that holds it, with the variant's other seeds
    budget: float | None = None  # that ends it; None for the search's, and if the suite has none
    value: float | None = None  # of the suite's search that it has; None where there is no search
    of_search: bool = False  # whether it is to choose that value
    published: dict[str, Any] = field(default_factory=dict)  # its record elsewhere

    @property
    def id(self) -> str:
        return f"{self.group}/seed-{self.seed}"

    @property
    def folder(self) -> Path:
        return self.output / RUNS / self.id

    def beside(self, suffix: str) -> Path:
        """A file of the sweep for this run: its log, outcome, lock, Slurm job; the last two are
        one file for all suites, whatever they call the run."""
        of_all = f"{self.identity[:IDENTITY_DIGITS]}-seed-{self.seed}"
        name = of_all if suffix in (".lock", ".job") else self.id
        return self.output / "sweeps" / f"{name}{suffix}"

    def placed(self) -> PlannedRun:
        """The run where it is by now: a sweep of another suite may have begun it."""
        runs = self.output / RUNS
        return replace(self, group=_group(self.variant, self.identity, self.seed, runs))

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
        """The record of exactly this, published or here; empty if there is none to be read."""
        if self.published:
            return self.published
        content = read_json(self.folder / RECORD)
        return content if content.get("identity") == self.identity else {}

    @property
    def is_finished(self) -> bool:
        """Whether exactly this came to its end; that it diverged, another try would only repeat."""
        return self._status() in ENDED

    @property
    def has_diverged(self) -> bool:
        return self._status() == "diverged"

    @property
    def is_resumable(self) -> bool:
        """Whether exactly this was begun, then killed or stopped after its first checkpoint, or
        ended by what is no fault of its own."""
        kind = self.record().get("fault", {}).get("kind")
        begun = self._status() in ("running", "interrupted") or kind in CUT_OFF
        files = (self.folder / CHECKPOINTS).glob("*.ckpt")
        return begun and any(f.name == PREVIOUS or f.name.startswith("last") for f in files)

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
        return str(self.record().get("status", ""))


def plan(
    suite: Suite,
    output: Path,
    resolve: Resolve,
    only: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    overrides: Settings = (),
    published: Published = lambda identity, seed: {},
) -> list[PlannedRun]:
    """All runs, seed by seed over the variants, so that an interrupted sweep still compares.

    Those of all variants with the suite's seeds, unless ``only`` and ``seeds`` name others; budget
    by budget. Where the suite has a search, a variant has the search's runs, and its own from when
    they are finished. What is ``published`` need not be run.

    Raises:
        UserError: there is no such variant, what one asks for is no config, or two are the same.
    """
    unknown = [name for name in only or () if name not in suite.variants]
    if unknown:
        known = ", ".join(suite.variants)
        raise UserError(f"--only {unknown[0]}: {suite.file} has no such variant; known: {known}")
    numbers = list(dict.fromkeys(suite.seeds if seeds is None else seeds))

    def by_seed(variant: Variant, seeds: Sequence[int], **facts: Any) -> list[PlannedRun]:
        try:
            config = resolve(variant.args(overrides))
        except UserError as error:
            raise UserError(f"{suite.file}: variant {variant.name}: {error}") from error
        own = identity(config)
        fixed = (overrides, output, config, own)
        return [
            PlannedRun(
                *(suite, variant, seed, *fixed, _group(variant, own, seed, output / RUNS)),
                **facts,
                published=published(own, seed),
            )
            for seed in seeds
        ]

    chosen: list[tuple[Variant, float | None]] = []
    searched: list[PlannedRun] = []
    for variant in suite.variants.values():
        if only is not None and variant.name not in only:
            continue
        if suite.search is None:
            chosen.append((variant, None))
            continue
        runs, value = _search(suite.search, variant, by_seed)
        searched += runs
        if value is not None:
            chosen.append((variant.with_settings(suite.search.setting(value)), value))
    own: list[PlannedRun] = []
    for amount, budget in suite.budgets.items():
        of_variants = [
            by_seed(variant.with_settings(budget), numbers, budget=amount, value=value)
            for variant, value in chosen
        ]
        own += [run for of_seed in zip(*of_variants, strict=True) for run in of_seed]
    runs = [*sorted(searched, key=lambda run: run.seed), *own]
    _check_different(suite, runs)
    return runs


def _check_different(suite: Suite, runs: list[PlannedRun]) -> None:
    """UserError for two variants that are one experiment, of which a page would show one."""
    names: dict[str, str] = {}
    for run in runs:
        name = run.variant.name
        if (other := names.setdefault(run.identity, name)) != name:
            raise UserError(f"{suite.file}: variants {other} and {name} are one experiment")


def _search(
    search: Search, variant: Variant, by_seed: Callable[..., list[PlannedRun]]
) -> tuple[list[PlannedRun], float | None]:
    """The runs of a variant's search as far as it has come, and the value chosen."""
    runs: dict[float, list[PlannedRun]] = {}
    scores: dict[float, float] = {}
    while new := [value for value in search.grid(scores) if value not in runs]:
        for value in new:
            setting = (*search.settings, *search.setting(value))
            of_value = variant.with_settings(setting)
            runs[value] = by_seed(of_value, search.seeds, value=value, of_search=True)
            if all(run.is_finished for run in runs[value]):
                scores[value] = fmean(score(run.record()) for run in runs[value])
    return [run for value in sorted(runs) for run in runs[value]], search.choice(scores)


def _group(variant: Variant, identity: str, seed: int, runs: Path) -> str:
    """The folder under ``runs/`` for a run: that of any suite that began it, or another seed."""
    digits = identity[:IDENTITY_DIGITS]
    own = f"{variant.name}-{digits}"
    others = sorted(folder.name for folder in runs.glob(f"*-{digits}"))
    begun = [name for name in others if (runs / name / f"seed-{seed}").exists()]
    known = begun or others
    return own if own in known or not known else known[0]
