"""The runs of a suite: where each one goes, by which command, and how far it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from qvbench.errors import UserError
from qvbench.runs.folder import RECORD
from qvbench.runs.identity import identity
from qvbench.sweep.suite import Settings, Suite, Variant

RESERVED = {
    "config": "name it in the suite file",
    "c": "name it in the suite file",
    "seed_everything": "use --seeds",
    "name": "the variants name the runs",
    "ckpt_path": "a sweep takes up its own runs where they were cut off",
    "trainer.default_root_dir": "use --output",
}
IDENTITY_DIGITS = 8
"""Of an identity in the name of a folder."""

Resolve = Callable[[list[str]], dict[str, Any]]
"""Makes the resolved config of a command line of ``fit`` (``qvbench.cli.experiment.resolve``)."""


@dataclass(frozen=True)
class Outcome:
    """How the last try of a run ended, as its sweep wrote it down.

    Args:
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
        return self.output / "runs" / self.group / f"seed-{self.seed}"

    @property
    def log(self) -> Path:
        """What the run prints; beside it lie its lock and its outcome."""
        return self.output / "sweeps" / self.group / f"seed-{self.seed}.log"

    @property
    def words(self) -> list[str]:
        """The command, after ``qvbench``."""
        return [
            *("fit", *self.variant.args(self.overrides)),
            *("--seed_everything", str(self.seed), "--name", self.group),
            *("--trainer.default_root_dir", str(self.output)),
            *(("--ckpt_path", "last") if self.cut_off else ()),
        ]

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "qvbench", *self.words]

    @property
    def labels(self) -> dict[str, Any]:
        """What the record of the run keeps: what the variant is called, nothing of the suite."""
        return {"variant": self.variant.name}

    # How far it is

    def record(self) -> dict[str, Any]:
        """The run's record; empty if there is none that can be read."""
        return _read_json(self.folder / RECORD)

    @property
    def finished(self) -> bool:
        """Whether exactly this was run to its end."""
        record = self.record()
        same = record.get("identity") == self.identity
        return same and record.get("status") == "finished"

    @property
    def cut_off(self) -> bool:
        """Whether exactly this was begun, then killed or stopped after its first checkpoint."""
        record = self.record()
        same = record.get("identity") == self.identity
        begun = record.get("status") in ("running", "interrupted")
        return same and begun and any(self.folder.glob("checkpoints/last*.ckpt"))

    def outcome(self) -> Outcome | None:
        """How the last try of exactly this ended."""
        content = _read_json(self.log.with_suffix(".json"))
        if content.get("identity") != self.identity:
            return None
        return Outcome(**content)

    def failed_since(self, moment: float) -> bool:
        """Whether a sweep, this or one beside it, has seen it fail after a moment."""
        outcome = self.outcome()
        return outcome is not None and outcome.ended >= moment and not self.finished


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
    chosen = [v for v in suite.variants.values() if only is None or v.name in only]
    resolved = [resolve_variant(suite, variant, overrides, resolve) for variant in chosen]
    groups = [
        group_of(variant.name, identity(config), output / "runs")
        for variant, config in zip(chosen, resolved, strict=True)
    ]
    return [
        PlannedRun(suite, variant, seed, overrides, output, config, group)
        for seed in dict.fromkeys(suite.seeds if seeds is None else seeds)
        for variant, config, group in zip(chosen, resolved, groups, strict=True)
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


def group_of(variant: str, identity: str, runs: Path) -> str:
    """The folder under ``runs/`` for all seeds of a variant: that of any suite that began one."""
    digits = identity[:IDENTITY_DIGITS]
    own = f"{variant}-{digits}"
    others = sorted(folder.name for folder in runs.glob(f"*-{digits}"))
    return own if own in others or not others else others[0]


def read_overrides(words: Iterable[str]) -> Settings:
    """The options of ``fit`` on a sweep's command line.

    Raises:
        UserError: a word belongs to no option, or an option is the sweep's own to set.
    """
    settings: list[tuple[str, str]] = []
    key = ""
    for word in words:
        if key:
            settings.append((key, word))
            key = ""
            continue
        name, equals, value = word.partition("=")
        key = name.lstrip("-")
        if not name.startswith("-"):
            raise UserError(f"{word}: a word that belongs to no option")
        if key in RESERVED:
            raise UserError(f"{name}: cannot be given to a sweep; {RESERVED[key]}")
        if equals:
            settings.append((key, value))
            key = ""
    if key:
        raise UserError(f"--{key}: needs a value")
    return tuple(settings)


def part_overrides(words: Sequence[str]) -> tuple[list[str], Settings]:
    """A command line without the options of ``fit``, which have a dot in their name, and these.

    Raises:
        UserError: as :func:`read_overrides`.
    """
    own: list[str] = []
    theirs: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, _ = word.partition("=")
        if not (name.startswith("--") and "." in name):
            own.append(word)
            continue
        theirs += [word] if equals else [word, *islice(rest, 1)]
    return own, read_overrides(theirs)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
