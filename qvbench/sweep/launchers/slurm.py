"""Runs as an array of Slurm jobs, submitted by submitit."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any, NoReturn

from qvbench.errors import UserError
from qvbench.sweep.claims import claim, job_file
from qvbench.sweep.launch import execute
from qvbench.sweep.launchers.interface import Launcher, claim_all
from qvbench.sweep.plan import PlannedRun
from qvbench.sweep.terminal import say

SIGNAL_DELAY = 120  # seconds before a job's time is up at which it is told
LOCK_PATIENCE = 60.0  # seconds that a job waits for the sweep that submitted it to let go


class Slurm(Launcher):
    """Slurm jobs; resources are sbatch's: time, partition, gpus_per_node, cpus_per_task, mem.

    ``time`` is in minutes, and what submitit does not know goes under ``additional_parameters``.
    The sweep ends when the jobs are submitted; Slurm queues them. A run is in the hands of its job
    as long as Slurm knows that job. Before its time is up, a job gets SIGUSR1, the run writes a
    checkpoint and has the job started again, which goes on from there.
    """

    def launch(self, runs: list[PlannedRun]) -> None:
        """Submit all that is not finished."""
        submitit = _imported()
        with ExitStack() as locks:
            free = claim_all(runs, locks)
            if not free:
                return
            jobs = self._submit(submitit, free)
            for run, job in zip(free, jobs, strict=True):
                job_file(run).write_text(f"{job}\n")
        first = jobs[0].partition("_")[0]
        say(
            f"{len(jobs)} runs submitted as Slurm job {first}; the same command with --dry_run "
            "shows how far they are, and without it submits again what failed"
        )

    def _submit(self, submitit: Any, runs: list[PlannedRun]) -> list[str]:
        folder = runs[0].output / "sweeps" / "slurm"
        more = dict(self.resources)
        extra = {"signal": f"USR1@{SIGNAL_DELAY}", "requeue": True}
        more["additional_parameters"] = extra | dict(more.get("additional_parameters") or {})
        try:
            executor = submitit.SlurmExecutor(folder=folder)
            executor.update_parameters(**{"job_name": runs[0].suite.name, **more})
            return [str(job.job_id) for job in executor.map_array(run_in_job, runs)]
        except submitit.core.utils.FailedJobError as error:
            last = str(error).strip().splitlines()[-1]
            raise UserError(f"--launcher slurm: sbatch refused the jobs: {last}") from error
        except (RuntimeError, TypeError, ValueError) as error:
            raise UserError(f"--launcher slurm: {str(error).splitlines()[0]}") from error


def run_in_job(run: PlannedRun) -> str:
    """In a job: run it unless somebody has finished it, and forget the job when it has ended."""
    signal.signal(signal.SIGUSR1, _leave)
    signal.signal(signal.SIGTERM, _leave)
    with _claimed(run) as mine:
        if mine is None:
            return "in the hands of another"
        if not run.finished:
            execute(run, mine, lambda seconds: None)
    job_file(run).unlink(missing_ok=True)
    return "finished" if run.finished else "failed"


@contextmanager
def _claimed(run: PlannedRun) -> Iterator[int | None]:
    """The run's lock, for which a job waits a while."""
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        with claim(run) as lock:
            if lock is not None or time.monotonic() > deadline:
                yield lock
                return
        time.sleep(1.0)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """End with the signal's status; the run is told the same signal, and knows what to do."""
    raise SystemExit(128 + number)


def _imported() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise UserError("--launcher slurm: not installed; pip install 'qvbench[slurm]'") from error
    return submitit
