"""What every launcher does: have the runs of a sweep executed somewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import Any

from qvbench.sweep.claims import claim
from qvbench.sweep.plan import PlannedRun
from qvbench.sweep.terminal import ids, say


class Launcher(ABC):
    """Hands runs, each a process of its own, to whatever executes them.

    Args:
        resources: of one run, in the launcher's own words; see the class.
    """

    def __init__(self, resources: dict[str, Any]) -> None:
        self.resources = resources

    @abstractmethod
    def launch(self, runs: list[PlannedRun]) -> None:
        """Have all executed that is not finished and that nobody else has in hand.

        Raises:
            UserError: the launcher cannot be had, or does not take the resources.
        """


def claim_all(runs: list[PlannedRun], locks: ExitStack) -> list[PlannedRun]:
    """Claim all runs that are not finished, for as long as the stack holds; those that we got."""
    left = [run for run in runs if not run.finished]
    free = [run for run in left if locks.enter_context(claim(run)) is not None]
    held = [run for run in left if run not in free]
    if held:
        say(f"{len(held)} in hand already: {ids(held)}")
    return free
