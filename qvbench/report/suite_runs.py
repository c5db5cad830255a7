"""The runs of a suite, by what they are: whichever suite had them made, this one labels them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qvbench.config_files import config_name
from qvbench.errors import UserError
from qvbench.report.load import RECORD, Run, load
from qvbench.runs.identity import identity
from qvbench.sweep.plan import IDENTITY_DIGITS, Resolve, resolve_variant
from qvbench.sweep.suite import Settings, Suite


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
        if run.record["seed"] in wanted and (name := names.get(run.identity))
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
    for runs in (place / "runs", place):
        patterns = {f"*-{name[:IDENTITY_DIGITS]}" for name in names}
        groups = sorted({g for glob in patterns for g in runs.glob(glob) if g.is_dir()})
        begun = [group for group in groups if any(group.glob(f"*/{RECORD}"))]
        if begun:
            return begun
    gathered = any((place / "runs").glob("*.json")) or (place / RECORD).is_file()
    return [place] if gathered else []
