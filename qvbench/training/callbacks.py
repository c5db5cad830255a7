"""What a run watches and writes besides what its config asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ProgressBar

from qvbench.training.last_checkpoint import LastCheckpoint
from qvbench.training.predictions import PredictionFile, TestedLines
from qvbench.training.progress import training_progress
from qvbench.training.sentence_counts import SentenceCounts
from qvbench.training.step_guard import StepGuard


def terminal_callbacks(trainer: dict[str, Any]) -> list[Callback]:
    """The progress bar, unless the trainer's settings bring one or want none."""
    bars = [c for c in trainer["callbacks"] or [] if isinstance(c, ProgressBar)]
    return [training_progress()] if trainer["enable_progress_bar"] is not False and not bars else []


def folder_callbacks(verb: str, trainer: dict[str, Any], folder: Path) -> list[Callback]:
    """What a verb writes into the folder of its run.

    Args:
        verb: fit, validate, test or predict.
        trainer: the config's settings of the trainer.
        folder: of the run; it exists.
    """
    callbacks: list[Callback] = []
    if verb == "fit":
        if trainer["enable_checkpointing"] is not False:
            callbacks.append(LastCheckpoint(folder))
        callbacks.append(StepGuard())
        callbacks.append(SentenceCounts(folder))
    if verb == "predict":
        callbacks.append(PredictionFile(folder))
    if verb == "test":
        callbacks.append(TestedLines(folder))
    return callbacks
