"""A training that ends by what it has read: the same number of target tokens for every variant."""

from __future__ import annotations

import logging
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from qvbench.errors import UserError

log = logging.getLogger(__name__)


class TokenBudget(Callback):
    """Ends training after the optimizer step that reaches a number of target tokens.

    Lightning validates there, as at its other ends. The count is the run's own, over all devices
    and restarts, so that a resumed run ends at the same step. On a GPU it is read only where it
    could have reached the budget, by the largest batches that the data module makes: reading it
    waits for the device.

    Args:
        target_tokens: trained on, end tokens counted, padding not.
    """

    def __init__(self, target_tokens: int) -> None:
        if target_tokens < 1:
            raise UserError(f"TokenBudget: target_tokens must be at least 1, got {target_tokens}")
        self.target_tokens = target_tokens
        self._next_look = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._next_look = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if pl_module.gradient_step.unfinished or step < self._next_look:
            return
        left = self.target_tokens - pl_module.tokens_seen_now()
        if left <= 0:
            trainer.should_stop = True
            log.info("budget of %s target tokens reached", f"{self.target_tokens:,}")
            return
        of_a_batch = pl_module.data.max_tokens
        of_a_step = of_a_batch * trainer.accumulate_grad_batches * trainer.world_size
        self._next_look = step + -(-left // of_a_step)
