"""The checkpoint from which a run goes on, and all that a run needs to go on exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from qvbench.runs.folder import CHECKPOINTS, LAST
from qvbench.runs.slurm import requeue, slurm_job
from qvbench.training import loop_state
from qvbench.training.curves import CurvesLogger
from qvbench.training.run_record import note
from qvbench.training.stop_signals import REQUEUE, StoppedBySignal, StopSignals

_KEY = "qvbench_run"


class LastCheckpoint(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` after every validation and when training ends.

    The one before stays as ``previous.ckpt``. Where every epoch ends with a validation, and where
    there is none, it is written at the end of the epoch. A signal that asks for an end has it
    written at the end of the batch in hand, in the midst of a step, an epoch or a validation. All
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

    # Taking a run up

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._resumed = checkpoint.get(_KEY, {})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Curves go on from the checkpoint: what the lost part logged is logged again."""
        self._saved_step = -1
        self._ended, self._at_last_batch = False, {}
        for logger in _curves(trainer):
            logger.file.cut(trainer.global_step, self._resumed.get("curve_rows"))
        if self._resumed.get("should_stop"):  # a callback ended the training; Lightning forgets
            trainer.should_stop = True
        self._resumed = {}
        if job := slurm_job():
            note(trainer, slurm_job=job)
        self._signals.install()
        if trainer.received_sigterm:  # before this
            self._signals.received = 15

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Complete any checkpoint of the run, whoever asked for it."""
        pl_module.log_steps()  # a line that is due belongs to the part before
        loops = checkpoint["loops"]
        if self._ended and self._at_last_batch:
            loops["fit_loop"] = self._at_last_batch
        elif trainer.training or trainer.validating:
            loop_state.complete(loops["fit_loop"], loop_state.validation_is_due(trainer))
            if loop_state.epoch_is_over(trainer):
                loop_state.begin_next_epoch(loops["fit_loop"], trainer)
        checkpoint[_KEY] = {
            "should_stop": trainer.should_stop,
            "curve_rows": sum(logger.file.rows for logger in _curves(trainer)),
        }

    # Writing

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if _is_ending(trainer):
            # The loops count the epoch as done from here on, even in its midst: a run that is
            # taken up with more steps would leave out the rest of it.
            self._at_last_batch = trainer.fit_loop.state_dict()
            loop_state.complete(self._at_last_batch, due=False)
        elif self._asked_to_stop(trainer, at_log_lines=not pl_module.gradient_step.unfinished):
            self._stop(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop_within_validation(trainer)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
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
