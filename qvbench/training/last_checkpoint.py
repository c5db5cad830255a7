"""The checkpoint from which a run is resumed exactly, wherever it was written.

Lightning 2.6 takes a checkpoint written after a training batch, and before the validation that
follows, for one written after it: a resumed run skips that validation. One written within a
validation is resumed rightly, by doing the validation again, so these are written as such. From
one written at the end of an epoch, Lightning ends that epoch a second time, without the measures
that callbacks look at: it is written as one of the next epoch's start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from qvbench.runs.folder import CHECKPOINTS, LAST
from qvbench.runs.slurm import requeue, slurm_job
from qvbench.training.curves import CurvesLogger
from qvbench.training.run_record import note
from qvbench.training.stop_signals import REQUEUE, StoppedBySignal, StopSignals

_KEY = "qvbench_run"
_TRAINED = "epoch_loop.batch_progress"
_VALIDATED = "epoch_loop.val_loop.batch_progress"
_EPOCHS = "epoch_progress"
_COUNTERS = ("ready", "started", "processed", "completed")


class LastCheckpoint(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` after every validation and when training ends.

    The one before stays as ``previous.ckpt``. Where every epoch ends with a validation, and where
    there is none, it is written at the end of the epoch. A signal that asks for an end has it
    written at the end of the current batch, within a step, an epoch or a validation. All
    other callbacks have had their turn by then.

    Args:
        folder: of the run.

    Attributes:
        dirpath: where checkpoints lie.
    """

    def __init__(self, folder: Path) -> None:
        self.dirpath = str(folder / CHECKPOINTS)
        self.file = folder / CHECKPOINTS / LAST
        self._signals = StopSignals()
        self._saved_step = -1
        self._ended = False
        self._at_last_batch: dict[str, Any] = {}
        self._resumed: dict[str, Any] = {}

    # Resuming

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._resumed = checkpoint.get(_KEY, {})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Cut the curves back to the checkpoint: what the lost part logged is logged again."""
        self._saved_step = -1
        self._ended, self._at_last_batch = False, {}
        for logger in _curves(trainer):
            logger.file.cut(trainer.global_step, self._resumed.get("curve_rows"))
        if self._resumed.get("should_stop"):  # a callback ended the training; Lightning forgets
            trainer.should_stop = True
        trainer.callback_metrics.update(self._resumed.get("metrics", {}))
        self._resumed = {}
        if job := slurm_job():
            note(trainer, slurm_job=job)
        self._signals.install()
        if trainer.received_sigterm:  # before this
            self._signals.received = 15

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Complete any checkpoint of the run, whichever callback asked for it."""
        pl_module.log_steps()  # a line that is due belongs to the part before
        loops = checkpoint["loops"]
        if self._ended and self._at_last_batch:
            loops["fit_loop"] = self._at_last_batch
        elif trainer.training or trainer.validating:
            _complete(loops["fit_loop"], _validation_is_due(trainer))
            if _epoch_is_over(trainer):
                _begin_next_epoch(loops["fit_loop"], trainer)
        checkpoint[_KEY] = {
            "should_stop": trainer.should_stop,
            # Callbacks look at the last validation's also where a resumed run ends before its next.
            "metrics": {n: v.cpu() for n, v in trainer.callback_metrics.items()},
            "curve_rows": sum(logger.file.rows for logger in _curves(trainer)),
        }

    # Writing

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any, **__: Any) -> None:
        if _is_ending(trainer):
            # The loops count the epoch as done from here on, even in its midst: a run that is
            # resumed with more steps would leave out the rest of it.
            self._at_last_batch = trainer.fit_loop.state_dict()
            _complete(self._at_last_batch, due=False)
        elif self._asked_to_stop(trainer, at_log_lines=not pl_module.gradient_step.unfinished):
            self._stop(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop_within_validation(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if trainer.world_size == 1:  # others may have fewer batches
            self._stop_within_validation(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if _is_of_training(trainer) and not _saves_after_epochs(trainer):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        whole = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if _saves_after_epochs(trainer) and whole:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the final weights, wherever in an epoch training ended."""
        if self._saved_step != trainer.global_step:
            self._ended = True
            self._save(trainer)
        self._signals.restore()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._signals.restore()
        if isinstance(exception, StoppedBySignal) and exception.number == REQUEUE:
            job = slurm_job()
            if job and trainer.is_global_zero:
                requeue(job)

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.file, weights_only=False)
        self._saved_step = trainer.global_step

    def _stop_within_validation(self, trainer: Trainer) -> None:
        if _is_of_training(trainer) and not _is_ending(trainer) and self._asked_to_stop(trainer):
            self._stop(trainer)

    def _stop(self, trainer: Trainer) -> None:
        self._save(trainer)
        raise StoppedBySignal(self._signals.received or 15, trainer.global_step)

    def _asked_to_stop(self, trainer: Trainer, at_log_lines: bool = True) -> bool:
        """Whether to end here; several processes agree where they wait for each other anyway."""
        received = bool(self._signals.received)
        if trainer.world_size == 1:
            return received
        if not at_log_lines or trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return False
        return trainer.strategy.reduce_boolean_decision(received, all=False)


def _is_of_training(trainer: Trainer) -> bool:
    return trainer.state.fn == "fit" and not trainer.sanity_checking


def _is_ending(trainer: Trainer) -> bool:
    """Whether no batch follows: Lightning would not do the last validation in a resumed run."""
    last = 0 <= trainer.max_steps <= trainer.global_step
    return last or (trainer.should_stop and trainer.fit_loop._can_stop_early)


def _saves_after_epochs(trainer: Trainer) -> bool:
    """Where a validation ends every epoch, callbacks that watch it look after the epoch."""
    if not trainer.num_val_batches or not sum(trainer.num_val_batches):
        return True
    return trainer.val_check_interval == 1.0 and trainer.check_val_every_n_epoch == 1


def _curves(trainer: Trainer) -> list[CurvesLogger]:
    """Loggers of the curves, in the process that writes them."""
    loggers = trainer.loggers if trainer.is_global_zero else []
    return [logger for logger in loggers if isinstance(logger, CurvesLogger)]


# The state of Lightning's loops


def _validation_is_due(trainer: Trainer) -> bool:
    """Whether a checkpoint written now comes before the end of a validation."""
    loop: Any = trainer.fit_loop.epoch_loop
    if trainer.validating:
        done = loop.val_loop.batch_progress
        counted = done.current
        return not (done.is_last_batch and counted.ready == counted.completed > 0)
    trained = loop.batch_progress.current
    within_hooks_of_a_batch = trained.completed == trained.processed - 1
    return within_hooks_of_a_batch and bool(
        loop._should_check_val_fx(trainer.fit_loop._data_fetcher)
    )


def _epoch_is_over(trainer: Trainer) -> bool:
    """Whether a checkpoint written now comes from the hooks after a whole epoch."""
    epochs: Any = trainer.fit_loop.epoch_progress.total
    batches = trainer.fit_loop.epoch_loop.batch_progress
    return batches.is_last_batch and epochs.completed == epochs.processed - 1


def _begin_next_epoch(fit_loop: dict[str, Any], trainer: Trainer) -> None:
    """Write into the state of the loops that the epoch is over, hooks and all.

    Args:
        fit_loop: as a checkpoint holds it; changed in place.
        trainer: where :func:`_epoch_is_over` is true.
    """
    for counts in (fit_loop[_EPOCHS]["total"], fit_loop[_EPOCHS]["current"]):
        counts["completed"] = counts["processed"]
    fit_loop[_TRAINED]["current"] = dict.fromkeys(_COUNTERS, 0)
    fit_loop[_TRAINED]["is_last_batch"] = False
    if trainer.fit_loop.epoch_loop._should_check_val_epoch():
        # Lightning counts a step while it leaves out the validation that it thinks was done.
        fit_loop["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1


def _complete(fit_loop: dict[str, Any], due: bool) -> None:
    """Write into the state of the loops whether a validation is still to come.

    Args:
        fit_loop: as a checkpoint holds it; changed in place.
        due: see :func:`_validation_is_due`.
    """
    validated = fit_loop[_VALIDATED]
    for counts in (validated["total"], validated["current"]):
        for name in _COUNTERS:
            # Lightning knows an unfinished validation by a batch that was begun and not scored.
            counts[name] = int(name in ("ready", "started")) if due else counts["completed"]
    if due:
        validated["is_last_batch"] = False
        for counts in (fit_loop[_TRAINED]["total"], fit_loop[_TRAINED]["current"]):
            counts["completed"] = counts["processed"]
