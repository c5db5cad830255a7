"""What ends every run of a suite: a number of steps, of target tokens, or a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qvbench.errors import UserError

UNITS = ("steps", "target_tokens", "minutes")
_NO_STEPS = {"trainer.max_steps": -1, "trainer.max_epochs": -1}
_TOKENS = "qvbench.training.token_budget.TokenBudget"


def budget_settings(file: Path, budget: Any) -> dict[str, Any]:
    """A suite's budget as settings of its variants, which come after their own.

    Args:
        file: of the suite, for messages.
        budget: one of :data:`UNITS` with a number; nothing leaves it to the configs.

    Raises:
        UserError: it is no such thing.
    """
    if budget is None:
        return {}
    if len(budget) != 1 or next(iter(budget)) not in UNITS:
        raise UserError(f"{file}: budget takes one of {', '.join(UNITS)}, got {budget}")
    unit, amount = next(iter(budget.items()))
    kinds = (int, float) if unit == "minutes" else (int,)
    if type(amount) not in kinds or not amount > 0:
        whole = "a number" if unit == "minutes" else "a whole number"
        raise UserError(f"{file}: budget: {unit} must be {whole} above 0, got {amount!r}")
    if unit == "steps":
        return {"trainer.max_steps": amount}
    if unit == "target_tokens":
        callback = {"class_path": _TOKENS, "init_args": {"target_tokens": amount}}
        return {**_NO_STEPS, "trainer.callbacks+": callback}
    return {**_NO_STEPS, "trainer.max_time": {"seconds": max(1, round(60 * amount))}}
