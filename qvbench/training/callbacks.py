"""The callbacks of a run; here those that write sentences, translations and averaged weights."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from torch import Tensor

from qvbench.errors import UserError
from qvbench.runs.folder import (
    CHECKPOINTS,
    REFERENCES,
    SENTENCES,
    TRANSLATIONS,
    predictions,
    replacing,
    write_text,
)
from qvbench.training.checkpoints import gather, gather_lines
from qvbench.training.guards import StepGuard
from qvbench.training.progress import RunProgress
from qvbench.training.record import is_of_whole_set
from qvbench.training.resume import LastCheckpoint, is_of_training

log = logging.getLogger(__name__)

Arrays = dict[str, npt.NDArray[Any]]

_SPARE = 2
"""Weights kept beyond those to average: a run may be resumed from the checkpoint before."""


def terminal_callbacks(trainer: dict[str, Any]) -> list[Callback]:
    """The progress bar, unless the trainer's settings bring one or want none."""
    bars = [c for c in trainer["callbacks"] or [] if isinstance(c, ProgressBar)]
    return [RunProgress()] if trainer["enable_progress_bar"] is not False and not bars else []


def folder_callbacks(command: str, trainer: dict[str, Any], folder: Path) -> list[Callback]:
    """What a command (fit, validate, test or predict) writes into the folder of its run."""
    if command == "fit":
        saves = trainer["enable_checkpointing"] is not False
        kept: list[Callback] = [LastCheckpoint(folder)] if saves else []
        return [*kept, StepGuard(), SentenceCounts(folder)]
    return [TestFiles(folder)] if command in ("test", "predict") else []


class SentenceCounts(Callback):
    """Writes ``sentences.npz`` after every validation of a training.

    Arrays: ``tokens`` and ``last_right`` (S,) uint16, in the order of the corpus's S lines; and
    ``last_step``, the optimizer steps done.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / SENTENCES
        self._batches: list[Arrays] = []

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batches = []

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        if is_of_training(trainer):
            self._batches.append({name: v.cpu().numpy() for name, v in outputs.items()})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not is_of_training(trainer):
            return
        parts = gather(self._batches, trainer.world_size)
        if trainer.is_global_zero:
            arrays = by_line([batch for part in parts for batch in part])
            arrays["last_step"] = np.asarray(trainer.global_step)
            with replacing(self.file) as opened:
                np.savez_compressed(opened, **arrays)  # type: ignore[arg-type]


def by_line(batches: list[Arrays]) -> Arrays:
    """``tokens`` and ``last_right`` by line, from what a task's validation steps returned."""
    whole = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    _, order = np.unique(whole["line"], return_index=True)  # two devices may have the same line
    names = {"tokens": "tokens", "last_right": "correct"}
    return {name: whole[given][order].astype(np.uint16) for name, given in names.items()}


class TestFiles(Callback):
    """Writes translations, a line per sentence, in the order of the set's lines.

    ``predict`` writes those of a test set; ``test`` its translations and references as plain text,
    whose lines the tests of significance between two runs resample.
    """

    __test__ = False  # its name is no sign for pytest

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lines: dict[int, str] = {}

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        self._lines.update(outputs)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        lines = gather_lines(self._lines, trainer.world_size).values()
        if trainer.is_global_zero:
            data: Any = getattr(trainer, "datamodule", None)
            file = self.folder / predictions(data.test_split)
            write_text(file, "".join(f"{line}\n" for line in lines))
            print(f"{len(lines):,} translations of {data.test_split}: {file}")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and is_of_whole_set(trainer):
            names = {"translations": TRANSLATIONS, "references": REFERENCES}
            for name, lines in getattr(pl_module, "tested_lines", {}).items():
                text = "".join(f"{' '.join(line.splitlines())}\n" for line in lines)
                write_text(self.folder / names[name], text)


class CheckpointAveraging(Callback):
    """Keeps the weights of the last validations and writes their mean when training ends.

    Vaswani et al. 2017, section 6.1. Lightning's ``WeightAveraging`` averages from a step on; which
    validations are the last is known only when training ends. Weights lie under ``averaging/`` in
    the run's folder, so that a resumed run averages the same ones; the mean is
    ``checkpoints/averaged.ckpt``.

    Args:
        last: how many validations to average.
    """

    def __init__(self, last: int = 10) -> None:
        if last < 1:
            raise UserError(f"CheckpointAveraging: last must be at least 1, got {last}")
        self.last = last

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove what is later than the checkpoint from which the run is resumed."""
        if trainer.is_global_zero:
            for path in _snapshots(trainer):
                if int(path.stem.removeprefix("step-")) > trainer.global_step:
                    path.unlink()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if is_of_training(trainer) and trainer.is_global_zero:
            folder = Path(trainer.default_root_dir) / "averaging"
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(folder / f"step-{trainer.global_step:09d}.pt") as file:
                torch.save(pl_module.state_dict(), file)
            _keep(trainer, self.last + _SPARE)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        paths = _snapshots(trainer)[-self.last :]
        if not paths:
            return
        trained = {name: value.clone() for name, value in pl_module.state_dict().items()}
        pl_module.load_state_dict(mean_of(paths))
        target = Path(trainer.default_root_dir) / CHECKPOINTS / "averaged.ckpt"
        trainer.save_checkpoint(target, weights_only=True)
        pl_module.load_state_dict(trained)
        if trainer.is_global_zero:
            _keep(trainer, self.last)
        log.info("averaged the weights of %d validations: %s", len(paths), target)


def mean_of(paths: list[Path]) -> dict[str, Tensor]:
    """The mean of saved weights, summed in float64; whole numbers are taken from the last."""
    states = [torch.load(path, map_location="cpu", weights_only=True) for path in paths]
    mean: dict[str, Tensor] = dict(states[-1])
    for name, value in mean.items():
        if value.is_floating_point():
            total = torch.stack([state[name].double() for state in states]).mean(0)
            mean[name] = total.to(value.dtype)
    return mean


def _snapshots(trainer: Trainer) -> list[Path]:
    return sorted((Path(trainer.default_root_dir) / "averaging").glob("step-*.pt"))


def _keep(trainer: Trainer, count: int) -> None:
    for old in _snapshots(trainer)[:-count]:
        old.unlink()
