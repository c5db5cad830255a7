"""``qvbench sweep --suite NAME``: have run what has not been run, here or elsewhere.

Several sweeps share their runs: each run is claimed by one of them.
"""

from __future__ import annotations

import shlex
import signal
from argparse import Namespace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import yaml

from qvbench.cli.arguments import ArgumentParser
from qvbench.config_files import read_yaml
from qvbench.errors import UserError
from qvbench.sweep.claims import is_claimed
from qvbench.sweep.estimate import Costs
from qvbench.sweep.launch import last_lines
from qvbench.sweep.launchers import LAUNCHERS
from qvbench.sweep.plan import PlannedRun, plan, read_overrides
from qvbench.sweep.suite import find_suite, read_suite
from qvbench.sweep.terminal import near, say


def main(argv: list[str]) -> int:
    """Run the verb with the words after ``sweep``.

    Returns:
        0 if everything is finished or in hand, 1 if a run failed.
    """
    arguments, rest = _parser().parse_known_args(argv)
    from qvbench.cli.experiment import resolve  # torch: seconds that --help need not take

    suite = read_suite(find_suite(arguments.suite))
    overrides = read_overrides(rest)
    launcher = LAUNCHERS[arguments.launcher](read_resources(arguments.resources))
    output = arguments.output.resolve()
    runs = plan(suite, output, resolve, arguments.only, arguments.seeds, overrides)
    if arguments.dry_run:
        _show(runs)
        return 0
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _leave)
    finished = sum(run.finished for run in runs)
    say(f"{len(runs)} runs, {finished} of them finished; logs in {near(output / 'sweeps')}")
    launcher.launch(runs)
    return _conclude(runs, arguments)


def read_resources(text: str) -> dict[str, Any]:
    """What one run needs, from YAML or from a file of it.

    Raises:
        UserError: it is no mapping.
    """
    try:
        found = read_yaml(Path(text)) if text.endswith(".yaml") else yaml.safe_load(text)
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"--resources {text}: cannot be read as YAML: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"--resources {text}: a mapping expected, like '{{num_gpus: 1}}'")
    return found


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
    parser.add_argument(
        "--launcher", choices=list(LAUNCHERS), default="local", help="what executes the runs"
    )
    parser.add_argument(
        "--resources",
        default="{}",
        metavar="YAML",
        help="of one run, in the launcher's words: '{num_cpus: 2, num_gpus: 1}' for ray, "
        "'{time: 240, gpus_per_node: 1}' for slurm; or a file",
    )
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
        return "in hand"
    return "cut off" if run.cut_off else "to run"


def _conclude(runs: list[PlannedRun], words: Namespace) -> int:
    """Report what failed, with the end of its log."""
    left = [run for run in runs if not run.finished]
    failed = [run for run in left if not is_claimed(run)]
    for run in failed:
        outcome = run.outcome()
        how = "has no outcome" if outcome is None else _ending(outcome.status)
        say(f"\n{run.id}: {how}; the end of {near(run.log)}:")
        for line in last_lines(run.log):
            say(f"  {line}")
    done = len(runs) - len(left)
    counts = [f"{done} of {len(runs)} runs finished"]
    counts += [f"{len(failed)} failed"] if failed else []
    counts += [f"{len(left) - len(failed)} in hand"] if len(left) > len(failed) else []
    say("\n" + ", ".join(counts))
    if done:
        say(f"compare: {_report_command(runs, words)}")
    return 1 if failed else 0


def _report_command(runs: list[PlannedRun], words: Namespace) -> str:
    """What gathers these runs."""
    place = near(runs[0].output / "runs")
    options = [] if place == Path("runs") else [str(place)]
    options += ["--suite", words.suite]
    options += ["--seeds", *map(str, words.seeds)] if words.seeds else []
    options += [word for key, value in runs[0].overrides for word in (f"--{key}", value)]
    name = runs[0].suite.name
    return f"qvbench report {shlex.join([*options, '--output', f'results/{name}'])}"


def _ending(status: int) -> str:
    if status < 0:
        return f"ended by signal {-status}"
    return f"failed with status {status}" if status else "did not come to its end"


def _leave(signum: int, frame: FrameType | None) -> NoReturn:
    """Ended from outside: the run in hand is ended too."""
    raise SystemExit(128 + signum)  # as shells have it
