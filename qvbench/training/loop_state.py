"""What Lightning's loops leave out of a checkpoint: that a validation is still to come.

Lightning 2.6 takes a checkpoint written after a training batch, and before the validation that
follows, for one written after it: a resumed run skips that validation. One written within a
validation is resumed rightly, by doing the validation again, so these are written as such.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer

_TRAINED = "epoch_loop.batch_progress"
_VALIDATED = "epoch_loop.val_loop.batch_progress"
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
