"""The Slurm job around a run: which one it is, whether it lives, starting it again."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Mapping

log = logging.getLogger(__name__)


def slurm_job(environment: Mapping[str, str] = os.environ) -> str:
    """The Slurm job that this process belongs to, as ``scontrol`` names it; empty if none.

    A job that somebody works in (named bash or interactive) is not requeued, so it counts as none.
    """
    if environment.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return ""
    array = environment.get("SLURM_ARRAY_JOB_ID")
    if array:
        return f"{array}_{environment.get('SLURM_ARRAY_TASK_ID', '')}"
    return environment.get("SLURM_JOB_ID", "")


def was_requeued(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether Slurm started this job before."""
    return environment.get("SLURM_RESTART_COUNT", "0") not in ("", "0")


def requeue(job: str) -> None:
    """Have Slurm start a job again; that it cannot is logged, and no error of the run."""
    status, answer = _ask("scontrol", "requeue", job)
    if status != 0:
        log.warning("Slurm job %s could not be requeued (%s); submit it again", job, answer)
    else:
        log.info("Slurm job %s is requeued", job)


def is_alive(job: str) -> bool:
    """Whether Slurm will run a job, runs it, or starts it again.

    Where Slurm gives no answer it may: better a run that waits than one that is run twice.
    """
    status, answer = _ask("squeue", "--noheader", f"--jobs={job}", "--format=%T")
    return bool(answer) if status == 0 else "Invalid job id" not in answer


def _ask(*command: str) -> tuple[int | None, str]:
    """Exit status and answer of a command of Slurm's; None and why if it cannot be asked."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    return done.returncode, (done.stderr if done.returncode else done.stdout).strip()
