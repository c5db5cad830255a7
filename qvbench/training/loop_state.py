"""Checkpoints from which Lightning's loops go on exactly, wherever they were written.

Lightning 2.6 takes a checkpoint written after a training batch, and before the validation that
follows, for one written after it: a resumed run skips that validation. One written within a
validation is resumed rightly, by doing the validation again, so these are written as such. From
one written at the end of an epoch, Lightning ends that epoch a second time, without the measures
that callbacks look at: it is written as one of the next epoch's start.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer

_TRAINED = "epoch_loop.batch_progress"
_VALIDATED = "epoch_loop.val_loop.batch_progress"
_EPOCHS = "epoch_progress"
_COUNTERS = ("ready", "started", "processed", "completed")


def validation_is_due(trainer: Trainer) -> bool:
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


def epoch_is_over(trainer: Trainer) -> bool:
    """Whether a checkpoint written now comes from the hooks after a whole epoch."""
    epochs: Any = trainer.fit_loop.epoch_progress.total
    batches = trainer.fit_loop.epoch_loop.batch_progress
    return batches.is_last_batch and epochs.completed == epochs.processed - 1


def begin_next_epoch(fit_loop: dict[str, Any], trainer: Trainer) -> None:
    """Write into the state of the loops that the epoch is over, hooks and all.

    Args:
        fit_loop: as a checkpoint holds it; changed in place.
        trainer: where :func:`epoch_is_over` is true.
    """
    for counts in (fit_loop[_EPOCHS]["total"], fit_loop[_EPOCHS]["current"]):
        counts["completed"] = counts["processed"]
    fit_loop[_TRAINED]["current"] = dict.fromkeys(_COUNTERS, 0)
    fit_loop[_TRAINED]["is_last_batch"] = False
    if trainer.fit_loop.epoch_loop._should_check_val_epoch():
        # Lightning counts a step while it leaves out the validation that it thinks was done.
        fit_loop["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1


def complete(fit_loop: dict[str, Any], due: bool) -> None:
    """Write into the state of the loops whether a validation is still to come.

    Args:
        fit_loop: as a checkpoint holds it; changed in place.
        due: see :func:`validation_is_due`.
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
