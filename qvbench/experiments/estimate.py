"""How long a sweep will take, from what its runs took so far."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

from qvbench.experiments.launch import is_claimed
from qvbench.experiments.plan import PlannedRun


def seconds_left(runs: Sequence[PlannedRun], started: float) -> float | None:
    """Estimated wall time until all runs are finished, shared among the sweeps at work.

    A run takes what the finished runs of its variant took, else what all finished ones took.

    Args:
        runs: of the suite.
        started: runs that failed after this moment (seconds since the epoch) are not left.

    Returns:
        Seconds; nothing while no run is finished.
    """
    durations: dict[str, list[float]] = {}
    left, busy = [], 0
    for run in runs:
        if run.finished:
            durations.setdefault(run.variant.name, []).append(_seconds(run))
        elif not run.failed_since(started):
            left.append(run.variant.name)
            busy += is_claimed(run)
    if not left:
        return 0.0
    if not durations:
        return None
    overall = fmean(_all(durations.values()))
    total = sum(fmean(durations.get(variant, [overall])) for variant in left)
    return total / max(1, busy)


def describe_seconds(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _seconds(run: PlannedRun) -> float:
    """With start and preparation if its sweep wrote it down, else what the record has."""
    outcome = run.outcome()
    return outcome.seconds if outcome else float(run.record().get("wall_seconds", 0.0))


def _all(groups: Iterable[list[float]]) -> list[float]:
    return [value for group in groups for value in group]
