"""Progress of training: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_SHOWN = (
    ("train/loss", "loss {:.3f}"),
    ("train/accuracy", "accuracy {:.1f} %"),
    ("train/tokens_per_second", "{:,.0f} tokens/s"),
    ("val/accuracy", "val accuracy {:.2f} %"),
)


def training_progress() -> ProgressBar:
    """A bar on a terminal, plain lines in a log file."""
    return TerminalProgress() if sys.stderr.isatty() else PlainProgress()


def measures(trainer: Trainer) -> str:
    """The latest loss, accuracy and throughput, as far as they are known."""
    known = trainer.callback_metrics
    return ", ".join(text.format(float(known[name])) for name, text in _SHOWN if name in known)


def total_steps(trainer: Trainer) -> int | None:
    """Optimizer steps to go in all, None if the run ends otherwise (by time, by patience)."""
    bounds = []
    if trainer.max_steps != -1:
        bounds.append(trainer.max_steps)
    batches = trainer.num_training_batches
    if trainer.max_epochs not in (None, -1) and math.isfinite(batches):
        bounds.append(math.ceil(batches / trainer.accumulate_grad_batches) * trainer.max_epochs)
    return int(min(bounds)) if bounds else None


class PlainProgress(ProgressBar):
    """A line for the log at most every few seconds, and one for each validation.

    Args:
        seconds: between two lines of training.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        super().__init__()
        self.seconds = seconds
        self._enabled = True
        self._last = -math.inf

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print a line, on the first process only."""
        if self._enabled:
            print(*args, **{"file": sys.stderr, "flush": True, **kwargs})

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        due = time.monotonic() > self._last + self.seconds
        if due and "train/loss" in trainer.callback_metrics:
            self._line(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._line(trainer)

    def _line(self, trainer: Trainer) -> None:
        self._last = time.monotonic()
        total = total_steps(trainer)
        of_total = f"/{total:,}" if total else ""
        self.print(f"step {trainer.global_step:,}{of_total}: {measures(trainer)}")


class TerminalProgress(ProgressBar):
    """One bar over the steps of the whole run, one below it while validating or testing."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._progress: Progress | None = None
        self._training: TaskID | None = None
        self._evaluating: TaskID | None = None

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False
        self._close()

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        console = self._progress.console if self._progress else Console(stderr=True)
        console.print(*args)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._training = self._add("training", total_steps(trainer), done=trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if self._progress is not None and self._training is not None:
            shown = measures(trainer)
            self._progress.update(self._training, completed=trainer.global_step, measures=shown)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_train_batch_end(trainer)
        self._close()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluating = self._add("validation", _batches(trainer.num_val_batches))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluating = self._add("test", _batches(trainer.num_test_batches))

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluating = self._add("prediction", _batches(trainer.num_predict_batches))

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        if self._progress is not None and self._evaluating is not None:
            self._progress.advance(self._evaluating)

    on_test_batch_end = on_predict_batch_end = on_validation_batch_end

    def on_validation_end(self, *_: Any, **__: Any) -> None:
        if self._progress is not None and self._evaluating is not None:
            self._progress.remove_task(self._evaluating)
            self._evaluating = None
        if self._training is None:  # an evaluation alone: the bar ends with it
            self._close()

    on_test_end = on_predict_end = on_validation_end

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._close()

    def _add(self, name: str, total: int | None, done: int = 0) -> TaskID | None:
        if not self._enabled:
            return None
        if self._progress is None:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[measures]}"),
                console=Console(stderr=True),
            )
            self._progress.start()
        return self._progress.add_task(name, total=total, completed=done, measures="")

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        self._training = None


def _batches(counts: Any) -> int | None:
    """Number of batches of an evaluation over all its loaders, if they can say."""
    total = sum(counts) if isinstance(counts, list) else counts
    return int(total) if math.isfinite(total) else None
