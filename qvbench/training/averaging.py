"""Averaging the weights of the last validations (Vaswani et al. 2017, section 6.1)."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from qvbench.errors import UserError
from qvbench.runs.folder import CHECKPOINTS, replacing

log = logging.getLogger(__name__)

_SPARE = 2
"""Weights kept beyond those to average: a run may be resumed from the checkpoint before."""


class CheckpointAveraging(Callback):
    """Keeps the weights of the last validations and writes their mean when training ends.

    Lightning's ``WeightAveraging`` averages from a step on; which validations are the last is known
    only when training ends. Weights lie under ``averaging/`` in the run's folder, so that a resumed
    run averages the same ones; the mean is the checkpoint ``checkpoints/averaged.ckpt``.

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
                if _step(path) > trainer.global_step:
                    path.unlink()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        folder = _folder(trainer)
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


def _folder(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / "averaging"


def _snapshots(trainer: Trainer) -> list[Path]:
    """The weights kept, oldest first."""
    return sorted(_folder(trainer).glob("step-*.pt"))


def _step(snapshot: Path) -> int:
    return int(snapshot.stem.removeprefix("step-"))


def _keep(trainer: Trainer, count: int) -> None:
    for old in _snapshots(trainer)[:-count]:
        old.unlink()
