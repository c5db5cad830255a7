"""What every sentence of the validation set added to the scores, kept for resampling.

One small file a run, however often it is validated: ten bytes a sentence for the last validation
and for the best each, before compression.

Shape letters: B sentences of a batch, T target length with the start token, N target tokens.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from qvbench.runs.atomic_file import replacing

FILE = "sentences.npz"
Arrays = dict[str, npt.NDArray[Any]]

_PORTABLE = {"uint16": np.int32}  # torch has no such tensors everywhere


class SentenceScores(NamedTuple):
    """What each of B sentences adds.

    Attributes:
        line: (B,) line number in the corpus's split, from 0.
        right: (B,) target tokens whose arg-max is right.
        tokens: (B,) target tokens, the end token counted.
        nll: (B,) negative log-likelihood, nats.
    """

    line: Tensor
    right: Tensor
    tokens: Tensor
    nll: Tensor


def sentence_scores(batch: Any, right: Tensor, nll: Tensor) -> SentenceScores:
    """Sum what was scored token by token (N,), in the order of a batch's rows, by sentence."""
    real = batch.target[:, 1:] != 0

    def by_row(values: Tensor) -> Tensor:
        grid = torch.zeros(real.shape, dtype=values.dtype, device=values.device)
        grid[real] = values
        return grid.sum(1)

    return SentenceScores(batch.index, by_row(right), real.sum(1), by_row(nll))


class SentenceCounts(Callback):
    """Writes ``sentences.npz``: the last validation, and the one of the highest accuracy.

    Arrays, each in the order of the corpus's lines: ``tokens``; ``last_right``, ``last_nll``,
    ``best_right``, ``best_nll``; and the steps ``last_step``, ``best_step``.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / FILE
        self._batches: list[tuple[npt.NDArray[Any], ...]] = []
        self._kept: Arrays = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on from the file of a run whose checkpoint says nothing of it."""
        kept = _read(self.file)
        done = trainer.global_step
        if not self._kept and kept and max(kept["best_step"], kept["last_step"]) <= done:
            self._kept = kept

    def state_dict(self) -> dict[str, Any]:
        """What is kept, as tensors: the file may be ahead of a checkpoint."""
        return {
            name: torch.from_numpy(values.astype(_PORTABLE.get(values.dtype.name, values.dtype)))
            for name, values in self._kept.items()
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._kept = {
            name: values.numpy().astype(np.uint16)
            if values.dtype == torch.int32
            else values.numpy()
            for name, values in state_dict.items()
        }

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
            self._batches.append(tuple(values.cpu().numpy() for values in outputs.values()))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        parts: list[Any] = [self._batches]
        if trainer.world_size > 1:
            parts = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, self._batches)
        self._batches = []
        if trainer.is_global_zero:
            batches = [batch for part in parts for batch in part]
            self._kept = updated(self._kept, batches, trainer.global_step)
            _write(self.file, self._kept)


def updated(kept: Arrays, batches: list[tuple[npt.NDArray[Any], ...]], step: int) -> Arrays:
    """What is kept after a validation: it is the last, and the best if none before was better.

    Args:
        kept: after the validation before; empty at the first, or if it was of other sentences.
        batches: line, right, tokens, nll of each batch; a line may come twice from two devices.
        step: optimizer steps done.
    """
    line, right, tokens, nll = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    _, order = np.unique(line, return_index=True)
    new: Arrays = {
        "right": right[order].astype(np.uint16),
        "nll": nll[order].astype(np.float32),
        "step": np.asarray(step),
    }
    tokens = tokens[order].astype(np.uint16)
    same = bool(kept) and np.array_equal(kept["tokens"], tokens)
    best = {name: kept[f"best_{name}"] for name in new} if same else new
    if new["right"].sum(dtype=np.int64) > best["right"].sum(dtype=np.int64):
        best = new
    return (
        {"tokens": tokens}
        | {f"last_{name}": values for name, values in new.items()}
        | {f"best_{name}": values for name, values in best.items()}
    )


def _read(file: Path) -> Arrays:
    """What a file holds; nothing if there is none, or if it was damaged."""
    try:
        with np.load(file) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile):
        return {}


def _write(file: Path, arrays: Arrays) -> None:
    """Write a file so that a reader, or a crash, never sees half of it."""
    with replacing(file) as opened:
        np.savez_compressed(opened, **arrays)  # type: ignore[arg-type]
