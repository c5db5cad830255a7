"""Progress of a run: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from contextlib import suppress
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 10.0
"""Least time between two lines of training where there is no terminal."""

_SHOWN = (
    ("train/loss", "loss {:.3f}"),
    ("train/accuracy", "accuracy {:.1f} %"),
    ("train/tokens_per_second", "{:,.0f} tokens/s"),
    ("val/loss", "val loss {:.3f}"),
    ("val/accuracy", "val accuracy {:.2f} %"),
    ("val/bits_per_byte", "{:.4f} bits per byte"),
)


def on_a_terminal() -> bool:
    return sys.stderr.isatty()


class RunProgress(ProgressBar):
    """One bar over the optimizer steps of the whole run, or over the batches of an evaluation.

    Lightning's bars are those of one epoch. Where standard error is no terminal, training has a
    line at every validation, and others at least :data:`LINE_SECONDS` apart.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bar: Progress | None = None
        self._enabled = True
        self._last_line = -math.inf

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print a line, above the bar if there is one; on the first process only."""
        if self.bar is not None:
            self.bar.console.print(*args)
        elif self._enabled:
            with suppress(BrokenPipeError):  # whoever read standard error has left
                print(*args, **{"file": sys.stderr, "flush": True, **kwargs})

    def _start(self, name: str, total: float, done: int = 0) -> None:
        if self._enabled and on_a_terminal():
            columns = TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn()
            shown = TimeRemainingColumn(elapsed_when_finished=True), TextColumn("{task.fields[m]}")
            self.bar = Progress(*columns, *shown, console=Console(stderr=True))
            # The number of steps is not known where time or patience ends a run.
            known = total if 0 <= total < math.inf else None
            self.bar.add_task(name, total=known, completed=done, m="")
            self.bar.start()

    def _stop(self, *_: Any, **__: Any) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        self._start("training", trainer.estimated_stepping_batches, trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        due = time.monotonic() > self._last_line + LINE_SECONDS
        if self.bar is not None or (due and "train/loss" in trainer.callback_metrics):
            self._show(trainer)

    def _show(self, trainer: Trainer) -> None:
        known, step = trainer.callback_metrics, trainer.global_step
        measures = ", ".join(t.format(float(known[name])) for name, t in _SHOWN if name in known)
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=step, m=measures)
        else:
            self._last_line = time.monotonic()
            total = trainer.estimated_stepping_batches
            self.print(f"step {step:,}{f'/{total:,}' if 0 <= total < math.inf else ''}: {measures}")

    def on_validation_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.state.fn == "validate":
            self._start("validation", sum(trainer.num_val_batches))

    def on_test_start(self, trainer: Trainer, *_: Any) -> None:
        self._start("test", sum(trainer.num_test_batches))

    def on_predict_start(self, trainer: Trainer, *_: Any) -> None:
        self._start("prediction", sum(trainer.num_predict_batches))

    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if self.bar is not None and trainer.state.fn != "fit":
            self.bar.advance(self.bar.task_ids[0])

    on_test_batch_end = on_predict_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.state.fn == "validate":
            self._stop()
        elif not trainer.sanity_checking:
            self._show(trainer)

    on_train_end = on_test_end = on_predict_end = on_exception = _stop
