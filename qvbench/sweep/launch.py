"""Executing planned runs: each in a process of its own, here or as a Slurm job, each once.

A launcher is a function of the planned runs and of the resources of one run. It has everything
executed that is not finished and not running elsewhere.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from statistics import fmean
from typing import IO, Any

from qvbench.errors import UserError
from qvbench.runs.folder import CONFIG, CURVES, PARTIAL, write_text
from qvbench.runs.record import SWEEP_VARIABLE
from qvbench.runs.slurm import is_alive, slurm_job
from qvbench.sweep.plan import PlannedRun

Launcher = Callable[[list[PlannedRun], Mapping[str, Any]], None]

POLL = 1.0  # seconds between two looks at runs that are running elsewhere
PATIENCE = 60.0  # seconds that a run has to end by itself when its sweep is ended
SIGNAL_DELAY = 120  # seconds before the end of a Slurm job's time at which it gets SIGUSR1
LOCK_PATIENCE = 60.0  # seconds that a job waits for the sweep that submitted it to unlock its run


def local(runs: list[PlannedRun], resources: Mapping[str, Any]) -> None:
    """One run after another on this machine; sweeps beside it share the work.

    Returns when none of the runs is running anywhere.

    Raises:
        UserError: resources are given.
    """
    if resources:
        raise UserError("--resources: the local launcher gives each run the whole machine")
    started, runs = time.time(), list(runs)
    waiting = [number for number, run in enumerate(runs) if not run.is_finished]
    while waiting:
        elsewhere = []
        for number in waiting:
            with locked(runs[number]) as lock:
                if lock is None:
                    elsewhere.append(number)
                    continue
                run = runs[number] = runs[number].placed()
                if not run.is_finished and not run.failed_since(started):
                    place = f"[{number + 1}/{len(runs)}] {run.id}"
                    how = "resumed from its last checkpoint" if run.is_resumable else "started"
                    say(f"{place}: {how}; {time_left(runs, started)}")
                    execute(run, lock)
                    say(f"{place}: {_result(run)}, {_clock(run.seconds)}")
        elsewhere = [number for number in elsewhere if not runs[number].is_finished]
        if len(elsewhere) == len(waiting):
            time.sleep(POLL)
        elif elsewhere:
            names = ", ".join(runs[number].id for number in elsewhere)
            say(f"{len(elsewhere)} running elsewhere: {names}")
        waiting = elsewhere


def slurm(runs: list[PlannedRun], resources: Mapping[str, Any]) -> None:
    """An array of Slurm jobs; resources are sbatch's, by submitit's names.

    Returns when the jobs are submitted. A run belongs to its job as long as Slurm knows that job.
    Before its time is up, a job gets SIGUSR1, the run writes a checkpoint and has the job requeued,
    which resumes it.

    Raises:
        UserError: submitit is not installed, or it or Slurm does not take the resources.
    """
    try:
        import submitit
    except ImportError as error:
        raise UserError("--launcher slurm: not installed; pip install 'qvbench[slurm]'") from error
    extra = {"signal": f"USR1@{SIGNAL_DELAY}", "requeue": True}
    with ExitStack() as locks:
        left = [run for run in runs if not run.is_finished]
        free = [run for run in left if locks.enter_context(locked(run)) is not None]
        free = [run for run in map(PlannedRun.placed, free) if not run.is_finished]
        if not free:
            return
        try:
            extra |= resources.get("additional_parameters") or {}
            own = {"job_name": runs[0].suite.name}
            parameters = {**own, **resources, "additional_parameters": extra}
            executor = submitit.SlurmExecutor(folder=runs[0].output / "sweeps" / "slurm")
            executor.update_parameters(**parameters)
            jobs = executor.map_array(run_in_job, free)
        except (RuntimeError, TypeError, ValueError) as error:
            raise UserError(f"--launcher slurm: {' '.join(str(error).split())}") from error
        for run, job in zip(free, jobs, strict=True):
            run.beside(".job").write_text(f"{job.job_id}\n")
    say(
        f"{len(jobs)} runs submitted as Slurm job {jobs[0].job_id.partition('_')[0]}; the same "
        "command with --dry_run shows how far they are, and without it submits again what failed"
    )


def run_in_job(run: PlannedRun) -> None:
    """In a job: run it unless it is finished, and forget the job when the run has ended."""
    exit_on(signal.SIGUSR1, signal.SIGTERM)
    deadline = time.monotonic() + LOCK_PATIENCE
    while time.monotonic() < deadline:
        with locked(run) as lock:
            if lock is not None:
                run = run.placed()
                if not run.is_finished:
                    execute(run, lock)
                run.beside(".job").unlink(missing_ok=True)
                return
        time.sleep(POLL)


LAUNCHERS: dict[str, Launcher] = {"local": local, "slurm": slurm}


def say(text: str) -> None:
    """Print a line on standard error."""
    print(text, file=sys.stderr, flush=True)


def time_left(runs: Sequence[PlannedRun], started: float = math.inf) -> str:
    """How long it takes until all runs are finished, shared among those that are running.

    A run takes what the finished ones of its variant took on average, else all finished ones. Those
    that failed since the sweep started are not left.
    """
    took = [(run.group, run.seconds) for run in runs if run.is_finished]
    left = [run for run in runs if not run.is_finished and not run.failed_since(started)]
    if left and not took:
        return "time left unknown"
    every = [seconds for _, seconds in took]
    total = sum(fmean([s for group, s in took if group == run.group] or every) for run in left)
    return f"about {_clock(total / max(1, sum(map(runs_elsewhere, left))))} left"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _result(run: PlannedRun) -> str:
    """Its primary metric, if it came to its end and has one."""
    record = run.record()
    metric = record.get("primary_metric") or {}
    value = record.get("metrics", {}).get(metric.get("name"))
    if not run.is_finished or run.has_diverged or value is None:
        return "FAILED" if not run.is_finished else record["status"]
    return f"{metric['label']} {value:.2f} {metric['unit']}".rstrip()


# One run


@contextmanager
def locked(run: PlannedRun) -> Iterator[int | None]:
    """Hold a run's lock; gives the lock's descriptor, or None if the run is running elsewhere.

    The kernel releases the lock when the last process that has the descriptor dies, however it
    dies. The run inherits it, so that one whose sweep was killed is not started a second time
    while it still trains.

    Raises:
        UserError: the lock's file cannot be written, or no lock can be had there.
    """
    file = run.beside(".lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        opened = file.open("a")
    except OSError as error:
        raise UserError(
            f"{file}: cannot be written ({error.strerror}); choose another --output"
        ) from error
    with opened:
        yield opened.fileno() if _lock(opened) and not _is_of_job(run) else None


def runs_elsewhere(run: PlannedRun) -> bool:
    """Whether some sweep or Slurm job has the run, without creating its lock."""
    file = run.beside(".lock")
    if not file.exists():
        return False
    mode = "r+" if os.access(file, os.W_OK) else "r"  # over NFS a lock needs a file to write to
    with file.open(mode) as opened:
        return not _lock(opened) or _is_of_job(run)


def execute(run: PlannedRun, lock: int) -> None:
    """Run what is locked, from its last checkpoint if it was cut off; write down how it ended."""
    make_room(run)
    labels = {"suite": run.suite.name, "variant": run.variant.name}
    started = time.time()
    run.beside(".log").parent.mkdir(parents=True, exist_ok=True)
    with run.beside(".log").open("wb") as log:
        child = subprocess.Popen(
            run.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {SWEEP_VARIABLE: json.dumps(labels)},
            pass_fds=(lock,),
        )
        try:
            status = child.wait()
        except BaseException as end:
            _end(child, end)
            raise
    ended, seconds = time.time(), round(time.time() - started, 2)
    outcome = {"identity": run.identity, "status": status, "seconds": seconds, "ended": ended}
    write_text(run.beside(".json"), json.dumps(outcome) + "\n")


def make_room(run: PlannedRun) -> None:
    """Clear the run's folder for a fresh start, unless it can be resumed.

    Raises:
        UserError: the folder holds what is no remainder of this run.
    """
    if not run.folder.exists() or run.is_resumable:
        return
    names = {file.name for file in run.folder.iterdir() if not file.name.endswith(PARTIAL)}
    strange = sorted(names - {CONFIG, CURVES})  # these two are written before the record
    if strange and not run.record():
        raise UserError(
            f"{run.folder}: holds {strange[0]}, which is not of this run; move it or choose "
            "another --output"
        )
    shutil.rmtree(run.folder)


def exit_on(*signals: int) -> None:
    """Let signals end this process as an exception, so that the run that it waits for is ended."""
    for number in signals:
        signal.signal(number, lambda number, frame: sys.exit(128 + number))  # as shells have it


def _lock(file: IO[Any]) -> bool:
    """Take a file's lock, unless another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # of a file system without locks
        what = f"{file.name}: no lock can be had there ({error.strerror})"
        raise UserError(f"{what}; choose another --output") from error
    return True


def _is_of_job(run: PlannedRun) -> bool:
    """Whether a Slurm job, other than this one, has the run.

    A file's lock need not hold between machines, so between them it is Slurm that is asked.
    """
    file = run.beside(".job")
    job = file.read_text().strip() if file.is_file() else ""
    return bool(job) and job != slurm_job() and is_alive(job)


def _end(child: subprocess.Popen[bytes], end: BaseException) -> None:
    """End a run whose sweep is ended, by the same signal: SIGUSR1 has it requeue its Slurm job."""
    status: Any = getattr(end, "code", None)
    known = isinstance(status, int) and status > 128
    child.send_signal(status - 128 if known else signal.SIGTERM)
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
