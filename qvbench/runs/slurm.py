"""The Slurm job around a run: which one it is, whether it lives, starting it again."""

from __future__ import annotations

import logging
import os
import subprocess

log = logging.getLogger(__name__)


def slurm_job() -> str:
    """The Slurm job that this process belongs to, as ``scontrol`` names it; empty if none.

    A job that somebody works in (named bash or interactive) is not requeued, so it counts as none.
    """
    if os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return ""
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    return os.environ.get("SLURM_JOB_ID", "")


def was_requeued() -> bool:
    """Whether Slurm started this job before."""
    return os.environ.get("SLURM_RESTART_COUNT", "0") not in ("", "0")


def requeue(job: str) -> None:
    """Have Slurm start a job again; that it cannot is logged, and no error of the run."""
    done, answer = _ask("scontrol", "requeue", job)
    if done:
        log.info("Slurm job %s is requeued", job)
    else:
        log.warning("Slurm job %s could not be requeued (%s); submit it again", job, answer)


def is_alive(job: str) -> bool:
    """Whether Slurm will run a job, runs it, or starts it again.

    Where Slurm gives no answer it may: better a run that waits than one that is run twice.
    """
    done, answer = _ask("squeue", "--noheader", f"--jobs={job}", "--format=%T")
    return bool(answer) if done else "Invalid job id" not in answer


def _ask(*command: str) -> tuple[bool, str]:
    """Whether a command of Slurm's succeeded, and its answer; else why it did not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return True, done.stdout.strip()
    except subprocess.CalledProcessError as error:
        return False, str(error.stderr).strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
