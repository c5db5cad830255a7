"""What W&B keeps of runs on this machine, and under which ids."""

from __future__ import annotations

import os
import re
from pathlib import Path

FOLDER = re.compile(r"(?:offline-)?run-(\d{8}_\d{6})-(.+)")
DIGEST = "qvbench-digest"
"""File in a folder that a report wrote: of what was sent."""


def kept_in(place: Path) -> dict[str, list[Path]]:
    """Folders of runs under ``wandb/`` by the run's id, the oldest first.

    Args:
        place: folder in which W&B was told to write.
    """
    found: dict[str, list[Path]] = {}
    folders = [(FOLDER.fullmatch(folder.name), folder) for folder in place.glob("wandb/*run-*")]
    for match, folder in sorted(
        ((match, folder) for match, folder in folders if match), key=lambda pair: pair[0][1]
    ):
        found.setdefault(match[2], []).append(folder)
    return found


def tracked_id(folder: Path) -> str | None:
    """Id under which W&B knows the run of a folder; a run that was taken up again has the first."""
    return next(iter(kept_in(folder)), None)


def tracked_folders(folder: Path) -> list[Path]:
    """What W&B kept of the run of a folder, each time that it was taken up."""
    return sorted((path for paths in kept_in(folder).values() for path in paths), key=_time_of)


def reports_place() -> Path:
    """Where W&B writes what a report logs: the current folder, unless the user says otherwise."""
    return Path(os.environ.get("WANDB_DIR") or ".")


def _time_of(folder: Path) -> str:
    match = FOLDER.fullmatch(folder.name)
    return match[1] if match else ""
