"""What a sweep shows on standard error, and how long it will take from what its runs took."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from qvbench.sweep.launch import runs_elsewhere
from qvbench.sweep.plan import PlannedRun

CLEAR = "\r\x1b[2K"  # empties a terminal's line


def seconds_left(
    runs: Sequence[PlannedRun], started: float = float("inf"), begun: PlannedRun | None = None
) -> float | None:
    """Wall time until all runs are finished, shared among those that train.

    A run takes what the finished ones of its variant took on average, else all finished ones.

    Args:
        runs: of the suite.
        started: runs that failed after this moment (seconds since the epoch) are not left;
            none by default.
        begun: a run that trains from now on, before its record says so.

    Returns:
        None while no run is finished.
    """
    took = [(run.group, _seconds(run)) for run in runs if run.is_finished]
    left = [run for run in runs if not run.is_finished and not run.failed_since(started)]
    if left and not took:
        return None
    every = [seconds for _, seconds in took]
    total = sum(fmean([s for group, s in took if group == run.group] or every) for run in left)
    return total / max(1, sum(run is begun or _trains(run) for run in left))


def format_seconds(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_left(seconds: float | None) -> str:
    """The time that is left."""
    return "time left unknown" if seconds is None else f"about {format_seconds(seconds)} left"


def say(text: str) -> None:
    """Print a line, in the place of one that counts."""
    start = CLEAR if sys.stderr.isatty() else ""
    print(f"{start}{text}", file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print a line that the next one replaces, on a terminal."""
    if sys.stderr.isatty():
        print(f"{CLEAR}{text}", end="", file=sys.stderr, flush=True)


def say_result(place: str, run: PlannedRun) -> None:
    """Print how a run ended, and after how long."""
    outcome = run.outcome()
    time = f", {format_seconds(outcome.seconds)}" if outcome else ""
    say(f"{place}: {_result(run)}{time}")


def relative_to_here(path: Path) -> Path:
    """A path as people write it: from here, if it lies here."""
    here = Path.cwd()
    return path.relative_to(here) if here in path.parents else path


def names(runs: Iterable[PlannedRun]) -> str:
    """Runs by name."""
    return ", ".join(run.id for run in runs)


def _result(run: PlannedRun) -> str:
    """Its primary metric, if it is finished and has one."""
    if not run.is_finished:
        return "FAILED"
    record = run.record()
    metric = record.get("primary_metric") or {}
    value = record["metrics"].get(metric.get("name"))
    if value is None:
        return "finished"
    return f"{metric['label']} {value:.2f} {metric['unit']}".rstrip()


def _trains(run: PlannedRun) -> bool:
    return run.record().get("status") == "running" and runs_elsewhere(run)


def _seconds(run: PlannedRun) -> float:
    """Of all tries by its record; with start and preparation where there was one alone."""
    outcome = run.outcome()
    return max(float(run.record().get("wall_seconds", 0.0)), outcome.seconds if outcome else 0.0)
