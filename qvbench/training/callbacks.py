"""What a run writes into its folder besides record, curves and checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar

from qvbench.runs.folder import (
    REFERENCES,
    SENTENCES,
    TRANSLATIONS,
    predictions,
    replacing,
    write_text,
)
from qvbench.training.last_checkpoint import LastCheckpoint
from qvbench.training.progress import training_progress
from qvbench.training.step_guard import StepGuard

Arrays = dict[str, npt.NDArray[Any]]


def terminal_callbacks(trainer: dict[str, Any]) -> list[Callback]:
    """The progress bar, unless the trainer's settings bring one or want none."""
    bars = [c for c in trainer["callbacks"] or [] if isinstance(c, ProgressBar)]
    return [training_progress()] if trainer["enable_progress_bar"] is not False and not bars else []


def folder_callbacks(command: str, trainer: dict[str, Any], folder: Path) -> list[Callback]:
    """What a command writes into the folder of its run.

    Args:
        command: fit, validate, test or predict.
        trainer: the config's settings of the trainer.
        folder: of the run; it exists.
    """
    if command == "fit":
        saves = trainer["enable_checkpointing"] is not False
        kept: list[Callback] = [LastCheckpoint(folder)] if saves else []
        return [*kept, StepGuard(), SentenceCounts(folder)]
    writers = {"predict": PredictionFile, "test": TestedLines}
    return [writers[command](folder)] if command in writers else []


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
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._batches.append({name: v.cpu().numpy() for name, v in outputs.items()})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        parts = _gathered(trainer, self._batches)
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


class PredictionFile(Callback):
    """Writes the translations of a test set, a line each, in the order of its lines.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lines: dict[int, str] = {}

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        self._lines.update(outputs)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        parts = _gathered(trainer, self._lines)
        if not trainer.is_global_zero:
            return
        lines = {number: text for part in parts for number, text in part.items()}
        data: Any = getattr(trainer, "datamodule", None)
        file = self.folder / predictions(data.test_split)
        write_text(file, "".join(f"{lines[number]}\n" for number in sorted(lines)))
        print(f"{len(lines):,} translations of {data.test_split}: {file}")


class TestedLines(Callback):
    """Keeps the test set's translations and references as plain text, a line each.

    The tests of significance between two runs resample these lines.

    Args:
        folder: of the run.
    """

    __test__ = False  # its name is no sign for pytest

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            names = {"translations": TRANSLATIONS, "references": REFERENCES}
            for name, lines in getattr(pl_module, "tested_lines", {}).items():
                text = "".join(f"{' '.join(line.splitlines())}\n" for line in lines)
                write_text(self.folder / names[name], text)


def _gathered(trainer: Trainer, own: Any) -> list[Any]:
    """What each process has; every process has to ask."""
    parts: list[Any] = [own]
    if trainer.world_size > 1:
        parts = [None] * trainer.world_size
        torch.distributed.all_gather_object(parts, own)
    return parts
