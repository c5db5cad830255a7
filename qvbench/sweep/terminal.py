"""What a sweep says while it goes on, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from qvbench.sweep.estimate import describe_seconds
from qvbench.sweep.plan import PlannedRun

CLEAR = "\r\x1b[2K"  # empties a terminal's line


def say(text: str) -> None:
    """A line, in the place of one that counts."""
    start = CLEAR if sys.stderr.isatty() else ""
    print(f"{start}{text}", file=sys.stderr, flush=True)


def show(text: str) -> None:
    """A line that the next one replaces, where somebody watches."""
    if sys.stderr.isatty():
        print(f"{CLEAR}{text}", end="", file=sys.stderr, flush=True)


def say_result(place: str, run: PlannedRun) -> None:
    """How a run ended, and after how long."""
    outcome = run.outcome()
    time = f", {describe_seconds(outcome.seconds)}" if outcome else ""
    say(f"{place}: {_result(run)}{time}")


def in_words(seconds: float | None) -> str:
    """The time that is left."""
    return "time left unknown yet" if seconds is None else f"about {describe_seconds(seconds)} left"


def near(path: Path) -> Path:
    """A path as it is shown: from here, if it lies here."""
    here = Path.cwd()
    return path.relative_to(here) if here in path.parents else path


def ids(runs: Iterable[PlannedRun]) -> str:
    """Runs by name."""
    return ", ".join(run.id for run in runs)


def _result(run: PlannedRun) -> str:
    if not run.finished:
        return "FAILED"
    accuracy = run.record()["metrics"].get("val/accuracy")
    return "finished" if accuracy is None else f"{accuracy:.2f} % of validation tokens right"
