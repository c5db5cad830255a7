"""``qvbench sweep --suite NAME``: run what has not been run, one run after another.

Several sweeps of one suite share its runs: each run is claimed by one of them.
"""

from __future__ import annotations

import shlex
import signal
import sys
import time
from argparse import Namespace
from pathlib import Path
from types import FrameType
from typing import NoReturn

from qvbench.arguments import ArgumentParser
from qvbench.experiments.estimate import Costs, describe_seconds
from qvbench.experiments.launch import claim, execute, is_claimed, last_lines
from qvbench.experiments.plan import PlannedRun, plan, read_overrides
from qvbench.experiments.suite import find_suite, read_suite

POLL = 1.0  # seconds between two looks at what other sweeps have in hand
CLEAR = "\r\x1b[2K"  # empties a terminal's line
TERMINATED = 128 + signal.SIGTERM  # as shells have it


def main(argv: list[str]) -> int:
    """Run the verb with the words after ``sweep``.

    Returns:
        0 if everything is finished, 1 if a run failed.
    """
    arguments, rest = _parser().parse_known_args(argv)
    suite = read_suite(find_suite(arguments.suite))
    overrides = read_overrides(rest)
    output = arguments.output.resolve()
    runs = plan(suite, output, arguments.only, arguments.seeds, overrides)
    if arguments.dry_run:
        _show(runs)
        return 0
    signal.signal(signal.SIGTERM, _leave)
    sweep(runs)
    return _conclude(runs, arguments)


def sweep(runs: list[PlannedRun]) -> None:
    """Run all that is not finished; returns when no sweep has any of the runs in hand."""
    started = time.time()
    waiting = [run for run in runs if not run.finished]
    finished = len(runs) - len(waiting)
    _say(f"{len(runs)} runs, {finished} of them finished; logs in {_near(runs[0].log.parents[1])}")
    while waiting:
        busy = [run for run in waiting if not _settle(run, runs, started)]
        if busy:
            if len(busy) == len(waiting):
                time.sleep(POLL)
            else:
                _say(f"{len(busy)} in the hands of another sweep: {_ids(busy)}")
        waiting = busy


def _settle(run: PlannedRun, runs: list[PlannedRun], started: float) -> bool:
    """Run it unless it is settled already; false if another sweep has it in hand."""
    with claim(run) as lock:
        if lock is None:
            return False
        if run.finished or run.failed_since(started):
            return True
        place = f"[{runs.index(run) + 1}/{len(runs)}] {run.id}"
        left = Costs(runs, started).seconds_left()
        how = "goes on from its last checkpoint" if run.cut_off else "started"
        _say(f"{place}: {how}; {_in_words(left)}")
        outcome = execute(run, lock, lambda seconds: _show_time(place, seconds, left))
        _say(f"{place}: {_result(run)}, {describe_seconds(outcome.seconds)}")
        return True


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="qvbench sweep",
        description="Run the variants of a suite over its seeds, whatever is not finished yet. "
        "Further options are those of `qvbench fit`, for all runs: --trainer.max_steps 100",
    )
    parser.add_argument("--suite", required=True, help="suite file or shipped suite")
    parser.add_argument(
        "--output", type=Path, default=Path(), help="folder that gets runs/ and the logs"
    )
    parser.add_argument("--only", nargs="+", metavar="VARIANT", help="these variants alone")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="instead of the suite's")
    parser.add_argument("--dry_run", action="store_true", help="print the plan and run nothing")
    return parser


def _show(runs: list[PlannedRun]) -> None:
    """Print the plan: the state of every run, what it may cost, and its command."""
    costs = Costs(runs)
    for run in runs:
        cost = "" if run.finished else f"  {costs.describe(run)}"
        print(f"{_state(run):8}  {run.id}{cost}\n          qvbench {shlex.join(run.words)}")
    finished = sum(run.finished for run in runs)
    print(f"{len(runs)} runs, {finished} of them finished; {costs.describe_rest()}")


def _state(run: PlannedRun) -> str:
    if run.finished:
        return "finished"
    if is_claimed(run):
        return "running"
    return "cut off" if run.cut_off else "to run"


def _conclude(runs: list[PlannedRun], words: Namespace) -> int:
    """Report what failed, with the end of its log."""
    failed = [run for run in runs if not run.finished]
    for run in failed:
        outcome = run.outcome()
        how = "has no outcome" if outcome is None else _ending(outcome.status)
        _say(f"\n{run.id}: {how}; the end of {_near(run.log)}:")
        for line in last_lines(run.log):
            _say(f"  {line}")
    done = len(runs) - len(failed)
    _say(f"\n{done} of {len(runs)} runs finished" + (f", {len(failed)} failed" if failed else ""))
    if done:
        _say(f"compare: {_report_command(runs, words)}")
    return 1 if failed else 0


def _report_command(runs: list[PlannedRun], words: Namespace) -> str:
    """What gathers these runs."""
    place = _near(runs[0].output / "runs")
    options = [] if place == Path("runs") else [str(place)]
    options += ["--suite", words.suite]
    options += ["--seeds", *map(str, words.seeds)] if words.seeds else []
    options += [word for key, value in runs[0].overrides for word in (f"--{key}", value)]
    name = runs[0].suite.name
    return f"qvbench report {shlex.join([*options, '--output', f'results/{name}'])}"


def _result(run: PlannedRun) -> str:
    if not run.finished:
        return "FAILED"
    accuracy = run.record()["metrics"].get("val/accuracy")
    return "finished" if accuracy is None else f"{accuracy:.2f} % of validation tokens right"


def _ending(status: int) -> str:
    if status < 0:
        return f"ended by signal {-status}"
    return f"failed with status {status}" if status else "did not come to its end"


def _in_words(seconds: float | None) -> str:
    return "time left unknown yet" if seconds is None else f"about {describe_seconds(seconds)} left"


def _near(path: Path) -> Path:
    """A path as it is shown: from here, if it lies here."""
    here = Path.cwd()
    return path.relative_to(here) if here in path.parents else path


def _ids(runs: list[PlannedRun]) -> str:
    return ", ".join(run.id for run in runs)


def _show_time(place: str, seconds: float, left: float | None) -> None:
    """A line that goes on counting, where somebody watches."""
    if sys.stderr.isatty():
        rest = None if left is None else max(0.0, left - seconds)
        text = f"{place}: {describe_seconds(seconds)}; {_in_words(rest)}"
        print(f"{CLEAR}{text}", end="", file=sys.stderr, flush=True)


def _say(text: str) -> None:
    start = CLEAR if sys.stderr.isatty() else ""
    print(f"{start}{text}", file=sys.stderr, flush=True)


def _leave(signum: int, frame: FrameType | None) -> NoReturn:
    """Ended from outside: the run in hand is ended too."""
    raise SystemExit(TERMINATED)
