"""Where the runs of a sweep are executed: on this machine, as Ray tasks, as Slurm jobs.

A launcher is a function of the planned runs and of the resources of one run, in its own terms. It
has everything executed that is not finished and not running elsewhere, each run as a process.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from qvbench.errors import UserError
from qvbench.sweep.launch import PATIENCE, execute, exit_on, job_file, locked
from qvbench.sweep.plan import PlannedRun
from qvbench.sweep.progress import (
    format_left,
    format_seconds,
    names,
    relative_to_here,
    say,
    say_result,
    seconds_left,
    show,
)

Resources = Mapping[str, Any]

POLL = 1.0  # seconds between two looks at runs that are running elsewhere
SIGNAL_DELAY = 120  # seconds before the end of a Slurm job's time at which it gets SIGUSR1
LOCK_PATIENCE = 60.0  # seconds that a job waits for the sweep that submitted it to unlock its run


def local(runs: list[PlannedRun], resources: Resources) -> None:
    """One run after another on this machine; sweeps beside it share the work.

    Returns when none of the runs is running anywhere.

    Raises:
        UserError: resources are given.
    """
    if resources:
        raise UserError("--resources: the local launcher gives each run the whole machine")
    started = time.time()
    waiting = [run for run in runs if not run.is_finished]
    while waiting:
        busy = [run for run in waiting if not _finish_here(run, runs, started)]
        if busy and len(busy) == len(waiting):
            time.sleep(POLL)
        elif busy:
            say(f"{len(busy)} running elsewhere: {names(busy)}")
        waiting = busy


def _finish_here(run: PlannedRun, runs: list[PlannedRun], started: float) -> bool:
    """Run it unless it has ended since the sweep started; false if it is running elsewhere."""
    with locked(run) as lock:
        if lock is None:
            return False
        if run.is_finished or run.failed_since(started):
            return True
        place = f"[{runs.index(run) + 1}/{len(runs)}] {run.id}"
        left = seconds_left(runs, started, begun=run)
        how = "resumed from its last checkpoint" if run.is_resumable else "started"
        say(f"{place}: {how}; {format_left(left)}")

        def tick(seconds: float) -> None:
            rest = None if left is None else max(0.0, left - seconds)
            show(f"{place}: {format_seconds(seconds)}; {format_left(rest)}")

        execute(run, lock, tick)
        say_result(place, run)
        return True


def _lock_all(runs: list[PlannedRun], locks: ExitStack) -> list[PlannedRun]:
    """Lock all runs that are not finished, for as long as the stack holds; those that we got."""
    left = [run for run in runs if not run.is_finished]
    free = [run for run in left if locks.enter_context(locked(run)) is not None]
    held = [run for run in left if run not in free]
    if held:
        say(f"{len(held)} running elsewhere: {names(held)}")
    return free


# Ray


def ray(runs: list[PlannedRun], resources: Resources) -> None:
    """Ray tasks; resources are a task's options: num_cpus, num_gpus, memory, resources.

    The cluster is that of ``RAY_ADDRESS`` or one that runs here already, else one is started on
    this machine for as long as the sweep lasts. Ray queues the runs. This process holds the locks
    of all that it has handed out, so that other sweeps on this machine leave them alone; when it
    ends, Ray ends their tasks. Returns when all have ended.

    Raises:
        UserError: Ray is not installed, finds no cluster, or does not take the resources.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError("--launcher ray: not installed; pip install 'qvbench[ray]'") from error
    ours = {name: value for name, value in os.environ.items() if name.startswith("QVBENCH_")}
    try:
        ray.init(runtime_env={"env_vars": ours}, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise UserError(f"--launcher ray: {str(error).splitlines()[0]}") from error
    try:
        with ExitStack() as locks:
            free = _lock_all(runs, locks)
            try:
                task = ray.remote(_execute_remotely).options(**resources)
            except (TypeError, ValueError) as error:
                raise UserError(f"--resources: {error}") from error
            _follow(ray, {task.remote(run): run for run in free}, runs)
    finally:
        ray.shutdown()


def _execute_remotely(run: PlannedRun) -> str:
    """In a process of a worker: run it; the name of that machine."""
    execute(run, None)
    return os.uname().nodename


def _follow(ray: Any, tasks: dict[Any, PlannedRun], runs: list[PlannedRun]) -> None:
    """Wait for the tasks, and show of each how it ended."""
    total = len(tasks)
    try:
        while tasks:
            ended, _ = ray.wait(list(tasks), timeout=1.0)
            for task in ended:
                _say_end(ray, task, tasks.pop(task), f"[{total - len(tasks)}/{total}]")
            rest = format_left(seconds_left(runs))
            show(f"{len(tasks)} of {total} runs with Ray; {rest} one after another")
    except BaseException:
        for task in tasks:
            ray.cancel(task)
        ray.wait(list(tasks), num_returns=len(tasks), timeout=PATIENCE)
        raise


def _say_end(ray: Any, task: Any, run: PlannedRun, place: str) -> None:
    try:
        host = ray.get(task)
    except ray.exceptions.RayError as error:
        say(f"{place} {run.id}: Ray gave it up: {str(error).strip().splitlines()[-1]}")
        return
    if run.outcome() is None:
        say(
            f"{place} {run.id}: {host} ended it, and nothing of it is in "
            f"{relative_to_here(run.output)}; --output must be a folder that all machines share"
        )
        return
    say_result(f"{place} {run.id} on {host}", run)


# Slurm


def slurm(runs: list[PlannedRun], resources: Resources) -> None:
    """Slurm jobs; resources are sbatch's: time, partition, gpus_per_node, cpus_per_task, mem.

    ``time`` is in minutes, and what submitit does not know goes under ``additional_parameters``.
    Returns when the jobs are submitted; Slurm queues them. A run belongs to its job as long as
    Slurm knows that job. Before its time is up, a job gets SIGUSR1, the run writes a checkpoint
    and has the job requeued, which resumes it.

    Raises:
        UserError: submitit is not installed, or it or Slurm does not take the resources.
    """
    try:
        import submitit
    except ImportError as error:
        raise UserError("--launcher slurm: not installed; pip install 'qvbench[slurm]'") from error
    with ExitStack() as locks:
        free = _lock_all(runs, locks)
        if not free:
            return
        jobs = _submit(submitit, free, resources)
        for run, job in zip(free, jobs, strict=True):
            job_file(run).write_text(f"{job}\n")
    first = jobs[0].partition("_")[0]
    say(
        f"{len(jobs)} runs submitted as Slurm job {first}; the same command with --dry_run "
        "shows how far they are, and without it submits again what failed"
    )


def _submit(submitit: Any, runs: list[PlannedRun], resources: Resources) -> list[str]:
    """Submit an array of jobs; the number of each."""
    extra = {"signal": f"USR1@{SIGNAL_DELAY}", "requeue": True}
    extra |= resources.get("additional_parameters") or {}
    parameters = {
        "job_name": runs[0].suite.name,
        **resources,
        "additional_parameters": extra,
    }
    try:
        executor = submitit.SlurmExecutor(folder=runs[0].output / "sweeps" / "slurm")
        executor.update_parameters(**parameters)
        return [str(job.job_id) for job in executor.map_array(run_in_job, runs)]
    except submitit.core.utils.FailedJobError as error:
        last = str(error).strip().splitlines()[-1]
        raise UserError(f"--launcher slurm: sbatch refused the jobs: {last}") from error
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"--launcher slurm: {str(error).splitlines()[0]}") from error


def run_in_job(run: PlannedRun) -> str:
    """In a job: run it unless it is finished, and forget the job when the run has ended."""
    exit_on(signal.SIGUSR1, signal.SIGTERM)
    deadline = time.monotonic() + LOCK_PATIENCE
    while not (tried := _try_in_job(run)) and time.monotonic() < deadline:
        time.sleep(1.0)
    if not tried:
        return "running elsewhere"
    job_file(run).unlink(missing_ok=True)
    return "finished" if run.is_finished else "failed"


def _try_in_job(run: PlannedRun) -> bool:
    with locked(run) as lock:
        if lock is not None and not run.is_finished:
            execute(run, lock)
        return lock is not None


LAUNCHERS: dict[str, Callable[[list[PlannedRun], Resources], None]] = {
    "local": local,
    "ray": ray,
    "slurm": slurm,
}
