"""Checkpoints written whole or not at all, verified when they are read, and never run as code."""

from __future__ import annotations

import json
import logging
import os
import re
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO

from qvbench.errors import UserError
from qvbench.runs.folder import CHECKPOINTS, CONFIG, LAST, PREVIOUS, RECORD, replacing, sync
from qvbench.training.faults import RunFault, explain

log = logging.getLogger(__name__)

_REFUSED = re.compile(r"(?:GLOBAL|global|class) ([\w.]+)")


class SafeCheckpointIO(CheckpointIO):
    """Reads and writes every checkpoint of a run.

    ``last.ckpt`` is replaced in one step, and what it was is kept as ``previous.ckpt`` when it
    was of another step and whole: at every moment there is a whole checkpoint in the folder, and
    after the second one there are two.
    """

    def __init__(self) -> None:
        self._steps: dict[Path, int] = {}  # of the whole files known to this process

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint beside the old file, then let it take its place.

        Raises:
            RunFault: the disk is full, the folder cannot be written to, or the checkpoint holds
                what could not be read again; the old file stays.
        """
        file = Path(path)
        step = int(checkpoint.get("global_step", -1))
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as opened:
                torch.save(checkpoint, opened)
                sync(opened)
                _check_can_be_read(Path(opened.name), file)
                if file.name == LAST:
                    self._keep(file, step)
        except OSError as error:
            raise _unwritable(file, error) from error
        self._steps[file] = step

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint as plain data, whatever is asked for.

        Raises:
            UserError: see :func:`read_checkpoint`.
        """
        checkpoint = read_checkpoint(Path(path))
        self._steps[Path(path)] = int(checkpoint.get("global_step", -1))
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            Path(path).unlink()

    def _keep(self, file: Path, step: int) -> None:
        """Keep what a file has been so far as the checkpoint before."""
        if file.is_symlink() or not file.is_file():
            return
        before = self._steps.get(file)
        if before is None:
            before = _step_if_whole(file)
        if before is None or before == step:
            return
        spare = file.with_name(PREVIOUS + ".partial")
        with suppress(FileNotFoundError):
            spare.unlink()
        try:
            os.link(file, spare)
        except OSError:  # a file system without hard links
            file.replace(file.with_name(PREVIOUS))
        else:
            spare.replace(file.with_name(PREVIOUS))


def with_safe_checkpoints(plugins: Any) -> list[Any]:
    """A trainer's plugins, with ours for checkpoints unless the config brings one."""
    given = plugins if isinstance(plugins, list) else [plugins] if plugins is not None else []
    ours = [] if any(isinstance(p, CheckpointIO) for p in given) else [SafeCheckpointIO()]
    return [*given, *ours]


def read_checkpoint(file: Path, tensors: bool = True) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU.

    Every byte is compared with the checksums in the file, which torch itself does not look at.

    Args:
        file: to read.
        tensors: read them into memory; else they are mapped, and read when somebody looks.

    Raises:
        UserError: there is no such file, it is damaged, it is no checkpoint of this suite, or
            reading it could run code: in one line with the newest whole one beside it.
    """
    try:
        return _read(file, mmap=not tensors)
    except _NotOurs as error:
        raise UserError(str(error)) from error
    except UserError as error:
        raise UserError(f"{error}; {_way_out(file)}") from error


class _NotOurs(UserError):
    """A file that is whole, or none at all: no other one is named instead."""


def _read(file: Path, mmap: bool) -> dict[str, Any]:
    """See :func:`read_checkpoint`, without a way out."""
    if not file.is_file():
        raise _NotOurs(f"{file}: no such checkpoint")
    fault = damage(file)
    if fault:
        raise UserError(f"{file}: not a checkpoint, or damaged ({fault})")
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # torch raises whatever the bytes happen to cause
        raise UserError(f"{file}: {_refusal(error)}") from error
    if not isinstance(checkpoint, dict) or "qvbench" not in checkpoint:
        raise _NotOurs(f"{file}: a checkpoint, but not one that `qvbench fit` wrote")
    return checkpoint


def damage(file: Path) -> str:
    """What is wrong with the bytes of a checkpoint, in a few words; empty if nothing is."""
    try:
        with zipfile.ZipFile(file) as archive:
            bad = archive.testzip()
    except zipfile.BadZipFile:
        return "cut off, or no such file ever"
    except OSError as error:
        return error.strerror or type(error).__name__
    except Exception as error:  # of a file that only looks like an archive
        return type(error).__name__
    return f"the checksum of {bad} is wrong" if bad else ""


def newest_whole(files: Iterable[Path]) -> Path | None:
    """The newest checkpoint from which training can go on; damaged ones are named on the way."""
    for file in newest_first(files):
        try:
            if resumable(read_checkpoint(file, tensors=False)):
                return file
        except UserError as error:
            log.warning("%s", str(error).partition(";")[0])
    return None


def newest_first(files: Iterable[Path]) -> list[Path]:
    """Those that are there, by the time of their last change."""
    times = []
    for file in files:
        with suppress(OSError):  # another process may have removed it just now
            times.append((file.stat().st_mtime_ns, file.name == LAST, file))
    return [file for *_, file in sorted(times, reverse=True)]


def resumable(checkpoint: dict[str, Any]) -> bool:
    """Whether it holds the optimizer's state too, not weights alone."""
    return "optimizer_states" in checkpoint


def _way_out(damaged: Path) -> str:
    """What to give instead: a whole checkpoint beside it, where any file may lie."""
    for file in newest_first(set(damaged.parent.glob("*.ckpt")) - {damaged}):
        with suppress(UserError):
            checkpoint = _read(file, mmap=True)
            if resumable(checkpoint):
                return f"`--ckpt_path {file}` is whole (step {checkpoint.get('global_step')})"
    return "give a .ckpt file that `qvbench fit` wrote"


def _refusal(error: Exception) -> str:
    found = _REFUSED.search(str(error))
    if "Weights only load failed" in str(error) or "Unsupported" in str(error):
        what = f"holds {found[1]}" if found else "holds more than plain data"
        return f"{what}, and only plain data is loaded, as anything else could run code"
    return f"not a checkpoint, or damaged ({type(error).__name__})"


def _step_if_whole(file: Path) -> int | None:
    try:
        return int(read_checkpoint(file, tensors=False).get("global_step", -1))
    except UserError:
        return None


def _check_can_be_read(partial: Path, file: Path) -> None:
    """Find out now, not when the run is to be resumed, that a checkpoint can be loaded safely.

    Raises:
        RunFault: it holds more than plain data.
    """
    try:
        torch.load(partial, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise RunFault(
            f"{file}: {_refusal(error)}; a callback of the config puts it there: take that "
            "callback out",
            kind="checkpoint",
        ) from error


def _unwritable(file: Path, error: OSError) -> RunFault:
    full = explain(error)
    if isinstance(full, RunFault) and full.facts.get("kind") == "disk":
        return RunFault(
            f"{file}: the disk is full; the checkpoint before is as it was; free some space, then "
            "go on with --ckpt_path last",
            kind="disk",
        )
    return RunFault(
        f"{file}: cannot be written ({error.strerror or error}); make the folder writable, then "
        "go on with --ckpt_path last",
        kind="disk",
    )


# Which checkpoint a run is resumed from


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
