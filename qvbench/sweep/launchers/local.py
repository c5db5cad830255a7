"""One run after another, on this machine."""

from __future__ import annotations

import time

from qvbench.errors import UserError
from qvbench.sweep.claims import claim
from qvbench.sweep.estimate import Costs, describe_seconds
from qvbench.sweep.launch import execute
from qvbench.sweep.launchers.interface import Launcher
from qvbench.sweep.plan import PlannedRun
from qvbench.sweep.terminal import ids, in_words, say, say_result, show

POLL = 1.0  # seconds between two looks at what other sweeps have in hand


class Local(Launcher):
    """One run after another; sweeps beside it share the work. It takes no resources."""

    def launch(self, runs: list[PlannedRun]) -> None:
        """Run all that is not finished; returns when nobody has any of the runs in hand."""
        if self.resources:
            raise UserError("--resources: the local launcher gives each run the whole machine")
        started = time.time()
        waiting = [run for run in runs if not run.finished]
        while waiting:
            busy = [run for run in waiting if not _settle(run, runs, started)]
            if busy:
                if len(busy) == len(waiting):
                    time.sleep(POLL)
                else:
                    say(f"{len(busy)} in the hands of another sweep: {ids(busy)}")
            waiting = busy


def _settle(run: PlannedRun, runs: list[PlannedRun], started: float) -> bool:
    """Run it unless it is settled already; false if another sweep has it in hand."""
    with claim(run) as lock:
        if lock is None:
            return False
        if run.finished or run.failed_since(started):
            return True
        place = f"[{runs.index(run) + 1}/{len(runs)}] {run.id}"
        left = Costs(runs, started).seconds_left(begun=run)
        how = "goes on from its last checkpoint" if run.cut_off else "started"
        say(f"{place}: {how}; {in_words(left)}")

        def tick(seconds: float) -> None:
            rest = None if left is None else max(0.0, left - seconds)
            show(f"{place}: {describe_seconds(seconds)}; {in_words(rest)}")

        execute(run, lock, tick)
        say_result(place, run)
        return True
