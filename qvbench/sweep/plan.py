"""The runs of a suite: where each one goes, by which command, and how far it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from qvbench.errors import UserError
from qvbench.runs.folder import CHECKPOINTS, RECORD, RUNS
from qvbench.runs.identity import identity
from qvbench.runs.record import read_json
from qvbench.sweep.suite import Settings, Suite, Variant

RESERVED = {
    "config": "name it in the suite file",
    "c": "name it in the suite file",
    "seed_everything": "use --seeds",
    "name": "the variants name the runs",
    "ckpt_path": "a sweep resumes its own runs",
    "trainer.default_root_dir": "use --output",
}
"""Options of ``fit`` that are the sweep's to set, and what to do instead."""

IDENTITY_DIGITS = 8
"""Of an identity in the name of a folder."""

Resolve = Callable[[list[str]], dict[str, Any]]
"""Makes the resolved config of a command line of ``fit`` (``qvbench.cli.experiment.resolve``)."""


class Outcome(NamedTuple):
    """How the last try of a run ended, as its sweep wrote it down.

    Attributes:
        identity: of what was tried.
        status: exit status of the process; negative for the signal that ended it.
        seconds: wall time from start to exit, preparation included.
        ended: time of the end, seconds since the epoch.
    """

    identity: str
    status: int
    seconds: float
    ended: float


@dataclass(frozen=True)
class PlannedRun:
    """One variant with one seed. What names it is what is run: all suites share it.

    Args:
        suite: for which it is planned.
        variant: what is run.
        seed: of everything random.
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
        """Of what is run; all seeds have the same."""
        return identity(self.resolved)

    @property
    def id(self) -> str:
        return f"{self.group}/seed-{self.seed}"

    @property
    def folder(self) -> Path:
        return self.output / RUNS / self.id

    @property
    def log(self) -> Path:
        """What the run prints; beside it lie its lock and its outcome."""
        return self.output / "sweeps" / f"{self.id}.log"

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

    def outcome(self) -> Outcome | None:
        """How the last try of exactly this ended."""
        content = read_json(self.log.with_suffix(".json"))
        return Outcome(**content) if content.get("identity") == self.identity else None

    def failed_since(self, moment: float) -> bool:
        """Whether a sweep, this or one beside it, has seen it fail after a moment."""
        outcome = self.outcome()
        return outcome is not None and outcome.ended >= moment and not self.is_finished

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

    Args:
        suite: to run.
        output: folder for the runs.
        resolve: makes a resolved config.
        only: variants; all if None.
        seeds: instead of the suite's.
        overrides: settings for all runs.

    Raises:
        UserError: there is no such variant, or what one asks for is no config.
    """
    unknown = [name for name in only or () if name not in suite.variants]
    if unknown:
        known = ", ".join(suite.variants)
        raise UserError(f"--only {unknown[0]}: {suite.file} has no such variant; known: {known}")
    chosen = [
        (variant, resolve_variant(suite, variant, overrides, resolve))
        for variant in suite.variants.values()
        if only is None or variant.name in only
    ]
    return [
        PlannedRun(
            suite, variant, seed, overrides, output, config, _group(variant, config, output / RUNS)
        )
        for seed in dict.fromkeys(suite.seeds if seeds is None else seeds)
        for variant, config in chosen
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


def part_overrides(args: Sequence[str]) -> tuple[list[str], Settings]:
    """A command line without the options of ``fit`` for all runs, and these.

    They are those with a dot in their name, and ``--dry_pass``.

    Raises:
        UserError: an option lacks its value, or is the sweep's own to set.
    """
    own: list[str] = []
    overrides: list[tuple[str, str]] = []
    rest = iter(args)
    for arg in rest:
        name, equals, value = arg.partition("=")
        key = name.lstrip("-")
        if arg.startswith("-") and key in RESERVED:
            raise UserError(f"{name}: cannot be given to a sweep; {RESERVED[key]}")
        if not arg.startswith("--") or ("." not in key and key != "dry_pass"):
            own.append(arg)
            continue
        found = value if equals else next(rest, "--")
        if found.startswith("--"):  # the next option
            raise UserError(f"{name}: needs a value")
        overrides.append((key, found))
    return own, tuple(overrides)
