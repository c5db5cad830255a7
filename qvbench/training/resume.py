"""A training ends between two steps, with a checkpoint from which it is resumed exactly.

Lightning 2.6 takes a checkpoint written after a training batch, and before the validation that
follows, for one written after it, and ends an epoch a second time whose end was saved. So every
checkpoint of a run gets the state of its loops as of a moment that Lightning resumes rightly.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from qvbench.runs.curves import CurvesFile
from qvbench.runs.folder import CHECKPOINTS, LAST
from qvbench.runs.slurm import requeue, slurm_job
from qvbench.training.record import CurvesLogger

log = logging.getLogger(__name__)

STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
REQUEUE = signal.SIGUSR1
"""What Slurm sends before a job's time is up, if asked: ``#SBATCH --signal=SIGUSR1@120``."""
REPEAT_SECONDS = 1.0
"""A signal is often sent to a process and to its group: within so long it is the same one."""


class StoppedBySignal(SystemExit):
    """A training that a signal ended after a step: status 128 + its number, as shells have it."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(128 + number)
        self.number = number
        self.step = step

    def __str__(self) -> str:
        name = signal.Signals(self.number).name
        return f"{name}: stopped after step {self.step:,}; --ckpt_path last resumes from there"


class StopSignals:
    """Takes the signals that ask for an end, and keeps the first until a step is done.

    The second ends the process at once, also in a collective operation that others never join,
    where the main thread calls no handler: a thread that Python wakes up at every signal does it.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}
        self._woken = self._woken_before = -1  # file descriptors that get the signals' numbers

    def install(self) -> None:
        if threading.current_thread() is not threading.main_thread() or self._before:
            return  # only the main thread can
        self.received = 0
        self._before = {number: signal.signal(number, self._note) for number in STOPPING}
        source, self._woken = os.pipe()
        os.set_blocking(self._woken, False)
        self._woken_before = signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        # A loader's process has its own signals.
        os.register_at_fork(after_in_child=lambda: self._before and signal.set_wakeup_fd(-1))
        threading.Thread(target=_end_at_second, args=(source,), daemon=True).start()

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            signal.set_wakeup_fd(self._woken_before)
            os.close(self._woken)  # which ends the thread
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.received:
            self.received = number
            name = signal.Signals(number).name
            log.info("%s: stops after this step, with a checkpoint; again to stop at once", name)


def _end_at_second(source: int) -> None:
    """End the process at the second of the stopping signals whose numbers ``source`` gives."""
    first = 0.0
    while number := os.read(source, 1):
        if number[0] not in STOPPING:
            continue
        first = first or time.monotonic()
        if time.monotonic() - first > REPEAT_SECONDS:
            print("a second signal: stopped without a checkpoint", file=sys.stderr, flush=True)
            os._exit(128 + number[0])
    os.close(source)


# The checkpoint

_KEY = "qvbench_run"  # of what :class:`LastCheckpoint` adds to a checkpoint


class LastCheckpoint(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` after every validation and when training ends.

    Where there is no validation it is written after every epoch, and at a signal after the current
    step or batch of a validation; always of a whole optimizer step, after all other callbacks.
    """

    def __init__(self, folder: Path) -> None:
        self.dirpath = str(folder / CHECKPOINTS)  # which ``StepGuard`` reads of any such callback
        self.file = folder / CHECKPOINTS / LAST
        self._signals = StopSignals()
        self._due = False
        self._resumed: dict[str, Any] = {}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._resumed = checkpoint.get(_KEY, {})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Cut the curves back to the checkpoint: what the lost part logged is logged again."""
        for file in _curves(trainer):
            file.cut(trainer.global_step, self._resumed.get("curve_rows"))
        if self._resumed.get("should_stop"):  # a callback ended the training; Lightning forgets
            trainer.should_stop = True
        trainer.callback_metrics.update(self._resumed.get("metrics", {}))
        self._resumed, self._due = {}, False
        self._signals.install()
        if trainer.received_sigterm:  # before this; Lightning would end within a step, status 0
            self._signals.received = signal.SIGTERM
            trainer._signal_connector.received_sigterm = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any, **__: Any) -> None:
        # By which Lightning numbers its own log lines; after some restarts it is one off.
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Complete any checkpoint of the run, whichever callback asked for it."""
        pl_module.log_steps()  # a line that is due belongs to the part before
        _set_between_batches(checkpoint["loops"]["fit_loop"], trainer)
        checkpoint[_KEY] = {
            "should_stop": trainer.should_stop,
            # Callbacks look at the last validation's also where a resumed run ends before its next.
            "metrics": {n: v.cpu() for n, v in trainer.callback_metrics.items()},
            "curve_rows": sum(file.rows for file in _curves(trainer)),
        }

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any, **__: Any) -> None:
        if pl_module.gradient_step.unfinished or _is_ending(trainer):
            return
        self._stop_if_asked(trainer)
        if self._due:
            self._save(trainer)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any, **__: Any) -> None:
        within = pl_module.gradient_step.unfinished or _is_ending(trainer)
        if is_of_training(trainer) and not within and trainer.world_size == 1:
            self._stop_if_asked(trainer)  # of several processes one may have fewer batches

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if is_of_training(trainer):
            self._due = True
            if not pl_module.gradient_step.unfinished:
                self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_last_batch and not sum(trainer.num_val_batches):
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)
        self._signals.restore()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._signals.restore()
        asked = isinstance(exception, StoppedBySignal) and exception.number == REQUEUE
        if asked and trainer.is_global_zero and (job := slurm_job()):
            requeue(job)

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.file, weights_only=False)
        self._due = False

    def _stop_if_asked(self, trainer: Trainer) -> None:
        """End here if a signal came; processes agree where they wait for each other anyway."""
        received = bool(self._signals.received)
        if trainer.world_size > 1:
            if trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
                return
            received = trainer.strategy.reduce_boolean_decision(received, all=False)
        if received:
            self._save(trainer)
            raise StoppedBySignal(self._signals.received or 15, trainer.global_step)


def is_of_training(trainer: Trainer) -> bool:
    """Whether a validation is of a training, of which files are kept."""
    tried_out = trainer.sanity_checking or trainer.fast_dev_run  # type: ignore[attr-defined]
    return trainer.state.fn == "fit" and not tried_out


def _is_ending(trainer: Trainer) -> bool:
    """Whether no batch follows: Lightning would not do the last validation in a resumed run."""
    last = 0 <= trainer.max_steps <= trainer.global_step
    return last or (trainer.should_stop and trainer.fit_loop._can_stop_early)


def _curves(trainer: Trainer) -> list[CurvesFile]:
    loggers = trainer.loggers if trainer.is_global_zero else []  # the process that writes them
    return [logger.file for logger in loggers if isinstance(logger, CurvesLogger)]


def _set_between_batches(fit_loop: dict[str, Any], trainer: Trainer) -> None:
    """Change a checkpoint's state of the loops to one with no hook under way, after a batch."""
    epochs, batches = fit_loop["epoch_progress"], fit_loop["epoch_loop.batch_progress"]
    validation = fit_loop["epoch_loop.val_loop.batch_progress"]
    trained, validated = batches["current"], validation["current"]
    if trainer.validating:
        ended = validation["is_last_batch"] and validated["ready"] == validated["completed"] > 0
        due = not ended
    else:
        loop: Any = trainer.fit_loop
        after_a_batch = trained["completed"] < trained["processed"]
        due = after_a_batch and loop.epoch_loop._should_check_val_fx(loop._data_fetcher)
    epoch = epochs["current"]
    epoch_is_over = batches["is_last_batch"] and epoch["processed"] == epoch["ready"]
    for counts in (epochs["total"], epoch):
        _count(counts, counts["ready"], counts["ready"] - (not epoch_is_over))
    for counts in (batches["total"], trained):
        _count(counts, counts["processed"], counts["processed"])
    if epoch_is_over:
        _count(trained, 0, 0)
        batches["is_last_batch"] = False
    for counts in (validation["total"], validated):
        # Lightning knows an unfinished validation by a batch that was begun and not scored.
        _count(counts, 1 if due else counts["completed"], 0 if due else counts["completed"])
    validation["is_last_batch"] &= not due


def _count(counts: dict[str, int], begun: int, done: int) -> None:
    counts.update(ready=begun, started=begun, processed=done, completed=done)
