"""How many tokens of every validation sentence the last validation got right, for resampling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from qvbench.runs.atomic_file import replacing
from qvbench.runs.folder import SENTENCES

Arrays = dict[str, npt.NDArray[Any]]


class SentenceCounts(Callback):
    """Writes ``sentences.npz`` after every validation of a training.

    Arrays: ``tokens`` and ``last_right`` (S,), in the order of the corpus's S lines, four bytes per
    sentence before compression; and ``last_step``, the optimizer steps done.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / SENTENCES
        self._batches: list[Arrays] = []

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batches = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._batches.append({name: v.cpu().numpy() for name, v in outputs.items()})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        parts: list[Any] = [self._batches]
        if trainer.world_size > 1:
            parts = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, self._batches)
        if trainer.is_global_zero:
            arrays = by_line([batch for part in parts for batch in part])
            arrays["last_step"] = np.asarray(trainer.global_step)
            with replacing(self.file) as opened:
                np.savez_compressed(opened, **arrays)  # type: ignore[arg-type]


def by_line(batches: list[Arrays]) -> Arrays:
    """``tokens`` and ``last_right`` in the order of the lines, from what a task's batches gave.

    Args:
        batches: ``line``, ``correct`` and ``tokens`` of each; two devices may have the same line.
    """
    whole = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    _, order = np.unique(whole["line"], return_index=True)
    return {
        "tokens": whole["tokens"][order].astype(np.uint16),
        "last_right": whole["correct"][order].astype(np.uint16),
    }
