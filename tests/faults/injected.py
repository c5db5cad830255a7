"""Faults to inject into a small run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from torch import Tensor

from qvbench.data.batching import Batch
from qvbench.models.loss import TokenTotals
from qvbench.tasks.steps import GradientStep
from qvbench.tasks.translation import TranslationTask


def poison(task: type[TranslationTask], number: int, factor: float, patch: Any) -> list[Batch]:
    """Make the loss of one micro-batch not finite.

    Args:
        task: the class.
        number: of the training batch, from 0.
        factor: of its loss, such as infinity.
        patch: pytest's ``monkeypatch``.

    Returns:
        the training batches, which grow while the task trains.
    """
    seen: list[Batch] = []
    loss = GradientStep.loss

    def step(self: TranslationTask, batch: Batch, batch_idx: int) -> Any:
        seen.append(batch)
        return real(self, batch, batch_idx)

    def worse(self: GradientStep, totals: TokenTotals) -> Tensor:
        bad = len(seen) - 1 == number
        return loss(self, totals._replace(smoothed=totals.smoothed * factor) if bad else totals)

    real = task.training_step
    patch.setattr(task, "training_step", step)
    patch.setattr(GradientStep, "loss", worse)
    return seen


class KillWorkers(Callback):
    """Kills a loader's processes with SIGKILL, as the system does that is short of memory.

    Those of training first; those of validation while the exception is being handled to which the
    first gave rise.
    """

    others: tuple[int, ...] = ()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == 4:
            children = sorted(child.pid or 0 for child in multiprocessing.active_children())
            self.others = tuple(children[2:])  # started later, by the first validation
            for child in children[:2]:
                os.kill(child, signal.SIGKILL)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        for child in self.others:
            os.kill(child, signal.SIGKILL)
            while "Z" not in Path(f"/proc/{child}/stat").read_text().rpartition(")")[2]:
                time.sleep(0.01)  # here Python calls the handler of its end
        print(f"killed {len(self.others)} more", file=sys.stderr)


class RemoveStore(Callback):
    """Removes the stored corpus under a training that reads it."""

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == 2:
            for file in trainer.datamodule.folder.iterdir():
                file.unlink()


class KillService(Callback):
    """Kills the process through which W&B writes, with SIGKILL."""

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step != 4:
            return
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                name = (folder / "comm").read_text().strip()
            except OSError:  # another program's process, which ended just now
                continue
            if int(fields[1]) == os.getpid() and name.startswith(("wandb", "gpu_stats")):
                os.kill(int(folder.name), signal.SIGKILL)
                print("killed W&B's service")
