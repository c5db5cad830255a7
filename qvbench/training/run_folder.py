"""Where a run keeps its files: ``runs/<config>/seed-<n>/``, a new folder for every run."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path

from qvbench.errors import UserError
from qvbench.training.checkpoint_io import newest_first, newest_whole

log = logging.getLogger(__name__)

RECORD = "run.json"
CONFIG = "config.yaml"
CURVES = "curves.csv"
SWEEP_VARIABLE = "QVBENCH_SWEEP"
"""Environment variable by which a sweep says, in JSON, what a run's record keeps of it."""


def run_group(config_name: str) -> str:
    """The name under which the runs of a config are kept: ``tiny/qvka.yaml`` to ``tiny-qvka``."""
    return "-".join(Path(config_name).with_suffix("").parts)


def checked_name(name: str) -> str:
    """A name that the user gave instead of the config's.

    Raises:
        UserError: it is not the name of one folder.
    """
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise UserError(f"--name {name!r}: not the name of a folder; give letters, digits, - and _")
    return name


def claim(base: Path, group: str, seed: int) -> Path:
    """Make a folder that no other run has: a second run of a config and seed is numbered.

    Raises:
        UserError: the folder cannot be made.
    """
    number = 1
    while True:
        folder = (
            base / "runs" / group / (f"seed-{seed}" if number == 1 else f"seed-{seed}-{number}")
        )
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise UserError(
                f"{folder}: cannot make the run's folder ({error.strerror}); "
                "choose another place with --trainer.default_root_dir"
            ) from error
        else:
            return folder


def folder_of(checkpoint: Path) -> Path | None:
    """The folder of the run that wrote a checkpoint, if it still lies there."""
    for folder in list(checkpoint.resolve().parents)[:2]:
        if (folder / RECORD).is_file():
            return folder
    return None


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


def check_writable(folder: Path) -> None:
    """Find out before training that a run's folder takes files.

    Raises:
        UserError: it does not.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}); make the folder writable, or copy "
            "it elsewhere and give that checkpoint's path"
        ) from error


def _folders(base: Path, group: str, seed: int) -> list[Path]:
    runs = base / "runs" / group
    found = [*runs.glob(f"seed-{seed}"), *runs.glob(f"seed-{seed}-*")]
    return [folder for folder in found if folder.is_dir()]


def _checkpoints(folder: Path) -> list[Path]:
    return newest_first((folder / "checkpoints").glob("*.ckpt"))


def _last_active(folder: Path) -> int:
    """When a run last wrote a checkpoint; when it was begun, if it has none."""
    signs = [*_checkpoints(folder)[:1], folder / CONFIG, folder]
    return next(sign.stat().st_mtime_ns for sign in signs if sign.exists())
