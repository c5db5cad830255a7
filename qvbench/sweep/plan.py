"""The runs of a suite: where each one goes, by which command, and how far it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from qvbench.errors import UserError
from qvbench.runs.folder import RECORD
from qvbench.runs.identity import Settings
from qvbench.sweep.suite import Suite, Variant

RESERVED = {
    "config": "name it in the suite file",
    "c": "name it in the suite file",
    "seed_everything": "use --seeds",
    "name": "the variants name the runs",
    "ckpt_path": "a sweep takes up its own runs where they were cut off",
    "trainer.default_root_dir": "use --output",
}
HASH_DIGITS = 8
"""Of a settings hash in the name of a folder."""


@dataclass(frozen=True)
class Outcome:
    """How the last try of a run ended, as its sweep wrote it down.

    Args:
        settings_hash: what was tried.
        status: exit status of the process; negative for the signal that ended it.
        seconds: wall time from start to exit, preparation included.
        ended: time of the end, seconds since the epoch.
    """

    settings_hash: str
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
        settings_hash: of variant and overrides.
        group: name of the folder that holds the variant's seeds.
    """

    suite: Suite
    variant: Variant
    seed: int
    overrides: Settings
    output: Path
    settings_hash: str
    group: str

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
        changes = [
            word
            for key, value in (*self.variant.settings, *self.overrides)
            for word in (f"--{key}", value)
        ]
        return [
            *("fit", "--config", str(self.variant.config)),
            *changes,
            *("--seed_everything", str(self.seed), "--name", self.group),
            *("--trainer.default_root_dir", str(self.output)),
            *(("--ckpt_path", "last") if self.cut_off else ()),
        ]

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "qvbench", *self.words]

    @property
    def labels(self) -> dict[str, Any]:
        """What the record of the run keeps: what it is, and nothing of the suite."""
        return {"variant": self.variant.name, "settings_hash": self.settings_hash}

    # How far it is

    def record(self) -> dict[str, Any]:
        """The run's record; empty if there is none that can be read."""
        return _read_json(self.folder / RECORD)

    @property
    def finished(self) -> bool:
        """Whether exactly this was run to its end."""
        record = self.record()
        same = record.get("settings_hash") == self.settings_hash
        return same and record.get("status") == "finished"

    @property
    def cut_off(self) -> bool:
        """Whether exactly this was begun, then killed or stopped after its first checkpoint."""
        record = self.record()
        same = record.get("settings_hash") == self.settings_hash
        begun = record.get("status") in ("running", "interrupted")
        return same and begun and any(self.folder.glob("checkpoints/last*.ckpt"))

    def outcome(self) -> Outcome | None:
        """How the last try of exactly this ended."""
        content = _read_json(self.log.with_suffix(".json"))
        if content.get("settings_hash") != self.settings_hash:
            return None
        return Outcome(**content)

    def failed_since(self, moment: float) -> bool:
        """Whether a sweep, this or one beside it, has seen it fail after a moment."""
        outcome = self.outcome()
        return outcome is not None and outcome.ended >= moment and not self.finished


def plan(
    suite: Suite,
    output: Path,
    only: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    overrides: Settings = (),
) -> list[PlannedRun]:
    """All runs, seed by seed over the variants, so that an interrupted sweep still compares.

    Args:
        suite: to run.
        output: folder for the runs.
        only: variants; all if not given.
        seeds: instead of the suite's.
        overrides: settings for all runs.

    Raises:
        UserError: there is no such variant, or a file that one names cannot be read.
    """
    unknown = [name for name in only or () if name not in suite.variants]
    if unknown:
        known = ", ".join(suite.variants)
        raise UserError(f"--only {unknown[0]}: {suite.file} has no such variant; known: {known}")
    chosen = [v for v in suite.variants.values() if only is None or v.name in only]
    hashes = [variant.settings_hash(overrides) for variant in chosen]
    groups = [group_of(v.name, h, output / "runs") for v, h in zip(chosen, hashes, strict=True)]
    return [
        PlannedRun(suite, variant, seed, overrides, output, settings_hash, group)
        for seed in dict.fromkeys(suite.seeds if seeds is None else seeds)
        for variant, settings_hash, group in zip(chosen, hashes, groups, strict=True)
    ]


def group_of(variant: str, settings_hash: str, runs: Path) -> str:
    """The folder under ``runs/`` for all seeds of a variant: that of any suite that began one."""
    digits = settings_hash[:HASH_DIGITS]
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
