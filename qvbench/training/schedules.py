"""Learning-rate schedules, pure functions of the step; and what ends a training."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from qvbench.errors import UserError

log = logging.getLogger(__name__)


class Schedule(ABC):
    """A learning rate for every optimizer step."""

    def _check_positive(self, **settings: float) -> None:
        for key, value in settings.items():
            if value <= 0:
                raise UserError(f"{type(self).__name__}: {key} must be positive, got {value}")

    @abstractmethod
    def learning_rate(self, step: int, d_model: int) -> float:
        """The rate of optimizer step ``step`` (the first is 1) for a model of width ``d_model``."""


class Noam(Schedule):
    """``factor * d_model^-0.5 * min(step^-0.5, step * warmup^-1.5)``.

    Vaswani et al. 2017, equation 3; the recipe has factor 2 and 4,000 warm-up steps.

    Args:
        factor: multiplies the whole schedule.
        warmup_steps: over which the rate rises linearly.
    """

    def __init__(self, factor: float = 2.0, warmup_steps: int = 4000) -> None:
        self._check_positive(factor=factor, warmup_steps=warmup_steps)
        self.factor = factor
        self.warmup_steps = warmup_steps

    def learning_rate(self, step: int, d_model: int) -> float:
        rise = step * self.warmup_steps**-1.5
        return float(self.factor * d_model**-0.5 * min(step**-0.5, rise))


class InverseSquareRoot(Schedule):
    """Linear warm-up to ``peak``, then ``peak * (warmup_steps / step)^0.5``.

    Args:
        peak: highest learning rate.
        warmup_steps: over which the rate rises linearly.
    """

    def __init__(self, peak: float, warmup_steps: int = 4000) -> None:
        self._check_positive(peak=peak, warmup_steps=warmup_steps)
        self.peak = peak
        self.warmup_steps = warmup_steps

    def learning_rate(self, step: int, d_model: int) -> float:
        return float(self.peak * min(step / self.warmup_steps, (self.warmup_steps / step) ** 0.5))


class LinearDecay(Schedule):
    """Linear warm-up to ``peak``, then linearly to zero: the most from a short, fixed budget.

    Args:
        peak: highest learning rate, reached at the end of the warm-up.
        total_steps: of the training; the rate is zero at the step after. By default the number
            of ``trainer.max_steps``, filled in by :func:`end_with_training`.
        warmup_steps: over which the rate rises linearly; a shorter training has no decay.
    """

    def __init__(
        self, peak: float, total_steps: int | None = None, warmup_steps: int = 100
    ) -> None:
        steps = 1 if total_steps is None else total_steps
        self._check_positive(peak=peak, warmup_steps=warmup_steps, total_steps=steps)
        self.peak = peak
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps

    def learning_rate(self, step: int, d_model: int) -> float:
        if self.total_steps is None:
            raise UserError("LinearDecay: total_steps is not known; give it, or trainer.max_steps")
        end = self.total_steps + 1
        left = (end - step) / max(1, end - self.warmup_steps)  # a short try only warms up
        return self.peak * max(0.0, min(step / self.warmup_steps, left))


class Cosine(Schedule):
    """Linear warm-up to ``peak``, then half a cosine to ``final`` (Loshchilov & Hutter 2017).

    Args:
        peak: highest learning rate, reached at the end of the warm-up.
        final: rate of the last step.
        total_steps: of the training. By default the number of ``trainer.max_steps``, filled in by
            :func:`end_with_training`.
        warmup_steps: over which the rate rises linearly; a shorter training has no decay.
    """

    def __init__(
        self, peak: float, final: float, total_steps: int | None = None, warmup_steps: int = 100
    ) -> None:
        steps = 1 if total_steps is None else total_steps
        self._check_positive(peak=peak, final=final, warmup_steps=warmup_steps, total_steps=steps)
        self.peak = peak
        self.final = final
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps

    def learning_rate(self, step: int, d_model: int) -> float:
        if self.total_steps is None:
            raise UserError("Cosine: total_steps is not known; give it, or trainer.max_steps")
        if step <= self.warmup_steps:
            return self.peak * step / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        half = (1 + math.cos(math.pi * min(1.0, done))) / 2
        return self.final + half * (self.peak - self.final)


class Constant(Schedule):
    """One rate throughout, after an optional linear warm-up.

    Args:
        rate: the learning rate.
        warmup_steps: over which it rises linearly; 0 for none.
    """

    def __init__(self, rate: float, warmup_steps: int = 0) -> None:
        self._check_positive(rate=rate)
        if warmup_steps < 0:
            raise UserError(f"Constant: warmup_steps must not be negative, got {warmup_steps}")
        self.rate = rate
        self.warmup_steps = warmup_steps

    def learning_rate(self, step: int, d_model: int) -> float:
        return self.rate if step >= self.warmup_steps else self.rate * step / self.warmup_steps


def end_with_training(schedule: Any, max_steps: int, fit: bool = True) -> None:
    """Let a schedule that decays over ``total_steps`` end with the training.

    Args:
        schedule: of a config, all arguments filled in; ``total_steps`` is set here if it is None.
        max_steps: ``trainer.max_steps``; -1 if the training ends otherwise.
        fit: whether the schedule is used.

    Raises:
        UserError: ``total_steps`` is needed, or given and not the number of steps trained.
    """
    arguments = schedule.get("init_args") if schedule else None
    if not arguments or "total_steps" not in arguments:
        return
    bounded = max_steps != -1
    if arguments["total_steps"] is None and bounded:
        arguments["total_steps"] = max_steps
    total = arguments["total_steps"]
    if fit and total is None:
        name = schedule["class_path"].rpartition(".")[2]
        raise UserError(
            f"model.schedule.init_args.total_steps: {name} ends with the training, and no "
            "trainer.max_steps says when; give total_steps, or a schedule such as InverseSquareRoot"
        )
    if fit and bounded and total != max_steps:
        raise UserError(
            f"model.schedule.init_args.total_steps is {total}, but trainer.max_steps is "
            f"{max_steps}; leave total_steps out, and it follows trainer.max_steps"
        )


class TokenBudget(Callback):
    """Ends training after the optimizer step that reaches a number of target tokens.

    The count is the run's own, over all devices and restarts; end tokens count, padding does not.
    It is read only where the largest batches of the data module could have reached the budget:
    reading it waits for a GPU.
    """

    def __init__(self, target_tokens: int) -> None:
        if target_tokens < 1:
            raise UserError(f"TokenBudget: target_tokens must be at least 1, got {target_tokens}")
        self.target_tokens = target_tokens
        self._next_look = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._next_look = 0

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any, **__: Any) -> None:
        step = trainer.global_step
        if pl_module.gradient_step.unfinished or step < self._next_look:
            return
        left = self.target_tokens - pl_module.tokens_seen_now()
        if left <= 0:
            trainer.should_stop = True
            log.info("budget of %s target tokens reached", f"{self.target_tokens:,}")
            return
        batches = trainer.accumulate_grad_batches * trainer.world_size
        self._next_look = step + math.ceil(left / (pl_module.data.max_tokens * batches))
