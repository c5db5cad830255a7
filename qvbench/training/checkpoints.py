"""Checkpoint files: whole or not there, verified when read, never run as code, of the right run."""

from __future__ import annotations

import logging
import os
import re
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch.plugins.io import CheckpointIO, TorchCheckpointIO

from qvbench.errors import UserError
from qvbench.runs.folder import CHECKPOINTS, CONFIG, LAST, PREVIOUS, RECORD, replacing, sync
from qvbench.runs.record import read_json
from qvbench.training.machine import RunFault, is_full

log = logging.getLogger(__name__)

_REFUSED = re.compile(r"(?:GLOBAL|global|class) ([\w.]+)")


class SafeCheckpointIO(TorchCheckpointIO):
    """Reads and writes every checkpoint of a run.

    ``last.ckpt`` is replaced in one step, and what it was is kept as ``previous.ckpt`` if training
    can be resumed from it, at another step: after the second one there are always two.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint beside the old file, then let it take its place.

        Raises:
            RunFault: the disk is full, the folder cannot be written to, or the checkpoint holds
                what could not be read again; the old file stays.
        """
        file = Path(path)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as opened:
                torch.save(checkpoint, opened)
                sync(opened)
                _read(Path(opened.name), mmap=True)  # now, not when the run is to be resumed
                if file.name == LAST:
                    _keep_previous(file, checkpoint["global_step"])
        except UserError as error:
            what = f"{error}; a callback of the config puts it there: remove that"
            raise RunFault(what, kind="checkpoint") from error
        except OSError as error:
            what = f"cannot be written ({error.strerror or error})"
            remedy = "free some space" if is_full(error) else "make it writable"
            raise RunFault(
                f"{file}: {'the disk is full' if is_full(error) else what}; the checkpoint before "
                f"is as it was; {remedy}, then go on with --ckpt_path last",
                kind="disk",
            ) from error

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path))  # as plain data, whatever is asked for


def with_safe_checkpoints(plugins: Any) -> list[Any]:
    """A trainer's plugins, with ours for checkpoints unless the config brings one."""
    given = plugins if isinstance(plugins, list) else [plugins] if plugins is not None else []
    ours = [] if any(isinstance(p, CheckpointIO) for p in given) else [SafeCheckpointIO()]
    return [*given, *ours]


def read_checkpoint(file: Path, tensors: bool = True) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU.

    Every byte is compared with the checksums in the file, which torch itself does not look at.

    Args:
        tensors: read them into memory; else they are mapped, and read when somebody looks.

    Raises:
        UserError: there is no such file, it is damaged, it is no checkpoint of this suite, or
            reading it could run code: in one line with the newest whole one beside it.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such checkpoint")
    try:
        checkpoint = _read(file, mmap=not tensors)
    except UserError as error:
        way_out = "give a .ckpt file that `qvbench fit` wrote"
        for other in newest_first(set(file.parent.glob("*.ckpt")) - {file}):
            with suppress(UserError):
                if resumable(whole := _read(other, mmap=True)):
                    way_out = f"`--ckpt_path {other}` is whole (step {whole.get('global_step')})"
                    break
        raise UserError(f"{error}; {way_out}") from error
    if not _is_ours(checkpoint):
        raise UserError(f"{file}: a checkpoint, but not one that `qvbench fit` wrote")
    return checkpoint


def _read(file: Path, mmap: bool) -> Any:
    try:
        with zipfile.ZipFile(file) as archive:
            bad = archive.testzip()
        fault = f"the checksum of {bad} is wrong" if bad else ""
    except zipfile.BadZipFile:
        fault = "cut off, or no such file ever"
    except Exception as error:  # of a file that only looks like an archive
        fault = getattr(error, "strerror", None) or type(error).__name__
    if fault:
        raise UserError(f"{file}: not a checkpoint, or damaged ({fault})")
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # torch raises whatever the bytes happen to cause
        if "Weights only load failed" not in str(error) and "Unsupported" not in str(error):
            what = f"not a checkpoint, or damaged ({type(error).__name__})"
            raise UserError(f"{file}: {what}") from error
        found = _REFUSED.search(str(error))
        raise UserError(
            f"{file}: holds {found[1] if found else 'more than plain data'}, and only plain data "
            "is loaded, as anything else could run code"
        ) from error


def _is_ours(checkpoint: Any) -> bool:
    of_lightning = isinstance(checkpoint, dict) and "pytorch-lightning_version" in checkpoint
    return of_lightning and isinstance(checkpoint.get("qvbench"), dict)


def resumable(checkpoint: Any) -> bool:
    """Whether training can go on: not from weights alone, nor from the midst of a step."""
    ours = _is_ours(checkpoint) and "optimizer_states" in checkpoint
    return ours and not checkpoint["qvbench"].get("unfinished_step")


def newest_first(files: Iterable[Path]) -> list[Path]:
    """Those that are there, by the time of their last change."""
    times = []
    for file in files:
        with suppress(OSError):  # another process may have removed it just now
            times.append((file.stat().st_mtime_ns, file.name == LAST, file))
    return [file for *_, file in sorted(times, reverse=True)]


def newest_whole(files: Iterable[Path]) -> Path | None:
    """The newest checkpoint from which training can go on; damaged ones are named on the way."""
    for file in newest_first(files):
        try:
            if resumable(read_checkpoint(file, tensors=False)):
                return file
        except UserError as error:
            log.warning("%s", str(error).partition(";")[0])
    return None


def _keep_previous(file: Path, step: int) -> None:
    """Keep what a file has been so far as the checkpoint before."""
    if file.is_symlink() or not file.is_file():
        return
    with suppress(UserError):
        before = _read(file, mmap=True)
        if not resumable(before) or before.get("global_step") == step:
            return
        previous = file.with_name(PREVIOUS)
        spare = previous.with_name(PREVIOUS + ".partial")
        spare.unlink(missing_ok=True)
        try:
            os.link(file, spare)
        except OSError:  # a file system without hard links
            spare = file
        spare.replace(previous)


# Which checkpoint a run is resumed from


def last_checkpoint(base: Path, group: str, seed: int) -> Path:
    """The newest whole checkpoint of the newest run of a config and seed that began to train;
    UserError without one."""
    begun = (folder for folder in _folders(base, group, seed) if (folder / RECORD).is_file())
    folders = sorted(begun, key=_last_active)
    found = newest_whole(_checkpoints(folders[-1])) if folders else None
    if found is None:
        where = base / "runs" / group / f"seed-{seed}"
        what = f"no checkpoint {LAST} under {where}*/{CHECKPOINTS}"
        if folders:
            lacks = "no whole" if _checkpoints(folders[-1]) else "ended before its first"
            what = f"{folders[-1]}: {lacks} checkpoint"
        raise UserError(
            f"--ckpt_path last: {what}; start without --ckpt_path, or give a checkpoint's path"
        )
    return found


def checkpoint_of_job(base: Path, group: str, seed: int, job: str) -> Path | None:
    """Where a run goes on that a Slurm job had begun when the job was requeued."""
    for folder in _folders(base, group, seed):
        if read_json(folder / RECORD).get("slurm_job") == job:
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


# What belongs together

NETWORK = ("attention", "position", "network")  # what the weights belong to
TRAINING = (*NETWORK, "optimizer", "schedule", "label_smoothing")  # and a resumed training


def check_same_model(stored: str, own: str, where: str, fit: bool) -> None:
    """Refuse a checkpoint of another mechanism, network or, to resume a ``fit``, training setup.

    ``stored`` and ``own`` are the ``model`` sections (YAML) of its run and of this one. Settings
    that only one side knows are accepted: another version may have added them.
    """
    then, now = (dict(leaves(yaml.safe_load(text) or {})) for text in (stored, own))
    for key in sorted(then.keys() & now.keys()):  # a class comes before its arguments
        if key.split(".")[0] in (TRAINING if fit else NETWORK) and then[key] != now[key]:
            name = key.replace(".init_args", "").removesuffix(".class_path")
            values = (then[key], now[key])
            there, here = (v.rpartition(".")[2] if isinstance(v, str) else v for v in values)
            raise UserError(
                f"{where}: the checkpoint is of another model than the config's: model.{name} is "
                f"{there} there, {here} here; give the config of its run, or start a new run"
            )


def leaves(section: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The settings of a section by dotted key."""
    for name, value in section.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def gather(own: Any, world_size: int) -> list[Any]:
    """What every process gives, by rank; a collective operation."""
    if world_size == 1:
        return [own]
    parts: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(parts, own)
    return parts


def gather_lines(own: dict[int, Any], world_size: int) -> dict[int, Any]:
    """What all processes have by number of line, in the order of the lines."""
    lines: dict[int, Any] = {}
    for part in gather(own, world_size):
        lines |= part
    return {number: lines[number] for number in sorted(lines)}
