"""``qvbench sweep --suite NAME``: execute what is not finished, here or elsewhere."""

from __future__ import annotations

import shlex
import signal
from argparse import Namespace
from contextlib import suppress
from functools import partial
from os.path import relpath
from pathlib import Path
from typing import Any

import yaml
from jsonargparse.typing import NonNegativeInt

from qvbench.cli import ArgumentParser, part_overrides
from qvbench.config_files import NOT_YAML, read_yaml
from qvbench.errors import UserError
from qvbench.runs.folder import RUNS
from qvbench.sweep.launch import LAUNCHERS, exit_on, runs_elsewhere, say, time_left
from qvbench.sweep.plan import PlannedRun, plan
from qvbench.sweep.suite import find_suite, read_suite


def main(args: list[str]) -> int:
    """Run the command with the arguments after ``sweep``; 1 if a run failed."""
    own, overrides = part_overrides(args)
    options = _parser().parse_args(own)
    from qvbench.cli.experiment import resolve  # torch: seconds that --help need not take
    from qvbench.report.runs import RunIndex

    suite = read_suite(find_suite(options.suite))
    resources = read_resources(options.resources)
    output = options.output.resolve()
    given = (options.only, options.seeds, overrides)
    published = RunIndex(options.results).ended
    planned = partial(plan, suite, output, resolve, *given, published)
    runs = planned()
    counts = f"{len(runs)} runs, {sum(run.is_finished for run in runs)} of them finished"
    if options.dry_run:
        for run in runs:
            print(f"{_state(run):9} {run.id}\n          qvbench {shlex.join(run.args)}")
        print(f"{counts}; {time_left(runs)}{_later(runs)}")
        return 0
    exit_on(signal.SIGTERM, signal.SIGUSR1)
    say(f"{counts}; logs in {relpath(output / 'sweeps')}{_later(runs)}")
    new = runs
    while new:  # what a search has found decides what is run next
        LAUNCHERS[options.launcher](new, resources)
        known, runs = {(run.identity, run.seed) for run in runs}, planned()
        new = [run for run in runs if (run.identity, run.seed) not in known]
    return _conclude(runs, options)


def _later(runs: list[PlannedRun]) -> str:
    """What is not planned before a search is finished."""
    begun = {run.variant.name for run in runs if not run.of_search}
    waiting = dict.fromkeys(run.variant.name for run in runs if run.variant.name not in begun)
    return f"; the seeds of {', '.join(waiting)} follow their search" if waiting else ""


def read_resources(text: str) -> dict[str, Any]:
    """What one run needs, from YAML or from a file of it."""
    found = None
    if text.endswith(".yaml"):
        found = read_yaml(Path(text))
    else:
        with suppress(*NOT_YAML):
            found = yaml.safe_load(text)
    if not isinstance(found, dict):
        raise UserError(f"--resources {text}: not YAML of a mapping, like '{{gpus_per_node: 1}}'")
    return found


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="qvbench sweep",
        description="Run the variants of a suite over its seeds, whatever is not finished yet. "
        "Further options are those of `qvbench fit`, for all runs: --trainer.max_steps 100",
    )
    add = parser.add_argument
    add("--suite", required=True, help="suite file or shipped suite")
    add("--output", type=Path, default=Path(), help="folder that gets runs/ and the logs")
    results = "results folders; runs that they hold are not repeated"
    add("--results", type=Path, nargs="+", default=[], metavar="FOLDER", help=results)
    add("--only", nargs="+", metavar="VARIANT", help="these variants alone")
    add("--seeds", nargs="+", type=NonNegativeInt, metavar="N", help="instead of the suite's")
    add("--launcher", choices=list(LAUNCHERS), default="local", help="what executes the runs")
    resources = "of one run, as sbatch has them: '{time: 240, gpus_per_node: 1}'; or a YAML file"
    add("--resources", default="{}", metavar="YAML", help=resources)
    add("--dry_run", action="store_true", help="print the plan and run nothing")
    return parser


def _state(run: PlannedRun) -> str:
    if run.is_finished:
        return "diverged" if run.has_diverged else "finished"
    if runs_elsewhere(run):
        return "running"
    return "resumable" if run.is_resumable else "to run"


def _conclude(runs: list[PlannedRun], options: Namespace) -> int:
    """Print what failed, with the end of its log, and the command that compares the rest."""
    left = [run for run in runs if not run.is_finished]
    failed = [run for run in left if not runs_elsewhere(run)]
    for run in failed:
        log, status = run.beside(".log"), run.outcome().get("status", 0)
        how = f"failed with status {status}" if status else "did not come to its end"
        how = f"ended by signal {-status}" if status < 0 else how
        say(f"\n{run.id}: {how}; the end of {relpath(log)}:")
        text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        for line in [line.rstrip() for line in text.splitlines() if line.strip()][-5:]:
            say(f"  {line}")
    done, elsewhere = len(runs) - len(left), len(left) - len(failed)
    diverged = [run.id for run in runs if run.has_diverged]
    say(f"\n{done} of {len(runs)} runs finished, {len(failed)} failed, {elsewhere} elsewhere")
    if diverged:
        say(f"diverged, which is a result: {', '.join(diverged)}")
    if done:
        here = runs[0].output / RUNS  # there is none where all runs are published
        folders = [relpath(here)] if here.is_dir() else []
        folders += [str(place) for place in options.results]
        args = [*([] if folders == [RUNS] else folders), "--suite", options.suite]
        args += ["--seeds", *map(str, options.seeds)] if options.seeds else []
        args += [arg for key, value in runs[0].overrides for arg in (f"--{key}", value)]
        args += ["--output", f"results/{runs[0].suite.name}"]
        say(f"compare: qvbench report {shlex.join(args)}")
    return 1 if failed else 0
