"""Learning-rate schedules: pure functions of the step, so a resumed run keeps its place."""

from __future__ import annotations

from abc import ABC, abstractmethod

from qvbench.errors import UserError


class Schedule(ABC):
    """A learning rate for every optimiser step."""

    @abstractmethod
    def learning_rate(self, step: int, d_model: int) -> float:
        """The rate of optimiser step ``step`` (the first is 1) for a model of width ``d_model``."""


def _check(name: str, **positive: float) -> None:
    for key, value in positive.items():
        if value <= 0:
            raise UserError(f"{name}: {key} must be positive, got {value}")


class Noam(Schedule):
    """``factor * d_model^-0.5 * min(step^-0.5, step * warmup^-1.5)``.

    Vaswani et al. 2017, equation 3; the recipe has factor 2 and 4,000 warm-up steps.

    Args:
        factor: multiplies the whole schedule.
        warmup_steps: steps over which the rate rises linearly.
    """

    def __init__(self, factor: float = 2.0, warmup_steps: int = 4000) -> None:
        _check("Noam", factor=factor, warmup_steps=warmup_steps)
        self.factor = factor
        self.warmup_steps = warmup_steps

    def learning_rate(self, step: int, d_model: int) -> float:
        rise = step * self.warmup_steps**-1.5
        return float(self.factor * d_model**-0.5 * min(step**-0.5, rise))


class InverseSquareRoot(Schedule):
    """Linear warm-up to ``peak``, then ``peak * (warmup / step)^0.5``.

    Args:
        peak: highest learning rate, reached at the end of the warm-up.
        warmup_steps: steps over which the rate rises linearly.
    """

    def __init__(self, peak: float, warmup_steps: int = 4000) -> None:
        _check("InverseSquareRoot", peak=peak, warmup_steps=warmup_steps)
        self.peak = peak
        self.warmup_steps = warmup_steps

    def learning_rate(self, step: int, d_model: int) -> float:
        return float(self.peak * min(step / self.warmup_steps, (self.warmup_steps / step) ** 0.5))


class LinearDecay(Schedule):
    """Linear warm-up to ``peak``, then linearly to zero: the most from a short, fixed budget.

    Args:
        peak: highest learning rate, reached at the end of the warm-up.
        total_steps: step at which the rate is zero; the budget plus one.
        warmup_steps: steps over which the rate rises linearly.
    """

    def __init__(self, peak: float, total_steps: int, warmup_steps: int = 100) -> None:
        _check("LinearDecay", peak=peak, warmup_steps=warmup_steps)
        if total_steps <= warmup_steps:
            raise UserError(
                f"LinearDecay: total_steps {total_steps} must exceed warmup_steps {warmup_steps}"
            )
        self.peak = peak
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps

    def learning_rate(self, step: int, d_model: int) -> float:
        left = (self.total_steps - step) / (self.total_steps - self.warmup_steps)
        return self.peak * max(0.0, min(step / self.warmup_steps, left))


class Constant(Schedule):
    """One rate throughout, after an optional linear warm-up.

    Args:
        rate: the learning rate.
        warmup_steps: steps over which the rate rises linearly; 0 for none.
    """

    def __init__(self, rate: float, warmup_steps: int = 0) -> None:
        _check("Constant", rate=rate)
        if warmup_steps < 0:
            raise UserError(f"Constant: warmup_steps must not be negative, got {warmup_steps}")
        self.rate = rate
        self.warmup_steps = warmup_steps

    def learning_rate(self, step: int, d_model: int) -> float:
        return self.rate if step >= self.warmup_steps else self.rate * step / self.warmup_steps
