"""Which checkpoint a run is taken up from."""

from __future__ import annotations

import json
from pathlib import Path

from qvbench.errors import UserError
from qvbench.runs.folder import CHECKPOINTS, CONFIG, RECORD
from qvbench.training.checkpoint_io import newest_first, newest_whole


def last_checkpoint(base: Path, group: str, seed: int) -> Path:
    """The newest whole checkpoint of the newest run of a config and seed.

    Raises:
        UserError: there is none.
    """
    runs = base / "runs" / group
    folders = sorted(_folders(base, group, seed), key=_last_active)
    if not any(_checkpoints(folder) for folder in folders):
        raise UserError(
            f"--ckpt_path last: no checkpoint last.ckpt under {runs}/seed-{seed}*/checkpoints; "
            "start the run without --ckpt_path, or give the path of a checkpoint"
        )
    newest = folders[-1]
    found = newest_whole(_checkpoints(newest))
    if found is None:
        others = newest_whole(file for folder in folders[:-1] for file in _checkpoints(folder))
        what = (
            "no whole checkpoint" if _checkpoints(newest) else "ended before its first checkpoint"
        )
        raise UserError(
            f"--ckpt_path last: {newest}: {what}; start anew without --ckpt_path"
            + (f", or take up the run before: --ckpt_path {others}" if others else "")
        )
    return found


def checkpoint_of_job(base: Path, group: str, seed: int, job: str) -> Path | None:
    """Where a run goes on that a Slurm job had begun when the job was requeued."""
    for folder in _folders(base, group, seed):
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if record.get("slurm_job") == job:
            return newest_whole(_checkpoints(folder))
    return None


def _folders(base: Path, group: str, seed: int) -> list[Path]:
    runs = base / "runs" / group
    found = [*runs.glob(f"seed-{seed}"), *runs.glob(f"seed-{seed}-*")]
    return [folder for folder in found if folder.is_dir()]


def _checkpoints(folder: Path) -> list[Path]:
    return newest_first((folder / CHECKPOINTS).glob("*.ckpt"))


def _last_active(folder: Path) -> int:
    """When a run last wrote a checkpoint; when it was begun, if it has none."""
    signs = [*_checkpoints(folder)[:1], folder / CONFIG, folder]
    return next(sign.stat().st_mtime_ns for sign in signs if sign.exists())
