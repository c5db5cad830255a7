"""How long a sweep will take, from what its runs took so far."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from qvbench.sweep.claims import is_claimed
from qvbench.sweep.plan import PlannedRun


class Costs:
    """Wall time of runs: what the finished ones of the variant took, else all finished ones.

    Args:
        runs: of the suite.
        started: runs that failed after this moment (seconds since the epoch) are not left;
            none by default.
    """

    def __init__(self, runs: Sequence[PlannedRun], started: float = float("inf")) -> None:
        self._left = [run for run in runs if not run.finished and not run.failed_since(started)]
        self._durations: dict[str, list[float]] = {}
        for run in runs:
            if run.finished:
                self._durations.setdefault(run.group, []).append(_seconds(run))

    def seconds(self, run: PlannedRun) -> float | None:
        """Of one run; nothing while no run is finished."""
        found = self._durations.get(run.group) or [
            value for group in self._durations.values() for value in group
        ]
        return fmean(found) if found else None

    def seconds_left(self, begun: PlannedRun | None = None) -> float | None:
        """Until all runs are finished, shared among those at work; nothing while none is.

        Args:
            begun: a run that is at work from now on, before its record says so.
        """
        seconds = [self.seconds(run) for run in self._left]
        total = [value for value in seconds if value is not None]
        if len(total) < len(seconds):
            return None
        at_work = [run for run in self._left if run is begun or _trains(run)]
        return sum(total) / max(1, len(at_work))

    def describe(self, run: PlannedRun) -> str:
        """A run's cost in words, and what it is taken from."""
        seconds = self.seconds(run)
        if seconds is None:
            return f"{_budget(run)}; no run is finished that would tell the time"
        own = len(self._durations.get(run.group, []))
        others = sum(map(len, self._durations.values()))
        source = f"{own} of this variant" if own else f"{others} of other variants"
        return f"about {describe_seconds(seconds)}, from {source}"

    def describe_rest(self) -> str:
        """What is left, in words."""
        seconds = self.seconds_left()
        if seconds is not None:
            return f"about {describe_seconds(seconds)} left"
        budgets = {_budget(run) for run in self._left}
        each = f" of {budgets.pop()}" if len(budgets) == 1 else ""
        return f"{len(self._left)} runs{each} left, time unknown"


def describe_seconds(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _trains(run: PlannedRun) -> bool:
    return run.record().get("status") == "running" and is_claimed(run)


def _seconds(run: PlannedRun) -> float:
    """Of all tries by its record; with start and preparation where there was one alone."""
    outcome = run.outcome()
    return max(float(run.record().get("wall_seconds", 0.0)), outcome.seconds if outcome else 0.0)


def _budget(run: PlannedRun) -> str:
    """What ends a run, as its config has it."""
    trainer = run.resolved["trainer"]
    if trainer.get("max_steps", -1) != -1:
        return f"{trainer['max_steps']:,} steps"
    if trainer.get("max_time"):
        return f"a time of {trainer['max_time']}"
    tokens = [
        callback["init_args"]["target_tokens"]
        for callback in trainer.get("callbacks") or []
        if str(callback.get("class_path")).endswith("TokenBudget")
    ]
    return f"{tokens[0]:,} target tokens" if tokens else "no number of steps"
