"""The runs of a suite: where each one goes, by which command, and how far it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from qvbench.errors import UserError
from qvbench.runs.folder import CHECKPOINTS, RECORD, RUNS
from qvbench.runs.identity import identity
from qvbench.runs.record import read_json
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
    """

    suite: Suite
    variant: Variant
    seed: int
    overrides: Settings
    output: Path
    resolved: dict[str, Any]
    group: str

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
        """Whether exactly this was run to its end."""
        return self._status() == "finished"

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

    Those of all variants with the suite's seeds, unless ``only`` and ``seeds`` name others.

    Raises:
        UserError: there is no such variant, or what one asks for is no config.
    """
    unknown = [name for name in only or () if name not in suite.variants]
    if unknown:
        known = ", ".join(suite.variants)
        raise UserError(f"--only {unknown[0]}: {suite.file} has no such variant; known: {known}")
    chosen = []
    for variant in suite.variants.values():
        if only is None or variant.name in only:
            config = resolve_variant(suite, variant, overrides, resolve)
            chosen.append((variant, config, _group(variant, config, output / RUNS)))
    return [
        PlannedRun(suite, variant, seed, overrides, output, config, group)
        for seed in dict.fromkeys(suite.seeds if seeds is None else seeds)
        for variant, config, group in chosen
    ]


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
