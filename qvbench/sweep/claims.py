"""Who has a run in hand: one process on this machine by a lock, or one Slurm job by its number.

A file's lock holds for the processes of one machine and no further. Where runs are executed on
others, the process that handed them out holds their locks as long as it waits (Ray), or Slurm is
asked if the job lives to which a run was given.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qvbench.errors import UserError
from qvbench.runs.slurm import is_alive, slurm_job
from qvbench.sweep.plan import PlannedRun


@contextmanager
def claim(run: PlannedRun) -> Iterator[int | None]:
    """Hold a run's lock for a while; gives the lock's descriptor, or nothing if another has it.

    The kernel lets go of the lock when the last process that has the descriptor dies, however it
    dies. The run inherits it, so that one whose sweep was killed is not started a second time
    while it still trains.

    Raises:
        UserError: the lock's file cannot be written.
    """
    file = lock_file(run)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(
            f"{file}: cannot be written ({error.strerror}); choose another --output"
        ) from error
    try:
        if not _lock(descriptor) or job_of(run):
            yield None
            return
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())  # for a reader; the lock is the kernel's
        yield descriptor
    finally:
        os.close(descriptor)


def lock_file(run: PlannedRun) -> Path:
    """The file whose lock is held while the run is in hand."""
    return run.log.with_suffix(".lock")


def is_claimed(run: PlannedRun) -> bool:
    """Whether some sweep or Slurm job has the run in hand."""
    file = lock_file(run)
    if not file.exists():
        return False
    with file.open() as opened:
        return not _lock(opened.fileno()) or bool(job_of(run))


def job_file(run: PlannedRun) -> Path:
    """The file with the number of the Slurm job to which the run was given."""
    return run.log.with_suffix(".job")


def job_of(run: PlannedRun) -> str:
    """The Slurm job, other than this one, that has the run in hand; empty if none does."""
    file = job_file(run)
    job = file.read_text().strip() if file.is_file() else ""
    return job if job and job != slurm_job() and is_alive(job) else ""


def _lock(descriptor: int) -> bool:
    """Take a file's lock, unless another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
