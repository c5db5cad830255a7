"""The files that ``qvbench predict`` and ``qvbench test`` write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from qvbench.runs.atomic_file import write_text
from qvbench.runs.folder import REFERENCES, TRANSLATIONS, predictions


class PredictionFile(Callback):
    """Writes the translations of a test set, a line each, in the order of its lines.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lines: dict[int, str] = {}

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._lines.update(outputs)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        parts: list[Any] = [self._lines]
        if trainer.world_size > 1:
            parts = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, self._lines)
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
